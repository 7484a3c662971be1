package phoenix

import (
	"errors"
	"fmt"
	"time"
)

// A Push is one message to the server.
type Push struct {
	// Topic must be joined.
	Topic string
	// Name is the event.
	Name string
	// Payload is JSON or, with vsn 2.0.0, bytes. The zero Payload is an empty object.
	Payload Payload
	// Timeout bounds the wait for the reply; 0: Options.ReplyTimeout.
	Timeout time.Duration
	// Index is the caller's, and comes back with the event that ends the push.
	Index int
}

// A Reply is the server's first answer to a push.
type Reply struct {
	// Status is "ok", "error" or whatever the channel chose.
	Status  string
	Payload Payload
	Latency time.Duration
}

// maxBinaryName is the longest topic and event of a binary push: its lengths are one byte each (PROTOCOL.md, section 3).
const maxBinaryName = 255

// check reports what would make the server close the whole socket, or would lose the push without an answer (rule 12).
func (p *Push) check(c codec) error {
	if p.Topic == "" {
		return errors.New("a push needs a topic")
	}
	if err := checkNames(&message{topic: p.Topic, event: p.Name}); err != nil {
		return err
	}
	if p.Payload.Data == nil {
		p.Payload = Payload{Data: []byte("{}")}
	}
	switch p.Name {
	case eventJoin, eventLeave, eventReply, eventClose, eventError:
		return fmt.Errorf("the event %q is the protocol's own", p.Name)
	}
	if !p.Payload.Binary {
		return checkPayload(p.Payload)
	}
	if _, v1 := c.(codecV1); v1 {
		return errors.New("vsn 1.0.0 has no binary payloads: use vsn 2.0.0")
	}
	if len(p.Topic) > maxBinaryName || len(p.Name) > maxBinaryName {
		return fmt.Errorf("topic and event of a binary push are at most %d bytes long", maxBinaryName)
	}
	return nil
}
