package phoenix

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"phx/phoenix/rawjson"
)

// codecFor returns the codec for a vsn as the server's Version.match? reads it (PROTOCOL.md, section 1): "~> 2.0.0" or
// "~> 1.0.0". Anything else, "2.0" and "2.1.0" too, the server would refuse with a bare 403.
func codecFor(vsn string) (codec, error) {
	if patch, ok := strings.CutPrefix(vsn, "2.0."); ok && isPatch(patch) {
		return codecV2{}, nil
	}
	if patch, ok := strings.CutPrefix(vsn, "1.0."); ok && isPatch(patch) {
		return codecV1{}, nil
	}
	return nil, fmt.Errorf("vsn %q is not known: use 2.0.0 or 1.0.0", vsn)
}

// isPatch reports whether s is the third number of a version.
func isPatch(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// checkPayload returns an error for a payload that cannot be sent: malformed JSON would make the server close the whole
// socket (rule 12). A zero Payload can be sent: it goes as an empty object.
func checkPayload(p Payload) error {
	if p.Binary || p.Data == nil {
		return nil
	}
	if _, err := rawjson.Check(p.Data); err != nil {
		return fmt.Errorf("the payload is not valid JSON: %w", err)
	}
	return nil
}

// A frame is one decoded message from the server. Its byte slices point into the buffer that it was decoded from.
type frame struct {
	// at is when the frame's last byte had been received.
	at time.Time
	// joinRef and ref are empty for null.
	joinRef, ref []byte
	topic, event []byte
	// payload is raw: JSON text or, with binary, bytes. In a phx_reply it is the response.
	payload Payload
	// status is that of a phx_reply, else nil.
	status []byte
	// broadcast is that of a DialectFrame; finished says that it is one, and so that its payload is valid.
	broadcast *Broadcast
	finished  bool
	// skipped says that the Skip filter did not want the message: its payload was not looked at, unless presence is tracked
	// and it is about that.
	skipped bool
}

// The events that the protocol keeps for itself (phoenix/assets/js/phoenix/constants.js).
const (
	eventJoin      = "phx_join"
	eventLeave     = "phx_leave"
	eventReply     = "phx_reply"
	eventError     = "phx_error"
	eventClose     = "phx_close"
	eventHeartbeat = "heartbeat"

	// Those of Phoenix.Presence are messages like others to the protocol.
	eventPresenceState = "presence_state"
	eventPresenceDiff  = "presence_diff"

	topicPhoenix = "phoenix"
)

// A message is one that we send. Refs are strings, never empty but for the join_ref of a heartbeat (rule 1).
type message struct {
	joinRef, ref string
	topic, event string
	payload      Payload
	// broadcastEvent is that of a push.
	broadcastEvent string
}

// A codec is one vsn of the wire: it decodes what the server sends and encodes what we send. Codecs have no state.
//
// Decoding has two steps so that a filter can look at the header of a frame before its payload is validated: scan fills
// the header, finish validates the payload and takes a reply apart. A frame that either refuses is to be reported and is
// not to be used.
type codec interface {
	// scan decodes the header of data into f, which it resets but for at. f.payload is not valid before finish.
	scan(data []byte, binary bool, f *frame) error
	// finish validates f.payload and, in a phx_reply, splits it into status and response.
	finish(f *frame) error
	// append appends the encoded m to dst and says whether it goes as a binary frame. m.payload is valid JSON, checked by
	// checkPayload.
	append(dst []byte, m *message) (data []byte, binary bool, err error)
}

// codecV2 is vsn 2.0.0. Its text frames are arrays, [join_ref, ref, topic, event, payload]; for binary ones see
// scanBinary.
type codecV2 struct{}

func (codecV2) scan(data []byte, binary bool, f *frame) error {
	*f = frame{at: f.at}
	if binary {
		return scanBinary(data, f)
	}
	i, c := rawjson.NextToken(data, 0)
	if c != '[' {
		return rawjson.FaultArray.At(data, i)
	}
	i, _ = rawjson.NextToken(data, i+1)
	var err error
	if f.joinRef, i, err = refElement(data, i); err != nil {
		return err
	}
	if f.ref, i, err = refElement(data, i); err != nil {
		return err
	}
	// A topic, too, is echoed with its type: null if we sent null.
	if f.topic, i, err = refElement(data, i); err != nil {
		return err
	}
	if f.event, i, err = stringElement(data, i); err != nil {
		return err
	}
	// All the rest; finish finds the end of the payload in it.
	f.payload.Data = data[i:]
	return nil
}

func (codecV2) finish(f *frame) error {
	if f.payload.Binary {
		return nil
	}
	text := f.payload.Data
	var i int
	var err error
	if string(f.event) == eventReply {
		i, err = readReply(text, 0, f)
	} else {
		var payload []byte
		payload, i, err = rawjson.ReadValue(text, 0)
		f.payload = jsonPayload(payload)
	}
	if err == nil {
		err = endArray(text, i)
	}
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	return nil
}

// endArray returns an error unless the frame ends properly behind its payload, which ends at text[i]. Elements behind
// the payload are ignored, as the server ignores ours (PROTOCOL.md, section 2).
func endArray(text []byte, i int) error {
	i, c := rawjson.NextToken(text, i)
	for c == ',' {
		var f rawjson.Fault
		i, _ = rawjson.NextToken(text, i+1)
		if i, f = rawjson.SkipValue(text, i); f != rawjson.NoFault {
			return f.At(text, i)
		}
		i, c = rawjson.NextToken(text, i)
	}
	if c != ']' {
		return rawjson.FaultArrayEnd.At(text, i)
	}
	return rawjson.CheckEnd(text, i+1)
}

// refElement returns the ref that is the element at data[i], and the start of the next element.
func refElement(data []byte, i int) (ref []byte, next int, err error) {
	if ref, i, err = readRef(data, i); err != nil {
		return nil, i, err
	}
	next, err = nextElement(data, i)
	return ref, next, err
}

// stringElement is refElement for a string.
func stringElement(data []byte, i int) (s []byte, next int, err error) {
	if s, i, err = rawjson.ReadString(data, i); err != nil {
		return nil, i, err
	}
	next, err = nextElement(data, i)
	return s, next, err
}

// nextElement returns the start of the element behind the one that ends at data[i].
func nextElement(data []byte, i int) (next int, err error) {
	i, c := rawjson.NextToken(data, i)
	if c != ',' {
		return i, rawjson.FaultComma.At(data, i)
	}
	next, _ = rawjson.NextToken(data, i+1)
	return next, nil
}

func (codecV2) append(dst []byte, m *message) (data []byte, binary bool, err error) {
	if err := checkNames(m); err != nil {
		return dst, false, err
	}
	if m.payload.Binary {
		data, err = appendBinary(dst, m)
		return data, true, err
	}
	dst = append(dst, '[')
	dst = appendRef(dst, m.joinRef)
	dst = append(dst, ',')
	dst = appendRef(dst, m.ref)
	dst = append(dst, ',')
	dst = rawjson.AppendString(dst, m.topic)
	dst = append(dst, ',')
	dst = rawjson.AppendString(dst, m.event)
	dst = append(dst, ',')
	dst = appendPayload(dst, m.payload)
	return append(dst, ']'), false, nil
}

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
	start, _ := rawjson.NextToken(data, 0)
	end, err := rawjson.ReadObject(data, start, func(key, value []byte) {
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
		err = rawjson.CheckEnd(data, end)
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
	if f.event, _, err = rawjson.ReadString(event, 0); err != nil {
		return fmt.Errorf("event: %s", rawjson.FaultString)
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
	dst = rawjson.AppendString(dst, m.topic)
	dst = append(dst, `,"event":`...)
	dst = rawjson.AppendString(dst, m.event)
	dst = append(dst, `,"payload":`...)
	dst = appendPayload(dst, m.payload)
	dst = append(dst, `,"ref":`...)
	dst = appendRef(dst, m.ref)
	dst = append(dst, `,"join_ref":`...)
	dst = appendRef(dst, m.joinRef)
	return append(dst, '}'), false, nil
}

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

// What both JSON forms of a frame are made of.

const faultRef rawjson.Fault = "a string, a number or null is expected"

// readRef returns the ref at data[i], nil for null, and its end. A number is taken by its spelling: Phoenix echoes a ref
// with its type, and ours are strings (PROTOCOL.md, section 2), but another server need not be as exact.
func readRef(data []byte, i int) (ref []byte, end int, err error) {
	end, f := i, faultRef
	switch c := rawjson.ByteAt(data, i); {
	case c == '"':
		return rawjson.ReadString(data, i)
	case c == 'n':
		end, f = rawjson.SkipLiteral(data, i, "null")
	case c == '-' || c-'0' <= 9:
		if end, f = rawjson.SkipNumber(data, i, c); f == rawjson.NoFault {
			ref = data[i:end]
		}
	}
	return ref, end, f.At(data, end)
}

// jsonPayload returns the valid JSON value as a payload; nil is none.
func jsonPayload(value []byte) Payload {
	return Payload{Data: value, Broken: rawjson.HasLineBreak(value)}
}

var errReply = errors.New("a reply needs a status that is a string")

// readReply reads the payload of a phx_reply at data[i], an object of status and response, into f, and returns its end.
// The response may be any JSON value (rule 6). Where there is none, f has no payload.
func readReply(data []byte, i int, f *frame) (end int, err error) {
	var status, response []byte
	end, err = rawjson.ReadObject(data, i, func(key, value []byte) {
		switch string(key) {
		case "status":
			status = value
		case "response":
			response = value
		}
	})
	if err != nil {
		return end, err
	}
	if f.status, _, err = rawjson.ReadString(status, 0); err != nil {
		return end, errReply
	}
	f.payload = jsonPayload(response)
	return end, nil
}

var (
	errTopicUTF8 = errors.New("the topic is not valid UTF-8")
	errEventUTF8 = errors.New("the event is not valid UTF-8")
)

// checkNames refuses a topic or event that is not UTF-8. No frame can carry it, and replacing what is wrong would make it
// another topic.
func checkNames(m *message) error {
	if !utf8.ValidString(m.topic) {
		return errTopicUTF8
	}
	if !utf8.ValidString(m.event) {
		return errEventUTF8
	}
	return nil
}

// appendPayload appends JSON as it is, line breaks and all: a frame may hold them.
func appendPayload(dst []byte, p Payload) []byte {
	if p.Data == nil {
		return append(dst, "{}"...)
	}
	return append(dst, p.Data...)
}

// appendRef appends a ref or join_ref. An empty one is null: a string that is empty would be a stale join_ref to the
// server (PROTOCOL.md, section 3).
func appendRef(dst []byte, ref string) []byte {
	if ref == "" {
		return append(dst, "null"...)
	}
	return rawjson.AppendString(dst, ref)
}
