package phoenix

import "slices"

// An outcome is what a frame of the server has to bring about: a number of events, and what else follows from them.
type outcome struct {
	name   string
	topic  string
	push   *refPush
	reason JoinReason
	events int
}

// nothing reports whether the frame has to be without any event.
func (o *outcome) nothing() bool { return o.events == 0 }

// outcomeOf decides by the rules 3 to 6 and 8 what a frame is.
func (r *reference) outcomeOf(f *serverFrame) outcome {
	c := r.channels[f.topic]
	switch f.event {
	case eventReply:
		return r.outcomeOfReply(c, f)
	case eventClose, eventError:
		return r.outcomeOfEnd(c, f)
	}
	switch {
	case c == nil || f.joinRef != "" && f.joinRef != c.joinRef:
		return outcome{name: "frame without outcome"}
	case f.skipped:
		return outcome{name: "skipped message"}
	}
	return outcome{name: "message", topic: f.topic, events: 1}
}

func (r *reference) outcomeOfReply(c *refChannel, f *serverFrame) outcome {
	if f.topic == topicPhoenix && r.waitingBeat(f.ref) >= 0 {
		r.beatAnswered(f.ref)
		o := outcome{name: "heartbeat answered"}
		if r.cfg.heartbeatEvents {
			o.events = 1
		}
		return o
	}
	if i := slices.IndexFunc(r.pushes, func(p *refPush) bool { return p.ref != "" && p.ref == f.ref }); i >= 0 {
		p := r.pushes[i]
		switch {
		case p.topic != f.topic || f.joinRef != "" && f.joinRef != p.joinRef:
		case f.joinRef != "" || !f.unmatched:
			return outcome{name: "push reply", topic: f.topic, push: p, events: 1}
		case c.state == channelJoined:
			return outcome{name: "unmatched push", topic: f.topic, push: p, events: 2} // its PushError, and Errored
		default:
			return outcome{name: "unmatched push", topic: f.topic, push: p, events: 1}
		}
	}
	switch {
	case c == nil || f.joinRef != "" && f.joinRef != c.joinRef:
	case c.state == channelJoining && f.ref == c.joinRef && f.status == "ok":
		return outcome{name: "joined", topic: f.topic, events: 1}
	case c.state == channelJoining && f.ref == c.joinRef:
		return outcome{name: "join refused", topic: f.topic, reason: f.refusal, events: 1}
	case c.state == channelLeaving && f.ref == c.leaveRef:
		return outcome{name: "left", topic: f.topic, events: 1}
	}
	return outcome{name: "frame without outcome"}
}

// outcomeOfEnd: phx_close and phx_error carry the ref of their join twice; with vsn 1.0.0 only as ref (rule 4).
func (r *reference) outcomeOfEnd(c *refChannel, f *serverFrame) outcome {
	ref := f.joinRef
	if ref == "" {
		ref = f.ref
	}
	if c == nil || ref != "" && ref != c.joinRef {
		return outcome{name: "frame without outcome"}
	}
	o := outcome{topic: f.topic, events: 1}
	switch c.state {
	case channelLeaving:
		o.name = "left"
	case channelJoining:
		o.name, o.reason = "join refused", JoinRefused
		if f.event == eventError {
			o.reason = JoinCrashed
		}
	case channelJoined:
		o.name = "closed"
		if f.event == eventError {
			o.name = "errored"
		}
	default:
		return outcome{name: "frame without outcome"}
	}
	return o
}

// onMessage: what the server sent, unchanged.
func (r *reference) onMessage(e *Event) {
	r.claim("message", e.Topic)
	f := r.cause.frame
	got := serverFrame{
		at: e.Time, joinRef: e.JoinRef, ref: e.Ref, topic: e.Topic, event: e.Name,
		payload: string(e.Payload.Data), binary: e.Payload.Binary,
	}
	r.require(got == *f, "message %v, want %v", &got, f)
}

// checkFrames checks what is written: its refs, its place, and that it has a cause (rules 1 and 18).
func (r *reference) checkFrames(frames []outFrame) {
	if len(frames) > 0 {
		r.require(r.link.session > r.cfg.sessions && !r.link.redialAt.After(r.now) && r.link.phase != dialing && r.link.phase != done, "frames without a session")
	}
	beats := 0
	for _, f := range frames {
		r.link.written++
		m := readClientFrame(r.t, r.cfg.codec, f)
		r.trace.frame(m)
		r.require(m.ref != "" && !r.refs[m.ref], "the ref %q of %v is empty or not new", m.ref, m)
		r.refs[m.ref] = true
		if m.topic == topicPhoenix {
			r.require(m.event == eventHeartbeat && m.joinRef == "", "not a heartbeat: %v", m)
			r.beatSent(m.ref)
			beats++
			continue
		}
		r.checkChannelFrame(m)
	}
	r.require(len(r.step.joining) == 0, "joins announced that were not written: %v", r.step.joining)
	r.require(len(r.step.timedOut) == 0, "joins that timed out and were not left: %v", r.step.timedOut)
	r.require(beats == r.step.beats, "%d heartbeats, want %d", beats, r.step.beats)
}

// checkChannelFrame checks a frame of a channel; its join_ref is that of the channel's current join.
func (r *reference) checkChannelFrame(m *clientFrame) {
	c := r.channels[m.topic]
	switch m.event {
	case eventJoin:
		r.require(r.step.joining[m.ref] == m.topic && m.joinRef == m.ref, "a join that was not announced: %v", m)
		delete(r.step.joining, m.ref)
		r.require(m.payload == r.joinParams(c), "join params %q, want %q", m.payload, r.joinParams(c))
	case eventLeave:
		if ref, ok := r.step.timedOut[m.topic]; ok {
			r.require(m.joinRef == ref, "the leave of the join %q that timed out: %v", ref, m)
			delete(r.step.timedOut, m.topic)
			return
		}
		asked := r.cause.name == causeLeave && r.cause.topic == m.topic && c != nil && c.state == channelLeaving && c.leaveRef == ""
		r.require(asked && m.joinRef == c.joinRef, "a leave that was not asked for: %v", m)
		c.leaveRef = m.ref
	default:
		r.pushWritten(c, m)
	}
}

// joinParams are what the driver answers when it is asked for params.
func (r *reference) joinParams(c *refChannel) string {
	if c.params {
		return joinPayload(r.cause.prepare)
	}
	return "{}"
}

func (r *reference) pushWritten(c *refChannel, m *clientFrame) {
	i := slices.IndexFunc(r.pushes, func(p *refPush) bool { return m.payload == pushPayload(p.id) })
	r.require(i >= 0, "a push that nobody made, or that has ended: %v", m)
	p := r.pushes[i]
	r.require(m.topic == p.topic && m.event == p.name && m.binary == p.binary, "push %d is written as %v", p.id, m)
	r.require(p.ref == "", "push %d is written twice", p.id)
	r.require(c != nil && c.state == channelJoined && m.joinRef == c.joinRef, "push %d with the join_ref %q: want that of a joined channel, %+v", p.id, m.joinRef, c)
	r.step.sent = append(r.step.sent, sentPush{p.id, m.ref})
	p.ref, p.joinRef, p.frame, p.sentAt = m.ref, m.joinRef, r.link.written, r.now
	if p.binary {
		r.tally("binary push")
	}
}
