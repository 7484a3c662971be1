package phoenixtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Map is a JSON object in the making; its keys are sent sorted, as Phoenix sends them.
type Map = map[string]any

// A Payload is what a message carries: JSON exactly as it came over the wire, or bytes.
type Payload struct {
	data   []byte
	binary bool
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

// IsBinary tells a binary payload from JSON.
func (p Payload) IsBinary() bool { return p.binary }

// Bytes are the JSON text or the binary data. They must not be changed.
func (p Payload) Bytes() []byte { return p.data }

// MarshalJSON lets a received payload be part of a [Map] that is sent.
func (p Payload) MarshalJSON() ([]byte, error) {
	if p.binary {
		return nil, errors.New("a binary payload has no JSON form")
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
