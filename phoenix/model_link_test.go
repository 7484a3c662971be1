package phoenix

import "time"

// refLink is what the books say of the link.
type refLink struct {
	phase   phase
	session int
	// written counts the frames of the session.
	written uint64
	retries int
	// ready: all wanted channels have been joined at once. longUp: the session has been up for stableAfter.
	ready, longUp             bool
	dialedAt, upAt, lostAt    time.Time
	heardAt                   time.Time
	redialAt, stableAt, until time.Time // until: when a close frame is not waited for any more
	// dropped says that a heartbeat timeout is why the session ends.
	dropped bool
	// ended says that Disconnected was the last of the link's events: only what it takes along may follow.
	ended bool
	// again is what Disconnected said, retryAfter what the server did.
	again, exhausted bool
	// farewell says that a Disconnected is owed by a connection that was closed without a session.
	farewell bool
}

// linkEvent checks the events of the link against the input that they come of.
func (r *reference) linkEvent(e *Event) {
	switch d := e.Detail.(type) {
	case *Connecting:
		r.onConnecting(d)
	case *Connected:
		r.onConnected(d)
	case *Disconnected:
		r.onDisconnected(d)
	case *Reconnecting:
		r.onReconnecting(d)
	case *ReconnectExhausted:
		r.onExhausted(d)
	default:
		r.failf("an event of type %T", d)
	}
}

func (r *reference) onConnecting(d *Connecting) {
	l := &r.link
	due := l.phase == idle && r.cause.name == causeStart || l.phase == waiting && r.cause.name == causeWake && !l.redialAt.After(r.now)
	r.require(due, "a dial in phase %d that is not due", l.phase)
	r.require(d.Attempt == l.retries+1 && d.URI == r.cfg.uri, "connecting %+v after %d retries", d, l.retries)
	l.phase, l.dialedAt, l.redialAt = dialing, r.now, time.Time{}
	r.step.dials++
}

func (r *reference) onConnected(d *Connected) {
	l := &r.link
	r.require(r.cause.name == causeDialed && l.phase == dialing, "connected in phase %d", l.phase)
	want := Connected{Reconnect: l.session > r.cfg.sessions+1, Took: r.now.Sub(l.dialedAt) - r.cause.waited}
	if want.Reconnect {
		want.Outage = r.now.Sub(l.lostAt)
	}
	r.require(*d == want, "connected %+v, want %+v", *d, want)
	l.phase, l.upAt, l.heardAt, l.longUp, l.dropped = up, r.now, r.now, false, false
	l.stableAt = r.now.Add(r.cfg.stableAfter)
	r.beats = refBeats{tick: r.now.Add(r.cfg.heartbeatInterval)}
}

func (r *reference) onDisconnected(d *Disconnected) {
	l, err := &r.link, r.cause.err
	want := Disconnected{}
	switch {
	case l.farewell:
		r.require(*d == Disconnected{Reason: ReasonClosedByUs}, "disconnected %+v, but it was closed without a session", *d)
		r.tally("closed without a session")
		l.farewell = false
		return
	case r.cause.name == causeDialFailed && l.phase == dialing:
	case (r.cause.name == causeLost || r.cause.name == causeAbort) && l.phase != dialing:
		want.Uptime = r.now.Sub(l.upAt)
		l.lostAt = r.now
	default:
		r.failf("disconnected in phase %d", l.phase)
	}
	if l.dropped && l.phase != closing {
		err = &LinkError{Reason: ReasonHeartbeatTimeout}
	}
	want.Reason, want.Code, want.HTTPStatus, want.Text = err.Reason, err.Code, err.HTTPStatus, err.Detail()
	if l.phase == closing {
		want.Reason = ReasonClosedByUs
	} else {
		l.again, l.exhausted = r.retriesLink(err)
		want.WillReconnect = l.again
	}
	r.require(*d == want, "disconnected %+v, want %+v", *d, want)
	l.ended = true
	l.stableAt, l.until = time.Time{}, time.Time{}
	r.beats = refBeats{}
	r.step.linkEnded = PushDisconnected
	if l.phase == closing {
		r.step.linkEnded = PushCancelled
	}
	r.tallyEnd(err, l.phase)
	l.phase = done
	if want.WillReconnect {
		l.phase = waiting // Reconnecting says how long
	}
}

func (r *reference) tallyEnd(err *LinkError, was phase) {
	switch {
	case was == closing:
		r.tally("closed by us")
	case err.refusal():
		r.tally("refused")
	}
}

// retriesLink says whether the link is dialed again after err, and whether it is not because the retries are used up.
func (r *reference) retriesLink(err *LinkError) (again, exhausted bool) {
	if err.refusal() && !r.cfg.retryRefusals || r.cfg.failFast && !r.link.ready {
		return false, false
	}
	again = r.cfg.maxRetries == -1 || r.link.retries < r.cfg.maxRetries
	return again, !again && r.cfg.maxRetries > 0
}

func (r *reference) onReconnecting(d *Reconnecting) {
	l, err := &r.link, r.cause.err
	r.require(l.ended && l.again && l.phase == waiting, "reconnecting, but not after the loss of a link that comes back")
	want := Reconnecting{
		Attempt: l.retries + 1, MaxAttempts: r.cfg.maxRetries, Reason: err.Reason,
		Delay: max(r.cfg.reconnectAfter(l.retries), err.RetryAfter),
	}
	if l.dropped {
		want.Reason, want.Delay = ReasonHeartbeatTimeout, r.cfg.reconnectAfter(l.retries)
	}
	r.require(*d == want, "reconnecting %+v, want %+v", *d, want)
	if err.RetryAfter > 0 {
		r.tally("retry after")
	}
	r.tally("reconnecting")
	l.retries++
	l.ended, l.again, l.dropped = false, false, false
	l.redialAt = r.now.Add(d.Delay)
}

func (r *reference) onExhausted(d *ReconnectExhausted) {
	l := &r.link
	r.require(l.ended && l.exhausted && l.phase == done, "retries exhausted, but not by the loss of a link that may not come back")
	r.require(d.Attempts == r.cfg.maxRetries && l.retries == d.Attempts && d.MaxAttempts == d.Attempts, "exhausted %+v after %d retries", d, l.retries)
	r.tally("reconnect exhausted")
	l.exhausted = false
}

// closing books a close.
func (r *reference) closing() {
	l := &r.link
	switch l.phase {
	case waiting:
		r.closedWithoutSession()
	case dialing:
		l.phase, r.step.hangUp = closing, hangUpDrop
	case up:
		l.phase, l.until, r.step.hangUp = closing, r.now.Add(closeTimeout), hangUpClose
		r.beats = refBeats{}
	case dropping:
		l.phase = closing
	}
}

// closedWithoutSession books the end of a connection that dials, or waits to.
func (r *reference) closedWithoutSession() {
	l := &r.link
	l.phase, l.redialAt, l.farewell = done, time.Time{}, true
}

// aborting books an end at once.
func (r *reference) aborting() {
	switch r.link.phase {
	case done:
	case idle, dialing, waiting:
		r.closedWithoutSession()
	default:
		r.link.phase = closing
		r.tally("aborted")
	}
}

// woken books what is due and makes no event: the retries of what has proved stable by now are counted anew (rule 14), a
// backoff ends, and a link that closes for too long is dropped.
func (r *reference) woken() {
	l := &r.link
	if reached(&l.stableAt, r.now) {
		l.longUp = true
	}
	if reached(&l.until, r.now) {
		r.step.hangUp = hangUpDrop
		r.tally("close lingers")
	}
	if reached(&r.beats.tick, r.now) {
		r.beats.tick = r.now.Add(r.cfg.heartbeatInterval)
		r.step.beats++
	}
	for _, c := range r.channels {
		if reached(&c.settlesAt, r.now) {
			c.retries = 0
		}
		if reached(&c.dueAt, r.now) {
			c.state = channelWaiting
		}
	}
}

// reached unsets a deadline that has been reached and reports whether it was.
func reached(at *time.Time, now time.Time) bool {
	if at.IsZero() || at.After(now) {
		return false
	}
	*at = time.Time{}
	return true
}

func (r *reference) settleLink() {
	l := &r.link
	r.require(!l.farewell, "closed without a session, and not told")
	r.require(!l.again && !l.exhausted, "a loss without its reconnecting or reconnect exhausted")
	if l.phase == done {
		clear(r.channels)
		r.require(len(r.pushes) == 0, "%d pushes are left without an end", len(r.pushes))
		return
	}
	r.judge()
}

// judge books that the link is stable, if it is: up for long, with all wanted channels joined (rule 14).
func (r *reference) judge() {
	l := &r.link
	if l.phase != up || !r.allJoined() {
		return
	}
	l.ready = true
	if l.longUp {
		if l.retries > 0 {
			r.tally("retries forgotten")
		}
		l.retries = 0
	}
}

func (r *reference) linkDeadlines() []time.Time {
	return nonzero(r.link.redialAt, r.link.stableAt, r.link.until)
}

// nonzero returns those of times that are set.
func nonzero(times ...time.Time) []time.Time {
	var all []time.Time
	for _, t := range times {
		if !t.IsZero() {
			all = append(all, t)
		}
	}
	return all
}
