package signal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// reservedNames are the second segments of the types that are not messages; a connection called like one would make its
// messages look like lifecycle signals.
var reservedNames = []string{"connection", "channel", "push", "signal", "presence"}

// CheckName says whether name can be the name of a connection: a letter or digit, then letters, digits, '_' and '-', all of
// them ASCII, and not one of the reserved words connection, channel, push, signal and presence.
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

// Sanitize returns s as a segment of a type or a bus topic: every rune outside [A-Za-z0-9_-] becomes '_', and so does every
// byte that is not UTF-8; the empty string becomes "_". This loses information: different topics may share a segment.
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

// busPrefix begins every bus topic.
const busPrefix = "jido.protocol.phoenix."

// BusTopics returns the bus topics on which a signal is published: that of its connection and, when it has a topic, that of
// its channel, the topic sanitised.
func BusTopics(connection, topic string) []string {
	ofConnection := busPrefix + connection
	if topic == "" {
		return []string{ofConnection}
	}
	return []string{ofConnection, ofConnection + "." + Sanitize(topic)}
}
