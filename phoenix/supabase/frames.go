package supabase

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"phx/phoenix"
	"phx/phoenix/rawjson"
)

// The kinds of binary frames that Realtime has beside those of Phoenix, with vsn 2.0.0: a byte of kind, a byte of length for each field, a
// byte of encoding, the fields, and all the rest is the payload of the event within the broadcast.
const (
	kindPush      = 3 // to the server: join_ref, ref, topic, event, metadata
	kindBroadcast = 4 // from the server: topic, event, metadata
)

// The encodings. The server takes any but encodingBinary for JSON.
const (
	encodingBinary = 0
	encodingJSON   = 1
)

// eventBroadcast is the event of the message that a broadcast is.
const eventBroadcast = "broadcast"

var (
	errShort    = errors.New("the binary frame ends too early")
	errUTF8     = errors.New("the header of the binary frame is not valid UTF-8")
	errLong     = errors.New("topic and event of a broadcast of bytes are at most 255 bytes long each")
	errTwoNames = errors.New("a broadcast of JSON names its event in the payload, and not beside it")
)

// DecodeBinary decodes a broadcast from the server. One of JSON is a message of event "broadcast" with the payload that a text frame
// would have; one of bytes has the name of its event beside the payload.
func (*dialect) DecodeBinary(data []byte) (phoenix.DialectFrame, error) {
	if len(data) > 0 && data[0] != kindBroadcast {
		return phoenix.DialectFrame{}, fmt.Errorf("a binary frame of unknown kind %d", data[0])
	}
	const head = 5
	if len(data) < head {
		return phoenix.DialectFrame{}, errShort
	}
	encoding, rest := data[4], data[head:]
	var fields [3][]byte
	for i := range fields {
		n := int(data[1+i])
		if len(rest) < n {
			return phoenix.DialectFrame{}, errShort
		}
		if fields[i], rest = rest[:n], rest[n:]; !utf8.Valid(fields[i]) {
			return phoenix.DialectFrame{}, errUTF8
		}
	}
	topic, event, meta := fields[0], fields[1], fields[2]
	f := phoenix.DialectFrame{Topic: topic, Event: []byte(eventBroadcast)}
	if len(meta) > 0 {
		if _, err := rawjson.Check(meta); err != nil {
			return f, fmt.Errorf("metadata: %w", err)
		}
	}
	if encoding == encodingBinary {
		f.Payload = phoenix.Payload{Data: rest[:len(rest):len(rest)], Binary: true}
		f.Broadcast = &phoenix.Broadcast{Event: string(event)}
		if len(meta) > 0 {
			f.Broadcast.Meta = bytes.Clone(meta)
		}
		return f, nil
	}
	if _, err := rawjson.Check(rest); err != nil {
		return f, fmt.Errorf("payload: %w", err)
	}
	text := appendWrapper(make([]byte, 0, len(data)+64), string(event), rest)
	if len(meta) > 0 {
		text = append(text, `,"meta":`...)
		text = append(text, meta...)
	}
	text = append(text, '}')
	f.Payload = phoenix.Payload{Data: text, Broken: rawjson.HasLineBreak(text)}
	return f, nil
}

// appendWrapper appends the payload of a broadcast of JSON but for its closing brace. The payload within is spliced in as it is, so that
// its numbers keep their spelling.
func appendWrapper(dst []byte, event string, payload []byte) []byte {
	dst = append(dst, `{"type":"broadcast","event":`...)
	dst = rawjson.AppendString(dst, event)
	dst = append(dst, `,"payload":`...)
	return append(dst, payload...)
}

// EncodePush appends a broadcast of bytes, or of JSON as realtime-js sends it. One of JSON that such a frame cannot hold goes as text.
func (*dialect) EncodePush(dst []byte, joinRef, ref string, p *phoenix.Push) (frame []byte, ok bool, err error) {
	switch {
	case p.Name != eventBroadcast:
		return dst, false, nil
	case !p.Payload.Binary && p.BroadcastEvent != "":
		return dst, false, errTwoNames
	case !p.Payload.Binary:
		event, payload, metadata, ok := splitWrapper(p.Payload.Data)
		if !ok {
			return dst, false, nil
		}
		frame, ok = appendPush(dst, [5]string{joinRef, ref, p.Topic, event, metadata}, encodingJSON, payload)
		return frame, ok, nil
	case p.BroadcastEvent == "":
		return dst, false, nil
	}
	if frame, ok = appendPush(dst, [5]string{joinRef, ref, p.Topic, p.BroadcastEvent, ""}, encodingBinary, p.Payload.Data); !ok {
		return dst, false, errLong
	}
	return frame, true, nil
}

// appendPush appends a frame of kindPush. ok is false if a field is too long.
func appendPush(dst []byte, fields [5]string, encoding byte, payload []byte) (frame []byte, ok bool) {
	frame = append(dst, kindPush)
	for _, field := range fields {
		if len(field) > math.MaxUint8 {
			return dst, false
		}
		frame = append(frame, byte(len(field)))
	}
	frame = append(frame, encoding)
	for _, field := range fields {
		frame = append(frame, field...)
	}
	return append(frame, payload...), true
}

// splitWrapper takes the payload of a broadcast of JSON apart. What it has beside type, event and payload is metadata, an object or nothing.
// ok is false if it is no such payload.
func splitWrapper(text []byte) (event string, payload []byte, metadata string, ok bool) {
	var name, kind []byte
	var rest []byte
	start, c := rawjson.NextToken(text, 0)
	if c != '{' {
		return "", nil, "", false
	}
	end, err := rawjson.ReadObject(text, start, func(key, value []byte) {
		switch string(key) {
		case "event":
			name = value
		case "payload":
			payload = value
		case "type":
			kind = value
		default:
			rest = append(rest, ',')
			rest = append(rawjson.AppendString(rest, string(key)), ':')
			rest = append(rest, value...)
		}
	})
	if err != nil || rawjson.CheckEnd(text, end) != nil || name == nil || kind != nil && string(kind) != `"broadcast"` {
		return "", nil, "", false
	}
	read, _, err := rawjson.ReadString(name, 0)
	if err != nil {
		return "", nil, "", false
	}
	if payload == nil {
		payload = []byte("{}")
	}
	if rest != nil {
		rest[0] = '{'
		metadata = string(append(rest, '}'))
	}
	return string(read), payload, metadata, true
}

// Broadcast returns the push of a broadcast of an event on a topic. Bytes, which 1.0.0 listeners do not get, go with vsn 2.0.0 only.
func Broadcast(topic, event string, payload phoenix.Payload) phoenix.Push {
	p := phoenix.Push{Topic: topic, Name: eventBroadcast, Payload: payload}
	if payload.Binary {
		p.BroadcastEvent = event
		return p
	}
	data := payload.Data
	if data == nil {
		data = []byte("{}")
	}
	p.Payload.Data = append(appendWrapper(nil, event, data), '}')
	return p
}
