package phoenix

import (
	"errors"
	"time"
)

// waiters are the calls that wait for an event, by what they wait for. The loop owns them.
type waiters struct {
	pushes map[uint64]chan<- answer
	refs   map[uint64]chan<- refResult
	joins  map[string][]joinWaiter
	leaves map[string][]chan<- answer
	beats  map[string]chan<- beatResult
	// connected is closed by the first session.
	connected chan struct{}
	open      bool
	pushIDs   uint64
}

// An answer is the event that a call has waited for, or why it comes to nothing. The channels of all calls have room for
// their one answer: the loop never waits for a caller.
type answer struct {
	event Event // a clone
	err   error
}

// A joinWaiter waits for the end of a join, or with first for the first answer to one.
type joinWaiter struct {
	answer chan<- answer
	first  bool
}

type refResult struct {
	ref string
	err error
}

type beatResult struct {
	rtt time.Duration
	err error
}

// errNoSession is the answer to a heartbeat that needs one.
var errNoSession = errors.New("there is no open session")

func newWaiters() waiters {
	return waiters{
		pushes: map[uint64]chan<- answer{}, refs: map[uint64]chan<- refResult{},
		joins: map[string][]joinWaiter{}, leaves: map[string][]chan<- answer{},
		beats: map[string]chan<- beatResult{}, connected: make(chan struct{}),
	}
}

// event tells the calls that wait for e.
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
		w.pushEnded(e, nil)
	case *PushTimeout:
		w.pushEnded(e, d)
	case *PushError:
		w.pushEnded(e, d)
	case *Joined:
		w.joinAnswered(e, true)
	case *JoinError:
		w.joinAnswered(e, !d.Retry.Will)
	case *Left:
		for _, c := range w.leaves[e.Topic] {
			c <- answer{event: e.Clone()}
		}
		delete(w.leaves, e.Topic)
	}
}

// pushEnded tells the call that waits for the end of a push. err is why the push had no reply: one that waits to be written
// never will be.
func (w *waiters) pushEnded(e *Event, err error) {
	if c, ok := w.pushes[e.push]; ok {
		delete(w.pushes, e.push)
		c <- answer{event: e.Clone()}
	}
	if c, ok := w.refs[e.push]; ok {
		delete(w.refs, e.push)
		c <- refResult{err: err}
	}
}

// sent tells the call that waits for a push to be handed to the writer.
func (w *waiters) sent(s sentPush) {
	if c, ok := w.refs[s.id]; ok {
		delete(w.refs, s.id)
		c <- refResult{ref: s.ref}
	}
}

// joinAnswered tells the calls that wait for e, an answer to a join. If it is not final, that is who waits for the first.
func (w *waiters) joinAnswered(e *Event, final bool) {
	var left []joinWaiter
	for _, j := range w.joins[e.Topic] {
		if !final && !j.first {
			left = append(left, j)
			continue
		}
		j.answer <- answer{event: e.Clone()}
	}
	if delete(w.joins, e.Topic); left != nil {
		w.joins[e.Topic] = left
	}
}

// joinFailed ends the calls that wait for a join that will have no answer.
func (w *waiters) joinFailed(topic string, err error) {
	for _, j := range w.joins[topic] {
		j.answer <- answer{err: err}
	}
	delete(w.joins, topic)
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
		w.joinFailed(topic, err)
	}
	for topic, calls := range w.leaves {
		delete(w.leaves, topic)
		for _, c := range calls {
			c <- answer{err: err}
		}
	}
}
