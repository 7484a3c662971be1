package router

import "sync/atomic"

// An Origin is where records of a [Queue] come from: a connection, whose sequence numbers they have. It counts what becomes
// of them, and losses are announced for each origin apart. It belongs to one queue.
//
// Each record that was given to [Queue.Put] is counted once in the end: as delivered when the consumer gives it back as
// such, or as dropped when it is lost, whether by the policy, by the consumer, by [Queue.Abort] or because Put returned an
// error. Announcements are not counted.
type Origin struct {
	// Connection is the name of the connection.
	Connection string
	// Delivered is how many records the consumer has delivered, Dropped how many are lost.
	Delivered, Dropped atomic.Uint64
	// at is where the loss of this origin is in each of the queue's lists, if it is there. The queue's lock guards it.
	at [lists]int
}

// NewOrigin returns an origin that has counted nothing.
func NewOrigin(connection string) *Origin { return &Origin{Connection: connection} }

// delivered counts n records as delivered. A nil origin does not count.
func (o *Origin) delivered(n int) {
	if o != nil {
		o.Delivered.Add(uint64(n))
	}
}

// dropped counts n records as lost. A nil origin does not count.
func (o *Origin) dropped(n int) {
	if o != nil {
		o.Dropped.Add(uint64(n))
	}
}
