package phoenix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// decoded is what a frame says. It is a second form of frame so that tests can compare a codec with an independent
// decoder, built here from encoding/json and nothing of the codecs.
type decoded struct {
	JoinRef, Ref, Topic, Event, Status string
	HasStatus                          bool
	Payload                            Payload
}

// decode is both steps of c.
func decode(c codec, data []byte, binary bool) (decoded, error) {
	var f frame
	err := c.scan(data, binary, &f)
	if err == nil {
		err = c.finish(&f)
	}
	return decoded{
		JoinRef: string(f.joinRef), Ref: string(f.ref), Topic: string(f.topic), Event: string(f.event),
		Status: string(f.status), HasStatus: f.status != nil, Payload: f.payload,
	}, err
}

// checkDecode compares what c makes of data with want; ok says whether data is a proper frame at all.
func checkDecode(t *testing.T, c codec, data []byte, binary bool, want decoded, ok bool) {
	t.Helper()
	before := bytes.Clone(data)
	got, err := decode(c, data, binary)
	if !bytes.Equal(before, data) {
		t.Errorf("decoding changed the frame %q to %q", before, data)
	}
	if (err == nil) != ok {
		t.Fatalf("decoding %q: error %v, but the model's verdict is %t", data, err, ok)
	}
	if !ok {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoding %q differs (-model +codec):\n%s", data, diff)
	}
	if p := got.Payload; p.Data != nil && !p.Binary && !(json.Valid(p.Data) && utf8.Valid(p.Data)) {
		t.Errorf("decoding %q: payload %q is not valid JSON", data, p.Data)
	}
}

// modelV2 decodes a text frame of vsn 2.0.0 with encoding/json.
func modelV2(data []byte) (d decoded, ok bool) {
	var elements []json.RawMessage
	if !utf8.Valid(data) || json.Unmarshal(data, &elements) != nil || len(elements) < 5 {
		return d, false
	}
	return modelFrame(elements[0], elements[1], elements[2], elements[3], elements[4])
}

// modelV1 decodes a text frame of vsn 1.0.0 with encoding/json.
func modelV1(data []byte) (d decoded, ok bool) {
	object, ok := modelObject(data)
	if !ok || object["payload"] == nil {
		return d, false
	}
	return modelFrame(object["join_ref"], object["ref"], object["topic"], object["event"], object["payload"])
}

func modelObject(data []byte) (object map[string]json.RawMessage, ok bool) {
	ok = utf8.Valid(data) && json.Unmarshal(data, &object) == nil && object != nil
	return object, ok
}

func modelFrame(joinRef, ref, topic, event, payload json.RawMessage) (d decoded, ok bool) {
	var refs, topics, events bool
	d.JoinRef, refs = modelRef(joinRef)
	d.Ref, ok = modelRef(ref)
	d.Topic, topics = modelRef(topic)
	d.Event, events = modelString(event)
	if !refs || !ok || !topics || topic == nil || !events {
		return d, false
	}
	if d.Event != "phx_reply" {
		d.Payload = modelPayload(payload)
		return d, true
	}
	reply, ok := modelObject(payload)
	if !ok {
		return d, false
	}
	d.Status, d.HasStatus = modelString(reply["status"])
	if response, ok := reply["response"]; ok {
		d.Payload = modelPayload(response)
	}
	return d, d.HasStatus
}

func modelString(raw json.RawMessage) (s string, ok bool) {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return "", false
	}
	s, ok = value.(string)
	return s, ok
}

// modelRef is modelString for what may also be missing, null or a number.
func modelRef(raw json.RawMessage) (ref string, ok bool) {
	if raw == nil || string(raw) == "null" {
		return "", true
	}
	var number json.Number
	if raw[0] != '"' && json.Unmarshal(raw, &number) == nil {
		return string(number), true
	}
	return modelString(raw)
}

func modelPayload(raw json.RawMessage) Payload {
	raw = bytes.Trim(raw, " \t\r\n")
	return Payload{Data: raw, Broken: bytes.ContainsAny(raw, "\r\n")}
}

// modelBinary decodes a binary frame of vsn 2.0.0 with a bytes.Reader.
func modelBinary(data []byte) (d decoded, ok bool) {
	r := bytes.NewReader(data)
	kind, err := r.ReadByte()
	var parts []*string
	switch {
	case err != nil:
		return d, false
	case kind == 0:
		parts = []*string{&d.JoinRef, &d.Topic, &d.Event}
	case kind == 1:
		parts = []*string{&d.JoinRef, &d.Ref, &d.Topic, &d.Status}
		d.Event, d.HasStatus = "phx_reply", true
	case kind == 2:
		parts = []*string{&d.Topic, &d.Event}
	default:
		return d, false
	}
	sizes := make([]byte, len(parts))
	if _, err := io.ReadFull(r, sizes); err != nil {
		return d, false
	}
	for i, part := range parts {
		field := make([]byte, sizes[i])
		if _, err := io.ReadFull(r, field); err != nil || !utf8.Valid(field) {
			return d, false
		}
		*part = string(field)
	}
	rest, err := io.ReadAll(r)
	d.Payload = Payload{Data: rest, Binary: true}
	return d, err == nil
}

// serverBinary encodes a binary frame as a server does.
func serverBinary(kind byte, data []byte, fields ...string) []byte {
	out := []byte{kind}
	for _, field := range fields {
		out = append(out, byte(len(field)))
	}
	for _, field := range fields {
		out = append(out, field...)
	}
	return append(out, data...)
}

// quote is the JSON of a string as encoding/json writes it, with other escapes than ours.
func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("a string that has no JSON: %v", err))
	}
	return string(text)
}
