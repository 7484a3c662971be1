package phoenix

import "fmt"

// A HeartbeatError is an answer to a heartbeat that no Phoenix server gives: a reply with another status than "ok".
type HeartbeatError struct {
	Status   string
	Response Payload
}

// Error says what the answer was.
func (e *HeartbeatError) Error() string {
	text := fmt.Sprintf("a heartbeat was answered with status %q", printable(e.Status))
	if len(e.Response.Data) > 0 && !e.Response.Binary {
		text += ": " + printable(string(e.Response.Data))
	}
	return text
}
