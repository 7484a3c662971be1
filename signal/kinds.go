package signal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"phx/phoenix"
)

// Type returns the type of ev's signal on the connection of that name:
// "phoenix.<connection>.<topic>.<event>" for a message, topic and event sanitised, and a name such
// as "phoenix.channel.joined" for any other event. It is empty if ev has no signal.
func Type(connection string, ev *phoenix.Event) string {
	k := kindOf(ev.Detail)
	if k == "" {
		return ""
	}
	return string(k.appendType(nil, connection, ev.Topic, ev.Name))
}

// IsLifecycle reports whether a signal of that type is about the state of the connection or of a
// channel, and not a message, the end of a push or a presence.
func IsLifecycle(typ string) bool {
	k, ok := strings.CutPrefix(typ, typePrefix)
	return ok && (kind(k).ofConnection() || kind(k).ofChannel())
}

// A kind is what a signal is about: kindMessage for a message, otherwise the type of the signal
// without the leading "phoenix.". It is empty for an event that has no signal.
type kind string

const (
	kindMessage kind = "message"
	kindDropped kind = "signal.dropped"
)

func kindOf(d phoenix.Detail) kind {
	switch d.(type) {
	case *phoenix.Message:
		return kindMessage
	case *phoenix.Connecting:
		return "connection.connecting"
	case *phoenix.Connected:
		return "connection.connected"
	case *phoenix.Disconnected:
		return "connection.disconnected"
	case *phoenix.Reconnecting:
		return "connection.reconnecting"
	case *phoenix.ReconnectExhausted:
		return "connection.reconnect_exhausted"
	case *phoenix.Heartbeat:
		return "connection.heartbeat"
	case *phoenix.HeartbeatTimeout:
		return "connection.heartbeat_timeout"
	case *phoenix.Joining:
		return "channel.joining"
	case *phoenix.Joined:
		return "channel.joined"
	case *phoenix.Live:
		return "channel.live"
	case *phoenix.Gap:
		return "channel.gap"
	case *phoenix.JoinError:
		return "channel.join_error"
	case *phoenix.Left:
		return "channel.left"
	case *phoenix.Closed:
		return "channel.closed"
	case *phoenix.Errored:
		return "channel.errored"
	case *phoenix.PushReply:
		return "push.reply"
	case *phoenix.PushTimeout:
		return "push.timeout"
	case *phoenix.PushError:
		return "push.error"
	case *phoenix.PresenceJoin:
		return "presence.join"
	case *phoenix.PresenceLeave:
		return "presence.leave"
	case *phoenix.PresenceSync:
		return "presence.sync"
	}
	return ""
}

func (k kind) ofConnection() bool { return strings.HasPrefix(string(k), "connection.") }
func (k kind) ofChannel() bool    { return strings.HasPrefix(string(k), "channel.") }
func (k kind) ofPush() bool       { return strings.HasPrefix(string(k), "push.") }
func (k kind) ofPresence() bool   { return strings.HasPrefix(string(k), "presence.") }

// hasEvent reports whether signals of this kind have a raw event name, be it empty, and therefore
// a topic, too.
func (k kind) hasEvent() bool { return k == kindMessage || k.ofPush() }

// hasTopic reports whether signals of this kind have a raw topic, be it empty.
func (k kind) hasTopic() bool { return k.hasEvent() || k.ofChannel() || k.ofPresence() }

// typePrefix begins every type.
const typePrefix = "phoenix."

// appendType appends the type of a signal of kind k. Topic and event matter for messages only.
func (k kind) appendType(dst []byte, connection, topic, event string) []byte {
	dst = append(dst, typePrefix...)
	if k != kindMessage {
		return append(dst, k...)
	}
	dst = append(dst, connection...)
	dst = append(dst, '.')
	dst = appendSanitized(dst, topic)
	dst = append(dst, '.')
	return appendSanitized(dst, event)
}

// CheckName returns an error unless name can be the name of a connection: a letter or digit, then
// letters, digits, '_' and '-', all of them ASCII, and not one of the reserved words connection,
// channel, push, signal and presence.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a connection name must not be empty")
	case slices.Contains(reservedNames, name):
		return fmt.Errorf("connection name %q is reserved; so are: %s", name, strings.Join(reservedNames, ", "))
	case name[0] == '_' || name[0] == '-' || Sanitize(name) != name:
		return fmt.Errorf("connection name %q does not match [A-Za-z0-9][A-Za-z0-9_-]*", name)
	}
	return nil
}

// reservedNames are the second segments of the types that are not messages; a connection called
// like one would make its messages look like lifecycle signals.
var reservedNames = []string{"connection", "channel", "push", "signal", "presence"}

// Sanitize returns s as a segment of a type or a bus topic: every rune outside [A-Za-z0-9_-]
// becomes '_', and so does every byte that is not UTF-8; the empty string becomes "_". This loses
// information: different topics may share a segment.
func Sanitize(s string) string {
	return string(appendSanitized(nil, s))
}

func appendSanitized(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, '_')
	}
	for _, r := range s {
		if r >= utf8.RuneSelf || !isSegmentByte(byte(r)) {
			r = '_'
		}
		dst = append(dst, byte(r))
	}
	return dst
}

func isSegmentByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// BusTopics returns the bus topics on which a signal is published: that of its connection and,
// when it has a topic, that of its channel, the topic sanitised.
func BusTopics(connection, topic string) []string {
	ofConnection := busPrefix + connection
	if topic == "" {
		return []string{ofConnection}
	}
	return []string{ofConnection, ofConnection + "." + Sanitize(topic)}
}

// busPrefix begins every bus topic.
const busPrefix = "jido.protocol.phoenix."
