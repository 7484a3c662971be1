package control

import (
	"bytes"
	"encoding/json"
	"math"
	"time"
)

// joinBody is the body of POST .../channels.
type joinBody struct {
	Topic  string          `json:"topic"`
	Params json.RawMessage `json:"params,omitempty"`
}

func join(c *call) error {
	const example = `{"topic":"room:lobby","params":{}}`
	var b joinBody
	if err := c.decode(&b, example); err != nil {
		return err
	}
	if b.Topic == "" {
		return BadRequest("for example: "+example, "the body has no topic")
	}
	if b.Params != nil && b.Params[0] != '{' {
		return BadRequest("for example: "+example, "params is not an object, which is all that Phoenix takes")
	}
	return c.answerSignal(c.server.backend.Join(c.r.Context(), c.name, b.Topic, b.Params))
}

func leave(c *call) error {
	return c.answerSignal(c.server.backend.Leave(c.r.Context(), c.name, c.topic))
}

// pushBody is the body of POST .../push.
type pushBody struct {
	Topic     string          `json:"topic"`
	Event     string          `json:"event"`
	Payload   json.RawMessage `json:"payload,omitempty"`
	Base64    []byte          `json:"payload_base64,omitzero"`
	TimeoutMS int64           `json:"timeout_ms,omitempty"`
	NoReply   bool            `json:"no_reply,omitempty"`
}

// maxTimeoutMS is the longest timeout_ms that a time.Duration holds.
const maxTimeoutMS = math.MaxInt64 / int64(time.Millisecond)

func push(c *call) error {
	const example = `{"topic":"room:lobby","event":"new_msg","payload":{}}`
	var b pushBody
	if err := c.decode(&b, example); err != nil {
		return err
	}
	wrong := ""
	switch {
	case b.Topic == "":
		wrong = "the body has no topic"
	case b.Event == "":
		wrong = "the body has no event"
	case b.Payload == nil && b.Base64 == nil:
		wrong = "the body has neither payload nor payload_base64"
	case b.Payload != nil && b.Base64 != nil:
		wrong = "the body has both payload and payload_base64"
	case b.TimeoutMS < 0 || b.TimeoutMS > maxTimeoutMS:
		wrong = "timeout_ms is no time"
	}
	if wrong != "" {
		return BadRequest("for example: "+example, "%s", wrong)
	}
	return c.answerSignal(c.server.backend.Push(c.r.Context(), c.name, Push{
		Topic: b.Topic, Event: b.Event, Payload: bytes.TrimSpace(b.Payload), Binary: b.Base64,
		Timeout: time.Duration(b.TimeoutMS) * time.Millisecond, NoReply: b.NoReply,
	}))
}
