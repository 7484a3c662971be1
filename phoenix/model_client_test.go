package phoenix

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// A clientFrame is a frame of a client, decoded as a server does.
type clientFrame struct {
	joinRef, ref, topic, event, payload string
	binary                              bool
}

func (m *clientFrame) String() string {
	return fmt.Sprintf("[%q %q %q %q %s]", m.joinRef, m.ref, m.topic, m.event, m.payload)
}

// readClientFrame decodes what the machine sent.
func readClientFrame(t testing.TB, c codec, f outFrame) *clientFrame {
	t.Helper()
	m, err := parseClientFrame(c, f)
	if err != nil {
		t.Fatalf("%q is not a frame of a client: %v", f.data, err)
	}
	return m
}

var (
	errNoRef      = errors.New("its ref is null")
	errNotPush    = errors.New("it is not a whole binary push")
	errEmptyField = errors.New("it is a binary push with an empty field")
)

// parseClientFrame decodes a frame of a client without the codecs, and takes nothing that a server could stumble over: all
// refs are strings, none is empty, and only join_ref may be null (rule 1). Of a binary push with an empty field it returns
// the others, too.
func parseClientFrame(c codec, f outFrame) (*clientFrame, error) {
	_, v1 := c.(codecV1)
	if f.binary && !v1 {
		return parseClientBinary(f.data)
	}
	var m struct {
		JoinRef *string `json:"join_ref"`
		Ref     *string
		Topic   *string
		Event   *string
		Payload json.RawMessage
	}
	var into any = &m
	if !v1 {
		into = &[]any{&m.JoinRef, &m.Ref, &m.Topic, &m.Event, &m.Payload, new(endOfFrame)}
	}
	if err := json.Unmarshal(f.data, into); err != nil {
		return nil, err
	}
	switch {
	case f.binary:
		return nil, errors.New("it is text in a binary frame")
	case m.Ref == nil || *m.Ref == "":
		return nil, errNoRef
	case m.JoinRef != nil && *m.JoinRef == "" || m.Topic == nil || m.Event == nil || m.Payload == nil:
		return nil, errors.New("a part of it is empty, null or missing")
	}
	got := &clientFrame{ref: *m.Ref, topic: *m.Topic, event: *m.Event, payload: string(m.Payload)}
	if m.JoinRef != nil {
		got.joinRef = *m.JoinRef
	}
	return got, nil
}

// endOfFrame stands behind the last element of a frame.
type endOfFrame struct{}

func (*endOfFrame) UnmarshalJSON([]byte) error { return errors.New("it has more than five elements") }

func parseClientBinary(data []byte) (*clientFrame, error) {
	if len(data) < 5 || data[0] != kindPush {
		return nil, errNotPush
	}
	m := &clientFrame{binary: true}
	lengths, rest := data[1:5], data[5:]
	for i, field := range []*string{&m.joinRef, &m.ref, &m.topic, &m.event} {
		n := int(lengths[i])
		if len(rest) < n {
			return nil, errNotPush
		}
		*field, rest = string(rest[:n]), rest[n:]
	}
	m.payload = string(rest)
	if slices.Contains(lengths, 0) {
		return m, errEmptyField
	}
	return m, nil
}
