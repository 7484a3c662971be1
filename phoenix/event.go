package phoenix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	// Socket is the number of the socket, from 1, that an event other than a message is about, on a connection that has had several; else
	// 0. Each session belongs to one socket.
	Socket int
	// Topic is the raw topic, empty for events of the connection as a whole.
	Topic string
	// Name is the raw event name of a message or push.
	Name string
	// JoinRef and Ref are those of the frame behind the event; empty where it had none.
	JoinRef, Ref string
	// Payload is the payload of a message, and the response of a push's or a join's reply.
	Payload Payload
	// Broadcast is what a message of event "broadcast" says beside its Payload if that is binary: with a Dialect only.
	Broadcast *Broadcast
	// Detail says what happened.
	Detail Detail

	// push is the id of the push that the event ends.
	push uint64
}

// A Broadcast is what a broadcast of bytes says beside them. It stays valid, and is not changed.
type Broadcast struct {
	// Event is the name of the event within the broadcast.
	Event string
	// Meta is a JSON value of the server's; nil: none.
	Meta json.RawMessage
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

// Marshal returns v as a payload of JSON text, by [json.Marshal]. Characters that are special in HTML stay as they are.
func Marshal(v any) (Payload, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return Payload{}, err
	}
	return Payload{Data: bytes.TrimSuffix(text.Bytes(), []byte("\n"))}, nil
}

// Decode decodes the payload into v, by [json.Unmarshal]. It is an error if there is none or if it is binary.
func (p Payload) Decode(v any) error {
	switch {
	case p.Binary:
		return errors.New("the payload is binary, and no JSON")
	case p.Data == nil:
		return errors.New("there is no payload")
	}
	return json.Unmarshal(p.Data, v)
}

// Decode decodes the event's Payload into v, which stays valid: that of a Message, the response of a Joined, a JoinError and a
// PushReply. See [Payload.Decode].
func (e *Event) Decode(v any) error { return e.Payload.Decode(v) }

// Decode decodes the reply's Payload into v. See [Payload.Decode].
func (r *Reply) Decode(v any) error { return r.Payload.Decode(v) }

func (p Payload) clone() Payload {
	if p.Data != nil {
		p.Data = append(make([]byte, 0, len(p.Data)), p.Data...)
	}
	return p
}

// A Detail says what an [Event] is about. The types of this file are all there are; more may come, so a type switch
// wants a default.
type Detail interface{ detail() }

// Message is a message that the server pushed or broadcast on a joined topic. The event's Payload is what it said; see
// [Event.Decode]. Message has no fields, so that a *Message, one for each frame, is not allocated.
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
	// Transport is that of the session: TransportWebSocket or TransportLongPoll.
	Transport Transport
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
	// Silence is that of [LinkError]: what may be why the server ended the session.
	Silence time.Duration
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
	// Resumed is the JSON object that [Channel.Resume] returned for this join; nil: none. It stays valid.
	Resumed json.RawMessage
	// OnJoin is how many pushes of [Channel.OnJoin] were written. Each of them ends in an event of its own, with OnJoin set.
	OnJoin int
	// Held says that what was joined is not complete before a Live event: see [Reaction].
	Held bool
}

// Live announces that what a Dialect waited for since the join has come.
type Live struct {
	// Took is the time since the join was accepted.
	Took time.Duration
}

// Gap announces that messages of a channel may have been missed although its join stands: with a Dialect only.
type Gap struct {
	Reason GapReason
	// Gap is how long messages may have been missed (PROTOCOL.md, rule 20).
	Gap time.Duration
}

// A GapReason says why messages may have been missed.
type GapReason string

// The reasons of Gap.
const (
	GapResubscribed GapReason = "resubscribed"      // what feeds the channel has been subscribed to anew
	GapReplay       GapReason = "replay_incomplete" // what the server replayed does not reach back to what we have
)

// JoinError announces a join that failed. The event's Payload is the server's response, if there was one, without the secrets of the
// connection, which a server may repeat.
type JoinError struct {
	// Topic is the topic that was not joined.
	Topic  string
	Reason JoinReason
	// Response is the event's Payload; empty for a timeout.
	Response Payload
	// Err says why the params of the join could not be read; nil for any other failure.
	Err     error
	Attempt int
	Retry

	// secrets may be in the response.
	secrets *Redactor
}

// Left announces the end of a leave that we asked for.
type Left struct {
	// Confirmed says that the server has answered the leave, and so that the channel has handled what was pushed before it:
	// a channel takes its messages in order (section 5). It is false when the answer did not come in time, or the channel or its
	// link ended first.
	Confirmed bool
	// Crashed says that the channel has crashed before it could answer.
	Crashed bool
}

// Closed announces a phx_close that we did not ask for.
type Closed struct {
	Retry
}

// Errored announces that a joined channel was lost. The event's Payload is that of the phx_error, if there was one,
// without the secrets of the connection.
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
	// OnJoin says that the push was one of [Channel.OnJoin].
	OnJoin bool
	// Status is whatever the server sent, "ok" and "error" among others (PROTOCOL.md, rule 6), without the secrets of the connection.
	Status  string
	Latency time.Duration

	// secrets may be in the response.
	secrets *Redactor
}

// PushTimeout announces that no reply to a push came in time.
type PushTimeout struct {
	Index int
	// OnJoin says that the push was one of [Channel.OnJoin].
	OnJoin  bool
	Timeout time.Duration
}

// PushError announces that a push can have no reply any more.
type PushError struct {
	// Topic and Name are those of the push.
	Topic, Name string
	Index       int
	// OnJoin says that the push was one of [Channel.OnJoin].
	OnJoin bool
	Reason PushReason
	// Delivered is what is known about the push's way to the server.
	Delivered Delivered
	// Size is that of the push's message in bytes, before it is compressed; 0 if it was not written. TooBig says that the server
	// has certainly refused it for that.
	Size   int
	TooBig bool
}

// PresenceJoin announces presences that came, of one key; only with Options.Presence. A presence that is updated comes
// anew, with the phx_ref of the old one as phx_ref_prev, and then the old one leaves: then Update is set.
type PresenceJoin struct {
	PresenceChange
}

// PresenceLeave announces presences that went, of one key; only with Options.Presence. Others of the key may be left: Remaining says
// how many.
type PresenceLeave struct {
	PresenceChange
}

// A PresenceChange is what became different under one key of a channel's presences.
type PresenceChange struct {
	Key string
	// Metas are those that came or went, as the server wrote them but for line breaks. They stay valid.
	Metas []json.RawMessage
	// Fields is the JSON object of what else the server tells of the key, such as what fetch/2 of Phoenix.Presence adds; nil: nothing.
	Fields json.RawMessage
	// Remaining is how many metas the key has after the message that the change comes of. 0: it is gone.
	Remaining int
	// Update says that under the key some metas came and others went by the same message: an update is a PresenceJoin and a
	// PresenceLeave.
	Update bool
}

// PresenceSync tells who is present, after the joins and leaves of one message; only with Options.Presence.
type PresenceSync struct {
	State PresenceState
}

func (*Message) detail()            {}
func (*Connecting) detail()         {}
func (*Connected) detail()          {}
func (*Disconnected) detail()       {}
func (*Reconnecting) detail()       {}
func (*ReconnectExhausted) detail() {}
func (*Heartbeat) detail()          {}
func (*HeartbeatTimeout) detail()   {}
func (*Joining) detail()            {}
func (*Joined) detail()             {}
func (*Live) detail()               {}
func (*Gap) detail()                {}
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

// A Push is one message to the server.
type Push struct {
	// Topic must be joined.
	Topic string
	// Name is the event.
	Name string
	// Payload is JSON or, with vsn 2.0.0, bytes. The zero Payload is an empty object.
	Payload Payload
	// BroadcastEvent is the name of the event within a push of event "broadcast" whose Payload is binary and so cannot name it: with a
	// Dialect only.
	BroadcastEvent string
	// Timeout bounds the wait for the reply; 0: Options.ReplyTimeout.
	Timeout time.Duration
	// Index is the caller's, and comes back with the event that ends the push.
	Index int
	// NoReply makes a push that is over once it has been handed to the writer, for Send and SendRef: it has neither a
	// PushReply nor a PushTimeout, and a PushError only if it was not handed over. A reply to it is dropped without a log
	// entry. A leave after it that is confirmed ([Left]) shows that the channel has handled it.
	NoReply bool
}

// CheckEvent reports why no push can have the event, whatever the server takes; nil: one can.
func CheckEvent(event string) error {
	if protocolEvent(event) {
		return fmt.Errorf("the event %q is the protocol's own", event)
	}
	return checkNames(&message{event: event})
}

// protocolEvent reports whether an event is of the protocol's own, and no message.
func protocolEvent(event string) bool {
	switch event {
	case eventJoin, eventLeave, eventReply, eventClose, eventError:
		return true
	}
	return false
}

// A Reply is the server's first answer to a push.
type Reply struct {
	// Status is "ok", "error" or whatever the channel chose.
	Status  string
	Payload Payload
	Latency time.Duration
}

// maxBinaryName is the longest topic and event of a binary push: its lengths are one byte each (PROTOCOL.md, section 3).
const maxBinaryName = 255

// check reports what would make the server close the whole socket, or would lose the push without an answer (rule 12).
func (p *Push) check(c codec) error {
	if p.Topic == "" {
		return errors.New("a push needs a topic")
	}
	if err := checkNames(&message{topic: p.Topic}); err != nil {
		return err
	}
	if err := CheckEvent(p.Name); err != nil {
		return err
	}
	if p.Payload.Data == nil {
		p.Payload = Payload{Data: []byte("{}")}
	}
	if !p.Payload.Binary {
		if err := checkPayload(p.Payload); err != nil {
			return err
		}
	}
	if d, ok := c.(dialectCodec); ok {
		if _, taken, err := d.dialect.EncodePush(nil, "", "", p); taken || err != nil {
			return err
		}
	}
	if p.BroadcastEvent != "" {
		return errors.New("a broadcast event of a push is for servers that have broadcasts of bytes, as Supabase Realtime has with vsn 2.0.0")
	}
	if !p.Payload.Binary {
		return nil
	}
	if _, v1 := c.(codecV1); v1 {
		return errors.New("vsn 1.0.0 has no binary payloads: use vsn 2.0.0")
	}
	if len(p.Topic) > maxBinaryName || len(p.Name) > maxBinaryName {
		return fmt.Errorf("topic and event of a binary push are at most %d bytes long", maxBinaryName)
	}
	return nil
}

// A Reason says why a link failed or was lost.
type Reason string

// The reasons of [Disconnected] and [LinkError].
const (
	ReasonDNS              Reason = "dns"               // the host name did not resolve
	ReasonConnectRefused   Reason = "connect_refused"   // nobody listens there
	ReasonUnreachable      Reason = "unreachable"       // no route to host or network
	ReasonTimeout          Reason = "timeout"           // Options.ConnectTimeout passed
	ReasonTLS              Reason = "tls"               // the TLS handshake failed
	ReasonCertificate      Reason = "certificate"       // the server's certificate was not accepted
	ReasonRefused          Reason = "refused"           // an HTTP status other than 101
	ReasonNotWebSocket     Reason = "not_websocket"     // what answered does not speak WebSocket
	ReasonClosedByRemote   Reason = "closed_by_remote"  // a close frame that we did not ask for
	ReasonClosedByUs       Reason = "closed_by_us"      // Close, or the context of Serve
	ReasonReset            Reason = "reset"             // TCP reset
	ReasonEOF              Reason = "eof"               // TCP end without a close frame
	ReasonHeartbeatTimeout Reason = "heartbeat_timeout" // PROTOCOL.md, rule 17
	ReasonProtocolError    Reason = "protocol_error"    // a frame that WebSocket does not allow
	ReasonMessageTooBig    Reason = "message_too_big"   // more than Options.MaxMessage, or close code 1009
	ReasonNoDescriptors    Reason = "no_descriptors"    // this process, or system, can open no more files and sockets
	ReasonLeaseLost        Reason = "lease_lost"        // [Supervisor.Revoke]: another process may run the connection
)

// A JoinReason says why a join failed.
type JoinReason string

// The reasons of [JoinError] (PROTOCOL.md, section 4).
const (
	JoinRefused         JoinReason = "error"             // the channel's join/3 said no
	JoinTimeout         JoinReason = "timeout"           // no answer in Options.ReplyTimeout
	JoinUnmatchedTopic  JoinReason = "unmatched_topic"   // the socket has no channel for the topic
	JoinCrashed         JoinReason = "crashed"           // join/3 raised
	JoinTooManyChannels JoinReason = "too_many_channels" // max_channels_per_transport
)

// An ErrorReason says how a joined channel was lost.
type ErrorReason string

// The reasons of [Errored].
const (
	ErroredCrash          ErrorReason = "phx_error"       // the channel process crashed
	ErroredUnmatchedTopic ErrorReason = "unmatched_topic" // the server does not know that we joined (rule 5)
	ErroredDisconnected   ErrorReason = "disconnected"    // lost with its link
	ErroredOnJoin         ErrorReason = "on_join"         // we left it: a push of Channel.OnJoin was refused, or not answered in time
)

// A PushReason says why a push can have no reply.
type PushReason string

// The reasons of [PushError].
const (
	PushDisconnected   PushReason = "disconnected"    // the link was lost, or there is none
	PushChannelCrashed PushReason = "channel_crashed" // phx_error
	PushChannelClosed  PushReason = "channel_closed"  // phx_close
	PushNotJoined      PushReason = "not_joined"      // the topic is not joined
	PushUnmatchedTopic PushReason = "unmatched_topic" // the server does not know that we joined
	PushCancelled      PushReason = "cancelled"       // we left or closed first
)

// Delivered says what is known about a failed push's way to the server (PROTOCOL.md, rule 19).
type Delivered string

const (
	// DeliveredNo: never written, or answered as reaching no channel. It is safe to send it again.
	DeliveredNo Delivered = "no"
	// DeliveredUnknown: written, and then the link or the channel was lost.
	DeliveredUnknown Delivered = "unknown"
)

// A LinkStatus is what a connection is doing.
type LinkStatus string

// The values of Status.Link.
const (
	StatusDisconnected  LinkStatus = "disconnected"
	StatusConnecting    LinkStatus = "connecting" // dialing, or waiting for the next dial
	StatusConnected     LinkStatus = "connected"
	StatusDisconnecting LinkStatus = "disconnecting"
)

// A Status is a snapshot of a connection.
type Status struct {
	Link LinkStatus
	// Transport is that of the session, empty without one; of several, that of the first socket that has one.
	Transport Transport
	// Session counts the successful connects.
	Session int
	// Retries counts the retries since the link was last stable.
	Retries int
	// Sockets are those of a connection that has several (see [Options.MaxChannelsPerSocket]); else it is nil. Then Link and Retries are
	// those of the worst of them.
	Sockets []SocketStatus
	// Channels are the wanted topics, in the order in which they were wanted.
	Channels []ChannelStatus
}

// A SocketStatus is a snapshot of one of several sockets.
type SocketStatus struct {
	// Number is that of [Event.Socket].
	Number int
	Link   LinkStatus
	// Transport is that of the session, empty without one.
	Transport Transport
	// Session is the number of its latest session.
	Session int
	// Channels is how many of the wanted topics are on it.
	Channels int
}

// A ChannelStatus is a snapshot of a channel.
type ChannelStatus struct {
	Topic string
	// State is "waiting", "joining", "joined", "errored" (between two joins) or "leaving".
	State string
	// JoinedAt is when the current join was accepted, zero unless the channel is joined.
	JoinedAt time.Time
	// Unanswered is how many pushes of [Channel.OnJoin] wait for their reply.
	Unanswered int
	// Held says that the channel is joined, and that a Dialect waits for more: see [Reaction].
	Held bool
	// Socket is the number of the socket that the channel is on, if there are several; else 0.
	Socket int

	wanted uint64
}

// Status returns a snapshot. Of a connection that is not running it is the zero Status with StatusDisconnected.
func (c *Conn) Status(ctx context.Context) (Status, error) {
	if !c.started.Load() {
		return Status{Link: StatusDisconnected}, nil
	}
	return c.status(ctx)
}

// status is Status of a connection that is running, or will be: then it waits for Serve.
func (c *Conn) status(ctx context.Context) (Status, error) {
	result := make(chan Status, 1)
	err := c.do(ctx, nil, c.urgent, func(l *loop, _ time.Time) { result <- l.dealer.status() })
	if err != nil {
		select {
		case <-c.done:
			return Status{Link: StatusDisconnected}, nil
		default:
			return Status{}, err
		}
	}
	return await(ctx, c, nil, result)
}

func (m *machine) status() Status {
	s := Status{Link: m.linkStatus(), Session: m.session, Retries: m.link.retries}
	if s.Link == StatusConnected {
		s.Transport = m.link.transport
	}
	for _, c := range m.order {
		cs := ChannelStatus{Topic: c.Topic, State: c.state.String(), Unanswered: c.unanswered, Held: c.held, wanted: c.wanted}
		if c.held {
			cs.Unanswered--
		}
		if c.state == channelJoined {
			cs.JoinedAt = c.joinedAt
		}
		s.Channels = append(s.Channels, cs)
	}
	return s
}

func (m *machine) linkStatus() LinkStatus {
	switch m.phase {
	case dialing, waiting:
		return StatusConnecting
	case up:
		return StatusConnected
	case dropping, closing:
		return StatusDisconnecting
	}
	return StatusDisconnected
}
