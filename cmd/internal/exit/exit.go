// Package exit is how phx ends when something went wrong: the one table of exit codes, and the one type of error that carries a
// code, a message for the user and a hint what to do.
package exit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// A Code is an exit code of the process. Once released, a code keeps its meaning.
type Code int

// The exit codes.
const (
	OK          Code = 0
	Failure     Code = 1
	Usage       Code = 2
	JQCompile   Code = 3
	NoOutput    Code = 4
	JQRun       Code = 5
	DNS         Code = 6
	Connect     Code = 7
	Refused     Code = 22
	Write       Code = 23
	Read        Code = 26
	Timeout     Code = 28
	TLS         Code = 35
	LinkLost    Code = 56
	Certificate Code = 60
	Join        Code = 64
	PushStatus  Code = 65
	Channel     Code = 66
	Hangup      Code = 129
	Interrupt   Code = 130
	Pipe        Code = 141
	Terminate   Code = 143
)

// A Row describes one exit code.
type Row struct {
	Code    Code
	Name    string
	Meaning string
}

// Table is every exit code, in ascending order. Nobody changes it.
var Table = []Row{
	{OK, "ok", "done, condition met"},
	{Failure, "failure", "with -e, the last value was false or null; anything that has no code of its own"},
	{Usage, "usage", "wrong option, argument or input"},
	{JQCompile, "jq_compile", "the jq expression does not compile"},
	{NoOutput, "no_output", "with -e, nothing was printed"},
	{JQRun, "jq_run", "the jq expression failed on a record; the others were printed"},
	{DNS, "dns", "the host name does not resolve"},
	{Connect, "connect", "the connection failed"},
	{Refused, "refused", "the server refused the upgrade; its HTTP status and body are in the message"},
	{Write, "write", "the output cannot be written"},
	{Read, "read", "an input cannot be read"},
	{Timeout, "timeout", "no connection, join or reply in time, or --max-time has passed"},
	{TLS, "tls", "the TLS handshake failed"},
	{LinkLost, "link_lost", "the link was lost: retries are exhausted, or a push or heartbeat unanswered"},
	{Certificate, "certificate", "the server's certificate was not accepted"},
	{Join, "join", "a join was refused"},
	{PushStatus, "push_status", "a push, or the first heartbeat, was answered with another status than ok"},
	{Channel, "channel", "a channel crashed, or the server closed it, and it was not joined again"},
	{Hangup, "SIGHUP", "ended by HUP"},
	{Interrupt, "SIGINT", "ended by INT"},
	{Pipe, "SIGPIPE", "the reader of the output has gone"},
	{Terminate, "SIGTERM", "ended by TERM"},
}

// An Error is a failure with an exit code, told to the user.
type Error struct {
	Code Code
	// Message says what happened, to what. It is empty if there is nothing to say.
	Message string
	// Hint says what to do.
	Hint string
	// Err is the cause, if there is one. Its text is not part of the message.
	Err error
	// Signal is the process signal that ends the process, if one does.
	Signal syscall.Signal
	// Line and Column are the place in a file that the error is about, counted from 1; 0: unknown. The message says them, too.
	Line, Column int
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Usagef returns the error of a wrong option, argument or input.
func Usagef(hint, format string, args ...any) *Error {
	return &Error{Code: Usage, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Killed returns the error of a process that ends by a process signal.
func Killed(sig syscall.Signal) *Error {
	return &Error{Code: 128 + Code(sig), Message: "ended by signal " + sig.String(), Signal: sig}
}

// HintOf returns the hint of the first [Error] in err's tree.
func HintOf(err error) string {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// SystemText returns the message of err without the system call, the path and the address that os and net put before it.
func SystemText(err error) string {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	if callErr := (*os.SyscallError)(nil); errors.As(err, &callErr) {
		return callErr.Err.Error()
	}
	return err.Error()
}

// Flatten returns the errors that are joined in err, however deep, or err alone; none of nil. An
// error whose cause is joined has a message of its own, and stays whole.
func Flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, Flatten(e)...)
	}
	return all
}
