package phoenix

import (
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
