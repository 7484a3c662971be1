package phoenix

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
)

// A Conn is one supervised connection to a Phoenix socket: it dials, joins, reconnects and rejoins until it is closed or
// its retries are used up. Its methods may be called from any goroutine. Those that talk to the server wait for Serve or
// Start, if they are called before it.
type Conn struct {
	opts     Options
	endpoint *endpoint
	// commands wait while much is still to be written, urgent ones do not.
	commands, urgent chan command
	stream           *Stream
	streaming        atomic.Bool

	started   atomic.Bool
	connected chan struct{}
	closeOnce sync.Once
	closing   chan struct{}
	done      chan struct{}
	err       error // valid when done is closed
	// panicked has room for the first panic.
	panicked chan *PanicError

	hooks hooks
	// seq and session are the last numbers; valid when done is closed.
	seq     uint64
	session int
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
		opts: o, endpoint: e, commands: make(chan command), urgent: make(chan command), stream: newStream(),
		connected: make(chan struct{}), closing: make(chan struct{}), done: make(chan struct{}),
		panicked: make(chan *PanicError, 1),
	}, nil
}

func (c *Conn) machineConfig() machineConfig {
	o := &c.opts
	return machineConfig{
		uri: c.endpoint.public(), codec: c.endpoint.codec, sessions: c.hooks.session,
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
// end of ctx closed it, else the *LinkError of the last link, or a *PanicError. It can be called once.
func (c *Conn) Serve(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return c.startedBefore()
	}
	l := newLoop(c)
	l.waiters.connected = c.connected
	c.err = l.run(ctx)
	c.seq, c.session = l.seq, l.m.session
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
// when ctx ends. Pushes without a reply fail. It does not leave the channels: the server ends them with the socket. The stream
// is told by a Disconnected, also if there was no session.
func (c *Conn) Close(ctx context.Context) error {
	c.requestClose()
	if c.started.CompareAndSwap(false, true) { // never started: nobody else will
		c.seq, c.session = c.hooks.seq, c.hooks.session
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
