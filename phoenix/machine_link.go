package phoenix

import (
	"time"
)

// linkState is what the machine knows of its link beyond the phase.
type linkState struct {
	// dialedAt is when the current dial began, upAt when the session did, lostAt when the last session ended.
	dialedAt, upAt, lostAt time.Time
	// heardAt is when the last frame came.
	heardAt time.Time
	// retries counts the retries since the link was last stable.
	retries int
	// ready says that every wanted channel has been joined at once, some time.
	ready bool
	// longUp says that the session has been up for stableAfter.
	longUp bool
	// cause is why we dropped the session.
	cause *LinkError
	// err is how the connection ended, once the phase is done; nil if we closed it.
	err *LinkError

	redial, stable, linger timer
}

// closeTimeout bounds the wait for the server's close frame.
const closeTimeout = 2 * time.Second

func (l *linkState) init(m *machine) {
	l.redial.fire = m.startDial
	l.stable.fire = func(time.Time) { l.longUp = true; m.checkJoined() }
	l.linger.fire = func(time.Time) { m.out.hangUp = hangUpDrop }
}

// start begins the first dial.
func (m *machine) start(now time.Time) {
	if m.phase == idle {
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
func (m *machine) dialed(now time.Time, waited time.Duration, t Timings) bool {
	if m.phase != dialing {
		return false
	}
	m.setPhase(up)
	m.session++
	m.written = 0
	m.link.upAt, m.link.heardAt, m.link.longUp, m.link.cause = now, now, false, nil
	c := &Connected{Reconnect: m.session > m.sessions+1, Took: now.Sub(m.link.dialedAt) - waited, Timings: t}
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
	m.beat.stop()
	m.link.stable.stop()
	m.link.linger.stop()
	m.lost(now, err, attempted)
}

// lost is the end of a session or a dial: everything that hangs on it ends, in the order cause, pushes, channels, what
// happens next.
func (m *machine) lost(now time.Time, err *LinkError, attempted uint64) {
	wasUp, wasClosing := m.phase != dialing, m.phase == closing
	if !wasClosing {
		m.setPhase(waiting) // what ends now must not write to a dead session (rule 18)
	}
	d := &Disconnected{Reason: err.Reason, Code: err.Code, HTTPStatus: err.HTTPStatus, Text: err.Detail()}
	if wasUp {
		d.Uptime = now.Sub(m.link.upAt)
		m.link.lostAt = now
	}
	reason := PushDisconnected
	if wasClosing {
		d.Reason, reason = ReasonClosedByUs, PushCancelled
	}
	again, exhausted := m.mayRetry(err)
	d.WillReconnect = again && !wasClosing
	m.emit(now, "", d)
	m.failAllPushes(now, reason, attempted)
	m.loseChannels(now, d.WillReconnect, err)

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
func (m *machine) mayRetry(err *LinkError) (again, exhausted bool) {
	switch {
	case err.refusal() && !m.retryRefusals:
		return false, false
	case m.failFast && !m.link.ready:
		return false, false
	case m.maxRetries < 0 || m.link.retries < m.maxRetries:
		return true, false
	}
	return false, m.maxRetries > 0
}

func (m *machine) retry(now time.Time, err *LinkError) {
	delay := max(m.reconnectAfter(m.link.retries), err.RetryAfter)
	m.link.retries++
	m.setPhase(waiting)
	m.emit(now, "", &Reconnecting{Attempt: m.link.retries, MaxAttempts: m.maxRetries, Delay: delay, Reason: err.Reason})
	m.clock.set(&m.link.redial, now.Add(delay))
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
		m.setPhase(closing)
		m.beat.stop()
		m.out.hangUp = hangUpClose
		m.clock.set(&m.link.linger, now.Add(closeTimeout))
	case dropping:
		m.setPhase(closing)
		m.link.cause = nil
	}
}

// closedByUs ends a connection that has no session, and says so.
func (m *machine) closedByUs(now time.Time) {
	m.link.redial.stop()
	m.emit(now, "", &Disconnected{Reason: ReasonClosedByUs})
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
		if c.state != channelJoined {
			return
		}
	}
	m.link.ready = true
	if m.link.longUp {
		m.out.changed = m.out.changed || m.link.retries > 0
		m.link.retries = 0
	}
}
