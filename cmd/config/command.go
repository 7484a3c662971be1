package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"time"
)

const (
	// maxSecret is how long the output of a command may be.
	maxSecret = 1 << 20
	// maxComplaint is how much of its stderr is logged.
	maxComplaint = 4 << 10
	// commandGrace is how long a command that was killed may keep its output open: a child of it can.
	commandGrace = 100 * time.Millisecond
)

// A secretCommand is a program that prints a secret, run without a shell. Its stderr is logged, its stdout never.
type secretCommand struct {
	name  string
	words []string
	note  func(level slog.Level, message string, args ...any)
}

// output runs the program, and returns what it prints without the line break at its end. An error is a [*CommandError], or
// the cause of ctx.
func (c *secretCommand) output(ctx context.Context) (string, error) {
	command := exec.CommandContext(ctx, c.words[0], c.words[1:]...)
	command.WaitDelay = commandGrace
	stdout, stderr := &limitedBuffer{limit: maxSecret}, &limitedBuffer{limit: maxComplaint}
	command.Stdout, command.Stderr = stdout, stderr
	err := command.Run()
	if err == nil && stdout.overflown {
		err = fmt.Errorf("it printed more than %d bytes", maxSecret)
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	}
	for line := range strings.Lines(string(stderr.kept)) {
		c.note(level, strings.TrimRight(line, "\r\n"), "command", c.words[0], "for", c.name)
	}
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return "", &CommandError{Name: c.name, Program: c.words[0], Err: err}
	}
	return trimLineBreak(string(stdout.kept)), nil
}

// A limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct {
	kept      []byte
	limit     int
	overflown bool
}

// Write implements [io.Writer]. It takes everything: a program whose output is cut off could fail for that.
func (b *limitedBuffer) Write(data []byte) (int, error) {
	room := b.limit - len(b.kept)
	if len(data) > room {
		b.overflown = true
	}
	b.kept = append(b.kept, data[:min(len(data), room)]...)
	return len(data), nil
}

// A CommandError says that a program that should print a secret did not.
type CommandError struct {
	// Name is what wanted the secret, Program what failed. Its arguments are left out: they may be part of the secret.
	Name, Program string
	Err           error
}

// Error says which program failed, and how.
func (e *CommandError) Error() string {
	err := e.Err
	if execErr := (*exec.Error)(nil); errors.As(err, &execErr) {
		err = execErr.Err
	}
	return fmt.Sprintf("the command %s for %s failed: %v", e.Program, e.Name, err)
}

// Hint says what to do about it.
func (e *CommandError) Hint() string { return "run it by hand: it has to print the secret and exit 0" }

// ExitCode is that of input that cannot be read.
func (e *CommandError) ExitCode() int { return 26 }

// Unwrap returns what went wrong.
func (e *CommandError) Unwrap() error { return e.Err }
