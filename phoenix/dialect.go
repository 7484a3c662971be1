package phoenix

import (
	"log/slog"
	"time"
)

// A Dialect is what a server adds to Phoenix's protocol, as Supabase Realtime does: see package supabase. A Dialect serves one connection,
// over all of its sessions and runs. Its methods must not wait, and must not keep what they are given. JoinParams, Refused, Observe
// and Forget are called by one goroutine at a time; the others by several at once, those that read above all.
type Dialect interface {
	// DecodeBinary decodes a binary frame of a kind that Phoenix does not have (PROTOCOL.md, section 3), with vsn 2.0.0. What it returns
	// may point into data. A JSON payload has to be valid.
	DecodeBinary(data []byte) (DialectFrame, error)
	// EncodePush appends the frame of a push, with vsn 2.0.0. If ok is false, there is no frame of its own for it: it goes as one of
	// Phoenix's.
	EncodePush(dst []byte, joinRef, ref string, p *Push) (frame []byte, ok bool, err error)
	// JoinParams returns the params with which a join is written, for those of [Channel], which are a JSON object. Its error fails the
	// join.
	JoinParams(topic string, params []byte) ([]byte, error)
	// Refused says what to make of a refused join. It is not asked about Phoenix's own refusals: those whose [JoinReason] is not JoinRefused.
	Refused(topic string, response Payload) Refusal
	// Observes reports whether Observe is to see a message even when [Options.Skip] drops it.
	Observes(topic, event []byte) bool
	// Observe sees each accepted join and each message of a channel before anybody else does, in wire order.
	Observe(e *Event) Reaction
	// Forget says that a topic is not wanted any more.
	Forget(topic string)
}

// A DialectFrame is a message from the server in a frame of a Dialect.
type DialectFrame struct {
	// JoinRef is empty for a message to all who have joined the topic.
	JoinRef, Topic, Event []byte
	Payload               Payload
	// Broadcast is that of [Event].
	Broadcast *Broadcast
}

// A Refusal says what to make of a refused join.
type Refusal uint8

// The kinds of refusals.
const (
	RefusalUnknown  Refusal = iota // as [Options.RetryRefusals] and the history of the channel say (PROTOCOL.md, rules 16 and 27)
	RefusalFinal                   // no join that is the same can succeed: it is not retried
	RefusalPassing                 // the server is not ready: it is retried, as a join that timed out
	RefusalOutdated                // the params have expired: they are read again, and the join is retried at once, one time
)

// A Reaction is what follows from an event that a Dialect has observed. The zero Reaction is nothing.
type Reaction struct {
	// Drop keeps a message from everybody, as if it had not come.
	Drop bool
	// Hold says of an accepted join that it is not complete before a Reaction with Live: until then the connection is not stable
	// ([Options.StableAfter]), and [ChannelStatus.Held] says so.
	Hold, Live bool
	// Gap, if it is not empty, adds a Gap event for that reason behind the event: messages may have been missed since Since. The zero
	// Since stands for the last loss of the channel; if there was none, so was nothing missed.
	Gap   GapReason
	Since time.Time
	// Note, if it is not empty, goes to the log, at Level with Args, whose strings go without the secrets of the connection.
	Note  string
	Level slog.Level
	Args  []any
}

// A dialectCodec is vsn 2.0.0 with the frames of a Dialect.
type dialectCodec struct {
	codecV2
	dialect Dialect
}

func (c dialectCodec) scan(data []byte, binary bool, f *frame) error {
	if !binary || len(data) == 0 || data[0] <= kindBroadcast {
		return c.codecV2.scan(data, binary, f)
	}
	d, err := c.dialect.DecodeBinary(data)
	if err != nil {
		return err
	}
	*f = frame{at: f.at, joinRef: d.JoinRef, topic: d.Topic, event: d.Event, payload: d.Payload, broadcast: d.Broadcast, finished: true}
	return nil
}

func (c dialectCodec) finish(f *frame) error {
	if f.finished {
		return nil
	}
	return c.codecV2.finish(f)
}

func (c dialectCodec) append(dst []byte, m *message) (data []byte, binary bool, err error) {
	if !protocolEvent(m.event) && m.joinRef != "" {
		p := Push{Topic: m.topic, Name: m.event, Payload: m.payload, BroadcastEvent: m.broadcastEvent}
		if data, ok, err := c.dialect.EncodePush(dst, m.joinRef, m.ref, &p); ok || err != nil {
			return data, true, err
		}
	}
	return c.codecV2.append(dst, m)
}

// observeJoined has the dialect look at an accepted join, the last event.
func (m *machine) observeJoined(now time.Time, c *channel, d *Joined) {
	if m.dialect == nil {
		return
	}
	e := &m.events[len(m.events)-1]
	r := m.dialect.Observe(e)
	if r.Hold && !r.Live {
		d.Held, c.held = true, true
		c.unanswered++
	}
	m.react(now, e.Time, c, &r)
}

// observeMessage has the dialect look at a message, the last event, which goes again if it was made for the dialect alone. It reports false
// if the message is to be as if it had not come.
func (m *machine) observeMessage(now time.Time, c *channel, f *frame) bool {
	last := len(m.events) - 1
	r := m.dialect.Observe(&m.events[last])
	if r.Drop || f.skipped {
		m.events = m.events[:last]
	}
	if r.Drop {
		m.seq--
	}
	m.react(now, f.at, c, &r)
	return !r.Drop
}

// react carries out what follows from an event.
func (m *machine) react(now, at time.Time, c *channel, r *Reaction) {
	if r.Note != "" {
		args := []any{"topic", c.Topic}
		for _, arg := range r.Args {
			if text, ok := arg.(string); ok && len(args)%2 == 1 {
				arg = said(text)
			}
			args = append(args, arg)
		}
		m.note(r.Level, r.Note, args...)
	}
	if r.Gap != "" {
		since := moment{r.Since, m.sleptAt(r.Since)}
		if r.Since.IsZero() {
			since = c.lost
		}
		if !since.at.IsZero() {
			m.emit(at, c.Topic, &Gap{Reason: r.Gap, Gap: m.elapsed(since, at)})
		}
	}
	if r.Live && c.held {
		c.held = false
		c.unanswered--
		m.out.changed = true
		m.emit(at, c.Topic, &Live{Took: max(0, at.Sub(c.joinedAt))})
		m.acceptJoin(now, c)
	}
}
