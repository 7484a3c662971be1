package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// readyLine is what whoever waits for readiness reads.
const readyLine = "ready\n"

// removeReadyFile removes a file that an earlier run left: it would say "ready" too early.
func removeReadyFile(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return readyError(path, err)
	}
	return nil
}

// tellReady writes the file, if there is a path, and to the open file of the number, if it is not 0.
func tellReady(path string, fd int) error {
	if path != "" {
		if err := writeReadyFile(path); err != nil {
			return err
		}
	}
	if fd > 0 {
		return writeReadyFD(fd)
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
	return &failure{
		code: exitWrite, message: fmt.Sprintf("cannot write that everything is ready to %s: %s", name, systemError(err)), err: err,
		hint: "check --ready-file or --ready-fd",
	}
}
