package control

import (
	"errors"
	"fmt"
	"net/http"
)

// An Error is a call that failed, on either side of the socket. As JSON it is {"error":{"message","hint","exit_code"}}.
type Error struct {
	// Status is the HTTP status; 0 when nobody answered.
	Status int
	// Code is the exit code of `phx ctl`.
	Code int
	// Message says what happened, and Advice what to do about it.
	Message, Advice string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// ExitCode returns the exit code for it.
func (e *Error) ExitCode() int { return e.Code }

// Hint returns what to do about it.
func (e *Error) Hint() string { return e.Advice }

// The exit codes that this package gives by itself.
const (
	exitFailure  = 1
	exitUsage    = 2
	exitConnect  = 7
	exitTimeout  = 28
	exitLinkLost = 56
)

// UnknownConnection is the error of a call that names a connection that serve does not have.
func UnknownConnection(name string) *Error {
	return &Error{
		Status: http.StatusNotFound, Code: exitFailure,
		Message: fmt.Sprintf("serve has no connection %q", name),
		Advice:  "`phx ctl list` shows those it has",
	}
}

// ErrClosing is the error of a call that comes too late, or would wait for what will not come any more.
var ErrClosing = &Error{
	Status: http.StatusServiceUnavailable, Code: exitLinkLost, Message: "serve is shutting down", Advice: "start it again: phx serve -f FILE",
}

// BadRequest is the error of a call that is wrong in itself.
func BadRequest(hint, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: exitUsage, Message: fmt.Sprintf(format, args...), Advice: hint}
}

// errorBody is an Error as JSON.
type errorBody struct {
	Error struct {
		Message  string `json:"message"`
		Hint     string `json:"hint,omitempty"`
		ExitCode int    `json:"exit_code"`
	} `json:"error"`
}

func (e *Error) body() errorBody {
	var b errorBody
	b.Error.Message, b.Error.Hint, b.Error.ExitCode = e.Message, e.Advice, e.Code
	return b
}

// asError makes an Error of what a Backend returned.
func asError(err error) *Error {
	if known := (*Error)(nil); errors.As(err, &known) {
		return known
	}
	e := &Error{Status: http.StatusInternalServerError, Code: exitFailure, Message: err.Error()}
	if coded := (interface{ ExitCode() int })(nil); errors.As(err, &coded) {
		// It is known what is wrong, and it is no mistake of ours: a config file, for example.
		e.Status, e.Code = http.StatusUnprocessableEntity, coded.ExitCode()
	}
	if hinted := (interface{ Hint() string })(nil); errors.As(err, &hinted) {
		e.Advice = hinted.Hint()
	}
	return e
}
