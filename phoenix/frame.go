package phoenix

import "time"

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
