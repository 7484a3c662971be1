package phoenix

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The calls that go to the server and wait for what comes of it.

// do runs f on the loop, which takes it from queue: urgent or commands.
func (c *Conn) do(ctx context.Context, queue chan<- command, f command) error {
	select {
	case queue <- f:
		return nil
	case <-c.done:
		return c.ended()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits for the result of a command that the loop has run.
func await[T any](ctx context.Context, c *Conn, result <-chan T) (T, error) {
	var zero T
	select {
	case r := <-result:
		return r, nil
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-c.done:
	}
	select { // what came before the end counts
	case r := <-result:
		return r, nil
	default:
		return zero, c.ended()
	}
}

// Join joins a topic and keeps it joined until Leave. It returns the response of the first accepted join; a *JoinError
// when the join has failed and is not retried; the *LinkError when the connection ended first. When ctx ends first, the
// topic stays wanted.
func (c *Conn) Join(ctx context.Context, want Channel) (Payload, error) {
	e, err := c.join(ctx, want, false)
	if err != nil {
		return Payload{}, err
	}
	if failed, ok := e.Detail.(*JoinError); ok {
		return Payload{}, failed
	}
	return e.Payload, nil
}

// JoinEvent joins like Join, but returns the first answer as its event, Joined or JoinError, whether the join is retried or
// not. It is an error only if there is none. The event is a clone.
func (c *Conn) JoinEvent(ctx context.Context, want Channel) (Event, error) {
	return c.join(ctx, want, true)
}

// join waits for the first answer or, without first, for the last one.
func (c *Conn) join(ctx context.Context, want Channel, first bool) (Event, error) {
	if err := want.check(); err != nil {
		return Event{}, &InvalidError{err}
	}
	result := make(chan answer, 1)
	err := c.do(ctx, c.urgent, func(l *loop, now time.Time) {
		if err := l.m.join(now, want); err != nil {
			result <- answer{err: err}
			return
		}
		l.waiters.joins[want.Topic] = append(l.waiters.joins[want.Topic], joinWaiter{result, first})
	})
	return awaitEvent(ctx, c, result, err)
}

// awaitEvent waits for the event that answers a command; err is that of the command.
func awaitEvent(ctx context.Context, c *Conn, result <-chan answer, err error) (Event, error) {
	if err != nil {
		return Event{}, err
	}
	a, err := await(ctx, c, result)
	if err != nil {
		return Event{}, err
	}
	return a.event, a.err
}

// Leave leaves a topic, and waits until the server has confirmed that or the reply timeout has passed. ErrNotJoined
// without a join.
func (c *Conn) Leave(ctx context.Context, topic string) error {
	result, err := c.leave(ctx, topic)
	if err != nil {
		return err
	}
	if _, err = awaitEvent(ctx, c, result, nil); errors.Is(err, ErrClosed) {
		return nil // the channel ended with the connection
	}
	return err
}

// LeaveEvent leaves like Leave and returns the Left event, a clone. It is an error if there is none.
func (c *Conn) LeaveEvent(ctx context.Context, topic string) (Event, error) {
	result, err := c.leave(ctx, topic)
	return awaitEvent(ctx, c, result, err)
}

func (c *Conn) leave(ctx context.Context, topic string) (<-chan answer, error) {
	result := make(chan answer, 1)
	return result, c.do(ctx, c.urgent, func(l *loop, now time.Time) {
		l.waiters.leaves[topic] = append(l.waiters.leaves[topic], result)
		if err := l.m.leave(now, topic); err != nil {
			delete(l.waiters.leaves, topic)
			result <- answer{err: err}
			return
		}
		// A join that is waited for now is taken back; one that comes before the server's answer is the next.
		l.waiters.joinFailed(topic, ErrNotJoined)
	})
}

// Push sends a message on a joined topic and waits for its reply, of whatever status. A *PushTimeout when none came in
// time, a *PushError at once when none can come any more. When ctx ends first, the push goes on without a waiter.
func (c *Conn) Push(ctx context.Context, p Push) (Reply, error) {
	e, err := c.PushEvent(ctx, p)
	if err != nil {
		return Reply{}, err
	}
	switch d := e.Detail.(type) {
	case *PushTimeout:
		return Reply{}, d
	case *PushError:
		return Reply{}, d
	case *PushReply:
		return Reply{Status: d.Status, Payload: e.Payload, Latency: d.Latency}, nil
	}
	return Reply{}, fmt.Errorf("a push ended in %T", e.Detail)
}

// PushEvent pushes like Push and returns the event that ended it, a clone: PushReply, PushTimeout or PushError. It is an
// error only if there is none.
func (c *Conn) PushEvent(ctx context.Context, p Push) (Event, error) {
	result := make(chan answer, 1)
	err := c.send(ctx, p, func(w *waiters, id uint64) { w.pushes[id] = result })
	return awaitEvent(ctx, c, result, err)
}

// Send sends a message as Push does, and does not wait: how it ends is told by the stream, by exactly one PushReply,
// PushTimeout or PushError with the push's Index. Like all that pushes, it waits while more than 1 MiB is still to be
// written. The payload must not change before the end of the push.
func (c *Conn) Send(ctx context.Context, p Push) error {
	return c.send(ctx, p, func(*waiters, uint64) {})
}

// SendRef sends as Send does, and returns the message's ref once it has been handed to the writer, which is when its topic is
// joined. A *PushError or *PushTimeout if it will not be.
func (c *Conn) SendRef(ctx context.Context, p Push) (string, error) {
	result := make(chan refResult, 1)
	if err := c.send(ctx, p, func(w *waiters, id uint64) { w.refs[id] = result }); err != nil {
		return "", err
	}
	r, err := await(ctx, c, result)
	if err != nil {
		return "", err
	}
	return r.ref, r.err
}

// send makes a push; register says what waits for it.
func (c *Conn) send(ctx context.Context, p Push, register func(w *waiters, id uint64)) error {
	if err := p.check(c.endpoint.codec); err != nil {
		return &InvalidError{err}
	}
	return c.do(ctx, c.commands, func(l *loop, now time.Time) {
		l.waiters.pushIDs++
		register(&l.waiters, l.waiters.pushIDs)
		l.m.push(now, l.waiters.pushIDs, p)
	})
}

// Heartbeat sends a heartbeat now and returns the time to its answer. It fails without a session, when the session ends
// before the answer, and with a *HeartbeatError when the answer is another than "ok".
func (c *Conn) Heartbeat(ctx context.Context) (time.Duration, error) {
	result := make(chan beatResult, 1)
	err := c.do(ctx, c.commands, func(l *loop, now time.Time) {
		ref := l.m.ask(now)
		if ref == "" {
			result <- beatResult{err: errNoSession}
			return
		}
		l.waiters.beats[ref] = result
	})
	if err != nil {
		return 0, err
	}
	r, err := await(ctx, c, result)
	if err != nil {
		return 0, err
	}
	return r.rtt, r.err
}
