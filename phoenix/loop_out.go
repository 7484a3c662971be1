package phoenix

import (
	"bytes"
	"context"
	"errors"
)

// carryOut does what the machine wants done. b is the batch that the new events point into, if any.
func (l *loop) carryOut(b *batch) {
	out := &l.m.out
	for _, n := range out.notes {
		l.conn.opts.Logger.Log(l.ctx, n.level, n.msg, n.args...)
	}
	l.emit(b)
	if len(out.frames) > 0 {
		l.out.put(out.frames)
	}
	for _, s := range out.sent {
		l.waiters.sent(s)
	}
	for _, p := range out.prepares {
		l.prepare(p)
	}
	if out.dial {
		l.dial()
	}
	switch out.hangUp {
	case hangUpClose:
		l.out.close(closeNormal)
	case hangUpDrop:
		l.drop()
	}
	clear(out.notes)
	clear(out.frames)
	beats, changed := out.beats, out.changed
	*out = output{events: out.events, notes: out.notes[:0], frames: out.frames[:0], prepares: out.prepares[:0], beats: out.beats[:0], sent: out.sent[:0]}
	l.call(beats, changed)
}

// closeNormal is the WebSocket close code of an end that is meant.
const closeNormal = 1000

// call calls those who asked to be called, when all is done: if one of them panics, nothing is done twice.
func (l *loop) call(beats []beatAnswer, changed bool) {
	if len(beats) > 0 && l.conn.opts.OnHeartbeat != nil {
		l.callOnHeartbeat(beats)
	}
	if changed && l.conn.hooks.changed != nil {
		defer blame(inHooks)
		l.conn.hooks.changed(l.m.linkStatus())
	}
}

func (l *loop) callOnHeartbeat(beats []beatAnswer) {
	defer blame(inOnHeartbeat)
	for _, beat := range beats {
		l.conn.opts.OnHeartbeat(beat.rtt)
	}
}

// emit passes the events on: to the calls that wait for them, and to the stream.
func (l *loop) emit(b *batch) {
	out := &l.m.out
	for i := range out.events {
		l.waiters.event(&out.events[i])
	}
	for _, beat := range out.beats {
		l.waiters.beat(beat)
	}
	if b != nil {
		b.presence = out.presence
	}
	switch {
	case len(out.events) > 0 && l.conn.streaming.Load():
		out.events = l.conn.stream.put(out.events, b)
	case b != nil:
		b.release()
		fallthrough
	default:
		out.events = out.events[:0]
	}
}

func (l *loop) dial() {
	ctx, cancel := context.WithCancel(l.ctx)
	l.cancelDial = cancel
	l.out = newOutbox()
	out := l.out
	l.helpers.Go(func() {
		defer l.conn.contain(inDial)
		defer cancel()
		waited, err := l.conn.waitTurn(ctx)
		if err != nil {
			l.dials <- dialResult{err: err}
			return
		}
		t, timings, err := l.conn.dial(ctx, func(kind, data string) {
			if l.conn.opts.Trace != nil {
				l.conn.trace(TraceFrame{Kind: kind, Data: []byte(data)})
			}
			if kind == "ping" {
				out.pong(data)
			}
		})
		l.dials <- dialResult{t, timings, waited, err}
	})
}

// drop ends the session, or the dial, at once; its end arrives like any other.
func (l *loop) drop() {
	if l.cancelDial != nil {
		l.cancelDial()
	}
	if l.session != nil {
		l.dropped = true
		l.session.transport.close()
	}
}

// prepare reads the params of a join, which may block, in a goroutine of its own.
func (l *loop) prepare(p prepare) {
	l.helpers.Go(func() {
		defer l.conn.contain(inParams)
		ctx, cancel := context.WithTimeout(l.ctx, l.conn.opts.ReplyTimeout)
		defer cancel()
		params, err := p.channel.Params(ctx)
		if err == nil {
			err = checkParams(&params)
		}
		select {
		case l.prepared <- preparedParams{p.id, params, err}:
		case <-l.ctx.Done():
		}
	})
}

// checkParams: join params are an object, never null (rule 12).
func checkParams(p *Payload) error {
	if p.Data == nil {
		p.Data = []byte("{}")
	}
	if p.Binary {
		return nil
	}
	if err := checkPayload(*p); err != nil {
		return err
	}
	if !bytes.HasPrefix(bytes.TrimLeft(p.Data, " \t\r\n"), []byte("{")) {
		return errors.New("join params are a JSON object")
	}
	return nil
}
