package signal

import (
	"strconv"
	"time"

	"phx/phoenix"
)

// signalLayout is FormatSignal.
var signalLayout = layout{
	start:   `{"specversion":"1.0","id":"`,
	context: `},"metadata":{"connection_name":`,
	topic:   "phoenix_topic",
	event:   "phoenix_event",
	end:     "}}\n",
}

// appendSignal appends the line of ev in any format that has a layout.
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
	l := e.templates.layout
	key.encoded = l.encodes(ev.Ref) || l.encodes(ev.JoinRef)
	t := e.templates.get(key)
	start := len(dst)
	dst = e.appendHead(dst, t, ev.Time)
	e.ids.put(dst[start+t.idAt:], ev.Time, ev.Seq)
	dst = appendData(dst, key.kind, ev)
	dst = append(dst, t.tail...)
	if l.strict {
		dst = appendAttributes(dst, ev, t.encoded)
	} else {
		dst = appendMetadata(dst, ev)
	}
	return append(dst, l.end...)
}

// appendMetadata appends the members of metadata that a template's tail does not have.
func appendMetadata(dst []byte, ev *phoenix.Event) []byte {
	if ev.Ref != "" {
		dst = appendText(dst, "phoenix_ref", ev.Ref)
	}
	if ev.JoinRef != "" {
		dst = appendText(dst, "phoenix_join_ref", ev.JoinRef)
	}
	dst = strconv.AppendInt(append(dst, `,"session":`...), int64(ev.Session), 10)
	return strconv.AppendUint(append(dst, `,"seq":`...), ev.Seq, 10)
}

// appendDroppedSignal appends the signal of a loss. It is no event of the connection and so has neither session nor seq.
func (e *Encoder) appendDroppedSignal(dst []byte, d Dropped, at time.Time) []byte {
	t := e.templates.get(templateKey{kind: kindDropped})
	start := len(dst)
	dst = e.appendHead(dst, t, at)
	e.ids.putNew(dst[start+t.idAt:], at)
	dst = appendUint(dst, "count", d.Count)
	dst = appendText(dst, "policy", d.Policy)
	dst = appendUint(dst, "first_seq", d.FirstSeq)
	dst = appendUint(dst, "last_seq", d.LastSeq)
	dst = append(dst, t.tail...)
	return append(dst, e.templates.layout.end...)
}

// appendHead appends the head of t with the time. The place of the id is still to be filled.
func (e *Encoder) appendHead(dst []byte, t *template, at time.Time) []byte {
	start := len(dst)
	dst = append(dst, t.head...)
	line := dst[start:]
	e.clock.put(line[t.timeAt:], at)
	return dst
}
