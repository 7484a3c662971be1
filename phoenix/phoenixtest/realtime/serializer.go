package realtime

import (
	"encoding/json"
	"errors"
	"fmt"

	"phx/phoenix/phoenixtest"
)

// The kinds of binary frames that Realtime has beside Phoenix's (lib/realtime_web/socket/v2_serializer.ex).
const (
	kindUserBroadcastPush = 3 // from clients
	kindUserBroadcast     = 4 // to clients
)

// The encodings of a payload in such a frame. Whatever is not 0 is JSON for the server.
const (
	encodingBinary = 0
	encodingJSON   = 1
)

// A userBroadcast is a broadcast whose payload stays as its sender encoded it (lib/realtime_web/socket/user_broadcast.ex).
type userBroadcast struct {
	event   string
	isJSON  bool
	payload []byte
	// meta is a JSON object, nil for none. id is that in it.
	meta []byte
	id   string
}

var errUndecodable = errors.New("undecodable message")

// decodePush reads 03 | join_ref_len | ref_len | topic_len | event_len | meta_len | encoding | the five | payload. It is for
// [phoenixtest.UserSocket]. The metadata has to be JSON, and is not used; the payload is not looked at.
func decodePush(data []byte) (phoenixtest.BinaryMessage, error) {
	const header, lengths = 7, 5
	if len(data) < header || data[0] != kindUserBroadcastPush {
		return phoenixtest.BinaryMessage{}, errUndecodable
	}
	var fields [lengths]string
	rest := data[header:]
	for i := range fields {
		n := int(data[1+i])
		if len(rest) < n {
			return phoenixtest.BinaryMessage{}, errUndecodable
		}
		fields[i], rest = string(rest[:n]), rest[n:]
	}
	if meta := fields[4]; meta != "" && !json.Valid([]byte(meta)) {
		return phoenixtest.BinaryMessage{}, errUndecodable
	}
	push := userBroadcast{event: fields[3], isJSON: data[header-1] != encodingBinary, payload: rest}
	return phoenixtest.BinaryMessage{
		JoinRef: fields[0],
		Ref:     fields[1],
		Topic:   fields[2],
		Event:   "broadcast",
		Payload: phoenixtest.Term(push),
	}, nil
}

// frame writes 04 | topic_len | event_len | meta_len | encoding | the three | payload. It panics, as the server raises, if one of the three is longer
// than 255 bytes.
func (b userBroadcast) frame(topic string) []byte {
	encoding := byte(encodingBinary)
	if b.isJSON {
		encoding = encodingJSON
	}
	frame := []byte{kindUserBroadcast, shortLen("topic", topic), shortLen("user_event", b.event), shortLen("metadata", string(b.meta)), encoding}
	frame = append(append(append(frame, topic...), b.event...), b.meta...)
	return append(frame, b.payload...)
}

func shortLen(what, text string) byte {
	if len(text) > 255 {
		panic(fmt.Sprintf("unable to convert %s to binary: it is %d bytes, more than 255", what, len(text)))
	}
	return byte(len(text))
}

// text is the payload of the event broadcast that stands for b where there is no kind 4. It is for JSON only.
func (b userBroadcast) text() phoenixtest.Payload {
	payload := append([]byte(`{"event":`), phoenixtest.JSON(b.event).Bytes()...)
	if b.meta != nil {
		payload = append(append(payload, `,"meta":`...), b.meta...)
	}
	payload = append(append(payload, `,"payload":`...), b.payload...)
	return phoenixtest.RawJSON(string(append(payload, `,"type":"broadcast"}`...)))
}

// withMeta is b with metadata: an id, and whether it is replayed.
func (b userBroadcast) withMeta(id string, replayed bool) userBroadcast {
	meta := phoenixtest.Map{"id": id}
	if replayed {
		meta["replayed"] = true
	}
	b.id, b.meta = id, phoenixtest.JSON(meta).Bytes()
	return b
}
