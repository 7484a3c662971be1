package config

import (
	"errors"
	"fmt"
	"io/fs"
)

// A UsageError is a wrong option or argument.
type UsageError struct {
	// Message says what is wrong, Advice what would be right.
	Message, Advice string
}

// Error returns the message.
func (e *UsageError) Error() string { return e.Message }

// Hint returns the advice.
func (e *UsageError) Hint() string { return e.Advice }

// ExitCode is that of usage errors.
func (e *UsageError) ExitCode() int { return 2 }

// A ReadError says that the file, or the standard input, that an option names could not be read.
type ReadError struct {
	// Option is the one that names it.
	Option string
	// Path of the file; "-" is the standard input.
	Path string
	Err  error
}

// Error says what could not be read.
func (e *ReadError) Error() string {
	// The path is in the error of the system already, behind the name of a system call that helps nobody.
	err := e.Err
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Sprintf("cannot read %s for %s: %v", pathName(e.Path), e.Option, err)
}

// Hint says what to do about it.
func (e *ReadError) Hint() string { return "check that it exists and may be read" }

// ExitCode is that of input that cannot be read.
func (e *ReadError) ExitCode() int { return 26 }

// Unwrap returns the error of the system.
func (e *ReadError) Unwrap() error { return e.Err }
