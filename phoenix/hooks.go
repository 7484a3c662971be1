package phoenix

import (
	"context"
)

// hooks are what a Supervisor adds to a connection. They are set before Serve.
type hooks struct {
	// seq and session are where the numbers of events and of sessions go on from: those of the run before.
	seq     uint64
	session int
	// turn waits until the connection may dial; the time is neither ConnectTimeout's nor that of Connected.Took. Nil: at once.
	turn func(ctx context.Context) error
	// changed is called by the loop after the state of the link or of a channel has changed, with that of the link; it must
	// not block. Nil: nobody cares.
	changed func(link LinkStatus)
}

// numbers returns the number of the last event and of the last session, for the next run to go on from. They are valid when
// done is closed.
func (c *Conn) numbers() (seq uint64, session int) { return c.seq, c.session }
