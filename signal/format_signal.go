package signal

import (
	"strconv"
	"time"

	"phx/phoenix"
)

// appendSignal is FormatSignal.
func (e *Encoder) appendSignal(dst []byte, ev *phoenix.Event) []byte {
	key := templateKey{kind: kindOf(ev.Detail)}
	if key.kind == "" {
		return dst
	}
	if key.kind.hasTopic() {
		key.topic = ev.Topic
	}
	if key.kind.hasEvent() {
		key.event = ev.Name
	}
	t := e.templates.get(e.connection, key)
	dst = e.appendHead(dst, t, ev.Time)
	dst = appendData(dst, key.kind, ev)
	dst = append(dst, t.tail...)
	if ev.Ref != "" {
		dst = appendText(dst, "phoenix_ref", ev.Ref)
	}
	if ev.JoinRef != "" {
		dst = appendText(dst, "phoenix_join_ref", ev.JoinRef)
	}
	dst = strconv.AppendInt(append(dst, `,"session":`...), int64(ev.Session), 10)
	dst = strconv.AppendUint(append(dst, `,"seq":`...), ev.Seq, 10)
	return append(dst, "}}\n"...)
}

// appendDroppedSignal is the signal of a loss. It is no event of the connection and so has neither session nor seq.
func (e *Encoder) appendDroppedSignal(dst []byte, d Dropped, at time.Time) []byte {
	t := e.templates.get(e.connection, templateKey{kind: kindDropped})
	dst = e.appendHead(dst, t, at)
	dst = appendUint(dst, "count", d.Count)
	dst = appendText(dst, "policy", d.Policy)
	dst = appendUint(dst, "first_seq", d.FirstSeq)
	dst = appendUint(dst, "last_seq", d.LastSeq)
	dst = append(dst, t.tail...)
	return append(dst, "}}\n"...)
}

// appendHead appends the head of t with a new id and the time.
func (e *Encoder) appendHead(dst []byte, t *template, at time.Time) []byte {
	start := len(dst)
	dst = append(dst, t.head...)
	line := dst[start:]
	e.ids.put(line[idAt:], at)
	e.clock.put(line[t.timeAt:], at)
	return dst
}
