package phoenix

import (
	"cmp"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jpillora/backoff"
)

// linkState is what the machine knows of its link beyond the phase.
type linkState struct {
	// dialedAt is when the current dial began, upAt when the session did, lostAt when the last session ended.
	dialedAt, upAt, lostAt time.Time
	// known is the last moment of which it is known that all that the server had sent by then has been received (rule 20).
	known moment
	// burst is when the last burst was read that no answer has followed to what was written after it; zero: there is none. answered is
	// when the latest of what has been answered was written.
	burst, answered time.Time
	// retries counts the retries since the link was last stable.
	retries int
	// ready says that every wanted channel has been joined at once, some time.
	ready bool
	// outage is since when the link has not been up, with all that is wanted joined or for long enough; zero while it is.
	outage time.Time
	// longUp says that the session has been up for stableAfter.
	longUp bool
	// transport is that of the session, or of the last one.
	transport Transport
	// cause is why we dropped the session.
	cause *LinkError
	// unowed is the size of the largest message of the session that is no push, or a push that has ended without an answer.
	unowed int
	// closeReason is why we close the connection; empty: [ReasonClosedByUs].
	closeReason Reason
	// err is how the connection ended, once the phase is done; nil if we closed it.
	err *LinkError

	redial, stable, linger timer
}

// closeTimeout bounds the wait for the server's close frame.
const closeTimeout = 2 * time.Second

func (l *linkState) init(m *machine) {
	l.redial.fire = m.startDial
	l.stable.fire = func(time.Time) {
		l.longUp, l.outage = true, time.Time{}
		m.checkJoined()
	}
	l.linger.fire = func(time.Time) { m.out.hangUp = hangUpDrop }
}

// start begins the first dial.
func (m *machine) start(now time.Time) {
	if m.phase == idle {
		m.link.outage = now
		m.startDial(now)
	}
}

func (m *machine) startDial(now time.Time) {
	m.setPhase(dialing)
	m.link.dialedAt = now
	m.out.dial = true
	m.emit(now, "", &Connecting{URI: m.uri, Attempt: m.link.retries + 1})
}

// dialed begins a session: the socket is open. The dial waited for its turn before it began. False means that nobody wants it any more: close it, and call dialFailed.
func (m *machine) dialed(now time.Time, waited time.Duration, t Timings, by Transport) bool {
	if m.phase != dialing {
		return false
	}
	m.setPhase(up)
	again := m.session > m.sessions
	m.opened++
	m.session = m.opened
	m.written = 0
	m.draining = false
	m.link.upAt, m.link.known, m.link.longUp, m.link.cause = now, moment{now, m.slept}, false, nil
	m.link.transport = by
	m.link.unowed, m.link.burst, m.link.answered = 0, time.Time{}, time.Time{}
	c := &Connected{Reconnect: again, Transport: by, Took: now.Sub(m.link.dialedAt) - waited, Timings: t}
	if c.Reconnect {
		c.Outage = now.Sub(m.link.lostAt)
	}
	m.emit(now, "", c)
	m.clock.set(&m.link.stable, now.Add(m.stableAfter))
	m.beat.start(now)
	m.checkJoined()
	m.startJoins(now)
	return true
}

// dialFailed ends a dial; err may be nil if it was cancelled.
func (m *machine) dialFailed(now time.Time, err *LinkError) {
	if m.phase == closing {
		m.closedByUs(now)
		return
	}
	m.lost(now, err, 0)
}

// linkLost ends a session: everything that was received has been given to received, and nothing is written any more.
// The first attempted frames of the session may have reached the server.
func (m *machine) linkLost(now time.Time, err *LinkError, attempted uint64) {
	if m.link.cause != nil {
		err = m.link.cause
	}
	m.draining = false
	m.joins = nil
	m.beat.stop()
	m.link.stable.stop()
	m.link.linger.stop()
	m.lost(now, err, attempted)
}

// lost is the end of a session or a dial: everything that hangs on it ends, in the order cause, pushes, channels, what
// happens next.
func (m *machine) lost(now time.Time, err *LinkError, attempted uint64) {
	wasUp, wasClosing := m.phase != dialing, m.phase == closing
	var tooBig *push
	if wasUp {
		err.Unanswered, tooBig = m.largestUnanswered(attempted)
	}
	// The server has read messages in their order up to one that is too large for it, and the largest one cannot be smaller.
	if !err.tooBigForServer() || m.compress {
		tooBig = nil
	}
	if !wasClosing {
		m.setPhase(waiting) // what ends now must not write to a dead session (rule 18)
	}
	if wasClosing { // it ends because we close it, and not because it was idle
		err.Silence = 0
	}
	d := &Disconnected{Reason: err.Reason, Code: err.Code, HTTPStatus: err.HTTPStatus, Text: err.Detail(), Silence: err.Silence}
	begin(&m.link.outage, now)
	if wasUp {
		d.Uptime = now.Sub(m.link.upAt)
		m.link.lostAt = now
	}
	reason := PushDisconnected
	if wasClosing {
		d.Reason, reason = m.link.closedFor(), PushCancelled
	}
	again, exhausted := m.mayRetry(now, err)
	d.WillReconnect = again && !wasClosing
	m.emit(now, "", d)
	m.failAllPushes(now, reason, attempted, tooBig)
	m.loseChannels(now, d.WillReconnect)

	switch {
	case wasClosing:
		m.finish(nil)
	case d.WillReconnect:
		m.retry(now, err)
	default:
		if exhausted {
			m.emit(now, "", &ReconnectExhausted{Attempts: m.link.retries, MaxAttempts: m.maxRetries, Reason: err.Reason})
		}
		m.finish(err)
	}
}

// mayRetry reports whether another dial may follow err, and if not, whether that is because the retries are used up.
// A refusal after success is an outage like any other: proxies refuse for some seconds at each deploy (rule 27).
func (m *machine) mayRetry(now time.Time, err *LinkError) (again, exhausted bool) {
	switch {
	case err.refusal() && !m.retryRefusals && !m.link.ready:
		return false, false
	case m.failFast && !m.link.ready:
		return false, false
	case m.maxOutage > 0 && now.Sub(m.link.outage) >= m.maxOutage:
		return false, true
	case m.maxRetries < 0 || m.link.retries < m.maxRetries:
		return true, false
	}
	return false, m.maxRetries > 0
}

func (m *machine) retry(now time.Time, err *LinkError) {
	delay := m.reconnectAfter(m.link.retries)
	if err.RetryAfter > 0 { // for a whole herd, so with jitter above it (rule 29)
		delay = max(delay, err.RetryAfter+m.spread(err.RetryAfter/2))
	}
	delay = m.within(m.link.outage, now, delay)
	m.link.retries++
	m.setPhase(waiting)
	m.emit(now, "", &Reconnecting{Attempt: m.link.retries, MaxAttempts: m.maxRetries, Delay: delay, Reason: err.Reason})
	m.clock.set(&m.link.redial, now.Add(delay))
}

// begin notes since when something is away, unless it has been before.
func begin(outage *time.Time, now time.Time) {
	if outage.IsZero() {
		*outage = now
	}
}

// within shortens a delay so that the last retry comes when an outage has lasted as long as it may.
func (m *machine) within(outage, now time.Time, delay time.Duration) time.Duration {
	if m.maxOutage <= 0 {
		return delay
	}
	return min(delay, max(0, m.maxOutage-now.Sub(outage)))
}

// drop ends a session that is dead, for a reason of our own.
func (m *machine) drop(cause *LinkError) {
	m.setPhase(dropping)
	m.link.cause = cause
	m.beat.stop()
	m.out.hangUp = hangUpDrop
}

// close ends the connection for good; nothing is retried any more.
func (m *machine) close(now time.Time) {
	switch m.phase {
	case idle:
		m.finish(nil)
	case waiting:
		m.closedByUs(now)
	case dialing:
		m.setPhase(closing)
		m.out.hangUp = hangUpDrop
	case up:
		if m.link.transport == TransportLongPoll {
			m.leaveAll()
		}
		m.setPhase(closing)
		m.beat.stop()
		m.out.hangUp = hangUpClose
		m.clock.set(&m.link.linger, now.Add(closeTimeout))
	case dropping:
		m.setPhase(closing)
		m.link.cause = nil
	}
}

// revoke is close at once, without a word to the server: another process may speak to it by now. A session ends like one whose process has
// died, so by long poll nothing is left (PROTOCOL.md, section 11).
func (m *machine) revoke(now time.Time) {
	m.link.closeReason = ReasonLeaseLost
	if m.phase == up || m.phase == closing {
		m.drop(nil)
	}
	m.close(now)
	m.link.cause = &LinkError{Stage: StageSession, Reason: ReasonLeaseLost} // and not that its socket was closed
}

// closedFor is why we close the connection.
func (l *linkState) closedFor() Reason { return cmp.Or(l.closeReason, ReasonClosedByUs) }

// closedByUs ends a connection that has no session, and says so.
func (m *machine) closedByUs(now time.Time) {
	m.link.redial.stop()
	m.emit(now, "", &Disconnected{Reason: m.link.closedFor()})
	m.finish(nil)
}

// abort ends the connection at once, as something of ours has failed: its session or dial is gone. The first attempted frames
// of the session may have reached the server.
func (m *machine) abort(now time.Time, cause error, attempted uint64) {
	switch m.phase {
	case done:
	case idle, dialing, waiting:
		m.closedByUs(now)
	default:
		m.setPhase(closing)
		m.link.cause = &LinkError{Stage: StageSession, Reason: ReasonClosedByUs, Err: cause}
		m.linkLost(now, nil, attempted)
	}
}

// finish ends the connection. Whoever waits for a channel waits in vain.
func (m *machine) finish(err *LinkError) {
	m.setPhase(done)
	m.link.err = err
	for _, c := range m.order {
		m.reset(c)
	}
	clear(m.channels)
	m.order = nil
}

// checkJoined notices that all wanted channels are joined, and with that that the link is stable (rule 14).
func (m *machine) checkJoined() {
	if m.phase != up {
		return
	}
	for _, c := range m.order {
		if c.state != channelJoined || c.unanswered > 0 {
			return
		}
	}
	m.link.ready, m.link.outage = true, time.Time{}
	if m.link.longUp {
		m.out.changed = m.out.changed || m.link.retries > 0
		m.link.retries = 0
	}
}

// A heartbeat keeps the server from closing the socket and finds a half-open link (rule 17). It is written every
// interval, whatever else is read or written; its answer is due after a timeout of its own.
type heartbeat struct {
	m *machine
	// sent are the heartbeats without an answer, oldest first.
	sent []sentBeat
	// waited says that a join has timed out that held an answer up: no other one excuses it, until something is answered.
	waited bool
	// tick is due when the next one is to be written, overdue when the answer to the first of sent is.
	tick, overdue timer
}

type sentBeat struct {
	ref string
	at  moment
	// asked says that it was written out of turn.
	asked bool
}

// A beatAnswer is an answered heartbeat.
type beatAnswer struct {
	ref string
	rtt time.Duration
	// err is set when the answer was not "ok".
	err *HeartbeatError
}

// maxBeats bounds the heartbeats remembered while reads are paused for long.
const maxBeats = 16

func (h *heartbeat) init(m *machine) {
	h.m = m
	h.tick.fire = h.beat
	h.overdue.fire = h.expire
	// A join that times out at the same moment is heard first: it is the better explanation.
	h.overdue.late = true
}

func (h *heartbeat) start(now time.Time) {
	if h.m.heartbeatInterval != NoHeartbeat {
		h.m.clock.set(&h.tick, now.Add(h.m.heartbeatInterval))
	}
}

func (h *heartbeat) stop() {
	h.sent, h.waited = h.sent[:0], false
	h.tick.stop()
	h.overdue.stop()
}

// beat writes a heartbeat. It goes out even while an earlier one is unanswered, which happens while reads are paused or
// a join holds up the server: the server counts only what we send as life.
func (h *heartbeat) beat(now time.Time) {
	h.m.clock.set(&h.tick, now.Add(h.m.heartbeatInterval))
	h.write(now, false)
}

// beatNow writes a heartbeat out of turn and returns its ref, empty without a session.
func (m *machine) beatNow(now time.Time) string {
	if m.phase != up {
		return ""
	}
	return m.beat.write(now, true)
}

func (h *heartbeat) write(now time.Time, asked bool) string {
	m := h.m
	m.refs++
	ref := strconv.FormatUint(m.refs, 10)
	if len(h.sent) == maxBeats {
		h.sent = append(h.sent[:0], h.sent[1:]...)
	}
	h.sent = append(h.sent, sentBeat{ref, moment{now, m.slept}, asked})
	m.send(&message{ref: ref, topic: topicPhoenix, event: eventHeartbeat, payload: Payload{Data: []byte("{}")}})
	if !h.overdue.isSet() {
		// Reads may be paused: then the time of answers stands still since pausedAt.
		m.answers.set(&h.overdue, m.answerTime(now).Add(m.heartbeatTimeout))
	}
	return ref
}

// answerTime is now on the clock of answers, which stands still while reads are paused.
func (m *machine) answerTime(now time.Time) time.Time {
	if m.paused {
		return m.pausedAt
	}
	return now
}

// answered matches the reply to a heartbeat; it answers the older ones, too. Any status shows that the server lives.
func (h *heartbeat) answered(now time.Time, f *frame) bool {
	for i, s := range h.sent {
		if s.ref != string(f.ref) {
			continue
		}
		h.m.answered(s.at)
		rtt := max(0, f.at.Sub(s.at.at))
		h.m.out.beats = append(h.m.out.beats, beatAnswer{s.ref, rtt, heartbeatError(f)})
		h.sent, h.waited = append(h.sent[:0], h.sent[i+1:]...), false
		h.overdue.stop()
		if len(h.sent) > 0 {
			h.m.answers.set(&h.overdue, now.Add(h.m.heartbeatTimeout))
		}
		if h.m.heartbeatEvents {
			e := h.m.emit(f.at, "", &Heartbeat{RTT: rtt, Asked: s.asked})
			e.Ref = s.ref
		}
		return true
	}
	return false
}

// heartbeatError is nil for the answer of a Phoenix server.
func heartbeatError(f *frame) *HeartbeatError {
	if string(f.status) == "ok" {
		return nil
	}
	return &HeartbeatError{Status: string(f.status), Response: f.payload.clone()}
}

// minUnderWay is how long a message has to have been under way to hold up the verdict on a heartbeat: on a link with many small
// messages there is always a part of one.
const minUnderWay = time.Second

// expire decides about an overdue answer. A join that was written before the heartbeat holds its answer up: the link is
// not dead before the join's own timeout (rule 10). Later joins excuse nothing: on a dead link there is always another. A large
// message on a slow link holds it up for as long as bytes of it come.
func (h *heartbeat) expire(now time.Time) {
	m := h.m
	var latest time.Time
	if c := m.firstJoin(); c != nil && !h.waited && !c.began.at.After(h.sent[0].at.at) {
		latest = c.timer.at
	}
	if u := m.underWay; !latest.After(now) && !u.since.IsZero() {
		if latest = u.since.Add(minUnderWay); !latest.After(now) {
			latest = u.last.Add(m.heartbeatTimeout)
		}
	}
	if latest.After(now) {
		m.answers.set(&h.overdue, latest)
		return
	}
	m.emit(now, "", &HeartbeatTimeout{Timeout: m.heartbeatTimeout})
	m.drop(&LinkError{Stage: StageSession, Reason: ReasonHeartbeatTimeout})
}

// joinAnswered gives an overdue answer, which an answered join held up, its timeout from now on.
func (h *heartbeat) joinAnswered(now time.Time) {
	h.waited = false
	if h.overdue.isSet() {
		h.m.answers.set(&h.overdue, now.Add(h.m.heartbeatTimeout))
	}
}

// A Backoff says how long to wait before retry number attempt, counted from 0. It is called by one goroutine at a time.
type Backoff func(attempt int) time.Duration

// Exponential returns a Backoff that doubles from first to limit.
func Exponential(first, limit time.Duration) Backoff {
	b := backoff.Backoff{Min: first, Max: limit, Factor: 2}
	return func(attempt int) time.Duration { return b.ForAttempt(float64(attempt)) }
}

// Steps returns a Backoff that goes through the given delays; the last one repeats. Without any it does not wait.
func Steps(delays ...time.Duration) Backoff {
	if len(delays) == 0 {
		delays = []time.Duration{0}
	}
	return func(attempt int) time.Duration { return delays[min(attempt, len(delays)-1)] }
}

// Jittered returns a Backoff that draws each delay evenly from half of b's to b's, so that clients which lost a server
// at the same moment do not come back at the same moment (PROTOCOL.md, rule 15: jpillora's own jitter leaves the first
// delay, the herd's, as it is).
func Jittered(b Backoff) Backoff {
	return func(attempt int) time.Duration {
		ceiling := b(attempt)
		half := ceiling / 2
		return half + rand.N(ceiling-half+1)
	}
}

// DefaultReconnectAfter is the backoff between dials: 100 ms doubling to 30 s, jittered.
func DefaultReconnectAfter() Backoff {
	return Jittered(Exponential(100*time.Millisecond, 30*time.Second))
}

// DefaultRejoinAfter is the backoff between the joins of a channel, jittered.
func DefaultRejoinAfter() Backoff {
	const ms = time.Millisecond
	return Jittered(Steps(100*ms, 500*ms, 1000*ms, 2000*ms, 5000*ms, 10000*ms))
}
