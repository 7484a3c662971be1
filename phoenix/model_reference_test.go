package phoenix

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// A reference keeps the books of one machine: what its inputs were, what its outputs said, and what each of the two owes.
// It looks at nothing inside the machine but whether it is done. For every input, begin says what is to come, observe
// compares and books the outputs, and settle checks that nothing is owed and that each deadline is kept.
type reference struct {
	t     testing.TB
	cfg   machineConfig
	trace modelTrace
	seen  map[string]int

	now   time.Time
	cause cause
	clock answersClock

	// draining says that it is being read.
	draining bool
	link     refLink
	beats    refBeats
	channels map[string]*refChannel
	// away are the channels that have to go to another socket.
	away map[string]*refChannel
	// joins are the joins written in this session, in their order.
	joins    []refJoin
	pushes   []*refPush // without an end
	refs     map[string]bool
	seq      uint64
	prepares uint64

	// step is what happened in the step under way.
	step refStep
}

// A cause is one input of the machine.
type cause struct {
	name string
	// topic is that of a command, push the one asked for, prepare what was answered.
	topic      string
	params     bool
	push       *refPush
	prepare    uint64
	prepareErr error
	err        *LinkError
	attempted  uint64
	waited     time.Duration
	by         Transport
	frame      *serverFrame
	// at and underWay are those of a drain.
	at       time.Time
	underWay underWay
	// lossFrom is since when, in truth, what the server has sent is lost if something is lost now; trueNow is now. Both are of a
	// clock that never stands still.
	lossFrom, trueNow time.Time
}

// The names of causes that rules ask for.
const (
	causeStart, causeDialed, causeDialFailed, causeLost = "start", "dialed", "dial failed", "link lost"
	causeFrame, causeWake, causePrepared, causeClose    = "frame", "wake", "prepared", "close"
	causeJoin, causeLeave, causePush, causeAsk          = "join", "leave", "push", "ask"
	causePause, causeResume, causeAbort                 = "pause", "resume", "abort"
	causeDrained, causeRelease, causeAdopt, causeRevoke = "drained", "release", "adopt", "revoke"
)

// leaves books that a channel leaves the socket for another one.
func (r *reference) leaves(c *refChannel) {
	c.offTheWire(channelWaiting)
	r.away[c.topic] = c
	delete(r.channels, c.topic)
	r.step.ended[c.topic] = PushNotJoined
}

// held counts the channels that a server has, as far as a client can know.
func (r *reference) held() (n int) {
	for _, c := range r.channels {
		if c.state == channelJoined || c.state == channelLeaving {
			n++
		}
	}
	return n
}

// released checks which channels were released because of a limit, and books it.
func (r *reference) released(limit int, released []*channel) {
	waiting := 0
	for _, c := range r.channels {
		if c.state == channelWaiting || c.state == channelPreparing {
			waiting++
		}
	}
	want := min(waiting, max(0, len(r.channels)-limit))
	r.require(len(released) == want, "%d of %d channels released at a limit of %d, want %d", len(released), len(r.channels), limit, want)
	for _, c := range released {
		is := r.channels[c.Topic]
		r.require(is != nil && (is.state == channelWaiting || is.state == channelPreparing), "%q is released: it is %v", c.Topic, is)
		r.leaves(is)
		r.tally("released")
	}
}

// refStep is what happened between begin and settle.
type refStep struct {
	outcome outcome
	// met counts the events that are the outcome.
	met int
	// ended are the topics whose joins or pushes ended in this step, and how the pushes had to.
	ended map[string]PushReason
	// timedOut are the join_refs of the joins that timed out: each is owed a leave.
	timedOut map[string]string
	// farewells are the join_refs of the channels that have to be left before the close.
	farewells map[string]string
	// failed are the pushes that got a PushError.
	failed []failedPush
	// joining are the joins announced, by ref.
	joining map[string]string
	// linkEnded is how all pushes had to end, if the link did.
	linkEnded PushReason
	hangUp    hangUp
	// beats are the heartbeats to be written: the one that is due, the one that is asked for.
	beats  int
	dials  int
	events int
	// sent are the pushes written.
	sent []sentPush
}

// answersClock is the clock of what the server owes us: it stands still while reads are paused (rule 21).
type answersClock struct {
	paused   bool
	pausedAt time.Time
	stood    time.Duration
}

func (c *answersClock) at(now time.Time) time.Time {
	if c.paused {
		now = c.pausedAt
	}
	return now.Add(-c.stood)
}

// wall is when the clock of answers will show t, unless it stands still until then.
func (c *answersClock) wall(t time.Time) time.Time { return t.Add(c.stood) }

func newReference(t testing.TB, cfg machineConfig, seen map[string]int) *reference {
	return &reference{
		t: t, cfg: cfg, seen: seen, link: refLink{session: cfg.sessions}, channels: map[string]*refChannel{}, away: map[string]*refChannel{}, refs: map[string]bool{},
	}
}

// answersNow is the time on the clock of answers.
func (r *reference) answersNow() time.Time { return r.clock.at(r.now) }

// begin books an input before the machine gets it.
func (r *reference) begin(now time.Time, c cause) {
	r.now, r.cause = now, c
	r.step = refStep{ended: map[string]PushReason{}, timedOut: map[string]string{}, farewells: map[string]string{}, joining: map[string]string{}}
	switch c.name {
	case causeWake:
		r.woken()
	case causeDrained:
		r.draining = false
		r.cause.trueNow = c.trueNow.Add(c.at.Sub(now))
		r.now = c.at // answers are judged at the time by which all has been read
	case causeLost:
		r.draining = false
	case causeDialed:
		r.draining = false
		if r.link.phase == dialing {
			r.link.session++
			r.link.written = 0
		}
	case causeFrame:
		r.step.outcome = r.outcomeOf(c.frame)
		if c.frame.skipped && r.step.outcome.name == "skipped message" {
			r.seq++ // a number without an event
		}
		r.tally(r.step.outcome.name)
		if r.step.outcome.name == "sent away" {
			r.leaves(r.channels[c.frame.topic])
			r.beats.heard, r.beats.waited = r.answersNow(), false
		}
	case causePush:
		r.asked(c.push)
	case causeAsk:
		if r.link.phase == up {
			r.step.beats++
		}
	case causePause:
		r.clock.paused, r.clock.pausedAt = true, now
	case causeResume:
		r.clock.stood += now.Sub(r.clock.pausedAt)
		r.clock.paused = false
	case causeClose:
		r.closing()
	case causeRevoke:
		r.revoking()
	case causeDialFailed:
		if r.link.phase == closing {
			r.closedWithoutSession()
		}
	case causeAbort:
		r.aborting()
	}
}

// observe compares the outputs of the machine with the books.
func (r *reference) observe(events []Event, out *output) {
	for i := range events {
		r.event(&events[i])
	}
	r.link.ended = false
	r.checkLosses()
	r.checkPushErrors()
	r.checkFrames(out.frames)
	r.require(slices.Equal(out.sent, r.step.sent), "pushes told as sent: %v, want %v", out.sent, r.step.sent)
	r.checkBeats(out.beats)
	for _, p := range out.prepares {
		r.preparing(p)
	}
	if out.dial {
		r.step.dials--
	}
	r.require(r.step.dials == 0, "dials announced and dials asked for differ")
	r.require(out.hangUp == r.step.hangUp, "hang up: %d, want %d", out.hangUp, r.step.hangUp)
	may, must := r.answersDue()
	r.require(!out.drain || r.cause.name == causeWake && may && !r.draining, "what has arrived is to be read, but no answer is due")
	r.require(out.drain || r.cause.name != causeWake || !must || r.draining, "an answer is due, and what has arrived is not read first")
	r.draining = r.draining || out.drain
	if len(out.notes) > 0 && r.cause.frame == nil && r.cause.prepareErr == nil {
		r.failf("notes without a frame: %v", out.notes)
	}
}

// event checks what is common to all events, and hands e to the rules.
func (r *reference) event(e *Event) {
	r.step.events++
	r.seq++
	r.require(e.Seq == r.seq, "event %d has the number %d", r.seq, e.Seq)
	r.require(e.Session == r.link.session, "%T of session %d in session %d", e.Detail, e.Session, r.link.session)
	r.require(!e.Time.After(r.now), "%T in the future", e.Detail)
	r.trace.event(e)
	switch d := e.Detail.(type) {
	case *Message:
		r.onMessage(e)
	case *PushReply, *PushTimeout, *PushError:
		r.pushEnded(e)
	case *Joining:
		r.onJoining(e, d)
	case *Joined:
		r.onJoined(e, d)
	case *JoinError:
		r.onJoinError(e, d)
	case *Left:
		r.onLeft(e)
	case *Closed:
		r.channelLost(e, "closed", PushChannelClosed, d.Retry)
	case *Errored:
		r.onErrored(e, d)
	case *Heartbeat:
		r.onHeartbeat(e, d)
	case *HeartbeatTimeout:
		r.onHeartbeatTimeout(d)
	default:
		r.linkEvent(e)
	}
}

// checkChanged: whatever changes the status is told, and what the server says without changing it is not.
func (r *reference) checkChanged(told bool, before, after Status) {
	want := Transport("")
	if r.link.phase == up {
		want = r.link.transport
	}
	r.require(after.Transport == want, "the transport of the status is %q, want %q", after.Transport, want)
	same := before.Link == after.Link && before.Session == after.Session && before.Retries == after.Retries &&
		slices.Equal(before.Channels, after.Channels)
	r.require(told || same, "the status changed from %+v to %+v, and nobody was told", before, after)
	switch r.step.outcome.name {
	case "message", "skipped message", "push reply", "heartbeat answered", "frame without outcome":
		r.require(!told, "a change told: %v is none", r.cause.frame)
	}
}

// settle checks the state after a step; next is what the machine wants to be woken at.
func (r *reference) settle(next time.Time, isDone bool) {
	o := r.step.outcome
	r.require(r.step.met == o.events, "frame %v: %d events are its outcome (%s), want %d", r.cause.frame, r.step.met, o.name, o.events)
	if r.cause.name == causeFrame && o.nothing() {
		r.require(r.step.events == 0, "a frame without outcome made events")
	}
	r.require(isDone == (r.link.phase == done), "done: %t, but the link is in phase %d", isDone, r.link.phase)
	r.runJoinClock()
	r.settleChannels()
	r.settlePushes()
	r.settleLink()
	r.checkDeadlines(next)
}

// checkDeadlines: the machine wants to be woken for the earliest thing that lives, and for nothing else.
func (r *reference) checkDeadlines(next time.Time) {
	live := slices.Concat(r.linkDeadlines(), r.channelDeadlines(), r.beats.ticks())
	overdue, latest := r.overdueDeadlines()
	if r.draining {
		overdue, latest = nil, time.Time{}
	} else {
		live = append(live, r.answerDeadlines()...)
	}
	if !next.IsZero() && slices.ContainsFunc(overdue, next.Equal) {
		live = append(live, next)
	}
	if len(live) == 0 {
		r.require(next.IsZero(), "a deadline at %v, but nothing waits", fromNow{next, r.now})
	} else {
		first := slices.MinFunc(live, time.Time.Compare)
		r.require(next.Equal(first), "the next deadline is at %v, want %v", fromNow{next, r.now}, fromNow{first, r.now})
	}
	if !latest.IsZero() {
		r.require(!next.IsZero() && !next.After(latest), "a heartbeat is overdue at %v, but the next deadline is at %v", fromNow{latest, r.now}, fromNow{next, r.now})
	}
	if r.cause.name == causeWake && !next.IsZero() {
		r.require(next.After(r.now), "no progress: woken at a deadline, the next is the same")
	}
	if r.cause.name == causeDrained && !r.clock.paused {
		for _, due := range r.answerDeadlines() {
			r.require(due.After(r.cause.at), "an answer was due %v before all that had arrived was read, and is still waited for", r.cause.at.Sub(due))
		}
	}
}

// claim says that an event is the outcome of the frame under way, and demands that it is expected.
func (r *reference) claim(name, topic string) {
	o := &r.step.outcome
	r.require(o.name == name && o.topic == topic, "%s of %q, but %v should be: %s of %q", name, topic, r.cause.frame, o.name, o.topic)
	r.step.met++
}

func (r *reference) require(ok bool, format string, args ...any) {
	if !ok {
		r.t.Helper()
		r.failf(format, args...)
	}
}

func (r *reference) failf(format string, args ...any) {
	r.t.Helper()
	r.trace.fail(r.t, format, args...)
}

func (r *reference) tally(what string) {
	if what != "" {
		r.seen[what]++
	}
}

// refLink is what the books say of the link.
type refLink struct {
	phase   phase
	session int
	// written counts the frames of the session.
	written uint64
	retries int
	// ready: all wanted channels have been joined at once. longUp: the session has been up for stableAfter.
	ready, longUp             bool
	outage                    time.Time // since when it has not been up for long, nor with all that is wanted
	dialedAt, upAt, lostAt    time.Time
	redialAt, stableAt, until time.Time // until: when a close frame is not waited for any more
	// dropped says that a heartbeat timeout is why the session ends.
	dropped bool
	// transport is that of the session.
	transport Transport
	// ended says that Disconnected was the last of the link's events: only what it takes along may follow.
	ended bool
	// again is what Disconnected said, retryAfter what the server did.
	again, exhausted bool
	// revoked says that the server is to hear nothing more.
	revoked bool
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
	if r.cause.name == causeStart {
		l.outage = r.now
	}
	l.phase, l.dialedAt, l.redialAt = dialing, r.now, time.Time{}
	r.step.dials++
}

func (r *reference) onConnected(d *Connected) {
	l := &r.link
	r.require(r.cause.name == causeDialed && l.phase == dialing, "connected in phase %d", l.phase)
	want := Connected{Reconnect: l.session > r.cfg.sessions+1, Transport: r.cause.by, Took: r.now.Sub(l.dialedAt) - r.cause.waited}
	if want.Reconnect {
		want.Outage = r.now.Sub(l.lostAt)
	}
	r.require(*d == want, "connected %+v, want %+v", *d, want)
	if r.cause.by == TransportLongPoll && l.transport == TransportWebSocket {
		r.tally("session by long poll behind one by WebSocket")
	}
	l.phase, l.upAt, l.longUp, l.dropped, l.transport = up, r.now, false, false, r.cause.by
	l.stableAt = r.now.Add(r.cfg.stableAfter)
	r.beats = refBeats{tick: r.now.Add(r.cfg.heartbeatInterval)}
}

func (r *reference) onDisconnected(d *Disconnected) {
	l, err := &r.link, r.cause.err
	want := Disconnected{}
	switch {
	case l.farewell:
		r.require(*d == Disconnected{Reason: l.closedFor()}, "disconnected %+v, but it was closed without a session", *d)
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
	r.joins = nil
	if l.outage.IsZero() {
		l.outage = r.now
	}
	switch {
	case l.revoked:
		err = &LinkError{Reason: ReasonLeaseLost}
	case l.dropped && l.phase != closing:
		err = &LinkError{Reason: ReasonHeartbeatTimeout}
	}
	want.Reason, want.Code, want.HTTPStatus, want.Text = err.Reason, err.Code, err.HTTPStatus, err.Detail()
	if l.phase == closing {
		want.Reason = l.closedFor()
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
	if (err.refusal() && !r.cfg.retryRefusals || r.cfg.failFast) && !r.link.ready {
		return false, false
	}
	if err.refusal() && !r.cfg.retryRefusals {
		r.tally("refused again")
	}
	if r.cfg.maxOutage > 0 && r.now.Sub(r.link.outage) >= r.cfg.maxOutage {
		r.tally("outage too long")
		return false, true
	}
	again = r.cfg.maxRetries == -1 || r.link.retries < r.cfg.maxRetries
	return again, !again && r.cfg.maxRetries > 0
}

func (r *reference) onReconnecting(d *Reconnecting) {
	l, err := &r.link, r.cause.err
	r.require(l.ended && l.again && l.phase == waiting, "reconnecting, but not after the loss of a link that comes back")
	want := Reconnecting{Attempt: l.retries + 1, MaxAttempts: r.cfg.maxRetries, Reason: err.Reason, Delay: d.Delay}
	least, most := r.cfg.reconnectAfter(l.retries), r.cfg.reconnectAfter(l.retries)
	switch {
	case l.dropped:
		want.Reason = ReasonHeartbeatTimeout
	case err.RetryAfter > 0: // a floor, with jitter above it
		least = max(least, err.RetryAfter+r.cfg.spread(err.RetryAfter/2))
		most = least
	}
	if r.cfg.maxOutage > 0 { // the last retry comes when the outage may last no longer
		left := r.cfg.maxOutage - r.now.Sub(l.outage)
		least, most = min(least, left), min(most, left)
	}
	r.require(d.Delay >= least && d.Delay <= most, "reconnecting in %v, want %v to %v", d.Delay, least, most)
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
	r.require((d.Attempts == r.cfg.maxRetries || r.cfg.maxOutage > 0) && l.retries == d.Attempts && d.MaxAttempts == r.cfg.maxRetries, "exhausted %+v after %d retries", d, l.retries)
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
		if l.transport == TransportLongPoll {
			r.leavesAll()
		}
	case dropping:
		l.phase = closing
	}
}

// revoking books an end of which the server is told nothing.
func (r *reference) revoking() {
	l := &r.link
	if l.phase == done {
		return
	}
	if l.revoked = true; l.phase == up || l.phase == closing {
		l.phase, r.step.hangUp, r.beats = closing, hangUpDrop, refBeats{}
		r.tally("revoked")
		return
	}
	r.closing()
}

// closedFor is why the connection is over.
func (l *refLink) closedFor() Reason {
	if l.revoked {
		return ReasonLeaseLost
	}
	return ReasonClosedByUs
}

// leavesAll books that all the server has, or may come to have, is left: by long poll nothing else tells it of the end.
func (r *reference) leavesAll() {
	for _, c := range r.channels {
		if c.state == channelJoined || c.state == channelJoining {
			c.farewell = true
			r.step.farewells[c.topic] = c.joinRef
		}
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
		l.longUp, l.outage = true, time.Time{}
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
	l.ready, l.outage = true, time.Time{}
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

// refBeats are the heartbeats of a session.
type refBeats struct {
	tick time.Time
	// sent are those without an answer, in order; those of them that a machine may have forgotten, too.
	sent []refBeat
	// heard is when an answer last showed that the server is there: to a heartbeat, or to a join, which may have held one up.
	heard time.Time
	// joins are the joins of the session: an answer may have to wait for each that was written before its heartbeat.
	joins []refHold
	// waited says that a join has timed out since: another one is no excuse.
	waited bool
	// answered is the heartbeat that the frame under way answers.
	answered refBeat
	// holds are until when, on the clock of answers, a message of which a part has come may hold an answer up.
	holds []time.Time
}

type refBeat struct {
	ref string
	at  time.Time
	// asked is at on the clock of answers, as is heard.
	asked time.Time
}

// A refJoin is a join that was written.
type refJoin struct{ topic, joinRef string }

// runJoinClock starts the clock of the first join without an answer, which is the only one that runs (rule 10).
func (r *reference) runJoinClock() {
	for len(r.joins) > 0 {
		c := r.channels[r.joins[0].topic]
		if c != nil && c.state == channelJoining && c.joinRef == r.joins[0].joinRef {
			if c.deadline.IsZero() && r.link.phase == up {
				c.deadline = r.answersNow().Add(r.cfg.replyTimeout)
				r.beats.joins = append(r.beats.joins, refHold{c.beganAt, c.deadline})
			}
			return
		}
		r.joins = r.joins[1:]
	}
}

// A refHold is a join that the server may be at.
type refHold struct{ began, deadline time.Time }

// beatSent books a heartbeat that was written.
func (r *reference) beatSent(ref string) {
	if r.link.phase != up {
		return // dropped in the moment in which it was written
	}
	r.beats.sent = append(r.beats.sent, refBeat{ref, r.now, r.answersNow()})
	if r.clock.paused {
		r.tally("heartbeat while paused")
	}
}

// waitingBeat returns the index of the heartbeat with a ref among those without an answer, -1 if there is none.
func (r *reference) waitingBeat(ref string) int {
	i := slices.IndexFunc(r.beats.sent, func(b refBeat) bool { return b.ref == ref })
	if i >= 0 && i < len(r.beats.sent)-maxBeats {
		return -1 // forgotten
	}
	return i
}

// beatAnswered books an answer, which answers what was sent before, too.
func (r *reference) beatAnswered(ref string) {
	i := r.waitingBeat(ref)
	r.beats.answered = r.beats.sent[i]
	r.beats.sent = r.beats.sent[i+1:]
	r.beats.heard, r.beats.waited = r.answersNow(), false
}

// checkBeats: an answered heartbeat is told to who asked for it, and nothing else is.
func (r *reference) checkBeats(answers []beatAnswer) {
	if r.step.outcome.name != "heartbeat answered" {
		r.require(len(answers) == 0, "an answer to a heartbeat out of nothing: %v", answers)
		return
	}
	f := r.cause.frame
	want := beatAnswer{ref: r.beats.answered.ref, rtt: max(0, f.at.Sub(r.beats.answered.at))}
	r.require(len(answers) == 1 && answers[0].ref == want.ref && answers[0].rtt == want.rtt, "answered heartbeats: %v, want %v", answers, want)
	r.require((answers[0].err == nil) == (string(f.status) == "ok"), "a heartbeat answered %q: error %v", f.status, answers[0].err)
}

func (r *reference) onHeartbeat(e *Event, d *Heartbeat) {
	r.claim("heartbeat answered", e.Topic)
	r.require(r.cfg.heartbeatEvents, "an event of a heartbeat that was not asked for")
	r.require(e.Ref == r.beats.answered.ref && d.RTT == max(0, e.Time.Sub(r.beats.answered.at)), "heartbeat %q, %v: want %+v", e.Ref, d.RTT, r.beats.answered)
}

// onHeartbeatTimeout: an answer is overdue, and no join that was written before the heartbeat holds it up (rule 10).
func (r *reference) onHeartbeatTimeout(d *HeartbeatTimeout) {
	b, now := &r.beats, r.answersNow()
	r.require(r.cause.name == causeDrained && r.link.phase == up && !r.clock.paused, "a heartbeat timeout by %s in phase %d", r.cause.name, r.link.phase)
	r.require(len(b.sent) > 0 && d.Timeout == r.cfg.heartbeatTimeout, "a heartbeat timeout of %v, but nothing is owed", d.Timeout)
	r.require(now.Sub(laterOf(b.sent[0].asked, b.heard)) >= r.cfg.heartbeatTimeout, "a heartbeat timeout %v too early", r.cfg.heartbeatTimeout-now.Sub(laterOf(b.sent[0].asked, b.heard)))
	if r.runJoinClock(); len(r.joins) > 0 && !b.waited {
		if c := r.channels[r.joins[0].topic]; !c.beganAt.After(r.oldestBeat().at) {
			r.require(!c.deadline.After(now), "a heartbeat timeout while the join of %q may hold the answer up", c.topic)
		}
	}
	if u := r.cause.underWay; !u.since.IsZero() {
		began, idle := r.cause.at.Sub(u.since), r.cause.at.Sub(u.last)
		r.require(began >= time.Second && idle >= r.cfg.heartbeatTimeout, "a heartbeat timeout %v after a message began to come, and %v after its last bytes", began, idle)
	}
	r.tally("heartbeat timeout")
	r.judge() // a join that was given up in the same moment may have been the last
	r.link.phase, r.link.dropped, r.step.hangUp = dropping, true, hangUpDrop
	r.beats = refBeats{}
}

// oldestBeat is the oldest heartbeat that is waited for.
func (r *reference) oldestBeat() refBeat { return r.beats.sent[max(0, len(r.beats.sent)-maxBeats)] }

// ticks: a heartbeat is written every interval, whatever else goes on (rule 17).
func (b *refBeats) ticks() []time.Time { return nonzero(b.tick) }

// overdueDeadlines returns all times at which the machine may look whether an answer is overdue, and the latest at which
// it has to find a dead link (rules 10 and 17).
func (r *reference) overdueDeadlines() (any []time.Time, latest time.Time) {
	b := &r.beats
	if len(b.sent) == 0 || r.clock.paused {
		return nil, time.Time{}
	}
	for _, s := range b.sent {
		any = append(any, r.clock.wall(s.asked.Add(r.cfg.heartbeatTimeout)))
	}
	any = append(any, r.clock.wall(b.heard.Add(r.cfg.heartbeatTimeout)))
	latest = r.clock.wall(laterOf(r.oldestBeat().asked, b.heard).Add(r.cfg.heartbeatTimeout))
	for _, j := range b.joins {
		if !j.began.After(r.oldestBeat().at) {
			any = append(any, r.clock.wall(j.deadline))
			latest = laterOf(latest, r.clock.wall(j.deadline))
		}
	}
	// A message of which a part has come holds a verdict up, from a time on at which it could have been given.
	judged := func(t time.Time) bool { return !t.After(r.now) }
	if u := r.cause.underWay; !u.since.IsZero() && slices.ContainsFunc(any, judged) {
		until := u.last.Add(r.cfg.heartbeatTimeout)
		if young := u.since.Add(time.Second); young.After(r.now) {
			until = young // it may be one of many small ones
		}
		b.holds = append(b.holds, r.clock.at(until))
		r.tally("heartbeat waits for a message")
	}
	for _, until := range b.holds {
		any = append(any, r.clock.wall(until))
		latest = laterOf(latest, r.clock.wall(until))
	}
	if r.cause.name == causeDrained && latest.Sub(r.clock.wall(b.sent[0].asked)) > r.cfg.heartbeatTimeout && r.now.Equal(any[0]) {
		r.tally("heartbeat waits for a join")
	}
	return any, latest
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// refChannel is a wanted topic in the books.
type refChannel struct {
	topic string
	// params says that the params of a join have to be asked for; prepare is the id under which they were.
	params  bool
	prepare uint64
	state   channelState
	// joinRef and leaveRef are those on the wire. deadline, on the clock of answers, is when their answer is overdue.
	joinRef, leaveRef string
	deadline          time.Time
	// dueAt is the end of a backoff, settlesAt when a joined channel has proved stable.
	dueAt, settlesAt time.Time
	beganAt          time.Time
	beganTrue        time.Time // on a clock that never stands still
	everJoined       bool
	away             time.Time // since when it has not been joined, but for the time before its first join
	// lostFrom is since when, in truth, what the server has sent is lost; provenAt is the last time of which a client can know
	// that nothing that was sent before is.
	lostFrom, provenAt time.Time
	retries            int
	// farewell: it was left before the close, and nobody waits for the answer.
	farewell bool
	// again: it is wanted again behind the leave; with params, if againParams says so.
	again, againParams bool
}

// offTheWire books that the join of c, or its leave, is over.
func (c *refChannel) offTheWire(next channelState) {
	c.state, c.joinRef, c.leaveRef, c.prepare, c.farewell = next, "", "", 0, false
	c.deadline, c.dueAt, c.settlesAt = time.Time{}, time.Time{}, time.Time{}
}

// commanded checks what a join or leave returned, and books it.
func (r *reference) commanded(err error) {
	c := r.channels[r.cause.topic]
	var want error
	switch {
	case r.cause.name == causeLeave && c == nil:
		want = ErrNotJoined
	case r.cause.name == causeLeave:
		c.again = false
		r.leaving(c)
	case r.link.phase == done || r.link.phase == closing:
		want = ErrClosed
	case c == nil:
		r.want(r.cause.topic, r.cause.params)
	case c.state == channelLeaving && !c.again:
		c.again, c.againParams = true, r.cause.params
	default:
		want = ErrJoined
	}
	r.require(err == want, "error %v, want %v", err, want)
}

func (r *reference) want(topic string, params bool) {
	r.channels[topic] = &refChannel{topic: topic, params: params}
}

// leaving books a leave: one that has to be told to the server, or one that is over at once.
func (r *reference) leaving(c *refChannel) {
	switch c.state {
	case channelLeaving:
	case channelJoined, channelJoining:
		c.state, c.settlesAt = channelLeaving, time.Time{}
		c.deadline = r.answersNow().Add(r.cfg.replyTimeout)
	default:
		r.step.outcome = outcome{name: "left at once", topic: c.topic, events: 1}
	}
}

// preparing books that the params of a join are asked for.
func (r *reference) preparing(p prepare) {
	c := r.channels[p.channel.Topic]
	wasUp := r.link.phase == up || r.link.phase == dropping && r.step.hangUp == hangUpDrop // dropped in the same wake
	r.require(c != nil && c.params && c.state == channelWaiting && wasUp, "params of %q asked for, but there is nothing to join", p.channel.Topic)
	r.require(p.id > r.prepares, "the id %d of a prepare is not new", p.id)
	r.prepares = p.id
	c.state, c.prepare = channelPreparing, p.id
}

func (r *reference) onJoining(e *Event, d *Joining) {
	c := r.channels[e.Topic]
	r.require(c != nil && r.link.phase == up, "joining %q in phase %d, but nobody wants it", e.Topic, r.link.phase)
	ready := c.state == channelWaiting && !c.params ||
		c.state == channelPreparing && r.cause.name == causePrepared && r.cause.prepare == c.prepare && r.cause.prepareErr == nil
	r.require(ready, "joining %q, which is %v", e.Topic, c.state)
	r.require(e.JoinRef == e.Ref && e.Ref != "", "joining %q with the refs %q and %q", e.Topic, e.JoinRef, e.Ref)
	want := Joining{Rejoin: c.everJoined, Attempt: c.retries + 1}
	r.require(*d == want, "joining %+v, want %+v", *d, want)
	if d.Rejoin {
		r.tally("rejoin")
	}
	c.offTheWire(channelJoining)
	c.beganTrue = r.cause.trueNow
	c.joinRef, c.beganAt = e.Ref, r.now
	r.joins = append(r.joins, refJoin{e.Topic, e.Ref})
	r.runJoinClock()
	r.step.joining[e.Ref] = e.Topic
}

func (r *reference) onJoined(e *Event, d *Joined) {
	r.claim("joined", e.Topic)
	c, f := r.channels[e.Topic], r.cause.frame
	want := Joined{Rejoin: c.everJoined, Took: max(0, f.at.Sub(c.beganAt))}
	if c.everJoined {
		// A gap is never told smaller than it was (rule 20), and it began when the join was answered that was lost, at the earliest.
		truth, most := r.cause.trueNow.Add(f.at.Sub(r.now)).Sub(c.lostFrom), r.cause.trueNow.Sub(c.provenAt)
		r.require(d.Gap >= truth && d.Gap <= most, "a gap of %v: it was %v, and can be known to be at most %v", d.Gap, truth, most)
		want.Gap = d.Gap
	}
	c.provenAt = c.beganTrue
	r.require(reflect.DeepEqual(*d, want), "joined %+v, want %+v", *d, want)
	r.require(e.Ref == c.joinRef && e.JoinRef == c.joinRef && string(e.Payload.Data) == f.payload, "joined with refs %q, %q and response %q: want %q and %q", e.Ref, e.JoinRef, e.Payload.Data, c.joinRef, f.payload)
	c.state, c.deadline, c.everJoined, c.away = channelJoined, time.Time{}, true, time.Time{}
	c.settlesAt = r.now.Add(r.cfg.stableAfter)
	r.beats.heard, r.beats.waited = r.answersNow(), false
}

// onJoinError: a join ends by an answer, by its timeout or for want of params.
func (r *reference) onJoinError(e *Event, d *JoinError) {
	c := r.channels[e.Topic]
	r.require(c != nil, "a join error of %q, which nobody wants", e.Topic)
	switch {
	case r.cause.name == causeDrained:
		r.require(c.state == channelJoining && !c.deadline.IsZero() && !c.deadline.After(r.answersNow()), "the join of %q timed out too early", e.Topic)
		r.beats.waited = true
		r.require(d.Reason == JoinTimeout, "a join error %q out of nothing", d.Reason)
		r.step.timedOut[e.Topic] = c.joinRef
	case r.cause.name == causePrepared:
		r.require(c.state == channelPreparing && c.prepare == r.cause.prepare && r.cause.prepareErr != nil, "a join error of %q, whose params are there", e.Topic)
		r.require(d.Reason == JoinRefused, "params that cannot be read made a join error %q", d.Reason)
		r.tally("params failed")
	default:
		r.claim("join refused", e.Topic)
		r.require(d.Reason == r.step.outcome.reason, "join error %q, want %q", d.Reason, r.step.outcome.reason)
		r.require(string(d.Response.Data) == r.cause.frame.payload, "join error with the response %q, want %q", d.Response.Data, r.cause.frame.payload)
		if r.cause.frame.event == eventReply {
			r.beats.heard, r.beats.waited = r.answersNow(), false
		}
	}
	r.require(e.Ref == c.joinRef && e.JoinRef == c.joinRef && d.Topic == e.Topic, "join error %+v with refs %q and %q, want %q", d, e.Ref, e.JoinRef, c.joinRef)
	r.require(d.Attempt == c.retries+1, "join error of attempt %d, want %d", d.Attempt, c.retries+1)
	r.tally("join error: " + string(d.Reason))
	r.step.ended[e.Topic] = PushNotJoined
	r.retried(c, d.Retry, d.Reason != JoinTimeout)
	r.runJoinClock() // the link may be given up in the same step
}

// retried checks what is said about the next join of c, which has lost its own, and books it.
func (r *reference) retried(c *refChannel, got Retry, refused bool) {
	may := r.cfg.maxRetries == -1 || c.retries < r.cfg.maxRetries
	if c.away.IsZero() {
		c.away = r.now
	}
	left := r.cfg.maxOutage - r.now.Sub(c.away)
	if r.cfg.maxOutage > 0 && left <= 0 {
		may = false
		r.tally("outage of a channel too long")
	}
	if refused && !r.cfg.retryRefusals && !c.everJoined || r.cfg.failFast && !c.everJoined || r.link.phase == closing {
		may = false
	}
	want := Retry{}
	if may {
		want = Retry{Will: true, In: r.cfg.rejoinAfter(c.retries)}
		if r.cfg.maxOutage > 0 {
			want.In = min(want.In, left)
		}
	}
	r.require(got == want, "retry of %q: %+v, want %+v", c.topic, got, want)
	if !may {
		r.tally("join given up")
		delete(r.channels, c.topic)
		return
	}
	c.retries++
	c.offTheWire(channelBackoff)
	c.dueAt = r.now.Add(want.In)
}

// onLeft: the end of a leave, by its answer, by a close that overtook it, by its timeout or with the link (rule 8).
func (r *reference) onLeft(e *Event) {
	c := r.channels[e.Topic]
	r.require(c != nil, "left %q, which nobody wants", e.Topic)
	switch {
	case r.link.ended:
		r.require(c.state == channelLeaving, "left %q with the link, which is %v", e.Topic, c.state)
	case r.cause.name == causeDrained:
		r.require(c.state == channelLeaving && !c.deadline.After(r.answersNow()), "the leave of %q ended too early", e.Topic)
		r.tally("leave without an answer")
	case r.cause.name == causeLeave:
		r.claim("left at once", e.Topic)
	default:
		r.claim("left", e.Topic)
	}
	r.require(e.JoinRef == c.joinRef, "left with the join_ref %q, want %q", e.JoinRef, c.joinRef)
	r.step.ended[e.Topic] = PushCancelled
	delete(r.channels, e.Topic)
	if c.again && r.link.phase != closing && r.link.phase != done {
		r.tally("join behind a leave")
		r.want(c.topic, c.againParams)
	}
	r.runJoinClock()
}

func (r *reference) onErrored(e *Event, d *Errored) {
	c := r.channels[e.Topic]
	if !r.link.ended {
		reason, push := ErroredCrash, PushChannelCrashed
		if r.step.outcome.name == "unmatched push" {
			reason, push = ErroredUnmatchedTopic, PushUnmatchedTopic
		}
		r.require(d.Reason == reason && string(e.Payload.Data) == r.cause.frame.payload, "errored %q with %q, want %q with %q", d.Reason, e.Payload.Data, reason, r.cause.frame.payload)
		r.channelLost(e, r.step.outcome.name, push, d.Retry)
		return
	}
	r.require(c != nil && c.state == channelJoined, "errored with its link: %q, which is not joined", e.Topic)
	want := Errored{Reason: ErroredDisconnected, Retry: Retry{Will: r.link.phase == waiting}}
	r.require(*d == want, "errored %+v, want %+v", *d, want)
	c.state = channelWaiting
	c.lost(r)
	if c.away.IsZero() {
		c.away = r.now
	}
}

// lost books since when messages of the channel are lost.
func (c *refChannel) lost(r *reference) {
	c.lostFrom = r.cause.lossFrom
	if r.cause.name == causeLost && c.lostFrom.Before(r.cause.trueNow) {
		r.tally("gap of a silence")
	}
	if r.cause.name == causeFrame && c.lostFrom.Before(r.cause.trueNow) {
		r.tally("gap of a backlog")
	}
}

// channelLost books a loss of a joined channel by a frame.
func (r *reference) channelLost(e *Event, name string, pushes PushReason, retry Retry) {
	r.claim(name, e.Topic)
	c := r.channels[e.Topic]
	r.require(c.state == channelJoined && e.JoinRef == c.joinRef, "%s with the join_ref %q: %q is %v with %q", name, e.JoinRef, e.Topic, c.state, c.joinRef)
	c.lost(r)
	r.step.ended[e.Topic] = pushes
	r.retried(c, retry, false)
}

// checkLosses: with the link went every join; all that is wanted is joined anew in the next session.
func (r *reference) checkLosses() {
	if r.cause.name != causeLost && r.cause.name != causeDialFailed {
		return
	}
	for _, c := range r.channels {
		r.require(c.state != channelJoined && c.state != channelLeaving, "%q is still %v after the loss of its link", c.topic, c.state)
		c.offTheWire(channelWaiting)
		c.retries = 0
	}
}

// settleChannels: as many of the wanted channels are on their way as may be, and no more (rule 10).
func (r *reference) settleChannels() {
	joining, waits := 0, ""
	for _, c := range r.channels {
		switch c.state {
		case channelPreparing, channelJoining:
			joining++
		case channelWaiting:
			waits = c.topic
		}
	}
	r.require(joining <= maxJoining, "%d joins at once", joining)
	if joining > 1 {
		r.tally("join behind another")
	}
	if r.link.phase == up && waits != "" {
		r.tally("join at the bound")
		r.require(joining == maxJoining, "%q waits to be joined, and only %d joins are under way", waits, joining)
	}
}

func (r *reference) allJoined() bool {
	for _, c := range r.channels {
		if c.state != channelJoined {
			return false
		}
	}
	return true
}

func (r *reference) channelDeadlines() []time.Time {
	var all []time.Time
	for _, c := range r.channels {
		all = append(all, nonzero(c.dueAt, c.settlesAt)...)
	}
	return all
}

// answerDeadlines are those of joins, leaves and pushes.
func (r *reference) answerDeadlines() []time.Time {
	all := r.pushDeadlines()
	for _, c := range r.channels {
		if !c.deadline.IsZero() && !r.clock.paused {
			all = append(all, r.clock.wall(c.deadline))
		}
	}
	return all
}

// answersDue reports whether the machine may find that an answer is due, and whether it must.
func (r *reference) answersDue() (may, must bool) {
	due := func(t time.Time) bool { return !t.After(r.now) }
	overdue, latest := r.overdueDeadlines()
	must = slices.ContainsFunc(r.answerDeadlines(), due) || !latest.IsZero() && due(latest)
	return must || slices.ContainsFunc(overdue, due), must
}

// refPush is a push in the books.
type refPush struct {
	id           uint64
	topic, name  string
	binary       bool
	timeout      time.Duration
	deadline     time.Time // on the clock of answers
	ref, joinRef string    // empty until it is written
	frame        uint64    // its number in the session
	sentAt       time.Time
	// refused is how it had to fail at once, empty if it was accepted.
	refused PushReason
}

// A failedPush is a push with the PushError that ended it.
type failedPush struct {
	*refPush
	PushError
}

// asked books a push that is about to be made.
func (r *reference) asked(p *refPush) {
	c := r.channels[p.topic]
	switch {
	case r.link.phase != up:
		p.refused = PushDisconnected
	case c == nil || c.state == channelBackoff || c.state == channelLeaving:
		p.refused = PushNotJoined
	case c.state != channelJoined:
		r.tally("push queued")
	}
	if p.timeout == 0 {
		p.timeout = r.cfg.replyTimeout
	}
	p.deadline = r.answersNow().Add(p.timeout)
	r.pushes = append(r.pushes, p)
}

// pushEnded checks the one event that ends a push. What a PushError has to say depends on the whole step: checkPushErrors.
func (r *reference) pushEnded(e *Event) {
	i := slices.IndexFunc(r.pushes, func(p *refPush) bool { return p.id == e.push })
	r.require(i >= 0, "%T for push %d, which has ended or was never made", e.Detail, e.push)
	p := r.pushes[i]
	r.pushes = slices.Delete(r.pushes, i, i+1)
	r.require(e.Topic == p.topic && e.Name == p.name && e.Ref == p.ref && e.JoinRef == p.joinRef, "push %d ends as %q %q with refs %q, %q: it is %+v", p.id, e.Topic, e.Name, e.Ref, e.JoinRef, p)
	switch d := e.Detail.(type) {
	case *PushReply:
		r.onPushReply(e, d, p)
	case *PushTimeout:
		r.require(r.cause.name == causeDrained && !p.deadline.After(r.answersNow()), "push %d timed out too early", p.id)
		r.require(*d == PushTimeout{Index: int(p.id), Timeout: p.timeout}, "push %d: %+v, want the timeout %v", p.id, d, p.timeout)
		r.tally("push timeout")
	case *PushError:
		r.step.failed = append(r.step.failed, failedPush{p, *d})
		if r.step.outcome.name == "unmatched push" && r.step.outcome.push == p {
			r.claim("unmatched push", p.topic)
		}
	}
}

func (r *reference) onPushReply(e *Event, d *PushReply, p *refPush) {
	f := r.cause.frame
	r.claim("push reply", e.Topic)
	r.require(r.step.outcome.push == p, "the reply to push %d ends push %d", r.step.outcome.push.id, p.id)
	want := PushReply{Index: int(p.id), Status: f.status, Latency: max(0, f.at.Sub(p.sentAt))}
	r.require(*d == want, "push %d: %+v, want %+v", p.id, *d, want)
	r.require(string(e.Payload.Data) == f.payload && e.Payload.Binary == f.binary, "push %d: response %q, want %q", p.id, e.Payload.Data, f.payload)
	r.require(e.Time.Equal(f.at), "push %d: answered at another time than its frame came", p.id)
}

// checkPushErrors: what a failed push says fits what happened to its link or channel, and to its frame (rules 8 and 19).
func (r *reference) checkPushErrors() {
	for _, p := range r.step.failed {
		want := PushError{Topic: p.topic, Name: p.name, Index: int(p.id), Delivered: DeliveredNo}
		written := p.frame != 0
		switch {
		case p.refused != "":
			want.Reason = p.refused
		case r.step.linkEnded != "":
			want.Reason = r.step.linkEnded
			written = p.frame != 0 && p.frame <= r.cause.attempted
			if p.frame > r.cause.attempted {
				r.tally("push error, never written")
			}
		case r.step.outcome.name == "unmatched push" && r.step.outcome.push == p.refPush:
			want.Reason, written = PushUnmatchedTopic, false
		default:
			want.Reason = r.step.ended[p.topic]
		}
		if written {
			want.Delivered = DeliveredUnknown
		}
		r.require((p.Size > 0) == (p.frame != 0), "push %d: %d bytes, frame %d", p.id, p.Size, p.frame)
		want.Size = p.Size
		r.require(p.PushError == want, "push %d: %+v, want %+v", p.id, p.PushError, want)
		r.tally("push error: " + string(want.Reason))
	}
}

// settlePushes: what cannot have a reply any more has ended, and what can be written has been.
func (r *reference) settlePushes() {
	for _, p := range r.pushes {
		r.require(p.refused == "", "push %d cannot be made, and nobody was told", p.id)
		r.require(r.step.linkEnded == "", "push %d has not ended with its link", p.id)
		_, ended := r.step.ended[p.topic]
		r.require(!ended, "push %d has not ended with its channel", p.id)
		c := r.channels[p.topic]
		r.require(c != nil && (c.state != channelJoined || p.ref != ""), "push %d waits for a join of %q that is not under way", p.id, p.topic)
	}
}

func (r *reference) pushDeadlines() []time.Time {
	if r.clock.paused {
		return nil
	}
	var all []time.Time
	for _, p := range r.pushes {
		all = append(all, r.clock.wall(p.deadline))
	}
	return all
}
