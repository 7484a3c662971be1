package phoenix

import (
	"context"
	"errors"
	"slices"
	"time"
)

// A managedConn is one connection of a Supervisor. Its goroutine carries out the requests, one after the other, and owns the
// current run. It lives while there is something to do; the end of a run is something to do, too.
type managedConn struct {
	sup  *Supervisor
	name string

	// The Supervisor's mu guards what follows.
	//
	// happened is what has happened to the connection and is to be seen to before any request. The first request is the one
	// that is being done.
	happened []func()
	requests []request
	working  bool // there is a goroutine
	calling  bool // of Ended
	removing bool
	current  snapshot
	changed  broadcast

	// The rest is the goroutine's; from one to the next it goes by the mu.
	spec Spec
	run  *run
	// again is the wait for the next run after a panic; panics counts those in a row.
	again  *time.Timer
	panics int
	// seq and session are the last numbers of the runs so far. limit is how many channels a socket takes, as the runs with this spec have
	// found out, 0 if none was.
	seq     uint64
	session int
	limit   int
}

// A request is a call of one of the Supervisor's methods, for the goroutine of its connection.
type request struct {
	do   func(*managedConn) error
	done chan<- error // has room for the answer
}

// A requestKind says when a request is refused.
type requestKind int

const (
	mayNotStart requestKind = iota
	mayStart                // it is refused after Shutdown
	forGood                 // it is the last thing that can be asked
)

// newManagedConn returns a managed connection that is stopped.
func newManagedConn(s *Supervisor, spec Spec, public string) *managedConn {
	m := &managedConn{sup: s, name: spec.Name}
	m.current.link, m.current.since = StatusDisconnected, time.Now()
	m.take(spec, public)
	return m
}

// take takes over a spec.
func (m *managedConn) take(spec Spec, public string) {
	m.spec = spec
	m.current.uri, m.current.required = public, spec.Required
}

// post queues a request. ahead reports whether it waits for another one, which may take long.
func (s *Supervisor) post(name string, kind requestKind, do func(*managedConn) error) (done <-chan error, ahead bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.managed[name]
	switch {
	case m == nil || m.removing:
		return nil, false, unknown(name)
	case kind == mayStart && s.shut:
		return nil, false, ErrShutdown
	case kind == forGood:
		m.removing = true
	}
	ahead = m.calling || len(m.requests) > 0
	return m.post(do), ahead, nil
}

// post is called with mu held.
func (m *managedConn) post(do func(*managedConn) error) <-chan error {
	done := make(chan error, 1)
	m.requests = append(m.requests, request{do, done})
	m.wakeUp()
	return done
}

// happens lets the goroutine see to something that has happened.
func (m *managedConn) happens(what func()) {
	m.sup.mu.Lock()
	defer m.sup.mu.Unlock()
	m.happened = append(m.happened, what)
	m.wakeUp()
}

// wakeUp sees to it that there is a goroutine. It is called with mu held.
func (m *managedConn) wakeUp() {
	if !m.working {
		m.working = true
		go m.work()
	}
}

// work is the goroutine of m.
func (m *managedConn) work() {
	for do := m.next(); do != nil; do = m.next() {
		do()
	}
}

// next returns what there is to do; nil: nothing, and the goroutine has to end.
func (m *managedConn) next() func() {
	m.sup.mu.Lock()
	defer m.sup.mu.Unlock()
	switch {
	case len(m.happened) > 0:
		what := m.happened[0]
		m.happened = shift(m.happened)
		return what
	case len(m.requests) > 0:
		r := m.requests[0]
		return func() { m.answer(r, r.do(m)) }
	}
	m.working = false
	return nil
}

// answer answers the first request, which stays the first until it is done, so that others know that they are not.
func (m *managedConn) answer(r request, err error) {
	m.sup.mu.Lock()
	m.requests = shift(m.requests)
	m.sup.mu.Unlock()
	r.done <- err
}

// shift returns q without its first element; what is empty takes no memory.
func shift[T any](q []T) []T {
	if len(q) == 1 {
		return nil
	}
	return slices.Delete(q, 0, 1)
}

func (m *managedConn) start() error {
	if m.run != nil {
		return nil
	}
	m.endWait()
	m.panics = 0
	return m.begin()
}

func (m *managedConn) stop() error {
	m.halt()
	return nil
}

// revoke is stop at once.
func (m *managedConn) revoke() error {
	m.end(func(r *run) {
		r.conn.revoke()
		<-r.over
	})
	return nil
}

func (m *managedConn) restart() error {
	m.halt()
	return m.start()
}

func (m *managedConn) replace(spec Spec, public string) error {
	was := m.halt()
	m.limit = 0 // it may be another server
	m.sup.mu.Lock()
	m.take(spec, public)
	m.notify()
	m.sup.mu.Unlock()
	if !was {
		return nil
	}
	return m.start()
}

func (m *managedConn) update(spec Spec, public string, rejoin []string) error {
	m.sup.mu.Lock()
	before := m.spec.Options.Channels
	m.take(spec, public)
	m.notify()
	m.sup.mu.Unlock()
	if m.run == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(m.sup.life, leaveTimeout)
	defer cancel()
	err := m.run.conn.reconfigure(ctx, spec.Options, before, rejoin)
	if err != nil && ctx.Err() == nil {
		return nil // the run is over; the next one has the spec
	}
	return err
}

// reconfigure changes what Update promises: before are the channels that were configured.
func (c *Conn) reconfigure(ctx context.Context, o Options, before []Channel, rejoin []string) error {
	c.changed.Store(&o)
	has := func(list []Channel, topic string) bool {
		return slices.ContainsFunc(list, func(other Channel) bool { return other.Topic == topic })
	}
	changed := make(chan struct{}, 1)
	err := c.do(ctx, nil, c.urgent, func(l *loop, now time.Time) {
		l.dealer.reconfigure(now, c.machineConfig())
		leave := func(topic string) bool {
			if l.dealer.of(topic).leave(now, topic) != nil {
				return false // it was left already
			}
			l.waiters.joinFailed(topic, ErrNotJoined)
			return true
		}
		for _, old := range before {
			if !has(o.Channels, old.Topic) {
				leave(old.Topic)
			}
		}
		for _, want := range o.Channels {
			switch known := has(before, want.Topic); {
			case !known:
				_ = l.dealer.join(now, want) // else it is joined already, or the connection ends
			case slices.Contains(rejoin, want.Topic) && leave(want.Topic):
				_ = l.dealer.join(now, want)
			default:
				l.dealer.of(want.Topic).rewant(want)
			}
		}
		changed <- struct{}{}
	})
	if err != nil {
		return err
	}
	_, err = await(ctx, c, nil, changed)
	return err
}

func (m *managedConn) remove() error {
	m.halt()
	s := m.sup
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.managed, m.name)
	s.order = slices.DeleteFunc(s.order, func(other *managedConn) bool { return other == m })
	m.notify()
	return nil
}

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

// guard calls f, and returns its panic as a *PanicError that names what.
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
		left, err := r.conn.leave(ctx, nil, c.Topic)
		if err != nil {
			return
		}
		leaves = append(leaves, left)
	}
	for _, left := range leaves {
		_, _ = await(ctx, r.conn, nil, left)
	}
}

// cut ends the connection without a word to the server.
func (c *Conn) cut() {
	c.requestClose()
	select {
	case c.urgent <- func(l *loop, now time.Time) {
		l.dealer.close(now)
		for _, s := range l.dealer.sockets {
			s.m.out.hangUp = hangUpDrop
		}
	}:
	case <-c.done:
	}
}

// revoke is cut for [ReasonLeaseLost].
func (c *Conn) revoke() {
	select {
	case c.urgent <- func(l *loop, now time.Time) { l.dealer.revoke(now) }:
		c.requestClose()
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

// The life of a connection between what is asked of it: runs begin, are stopped, or end by themselves.

// begin begins a run.
func (m *managedConn) begin() error {
	conn, err := New(m.spec.Options)
	if err != nil {
		return err // it was checked: whoever gave it has changed it since
	}
	server := conn.endpoint.server()
	conn.hooks = hooks{
		seq: m.seq, session: m.session, limit: m.limit, changed: m.linkChanged,
		turn: func(ctx context.Context) error { return m.sup.turns.wait(ctx, server) },
	}
	m.sup.mu.Lock()
	if m.sup.shut {
		m.sup.mu.Unlock()
		return ErrShutdown
	}
	m.current.conn, m.current.err = conn, nil
	m.setLink(StatusConnecting)
	m.sup.mu.Unlock()
	r := newRun(conn)
	m.run = r
	r.start(m.spec.Consume, func() {
		m.happens(func() {
			if m.run == r { // else a stop has seen to it
				m.ended()
			}
		})
	})
	return nil
}

// halt ends the run well, or the wait for the next one, and reports whether there was either.
func (m *managedConn) halt() bool {
	return m.end(func(r *run) { r.stop(m.sup.life) })
}

// end is halt, with a way to end a run and to wait for that.
func (m *managedConn) end(run func(*run)) bool {
	if m.run == nil {
		waited := m.endWait()
		if waited {
			m.setStopped(nil)
		}
		return waited
	}
	m.sup.mu.Lock()
	m.current.stopping = true
	m.setLink(StatusDisconnecting)
	m.sup.mu.Unlock()
	run(m.run)
	if err := m.finish(); panicked(err) {
		m.log(err)
	}
	m.setStopped(nil)
	return true
}

// finish takes leave of a run that is over, and returns how it ended.
func (m *managedConn) finish() error {
	<-m.run.over
	err := m.run.err
	m.seq, m.session = m.run.conn.numbers()
	m.limit = m.run.conn.limit
	m.run = nil
	return err
}

// ended goes on after a run that ended by itself.
func (m *managedConn) ended() {
	lasted := time.Since(m.run.begun)
	err := m.finish()
	if !panicked(err) {
		m.setStopped(err)
		m.notifyEnded(err)
		return
	}
	m.log(err)
	o := &m.spec.Options
	if lasted >= o.StableAfter {
		m.panics = 0
	}
	if o.MaxRetries < 0 || m.panics < o.MaxRetries {
		var delay time.Duration
		if failed := guard(inBackoff, func() { delay = o.ReconnectAfter(m.panics) }); failed == nil {
			m.panics++
			m.wait(delay)
		}
	}
	m.setStopped(err)
	if m.again == nil {
		m.notifyEnded(err)
	}
}

// wait waits for the next run.
func (m *managedConn) wait(delay time.Duration) {
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		m.happens(func() {
			if m.again != timer {
				return // the wait was ended
			}
			m.again = nil
			if err := m.begin(); err != nil {
				m.setStopped(err)
			}
		})
	})
	m.again = timer
}

// endWait ends the wait for the next run, and reports whether there was one.
func (m *managedConn) endWait() bool {
	if m.again == nil {
		return false
	}
	m.again.Stop()
	m.again = nil
	return true
}

// notifyEnded calls SupervisorOptions.Ended: the connection has ended for good. A nil err is the end of a Conn that somebody
// closed, and is not reported.
func (m *managedConn) notifyEnded(err error) {
	ended := m.sup.opts.Ended
	if ended == nil || err == nil {
		return
	}
	m.setCalling(true)
	defer m.setCalling(false)
	if failed := guard(inEnded, func() { ended(m.name, err) }); failed != nil {
		m.log(failed)
	}
}

func (m *managedConn) setCalling(calling bool) {
	m.sup.mu.Lock()
	defer m.sup.mu.Unlock()
	m.calling = calling
}

// What else may panic.
const (
	inConsume = "Spec.Consume"
	inBackoff = "Options.ReconnectAfter"
	inEnded   = "SupervisorOptions.Ended"
)

// log logs a panic.
func (m *managedConn) log(err error) {
	var p *PanicError
	if errors.As(err, &p) {
		m.sup.opts.Logger.Error("a connection panicked", "connection", m.name, "error", err, "stack", string(p.Stack))
	}
}

func panicked(err error) bool {
	var p *PanicError
	return errors.As(err, &p)
}
