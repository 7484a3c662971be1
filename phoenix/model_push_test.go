package phoenix

import (
	"slices"
	"time"
)

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
		r.require(r.cause.name == causeWake && !p.deadline.After(r.answersNow()), "push %d timed out too early", p.id)
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
