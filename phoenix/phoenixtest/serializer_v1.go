package phoenixtest

import (
	"bytes"
	"encoding/json"
)

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
