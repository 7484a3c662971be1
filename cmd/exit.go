package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"phx/phoenix"
)

// A failure is an error with an exit code, and what a person can do about it.
type failure struct {
	code    int
	message string // empty: there is nothing to say
	hint    string
	err     error
}

// Error returns the message without the hint.
func (f *failure) Error() string { return f.message }

// ExitCode returns the code.
func (f *failure) ExitCode() int { return f.code }

// Hint returns what to do next.
func (f *failure) Hint() string { return f.hint }

// Unwrap returns the error behind the failure.
func (f *failure) Unwrap() error { return f.err }

// usageError is a wrong command line.
func usageError(hint, format string, args ...any) *failure {
	return &failure{code: exitUsage, message: fmt.Sprintf(format, args...), hint: hint}
}

// A killedError says that a process signal ends the command. Main then dies of it.
type killedError struct{ signal syscall.Signal }

// Error names the signal.
func (e *killedError) Error() string { return "ended by signal " + e.signal.String() }

// ExitCode is the one that a shell sees.
func (e *killedError) ExitCode() int { return 128 + int(e.signal) }

// errPipe says that the reader of the output has gone.
var errPipe = &killedError{syscall.SIGPIPE}

// writeError makes the error of a failed write of the output.
func writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return errPipe
	}
	return &failure{
		code:    exitWrite,
		message: "cannot write the output: " + systemError(err),
		hint:    "check where stdout goes: is the disk full?",
		err:     err,
	}
}

// systemError returns the message of err without the system call and the path that os puts before it.
func systemError(err error) string {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// maxTimeError says that --max-time has passed.
func maxTimeError(d time.Duration) error {
	return &failure{
		code:    exitTimeout,
		message: fmt.Sprintf("not finished within --max-time %v", d),
		hint:    "allow more time, or see with -v what took so long",
	}
}

// exitCodeOf returns the exit code for an error. With several errors joined, the first one's counts.
func exitCodeOf(err error) int {
	if err == nil {
		return exitOK
	}
	if coded := (interface{ ExitCode() int })(nil); errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return exitCodeOfPhoenix(err)
}

// exitCodeOfPhoenix maps the errors of package phoenix.
func exitCodeOfPhoenix(err error) int {
	var (
		link    *phoenix.LinkError
		join    *phoenix.JoinError
		timeout *phoenix.PushTimeout
		push    *phoenix.PushError
	)
	switch {
	case errors.As(err, &join):
		return exitCodeOfJoin(join.Reason)
	case errors.As(err, &timeout):
		return exitTimeout
	case errors.As(err, &push):
		return exitCodeOfPush(push.Reason)
	case errors.As(err, &link):
		return explainLink(link, false).code
	}
	return exitFailure
}

func exitCodeOfJoin(reason phoenix.JoinReason) int {
	if reason == phoenix.JoinTimeout {
		return exitTimeout
	}
	return exitJoin
}

func exitCodeOfPush(reason phoenix.PushReason) int {
	switch reason {
	case phoenix.PushDisconnected, phoenix.PushCancelled:
		return exitLinkLost
	}
	return exitChannel
}

// hintOf returns what to do about err, the hint of the outermost error that has one.
func hintOf(err error) string {
	if hinted := (interface{ Hint() string })(nil); errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}
