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

// The exit codes. Once released, a code keeps its meaning.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitJQCompile   = 3
	exitNoOutput    = 4
	exitJQRun       = 5
	exitDNS         = 6
	exitConnect     = 7
	exitRefused     = 22
	exitWrite       = 23
	exitRead        = 26
	exitTimeout     = 28
	exitTLS         = 35
	exitLinkLost    = 56
	exitCertificate = 60
	exitJoin        = 64
	exitPushStatus  = 65
	exitChannel     = 66
	exitHangup      = 129
	exitInterrupt   = 130
	exitPipe        = 141
	exitTerminate   = 143
)

// An exitCode is one row of the table that `phx help exit-codes` prints.
type exitCode struct {
	code    int
	name    string
	meaning string
}

// exitCodes is every exit code there is.
var exitCodes = []exitCode{
	{exitOK, "ok", "done, condition met"},
	{exitFailure, "failure", "with -e, the last value was false or null; anything that has no code of its own"},
	{exitUsage, "usage", "wrong option, argument or input"},
	{exitJQCompile, "jq_compile", "the jq expression does not compile"},
	{exitNoOutput, "no_output", "with -e, nothing was printed"},
	{exitJQRun, "jq_run", "the jq expression failed on a record; the others were printed"},
	{exitDNS, "dns", "the host name does not resolve"},
	{exitConnect, "connect", "the connection failed"},
	{exitRefused, "refused", "the server refused the upgrade; its HTTP status and body are in the message"},
	{exitWrite, "write", "the output cannot be written"},
	{exitRead, "read", "an input cannot be read"},
	{exitTimeout, "timeout", "no connection, join or reply in time, or --max-time has passed"},
	{exitTLS, "tls", "the TLS handshake failed"},
	{exitLinkLost, "link_lost", "the link was lost: retries are exhausted, or a push or heartbeat unanswered"},
	{exitCertificate, "certificate", "the server's certificate was not accepted"},
	{exitJoin, "join", "a join was refused"},
	{exitPushStatus, "push_status", "a push, or the first heartbeat, was answered with another status than ok"},
	{exitChannel, "channel", "a channel crashed, or the server closed it, and it was not joined again"},
	{exitHangup, "SIGHUP", "ended by HUP"},
	{exitInterrupt, "SIGINT", "ended by INT"},
	{exitPipe, "SIGPIPE", "the reader of the output has gone"},
	{exitTerminate, "SIGTERM", "ended by TERM"},
}

// exitCodesHelp is the text of `phx help exit-codes`.
func exitCodesHelp() string {
	text := "Exit codes of phx. With several failures, that of the first counts.\n\n"
	for _, row := range exitCodes {
		text += fmt.Sprintf("%5d  %-12s  %s\n", row.code, row.name, row.meaning)
	}
	return text + "\nFrom 129 on, phx dies of the signal itself, and the shell shows 128 plus its number.\n"
}
