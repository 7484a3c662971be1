package phoenix

import (
	"fmt"
	"slices"
)

// A ledger says what events each frame of a recorded server has to bring about, from what the client had sent before and
// by these rules; or why it brings about none:
//
//	phx_reply to a push, join, leave or heartbeat of ours    PushReply, Joined or JoinError, Left, Heartbeat
//	phx_reply to anything else                               none: it answers a stranger's frame, or comes second
//	phx_close, phx_error of a current join                   Closed, Errored, Left or JoinError, and its pushes fail
//	phx_close, phx_error of another one                      none: the join has ended before
//	anything else on a topic that we hold, of its join       Message
//	anything else                                            none: not our topic, or another join's
type ledger struct {
	topics []*ledgerTopic
	pushes []*ledgerPush
	beats  []string
	// strangers are refs, and why the server's answers to them are none of ours.
	strangers map[string]string
	closing   bool
}

type ledgerTopic struct {
	name, joinRef, leaveRef string
	joined                  bool
	// again: the client joined it while we were leaving, and we join it when that is over.
	again bool
}

type ledgerPush struct {
	topic, event, ref string
	written           bool
}

func (l *ledger) topic(name string) *ledgerTopic {
	i := slices.IndexFunc(l.topics, func(t *ledgerTopic) bool { return t.name == name })
	if i < 0 {
		return nil
	}
	return l.topics[i]
}

// received returns the lines of the events that a data frame of the server makes; without one, why.
func (l *ledger) received(d decoded) (lines []string, why string) {
	t := l.topic(d.Topic)
	switch d.Event {
	case "phx_reply":
		return l.replied(t, d)
	case "phx_close", "phx_error":
		return l.ended(t, d)
	}
	switch {
	case t == nil:
		return nil, "a message on a topic that we do not hold"
	case d.JoinRef != "" && d.JoinRef != t.joinRef:
		return nil, l.strangers[d.JoinRef]
	}
	return []string{fmt.Sprintf("message %s %s %s", d.Topic, d.Event, payloadLine(d.Payload))}, ""
}

func (l *ledger) replied(t *ledgerTopic, d decoded) (lines []string, why string) {
	if i := slices.Index(l.beats, d.Ref); i >= 0 && d.Topic == "phoenix" {
		l.beats = l.beats[i+1:]
		return []string{"heartbeat"}, ""
	}
	if i := slices.IndexFunc(l.pushes, func(p *ledgerPush) bool { return p.ref == d.Ref && p.topic == d.Topic }); i >= 0 {
		p := l.pushes[i]
		l.pushes = slices.Delete(l.pushes, i, i+1)
		l.strangers[p.ref] = "a second reply"
		return []string{fmt.Sprintf("reply %s %s %s %s", p.topic, p.event, d.Status, payloadLine(d.Payload))}, ""
	}
	switch {
	case t != nil && !t.joined && t.leaveRef == "" && d.Ref == t.joinRef:
		return l.joinAnswered(t, d), ""
	case t != nil && t.leaveRef != "" && d.Ref == t.leaveRef:
		return l.left(t), ""
	}
	return nil, l.strangers[d.Ref]
}

func (l *ledger) joinAnswered(t *ledgerTopic, d decoded) (lines []string) {
	if d.Status == "ok" {
		t.joined = true
		for _, p := range l.pushes {
			p.written = p.written || p.topic == t.name
		}
		return []string{"joined " + t.name + " " + payloadLine(d.Payload)}
	}
	lines = []string{fmt.Sprintf("join error %s %s", t.name, payloadLine(d.Payload))}
	lines = append(lines, l.failPushes(t.name, PushNotJoined)...)
	l.forget(t, "its join was refused")
	return lines
}

func (l *ledger) ended(t *ledgerTopic, d decoded) (lines []string, why string) {
	ref := d.JoinRef
	if ref == "" {
		ref = d.Ref
	}
	switch {
	case t == nil || ref != t.joinRef:
		return nil, l.strangers[ref]
	case t.leaveRef != "":
		return l.left(t), ""
	case !t.joined:
		lines = append([]string{fmt.Sprintf("join error %s %s", t.name, payloadLine(d.Payload))}, l.failPushes(t.name, PushNotJoined)...)
	case d.Event == "phx_close":
		lines = append([]string{"closed " + t.name}, l.failPushes(t.name, PushChannelClosed)...)
	default:
		lines = append([]string{fmt.Sprintf("errored %s phx_error %s", t.name, payloadLine(d.Payload))}, l.failPushes(t.name, PushChannelCrashed)...)
	}
	l.forget(t, "its join had ended: "+d.Event)
	return lines, ""
}

// left ends a leave, and begins the join that waited for it.
func (l *ledger) left(t *ledgerTopic) []string {
	lines := append(l.failPushes(t.name, PushCancelled), "left "+t.name)
	l.strangers[t.leaveRef] = "it was left before"
	l.forget(t, "it was left before")
	if t.again {
		lines = append(lines, "joining "+t.name)
		l.topics = append(l.topics, &ledgerTopic{name: t.name, joinRef: "a join that was not recorded"})
	}
	return lines
}

func (l *ledger) forget(t *ledgerTopic, why string) {
	l.topics = slices.DeleteFunc(l.topics, func(o *ledgerTopic) bool { return o == t })
	l.strangers[t.joinRef] = why
}

func (l *ledger) failPushes(topic string, reason PushReason) (lines []string) {
	l.pushes = slices.DeleteFunc(l.pushes, func(p *ledgerPush) bool {
		if p.topic != topic && topic != "" {
			return false
		}
		lines = append(lines, fmt.Sprintf("push error %s %s %s %s", p.topic, p.event, reason, delivered(p.written)))
		l.strangers[p.ref] = "its push had failed: " + string(reason)
		return true
	})
	return lines
}

// lost returns the lines of the end of the session.
func (l *ledger) lost(reason Reason, code int) (lines []string) {
	pushes := PushDisconnected
	if l.closing {
		reason, pushes = ReasonClosedByUs, PushCancelled
	}
	lines = append([]string{fmt.Sprintf("disconnected %s %d 0", reason, code)}, l.failPushes("", pushes)...)
	for _, t := range l.topics {
		switch {
		case t.leaveRef != "":
			lines = append(lines, "left "+t.name)
		case t.joined:
			lines = append(lines, "errored "+t.name+" disconnected "+payloadLine(Payload{}))
		}
	}
	l.topics = nil
	return lines
}

// eventLine writes an event as a ledger does.
func eventLine(e *Event) string {
	switch d := e.Detail.(type) {
	case Message:
		return fmt.Sprintf("message %s %s %s", e.Topic, e.Name, payloadLine(e.Payload))
	case *PushReply:
		return fmt.Sprintf("reply %s %s %s %s", e.Topic, e.Name, d.Status, payloadLine(e.Payload))
	case *PushError:
		return fmt.Sprintf("push error %s %s %s %s", e.Topic, e.Name, d.Reason, d.Delivered)
	case *Joining:
		return "joining " + e.Topic
	case *Joined:
		return "joined " + e.Topic + " " + payloadLine(e.Payload)
	case *JoinError:
		return "join error " + e.Topic + " " + payloadLine(e.Payload)
	case *Left:
		return "left " + e.Topic
	case *Closed:
		return "closed " + e.Topic
	case *Errored:
		return fmt.Sprintf("errored %s %s %s", e.Topic, d.Reason, payloadLine(e.Payload))
	case *Heartbeat:
		return "heartbeat"
	case *Connecting:
		return "connecting"
	case *Connected:
		return "connected"
	case *Disconnected:
		return fmt.Sprintf("disconnected %s %d %d", d.Reason, d.Code, d.HTTPStatus)
	default:
		return fmt.Sprintf("%T", d)
	}
}

// payloadLine is the exact payload.
func payloadLine(p Payload) string { return fmt.Sprintf("binary:%t %q", p.Binary, p.Data) }
