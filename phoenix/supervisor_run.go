package phoenix

import (
	"context"
	"errors"
	"time"
)

// A run is one life of a supervised connection, from its start to the end of its Consume.
type run struct {
	conn  *Conn
	begun time.Time
	// over is closed when nothing of the run is left; err is how it ended.
	over chan struct{}
	err  error
}

// leaveTimeout bounds the wait for the server's answers to leaves before a close.
const leaveTimeout = 2 * time.Second

func newRun(conn *Conn) *run {
	return &run{conn: conn, begun: time.Now(), over: make(chan struct{})}
}

// start starts the connection and its consumer. ended is called when nothing is left of them.
func (r *run) start(consume func(*Stream), ended func()) {
	consumed := make(chan error, 1)
	if consume == nil {
		consumed <- nil
	} else {
		events := r.conn.Events()
		go r.consume(events, consume, consumed)
	}
	go func() {
		r.err = r.conn.Serve(context.Background())
		if errors.Is(r.err, ErrClosed) {
			r.err = nil // whoever asked for the Conn closed it before it was served
		}
		if err := <-consumed; err != nil {
			r.err = err
		}
		close(r.over)
		ended()
	}()
}

// consume runs the consumer. A panic in it ends the run.
func (r *run) consume(events *Stream, consume func(*Stream), consumed chan<- error) {
	var err error
	defer func() {
		// Whatever the consumer has left is read, so that the loop is not paused before its end.
		for {
			if _, end := events.Next(context.Background()); end != nil {
				break
			}
		}
		consumed <- err
	}()
	if err = guard(inConsume, func() { consume(events) }); err != nil {
		r.conn.requestClose()
	}
}

// guard calls f, and returns its panic as a *PanicError that blames what.
func guard(what string, f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(what, v)
		}
	}()
	f()
	return nil
}

// stop leaves the channels, closes the link and waits for the end. When life ends, the link is cut.
func (r *run) stop(life context.Context) {
	r.leave(life)
	if err := r.conn.Close(life); err != nil {
		r.conn.cut()
	}
	<-r.over
}

// leave leaves all channels at once.
func (r *run) leave(life context.Context) {
	ctx, cancel := context.WithTimeout(life, leaveTimeout)
	defer cancel()
	status, err := r.conn.status(ctx)
	if err != nil {
		return // of a loop that hangs, nothing can be asked
	}
	var leaves []<-chan answer
	for _, c := range status.Channels {
		left, err := r.conn.leave(ctx, c.Topic)
		if err != nil {
			return
		}
		leaves = append(leaves, left)
	}
	for _, left := range leaves {
		_, _ = await(ctx, r.conn, left)
	}
}

// cut ends the connection without a word to the server.
func (c *Conn) cut() {
	c.requestClose()
	select {
	case c.urgent <- func(l *loop, now time.Time) {
		l.m.close(now)
		l.m.out.hangUp = hangUpDrop
	}:
	case <-c.done:
	}
}

// sessions returns how many sessions there were: live says so while the connection runs.
func (c *Conn) sessions(live int) int {
	select {
	case <-c.done:
		_, n := c.numbers()
		return n
	default:
		return live
	}
}
