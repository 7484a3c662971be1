package router

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// An ExecDrain is a [Drain] that writes records to the standard input of a program. The program is
// started when the drain runs, and again, with a backoff of 100 ms to 30 s, whenever it ends
// before the input does. A record counts as delivered when the pipe to the program has taken all
// of it. A record that was cut off by the end of the program is written whole to the next one.
//
// At the end of the input, the standard input of the program is closed. The program may go on
// until the ctx of the drain ends. Then its process group is terminated, and killed after
// [ExecOptions.Grace].
type ExecDrain struct{ options ExecOptions }

// ExecOptions are the settings of an [ExecDrain].
type ExecOptions struct {
	// Command is the program and its arguments. No shell is involved.
	Command []string
	// Dir is where the program runs, and what a path to it is relative to. Empty: where we are.
	Dir string
	// Logger logs what the program prints, line by line, and how it ends. It should have the name
	// of the sink among its attributes. It may be nil.
	Logger *slog.Logger
	// Grace is the time between the signal that terminates the program and the one that kills it.
	// Default: 500 ms.
	Grace time.Duration
}

const (
	// defaultGrace is short enough for a drain to end within lastChance, whatever its program does.
	defaultGrace = 500 * time.Millisecond
	// The backoff begins anew after a program that ran for stableAfter.
	stableAfter = 10 * time.Second
)

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
	w := execWriter{q: q}
	defer w.giveUp()
	var child *child
	err := retry(ctx, func() *failure {
		var err error
		if child, err = startChild(d.options); err != nil {
			return &failure{err: err}
		}
		started := time.Now()
		err = w.write(ctx, child)
		child.end(ctx, err == io.EOF)
		if err == io.EOF {
			return nil
		}
		return &failure{err: err, progress: time.Since(started) >= stableAfter}
	}, func(err error, delay time.Duration) error {
		if child == nil {
			d.options.Logger.Error("the program could not be started; it is tried again", "error", err, "delay", delay)
		} else {
			child.log.Warn("the program has ended; it is started again", "status", child.status(), "delay", delay)
		}
		return w.wait(ctx, delay)
	})
	if err == io.EOF {
		return nil
	}
	return err
}

// An execWriter writes the records of a queue to one child after the other.
type execWriter struct {
	q *Queue
	// chunk is what is being written, if there is any, and done how many of its bytes are
	// delivered, which are whole lines.
	chunk *Chunk
	done  int
}

// write writes records to the child until it ends, and then returns why it cannot go on: io.EOF at
// the end of the input.
func (w *execWriter) write(ctx context.Context, child *child) error {
	// The end of ctx or of the child ends the wait for records, and closes the pipe, which ends a
	// write that nobody reads.
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
		if w.chunk == nil {
			c, err := w.q.Take(ctx)
			if err != nil {
				return err
			}
			w.chunk, w.done = c, 0
		}
		rest := w.chunk.Bytes()[w.done:]
		n, err := child.stdin.Write(rest)
		w.done += wholeLines(rest[:n])
		if err != nil {
			return err
		}
		w.q.Release(w.chunk)
		w.chunk = nil
	}
}

// wait waits before the next child is started. It returns io.EOF when none is needed, because the
// input has ended and everything is delivered.
func (w *execWriter) wait(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	closed := w.q.closed
	for {
		if w.chunk == nil && closed == nil {
			c, err := w.q.poll(0)
			if c == nil {
				return err
			}
			w.chunk, w.done = c, 0
		}
		select {
		case <-closed:
			closed = nil
		case <-w.q.dead:
			return ErrClosed
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// giveUp counts as lost what is left of the current chunk.
func (w *execWriter) giveUp() {
	if w.chunk != nil {
		w.q.ReleaseFirst(w.chunk, w.chunk.recordsIn(w.done))
		w.chunk = nil
	}
}

// A child is a running program whose standard input we write. Its fields do not change.
type child struct {
	command *exec.Cmd
	stdin   *os.File
	log     *slog.Logger
	grace   time.Duration
	done    chan struct{} // closed when it has ended
}

const (
	// maxOutputLine is how much of a line that a child prints is logged.
	maxOutputLine = 4 << 10
	// outputGrace is how long after its end the output of a child is still read: another process
	// can have it open for ever.
	outputGrace = 250 * time.Millisecond
)

// startChild starts the program, in a process group of its own.
func startChild(o ExecOptions) (*child, error) {
	command := exec.Command(o.Command[0], o.Command[1:]...)
	command.Dir = o.Dir
	command.Env = childEnvironment(command.Environ())
	command.WaitDelay = outputGrace
	isolate(command)
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	command.Stdin = reader
	c := &child{command: command, stdin: writer, grace: o.Grace, done: make(chan struct{})}
	output := &lineLogger{}
	command.Stdout, command.Stderr = output, output // one pipe, so that the order of lines is kept
	started := make(chan error)
	go func() {
		// On Linux, Pdeathsig is sent when the thread ends that started the child. So the thread is
		// kept, for this goroutine alone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		output.mu.Lock() // until there is a log
		err := command.Start()
		if err == nil {
			c.log = o.Logger.With("pid", command.Process.Pid)
			output.log = c.log
		}
		output.mu.Unlock()
		started <- err
		if err == nil {
			_ = command.Wait() // How it ended is in ProcessState.
			output.flush()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		writer.Close()
		return nil, err
	}
	return c, nil
}

// childEnvironment returns environ without the secret of ours that it holds.
func childEnvironment(environ []string) []string {
	kept := environ[:0:0]
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "PHX_AUTH_TOKEN=") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// end closes the standard input of the child and waits for its end. A child that is to end by
// itself has until ctx ends, any other one the grace. Then end terminates its process group, and
// kills it after another grace.
func (c *child) end(ctx context.Context, byItself bool) {
	_ = c.stdin.Close()
	if byItself {
		select {
		case <-c.done:
			c.logEnd()
			return
		case <-ctx.Done():
		}
	} else if ctx.Err() == nil && c.endsWithin(c.grace) { // A write failed: it should be about to end.
		return
	}
	c.log.Debug("the program is asked to end")
	terminate(c.command)
	if !c.endsWithin(c.grace) {
		c.log.Warn("the program did not end in time; it is killed")
	}
	kill(c.command) // what is left of its group
	<-c.done
}

// endsWithin waits for the child's end, but not longer than d, and reports whether it has ended.
func (c *child) endsWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

// logEnd logs how the child ended, at the end of the input.
func (c *child) logEnd() {
	if c.command.ProcessState.Success() {
		c.log.Debug("the program has ended", "status", c.status())
		return
	}
	c.log.Warn("the program has failed at the end of its input; it may not have done everything", "status", c.status())
}

// status says how the child ended, once it has.
func (c *child) status() string { return c.command.ProcessState.String() }

// A lineLogger logs what is written to it line by line, and of each line only the beginning.
type lineLogger struct {
	mu   sync.Mutex
	log  *slog.Logger
	line []byte
	cut  bool // the line is longer than what is kept
}

// Write implements [io.Writer]. It takes everything.
func (l *lineLogger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	written := len(p)
	for {
		line, rest, ends := bytes.Cut(p, []byte{'\n'})
		room := maxOutputLine - len(l.line)
		l.cut = l.cut || len(line) > room
		l.line = append(l.line, line[:min(len(line), room)]...)
		if !ends {
			return written, nil
		}
		l.emit()
		p = rest
	}
}

// flush logs a last line that has no line break.
func (l *lineLogger) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.line) > 0 {
		l.emit()
	}
}

func (l *lineLogger) emit() {
	text := string(bytes.ToValidUTF8(bytes.TrimSuffix(l.line, []byte{'\r'}), []byte("\uFFFD")))
	if l.cut {
		text += "…"
	}
	l.log.Info(text)
	l.line, l.cut = l.line[:0], false
}
