package phoenix

import (
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

	link     refLink
	beats    refBeats
	channels map[string]*refChannel
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
	frame      *serverFrame
}

// The names of causes that rules ask for.
const (
	causeStart, causeDialed, causeDialFailed, causeLost = "start", "dialed", "dial failed", "link lost"
	causeFrame, causeWake, causePrepared, causeClose    = "frame", "wake", "prepared", "close"
	causeJoin, causeLeave, causePush, causeAsk          = "join", "leave", "push", "ask"
	causePause, causeResume, causeAbort                 = "pause", "resume", "abort"
)

// refStep is what happened between begin and settle.
type refStep struct {
	outcome outcome
	// met counts the events that are the outcome.
	met int
	// ended are the topics whose joins or pushes ended in this step, and how the pushes had to.
	ended map[string]PushReason
	// timedOut are the join_refs of the joins that timed out: each is owed a leave.
	timedOut map[string]string
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
		t: t, cfg: cfg, seen: seen, link: refLink{session: cfg.sessions}, channels: map[string]*refChannel{}, refs: map[string]bool{},
	}
}

// answersNow is the time on the clock of answers.
func (r *reference) answersNow() time.Time { return r.clock.at(r.now) }

// begin books an input before the machine gets it.
func (r *reference) begin(now time.Time, c cause) {
	r.now, r.cause = now, c
	r.step = refStep{ended: map[string]PushReason{}, timedOut: map[string]string{}, joining: map[string]string{}}
	switch c.name {
	case causeWake:
		r.woken()
	case causeDialed:
		if r.link.phase == dialing {
			r.link.session++
			r.link.written = 0
		}
	case causeFrame:
		r.link.heardAt = c.frame.at
		r.step.outcome = r.outcomeOf(c.frame)
		if c.frame.skipped && r.step.outcome.name == "skipped message" {
			r.seq++ // a number without an event
		}
		r.tally(r.step.outcome.name)
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
	case causeDialFailed:
		if r.link.phase == closing {
			r.closedWithoutSession()
		}
	case causeAbort:
		r.aborting()
	}
}

// observe compares the outputs of the machine with the books.
func (r *reference) observe(out *output) {
	for i := range out.events {
		r.event(&out.events[i])
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
	case Message:
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
	r.settleChannels()
	r.settlePushes()
	r.settleLink()
	r.checkDeadlines(next)
}

// checkDeadlines: the machine wants to be woken for the earliest thing that lives, and for nothing else.
func (r *reference) checkDeadlines(next time.Time) {
	live := slices.Concat(r.linkDeadlines(), r.channelDeadlines(), r.pushDeadlines(), r.beats.ticks())
	overdue, latest := r.overdueDeadlines()
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
