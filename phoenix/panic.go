package phoenix

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// A PanicError is what Serve returns when something that runs for the connection, a callback of Options above all, has
// panicked. That ends this connection and nothing else.
type PanicError struct {
	// Value is what panic was called with.
	Value any
	// Stack is that of the goroutine that panicked.
	Stack []byte

	// what is what panicked.
	what string
}

// What may panic.
const (
	inLoop        = "the connection"
	inDial        = "the dial"
	inReader      = "the reader"
	inWriter      = "the writer"
	inCredentials = "Options.Credentials"
	inParams      = "Channel.Params"
	inSkip        = "Options.Skip"
	inTrace       = "Options.Trace"
	inOnHeartbeat = "Options.OnHeartbeat"
	inHooks       = "the supervisor"
)

// Error says in one line what panicked, with the value and nothing else that the connection knows.
func (e *PanicError) Error() string {
	text := strings.Join(strings.Fields(fmt.Sprint(e.Value)), " ")
	if e.what == "" {
		return "panic: " + text
	}
	return e.what + " panicked: " + text
}

// Unwrap returns the value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// errPanicked is what the stream is told. The value is not for it: nobody knows what is in there.
var errPanicked = errors.New("something that runs for the connection panicked")

// newPanicError returns v as an error, if blame has not made one of it already. It is called while the goroutine panics.
func newPanicError(what string, v any) *PanicError {
	if e, ok := v.(*PanicError); ok && e.what != "" {
		return e
	}
	return &PanicError{Value: v, Stack: debug.Stack(), what: what}
}

// contain is deferred by every goroutine that runs for the connection: a panic of what is called there ends the connection,
// and not the process. The first one counts.
func (c *Conn) contain(what string) {
	if v := recover(); v != nil {
		select {
		case c.panicked <- newPanicError(what, v):
		default:
		}
	}
}

// blame is deferred around a call of something that is not ours, for contain to know what panicked.
func blame(what string) {
	if v := recover(); v != nil {
		panic(newPanicError(what, v))
	}
}

// trace shows a frame to Options.Trace, which is set.
func (c *Conn) trace(f TraceFrame) {
	defer blame(inTrace)
	c.opts.Trace(f)
}

// tracer is trace, or nil without Options.Trace.
func (c *Conn) tracer() func(TraceFrame) {
	if c.opts.Trace == nil {
		return nil
	}
	return c.trace
}
