package phoenix

import (
	"log/slog"
	"strconv"
	"time"
)

// A push is one message of ours that is owed a reply. It ends in exactly one event: PushReply, PushTimeout or PushError. One
// with NoReply is forgotten when it is written.
type push struct {
	Push
	id      uint64
	channel *channel
	// ref and joinRef are empty until it is handed to the writer, which gives it its frame number.
	ref, joinRef string
	frame        uint64
	// size is that of its message on the wire, in bytes, before it is compressed.
	size    int
	at      moment
	timeout timer
	// onJoin says that it is one of Channel.OnJoin. Its id is 0: no call waits for it.
	onJoin bool
}

// A sentPush is a push that is handed to the writer.
type sentPush struct {
	id  uint64
	ref string
}

// push starts a push and returns nothing: its end is an event that carries id. While the join of its channel is on the
// wire it waits for the answer; without a channel it fails at once.
func (m *machine) push(now time.Time, id uint64, req Push) {
	p := &push{Push: req, id: id, at: moment{now, m.slept}}
	c := m.channels[req.Topic]
	switch {
	case m.phase != up:
		m.failPush(now, p, PushDisconnected, DeliveredNo)
		return
	case c == nil || !c.takesPushes():
		m.failPush(now, p, PushNotJoined, DeliveredNo)
		return
	}
	m.startPush(now, p, c)
	if c.state == channelJoined {
		m.sendPush(now, p)
		return
	}
	c.queue = append(c.queue, p)
}

// startPush makes p one of c, and starts its clock.
func (m *machine) startPush(now time.Time, p *push, c *channel) {
	p.channel = c
	if p.Timeout <= 0 {
		p.Timeout = m.replyTimeout
	}
	p.timeout.fire = func(now time.Time) { m.timeOutPush(now, p) }
	m.answers.set(&p.timeout, m.answerTime(now).Add(p.Timeout))
}

// pushOnJoin writes the pushes of OnJoin, first of all on the channel.
func (m *machine) pushOnJoin(now time.Time, c *channel) {
	for _, req := range c.input.onJoin {
		p := &push{Push: req, onJoin: true}
		p.Topic, p.Index = c.Topic, 0
		m.startPush(now, p, c)
		m.sendPush(now, p)
		c.unanswered++
	}
}

// onJoinEnded takes the end of a push of OnJoin, by a reply or without one: f is that reply, or has only the time.
func (m *machine) onJoinEnded(now time.Time, p *push, f *frame, ok bool) {
	c := p.channel
	switch {
	case c.state != channelJoined || p.joinRef != c.joinRef: // left meanwhile
	case ok:
		c.unanswered--
		m.out.changed = true
		m.acceptJoin(now, c)
	default:
		m.sendLeave(c)
		m.loseChannel(now, f, c, ErroredOnJoin)
	}
}

// sendPush writes p. Refs are assigned now and not earlier: with the join_ref of an earlier join it would be lost without
// an answer (rule 1). It is registered before it is written (rule 2).
func (m *machine) sendPush(now time.Time, p *push) {
	m.refs++
	p.ref, p.joinRef, p.at = strconv.FormatUint(m.refs, 10), p.channel.joinRef, moment{now, m.slept}
	if p.NoReply {
		p.timeout.stop()
		p.channel.unawaited = true
	} else {
		m.pushes[p.ref] = p
	}
	m.out.sent = append(m.out.sent, sentPush{p.id, p.ref})
	p.frame, p.size = m.write(&message{joinRef: p.joinRef, ref: p.ref, topic: p.Topic, event: p.Name, payload: p.Payload, broadcastEvent: p.BroadcastEvent})
	p.Payload = Payload{} // encoded: no need to keep it in memory twice
}

// flushQueue writes the pushes that waited for the join of c.
func (m *machine) flushQueue(now time.Time, c *channel) {
	queue := c.queue
	c.queue = nil
	for _, p := range queue {
		m.sendPush(now, p)
	}
}

// replied matches a phx_reply with a push (rule 3) and reports whether it was one.
func (m *machine) replied(now time.Time, f *frame) bool {
	p := m.pushes[string(f.ref)]
	if p == nil || p.Topic != string(f.topic) || len(f.joinRef) > 0 && string(f.joinRef) != p.joinRef {
		return false
	}
	if len(f.joinRef) == 0 && unmatchedTopic(f) {
		m.endPush(p)
		m.failPush(f.at, p, PushUnmatchedTopic, DeliveredNo)
		m.loseChannel(now, f, p.channel, ErroredUnmatchedTopic)
		return true
	}
	m.endPush(p)
	m.answered(p.at)
	p.channel.heard = m.link.known
	e := m.emitPush(f.at, p, &PushReply{Index: p.Index, OnJoin: p.onJoin, Status: m.intern(f.status), Latency: max(0, f.at.Sub(p.at.at))})
	e.Payload = f.payload
	if p.onJoin {
		m.onJoinEnded(now, p, f, string(f.status) == "ok")
	}
	return true
}

// unawaitedReply takes the reply to a push with NoReply. Only one of them says something new: that the
// server does not hold the topic as joined. Refs count up, so one from before the join is about an earlier join.
func (m *machine) unawaitedReply(now time.Time, c *channel, f *frame) {
	ref, joined := string(f.ref), c.joinRef
	isLater := len(ref) > len(joined) || len(ref) == len(joined) && ref > joined
	if c.state == channelJoined && len(f.joinRef) == 0 && isLater && unmatchedTopic(f) {
		m.loseChannel(now, f, c, ErroredUnmatchedTopic)
	}
}

// unmatchedTopic recognises the answer to a message on a topic that the server does not hold as joined (rule 5; section 5).
func unmatchedTopic(f *frame) bool {
	return string(f.status) == "error" && !f.payload.Binary && responseReason(f.payload.Data) == "unmatched topic"
}

func (m *machine) timeOutPush(now time.Time, p *push) {
	m.endPush(p)
	m.link.unowed = max(m.link.unowed, p.size)
	m.emitPush(now, p, &PushTimeout{Index: p.Index, OnJoin: p.onJoin, Timeout: p.Timeout})
	if p.onJoin {
		m.onJoinEnded(now, p, &frame{at: now}, false)
	}
}

// failPushes fails the pushes of c, written and waiting ones (rule 8). Those written are in an unknown state: the
// server has read them, but what it did is not known.
func (m *machine) failPushes(now time.Time, c *channel, reason PushReason) {
	for _, p := range m.outstanding(c) {
		m.endPush(p)
		m.link.unowed = max(m.link.unowed, p.size)
		m.failPush(now, p, reason, delivered(p.frame != 0))
	}
}

// failAllPushes fails every push of the session (rule 19). The first attempted frames may have reached the server.
func (m *machine) failAllPushes(now time.Time, reason PushReason, attempted uint64, tooBig *push) {
	for _, p := range m.outstanding(nil) {
		m.endPush(p)
		failed := m.failPush(now, p, reason, delivered(p.frame != 0 && p.frame <= attempted))
		if p == tooBig {
			failed.Delivered, failed.TooBig = DeliveredNo, true
		}
	}
}

// largestUnanswered returns the size of the largest of the first attempted messages of the session to which there was no answer,
// in bytes, and the push that it was; nil: it was none, or not the only one that large.
func (m *machine) largestUnanswered(attempted uint64) (size int, largest *push) {
	size = m.link.unowed
	for _, p := range m.pushes {
		switch {
		case p.frame == 0 || p.frame > attempted || p.size < size:
		case p.size == size:
			largest = nil
		default:
			size, largest = p.size, p
		}
	}
	return size, largest
}

func delivered(written bool) Delivered {
	if written {
		return DeliveredUnknown
	}
	return DeliveredNo
}

// outstanding returns the pushes without an end, of c or with nil of all channels, in the order in which they were made.
func (m *machine) outstanding(c *channel) []*push {
	var all []*push
	for _, p := range m.pushes {
		if c == nil || p.channel == c {
			all = append(all, p)
		}
	}
	if c != nil {
		all = append(all, c.queue...)
	} else {
		for _, o := range m.order {
			all = append(all, o.queue...)
		}
	}
	sortPushes(all)
	return all
}

// endPush forgets p.
func (m *machine) endPush(p *push) {
	p.timeout.stop()
	if p.ref != "" {
		delete(m.pushes, p.ref)
		return
	}
	p.channel.dequeue(p)
}

// failPush emits the end of p and returns it for more to be filled in.
func (m *machine) failPush(at time.Time, p *push, reason PushReason, d Delivered) *PushError {
	failed := &PushError{Topic: p.Topic, Name: p.Name, Index: p.Index, OnJoin: p.onJoin, Reason: reason, Delivered: d, Size: p.size}
	m.emitPush(at, p, failed)
	return failed
}

func (m *machine) emitPush(at time.Time, p *push, d Detail) *Event {
	e := m.emit(at, p.Topic, d)
	e.Name, e.Ref, e.JoinRef, e.push = p.Name, p.ref, p.joinRef, p.id
	return e
}

// late notes a reply that nothing waits for: a second one, or one after its timeout (rule 6).
func (m *machine) late(f *frame) {
	m.note(slog.LevelDebug, "a reply that nothing waits for was dropped", "topic", said(f.topic), "ref", said(f.ref), "status", said(f.status))
}
