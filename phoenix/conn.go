package phoenix

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// A Conn is one supervised connection to a Phoenix socket: it dials, joins, reconnects and rejoins until it is closed or
// its retries are used up. Its methods may be called from any goroutine. Those that talk to the server wait for Serve or
// Start, if they are called before it.
type Conn struct {
	opts      Options
	endpoint  *endpoint
	commands  chan command
	stream    *Stream
	streaming atomic.Bool

	started   atomic.Bool
	connected chan struct{}
	closeOnce sync.Once
	closing   chan struct{}
	done      chan struct{}
	err       error // valid when done is closed
}

// New returns a connection that has not been started. It reports what is wrong with the options; its errors do not
// repeat the URL, which may hold secrets.
func New(o Options) (*Conn, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	e, err := newEndpoint(o.URL, o.VSN)
	if err != nil {
		return nil, err
	}
	return &Conn{
		opts: o, endpoint: e, commands: make(chan command), stream: newStream(),
		connected: make(chan struct{}), closing: make(chan struct{}), done: make(chan struct{}),
	}, nil
}

func (c *Conn) machineConfig() machineConfig {
	o := &c.opts
	return machineConfig{
		uri: c.endpoint.public(), codec: c.endpoint.codec,
		replyTimeout: o.ReplyTimeout, heartbeatInterval: o.HeartbeatInterval, heartbeatTimeout: o.HeartbeatTimeout,
		stableAfter: o.StableAfter, maxRetries: o.MaxRetries, failFast: o.FailFast, retryRefusals: o.RetryRefusals,
		reconnectAfter: o.ReconnectAfter, rejoinAfter: o.RejoinAfter, heartbeatEvents: o.HeartbeatEvents,
		presence: o.Presence, presenceLimit: int(min(o.MaxMessage, math.MaxInt)),
	}
}

// Events returns the stream of the connection's events; every call returns the same. The first must come before Serve or
// Start; without it the events are dropped. Who calls it has to read on: see [Stream].
func (c *Conn) Events() *Stream {
	c.streaming.Store(true)
	return c.stream
}

// Serve runs the connection, and returns when it is over and everything that it started has returned: nil if Close or the
// end of ctx closed it, else the *LinkError of the last link. It can be called once.
func (c *Conn) Serve(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return c.startedBefore()
	}
	l := newLoop(c)
	l.waiters.connected = c.connected
	link := l.run(ctx)
	if link != nil {
		c.err = link
	}
	c.stream.end()
	close(c.done)
	return c.err
}

// Start runs Serve in a goroutine of its own and returns once the first session is open, or with the error that Serve
// returned before that. When ctx ends first, the connection is closed.
func (c *Conn) Start(ctx context.Context) error {
	if c.started.Load() {
		return c.startedBefore()
	}
	go func() { _ = c.Serve(context.WithoutCancel(ctx)) }()
	select {
	case <-c.connected:
		return nil
	case <-c.done:
		return c.ended()
	case <-ctx.Done():
		c.requestClose()
		return ctx.Err()
	}
}

// startedBefore is the error of a start that can do nothing.
func (c *Conn) startedBefore() error {
	select {
	case <-c.closing:
		return ErrClosed
	default:
		return errors.New("the connection has been started before")
	}
}

// Done is closed when the connection is over.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns what Serve returned; nil before that.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// ended is the error of a call that comes after the end.
func (c *Conn) ended() error {
	if c.err != nil {
		return c.err
	}
	return ErrClosed
}

// Close closes the connection with code 1000 and waits for its end, at most as long as ctx lasts; the close goes on
// when ctx ends. Pushes without a reply fail. It does not leave the channels: the server ends them with the socket.
func (c *Conn) Close(ctx context.Context) error {
	c.requestClose()
	if c.started.CompareAndSwap(false, true) { // never started: nobody else will
		c.stream.end()
		close(c.done)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Conn) requestClose() { c.closeOnce.Do(func() { close(c.closing) }) }

// do runs f on the loop.
func (c *Conn) do(ctx context.Context, f command) error {
	select {
	case c.commands <- f:
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
	if err := want.check(); err != nil {
		return Payload{}, err
	}
	result := make(chan joinResult, 1)
	err := c.do(ctx, func(l *loop, now time.Time) {
		if err := l.m.join(now, want); err != nil {
			result <- joinResult{err: err}
			return
		}
		l.waiters.joins[want.Topic] = append(l.waiters.joins[want.Topic], result)
	})
	if err != nil {
		return Payload{}, err
	}
	r, err := await(ctx, c, result)
	if err != nil {
		return Payload{}, err
	}
	return r.response, r.err
}

// Leave leaves a topic, and waits until the server has confirmed that or the reply timeout has passed. ErrNotJoined
// without a join.
func (c *Conn) Leave(ctx context.Context, topic string) error {
	result := make(chan error, 1)
	err := c.do(ctx, func(l *loop, now time.Time) {
		l.waiters.leaves[topic] = append(l.waiters.leaves[topic], result)
		if err := l.m.leave(now, topic); err != nil {
			delete(l.waiters.leaves, topic)
			result <- err
			return
		}
		// A join that is waited for now is taken back; one that comes before the server's answer is the next.
		l.waiters.joined(topic, joinResult{err: ErrNotJoined})
	})
	if err != nil {
		return err
	}
	left, err := await(ctx, c, result)
	if errors.Is(err, ErrClosed) {
		return nil // the channel ended with the connection
	}
	return errors.Join(err, left)
}

// Push sends a message on a joined topic and waits for its reply, of whatever status. A *PushTimeout when none came in
// time, a *PushError at once when none can come any more. When ctx ends first, the push goes on without a waiter.
func (c *Conn) Push(ctx context.Context, p Push) (Reply, error) {
	result := make(chan pushResult, 1)
	if err := c.send(ctx, p, result); err != nil {
		return Reply{}, err
	}
	r, err := await(ctx, c, result)
	if err != nil {
		return Reply{}, err
	}
	return r.reply, r.err
}

// Send sends a message as Push does, and does not wait: how it ends is told by the stream, by exactly one PushReply,
// PushTimeout or PushError with the push's Index. It waits while more than 1 MiB is still to be written. The payload must
// not change before the end of the push.
func (c *Conn) Send(ctx context.Context, p Push) error { return c.send(ctx, p, nil) }

func (c *Conn) send(ctx context.Context, p Push, result chan pushResult) error {
	if err := p.check(c.endpoint.codec); err != nil {
		return err
	}
	return c.do(ctx, func(l *loop, now time.Time) {
		l.waiters.pushIDs++
		id := l.waiters.pushIDs
		if result != nil {
			l.waiters.pushes[id] = result
		}
		l.m.push(now, id, p)
	})
}

// Heartbeat sends a heartbeat now and returns the time to its answer. It fails without a session, when the session ends
// before the answer, and with a *HeartbeatError when the answer is another than "ok".
func (c *Conn) Heartbeat(ctx context.Context) (time.Duration, error) {
	result := make(chan beatResult, 1)
	err := c.do(ctx, func(l *loop, now time.Time) {
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
