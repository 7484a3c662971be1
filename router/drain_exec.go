package router

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// defaultGrace is that of ExecOptions. With it a drain is done within lastChance, whatever its program does.
	defaultGrace = 500 * time.Millisecond
	// stableAfter is how long a program has to run for the backoff to begin anew after it.
	stableAfter = 10 * time.Second
)

// ExecOptions are the settings of an [ExecDrain].
type ExecOptions struct {
	// Command is the program and its arguments. No shell is involved.
	Command []string
	// Dir is where the program runs, and what a path to it is relative to. Empty: where we are.
	Dir string
	// Logger gets what the program prints, line by line, and how it ends. It should have the name of the sink among its
	// attributes. nil: nobody does.
	Logger *slog.Logger
	// Grace is how long the program may go on after it was asked to end by a signal, before it is killed. Default: 500 ms.
	Grace time.Duration
}

// An ExecDrain is a [Drain] that writes records to the standard input of a program. The program is started when the drain runs, and
// again, with a backoff of 100 ms to 30 s, whenever it ends before the input does. A record counts as delivered when the pipe to
// the program has taken all of it; one that was cut off by the program's end is written whole to the next.
//
// At the end of the input the program's standard input is closed, and it may do what it likes until the drain's ctx ends.
// Then its process group is terminated, and killed after [ExecOptions.Grace].
type ExecDrain struct{ options ExecOptions }

// NewExecDrain returns a drain that starts its program once it runs.
func NewExecDrain(o ExecOptions) *ExecDrain {
	o.Logger = orDiscard(o.Logger)
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	return &ExecDrain{options: o}
}

// Open implements [Opener]: it finds out whether there is such a program. It starts nothing.
func (d *ExecDrain) Open() error {
	if len(d.options.Command) == 0 {
		return errNoProgram
	}
	name := d.options.Command[0]
	if dir := d.options.Dir; dir != "" && strings.ContainsRune(name, os.PathSeparator) && !filepath.IsAbs(name) {
		name = dir + string(os.PathSeparator) + name
	}
	_, err := exec.LookPath(name)
	return err
}

var errNoProgram = errors.New("the command is empty: its first word is the program to start")

// Run implements [Drain].
func (d *ExecDrain) Run(ctx context.Context, q *Queue) error {
	if len(d.options.Command) == 0 {
		return errNoProgram
	}
	f := feeding{q: q}
	err := d.keepRunning(ctx, &f)
	f.giveUp()
	return err
}

// keepRunning runs one child after the other until the input has ended, and returns nil, or ctx has, and returns the cause.
func (d *ExecDrain) keepRunning(ctx context.Context, f *feeding) error {
	after := retryAfter()
	for attempt := 0; ; attempt++ {
		started := time.Now()
		child, err := startChild(d.options)
		if err == nil {
			err = f.feed(ctx, child)
			child.end(ctx, err == io.EOF)
		}
		switch {
		case err == io.EOF:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if time.Since(started) >= stableAfter {
			attempt = 0
		}
		delay := after(attempt)
		if child == nil {
			d.options.Logger.Error("the program could not be started; it is tried again", "error", err, "delay", delay)
		} else {
			child.log.Warn("the program has ended; it is started again", "status", child.status(), "delay", delay)
		}
		if ended, err := f.wait(ctx, delay); ended || err != nil {
			return err
		}
	}
}

// A feeding is the way of the records from the queue to one child after the other.
type feeding struct {
	q *Queue
	// chunk is what is being written, if there is any, and done how many of its bytes are delivered, which are whole lines.
	chunk *Chunk
	done  int
}

// feed writes records to the child until it ends, and then returns why it cannot go on; [io.EOF] is the end of the input.
func (f *feeding) feed(ctx context.Context, child *child) error {
	// When ctx or the child ends, so does a wait for records; and closing the pipe ends a write that nobody reads.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-child.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = child.stdin.Close() })
	defer stop()
	for {
		if f.chunk == nil {
			c, err := f.q.Take(ctx)
			if err != nil {
				return err
			}
			f.chunk, f.done = c, 0
		}
		rest := f.chunk.Bytes()[f.done:]
		n, err := child.stdin.Write(rest)
		f.done += wholeLines(rest[:n])
		if err != nil {
			return err
		}
		f.q.Release(f.chunk)
		f.chunk = nil
	}
}

// wait waits before the next child is started. It reports whether none has to be, because the input has ended and everything is
// delivered.
func (f *feeding) wait(ctx context.Context, delay time.Duration) (ended bool, err error) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	closed := f.q.closed
	for {
		if f.chunk == nil && closed == nil {
			c, err := f.q.poll()
			if c == nil {
				return true, ignoreEOF(err)
			}
			f.chunk, f.done = c, 0
		}
		select {
		case <-closed:
			closed = nil
		case <-f.q.dead:
			return true, ErrClosed
		case <-timer.C:
			return false, nil
		case <-ctx.Done():
			return true, context.Cause(ctx)
		}
	}
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// giveUp gives back what is not going to be delivered.
func (f *feeding) giveUp() {
	if f.chunk != nil {
		f.q.ReleaseFirst(f.chunk, f.chunk.recordsIn(f.done))
		f.chunk = nil
	}
}

// childEnvironment is ours without our secret.
func childEnvironment(environ []string) []string {
	kept := environ[:0:0]
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "PHX_AUTH_TOKEN=") {
			kept = append(kept, variable)
		}
	}
	return kept
}
