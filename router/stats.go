package router

import (
	"maps"
	"slices"
)

// SinkStats is a row of [Router.Stats].
type SinkStats struct {
	Sink string
	// Connection is whose signals the counters count. It is empty in the one row of each sink that is about its queue.
	Connection string
	// Delivered and Dropped count signals since the router was made: a sink that replaces one of its name goes on from where that
	// one ends. Both are 0 in the row of the queue.
	Delivered, Dropped uint64
	// Waiting and WaitingBytes are what the queue holds, in the row of the queue.
	Waiting      int
	WaitingBytes int64
	// Err is why the sink is dead, in the row of the queue; nil while it lives.
	Err error
}

// counts are what became of the signals of each connection.
type counts map[string]*count

type count struct{ delivered, dropped uint64 }

// add adds what a sink has counted.
func (c counts) add(s *Sink) {
	for _, o := range s.counters() {
		sum := c[o.Connection]
		if sum == nil {
			sum = &count{}
			c[o.Connection] = sum
		}
		sum.delivered += o.Delivered.Load()
		sum.dropped += o.Dropped.Load()
	}
}

// Stats returns, for each sink of now, a row about its queue, and then one for each connection of which it got signals.
func (r *Router) Stats() []SinkStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rows []SinkStats
	for _, s := range r.table.Load().sinks {
		row := SinkStats{Sink: s.Name()}
		row.Waiting, row.WaitingBytes = s.queue.Len()
		if s.hasEnded() {
			row.Err = s.err
		}
		rows = append(rows, row)
		all := counts{}
		for connection, past := range r.past[s.Name()] {
			sum := *past
			all[connection] = &sum
		}
		all.add(s)
		for _, leaving := range r.leaving(s.Name()) {
			all.add(leaving.sink)
		}
		for _, connection := range slices.Sorted(maps.Keys(all)) {
			sum := all[connection]
			rows = append(rows, SinkStats{
				Sink: s.Name(), Connection: connection, Delivered: sum.delivered, Dropped: sum.dropped,
			})
		}
	}
	return rows
}

// keepCounts remembers what a sink that is gone has counted.
func (r *Router) keepCounts(s *Sink) {
	past := r.past[s.Name()]
	if past == nil {
		past = counts{}
		r.past[s.Name()] = past
	}
	past.add(s)
}

// Forget drops the counters of a connection that is gone for good. Those of one that has a feed may come back.
func (r *Router) Forget(connection string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.live {
		s.forget(connection)
	}
	for _, past := range r.past {
		delete(past, connection)
	}
}
