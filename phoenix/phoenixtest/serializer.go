package phoenixtest

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// A term is a JSON value that is only passed on or compared: a ref, a topic. Phoenix
// echoes them with their type, and "1" is not 1, so the text of the JSON is kept.
type term string

const null term = "null"

// termOf is the canonical form of raw JSON, so that "\u0031" equals "1".
func termOf(raw json.RawMessage) term {
	if len(raw) == 0 {
		return null
	}
	if raw[0] == '"' && slices.Contains(raw, '\\') {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return stringTerm(s)
		}
	}
	return term(raw)
}

func stringTerm(s string) term { return term(appendString(nil, s)) }

// text is the string that a term is; ok is false for any other JSON value.
func (t term) text() (s string, ok bool) {
	if len(t) < 2 || t[0] != '"' {
		return "", false
	}
	if strings.IndexByte(string(t), '\\') < 0 {
		return string(t[1 : len(t)-1]), true
	}
	err := json.Unmarshal([]byte(t), &s)
	return s, err == nil
}

// A message is what both serializers speak about.
type message struct {
	joinRef, ref term
	topic, event term
	payload      Payload
	status       string // of a reply; then payload is the response
	isReply      bool
	isBroadcast  bool
}

// A serializer turns messages into frames and back, for one vsn.
type serializer interface {
	// name is the Elixir module's, for those who ask who they talk to.
	name() string
	decode(frame wsFrame) (message, error)
	// encode panics when the message has no form in this vsn: an exception that
	// crashes the channel process that sends it.
	encode(m message) wsFrame
}

var errUndecodable = errors.New("undecodable message")

// newSerializer picks the serializer for the vsn that a client asks for, by the rule
// "~> 1.0.0" or "~> 2.0.0"; nil: there is none, or the socket does not have it.
func newSerializer(vsn string, allowed []string) serializer {
	major, ok := cutVersion(vsn)
	if !ok || !slices.Contains(allowed, major+".0.0") {
		return nil
	}
	switch major {
	case "1":
		return serializerV1{}
	case "2":
		return serializerV2{}
	default:
		return nil
	}
}

// cutVersion returns the major version of MAJOR.0.PATCH.
func cutVersion(vsn string) (major string, ok bool) {
	parts := strings.Split(vsn, ".")
	if len(parts) != 3 || parts[1] != "0" {
		return "", false
	}
	if _, err := strconv.ParseUint(parts[2], 10, 32); err != nil {
		return "", false
	}
	return parts[0], true
}

// appendString appends s as a JSON string, escaping no more than Jason does.
func appendString(buf []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	buf = append(buf, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			buf = append(buf, '\\', c)
		case c >= 0x20:
			buf = append(buf, c)
		case c == '\n':
			buf = append(buf, '\\', 'n')
		case c == '\r':
			buf = append(buf, '\\', 'r')
		case c == '\t':
			buf = append(buf, '\\', 't')
		default:
			buf = append(buf, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xF])
		}
	}
	return append(buf, '"')
}

// appendReply appends the payload of a phx_reply.
func appendReply(buf []byte, m message) []byte {
	buf = append(buf, `{"response":`...)
	buf = append(buf, m.payload.data...)
	buf = append(buf, `,"status":`...)
	return append(appendString(buf, m.status), '}')
}
