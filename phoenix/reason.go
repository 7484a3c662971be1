package phoenix

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
