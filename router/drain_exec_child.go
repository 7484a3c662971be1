package router

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

const (
	// maxOutputLine is how much of a line that a child prints is logged.
	maxOutputLine = 4 << 10
	// outputGrace is how long after its end the output of a child is still read: another process can have it open for ever.
	outputGrace = 250 * time.Millisecond
)

// A child is a running program whose standard input we write. Its fields do not change.
type child struct {
	command *exec.Cmd
	stdin   *os.File
	log     *slog.Logger
	grace   time.Duration
	done    chan struct{} // closed when it has ended
}

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
		// On Linux the child is told when the thread which started it ends, so that is kept, and nobody else's meanwhile.
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

// end closes the child's standard input and waits until the child has ended: as long as ctx lasts if it is to end by itself, then
// or otherwise for the grace, then it terminates the child's process group, and kills it after another grace.
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
