package router

import (
	"fmt"
	"slices"
	"sync/atomic"

	"phx/signal"
)

// A target is where signals can be led: a [Sink] or a [Subscription].
type target interface {
	// Format is that of the lines which the target gets.
	Format() signal.Format
	// input is the queue to put them in.
	input() *Queue
	// origin is what counts the lines of a connection there.
	origin(connection string) *Origin
}

// A rule leads the signals that a filter wants to targets: a route, or a subscription.
type rule struct {
	Filter
	name string // for the log
	to   []target
	// failures are those of Where.
	failures failures
	// subscriber is whose rule it is; nil: a route's.
	subscriber *Subscription
}

// A table is what feeds go by for a while. It does not change; a change makes a new one, which then is the router's. A feed uses
// the table that was the router's when it put the first event after a flush, until the next flush or until the router has
// another one. So each event goes by one table, and nobody waits for anybody in order to put.
type table struct {
	sinks  []*Sink
	routes []*rule
	// subscriptions changes far more often than the others, with each subscriber that comes and goes.
	subscriptions []*Subscription

	// number differs from that of every other table of the router.
	number uint64
	// users counts the feeds that use the table, and besides one for the router, as long as it is the router's, and one for the
	// table before, as long as that is in use: who waits until nobody uses a table has waited for all older ones, too.
	users atomic.Int64
	next  *table // the one after it; set before the router ceases to use this one
	over  atomic.Bool
	idle  chan struct{} // closed when it is over
}

// newTable compiles routes.
func newTable(sinks []*Sink, routes []Route) (*table, error) {
	byName := map[string]*Sink{}
	for _, s := range sinks {
		if byName[s.Name()] != nil {
			return nil, fmt.Errorf("there are two sinks called %q", s.Name())
		}
		byName[s.Name()] = s
	}
	t := &table{sinks: slices.Clone(sinks), idle: make(chan struct{})}
	for i, route := range routes {
		r := &rule{Filter: route.Filter, name: fmt.Sprintf("route %d", i+1)}
		for _, name := range route.To {
			s := byName[name]
			if s == nil {
				return nil, fmt.Errorf("route %d leads to %q, and there is no sink of that name", i+1, name)
			}
			r.to = append(r.to, s)
		}
		t.routes = append(t.routes, r)
	}
	return t, nil
}

// with returns a table that differs in its subscriptions.
func (t *table) with(subscriptions []*Subscription) *table {
	return &table{sinks: t.sinks, routes: t.routes, subscriptions: subscriptions, idle: make(chan struct{})}
}

// release takes back one use. The last one makes the table idle.
func (t *table) release() {
	for t != nil && t.users.Add(-1) == 0 {
		if t.over.Swap(true) {
			return // A feed came by, saw that it was too late and left again.
		}
		close(t.idle)
		t = t.next
	}
}

// acquire returns the router's table for use until it is released.
func (r *Router) acquire() *table {
	for {
		t := r.table.Load()
		t.users.Add(1)
		if r.table.Load() == t {
			return t
		}
		t.release()
	}
}

// swap makes t the router's table and returns the one before, which is idle as soon as no feed uses it or an older one. The caller
// holds the lock of changes.
func (r *Router) swap(t *table) *table {
	old := r.table.Load()
	t.number = old.number + 1
	t.users.Store(2)
	old.next = t
	r.table.Store(t)
	old.release()
	return old
}
