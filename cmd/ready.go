package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/proc"
)

// readyLine is what whoever waits for readiness reads.
const readyLine = "ready\n"

// readiness is --ready-file and --ready-fd, to which a command writes that it is ready. An empty path and the number 0 are none.
type readiness struct {
	file string
	fd   int

	mu sync.Mutex
	// written says that the file is there, because of us; ended that it must not be, any more.
	written, ended bool
}

// flags declares their options; when says when the command is ready.
func (r *readiness) flags(when string) []option.Option {
	return []option.Option{
		{Flag: "ready-file", Value: option.Text(&r.file, ""),
			Usage: "`FILE` to write once " + when + "; it is removed at the end", Example: "ready"},
		{Flag: "ready-fd", Value: option.Checked(&r.fd, "", parseReadyFD),
			Usage: "number `N` of an open file to write a line to, and close, once " + when, Example: "3"},
	}
}

// parseReadyFD reads the number of a file that the caller has opened, and is not one of those that have another use.
func parseReadyFD(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	fd, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a number", text)
	case fd <= 2:
		return 0, errors.New("0 to 2 are stdin, stdout and stderr: open another one, for example 3>ready")
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
	f.traces.add(func() { _ = r.withdraw() })
	return r.removeFile()
}

// end removes the file: it does not outlive what it tells of.
func (r *readiness) end(log *slog.Logger) {
	if err := r.withdraw(); err != nil {
		log.Warn(err.Error())
	}
}

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
	if r.file == "" {
		return nil
	}
	if err := os.Remove(r.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return readyError(r.file, err)
	}
	return nil
}

// notify writes to both that the command is ready.
func (r *readiness) notify() error {
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
		return writeReadyFD(r.fd)
	}
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
