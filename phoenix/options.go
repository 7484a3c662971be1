package phoenix

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Options describe a connection. Only URL is required; the zero value of every other field is a sensible default,
// which is named there.
type Options struct {
	// URL is the socket's address: ws, wss, http or https. "/websocket" is appended to its path unless it ends so or in
	// "/longpoll", and the query parameter vsn unless it is there. Userinfo becomes basic authentication.
	URL string
	// VSN is the version of the wire format, "2.0.0" (the default) or "1.0.0". One in URL wins.
	VSN string
	// Transport is how messages travel, whatever the path of URL ends in. Default: TransportLongPoll where that ends in "/longpoll", else
	// TransportWebSocket.
	Transport Transport
	// FallbackAfter bounds, with TransportAuto, the wait for the answer to an upgrade, and then for that to a heartbeat, before the
	// session is opened by long poll. Default 2.5 s.
	FallbackAfter time.Duration
	// Credentials is called before every dial, so that tokens can rotate. Nil: none. It may block; its context ends with
	// ConnectTimeout.
	Credentials func(context.Context) (Credentials, error)
	// Channels are joined at every connect, without a call to Join.
	Channels []Channel
	// MaxChannelsPerSocket is how many channels are joined on one socket, 100 by default: no more are taken by Phoenix (PROTOCOL.md,
	// section 4). Further channels go to further sockets, each with a session, heartbeats and retries of its own: what is lost with one
	// is joined again alone. What is called for a dial, a message or a frame may then be called for several sockets at once: Credentials,
	// NetDial, Proxy, Skip and Trace. The connection has the status of its worst socket, and ends when one of them does. A server that has
	// room for fewer says so at the first join too many; then that number holds for as long as the Conn is there.
	MaxChannelsPerSocket int

	// ConnectTimeout bounds a dial, from credentials to upgrade. Default 10 s.
	ConnectTimeout time.Duration
	// ReplyTimeout bounds the wait for the reply to a join, a leave and, unless it has its own, a push. Default 10 s.
	ReplyTimeout time.Duration
	// HeartbeatInterval and HeartbeatTimeout: PROTOCOL.md, rule 17. Defaults 30 s and 10 s. With NoHeartbeat as interval none
	// are written but those of Conn.Heartbeat: for a server that has no timeout of its own, or a caller who writes them.
	HeartbeatInterval, HeartbeatTimeout time.Duration

	// MaxRetries bounds the retries of a dial, and of a channel's join, in a row: 0, the default, is none, -1 no limit.
	MaxRetries int
	// MaxOutage bounds how long a link, or a channel, may be away before it is not retried any more, whatever MaxRetries says; the last
	// retry comes when it is over. 0, the default: no bound.
	MaxOutage time.Duration
	// FailFast retries nothing until every one of Channels has been joined once.
	FailFast bool
	// RetryRefusals also retries what credentials could change, from the first dial on: HTTP 401, 403 and the like, certificates,
	// refused joins. Once every channel has been joined, refusals of the link are retried in any case, and those of a channel once it
	// has been joined: they are what a deploy looks like (rule 27)
	// (PROTOCOL.md, rule 16).
	RetryRefusals bool
	// ReconnectAfter and RejoinAfter are the delays between retries. Defaults: DefaultReconnectAfter, DefaultRejoinAfter.
	ReconnectAfter, RejoinAfter Backoff
	// NoJitter adds nothing to the Retry-After of a server; else up to half of it is added, evenly drawn (PROTOCOL.md, rule 29).
	NoJitter bool
	// StableAfter is how long a session, with every channel joined, must be up before the retries are counted anew
	// (PROTOCOL.md, rule 14). Default 10 s.
	StableAfter time.Duration

	// MaxMessage is the size in bytes of the largest message accepted; a larger one ends the session with close code
	// 1009. Default 64 MiB.
	MaxMessage int64
	// Compress offers permessage-deflate to the server, or gzip with long poll; it may decline. MaxMessage is about what comes out of it.
	Compress bool
	// Skip, if set, is asked for every message of a channel, on the goroutine that reads, before its payload is looked at; true
	// drops it. It must not keep its arguments.
	Skip func(topic, event []byte) bool
	// OnHeartbeat, if set, is called for each answered heartbeat with its round trip, on the goroutine that runs the connection:
	// it must not wait, and must not call the connection's methods.
	OnHeartbeat func(rtt time.Duration)
	// HeartbeatEvents adds a Heartbeat event for each answer to a heartbeat.
	HeartbeatEvents bool
	// AnyTopic makes events of messages on topics that nobody joined, too, as the data of GraphQL subscriptions by Absinthe comes
	// (PROTOCOL.md, rule 28). Without it the first of each topic is a warning in the log.
	AnyTopic bool
	// MissedSince, if set, is called when the connection is started, and returns from when on messages of Channels may have been
	// missed that somebody else had joined before, such as another process whose place this one takes: their first joins are rejoins,
	// and say so. Zero: there was nobody.
	MissedSince func() time.Time
	// Presence keeps track of who is present in each channel, and adds PresenceJoin, PresenceLeave and PresenceSync events
	// behind the messages presence_state and presence_diff that they come of. It sees these even when Skip drops them.
	Presence bool

	// Dialect is what the server adds to Phoenix's protocol; nil: nothing.
	Dialect Dialect
	// JoinInterval is the least time between two joins of the connection: for a server that limits their rate. Default 0.
	JoinInterval time.Duration

	// NetDial dials TCP; nil: a net.Dialer. TLS is the configuration of wss; nil: the system's roots.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	TLS     *tls.Config
	// Proxy says which proxy to connect through, http, socks5 or socks5h; nil, or a nil URL: none. It is asked at every dial,
	// with the URL of the socket as http or https and without its query: [http.ProxyFromEnvironment] fits.
	Proxy func(*http.Request) (*url.URL, error)
	// ReadBuffer is the size in bytes of the socket's read buffer: 4 KiB by default; much more saves system calls on a
	// fast stream, and costs memory for each connection.
	ReadBuffer int

	// Logger gets what is worth knowing and no event: stale and late frames (Debug), unreadable ones (Warn), each one: a server may
	// send millions. Nil: nothing.
	Logger *slog.Logger
	// Trace, if set, gets every frame in and out, on the goroutine that reads or writes it. It must be safe for several
	// goroutines and must not keep the data. What came is without the secrets of the connection, as [Conn.Redact] returns it; what
	// goes out is as it goes.
	Trace func(TraceFrame)
}

// A Transport is a way in which messages travel.
type Transport string

// The transports. TransportAuto is a WebSocket or, where that does not pass, long poll: see [Options.FallbackAfter].
const (
	TransportWebSocket Transport = "websocket"
	TransportLongPoll  Transport = "longpoll"
	TransportAuto      Transport = "auto"
)

// NoHeartbeat is the Options.HeartbeatInterval that switches heartbeats off. Phoenix closes a socket on which it has read
// nothing for 60 s, and nobody finds a link that is half open: on Linux TCP_USER_TIMEOUT is not set, either.
const NoHeartbeat time.Duration = -1

// Credentials are what a dial shows to the server.
type Credentials struct {
	// Params are added to the URL's query (Phoenix: the params of connect/3).
	Params url.Values
	// Header is added to the upgrade request.
	Header http.Header
	// AuthToken is sent as a subprotocol, where HasAuthToken is set (PROTOCOL.md, rule 24).
	AuthToken    string
	HasAuthToken bool
	// TLS, if set, takes the place of Options.TLS, so that certificates can be renewed, too.
	TLS *tls.Config
}

// A Channel is a topic to be joined.
type Channel struct {
	Topic string
	// Params is called before every join of the topic, so that tokens can rotate; nil: an empty object. It may block.
	Params func(context.Context) (Payload, error)
	// OnJoin is called before every join of the topic, behind Params; nil: no pushes. What it returns is pushed right after the join
	// was accepted, before anything else on the channel; Topic and Index of a Push do not count. These pushes are a part of the
	// join: when one is answered with another status than "ok", or not in time, the channel is left, is Errored, and is joined again
	// as after a refused join. What is in their payloads is a secret, as what is in params. It may block.
	OnJoin func(context.Context) ([]Push, error)
	// Resume is called before every join of the topic, behind OnJoin; nil: nothing. The members of the JSON object that it returns
	// take the place of params with the same names, and Joined tells of them, so they must not be secret. Nil: none. It may block.
	Resume func(context.Context) (json.RawMessage, error)
	// Renew is called after each accepted join of the topic, and again whenever the time has come that it returned last; nil: never. What
	// it returns is pushed on the channel, without a wait for a reply, so that a token of the join can be renewed before it expires: its
	// payload is a secret. A nil Push: nothing. The zero time: it is not called again before the next join. An error is a warning in the
	// log. It may block.
	Renew func(context.Context) (*Push, time.Time, error)
}

// prepares reports whether something has to be called before a join.
func (c *Channel) prepares() bool { return c.Params != nil || c.OnJoin != nil || c.Resume != nil }

// CheckTopic reports why no channel of the topic can be joined, whatever the server has; nil: one can, perhaps.
func CheckTopic(topic string) error {
	switch topic {
	case "":
		return errors.New("the topic is empty")
	case topicPhoenix:
		return fmt.Errorf("the topic %q is the socket's own, and cannot be joined", topic)
	}
	return checkNames(&message{topic: topic})
}

// A TraceFrame is one frame on the wire.
type TraceFrame struct {
	// Out says that we sent it.
	Out bool
	// Kind is "text", "binary", "ping", "pong" or "close".
	Kind string
	// Data is the frame's; of a close frame, its code in decimal.
	Data []byte
}

// Effective returns o as [New] takes it, with the defaults filled in, or the error that New would return. Nothing is made of it.
func (o Options) Effective() (Options, error) {
	o, err := o.withDefaults()
	if err != nil {
		return o, err
	}
	e, err := newEndpoint(o.URL, o.VSN, o.Transport)
	if err == nil {
		o.Transport = e.transport
	}
	return o, err
}

// withDefaults returns o with its zero values replaced, or what is wrong with it.
func (o Options) withDefaults() (Options, error) {
	setDefault(&o.VSN, "2.0.0")
	setDefault(&o.ConnectTimeout, 10*time.Second)
	setDefault(&o.ReplyTimeout, 10*time.Second)
	setDefault(&o.HeartbeatInterval, 30*time.Second)
	beats := o.HeartbeatInterval != NoHeartbeat
	if beats {
		setDefault(&o.HeartbeatTimeout, min(10*time.Second, o.HeartbeatInterval))
	}
	setDefault(&o.HeartbeatTimeout, 10*time.Second)
	setDefault(&o.StableAfter, 10*time.Second)
	setDefault(&o.FallbackAfter, 2500*time.Millisecond)
	setDefault(&o.MaxChannelsPerSocket, 100)
	setDefault(&o.MaxMessage, 64<<20)
	setDefault(&o.ReadBuffer, 4<<10)
	if o.ReconnectAfter == nil {
		o.ReconnectAfter = DefaultReconnectAfter()
	}
	if o.RejoinAfter == nil {
		o.RejoinAfter = DefaultRejoinAfter()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for name, d := range map[string]time.Duration{
		"connect timeout": o.ConnectTimeout, "reply timeout": o.ReplyTimeout, "heartbeat interval": o.HeartbeatInterval,
		"heartbeat timeout": o.HeartbeatTimeout, "stable time": o.StableAfter, "longest outage": o.MaxOutage,
		"time before the fallback": o.FallbackAfter, "time between joins": o.JoinInterval,
	} {
		if d < 0 && (beats || name != "heartbeat interval") {
			return o, fmt.Errorf("the %s is negative: %v", name, d)
		}
	}
	if beats && o.HeartbeatTimeout > o.HeartbeatInterval {
		return o, fmt.Errorf("the heartbeat timeout (%v) is longer than the heartbeat interval (%v)", o.HeartbeatTimeout, o.HeartbeatInterval)
	}
	if o.MaxRetries < -1 {
		return o, fmt.Errorf("the number of retries is %d: it can be -1 (no limit), 0 or more", o.MaxRetries)
	}
	if o.MaxChannelsPerSocket < 0 {
		return o, fmt.Errorf("the number of channels on a socket is negative: %d", o.MaxChannelsPerSocket)
	}
	if o.MaxMessage < 0 || o.ReadBuffer < 0 {
		return o, errors.New("the size of the largest message or of the read buffer is negative")
	}
	for i := range o.Channels {
		if err := CheckTopic(o.Channels[i].Topic); err != nil {
			return o, err
		}
	}
	return o, nil
}

// spread draws what is added to the Retry-After of a server.
func (o *Options) spread() func(limit time.Duration) time.Duration {
	if o.NoJitter {
		return func(time.Duration) time.Duration { return 0 }
	}
	return func(limit time.Duration) time.Duration { return rand.N(limit + 1) }
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
