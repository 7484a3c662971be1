package phoenixtest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// The limits of a UserSocket that sets none of its own; they are Phoenix's.
const (
	DefaultIdleTimeout  = 60 * time.Second
	DefaultMaxFrameSize = 10_000_000
	DefaultMaxChannels  = 100
)

// A UserSocket describes a socket that is mounted at a path: who may connect and which
// channels there are. The zero value accepts everyone and has no channels.
type UserSocket struct {
	Channels []Route

	// Connect decides about a client. A nil error accepts, a *[Refusal] answers what it
	// says, any other error answers 403. It may block: Info.Context ends when the client
	// gives up. A nil Connect accepts.
	Connect func(info *ConnectInfo) error
	// ID names the sockets of one user for [Server.Disconnect]; "" is no id.
	ID func(info *ConnectInfo) string

	// DecodeBinary reads a binary frame of vsn 2.0.0 that Phoenix's serializer has no clause for, as a serializer of the application would.
	// An error says that this has none, either. A nil DecodeBinary reads none.
	DecodeBinary func(data []byte) (BinaryMessage, error)
	// DropMalformed drops a frame that cannot be decoded, where Phoenix ends the connection with 1011.
	DropMalformed bool

	Versions     []string      // of the serializers, "1.0.0" and "2.0.0"; nil: both
	AuthToken    bool          // take a token from Sec-WebSocket-Protocol
	CheckOrigin  []string      // hosts that an Origin header may name; nil: not checked
	Compress     bool          // accept permessage-deflate
	IdleTimeout  time.Duration // without data from the client; 0: the default; negative: none
	MaxFrameSize int           // of one client frame with its header; 0: the default
	MaxChannels  int           // joined on one socket; 0: the default; negative: no limit
	PollWindow   time.Duration // of a long poll; 0: that of the server
}

// ConnectInfo is what a socket may know about a client that connects.
type ConnectInfo struct {
	Context   context.Context   // of the HTTP request; not for use after Connect
	Params    Map               // query parameters, nested as Plug nests them, vsn included
	Headers   map[string]string // the x-* request headers, names in lower case
	AuthToken *string           // nil: none was given
	URI       string
	UserAgent *string
	Peer      string // host:port of the client
}

// A Refusal is the HTTP answer to a client that may not connect.
type Refusal struct {
	Status int
	Header http.Header
	Body   string
}

// Error implements error.
func (r *Refusal) Error() string { return fmt.Sprintf("refused with HTTP status %d", r.Status) }

// channel finds the first route for a topic, in the order given.
func (u *UserSocket) channel(topic string) (Route, bool) {
	i := slices.IndexFunc(u.Channels, func(r Route) bool { return r.matches(topic) })
	if i < 0 {
		return Route{}, false
	}
	return u.Channels[i], true
}

func (u *UserSocket) withDefaults(window time.Duration) *UserSocket {
	d := *u
	if d.PollWindow == 0 {
		d.PollWindow = window
	}
	if d.IdleTimeout == 0 {
		d.IdleTimeout = DefaultIdleTimeout
	}
	if d.MaxFrameSize == 0 {
		d.MaxFrameSize = DefaultMaxFrameSize
	}
	if d.MaxChannels == 0 {
		d.MaxChannels = DefaultMaxChannels
	}
	if d.Versions == nil {
		d.Versions = []string{"1.0.0", "2.0.0"}
	}
	return &d
}
