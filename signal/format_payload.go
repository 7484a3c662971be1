package signal

import "phx/phoenix"

// appendPayloadLine is FormatPayload: the payload of a message or of a reply, the response of a join, nothing for anything
// else.
func appendPayloadLine(dst []byte, ev *phoenix.Event) []byte {
	switch ev.Detail.(type) {
	case phoenix.Message, *phoenix.PushReply, *phoenix.Joined, *phoenix.JoinError:
	default:
		return dst
	}
	if ev.Payload.Data == nil {
		return dst
	}
	return append(appendPayload(dst, &ev.Payload), '\n')
}
