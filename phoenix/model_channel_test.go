package phoenix

import "time"

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
	beganAt, lostAt  time.Time
	everJoined       bool
	retries          int
	// again: it is wanted again behind the leave; with params, if againParams says so.
	again, againParams bool
}

// offTheWire books that the join of c, or its leave, is over.
func (c *refChannel) offTheWire(next channelState) {
	c.state, c.joinRef, c.leaveRef, c.prepare = next, "", "", 0
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
	c.joinRef, c.beganAt, c.deadline = e.Ref, r.now, r.answersNow().Add(r.cfg.replyTimeout)
	r.beats.joins = append(r.beats.joins, refHold{r.now, c.deadline})
	r.step.joining[e.Ref] = e.Topic
}

func (r *reference) onJoined(e *Event, d *Joined) {
	r.claim("joined", e.Topic)
	c, f := r.channels[e.Topic], r.cause.frame
	want := Joined{Rejoin: c.everJoined, Took: max(0, f.at.Sub(c.beganAt))}
	if c.everJoined {
		want.Gap = max(0, f.at.Sub(c.lostAt))
	}
	r.require(*d == want, "joined %+v, want %+v", *d, want)
	r.require(e.Ref == c.joinRef && e.JoinRef == c.joinRef && string(e.Payload.Data) == f.payload, "joined with refs %q, %q and response %q: want %q and %q", e.Ref, e.JoinRef, e.Payload.Data, c.joinRef, f.payload)
	c.state, c.deadline, c.everJoined = channelJoined, time.Time{}, true
	c.settlesAt = r.now.Add(r.cfg.stableAfter)
	r.beats.heard = r.answersNow()
}

// onJoinError: a join ends by an answer, by its timeout or for want of params.
func (r *reference) onJoinError(e *Event, d *JoinError) {
	c := r.channels[e.Topic]
	r.require(c != nil, "a join error of %q, which nobody wants", e.Topic)
	switch {
	case r.cause.name == causeWake:
		r.require(c.state == channelJoining && !c.deadline.After(r.answersNow()), "the join of %q timed out too early", e.Topic)
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
			r.beats.heard = r.answersNow()
		}
	}
	r.require(e.Ref == c.joinRef && e.JoinRef == c.joinRef && d.Topic == e.Topic, "join error %+v with refs %q and %q, want %q", d, e.Ref, e.JoinRef, c.joinRef)
	r.require(d.Attempt == c.retries+1, "join error of attempt %d, want %d", d.Attempt, c.retries+1)
	r.tally("join error: " + string(d.Reason))
	r.step.ended[e.Topic] = PushNotJoined
	r.retried(c, d.Retry, d.Reason != JoinTimeout)
}

// retried checks what is said about the next join of c, which has lost its own, and books it.
func (r *reference) retried(c *refChannel, got Retry, refused bool) {
	may := r.cfg.maxRetries == -1 || c.retries < r.cfg.maxRetries
	if refused && !r.cfg.retryRefusals || r.cfg.failFast && !c.everJoined || r.link.phase == closing {
		may = false
	}
	want := Retry{}
	if may {
		want = Retry{Will: true, In: r.cfg.rejoinAfter(c.retries)}
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
	if r.cause.name == causeWake && reached(&c.dueAt, r.now) {
		c.state = channelWaiting // without a backoff the wake goes on with it
	}
}

// onLeft: the end of a leave, by its answer, by a close that overtook it, by its timeout or with the link (rule 8).
func (r *reference) onLeft(e *Event) {
	c := r.channels[e.Topic]
	r.require(c != nil, "left %q, which nobody wants", e.Topic)
	switch {
	case r.link.ended:
		r.require(c.state == channelLeaving, "left %q with the link, which is %v", e.Topic, c.state)
	case r.cause.name == causeWake:
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
	c.lostAt = r.now
	if r.link.dropped {
		c.lostAt = r.link.heardAt
	}
}

// channelLost books a loss of a joined channel by a frame.
func (r *reference) channelLost(e *Event, name string, pushes PushReason, retry Retry) {
	r.claim(name, e.Topic)
	c := r.channels[e.Topic]
	r.require(c.state == channelJoined && e.JoinRef == c.joinRef, "%s with the join_ref %q: %q is %v with %q", name, e.JoinRef, e.Topic, c.state, c.joinRef)
	c.lostAt = r.cause.frame.at
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
		if !c.deadline.IsZero() && !r.clock.paused {
			all = append(all, r.clock.wall(c.deadline))
		}
	}
	return all
}
