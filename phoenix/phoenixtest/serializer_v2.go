package phoenixtest

import (
	"encoding/json"
	"fmt"
)

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
