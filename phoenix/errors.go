package phoenix

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors of a [Conn]'s methods that are not about the server.
var (
	// ErrClosed: the connection was closed by us.
	ErrClosed = errors.New("the connection is closed")
	// ErrJoined: the topic is joined, or being joined, already.
	ErrJoined = errors.New("the topic is joined already")
	// ErrNotJoined: the topic is not joined.
	ErrNotJoined = errors.New("the topic is not joined")
)

// An InvalidError says that a push or a channel is not one that could be sent, whatever the server: nothing was done.
type InvalidError struct{ Err error }

// Error says what is wrong.
func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *InvalidError) Unwrap() error { return e.Err }

// An UnreadError is the error of a call whose answer may be behind events that its connection's consumers have not taken: for
// the timeout of the call reads were paused and nobody called [Stream.Next]. Mostly the caller is that consumer: it has to read
// in one goroutine and to wait in another, or to use [Conn.Send]. It is a context.DeadlineExceeded to errors.Is.
type UnreadError struct {
	// Timeout is how long the call waited.
	Timeout time.Duration
}

// Error says what to do.
func (e *UnreadError) Error() string {
	return fmt.Sprintf("no answer in %v: it may be behind events that have not been read: read the stream in another goroutine", e.Timeout)
}

// Is reports that e is a timeout.
func (e *UnreadError) Is(target error) bool { return target == context.DeadlineExceeded }

// A Stage is a step on the way to a session, for the errors of a dial.
type Stage string

// The stages of a dial, in their order, and the session after it.
const (
	StageCredentials Stage = "credentials"
	StageDNS         Stage = "dns"
	StageTCP         Stage = "tcp"
	StageProxy       Stage = "proxy" // of a tunnel through it
	StageTLS         Stage = "tls"
	StageUpgrade     Stage = "upgrade"
	StageSession     Stage = "session"
)

// A LinkError says why a dial failed or how a session ended.
type LinkError struct {
	Stage  Stage
	Reason Reason
	// Code is the WebSocket close code, 0 if there was none; CloseText the reason sent with it.
	Code      int
	CloseText string
	// Silence is how long nothing had been written to a server that ended the session as servers and proxies do which close
	// what is idle, and which Options.HeartbeatInterval was too long for; 0: it was none of that.
	Silence time.Duration
	// Unanswered is the size in bytes, before it is compressed, of the largest message that had been written in a session that
	// has ended, and not been answered.
	Unanswered int
	// HTTPStatus is the status of a refused upgrade, 0 if there was none. Body is the beginning of its body.
	HTTPStatus int
	Body       string
	// Location is where a redirect points to, without query and userinfo.
	Location string
	// Proxy is the proxy that did not let us through, or could not be reached, without userinfo; empty if it was none of its.
	Proxy string
	// RetryAfter is how long the server asked us to wait, 0 if it did not.
	RetryAfter time.Duration
	// Spoken is what the other end speaks instead of WebSocket, where that can be told.
	Spoken Protocol
	// Err is the error of the system or the library; nil for what the server told us in words of its own.
	Err error

	// secrets may be in what Err says.
	secrets *Redactor
}

// Error says what happened in one line, without a secret.
func (e *LinkError) Error() string {
	text := string(e.Stage) + ": " + string(e.Reason)
	if d := e.Detail(); d != "" {
		text += ": " + d
	}
	return text
}

// Detail returns the prose of e: what the server, the proxy or the system said.
func (e *LinkError) Detail() string {
	text := e.cause()
	if e.tooBigForServer() && e.Unanswered > 0 {
		text += fmt.Sprintf(", the largest message without an answer having %d bytes", e.Unanswered)
	}
	if e.Silence > 0 {
		text += fmt.Sprintf(", after %v in which nothing was sent to it", e.Silence.Round(100*time.Millisecond))
	}
	switch {
	case e.Proxy == "":
		return text
	case text == "":
		return "proxy " + e.Proxy
	}
	return "proxy " + e.Proxy + ": " + text
}

func (e *LinkError) cause() string {
	switch {
	case e.HTTPStatus != 0 && e.Location != "":
		return fmt.Sprintf("HTTP status %d to %s", e.HTTPStatus, e.Location)
	case e.HTTPStatus != 0 && e.Body != "":
		return fmt.Sprintf("HTTP status %d: %s", e.HTTPStatus, e.Body)
	case e.HTTPStatus != 0:
		return fmt.Sprintf("HTTP status %d", e.HTTPStatus)
	case e.Code != 0 && e.CloseText != "":
		return fmt.Sprintf("close code %d: %s", e.Code, e.CloseText)
	case e.Code != 0:
		return fmt.Sprintf("close code %d", e.Code)
	case e.Err != nil && e.Reason == ReasonCertificate:
		return e.secrets.Redact(certificateDetail(e.Err, time.Now()))
	case e.Err != nil:
		return e.secrets.Redact(e.Err.Error())
	}
	return ""
}

// Unwrap returns the error of the system.
func (e *LinkError) Unwrap() error { return e.Err }

// refusal reports whether the server, or our check of it, said no in a way that only other credentials or another address
// can change (PROTOCOL.md, rule 16). 429 and 5xx mean "later", not "no".
func (e *LinkError) refusal() bool {
	switch e.Reason {
	case ReasonCertificate, ReasonNotWebSocket:
		return true
	case ReasonRefused:
		return e.HTTPStatus < 500 && e.HTTPStatus != 429 && e.HTTPStatus != 408
	}
	return false
}

// Error says which join failed and how.
func (e *JoinError) Error() string {
	text := fmt.Sprintf("join of %q failed: %s", e.Topic, e.Reason)
	if said := e.Said(); said != "" {
		text += ": " + said
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Said returns the response as one line for people, without the secrets of the connection: a server may repeat the params of
// the join. It is empty if there is none, or if it is binary.
func (e *JoinError) Said() string {
	if e.Response.Binary {
		return ""
	}
	return words(e.secrets, string(e.Response.Data))
}

// Unwrap returns why the params could not be read.
func (e *JoinError) Unwrap() error { return e.Err }

// Is reports that e is a timeout, if that is its reason.
func (e *JoinError) Is(target error) bool {
	return target == context.DeadlineExceeded && e.Reason == JoinTimeout
}

// Said returns the status and the response of a reply as one line for people, without the secrets of the connection: a server may
// repeat what it was sent. A binary response is left out.
func (d *PushReply) Said(response Payload) string {
	text := fmt.Sprintf("status %q", words(d.secrets, d.Status))
	if len(response.Data) > 0 && !response.Binary {
		text += ": " + words(d.secrets, string(response.Data))
	}
	return text
}

// Error says which push was lost and how.
func (e *PushError) Error() string {
	text := fmt.Sprintf("push of %q to %q failed: %s (delivered: %s)", e.Name, e.Topic, e.Reason, e.Delivered)
	if e.TooBig {
		text += fmt.Sprintf(": its %d bytes are more than the server takes", e.Size)
	}
	return text
}

// Is reports that e is an ErrNotJoined, if that is its reason.
func (e *PushError) Is(target error) bool {
	return target == ErrNotJoined && e.Reason == PushNotJoined
}

// Error says how long the push waited.
func (e *PushTimeout) Error() string {
	return fmt.Sprintf("no reply to the push in %v", e.Timeout)
}

// Is reports that e is a timeout.
func (e *PushTimeout) Is(target error) bool { return target == context.DeadlineExceeded }

// A HeartbeatError is an answer to a heartbeat that no Phoenix server gives: a reply with another status than "ok".
type HeartbeatError struct {
	Status   string
	Response Payload

	secrets *Redactor
}

// Error says what the answer was.
func (e *HeartbeatError) Error() string {
	text := fmt.Sprintf("a heartbeat was answered with status %q", words(e.secrets, e.Status))
	if len(e.Response.Data) > 0 && !e.Response.Binary {
		text += ": " + words(e.secrets, string(e.Response.Data))
	}
	return text
}
