package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/proc"
)

// readyLine is what whoever waits for readiness reads.
const readyLine = "ready\n"

// readiness is --ready-file and --ready-fd, to which a command writes that it is ready, and --on-ready, which it runs. An empty path or
// command, and the number 0, are none.
type readiness struct {
	file    string
	fd      int
	command string

	mu sync.Mutex
	// written says that the file is there, because of us; ended that it must not be, any more.
	written, ended bool
	// running is the command of --on-ready, and over is closed when it has ended; nil: it was not started.
	running *exec.Cmd
	over    chan struct{}
	// stderr is what the command writes to.
	stderr io.Writer
}

// flags declares their options; when says when the command is ready.
func (r *readiness) flags(when string) []option.Option {
	return []option.Option{
		{Flag: "ready-file", Value: option.Text(&r.file, ""),
			Usage: "`FILE` to write once " + when + "; it is removed at the end", Example: "ready"},
		{Flag: "ready-fd", Value: option.Checked(&r.fd, "", parseReadyFD),
			Usage: "number `N` of an open file to write a line to, and close, once " + when, Example: "3"},
		{Flag: "on-ready", Value: option.Text(&r.command, ""),
			Usage: "shell `COMMAND` to run once " + when + "; it has no stdin, and its output goes to stderr", Example: "'phx push room:lobby go {}'"},
	}
}

// nobodyAsks reports whether none of the options is given.
func (r *readiness) nobodyAsks() bool { return r.file == "" && r.fd == 0 && r.command == "" }

// parseReadyFD reads the number of a file that the caller has opened, and is not one of those that have another use.
func parseReadyFD(text string) (int, error) {
	fd, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, errors.New("is not a number")
	case fd <= 2:
		return 0, errors.New("has another use: 0 to 2 are stdin, stdout and stderr; open another one, for example 3>ready")
	}
	return fd, nil
}

// prepare checks what is asked for before anything is opened, and removes a file that an earlier run left: it would say "ready" too
// early. When the process dies at once, die of f removes ours.
func (r *readiness) prepare(f *factory) error {
	if r.fd > 0 && !proc.Inherited(r.fd) {
		return exit.Usagef(fmt.Sprintf("open it for phx, for example: phx listen room:lobby --ready-fd %d %d>ready", r.fd, r.fd),
			"--ready-fd %d: no file is open for writing under this number", r.fd)
	}
	r.stderr = f.streams.Err
	f.traces.add(func() { _ = r.withdraw() })
	if r.file == "" {
		return nil
	}
	if err := checkReadyFile(r.file); err != nil {
		return err
	}
	return r.removeFile()
}

// checkReadyFile refuses a path at which no file can be written, or at which there is something that must not be removed: a directory, a
// device, a pipe, or a link to one, as /dev/stdout is.
func checkReadyFile(path string) error {
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return readyError(path, err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return readyError(path, err)
	case !info.Mode().IsRegular():
		return exit.Usagef("name a file that is not there yet; a pipe is for --ready-fd, for example --ready-fd 3 3>"+path,
			"--ready-file %s is there, and is no regular file: it would be replaced, and removed at the end", path)
	}
	return nil
}

// end removes the file, which must not outlive the readiness that it reports. A command that goes on for longer than onReadyGrace is terminated.
func (r *readiness) end(log *slog.Logger) {
	if err := r.withdraw(); err != nil {
		log.Warn(err.Error())
	}
	if r.running == nil {
		return
	}
	select {
	case <-r.over:
	case <-time.After(onReadyGrace):
		log.Warn("the command of --on-ready is still running, and is terminated")
		_ = r.running.Process.Signal(syscall.SIGTERM) // an error means that it has ended meanwhile
	}
}

// onReadyGrace is how long the command of --on-ready may go on after the end.
const onReadyGrace = time.Second

// withdraw removes the file if it is ours, and keeps it from being written.
func (r *readiness) withdraw() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if !r.written {
		return nil
	}
	r.written = false
	return r.removeFile()
}

func (r *readiness) removeFile() error {
	if err := os.Remove(r.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return readyError(r.file, err)
	}
	return nil
}

// notify tells everyone that the command is ready. It is called once.
func (r *readiness) notify(log *slog.Logger) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil
	}
	if r.file != "" {
		r.written = true
		if err := writeReadyFile(r.file); err != nil {
			return err
		}
	}
	if r.fd > 0 {
		if err := writeReadyFD(r.fd); err != nil {
			return err
		}
	}
	if r.command != "" {
		return r.run(log)
	}
	return nil
}

// run starts the command of --on-ready, with the whole environment, so that the command can be phx itself. Its failure is logged, and is
// no failure of this command.
func (r *readiness) run(log *slog.Logger) error {
	command := exec.Command("sh", "-c", r.command)
	command.Stdout, command.Stderr = r.stderr, r.stderr
	command.WaitDelay = onReadyGrace // for its children that keep its output open
	if err := command.Start(); err != nil {
		return &exit.Error{Code: exit.Failure, Message: "cannot run the command of --on-ready: " + exit.SystemText(err), Err: err, Hint: "it is run by sh -c"}
	}
	r.running, r.over = command, make(chan struct{})
	go func() {
		defer close(r.over)
		if err := command.Wait(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			log.Warn("the command of --on-ready failed: " + err.Error())
		}
	}()
	return nil
}

// writeReadyFile writes the file under another name first: it is there at once and whole.
func writeReadyFile(path string) error {
	next := path + "." + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(next, []byte(readyLine), 0o666); err != nil {
		return readyError(path, err)
	}
	if err := os.Rename(next, path); err != nil {
		return readyError(path, errors.Join(err, os.Remove(next)))
	}
	return nil
}

// writeReadyFD writes to a file that the caller opened for us, and closes it.
func writeReadyFD(fd int) error {
	name := "file descriptor " + strconv.Itoa(fd)
	file := os.NewFile(uintptr(fd), name)
	if file == nil {
		return readyError(name, fs.ErrInvalid)
	}
	_, err := file.WriteString(readyLine)
	if err = errors.Join(err, file.Close()); err != nil {
		return readyError(name, err)
	}
	return nil
}

func readyError(name string, err error) error {
	return &exit.Error{
		Code: exit.Write, Message: fmt.Sprintf("cannot write that everything is ready to %s: %s", name, exit.SystemText(err)), Err: err,
		Hint: "check --ready-file or --ready-fd",
	}
}
