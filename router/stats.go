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
func (r *Router) Stats() []SinkStats { return nil }
