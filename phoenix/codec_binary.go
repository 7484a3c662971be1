package phoenix

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// The kinds of binary frames (PROTOCOL.md, section 3): a byte of kind, a byte of length for each field, the fields, and
// all the rest is the payload.
const (
	kindPush      = 0 // join_ref, topic, event; from us with a ref behind the join_ref
	kindReply     = 1 // join_ref, ref, topic, status
	kindBroadcast = 2 // topic, event
)

// An unknownKindError is about a binary frame of a kind that Phoenix does not have. Supabase, for one, has a kind 4.
type unknownKindError byte

func (e unknownKindError) Error() string {
	return fmt.Sprintf("a binary frame of unknown kind %d", byte(e))
}

var (
	errBinaryShort   = errors.New("the binary frame ends too early")
	errBinaryUTF8    = errors.New("the header of the binary frame is not valid UTF-8")
	errBinaryJoinRef = errors.New("a binary push needs a join_ref")
	errBinaryLong    = errors.New("join_ref, ref, topic and event of a binary push are at most 255 bytes long each")
)

// replyEvent is the event of binary replies, whose frames do not spell it out.
var replyEvent = []byte(eventReply)

// scanBinary decodes a binary frame of vsn 2.0.0 into f, which is reset.
func scanBinary(data []byte, f *frame) error {
	if len(data) == 0 {
		return errBinaryShort
	}
	var fields []*[]byte
	switch data[0] {
	case kindPush:
		fields = []*[]byte{&f.joinRef, &f.topic, &f.event}
	case kindReply:
		f.event = replyEvent
		fields = []*[]byte{&f.joinRef, &f.ref, &f.topic, &f.status}
	case kindBroadcast:
		fields = []*[]byte{&f.topic, &f.event}
	default:
		return unknownKindError(data[0])
	}
	if len(data) < 1+len(fields) {
		return errBinaryShort
	}
	lengths, rest := data[1:1+len(fields)], data[1+len(fields):]
	for i, field := range fields {
		n := int(lengths[i])
		if len(rest) < n {
			return errBinaryShort
		}
		if *field, rest = rest[:n], rest[n:]; !utf8.Valid(*field) {
			return errBinaryUTF8
		}
	}
	f.payload = Payload{Data: rest[:len(rest):len(rest)], Binary: true}
	return nil
}

// appendBinary appends m, whose payload is binary, as a push of vsn 2.0.0.
func appendBinary(dst []byte, m *message) ([]byte, error) {
	if m.joinRef == "" {
		// There is no null here, and the server drops an empty one without an answer (rule 1).
		return dst, errBinaryJoinRef
	}
	fields := [...]string{m.joinRef, m.ref, m.topic, m.event}
	start := dst
	dst = append(dst, kindPush)
	for _, field := range fields {
		if len(field) > math.MaxUint8 {
			return start, errBinaryLong
		}
		dst = append(dst, byte(len(field)))
	}
	for _, field := range fields {
		dst = append(dst, field...)
	}
	return append(dst, m.payload.Data...), nil
}
