package phoenix

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// The client's half of a transcript: what our client would send becomes a command. What it never sends is a stranger's
// frame, whose answers are none of ours:
//
//	malformed, in fragments that never end, not masked    the server closes the socket, or answers a ref that is spelled out
//	a ref that is null or no string, or used twice        rule 1
//	a join_ref that is null, stale or unlike the ref      rule 1
//	an event of the protocol, a binary payload in vsn 1   refused by Push.check
//	a join with params that are no object                 refused by the loop (rule 12)
//	a push on a topic that is not joined                  fails at once
func (p *transcriptReplay) clientData(l *transcriptLine) error {
	data, whole := p.assemble(l)
	if !whole {
		return nil
	}
	if p.over {
		return nil // what the recorded client still wrote to a dead socket
	}
	m, err := parseClientFrame(p.codec, outFrame{data: data, binary: l.Type == "binary"})
	if err != nil || l.Unmasked || l.Length > 0 {
		p.stranger(m, data, fmt.Sprintf("a frame that we never send: %v", err))
		return nil
	}
	switch {
	case m.topic == topicPhoenix && m.event == eventHeartbeat && m.joinRef == "" && !m.binary:
		return p.heartbeat(m)
	case m.joinRef == "" || m.topic == topicPhoenix:
		p.disown(m, "sent with a null join_ref, or on the socket's own topic")
		return nil
	case m.event == eventJoin:
		return p.join(m)
	case m.event == eventLeave:
		return p.leave(m)
	}
	return p.push(m)
}

// assemble puts the fragments of a message together.
func (p *transcriptReplay) assemble(l *transcriptLine) (data []byte, whole bool) {
	data = append(p.fragments, l.bytes()...)
	p.fragments = nil
	if l.Fin != nil && !*l.Fin {
		p.fragments = data
		return nil, false
	}
	return data, true
}

// stranger takes note of the refs of a frame that cannot be ours.
func (p *transcriptReplay) stranger(m *clientFrame, data []byte, why string) {
	if m != nil {
		p.disown(m, why)
		return
	}
	for _, decode := range []func([]byte) (decoded, bool){modelV2, modelV1} {
		if d, ok := decode(data); ok {
			p.ledger.strangers[d.Ref], p.ledger.strangers[d.JoinRef] = why, why
			return
		}
	}
	p.ledger.strangers[""] = why
}

// disown takes note of a frame that could be a client's, but not ours.
func (p *transcriptReplay) disown(m *clientFrame, why string) {
	p.ledger.strangers[m.ref] = why
	if m.event == eventJoin {
		p.ledger.strangers[m.joinRef] = why
	}
}

func (p *transcriptReplay) heartbeat(m *clientFrame) error {
	p.ledger.beats = append(p.ledger.beats, m.ref)
	frames := p.command(func() { p.m.ask(p.now) })
	p.m.beat.sent[len(p.m.beat.sent)-1].ref = m.ref
	return p.sameFrame(m, frames)
}

func (p *transcriptReplay) join(m *clientFrame) error {
	t := p.ledger.topic(m.topic)
	switch {
	case m.joinRef != m.ref:
		p.disown(m, "a join whose join_ref is not its ref")
		return nil
	case !m.binary && !strings.HasPrefix(m.payload, "{"):
		p.disown(m, "a join with params that are no object")
		return nil
	case t != nil && t.leaveRef != "":
		t.again = true
		p.disown(m, "we join it when its leave is over")
		return p.joinErr(m)
	case t != nil:
		return p.joinTwice(t, m)
	}
	p.ledger.topics = append(p.ledger.topics, &ledgerTopic{name: m.topic, joinRef: m.ref})
	p.expect("joining " + m.topic)
	if err := p.joinErr(m); err != nil {
		return err
	}
	frames := p.command(func() { p.m.prepared(p.now, p.m.prepareIDs, Payload{Data: []byte(m.payload), Binary: m.binary}, nil) })
	return p.forceChannel(m, frames, func(c *channel) { c.joinRef = m.ref })
}

// joinErr joins; the params of the recording are asked for, but for a join that waits.
func (p *transcriptReplay) joinErr(m *clientFrame) (err error) {
	want := Channel{Topic: m.topic}
	if t := p.ledger.topic(m.topic); !t.again {
		want.Params = func(context.Context) (Payload, error) { panic("the machine does no I/O") }
	}
	p.run(func() { err = p.m.join(p.now, want) })
	return err
}

// joinTwice is the second join of a joined topic. We never do that ourselves: it is forced, as the server's answer is
// what rule 4 is about.
func (p *transcriptReplay) joinTwice(t *ledgerTopic, m *clientFrame) error {
	p.ledger.strangers[t.joinRef] = "replaced by a second join"
	t.joinRef, t.joined = m.ref, false
	p.expect("joining " + m.topic)
	frames := p.command(func() {
		if c := p.m.channels[m.topic]; c != nil {
			p.m.sendJoin(p.now, c, Payload{Data: []byte(m.payload)})
		}
	})
	return p.forceChannel(m, frames, func(c *channel) { c.joinRef = m.ref })
}

func (p *transcriptReplay) leave(m *clientFrame) error {
	t := p.ledger.topic(m.topic)
	if t == nil || m.joinRef != t.joinRef || t.leaveRef != "" {
		p.disown(m, "a leave of what is not joined, or with a stale join_ref")
		return nil
	}
	t.leaveRef = m.ref
	var err error
	frames := p.command(func() { err = p.m.leave(p.now, m.topic) })
	if err != nil {
		return err
	}
	return p.forceChannel(m, frames, func(c *channel) { c.leaveRef = m.ref })
}

// forceChannel gives what was just written for a channel its recorded ref.
func (p *transcriptReplay) forceChannel(m *clientFrame, frames []outFrame, force func(*channel)) error {
	c := p.m.channels[m.topic]
	if c == nil {
		return fmt.Errorf("%q is not wanted any more, and %v was recorded", m.topic, m)
	}
	force(c)
	return p.sameFrame(m, frames)
}

func (p *transcriptReplay) push(m *clientFrame) error {
	req := Push{Topic: m.topic, Name: m.event, Payload: Payload{Data: []byte(m.payload), Binary: m.binary}}
	t := p.ledger.topic(m.topic)
	used := slices.ContainsFunc(p.ledger.pushes, func(o *ledgerPush) bool { return o.ref == m.ref })
	switch {
	case req.check(p.codec) != nil:
		p.disown(m, "a push that we refuse to send")
		return nil
	case used || t != nil && m.joinRef != t.joinRef:
		if !used {
			p.disown(m, "a push with a stale join_ref")
		}
		return nil
	}
	p.pushIDs++
	id := p.pushIDs
	if t == nil || t.leaveRef != "" {
		p.disown(m, "its push failed at once: the topic is not joined")
		p.expect(fmt.Sprintf("push error %s %s not_joined no", m.topic, m.event))
		p.run(func() { p.m.push(p.now, id, req) })
		return nil
	}
	p.refs[id] = m.ref
	p.ledger.pushes = append(p.ledger.pushes, &ledgerPush{topic: m.topic, event: m.event, ref: m.ref, written: t.joined})
	frames := p.command(func() { p.m.push(p.now, id, req) })
	if !t.joined {
		return nil // it waits
	}
	return p.sameFrame(m, frames)
}

// forcePushRefs gives the pushes that have been written their recorded refs.
func (p *transcriptReplay) forcePushRefs() {
	for ref, push := range p.m.pushes {
		if want := p.refs[push.id]; want != ref {
			delete(p.m.pushes, ref)
			push.ref = want
			p.m.pushes[want] = push
		}
	}
}

// command is run for an input that writes frames, which it returns.
func (p *transcriptReplay) command(input func()) (frames []outFrame) {
	p.run(func() {
		input()
		frames = p.m.out.frames
	})
	return frames
}

// sameFrame: what we write is what was recorded, but for the refs, which are forced behind it.
func (p *transcriptReplay) sameFrame(want *clientFrame, frames []outFrame) error {
	if len(frames) != 1 {
		return fmt.Errorf("%d frames are written, and %v was recorded", len(frames), want)
	}
	got, err := parseClientFrame(p.codec, frames[0])
	if err != nil {
		return err
	}
	if got.topic != want.topic || got.event != want.event || got.binary != want.binary || got.payload != want.payload && want.topic != topicPhoenix && want.event != eventLeave {
		return fmt.Errorf("%v is written, and %v was recorded", got, want)
	}
	return nil
}
