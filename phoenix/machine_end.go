package phoenix

import (
	"slices"
	"strconv"
	"time"
)

// How a channel ends: we leave it, the server closes it or it crashes, or its link is lost.

func (m *machine) sendLeave(c *channel) (ref string) {
	m.refs++
	ref = strconv.FormatUint(m.refs, 10)
	m.send(&message{joinRef: c.joinRef, ref: ref, topic: c.Topic, event: eventLeave, payload: Payload{Data: []byte("{}")}})
	return ref
}

// leave stops wanting a topic; Left follows.
func (m *machine) leave(now time.Time, topic string) error {
	c := m.channels[topic]
	if c == nil {
		return ErrNotJoined
	}
	c.again = nil
	switch c.state {
	case channelLeaving:
	case channelJoined, channelJoining:
		c.leaveRef = m.sendLeave(c)
		m.setState(c, channelLeaving)
		c.settled.stop()
		m.answers.set(&c.timer, m.answerTime(now).Add(m.replyTimeout))
		m.startJoins(now)
	default:
		m.left(now, now, c)
	}
	return nil
}

// left ends a leave: answered, overtaken by a close, or not answered in time (rule 8).
func (m *machine) left(now, at time.Time, c *channel) {
	ref, again := c.joinRef, c.again
	m.reset(c)
	m.failPushes(now, c, PushCancelled)
	e := m.emit(at, c.Topic, &Left{})
	e.JoinRef = ref
	m.forget(c)
	if again != nil && m.phase != done && m.phase != closing {
		// The topic is free: join cannot refuse.
		_ = m.join(now, *again)
	}
	m.startJoins(now)
	m.checkJoined()
}

// closed takes a phx_close or phx_error of the current join of c.
func (m *machine) closed(now time.Time, c *channel, f *frame, crash bool) {
	switch c.state {
	case channelLeaving:
		m.left(now, f.at, c)
	case channelJoining:
		reason := JoinRefused
		if crash {
			reason = JoinCrashed
		}
		m.failJoin(now, f.at, c, JoinError{Reason: reason, Response: f.payload})
	case channelJoined:
		reason := ErrorReason("")
		if crash {
			reason = ErroredCrash
		}
		m.loseChannel(now, f, c, reason)
	}
}

// loseChannel takes the loss of a joined channel while its link stands: a phx_close without a reason, else an error.
func (m *machine) loseChannel(now time.Time, f *frame, c *channel, reason ErrorReason) {
	if c.state != channelJoined {
		return
	}
	ref := c.joinRef
	m.reset(c)
	c.lostAt = f.at
	retry := m.scheduleRejoin(now, c, false)
	var d Detail = &Errored{Reason: reason, Retry: retry}
	push := PushChannelCrashed
	switch reason {
	case "":
		d, push = &Closed{Retry: retry}, PushChannelClosed
	case ErroredUnmatchedTopic:
		push = PushUnmatchedTopic
	}
	e := m.emit(f.at, c.Topic, d)
	e.JoinRef = ref
	if reason != "" {
		e.Payload = f.payload
	}
	m.failPushes(now, c, push)
	m.checkJoined()
}

// loseChannels takes the loss of the link under all channels.
func (m *machine) loseChannels(now time.Time, again bool, err *LinkError) {
	since := now
	if err.Reason == ReasonHeartbeatTimeout {
		since = m.link.heardAt // what came after that is not known
	}
	for _, c := range slices.Clone(m.order) {
		if c.state == channelLeaving {
			m.left(now, now, c)
			continue
		}
		wasJoined := c.state == channelJoined
		m.reset(c)
		c.retries = 0
		if wasJoined {
			c.lostAt = since
			m.emit(now, c.Topic, &Errored{Reason: ErroredDisconnected, Retry: Retry{Will: again}})
		}
	}
}
