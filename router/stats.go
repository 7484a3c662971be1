package router

// SinkStats is a row of [Router.Stats].
type SinkStats struct {
	Sink string
	// Connection is whose signals the counters count. It is empty in the one row of each sink that is about its queue.
	Connection string
	// Delivered and Dropped count signals since the sink was made. Both are 0 in the row of the queue.
	Delivered, Dropped uint64
	// Waiting and WaitingBytes are what the queue holds, in the row of the queue.
	Waiting      int
	WaitingBytes int64
	// Err is why the sink is dead, in the row of the queue; nil while it lives.
	Err error
}

// Stats returns, for each sink of now, a row about its queue, and then one for each connection of which it got signals.
func (r *Router) Stats() []SinkStats {
	var rows []SinkStats
	for _, s := range r.table.Load().sinks {
		rows = append(rows, s.stats()...)
	}
	return rows
}

func (s *Sink) stats() []SinkStats {
	row := SinkStats{Sink: s.Name()}
	row.Waiting, row.WaitingBytes = s.queue.Len()
	select {
	case <-s.done:
		row.Err = s.err
	default:
	}
	rows := []SinkStats{row}
	for _, o := range s.counters() {
		rows = append(rows, SinkStats{
			Sink: s.Name(), Connection: o.Connection, Delivered: o.Delivered.Load(), Dropped: o.Dropped.Load(),
		})
	}
	return rows
}

// Forget drops the counters of a connection that is gone for good. Those of one that has a feed come back.
func (r *Router) Forget(connection string) {
	for _, s := range r.table.Load().sinks {
		s.forget(connection)
	}
}
