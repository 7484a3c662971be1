package phoenix

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"time"
)

// A channel is a topic that we want to be joined, and its way there.
type channel struct {
	Channel
	// wanted orders the channels of a connection by when they were wanted.
	wanted uint64
	state  channelState
	// joinRef is that of the current join, empty if none is on the wire or accepted. A frame with another one is stale.
	joinRef  string
	leaveRef string
	// prepare is the id of the params asked for.
	prepare uint64
	// joined says that it has been joined before: the next join is a rejoin.
	joined bool
	// retries counts the joins in a row that were retries.
	retries int
	// began is when the current join was written; lost since when messages may have been missed.
	began, lost moment
	// heard is until when the server is known to have held the channel: something of it came after that.
	heard moment
	// away is since when it has not been joined although it could have been; zero while it is.
	away time.Time
	// joinedAt is when the current join was accepted.
	joinedAt time.Time
	// input is that of the current join. unanswered counts the pushes of OnJoin without a reply; accepted says that once all of
	// them have been answered ok.
	// held says that one of those unanswered is no push: a Dialect waits for more.
	input      joinInput
	unanswered int
	accepted   bool
	held       bool
	// outdated says that the last join was refused for params that have expired.
	outdated bool
	// renewal is when Renew is called; renewing is the id of the call under way, 0 if there is none.
	renewal  timer
	renewing uint64
	// unawaited says that a push with NoReply was written: a reply may match nothing.
	unawaited bool
	// queue holds the pushes that wait for the join.
	queue []*push
	// again is what to join after the leave.
	again *Channel
	// presence is who is present, if that is tracked.
	presence presenceTracker
	// timer is the deadline of state; settled is due when a joined channel has proved stable.
	timer, settled timer
}

// channelState is where a channel is on its way.
type channelState uint8

const (
	channelWaiting   channelState = iota // for a session, or its turn to join
	channelPreparing                     // its params are being read
	channelJoining                       // phx_join is on the wire
	channelJoined
	channelBackoff // between two joins
	channelLeaving // phx_leave is on the wire
)

func (s channelState) String() string {
	return [...]string{"waiting", "joining", "joining", "joined", "errored", "leaving"}[s]
}

// wants reports whether a topic is to be joined, and whether it is.
func (m *machine) wants(topic string) (wanted, joined bool) {
	c := m.channels[topic]
	if c == nil {
		return false, false
	}
	return c.state != channelLeaving || c.again != nil, c.state == channelJoined
}

// takesPushes reports whether a push on the channel can be sent now or after the join under way.
func (c *channel) takesPushes() bool { return c.state <= channelJoined }

// join wants a topic from now on.
func (m *machine) join(now time.Time, want Channel) error {
	if m.phase == done || m.phase == closing {
		return ErrClosed
	}
	if c := m.channels[want.Topic]; c != nil {
		if c.state != channelLeaving || c.again != nil {
			return ErrJoined
		}
		c.again = &want
		return nil
	}
	m.shared.wanted++
	c := &channel{Channel: want, wanted: m.shared.wanted}
	if m.phase == idle && !m.missed.IsZero() { // somebody else had it joined
		c.joined, c.lost = true, moment{m.missed, 0}
	}
	c.settled.fire = func(time.Time) { c.retries = 0 }
	m.adopt(now, c)
	return nil
}

// adopt takes a channel that is on no socket: it is to be joined on this one.
func (m *machine) adopt(now time.Time, c *channel) {
	c.timer.fire = func(now time.Time) { m.channelDue(now, c) }
	c.renewal.fire = func(time.Time) { m.renew(c) }
	m.channels[c.Topic] = c
	m.order = append(m.order, c)
	m.out.changed = true
	m.startJoins(now)
}

// release takes a channel that is not joined off this socket.
func (m *machine) release(now time.Time, c *channel) {
	m.reset(c)
	m.failPushes(now, c, PushNotJoined)
	m.forget(c)
}

// releaseBeyond releases as many channels beyond a limit as have not sent their join, and returns them. The others go on.
func (m *machine) releaseBeyond(now time.Time, limit int) (released []*channel) {
	for i := len(m.order) - 1; i >= 0 && len(m.order) > limit; i-- {
		if c := m.order[i]; c.state == channelWaiting || c.state == channelPreparing {
			m.release(now, c)
			released = append(released, c)
		}
	}
	slices.Reverse(released)
	m.startJoins(now)
	m.checkJoined()
	return released
}

// refuseFull hands a channel over, to be joined on another socket: the server has refused it because this one has too many. It reports
// false if the server holds no channel here: then no other socket would have room, either. Nothing else is joined here before the dealer
// has called releaseBeyond: it would be refused, too.
func (m *machine) refuseFull(now time.Time, c *channel) bool {
	held := 0
	for _, o := range m.order {
		if o.state == channelJoined || o.state == channelLeaving { // the leave may have come later than the join that was refused
			held++
		}
	}
	if held == 0 || m.phase != up {
		return false
	}
	m.release(now, c)
	m.refused = append(m.refused, refusedChannel{c, held})
	return true
}

// rewant has the next join of a topic read its params anew, as a want says. It does nothing about a topic that nobody wants.
func (m *machine) rewant(want Channel) {
	switch c := m.channels[want.Topic]; {
	case c == nil:
	case c.again != nil:
		c.again = &want
	case c.state != channelLeaving:
		c.Channel = want
		c.renewal.stop()
		m.renew(c)
	}
}

// A sentJoin is a join that was written.
type sentJoin struct {
	channel *channel
	joinRef string
}

// firstJoin returns the channel of the first join without an answer, nil if there is none.
func (m *machine) firstJoin() *channel {
	for len(m.joins) > 0 {
		if j := m.joins[0]; j.channel.state == channelJoining && j.channel.joinRef == j.joinRef {
			return j.channel
		}
		m.joins = m.joins[1:]
	}
	return nil
}

// runJoinClock starts the clock of the first join without an answer. The server answers the others after that one (rule 10).
func (m *machine) runJoinClock(now time.Time) {
	if c := m.firstJoin(); c != nil && !c.timer.isSet() {
		m.answers.set(&c.timer, m.answerTime(now).Add(m.replyTimeout))
	}
}

// startJoins starts as many of the waiting joins as may be on the wire at once.
func (m *machine) startJoins(now time.Time) {
	if m.phase != up {
		return
	}
	m.runJoinClock(now)
	joining := 0
	for _, c := range m.order {
		if c.state == channelPreparing || c.state == channelJoining {
			joining++
		}
	}
	for _, c := range m.order {
		if joining >= maxJoining {
			return
		}
		if c.state != channelWaiting {
			continue
		}
		if m.joinInterval > 0 {
			if m.nextJoin.After(now) {
				m.clock.set(&m.pace, m.nextJoin)
				return
			}
			m.nextJoin = now.Add(m.joinInterval)
		}
		joining++
		if !c.prepares() && m.dialect == nil {
			m.sendJoin(now, c, joinInput{params: Payload{Data: []byte("{}")}})
			continue
		}
		m.prepareIDs++
		m.setState(c, channelPreparing)
		c.prepare = m.prepareIDs
		m.out.prepares = append(m.out.prepares, prepare{id: c.prepare, channel: c.Channel})
	}
}

// A joinInput is what the functions of a [Channel] have returned for one join.
type joinInput struct {
	// params are those to send, resumed included, which is what Resume returned.
	params  Payload
	resumed json.RawMessage
	onJoin  []Push
}

// prepared answers a prepare: what a join needs, or why it could not be read.
func (m *machine) prepared(now time.Time, id uint64, in joinInput, err error) {
	i := slices.IndexFunc(m.order, func(c *channel) bool { return c.state == channelPreparing && c.prepare == id })
	if i < 0 || m.phase != up {
		return // left or lost its link meanwhile, or is about to lose it
	}
	c := m.order[i]
	if err == nil && m.dialect != nil && !in.params.Binary {
		in.params.Data, err = m.dialect.JoinParams(c.Topic, in.params.Data)
	}
	if err != nil {
		m.note(slog.LevelError, "what the join needs could not be read", "topic", c.Topic, "error", err)
		m.failJoin(now, now, c, JoinError{Reason: JoinRefused, Err: err})
		return
	}
	m.sendJoin(now, c, in)
}

func (m *machine) sendJoin(now time.Time, c *channel, in joinInput) {
	m.refs++
	m.setState(c, channelJoining)
	c.joinRef, c.began = strconv.FormatUint(m.refs, 10), moment{now, m.slept}
	c.input = in
	e := m.emit(now, c.Topic, &Joining{Rejoin: c.joined, Attempt: c.retries + 1})
	e.Ref, e.JoinRef = c.joinRef, c.joinRef
	m.joins = append(m.joins, sentJoin{c, c.joinRef})
	m.runJoinClock(now)
	m.send(&message{joinRef: c.joinRef, ref: c.joinRef, topic: c.Topic, event: eventJoin, payload: in.params})
	c.input.params = Payload{} // encoded
}

// joinReplied takes the answer to the join on the wire.
func (m *machine) joinReplied(now time.Time, c *channel, f *frame) {
	if string(f.status) != "ok" {
		if reason := joinReason(f); reason != JoinTooManyChannels || !m.refuseFull(now, c) {
			m.failJoin(now, f.at, c, JoinError{Reason: reason, Response: f.payload})
		}
		m.beat.joinAnswered(now)
		return
	}
	c.timer.stop()
	m.setState(c, channelJoined)
	c.joinedAt = f.at
	m.answered(c.began)
	c.heard = m.link.known
	j := &Joined{Rejoin: c.joined, Took: max(0, f.at.Sub(c.began.at)), Resumed: c.input.resumed, OnJoin: len(c.input.onJoin)}
	if c.joined {
		j.Gap = m.elapsed(c.lost, f.at)
	}
	c.joined, c.outdated = true, false
	e := m.emit(f.at, c.Topic, j)
	e.Ref, e.JoinRef, e.Payload = c.joinRef, c.joinRef, f.payload
	m.observeJoined(now, c, j)
	m.beat.joinAnswered(now)
	m.renew(c)
	m.pushOnJoin(now, c)
	m.flushQueue(now, c)
	m.acceptJoin(now, c)
	m.startJoins(now)
}

// renew asks for what is to follow a join, if anything is.
func (m *machine) renew(c *channel) {
	if c.Renew == nil || c.state != channelJoined {
		return
	}
	m.prepareIDs++
	c.renewing = m.prepareIDs
	m.out.prepares = append(m.out.prepares, prepare{c.renewing, c.Channel, true})
}

// renewed answers a prepare of renew.
func (m *machine) renewed(now time.Time, id uint64, p *Push, next time.Time, err error) {
	i := slices.IndexFunc(m.order, func(c *channel) bool { return c.renewing == id })
	if i < 0 || m.phase != up {
		return
	}
	c := m.order[i]
	c.renewing = 0
	if err != nil {
		m.note(slog.LevelWarn, "what renews the join could not be read", "topic", c.Topic, "error", err)
	}
	if !next.IsZero() {
		m.clock.set(&c.renewal, next)
	}
	if p == nil {
		return
	}
	req := *p
	req.Topic, req.NoReply = c.Topic, true
	m.sendPush(now, &push{Push: req, channel: c})
}

// acceptJoin notices that a join is complete: it was accepted, and so was each push of OnJoin.
func (m *machine) acceptJoin(now time.Time, c *channel) {
	if c.unanswered > 0 {
		return
	}
	c.accepted, c.away = true, time.Time{}
	m.clock.set(&c.settled, now.Add(m.stableAfter))
	m.checkJoined()
}

// joinReason maps Phoenix's own refusals (phoenix/lib/phoenix/socket.ex; PROTOCOL.md, section 4).
func joinReason(f *frame) JoinReason {
	if !f.payload.Binary {
		switch responseReason(f.payload.Data) {
		case "unmatched topic":
			return JoinUnmatchedTopic
		case "join crashed":
			return JoinCrashed
		case "too many channels joined":
			return JoinTooManyChannels
		}
	}
	return JoinRefused
}

// failJoin ends an attempt to join that began, with the reason and what belongs to it; at is the time of the event.
func (m *machine) failJoin(now, at time.Time, c *channel, failed JoinError) {
	ref := c.joinRef
	m.reset(c)
	failed.Topic, failed.Retry = c.Topic, m.scheduleRejoin(now, c, m.judge(c, &failed))
	failed.Attempt = c.attempt(failed.Retry)
	e := m.emit(at, c.Topic, &failed)
	e.Ref, e.JoinRef, e.Payload = ref, ref, failed.Response
	m.failPushes(now, c, PushNotJoined)
	m.startJoins(now)
	m.checkJoined()
}

// judge says what to make of a join that failed.
func (m *machine) judge(c *channel, failed *JoinError) Refusal {
	switch {
	case failed.Reason == JoinTimeout:
		return RefusalPassing
	case m.dialect == nil || failed.Reason != JoinRefused || failed.Err != nil:
		return RefusalUnknown
	}
	return m.dialect.Refused(c.Topic, failed.Response)
}

// attempt is the number of the join that has just failed; retry is what scheduleRejoin made of it.
func (c *channel) attempt(retry Retry) int {
	if retry.Will {
		return c.retries
	}
	return c.retries + 1
}

// scheduleRejoin sets a lost channel up for its next join, or gives it up.
func (m *machine) scheduleRejoin(now time.Time, c *channel, why Refusal) Retry {
	begin(&c.away, now)
	allowed := (m.maxRetries < 0 || c.retries < m.maxRetries) && (m.maxOutage <= 0 || now.Sub(c.away) < m.maxOutage)
	again := allowed && (!m.failFast || c.accepted)
	var delay time.Duration
	switch why {
	case RefusalUnknown:
		again = again && (m.retryRefusals || c.accepted)
	case RefusalFinal:
		again = false
	case RefusalOutdated:
		again, c.outdated = !c.outdated, true
	}
	if m.phase == closing || !again {
		m.giveUp(c)
		return Retry{}
	}
	if why != RefusalOutdated {
		delay = m.within(c.away, now, m.rejoinAfter(c.retries))
	}
	c.retries++
	m.setState(c, channelBackoff)
	m.clock.set(&c.timer, now.Add(delay))
	return Retry{Will: true, In: delay}
}

// giveUp stops wanting c.
func (m *machine) giveUp(c *channel) {
	m.forget(c)
	if m.dialect != nil {
		m.dialect.Forget(c.Topic)
	}
}

// forget takes c off this socket.
func (m *machine) forget(c *channel) {
	m.out.changed = true
	m.ignoreUnjoined(c.Topic) // what is still on its way is no surprise
	delete(m.channels, c.Topic)
	m.order = slices.DeleteFunc(m.order, func(o *channel) bool { return o == c })
}

// reset takes c off the wire: nothing that comes for its old join is its own any more, and no timer of it fires.
func (m *machine) reset(c *channel) {
	m.setState(c, channelWaiting)
	c.joinRef, c.leaveRef, c.prepare, c.renewing = "", "", 0, 0
	c.input, c.unanswered, c.held = joinInput{}, 0, false
	c.timer.stop()
	c.renewal.stop()
	c.settled.stop()
}

// channelDue is the deadline of a channel's state.
func (m *machine) channelDue(now time.Time, c *channel) {
	switch c.state {
	case channelJoining:
		m.beat.waited = true
		// The server may still be at it: a leave takes back what may come of it (rule 9).
		m.sendLeave(c)
		m.failJoin(now, now, c, JoinError{Reason: JoinTimeout})
	case channelBackoff:
		m.setState(c, channelWaiting)
		m.startJoins(now)
	case channelLeaving:
		m.left(now, now, c, Left{})
	}
}

func (c *channel) dequeue(p *push) {
	c.queue = slices.DeleteFunc(c.queue, func(q *push) bool { return q == p })
}

// How a channel ends: we leave it, the server closes it or it crashes, or its link is lost.

func (m *machine) sendLeave(c *channel) (ref string) {
	m.refs++
	ref = strconv.FormatUint(m.refs, 10)
	m.send(&message{joinRef: c.joinRef, ref: ref, topic: c.Topic, event: eventLeave, payload: Payload{Data: []byte("{}")}})
	return ref
}

// leaveAll writes a leave for all that is joined, or being joined, without a wait for the answers. Long poll has no message for a close:
// the server would keep the channels of a session until it notices that nobody polls (PROTOCOL.md, section 11).
func (m *machine) leaveAll() {
	for _, c := range m.order {
		if c.state == channelJoined || c.state == channelJoining {
			c.leaveRef = m.sendLeave(c)
		}
	}
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
		m.left(now, now, c, Left{})
	}
	return nil
}

// left ends a leave: confirmed, overtaken by a close, or not answered in time (rule 8).
func (m *machine) left(now, at time.Time, c *channel, how Left) {
	ref, again := c.joinRef, c.again
	m.reset(c)
	m.failPushes(now, c, PushCancelled)
	e := m.emit(at, c.Topic, &how)
	e.JoinRef = ref
	m.giveUp(c)
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
		m.left(now, f.at, c, Left{Crashed: crash})
	case channelJoining:
		reason := JoinRefused
		if crash {
			reason = JoinCrashed
		}
		m.failJoin(now, f.at, c, JoinError{Reason: reason, Response: f.payload})
	case channelJoined:
		if c.leaveRef != "" && !crash { // leaveAll
			return
		}
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
	missing := m.link.known
	if reason == ErroredUnmatchedTopic {
		missing = c.heard // the server lost it without a word
	}
	m.lostChannel(c, missing)
	why := RefusalPassing
	if reason == ErroredOnJoin {
		why = RefusalUnknown
	}
	retry := m.scheduleRejoin(now, c, why)
	var d Detail = &Errored{Reason: reason, Retry: retry}
	push := PushChannelCrashed
	switch reason {
	case "":
		d, push = &Closed{Retry: retry}, PushChannelClosed
	case ErroredUnmatchedTopic:
		push = PushUnmatchedTopic
	case ErroredOnJoin:
		push = PushCancelled
	}
	e := m.emit(f.at, c.Topic, d)
	e.JoinRef = ref
	if reason != "" {
		e.Payload = f.payload
	}
	m.failPushes(now, c, push)
	m.checkJoined()
}

// lostChannel takes c, which was joined, off the wire. Messages may be missing from a moment on, or from an earlier loss on, if no
// join since then was complete.
func (m *machine) lostChannel(c *channel, from moment) {
	if c.unanswered == 0 || c.lost.at.IsZero() {
		c.lost = from
	}
	m.reset(c)
}

// loseChannels takes the loss of the link under all channels.
func (m *machine) loseChannels(now time.Time, again bool) {
	for _, c := range slices.Clone(m.order) {
		if c.state == channelLeaving {
			m.left(now, now, c, Left{})
			continue
		}
		wasJoined := c.state == channelJoined
		if wasJoined {
			m.lostChannel(c, m.link.known)
		} else {
			m.reset(c)
		}
		c.retries, c.outdated = 0, false
		if wasJoined {
			begin(&c.away, now)
			m.emit(now, c.Topic, &Errored{Reason: ErroredDisconnected, Retry: Retry{Will: again}})
		}
	}
}
