package phoenix

import (
	"errors"
	"fmt"
)

// codecV1 is vsn 1.0.0. Its frames are text: objects of topic, event, payload and ref, with the keys in any order. The
// server sends no join_ref, but honours ours (PROTOCOL.md, section 2).
type codecV1 struct{}

var (
	errBinaryPayload = errors.New("vsn 1.0.0 has no binary payloads: use vsn 2.0.0")
	errBinaryFrame   = errors.New("a binary frame, which vsn 1.0.0 does not have")
	errNoPayload     = errors.New("payload: the frame has none")
)

// scan validates the whole frame, as the payload may stand before the keys that a filter asks for.
func (codecV1) scan(data []byte, binary bool, f *frame) error {
	*f = frame{at: f.at}
	if binary {
		return errBinaryFrame
	}
	var joinRef, ref, topic, event, payload []byte
	start, _ := nextToken(data, 0)
	end, err := readObject(data, start, func(key, value []byte) {
		switch string(key) {
		case "join_ref":
			joinRef = value
		case "ref":
			ref = value
		case "topic":
			topic = value
		case "event":
			event = value
		case "payload":
			payload = value
		}
	})
	if err == nil {
		err = checkEnd(data, end)
	}
	if err != nil {
		return err
	}
	if payload == nil {
		return errNoPayload
	}
	f.payload = jsonPayload(payload)
	// A topic, too, is echoed with its type, but it has to be there.
	if f.topic, _, err = readRef(topic, 0); err != nil {
		return fmt.Errorf("topic: %s", faultRef)
	}
	if f.event, _, err = readString(event, 0); err != nil {
		return fmt.Errorf("event: %s", faultString)
	}
	if f.joinRef, err = optionalRef(joinRef); err != nil {
		return fmt.Errorf("join_ref: %s", faultRef)
	}
	if f.ref, err = optionalRef(ref); err != nil {
		return fmt.Errorf("ref: %s", faultRef)
	}
	return nil
}

// optionalRef is readRef for a value that may be missing.
func optionalRef(value []byte) (ref []byte, err error) {
	if value != nil {
		ref, _, err = readRef(value, 0)
	}
	return ref, err
}

func (codecV1) finish(f *frame) error {
	if string(f.event) != eventReply {
		return nil
	}
	if _, err := readReply(f.payload.Data, 0, f); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	return nil
}

func (codecV1) append(dst []byte, m *message) (data []byte, binary bool, err error) {
	if m.payload.Binary {
		return dst, false, errBinaryPayload
	}
	if err := checkNames(m); err != nil {
		return dst, false, err
	}
	dst = append(dst, `{"topic":`...)
	dst = appendString(dst, m.topic)
	dst = append(dst, `,"event":`...)
	dst = appendString(dst, m.event)
	dst = append(dst, `,"payload":`...)
	dst = appendPayload(dst, m.payload)
	dst = append(dst, `,"ref":`...)
	dst = appendRef(dst, m.ref)
	dst = append(dst, `,"join_ref":`...)
	dst = appendRef(dst, m.joinRef)
	return append(dst, '}'), false, nil
}
