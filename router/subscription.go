package router

import (
	"context"

	"phx/signal"
)

// A Subscription is somebody who gets signals for a while. It has a queue of its own, which loses the oldest ones when it is full.
type Subscription struct {
	router *Router
	queue  *Queue
}

// Subscribe returns a subscription of the signals that the filter wants, from now on, as lines in the format. limit bounds what
// waits for [Subscription.Take] in bytes; 256 KiB is plenty for somebody who keeps up, and cheap for somebody who is idle.
func (r *Router) Subscribe(filter Filter, format signal.Format, limit int64) *Subscription {
	return &Subscription{router: r, queue: NewQueue(limit, DropOldest, nil)}
}

// Take returns the next lines, to be given back with [Subscription.Release]. It waits for them until ctx ends, and then returns
// the cause; after [Router.Shutdown] it returns what is left and then [io.EOF].
func (s *Subscription) Take(ctx context.Context) (*Chunk, error) { return s.queue.Take(ctx) }

// Release gives back a chunk.
func (s *Subscription) Release(c *Chunk) { s.queue.Release(c) }

// Close ends the subscription. Whoever waits in Take gets [ErrClosed].
func (s *Subscription) Close() { s.queue.Abort(nil) }
