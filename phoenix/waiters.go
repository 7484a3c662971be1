package phoenix

import (
	"errors"
	"time"
)

// waiters are the calls that wait for an event, by what they wait for. The loop owns them.
type waiters struct {
	pushes map[uint64]chan pushResult
	joins  map[string][]chan joinResult
	leaves map[string][]chan error
	beats  map[string]chan beatResult
	// connected is closed by the first session.
	connected chan struct{}
	open      bool
	pushIDs   uint64
}

type pushResult struct {
	reply Reply
	err   error
}

type joinResult struct {
	response Payload
	err      error
}

type beatResult struct {
	rtt time.Duration
	err error
}

// errNoSession is the answer to a heartbeat that needs one.
var errNoSession = errors.New("there is no open session")

func newWaiters() waiters {
	return waiters{
		pushes: map[uint64]chan pushResult{}, joins: map[string][]chan joinResult{}, leaves: map[string][]chan error{},
		beats: map[string]chan beatResult{}, connected: make(chan struct{}),
	}
}

// event tells the calls that wait for e. Their channels have room for one result: the loop never waits for a caller.
func (w *waiters) event(e *Event) {
	switch d := e.Detail.(type) {
	case *Connected:
		if !w.open {
			w.open = true
			close(w.connected)
		}
	case *Disconnected:
		for ref, c := range w.beats {
			delete(w.beats, ref)
			c <- beatResult{err: errNoSession}
		}
	case *PushReply:
		w.push(e, pushResult{reply: Reply{Status: d.Status, Latency: d.Latency}})
	case *PushTimeout:
		w.push(e, pushResult{err: d})
	case *PushError:
		w.push(e, pushResult{err: d})
	case *Joined:
		w.joined(e.Topic, joinResult{response: e.Payload.clone()})
	case *JoinError:
		if !d.Retry.Will && len(w.joins[e.Topic]) > 0 {
			failed := *d
			failed.Response = d.Response.clone()
			w.joined(e.Topic, joinResult{err: &failed})
		}
	case *Left:
		w.left(e.Topic)
	}
}

func (w *waiters) push(e *Event, r pushResult) {
	c, ok := w.pushes[e.push]
	if !ok {
		return
	}
	delete(w.pushes, e.push)
	if r.err == nil {
		r.reply.Payload = e.Payload.clone()
	}
	c <- r
}

func (w *waiters) joined(topic string, r joinResult) {
	for _, c := range w.joins[topic] {
		c <- r
	}
	delete(w.joins, topic)
}

func (w *waiters) left(topic string) {
	for _, c := range w.leaves[topic] {
		c <- nil
	}
	delete(w.leaves, topic)
}

func (w *waiters) beat(b beatAnswer) {
	c, ok := w.beats[b.ref]
	if !ok {
		return
	}
	delete(w.beats, b.ref)
	r := beatResult{rtt: b.rtt}
	if b.err != nil {
		r.err = b.err
	}
	c <- r
}

// fail ends the calls that still wait when the connection is over. Pushes need no help: each has had its event.
func (w *waiters) fail(link *LinkError) {
	var err error = ErrClosed
	if link != nil {
		err = link
	}
	for topic := range w.joins {
		w.joined(topic, joinResult{err: err})
	}
	for topic := range w.leaves {
		w.left(topic)
	}
}
