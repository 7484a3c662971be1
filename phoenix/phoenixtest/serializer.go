package phoenixtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// Map is a JSON object in the making; its keys are sent sorted, as Phoenix sends them.
type Map = map[string]any

// A Payload is what a message carries: JSON exactly as it came over the wire, or bytes, or a [Term].
type Payload struct {
	data   []byte
	binary bool
	term   any
}

// JSON is the payload with v encoded as JSON: keys sorted, HTML characters as they
// are. A value that cannot be encoded panics, and so crashes the channel, as in Phoenix.
func JSON(v any) Payload {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("phoenixtest: cannot encode payload: %v", err))
	}
	return Payload{data: bytes.TrimSuffix(buf.Bytes(), []byte("\n"))}
}

// RawJSON is the payload with these very bytes of JSON.
func RawJSON(text string) Payload { return Payload{data: []byte(text)} }

// Binary is the payload with these bytes, Phoenix's {:binary, data}.
func Binary(data []byte) Payload { return Payload{data: data, binary: true} }

// Term is a payload that only the application's own code understands, as the tuples are that a serializer of an application hands to its
// channels. It has no form in a frame of Phoenix: to send it crashes.
func Term(v any) Payload { return Payload{term: v} }

// Term is the value that the payload was made of by [Term], nil if it was not.
func (p Payload) Term() any { return p.term }

// IsBinary tells a binary payload from JSON.
func (p Payload) IsBinary() bool { return p.binary }

// Bytes are the JSON text or the binary data. They must not be changed.
func (p Payload) Bytes() []byte { return p.data }

// MarshalJSON lets a received payload be part of a [Map] that is sent.
func (p Payload) MarshalJSON() ([]byte, error) {
	if p.binary || p.term != nil {
		return nil, errors.New("a payload that is binary, or a term, has no JSON form")
	}
	return p.data, nil
}

// Field is the value of a key of a JSON object payload, or def if the key is absent,
// null or of another type, or if the payload is null. On any other payload it panics,
// and so crashes the channel, as payload["key"] does in Elixir.
func Field[T any](p Payload, key string, def T) T {
	var object map[string]json.RawMessage
	if p.binary {
		panic("phoenixtest: field " + key + " of a binary payload")
	}
	if err := json.Unmarshal(p.data, &object); err != nil {
		panic(fmt.Sprintf("phoenixtest: field %s: %v", key, err))
	}
	value := def
	raw, ok := object[key]
	if !ok || string(raw) == "null" || json.Unmarshal(raw, &value) != nil {
		return def
	}
	return value
}

// mustHaveForm panics for a payload that no serializer of Phoenix can send.
func (p Payload) mustHaveForm() {
	if p.term != nil {
		panic(fmt.Sprintf("phoenixtest: a term cannot be sent: %v", p.term))
	}
}

// payloadOf makes a payload of what channel code passes as one; nil is the empty object,
// because that is what Phoenix sends when there is nothing to say.
func payloadOf(v any) Payload {
	switch v := v.(type) {
	case nil:
		return RawJSON("{}")
	case Payload:
		return v
	case json.RawMessage:
		return Payload{data: v}
	default:
		return JSON(v)
	}
}

// The kinds of binary frames.
const (
	kindPush      = 0
	kindReply     = 1
	kindBroadcast = 2
)

// serializerV2 is vsn 2.0.0: [join_ref, ref, topic, event, payload], and binary frames.
type serializerV2 struct{}

func (serializerV2) name() string { return "Phoenix.Socket.V2.JSONSerializer" }

func (serializerV2) decode(frame wsFrame) (message, error) {
	if frame.op == opBinary {
		return decodeBinary(frame.data)
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(frame.data, &parts); err != nil || len(parts) < 5 {
		return message{}, errUndecodable
	}
	return message{
		joinRef: termOf(parts[0]),
		ref:     termOf(parts[1]),
		topic:   termOf(parts[2]),
		event:   termOf(parts[3]),
		payload: Payload{data: parts[4]},
	}, nil
}

// A BinaryMessage is what [UserSocket.DecodeBinary] reads out of a frame.
type BinaryMessage struct {
	JoinRef, Ref, Topic, Event string
	Payload                    Payload
}

// decodeBinary reads 00 | join_ref_len | ref_len | topic_len | event_len | the four | data.
func decodeBinary(data []byte) (message, error) {
	const header = 5
	if len(data) < header || data[0] != kindPush {
		return message{}, errUndecodable
	}
	var fields [4]term
	rest := data[header:]
	for i := range fields {
		n := int(data[1+i])
		if len(rest) < n {
			return message{}, errUndecodable
		}
		fields[i], rest = stringTerm(string(rest[:n])), rest[n:]
	}
	return message{
		joinRef: fields[0],
		ref:     fields[1],
		topic:   fields[2],
		event:   fields[3],
		payload: Binary(rest),
	}, nil
}

func (serializerV2) encode(m message) wsFrame {
	m.payload.mustHaveForm()
	if m.payload.binary {
		return wsFrame{op: opBinary, data: encodeBinary(m)}
	}
	buf := make([]byte, 0, len(m.payload.data)+96)
	buf = append(append(buf, '['), m.joinRef...)
	buf = append(append(buf, ','), m.ref...)
	buf = append(append(buf, ','), m.topic...)
	if m.isReply {
		buf = append(buf, `,"phx_reply",`...)
		buf = appendReply(buf, m)
	} else {
		buf = append(append(buf, ','), m.event...)
		buf = append(append(buf, ','), m.payload.data...)
	}
	return wsFrame{op: opText, data: append(buf, ']')}
}

// encodeBinary writes a push, a reply or a broadcast; only a reply has a ref.
func encodeBinary(m message) []byte {
	var fields []string
	kind := byte(kindPush)
	switch {
	case m.isReply:
		kind = kindReply
		fields = []string{binaryField(m.joinRef), binaryField(m.ref), binaryField(m.topic), m.status}
	case m.isBroadcast:
		kind = kindBroadcast
		fields = []string{binaryField(m.topic), binaryField(m.event)}
	default:
		fields = []string{binaryField(m.joinRef), binaryField(m.topic), binaryField(m.event)}
	}
	buf := []byte{kind}
	for _, field := range fields {
		if len(field) > 255 {
			panic(fmt.Sprintf("phoenixtest: %q is over 255 bytes", field))
		}
		buf = append(buf, byte(len(field)))
	}
	for _, field := range fields {
		buf = append(buf, field...)
	}
	return append(buf, m.payload.data...)
}

// binaryField is a term in a binary frame, where null is the empty string.
func binaryField(t term) string {
	if t == null {
		return ""
	}
	s, ok := t.text()
	if !ok {
		panic(fmt.Sprintf("phoenixtest: %s is not a string, which a binary frame needs", t))
	}
	return s
}

// serializerV1 is vsn 1.0.0: {"event","payload","ref","topic"}. It never sends a join_ref
// but honours one, and it reads the same JSON from binary frames.
type serializerV1 struct{}

func (serializerV1) name() string { return "Phoenix.Socket.V1.JSONSerializer" }

func (serializerV1) decode(frame wsFrame) (message, error) {
	fields, ok := firstFields(frame.data)
	if !ok {
		return message{}, errUndecodable
	}
	for _, key := range []string{"topic", "event", "payload", "ref"} {
		if _, ok := fields[key]; !ok {
			return message{}, errUndecodable
		}
	}
	return message{
		joinRef: termOf(fields["join_ref"]),
		ref:     termOf(fields["ref"]),
		topic:   termOf(fields["topic"]),
		event:   termOf(fields["event"]),
		payload: Payload{data: fields["payload"]},
	}, nil
}

// firstFields are the members of a JSON object. Of a key given twice the first counts, as
// with Jason, where Unmarshal into a map would keep the last.
func firstFields(data []byte) (map[string]json.RawMessage, bool) {
	data = bytes.TrimSpace(data)
	if !json.Valid(data) || data[0] != '{' {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	_, _ = dec.Token() // the brace; valid JSON gives no errors from here on
	fields := map[string]json.RawMessage{}
	for dec.More() {
		token, _ := dec.Token()
		key, _ := token.(string)
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, false
		}
		if _, given := fields[key]; !given {
			fields[key] = value
		}
	}
	return fields, true
}

func (serializerV1) encode(m message) wsFrame {
	m.payload.mustHaveForm()
	if m.payload.binary {
		panic("phoenixtest: vsn 1.0.0 has no binary payloads")
	}
	buf := make([]byte, 0, len(m.payload.data)+96)
	buf = append(buf, `{"event":`...)
	if m.isReply {
		buf = append(buf, `"phx_reply","payload":`...)
		buf = appendReply(buf, m)
	} else {
		buf = append(buf, m.event...)
		buf = append(buf, `,"payload":`...)
		buf = append(buf, m.payload.data...)
	}
	buf = append(append(buf, `,"ref":`...), m.ref...)
	buf = append(append(buf, `,"topic":`...), m.topic...)
	return wsFrame{op: opText, data: append(buf, '}')}
}
