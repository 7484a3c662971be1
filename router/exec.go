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
	"slices"
	"strings"
	"sync"
	"time"
)

// An ExecDrain is a [Drain] that writes records to the standard input of a program. The program is
// started when the drain runs, and again, with a backoff of 100 ms to 30 s, whenever it ends before
// everything is delivered. The backoff begins anew after a program that succeeded and has read a
// record, or that ran for 10 s.
//
// A record counts as delivered when the program has read all of it. What lies unread in the pipe
// when the program ends is written to the next one; so is, whole, a record of which it has read a
// part. Where the system does not tell what lies in a pipe (it does on Linux), a record counts as
// delivered when the pipe has taken all of it.
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
	// Hide returns the names of the variables that the program does not inherit, besides
	// PHX_AUTH_TOKEN and PHX_URI: those that secrets come from. It is called at each start. It may be
	// nil.
	Hide func() []string
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
			q.attempted("not started", err)
			return &failure{err: err}
		}
		started := time.Now()
		w.sent, w.progress = 0, false
		err = w.write(ctx, child)
		w.settle(child.end(ctx, err == io.EOF))
		succeeded := child.command.ProcessState.Success() && w.progress
		done := err == io.EOF && len(w.chunks) == 0
		var failed error
		if !succeeded && !done && ctx.Err() == nil {
			failed = errors.New("the program has ended: " + child.status())
		}
		q.attempted(child.status(), failed)
		if done {
			return nil
		}
		return &failure{err: err, progress: succeeded || time.Since(started) >= stableAfter}
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
	// chunks are what was taken and is not delivered, and sent is how many bytes of it, from the
	// first on, the pipe to the current child has taken.
	chunks []*Chunk
	sent   int
	// progress: the current child has read a record.
	progress bool
}

// A child that does not read what lies in its pipe is looked at again after a delay between these.
const minLook, maxLook = 5 * time.Millisecond, 500 * time.Millisecond

// write writes records to the child until it ends, and then returns why it cannot go on: io.EOF at
// the end of the input.
func (w *execWriter) write(ctx context.Context, child *child) error {
	// The end of ctx or of the child ends the wait for records, and a write that nobody reads.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-child.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	stop := context.AfterFunc(ctx, func() {
		if child.stdin.SetWriteDeadline(time.Unix(1, 0)) != nil {
			_ = child.stdin.Close()
		}
	})
	defer stop()
	for {
		next := w.unsent()
		if next == nil {
			if err := w.take(ctx, child); err != nil {
				return err
			}
			continue
		}
		n, err := child.stdin.Write(next)
		w.sent += n
		w.settle(unread(child.stdin))
		if err != nil {
			return err
		}
	}
}

// unsent returns the rest of the first chunk that is not sent yet, or nil.
func (w *execWriter) unsent() []byte {
	sent := w.sent
	for _, c := range w.chunks {
		if sent < len(c.Bytes()) {
			return c.Bytes()[sent:]
		}
		sent -= len(c.Bytes())
	}
	return nil
}

// take takes the next chunk. Until there is one, it watches the child read.
func (w *execWriter) take(ctx context.Context, child *child) error {
	for look := minLook; len(w.chunks) > 0; look = min(2*look, maxLook) {
		waiting, cancel := context.WithTimeoutCause(ctx, look, errLook)
		c, err := w.q.Take(waiting)
		cancel()
		if err != errLook {
			return w.add(c, err)
		}
		w.settle(unread(child.stdin))
	}
	return w.add(w.q.Take(ctx))
}

var errLook = errors.New("time to look at the pipe")

func (w *execWriter) add(c *Chunk, err error) error {
	if err == nil {
		w.chunks = append(w.chunks, c)
	}
	return err
}

// settle counts as delivered what the child has read, given how many bytes it has not read of what
// was sent.
func (w *execWriter) settle(unread int) {
	for len(w.chunks) > 0 && w.sent > unread {
		c := w.chunks[0]
		read := w.sent - unread
		if whole := len(c.Bytes()); read >= whole {
			w.q.Release(c)
			w.chunks = slices.Delete(w.chunks, 0, 1)
			w.sent -= whole
			w.progress = true
			continue
		}
		if n := c.recordsIn(read); n > 0 {
			before := len(c.Bytes())
			w.q.Advance(c, n)
			w.sent -= before - len(c.Bytes())
			w.progress = true
		}
		break
	}
	if len(w.chunks) > 0 {
		w.q.trim(w.chunks[len(w.chunks)-1])
	}
}

// wait waits before the next child is started. It returns io.EOF when none is needed, because the
// input has ended and everything is delivered.
func (w *execWriter) wait(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	closed := w.q.closed
	for {
		if len(w.chunks) == 0 && closed == nil {
			c, err := w.q.poll(0)
			if c == nil {
				return err
			}
			w.chunks = append(w.chunks, c)
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

// giveUp counts as lost what is not delivered.
func (w *execWriter) giveUp() {
	for _, c := range slices.Backward(w.chunks) {
		w.q.ReleaseFirst(c, 0)
	}
	w.chunks = nil
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
	var hide []string
	if o.Hide != nil {
		hide = o.Hide()
	}
	command.Env = childEnvironment(command.Environ(), hide)
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

// childEnvironment returns environ without the secrets of ours that it holds.
func childEnvironment(environ, hide []string) []string {
	kept := environ[:0:0]
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if name != "PHX_AUTH_TOKEN" && name != "PHX_URI" && !slices.Contains(hide, name) {
			kept = append(kept, variable)
		}
	}
	return kept
}

// end closes the standard input of the child and waits for its end, and returns how many bytes in
// the pipe it has not read. A child that is to end by itself has until ctx ends, any other one the
// grace. Then end terminates its process group, and kills it after another grace.
func (c *child) end(ctx context.Context, byItself bool) (unreadBytes int) {
	rest := readEnd(c.stdin)
	unreadBytes = unread(c.stdin)
	_ = c.stdin.Close()
	c.waitForEnd(ctx, byItself)
	if rest == nil {
		return unreadBytes
	}
	defer rest.Close()
	// Another process may have the pipe open. What is read back, it does not get, too.
	_ = rest.SetReadDeadline(time.Now().Add(outputGrace))
	n, _ := io.Copy(io.Discard, rest)
	return int(n)
}

func (c *child) waitForEnd(ctx context.Context, byItself bool) {
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
