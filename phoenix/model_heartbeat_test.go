package phoenix

import (
	"slices"
	"time"
)

// refBeats are the heartbeats of a session.
type refBeats struct {
	tick time.Time
	// sent are those without an answer, in order; those of them that a machine may have forgotten, too.
	sent []refBeat
	// heard is when an answer last showed that the server is there: to a heartbeat, or to a join, which may have held one up.
	heard time.Time
	// joins are the joins of the session: an answer may have to wait for each that was written before its heartbeat.
	joins []refHold
	// answered is the heartbeat that the frame under way answers.
	answered refBeat
}

type refBeat struct {
	ref string
	at  time.Time
	// asked is at on the clock of answers, as is heard.
	asked time.Time
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
	r.beats.heard = r.answersNow()
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
	r.require(r.cause.name == causeWake && r.link.phase == up && !r.clock.paused, "a heartbeat timeout by %s in phase %d", r.cause.name, r.link.phase)
	r.require(len(b.sent) > 0 && d.Timeout == r.cfg.heartbeatTimeout, "a heartbeat timeout of %v, but nothing is owed", d.Timeout)
	r.require(now.Sub(laterOf(b.sent[0].asked, b.heard)) >= r.cfg.heartbeatTimeout, "a heartbeat timeout %v too early", r.cfg.heartbeatTimeout-now.Sub(laterOf(b.sent[0].asked, b.heard)))
	for _, c := range r.channels {
		if c.state == channelJoining && !c.beganAt.After(r.oldestBeat().at) {
			r.require(!c.deadline.After(now), "a heartbeat timeout while the join of %q may hold the answer up", c.topic)
		}
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
	if r.cause.name == causeWake && latest.Sub(r.clock.wall(b.sent[0].asked)) > r.cfg.heartbeatTimeout && r.now.Equal(any[0]) {
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
