package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"phx/cmd/internal/strictyaml"
)

const secretAdvice = "right ones: a text, {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"

// A secretReader reads values that may be elsewhere, for one owner.
type secretReader struct {
	// patience is how long a command may take, asked when it is run.
	patience func() time.Duration
	// note logs something about a secret, which is not part of it.
	note func(level slog.Level, message string, args ...any)
}

// secrets reads the connection's.
func (c *Connection) secrets() secretReader {
	return secretReader{patience: func() time.Duration { return c.ConnectTimeout }, note: c.note}
}

// read reads a text, {env: V}, {file: F} or {command: [...]}. key is its name in errors.
func (r secretReader) read(key string, n strictyaml.Node) (*Source, error) {
	name := sourceName(key, n)
	if !n.IsMap() {
		text, err := n.Text()
		return &Source{option: name, at: n, literal: text}, err
	}
	list, err := n.Fields()
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, n.Errorf(secretAdvice, "this has %d keys, and should have one of env, file and command", len(list))
	}
	field := list[0]
	switch field.Name {
	case "env":
		return readEnvSecret(name, field.Value)
	case "file":
		s := &Source{}
		err := fileOf(key+".file", &s, Value{}).read(field.Value)
		s.note = r.note
		return s, err
	case "command":
		return r.readCommand(name, field.Value)
	}
	return nil, field.Key.Errorf(secretAdvice, "the key %q is not known here", field.Name)
}

// readEnvSecret reads the variable at once: the environment of a process stays as it is.
func readEnvSecret(name string, n strictyaml.Node) (*Source, error) {
	variable, err := n.Text()
	if err != nil {
		return nil, err
	}
	value, ok := n.Lookup(variable)
	if !ok || value == "" {
		return nil, n.Errorf("set it", "the variable %s is not set, or empty", variable)
	}
	return &Source{option: name, at: n, literal: value}, nil
}

func (r secretReader) readCommand(name string, n strictyaml.Node) (*Source, error) {
	words, err := readCommand(n, secretAdvice)
	if err != nil {
		return nil, err
	}
	run := &secretCommand{name: name, words: words, note: r.note}
	return &Source{option: name, at: n, words: words, run: func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, r.patience())
		defer cancel()
		return run.output(ctx)
	}}, nil
}

// readCommand reads a list of a program and its arguments. A program with a slash in its name is beside the file; another is
// looked for in PATH.
func readCommand(n strictyaml.Node, advice string) ([]string, error) {
	items, err := n.Items()
	if err != nil {
		return nil, err
	}
	words := make([]string, len(items))
	for i, item := range items {
		if words[i], err = item.Text(); err != nil {
			return nil, err
		}
	}
	if len(words) == 0 || words[0] == "" {
		return nil, n.Errorf(advice, "there is no program in this list")
	}
	if strings.ContainsRune(words[0], os.PathSeparator) {
		words[0] = n.Beside(words[0])
	}
	return words, nil
}

// note logs to the connection's logger.
func (c *Connection) note(level slog.Level, message string, args ...any) {
	if c.Logger != nil {
		c.Logger.Log(context.Background(), level, message, args...)
	}
}

// warnOthers warns once of a file of secrets that everybody on the machine can read.
func (s *Source) warnOthers(info os.FileInfo) {
	if s.note == nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o004 == 0 {
		return
	}
	s.warned.Do(func() {
		s.note(slog.LevelWarn, "others can read the file of a secret: chmod o-r "+s.path, "for", s.option)
	})
}

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

// A Source is a text that may change while the program runs: a literal, a file, the standard input or what a command prints.
// A command is run, and a regular file is read, anew each time, so that a secret in it can be rotated; everything else (a pipe, /dev/fd/3, the standard input) can be
// read only once, and is.
type Source struct {
	option  string
	literal string
	path    string
	run     func(context.Context) (string, error)
	// words are the command that run runs.
	words []string
	// at is where a config file says so; none for what comes from elsewhere.
	at strictyaml.Node

	// note is told, once, if others can read the file; nil: nobody is.
	note   func(level slog.Level, message string, args ...any)
	warned sync.Once

	stdin io.Reader
	once  sync.Once
	text  string
	err   error
}

// newSource parses text of an option: @FILE, @- for the standard input, or else a literal.
func newSource(option, text string) *Source {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		return newFileSource(option, path)
	}
	return &Source{option: option, literal: text}
}

// newFileSource is the source of a file's text; "-" is the standard input.
func newFileSource(option, path string) *Source { return &Source{option: option, path: path} }

// fileParser parses the argument of an option that names a file.
func fileParser(option string) func(path string) (*Source, error) {
	return func(path string) (*Source, error) {
		if path == "" {
			return nil, errors.New("is not the name of a file")
		}
		return newFileSource(option, path), nil
	}
}

// claim claims the standard input, if that is what s reads.
func (s *Source) claim(stdin *Stdin) error {
	if s == nil || s.path != stdinPath {
		return nil
	}
	r, err := stdin.Claim(s.option)
	s.stdin = r
	return err
}

// Text returns the text, of a file without the line break at its end. An error is a [*ReadError], or that of ctx.
func (s *Source) Text(ctx context.Context) (string, error) {
	switch {
	case s.run != nil:
		return s.run(ctx)
	case s.path == "":
		return s.literal, nil
	}
	if s.path != stdinPath {
		info, err := os.Stat(s.path)
		if err != nil {
			return "", s.readError(err)
		}
		s.warnOthers(info)
		if info.Mode().IsRegular() || info.IsDir() {
			return s.read(os.ReadFile(s.path))
		}
	}
	return s.textOnce(ctx)
}

// textOnce reads what may keep us waiting, and what is gone once it is read.
func (s *Source) textOnce(ctx context.Context) (string, error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.once.Do(func() {
			if s.stdin != nil {
				s.text, s.err = s.read(io.ReadAll(s.stdin))
				return
			}
			s.text, s.err = s.read(os.ReadFile(s.path))
		})
	}()
	select {
	case <-done:
		return s.text, s.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (s *Source) read(data []byte, err error) (string, error) {
	if err != nil {
		return "", s.readError(err)
	}
	return trimLineBreak(string(data)), nil
}

func trimLineBreak(text string) string {
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
}

// isLiteral reports whether the text is that of the option itself.
func (s *Source) isLiteral() bool { return s.run == nil && s.path == "" }

// name is how messages call what is read.
func (s *Source) name() string {
	if s.run != nil {
		return "the output of the command for " + s.option
	}
	return pathName(s.path)
}

func pathName(path string) string {
	if path == stdinPath {
		return "standard input"
	}
	return path
}

func (s *Source) readError(err error) error {
	return &ReadError{Option: s.option, Path: s.path, Err: err}
}

// stdinPath is how an argument names the standard input.
const stdinPath = "-"

// A Stdin hands the standard input to whoever claims it first: two readers would each get some of it.
type Stdin struct {
	r     io.Reader
	owner string
}

// NewStdin returns the claim on r.
func NewStdin(r io.Reader) *Stdin { return &Stdin{r: r} }

// Claim gives the standard input to the option or argument of that name. It is a [*UsageError] if another one has it.
func (s *Stdin) Claim(name string) (io.Reader, error) {
	if s.owner != "" {
		return nil, &UsageError{
			Message: fmt.Sprintf("%s and %s both read standard input", s.owner, name),
			Advice:  "give one of them a file: @FILE",
		}
	}
	s.owner = name
	return s.r, nil
}
