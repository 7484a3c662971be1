package phoenix

import (
	"context"
	"errors"
	"slices"
	"time"
)

// A keeper keeps one connection of a Supervisor. Its goroutine does what is asked of the name, one thing after the other, and
// owns the current run. It lives while there is something to do; the end of a run is something to do, too.
type keeper struct {
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
	shown    shown
	changed  broadcast

	// The rest is the goroutine's; from one to the next it goes by the mu.
	spec Spec
	run  *run
	// again is the wait for the next run after a panic; panics counts those in a row.
	again  *time.Timer
	panics int
	// seq and session are the last numbers of the runs so far.
	seq     uint64
	session int
}

// A request is what is asked of a name.
type request struct {
	do   func(*keeper) error
	done chan<- error // has room for the answer
}

// asked is what kind of thing that is.
type asked int

const (
	mayNotStart asked = iota
	mayStart          // it is refused after Shutdown
	forGood           // it is the last thing that can be asked
)

// newKeeper returns a keeper of a connection that is stopped.
func newKeeper(s *Supervisor, spec Spec, public string) *keeper {
	k := &keeper{sup: s, name: spec.Name}
	k.shown.link, k.shown.since = StatusDisconnected, time.Now()
	k.take(spec, public)
	return k
}

// take takes over a spec.
func (k *keeper) take(spec Spec, public string) {
	k.spec = spec
	k.shown.uri, k.shown.required = public, spec.Required
}

// post asks something of a connection. ahead says that it comes after something else, which may take its time.
func (s *Supervisor) post(name string, kind asked, do func(*keeper) error) (done <-chan error, ahead bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keepers[name]
	switch {
	case k == nil || k.removing:
		return nil, false, unknown(name)
	case kind == mayStart && s.shut:
		return nil, false, ErrShutdown
	case kind == forGood:
		k.removing = true
	}
	ahead = k.calling || len(k.requests) > 0
	return k.post(do), ahead, nil
}

// post is called with mu held.
func (k *keeper) post(do func(*keeper) error) <-chan error {
	done := make(chan error, 1)
	k.requests = append(k.requests, request{do, done})
	k.wakeUp()
	return done
}

// happens lets the goroutine see to something that has happened.
func (k *keeper) happens(what func()) {
	k.sup.mu.Lock()
	defer k.sup.mu.Unlock()
	k.happened = append(k.happened, what)
	k.wakeUp()
}

// wakeUp sees to it that there is a goroutine. It is called with mu held.
func (k *keeper) wakeUp() {
	if !k.working {
		k.working = true
		go k.work()
	}
}

// work is the keeper's goroutine.
func (k *keeper) work() {
	for do := k.next(); do != nil; do = k.next() {
		do()
	}
}

// next returns what there is to do; nil: nothing, and the goroutine has to end.
func (k *keeper) next() func() {
	k.sup.mu.Lock()
	defer k.sup.mu.Unlock()
	switch {
	case len(k.happened) > 0:
		what := k.happened[0]
		k.happened = shift(k.happened)
		return what
	case len(k.requests) > 0:
		r := k.requests[0]
		return func() { k.answer(r, r.do(k)) }
	}
	k.working = false
	return nil
}

// answer answers the first request, which stays the first until it is done, so that others know that they are not.
func (k *keeper) answer(r request, err error) {
	k.sup.mu.Lock()
	k.requests = shift(k.requests)
	k.sup.mu.Unlock()
	r.done <- err
}

// shift returns q without its first element; what is empty takes no memory.
func shift[T any](q []T) []T {
	if len(q) == 1 {
		return nil
	}
	return slices.Delete(q, 0, 1)
}

func (k *keeper) start() error {
	if k.run != nil {
		return nil
	}
	k.endWait()
	k.panics = 0
	return k.begin()
}

func (k *keeper) stop() error {
	k.halt()
	return nil
}

func (k *keeper) restart() error {
	k.halt()
	return k.start()
}

func (k *keeper) replace(spec Spec, public string) error {
	was := k.halt()
	k.sup.mu.Lock()
	k.take(spec, public)
	k.tell()
	k.sup.mu.Unlock()
	if !was {
		return nil
	}
	return k.start()
}

func (k *keeper) remove() error {
	k.halt()
	s := k.sup
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keepers, k.name)
	s.order = slices.DeleteFunc(s.order, func(other *keeper) bool { return other == k })
	k.tell()
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

// The life of a connection between what is asked of it: runs begin, are stopped, or end by themselves.

// begin begins a run.
func (k *keeper) begin() error {
	conn, err := New(k.spec.Options)
	if err != nil {
		return err // it was checked: whoever gave it has changed it since
	}
	server := conn.endpoint.server()
	conn.hooks = hooks{
		seq: k.seq, session: k.session, changed: k.linkChanged,
		turn: func(ctx context.Context) error { return k.sup.turns.wait(ctx, server) },
	}
	k.sup.mu.Lock()
	if k.sup.shut {
		k.sup.mu.Unlock()
		return ErrShutdown
	}
	k.shown.conn, k.shown.err = conn, nil
	k.setLink(StatusConnecting)
	k.sup.mu.Unlock()
	r := newRun(conn)
	k.run = r
	r.start(k.spec.Consume, func() {
		k.happens(func() {
			if k.run == r { // else a stop has seen to it
				k.ended()
			}
		})
	})
	return nil
}

// halt ends the run, or the wait for the next one, and reports whether there was either.
func (k *keeper) halt() bool {
	if k.run == nil {
		waited := k.endWait()
		if waited {
			k.show(nil)
		}
		return waited
	}
	k.sup.mu.Lock()
	k.shown.stopping = true
	k.setLink(StatusDisconnecting)
	k.sup.mu.Unlock()
	k.run.stop(k.sup.life)
	if err := k.finish(); panicked(err) {
		k.log(err)
	}
	k.show(nil)
	return true
}

// finish takes leave of a run that is over, and returns how it ended.
func (k *keeper) finish() error {
	<-k.run.over
	err := k.run.err
	k.seq, k.session = k.run.conn.numbers()
	k.run = nil
	return err
}

// ended goes on after a run that ended by itself.
func (k *keeper) ended() {
	lasted := time.Since(k.run.begun)
	err := k.finish()
	if !panicked(err) {
		k.show(err)
		k.tellEnded(err)
		return
	}
	k.log(err)
	o := &k.spec.Options
	if lasted >= o.StableAfter {
		k.panics = 0
	}
	if o.MaxRetries < 0 || k.panics < o.MaxRetries {
		var delay time.Duration
		if failed := guard(inBackoff, func() { delay = o.ReconnectAfter(k.panics) }); failed == nil {
			k.panics++
			k.wait(delay)
		}
	}
	k.show(err)
	if k.again == nil {
		k.tellEnded(err)
	}
}

// wait waits for the next run.
func (k *keeper) wait(delay time.Duration) {
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		k.happens(func() {
			if k.again != timer {
				return // the wait was ended
			}
			k.again = nil
			if err := k.begin(); err != nil {
				k.show(err)
			}
		})
	})
	k.again = timer
}

// endWait ends the wait for the next run, and reports whether there was one.
func (k *keeper) endWait() bool {
	if k.again == nil {
		return false
	}
	k.again.Stop()
	k.again = nil
	return true
}

// tellEnded tells that the connection has ended for good; nil is the end of a Conn that somebody closed.
func (k *keeper) tellEnded(err error) {
	ended := k.sup.opts.Ended
	if ended == nil || err == nil {
		return
	}
	k.setCalling(true)
	defer k.setCalling(false)
	if failed := guard(inEnded, func() { ended(k.name, err) }); failed != nil {
		k.log(failed)
	}
}

func (k *keeper) setCalling(calling bool) {
	k.sup.mu.Lock()
	defer k.sup.mu.Unlock()
	k.calling = calling
}

// What else may panic.
const (
	inConsume = "Spec.Consume"
	inBackoff = "Options.ReconnectAfter"
	inEnded   = "SupervisorOptions.Ended"
)

// log tells of a panic.
func (k *keeper) log(err error) {
	var p *PanicError
	if errors.As(err, &p) {
		k.sup.opts.Logger.Error("a connection panicked", "connection", k.name, "error", err, "stack", string(p.Stack))
	}
}

func panicked(err error) bool {
	var p *PanicError
	return errors.As(err, &p)
}
