package phoenix

import (
	"context"
	"errors"
	"slices"
	"time"
)

// A keeper keeps one connection of a Supervisor. Its goroutine does what is asked of the name, one thing after the other, and
// owns the current run. It lives while there is something to do or a run to watch: one that is stopped has none.
type keeper struct {
	sup  *Supervisor
	name string
	mail chan struct{} // has room for one wake-up of the goroutine

	// The Supervisor's mu guards what follows.
	requests []request // the first is being done
	working  bool      // there is a goroutine
	calling  bool      // of Ended
	removing bool
	shown    shown
	changed  broadcast

	// The rest is the goroutine's.
	spec Spec
	run  *run
	// again starts the connection after a panic; panics counts those in a row.
	again  <-chan time.Time
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
	k := &keeper{sup: s, name: spec.Name, mail: make(chan struct{}, 1)}
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
	if k.working {
		wake(k.mail)
		return done
	}
	k.working = true
	go k.work()
	return done
}

// work is the keeper's goroutine.
func (k *keeper) work() {
	for {
		select {
		case <-k.over(): // before anything else is done about the run
			k.ended()
			continue
		default:
		}
		if r, ok := k.first(); ok {
			k.answer(r, r.do(k))
			continue
		}
		if k.retire() {
			return
		}
		select {
		case <-k.over():
			k.ended()
		case <-k.again:
			k.again = nil
			if err := k.begin(); err != nil {
				k.show(err)
			}
		case <-k.mail:
		}
	}
}

// over is closed when the current run is.
func (k *keeper) over() <-chan struct{} {
	if k.run == nil {
		return nil
	}
	return k.run.over
}

func (k *keeper) first() (request, bool) {
	k.sup.mu.Lock()
	defer k.sup.mu.Unlock()
	if len(k.requests) == 0 {
		return request{}, false
	}
	return k.requests[0], true
}

// answer answers the first request, which stays the first until it is done, so that others know that they are not.
func (k *keeper) answer(r request, err error) {
	k.sup.mu.Lock()
	if k.requests = k.requests[1:]; len(k.requests) == 0 {
		k.requests = nil
	}
	k.sup.mu.Unlock()
	r.done <- err
}

// retire ends the goroutine if there is nothing for it to do.
func (k *keeper) retire() bool {
	if k.run != nil || k.again != nil {
		return false
	}
	k.sup.mu.Lock()
	defer k.sup.mu.Unlock()
	if len(k.requests) > 0 {
		return false
	}
	k.working = false
	return true
}

func (k *keeper) start() error {
	if k.run != nil {
		return nil
	}
	k.again, k.panics = nil, 0
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
	k.run = startRun(conn, k.spec.Consume)
	return nil
}

// halt ends the run, or the wait for the next one, and reports whether there was either.
func (k *keeper) halt() bool {
	if k.run == nil {
		was := k.again != nil
		if was {
			k.again = nil
			k.show(nil)
		}
		return was
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
			k.again = time.After(delay)
		}
	}
	k.show(err)
	if k.again == nil {
		k.tellEnded(err)
	}
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
