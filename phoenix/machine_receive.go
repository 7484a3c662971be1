package phoenix

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"slices"
	"time"
)

// received takes a frame of the server. The events that come of it point into the frame's buffer.
func (m *machine) received(now time.Time, f *frame) {
	m.link.heardAt = f.at
	c := m.channels[string(f.topic)]
	switch string(f.event) {
	case eventReply:
		m.receivedReply(now, c, f)
	case eventClose, eventError:
		m.receivedEnd(now, c, f)
	default:
		m.receivedMessage(c, f)
	}
}

// receivedReply matches a reply by its ref (rule 3), unless its join_ref is foreign.
func (m *machine) receivedReply(now time.Time, c *channel, f *frame) {
	switch {
	case string(f.topic) == topicPhoenix && m.beat.answered(now, f):
	case m.replied(now, f):
	case c == nil || c.foreign(f):
		m.late(f)
	case c.state == channelJoining && string(f.ref) == c.joinRef:
		m.joinReplied(now, c, f)
	case c.state == channelLeaving && string(f.ref) == c.leaveRef:
		m.left(now, f.at, c)
	default:
		m.late(f)
	}
}

// receivedEnd takes phx_close and phx_error. They carry the ref of the join as join_ref and ref; vsn 1.0.0 has only ref
// (rule 4). After a duplicate join the old channel's close comes behind the new one's reply: it is stale.
func (m *machine) receivedEnd(now time.Time, c *channel, f *frame) {
	ref := f.joinRef
	if len(ref) == 0 {
		ref = f.ref
	}
	if c == nil && string(f.event) == eventClose {
		return // what follows every leave
	}
	if c == nil || len(ref) > 0 && string(ref) != c.joinRef {
		m.stale(f)
		return
	}
	m.closed(now, c, f, string(f.event) == eventError)
}

// receivedMessage takes a push or a broadcast of the server. Broadcasts have no join_ref (rule 5).
func (m *machine) receivedMessage(c *channel, f *frame) {
	if c == nil || c.foreign(f) {
		m.stale(f)
		return
	}
	*m.seq++
	if !f.skipped {
		m.out.events = append(m.out.events, Event{
			Time: f.at, Seq: *m.seq, Session: m.session,
			Topic: c.Topic, Name: m.intern(f.event),
			JoinRef: m.internRef(f.joinRef, c), Ref: string(f.ref),
			Payload: f.payload, Detail: Message{},
		})
	}
	if m.presence && presenceFrame(f) {
		m.receivedPresence(c, f)
	}
}

// foreign reports whether f has the join_ref of another join than the current one of c (rule 4).
func (c *channel) foreign(f *frame) bool {
	return len(f.joinRef) > 0 && string(f.joinRef) != c.joinRef
}

// internRef returns the join_ref of a message, which is the channel's or null, as a string without a copy.
func (m *machine) internRef(ref []byte, c *channel) string {
	if len(ref) == 0 {
		return ""
	}
	return c.joinRef
}

// stale drops a frame of an earlier join, or of a topic that we do not want (rule 4).
func (m *machine) stale(f *frame) {
	m.note(slog.LevelDebug, "a stale frame was dropped", "topic", string(f.topic), "event", string(f.event), "join_ref", string(f.joinRef))
}

// responseReason returns the "reason" of a JSON response, empty if it has none.
func responseReason(data []byte) string {
	var r struct{ Reason any }
	if json.Unmarshal(data, &r) != nil {
		return ""
	}
	reason, _ := r.Reason.(string)
	return reason
}

func sortPushes(ps []*push) {
	slices.SortFunc(ps, func(a, b *push) int { return cmp.Compare(a.id, b.id) })
}
