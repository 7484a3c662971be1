package router

import (
	"context"
	"slices"
	"sync"

	"phx/signal"
)

// A Subscription gets signals until it is closed, for a client of the control API for example. It
// has a queue of its own, which loses the oldest signals when it is full, and no goroutine.
type Subscription struct {
	router *Router
	format signal.Format
	rule   rule

	mu      sync.Mutex
	queue   *Queue
	origins map[string]*Origin
}

// Subscribe returns a subscription to the signals that the filter selects, from now on, as lines
// in the format. limit bounds what waits for [Subscription.Take], in bytes. 256 KiB suffice for a
// reader that keeps up, and cost little while it is idle. A Where that takes too long ends the
// subscription.
func (r *Router) Subscribe(filter Filter, format signal.Format, limit int64) *Subscription {
	s := &Subscription{router: r, format: format, origins: map[string]*Origin{}}
	s.rule = rule{Filter: filter, name: "a subscription", to: []target{s}, subscriber: s}
	s.queue = NewQueue(limit, DropOldest, s.announce)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		s.queue.CloseInput(nil)
		return s
	}
	t := r.table.Load()
	r.swap(t.with(append(slices.Clip(t.subscriptions), s)))
	return s
}

// Format returns the format of the lines.
func (s *Subscription) Format() signal.Format { return s.format }

// Take returns the next lines, to be given back with [Subscription.Release]. It waits for them
// until ctx ends, and then returns the cause; after [Router.Shutdown] it returns what is left and
// then [io.EOF]; after [Subscription.Close] it returns [ErrClosed].
func (s *Subscription) Take(ctx context.Context) (*Chunk, error) { return s.input().Take(ctx) }

// Release gives back a chunk.
func (s *Subscription) Release(c *Chunk) {
	if q := s.input(); q != closedQueue {
		q.Release(c)
	}
}

// Close ends the subscription. [Subscription.Take] returns [ErrClosed], also in a goroutine that
// waits there.
func (s *Subscription) Close() {
	s.end(nil)
	// A publisher that is idle may know the subscription until its next event. It should not keep
	// memory for it.
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue, s.origins = closedQueue, nil
}

// end makes Take return err, or ErrClosed, and nothing else, and takes the subscription away.
func (s *Subscription) end(err error) {
	s.input().Abort(err)
	r := s.router
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.table.Load()
	if i := slices.Index(t.subscriptions, s); i >= 0 {
		r.swap(t.with(slices.Concat(t.subscriptions[:i], t.subscriptions[i+1:])))
	}
}

// closedQueue stands in for the queue of each subscription that is closed.
var closedQueue = func() *Queue {
	q := NewQueue(0, DropOldest, nil)
	q.Abort(nil)
	return q
}()

func (s *Subscription) input() *Queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue
}

// origin returns what the losses of a connection are announced by.
func (s *Subscription) origin(connection string) *Origin {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.origins[connection]
	if o == nil && s.origins != nil {
		o = NewOrigin(connection)
		s.origins[connection] = o
	}
	return o
}

// announce is the queue's: it appends the signal of a loss.
func (s *Subscription) announce(dst []byte, l Loss) []byte {
	return appendDropped(dst, s.format, DropOldest, l, "")
}
