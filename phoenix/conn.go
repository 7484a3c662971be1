package phoenix

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Conn is one supervised connection to a Phoenix socket: it dials, joins, reconnects and rejoins until it is closed or
// its retries are used up. Its methods may be called from any goroutine. Those that talk to the server wait for Serve or
// Start, if they are called before it.
type Conn struct {
	// opts are those of the start; current returns those that may have changed since.
	opts     Options
	changed  atomic.Pointer[Options]
	endpoint *endpoint
	// commands wait while much is still to be written, urgent ones do not.
	commands, urgent chan command
	stream           *Stream
	streaming        atomic.Bool
	// topics are the streams of TopicEvents. A change makes a new slice, under topicsMu; the loop reads the current one.
	topics   atomic.Pointer[[]*topicStream]
	topicsMu sync.Mutex

	started   atomic.Bool
	connected chan struct{}
	closeOnce sync.Once
	closing   chan struct{}
	done      chan struct{}
	err       error // valid when done is closed
	// panicked has room for the first panic.
	panicked chan *PanicError

	secrets  shownSecrets
	fallback fallback

	hooks hooks
	// seq and session are the last numbers, limit is how many channels a socket takes, as far as is known; valid when done is closed.
	seq     uint64
	session int
	limit   int
}

// New returns a connection that has not been started. It reports what is wrong with the options; its errors do not
// repeat the URL, which may hold secrets.
func New(o Options) (*Conn, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	e, err := newEndpoint(o.URL, o.VSN, o.Transport)
	if err != nil {
		return nil, err
	}
	if v2, ok := e.codec.(codecV2); ok && o.Dialect != nil {
		e.codec = dialectCodec{v2, o.Dialect}
	}
	return &Conn{
		opts: o, endpoint: e, commands: make(chan command), urgent: make(chan command), stream: newStream(make(chan struct{}, 1)),
		connected: make(chan struct{}), closing: make(chan struct{}), done: make(chan struct{}),
		panicked: make(chan *PanicError, 1),
	}, nil
}

// current returns the options with which what begins now is done: timeouts, retries and credentials may change while a connection runs.
func (c *Conn) current() *Options {
	if o := c.changed.Load(); o != nil {
		return o
	}
	return &c.opts
}

func (c *Conn) machineConfig() machineConfig {
	o := c.current()
	return machineConfig{
		uri: c.endpoint.public(), codec: c.endpoint.codec, sessions: c.hooks.session,
		replyTimeout: o.ReplyTimeout, heartbeatInterval: o.HeartbeatInterval, heartbeatTimeout: o.HeartbeatTimeout,
		stableAfter: o.StableAfter, maxRetries: o.MaxRetries, maxOutage: o.MaxOutage, spread: o.spread(), failFast: o.FailFast, retryRefusals: o.RetryRefusals,
		reconnectAfter: o.ReconnectAfter, rejoinAfter: o.RejoinAfter, heartbeatEvents: o.HeartbeatEvents,
		compress: o.Compress, anyTopic: o.AnyTopic, presence: o.Presence, dialect: c.opts.Dialect, joinInterval: o.JoinInterval, presenceLimit: int(min(o.MaxMessage, math.MaxInt)),
	}
}

// Redact returns text, which may be a server's, without the secrets that the connection has shown to it: the values of params,
// headers, the query and userinfo, tokens, and join params. It may be called at any time.
func (c *Conn) Redact(text string) string { return c.secrets.all().Redact(text) }

// Events returns the stream of the connection's events; every call returns the same. The first must come before Serve or
// Start; without it the events are dropped. Who calls it has to read on: see [Stream].
func (c *Conn) Events() *Stream {
	c.streaming.Store(true)
	return c.stream
}

// TopicEvents returns a new stream of the events of one topic from now on, in wire order. With names, it has only the
// messages and the ends of pushes with one of these event names. It may be called at any time, any number of times, and
// beside Events; each stream has a consumer of its own, which has to read on, or to call [Stream.Close].
//
// Its events are copies: it costs an allocation and a copy of the payload for each, which Events does not.
func (c *Conn) TopicEvents(topic string, names ...string) *Stream {
	t := &topicStream{Stream: newStream(c.stream.room), topic: topic, names: names}
	c.topicsMu.Lock()
	var all []*topicStream
	if old := c.topics.Load(); old != nil {
		all = slices.DeleteFunc(slices.Clone(*old), func(o *topicStream) bool { return o.isClosed() })
	}
	all = append(all, t)
	c.topics.Store(&all)
	c.topicsMu.Unlock()
	select {
	case <-c.done:
		t.end() // the end of Serve has not seen t, or ends it once more
	default:
	}
	return t.Stream
}

// topicStreams returns the streams of TopicEvents.
func (c *Conn) topicStreams() []*topicStream {
	if all := c.topics.Load(); all != nil {
		return *all
	}
	return nil
}

// unread returns a stream that is full, nil if there is none: while there is one, reads are paused.
func (c *Conn) unread() *Stream {
	if c.streaming.Load() && c.stream.full() {
		return c.stream
	}
	for _, t := range c.topicStreams() {
		if t.full() {
			return t.Stream
		}
	}
	return nil
}

// endStreams ends all streams. It comes after the close of done, so that none is left out.
func (c *Conn) endStreams() {
	c.stream.end()
	for _, t := range c.topicStreams() {
		t.end()
	}
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
	c.seq, c.session, c.limit = l.dealer.shared.seq, l.dealer.shared.opened, l.dealer.limit
	close(c.done)
	c.endStreams()
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
		close(c.done)
		c.endStreams()
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Conn) requestClose() { c.closeOnce.Do(func() { close(c.closing) }) }

// The calls that go to the server and wait for what comes of it.

// An unreadWatch ends a call whose answer may be behind events that nobody takes. The machine's deadlines do not: they stand
// still while reads are paused (rule 21). A nil unreadWatch never ends a call.
type unreadWatch struct {
	conn    *Conn
	timeout time.Duration
	timer   *time.Timer
	// taken is Conn.taken of when the timer was set.
	taken uint64
}

// watch returns the watch of a call that begins now. The caller has to call end.
func (c *Conn) watch(timeout time.Duration) *unreadWatch {
	return &unreadWatch{conn: c, timeout: timeout, timer: time.NewTimer(timeout), taken: c.taken()}
}

// taken counts the events that all consumers have taken.
func (c *Conn) taken() uint64 {
	n := c.stream.taken.Load()
	for _, t := range c.topicStreams() {
		n += t.taken.Load()
	}
	return n
}

func (w *unreadWatch) end() { w.timer.Stop() }

// due fires when check is to be called.
func (w *unreadWatch) due() <-chan time.Time {
	if w == nil {
		return nil
	}
	return w.timer.C
}

// check returns an *UnreadError if no event has been taken for the timeout and reads are paused. Otherwise it sets the timer
// anew: as long as events are taken, the answer comes nearer.
func (w *unreadWatch) check() error {
	taken := w.conn.taken()
	if taken == w.taken && w.conn.unread() != nil {
		return &UnreadError{Timeout: w.timeout}
	}
	w.taken = taken
	w.timer.Reset(w.timeout)
	return nil
}

// do runs f on the loop, which takes it from queue: urgent or commands.
func (c *Conn) do(ctx context.Context, w *unreadWatch, queue chan<- command, f command) error {
	for {
		select {
		case queue <- f:
			return nil
		case <-c.done:
			return c.ended()
		case <-ctx.Done():
			return ctx.Err()
		case <-w.due():
			if err := w.check(); err != nil {
				return err
			}
		}
	}
}

// await waits for the result of a command that the loop has run.
func await[T any](ctx context.Context, c *Conn, w *unreadWatch, result <-chan T) (T, error) {
	var zero T
	for waiting := true; waiting; {
		select {
		case r := <-result:
			return r, nil
		case <-ctx.Done():
			return zero, ctx.Err()
		case <-w.due():
			if err := w.check(); err != nil {
				return zero, err
			}
		case <-c.done:
			waiting = false
		}
	}
	select { // what came before the end counts
	case r := <-result:
		return r, nil
	default:
		return zero, c.ended()
	}
}

// Join joins a topic and keeps it joined until Leave. It returns the response of the first accepted join; a *JoinError
// when the join has failed and is not retried; the *LinkError when the connection ended first; an *UnreadError when the
// answer may be behind events that nobody has taken for ReplyTimeout. Then, and when ctx ends first, the topic stays wanted.
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
	if err := CheckTopic(want.Topic); err != nil {
		return Event{}, &InvalidError{err}
	}
	w := c.watch(c.current().ReplyTimeout)
	defer w.end()
	result := make(chan answer, 1)
	err := c.do(ctx, w, c.urgent, func(l *loop, now time.Time) {
		if err := l.dealer.join(now, want); err != nil {
			result <- answer{err: err}
			return
		}
		l.waiters.joins[want.Topic] = append(l.waiters.joins[want.Topic], joinWaiter{result, first})
	})
	return awaitEvent(ctx, c, w, result, err)
}

// WaitJoined waits until a topic is joined: at once if it is, else for the next join that is accepted. It returns
// ErrNotJoined for a topic that is not wanted, as it was neither in Options.Channels nor in a call of Join, or is left
// meanwhile; a *JoinError when the join has failed and is not retried; the *LinkError when the connection ended first; an
// *UnreadError as Join does.
func (c *Conn) WaitJoined(ctx context.Context, topic string) error {
	w := c.watch(c.current().ReplyTimeout)
	defer w.end()
	result := make(chan answer, 1)
	err := c.do(ctx, w, c.urgent, func(l *loop, _ time.Time) {
		switch wanted, joined := l.dealer.of(topic).wants(topic); {
		case !wanted:
			result <- answer{err: ErrNotJoined}
		case joined:
			result <- answer{}
		default:
			l.waiters.joins[topic] = append(l.waiters.joins[topic], joinWaiter{answer: result})
		}
	})
	e, err := awaitEvent(ctx, c, w, result, err)
	if failed, ok := e.Detail.(*JoinError); ok {
		return failed
	}
	return err
}

// awaitEvent waits for the event that answers a command; err is that of the command.
func awaitEvent(ctx context.Context, c *Conn, w *unreadWatch, result <-chan answer, err error) (Event, error) {
	if err != nil {
		return Event{}, err
	}
	a, err := await(ctx, c, w, result)
	if err != nil {
		return Event{}, err
	}
	return a.event, a.err
}

// Leave leaves a topic, and waits until the server has confirmed that or the reply timeout has passed. ErrNotJoined
// without a join; an *UnreadError when the confirmation may be behind events that nobody has taken for ReplyTimeout: then the
// leave goes on without a waiter.
func (c *Conn) Leave(ctx context.Context, topic string) error {
	w := c.watch(c.current().ReplyTimeout)
	defer w.end()
	result, err := c.leave(ctx, w, topic)
	if err != nil {
		return err
	}
	if _, err = awaitEvent(ctx, c, w, result, nil); errors.Is(err, ErrClosed) {
		return nil // the channel ended with the connection
	}
	return err
}

// LeaveEvent leaves like Leave and returns the Left event, a clone. It is an error if there is none.
func (c *Conn) LeaveEvent(ctx context.Context, topic string) (Event, error) {
	w := c.watch(c.current().ReplyTimeout)
	defer w.end()
	result, err := c.leave(ctx, w, topic)
	return awaitEvent(ctx, c, w, result, err)
}

func (c *Conn) leave(ctx context.Context, w *unreadWatch, topic string) (<-chan answer, error) {
	result := make(chan answer, 1)
	return result, c.do(ctx, w, c.urgent, func(l *loop, now time.Time) {
		l.waiters.leaves[topic] = append(l.waiters.leaves[topic], result)
		if err := l.dealer.of(topic).leave(now, topic); err != nil {
			delete(l.waiters.leaves, topic)
			result <- answer{err: err}
			return
		}
		// A join that is waited for now is taken back; one that comes before the server's answer is the next.
		l.waiters.joinFailed(topic, ErrNotJoined)
	})
}

// Push sends a message on a joined topic and waits for its reply, of whatever status. A *PushTimeout when none came in
// time, a *PushError at once when none can come any more, which is an ErrNotJoined to errors.Is if the topic is not joined.
// An *UnreadError when the reply may be behind events that nobody has taken for the timeout of the push: then, and when ctx
// ends first, the push goes on without a waiter.
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
	if p.NoReply {
		return Event{}, &InvalidError{errors.New("a push with NoReply has no end to wait for: use Send or SendRef")}
	}
	w := c.watchPush(&p)
	defer w.end()
	result := make(chan answer, 1)
	err := c.send(ctx, w, p, func(w *waiters, id uint64) { w.pushes[id] = result })
	return awaitEvent(ctx, c, w, result, err)
}

// Send sends a message as Push does, and does not wait: how it ends is told by the stream, by exactly one PushReply,
// PushTimeout or PushError with the push's Index; one with NoReply ends without an event once it is written. Like all that
// pushes, it waits while more than 1 MiB is still to be written. The payload must not change before the end of the push.
func (c *Conn) Send(ctx context.Context, p Push) error {
	return c.send(ctx, nil, p, func(*waiters, uint64) {})
}

// A PushBatch collects pushes and sends them at once, which costs less than a Send for each. One goroutine at a time may use it.
type PushBatch struct {
	conn   *Conn
	pushes []Push
}

// NewPushBatch returns an empty batch.
func (c *Conn) NewPushBatch() *PushBatch { return &PushBatch{conn: c} }

// Add adds a push. Its error is an *InvalidError; then the push is not in the batch.
func (b *PushBatch) Add(p Push) error {
	if err := p.check(b.conn.endpoint.codec); err != nil {
		return &InvalidError{err}
	}
	b.pushes = append(b.pushes, p)
	return nil
}

// Len returns how many pushes are in the batch.
func (b *PushBatch) Len() int { return len(b.pushes) }

// Send sends the pushes as [Conn.Send] does, in the order in which they were added, and leaves the batch empty. After an error none
// of them has been sent.
func (b *PushBatch) Send(ctx context.Context) error {
	pushes := b.pushes
	if len(pushes) == 0 {
		return nil
	}
	b.pushes = make([]Push, 0, len(pushes)) // the loop reads pushes after do has returned
	return b.conn.do(ctx, nil, b.conn.commands, func(l *loop, now time.Time) {
		for i := range pushes {
			l.waiters.pushIDs++
			l.dealer.of(pushes[i].Topic).push(now, l.waiters.pushIDs, pushes[i])
		}
	})
}

// SendRef sends as Send does, and returns the message's ref once it has been handed to the writer, which is when its topic is
// joined. A *PushError or *PushTimeout if it will not be, an *UnreadError as for Push.
func (c *Conn) SendRef(ctx context.Context, p Push) (string, error) {
	w := c.watchPush(&p)
	defer w.end()
	result := make(chan refResult, 1)
	if err := c.send(ctx, w, p, func(w *waiters, id uint64) { w.refs[id] = result }); err != nil {
		return "", err
	}
	r, err := await(ctx, c, w, result)
	if err != nil {
		return "", err
	}
	return r.ref, r.err
}

// watchPush is watch for a call that pushes p.
func (c *Conn) watchPush(p *Push) *unreadWatch {
	if p.Timeout > 0 {
		return c.watch(p.Timeout)
	}
	return c.watch(c.current().ReplyTimeout)
}

// send makes a push; register says what waits for it.
func (c *Conn) send(ctx context.Context, w *unreadWatch, p Push, register func(w *waiters, id uint64)) error {
	if err := p.check(c.endpoint.codec); err != nil {
		return &InvalidError{err}
	}
	return c.do(ctx, w, c.commands, func(l *loop, now time.Time) {
		l.waiters.pushIDs++
		register(&l.waiters, l.waiters.pushIDs)
		l.dealer.of(p.Topic).push(now, l.waiters.pushIDs, p)
	})
}

// Heartbeat sends a heartbeat now and returns the time to its answer. It fails without a session, when the session ends
// before the answer, with a *HeartbeatError when the answer is another than "ok", and with an *UnreadError when it may be
// behind events that nobody has taken for HeartbeatTimeout.
func (c *Conn) Heartbeat(ctx context.Context) (time.Duration, error) {
	w := c.watch(c.current().HeartbeatTimeout)
	defer w.end()
	result := make(chan beatResult, 1)
	err := c.do(ctx, w, c.commands, func(l *loop, now time.Time) {
		ref := l.dealer.sockets[0].m.beatNow(now)
		if ref == "" {
			result <- beatResult{err: errNoSession}
			return
		}
		l.waiters.beats[ref] = result
	})
	if err != nil {
		return 0, err
	}
	r, err := await(ctx, c, w, result)
	if err != nil {
		return 0, err
	}
	return r.rtt, r.err
}

// waiters are the calls that wait for an event, by what they wait for. The loop owns them.
type waiters struct {
	pushes map[uint64]chan<- answer
	refs   map[uint64]chan<- refResult
	joins  map[string][]joinWaiter
	leaves map[string][]chan<- answer
	beats  map[string]chan<- beatResult
	// connected is closed by the first session.
	connected chan struct{}
	open      bool
	pushIDs   uint64
}

// An answer is the event that a call has waited for, or why it comes to nothing. The channels of all calls have room for
// their one answer: the loop never waits for a caller.
type answer struct {
	event Event // a clone
	err   error
}

// A joinWaiter waits for the end of a join, or with first for the first answer to one.
type joinWaiter struct {
	answer chan<- answer
	first  bool
}

type refResult struct {
	ref string
	err error
}

type beatResult struct {
	rtt time.Duration
	err error
}

// errNoSession is the answer to a heartbeat that needs one.
var errNoSession = errors.New("there is no open session")

func newWaiters() waiters {
	return waiters{
		pushes: map[uint64]chan<- answer{}, refs: map[uint64]chan<- refResult{},
		joins: map[string][]joinWaiter{}, leaves: map[string][]chan<- answer{},
		beats: map[string]chan<- beatResult{}, connected: make(chan struct{}),
	}
}

// event answers the calls that wait for e.
func (w *waiters) event(e *Event) {
	switch d := e.Detail.(type) {
	case *Connected:
		if !w.open {
			w.open = true
			close(w.connected)
		}
	case *Disconnected:
		if e.Socket > 1 { // heartbeats that are waited for go by the first
			return
		}
		for ref, c := range w.beats {
			delete(w.beats, ref)
			c <- beatResult{err: errNoSession}
		}
	case *PushReply:
		w.pushEnded(e, nil)
	case *PushTimeout:
		w.pushEnded(e, d)
	case *PushError:
		w.pushEnded(e, d)
	case *Joined:
		w.joinAnswered(e, true)
	case *JoinError:
		w.joinAnswered(e, !d.Retry.Will)
	case *Left:
		for _, c := range w.leaves[e.Topic] {
			c <- answer{event: e.Clone()}
		}
		delete(w.leaves, e.Topic)
	}
}

// pushEnded answers the call that waits for the end of a push. err is why the push had no reply: one that waits to be written
// never will be.
func (w *waiters) pushEnded(e *Event, err error) {
	if c, ok := w.pushes[e.push]; ok {
		delete(w.pushes, e.push)
		c <- answer{event: e.Clone()}
	}
	if c, ok := w.refs[e.push]; ok {
		delete(w.refs, e.push)
		c <- refResult{err: err}
	}
}

// sent answers the call that waits for a push to be handed to the writer.
func (w *waiters) sent(s sentPush) {
	if c, ok := w.refs[s.id]; ok {
		delete(w.refs, s.id)
		c <- refResult{ref: s.ref}
	}
}

// joinAnswered answers the calls that wait for e, an answer to a join. One that is not final answers only those that wait for the
// first.
func (w *waiters) joinAnswered(e *Event, final bool) {
	var left []joinWaiter
	for _, j := range w.joins[e.Topic] {
		if !final && !j.first {
			left = append(left, j)
			continue
		}
		j.answer <- answer{event: e.Clone()}
	}
	if delete(w.joins, e.Topic); left != nil {
		w.joins[e.Topic] = left
	}
}

// joinFailed ends the calls that wait for a join that will have no answer.
func (w *waiters) joinFailed(topic string, err error) {
	for _, j := range w.joins[topic] {
		j.answer <- answer{err: err}
	}
	delete(w.joins, topic)
}

func (w *waiters) beat(b beatAnswer) {
	c, ok := w.beats[b.ref]
	if !ok {
		return
	}
	delete(w.beats, b.ref)
	r := beatResult{rtt: b.rtt}
	if b.err != nil {
		r.err = b.err
	}
	c <- r
}

// fail ends the calls that still wait when the connection is over. Pushes need no help: each has had its event.
func (w *waiters) fail(link *LinkError) {
	var err error = ErrClosed
	if link != nil {
		err = link
	}
	for topic := range w.joins {
		w.joinFailed(topic, err)
	}
	for topic, calls := range w.leaves {
		delete(w.leaves, topic)
		for _, c := range calls {
			c <- answer{err: err}
		}
	}
}

// hooks are what a Supervisor adds to a connection. They are set before Serve.
type hooks struct {
	// seq and session are where the numbers of events and of sessions go on from: those of the run before.
	seq     uint64
	session int
	// limit is how many channels a socket takes, as the run before has found out; 0: not known.
	limit int
	// turn waits until the connection may dial; the time is neither ConnectTimeout's nor that of Connected.Took. Nil: at once.
	turn func(ctx context.Context) error
	// changed is called by the loop after the state of the link or of a channel has changed, with that of the link; it must
	// not block. Nil: no call.
	changed func(link LinkStatus)
}

// numbers returns the number of the last event and of the last session, for the next run to go on from. They are valid when
// done is closed.
func (c *Conn) numbers() (seq uint64, session int) { return c.seq, c.session }
