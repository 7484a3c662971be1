package phoenix

import (
	"encoding/json"
	"time"
)

// An Event is one thing that happened on a connection: a message from the server, a change of the link or of a channel,
// or the end of a push. What happened is the type of Detail.
//
// An Event handed out by [Stream.Next], its Payload's bytes included, is valid until the next call to Next; [Event.Clone]
// keeps one for longer.
type Event struct {
	// Time is when the frame was received, or when the event arose.
	Time time.Time
	// Seq numbers the events of a connection from 1. Events that a Skip filter suppressed have their number, too, so
	// that a hole in an unfiltered stream is a loss.
	Seq uint64
	// Session counts the successful connects of the connection, from 1; 0 before the first.
	Session int
	// Topic is the raw topic, empty for events of the connection as a whole.
	Topic string
	// Name is the raw event name of a message or push.
	Name string
	// JoinRef and Ref are those of the frame behind the event; empty where it had none.
	JoinRef, Ref string
	// Payload is the payload of a message, and the response of a push's or a join's reply.
	Payload Payload
	// Detail says what happened.
	Detail Detail

	// push is the id of the push that the event ends.
	push uint64
}

// Clone returns a copy of e that stays valid.
func (e *Event) Clone() Event {
	c := *e
	c.Payload = c.Payload.clone()
	if d, ok := c.Detail.(*JoinError); ok {
		failed := *d
		failed.Response = d.Response.clone()
		c.Detail = &failed
	}
	return c
}

// A Payload is the payload of a message, exactly as it came or goes: JSON text or, with Binary, bytes. The nil Data
// of a zero Payload means that there is none.
type Payload struct {
	Data   []byte
	Binary bool
	// Broken says that line breaks stand between the tokens of the JSON text in Data; they have to be removed before
	// it can be one line.
	Broken bool
}

// JSON returns a payload of JSON text. The text is checked when it is sent.
func JSON(text string) Payload { return Payload{Data: []byte(text)} }

// Binary returns a payload of bytes, for vsn 2.0.0 only (PROTOCOL.md, section 3).
func Binary(data []byte) Payload {
	if data == nil {
		data = []byte{}
	}
	return Payload{Data: data, Binary: true}
}

func (p Payload) clone() Payload {
	if p.Data != nil {
		p.Data = append(make([]byte, 0, len(p.Data)), p.Data...)
	}
	return p
}

// A Detail says what an [Event] is about. The types of this file are all there are; more may come, so a type switch
// wants a default.
type Detail interface{ detail() }

// Message is a message that the server pushed or broadcast on a joined topic.
type Message struct{}

// Connecting announces a dial.
type Connecting struct {
	// URI is where it goes, without query and userinfo, which may hold secrets.
	URI string
	// Attempt counts the dials since the link was last stable, from 1.
	Attempt int
}

// Connected announces an open socket, a new session.
type Connected struct {
	// Reconnect says that there was a session before.
	Reconnect bool
	// Took is the time from the start of the dial to the open socket.
	Took time.Duration
	// Outage is how long the connection had no socket, for a reconnect.
	Outage time.Duration
	// Timings are the stages of Took.
	Timings Timings
	// RTT is the round trip of a first heartbeat. The stream leaves it zero; who measured it with [Conn.Heartbeat]
	// may fill it in before passing the event on.
	RTT time.Duration
}

// Timings are the stages of a dial; a stage that did not take place is zero.
type Timings struct {
	DNS, TCP, TLS, Upgrade time.Duration
}

// Disconnected announces the end of a session or the failure of a dial.
type Disconnected struct {
	Reason Reason
	// Code is the WebSocket close code, 0 if there was none.
	Code int
	// HTTPStatus is that of a refused upgrade, else 0.
	HTTPStatus int
	// Text is prose for people: the close reason, the body of a refusal, the error of the system.
	Text string
	// Uptime is how long the session was up; 0 for a failed dial.
	Uptime time.Duration
	// WillReconnect says that another dial follows.
	WillReconnect bool
}

// Reconnecting announces that the next dial waits for its backoff.
type Reconnecting struct {
	// Attempt counts the retries since the link was last stable, from 1.
	Attempt int
	// MaxAttempts is Options.MaxRetries; -1: no limit.
	MaxAttempts int
	Delay       time.Duration
	Reason      Reason
}

// ReconnectExhausted announces that MaxRetries retries in a row have failed; the connection ends.
type ReconnectExhausted struct {
	Attempts, MaxAttempts int
	Reason                Reason
}

// Heartbeat is an answered heartbeat; only with Options.HeartbeatEvents.
type Heartbeat struct {
	RTT time.Duration
	// Asked says that it was one of [Conn.Heartbeat].
	Asked bool
}

// HeartbeatTimeout announces a heartbeat without an answer; the link is dropped.
type HeartbeatTimeout struct {
	Timeout time.Duration
}

// Joining announces that a phx_join is written.
type Joining struct {
	Rejoin bool
	// Attempt counts the joins since the channel was last stable, from 1.
	Attempt int
}

// Joined announces an accepted join. The event's Payload is the response.
type Joined struct {
	Rejoin bool
	Took   time.Duration
	// Gap is how long messages may have been missed, for a rejoin (PROTOCOL.md, rule 20).
	Gap time.Duration
}

// JoinError announces a join that failed. The event's Payload is the server's response, if there was one.
type JoinError struct {
	// Topic is the topic that was not joined.
	Topic  string
	Reason JoinReason
	// Response is the server's, as JSON or bytes; empty for a timeout.
	Response Payload
	// Err says why the params of the join could not be read; nil for any other failure.
	Err     error
	Attempt int
	Retry
}

// Left announces the end of a leave that we asked for.
type Left struct{}

// Closed announces a phx_close that we did not ask for.
type Closed struct {
	Retry
}

// Errored announces that a joined channel was lost. The event's Payload is that of the phx_error, if there was one.
type Errored struct {
	Reason ErrorReason
	Retry
}

// Retry says whether and when a channel is joined again.
type Retry struct {
	// Will says that it is. A channel lost with its link is joined again when there is a link: then In is zero.
	Will bool
	In   time.Duration
}

// PushReply is the first reply to a push. The event's Payload is the response.
type PushReply struct {
	// Index is the one given with the push.
	Index int
	// Status is whatever the server sent, "ok" and "error" among others (PROTOCOL.md, rule 6).
	Status  string
	Latency time.Duration
}

// PushTimeout announces that no reply to a push came in time.
type PushTimeout struct {
	Index   int
	Timeout time.Duration
}

// PushError announces that a push can have no reply any more.
type PushError struct {
	// Topic and Name are those of the push.
	Topic, Name string
	Index       int
	Reason      PushReason
	// Delivered is what is known about the push's way to the server.
	Delivered Delivered
}

// PresenceJoin announces presences that came, of one key; only with Options.Presence. A presence that is updated comes
// anew, with the phx_ref of the old one as phx_ref_prev, and then the old one leaves.
type PresenceJoin struct {
	Key string
	// Metas are those that were not there before, as the server wrote them but for line breaks. They stay valid.
	Metas []json.RawMessage
}

// PresenceLeave announces presences that went, of one key; only with Options.Presence. Others of the key may be left.
type PresenceLeave struct {
	Key string
	// Metas are those that went, as they were in their PresenceJoin.
	Metas []json.RawMessage
}

// PresenceSync tells who is present, after the joins and leaves of one message; only with Options.Presence.
type PresenceSync struct {
	State PresenceState
}

func (Message) detail()             {}
func (*Connecting) detail()         {}
func (*Connected) detail()          {}
func (*Disconnected) detail()       {}
func (*Reconnecting) detail()       {}
func (*ReconnectExhausted) detail() {}
func (*Heartbeat) detail()          {}
func (*HeartbeatTimeout) detail()   {}
func (*Joining) detail()            {}
func (*Joined) detail()             {}
func (*JoinError) detail()          {}
func (*Left) detail()               {}
func (*Closed) detail()             {}
func (*Errored) detail()            {}
func (*PushReply) detail()          {}
func (*PushTimeout) detail()        {}
func (*PushError) detail()          {}
func (*PresenceJoin) detail()       {}
func (*PresenceLeave) detail()      {}
func (*PresenceSync) detail()       {}
