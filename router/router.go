package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"phx/signal"
)

// DefaultGrace is the usual [Router.Grace].
const DefaultGrace = 5 * time.Second

// lastChance is how long a drain has to return after its ctx has ended.
const lastChance = time.Second

// lastTold is how long a sink that is told of the losses of others has, of lastChance, to deliver
// the last of those when the time for the end has passed.
const lastTold = 250 * time.Millisecond

// ErrShutDown is what [Router.Apply] returns after [Router.Shutdown].
var ErrShutDown = errors.New("the router is shut down")

// A Router routes the signals of connections to sinks and subscriptions. Its methods may be called
// by several goroutines at once.
type Router struct {
	// Grace is how long a sink that was taken away may go on to deliver what waits. It is set
	// before the first Apply.
	Grace time.Duration

	log   *slog.Logger
	table atomic.Pointer[table]

	// ctx ends the time of sinks that were taken away.
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex // held for each change
	live  map[*Sink]*running
	past  map[string]*past // of the sinks that are gone, by name
	ended bool
}

// running is a sink that has not ended.
type running struct {
	sink    *Sink
	ctx     context.Context // of the drain
	cancel  context.CancelCauseFunc
	leaving bool          // it was taken away, and still delivers
	gone    chan struct{} // closed when the sink has ended or was given up
}

// New returns a router without sinks, which drops all signals. It logs what goes wrong to log,
// which may be nil.
func New(log *slog.Logger) *Router {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Router{Grace: DefaultGrace, log: log, live: map[*Sink]*running{}, past: map[string]*past{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	first, _ := newTable(nil, nil)
	first.refs.Store(1)
	r.table.Store(first)
	return r
}

// Apply replaces the sinks and the routes. A sink that the router has already, the same *Sink,
// goes on; a new one is started. The input of a sink that is not among them ends once all that was
// routed to it is put, and it has [Router.Grace] to deliver that; Apply does not wait for it. What
// it has not delivered by then, or had lost before, is lost, and no [Progress] waits for it any
// more. A sink that replaces one of the same name starts to deliver when that one has ended, so
// that two never write to one file.
//
// The change loses and doubles no signal: each one is routed either by the old routes or by the
// new ones. An error changes nothing.
func (r *Router) Apply(sinks []*Sink, routes []Route) error {
	next, err := newTable(sinks, routes)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return ErrShutDown
	}
	arriving, err := r.arriving(sinks)
	if err != nil {
		return err
	}
	next.subscriptions = r.table.Load().subscriptions
	for s := range r.live { // also for one that was taken away: it still may lose something
		if to := next.sink(s.options.OnLoss); to != nil {
			s.losses.onLoss.Store(to)
		}
	}
	old := r.swap(next)
	for _, s := range old.sinks {
		if !slices.Contains(sinks, s) {
			leaving := r.live[s]
			leaving.leaving = true
			go r.retire(leaving, old)
		}
	}
	for _, a := range arriving {
		r.startAfter(a, r.leaving(a.sink.Name()))
	}
	return nil
}

// arriving returns those of the sinks that have to be started.
func (r *Router) arriving(sinks []*Sink) ([]*running, error) {
	var arriving []*running
	for _, s := range sinks {
		known := r.live[s]
		switch {
		case known != nil && known.leaving, known == nil && s.hasEnded():
			return nil, fmt.Errorf("sink %q was taken away before: make a new one", s.Name())
		case known == nil:
			arriving = append(arriving, &running{sink: s, gone: make(chan struct{})})
		}
	}
	for _, a := range arriving {
		a.ctx, a.cancel = context.WithCancelCause(context.Background()) // finish ends it
		r.live[a.sink] = a
	}
	return arriving, nil
}

// leaving returns the sinks of that name that were taken away and still deliver.
func (r *Router) leaving(name string) []*running {
	var found []*running
	for _, s := range r.live {
		if s.leaving && s.sink.Name() == name {
			found = append(found, s)
		}
	}
	return found
}

// startAfter starts a sink when those before it are gone. Its queue can be filled at once.
func (r *Router) startAfter(s *running, before []*running) {
	if len(before) == 0 {
		s.sink.start(s.ctx)
		return
	}
	go func() {
		for _, b := range before {
			<-b.gone
		}
		s.sink.start(s.ctx)
	}()
}

// retire ends a sink that went by old and older tables.
func (r *Router) retire(s *running, old *table) {
	grace, cancel := context.WithTimeout(r.ctx, r.Grace)
	defer cancel()
	select {
	case <-old.idle:
	case <-grace.Done():
	}
	r.finish(grace, s)
	for _, o := range s.sink.counters() {
		o.unfollow() // what was lost is announced, and nobody will deliver it any more
	}
	r.mu.Lock()
	delete(r.live, s.sink)
	r.keepCounts(s.sink)
	r.mu.Unlock()
	close(s.gone)
}

// finish ends a sink's input and waits until everything is delivered. When ctx ends before, the
// drain is stopped, and the rest is lost. It reports whether everything was delivered.
//
// A sink that is told of the losses of others outlives them: their last ones come at their end.
func (r *Router) finish(ctx context.Context, s *running) bool {
	chance := lastChance
	if told := r.telling(s.sink); len(told) > 0 {
		for _, other := range told {
			<-other.gone
		}
		if ctx.Err() != nil {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastTold)
			defer cancel()
			chance -= lastTold
		}
	}
	s.sink.end()
	select {
	case <-s.sink.done:
	case <-ctx.Done():
	}
	s.cancel(errTimeOver)
	timer := time.NewTimer(chance)
	defer timer.Stop()
	select {
	case <-s.sink.done:
		return s.sink.err == nil
	case <-timer.C:
	}
	waiting, _ := s.sink.queue.Len()
	s.sink.queue.Abort(errStuck)
	s.sink.losses.flushLast()
	r.log.Error("a sink is stuck and was given up; what waits for it is lost", "sink", s.sink.Name(), "waiting", waiting)
	return false
}

// telling returns the sinks whose losses a sink is told of.
func (r *Router) telling(of *Sink) []*running {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*running
	for _, s := range r.live {
		if s.sink.losses.onLoss.Load() == of {
			found = append(found, s)
		}
	}
	return found
}

var (
	errStuck    = errors.New("the sink is stuck")
	errTimeOver = errors.New("the time to deliver what was left is over")
)

// Reopen makes the sinks open their files again by name, which log rotation may have replaced. It
// does not wait for that.
func (r *Router) Reopen() {
	for _, s := range r.table.Load().sinks {
		s.reopen()
	}
}

// Shutdown ends the inputs of all sinks and subscriptions and waits until the sinks have delivered
// what waits. When ctx ends before, the drains are stopped, for which they have another second;
// what was not delivered is counted and logged. The error names the sinks that did not deliver
// everything, those among them that were dead before. From now on nothing is routed. Only the
// first call does anything.
func (r *Router) Shutdown(ctx context.Context) error {
	all, old := r.close()
	if old == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, r.cancel)
	defer stop()
	defer r.cancel()
	select {
	case <-old.idle:
	case <-ctx.Done():
	}
	for _, s := range old.subscriptions {
		s.input().CloseInput(nil)
	}
	failed := make([]string, len(all))
	var wait sync.WaitGroup
	for i, s := range all {
		wait.Go(func() {
			delivered := false
			if s.leaving {
				<-s.gone
				delivered = s.sink.hasEnded() && s.sink.err == nil
			} else {
				delivered = r.finish(ctx, s)
				close(s.gone)
			}
			if !delivered {
				failed[i] = s.sink.Name()
			}
		})
	}
	wait.Wait()
	failed = slices.DeleteFunc(failed, func(name string) bool { return name == "" })
	slices.Sort(failed)
	if len(failed) > 0 {
		return fmt.Errorf("sinks that did not deliver everything: %s", strings.Join(failed, ", "))
	}
	return nil
}

// close makes the router route nothing, and returns the sinks that live and the table before; nil
// the second time.
func (r *Router) close() ([]*running, *table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil, nil
	}
	r.ended = true
	last, _ := newTable(nil, nil)
	return slices.Collect(maps.Values(r.live)), r.swap(last)
}

// A target is where signals can be routed to: a [Sink] or a [Subscription].
type target interface {
	// Format is that of the lines which the target gets.
	Format() signal.Format
	// input is the queue to put them in.
	input() *Queue
	// origin is what counts the lines of a connection there.
	origin(connection string) *Origin
}

// A rule is a compiled route, or that of a subscription.
type rule struct {
	Filter
	name       string // for the log
	to         []target
	failures   sampler       // of Where
	overruns   atomic.Int32  // of Where, in a row
	off        atomic.Bool   // there were too many
	late       lane          // of Where once it was too slow
	subscriber *Subscription // nil: it is a route
}

// A table is a set of sinks, routes and subscriptions that does not change. A change of the router
// makes a new table and swaps it for the current one. A publisher uses the table that is current
// at its first event after a flush, until its next flush or until another table is current. So
// each event is routed by one table, and publishing waits for nobody.
type table struct {
	sinks  []*Sink
	routes []*rule
	// subscriptions changes far more often than the others, with each subscriber that comes and
	// goes.
	subscriptions []*Subscription

	// number is that of the table among all tables of the router.
	number uint64
	// refs: one per publisher that uses the table, one while it is current, one while the previous
	// table is in use. So idle also means that all older tables are idle.
	refs atomic.Int64
	next *table        // the following table; set before this one ceases to be current
	over atomic.Bool   // refs was 0
	idle chan struct{} // closed when over
}

// newTable compiles routes.
func newTable(sinks []*Sink, routes []Route) (*table, error) {
	byName := map[string]*Sink{}
	for _, s := range sinks {
		if byName[s.Name()] != nil {
			return nil, fmt.Errorf("there are two sinks called %q", s.Name())
		}
		byName[s.Name()] = s
	}
	for _, s := range sinks {
		if err := checkOnLoss(s, byName); err != nil {
			return nil, err
		}
	}
	t := &table{sinks: slices.Clone(sinks), idle: make(chan struct{})}
	for i, route := range routes {
		r := &rule{Filter: route.Filter, name: fmt.Sprintf("route %d", i+1)}
		for _, name := range route.To {
			s := byName[name]
			if s == nil {
				return nil, fmt.Errorf("route %d leads to %q, and there is no sink of that name", i+1, name)
			}
			r.to = append(r.to, s)
		}
		t.routes = append(t.routes, r)
	}
	return t, nil
}

// checkOnLoss refuses a sink whose losses would be told to none, or, over others, to itself.
func checkOnLoss(s *Sink, byName map[string]*Sink) error {
	at := s
	for range byName {
		to := at.options.OnLoss
		if to == "" {
			return nil
		}
		if at = byName[to]; at == nil {
			return fmt.Errorf("the losses of sink %q are for %q, and there is no sink of that name", s.Name(), to)
		}
		if at == s {
			return fmt.Errorf("the losses of sink %q lead back to it", s.Name())
		}
	}
	return nil // the cycle is one of others
}

// sink returns the sink of a name; nil: there is none.
func (t *table) sink(name string) *Sink {
	for _, s := range t.sinks {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// with returns a table that differs in its subscriptions.
func (t *table) with(subscriptions []*Subscription) *table {
	return &table{sinks: t.sinks, routes: t.routes, subscriptions: subscriptions, idle: make(chan struct{})}
}

// release gives up one reference. The last one makes the table idle, and gives up its reference to
// the next table.
func (t *table) release() {
	for t != nil && t.refs.Add(-1) == 0 {
		if t.over.Swap(true) {
			return // acquire took this table when it was over, and gave it back.
		}
		close(t.idle)
		t = t.next
	}
}

// acquire returns the current table with one more reference, to be given up with release.
func (r *Router) acquire() *table {
	for {
		t := r.table.Load()
		t.refs.Add(1)
		if r.table.Load() == t {
			return t
		}
		t.release()
	}
}

// swap makes t the current table and returns the previous one, which becomes idle when no
// publisher uses it or an older one. It is called with r.mu held.
func (r *Router) swap(t *table) *table {
	old := r.table.Load()
	t.number = old.number + 1
	t.refs.Store(2) // current, and the previous table is in use
	old.next = t
	r.table.Store(t)
	old.release()
	return old
}

// SinkStats is what there is to know about a sink.
type SinkStats struct {
	Name, Kind string
	// Waiting is how many signals were routed to the sink and are neither delivered nor lost, those
	// included that the drain is working on. WaitingBytes is their size. Oldest is how long the first
	// of them has waited; 0 if there is none. It is never less than the truth, and more by at most
	// 100 ms and a quarter.
	Waiting      int
	WaitingBytes int64
	Oldest       time.Duration
	// Spool is what the spool of the sink holds, which is a part of Waiting; nil: it has none.
	Spool *SpoolStats
	// Tried, whose Attempts are not nil, and the counters of Connections began when the router was made: a sink that replaces one
	// of its name goes on from where that one ends.
	Tried
	// Connections are those of which the sink got signals, in the order of their names.
	Connections []ConnectionStats
	// Err is why the sink is dead; nil while it lives.
	Err error
}

// ConnectionStats is what became of the signals of a connection at a sink.
type ConnectionStats struct {
	Connection         string
	Delivered, Dropped uint64
}

// Sum returns how many signals the sink has delivered and lost, of all connections.
func (s *SinkStats) Sum() (delivered, lost uint64) {
	for _, c := range s.Connections {
		delivered += c.Delivered
		lost += c.Dropped
	}
	return delivered, lost
}

// A past is what sinks of one name, which are gone, have counted.
type past struct {
	connections map[string]*ConnectionStats
	tried       Tried
}

// add adds what a sink has counted.
func (p *past) add(s *Sink) {
	for _, o := range s.counters() {
		p.count(ConnectionStats{o.Connection, o.Delivered.Load(), o.Dropped.Load()})
	}
	p.tried.add(s.queue.whatWasTried())
}

// count adds what became of the signals of a connection.
func (p *past) count(c ConnectionStats) {
	if p.connections == nil {
		p.connections = map[string]*ConnectionStats{}
	}
	sum := p.connections[c.Connection]
	if sum == nil {
		sum = &ConnectionStats{Connection: c.Connection}
		p.connections[c.Connection] = sum
	}
	sum.Delivered += c.Delivered
	sum.Dropped += c.Dropped
}

// Stats returns what there is to know about each sink of now.
func (r *Router) Stats() []SinkStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []SinkStats
	for _, s := range r.table.Load().sinks {
		all = append(all, r.stats(s))
	}
	return all
}

func (r *Router) stats(s *Sink) SinkStats {
	row := SinkStats{Name: s.Name(), Kind: s.options.Kind}
	var oldest time.Time
	row.Waiting, row.WaitingBytes, oldest = s.queue.backlog()
	if drain, ok := s.options.Drain.(*SpoolDrain); ok {
		spool := drain.Spooled()
		row.Spool, row.Err = &spool, spool.Over
		row.Waiting += spool.Records + spool.InMemory
		row.WaitingBytes += spool.Bytes
		if oldest.IsZero() || !spool.Oldest.IsZero() && spool.Oldest.Before(oldest) {
			oldest = spool.Oldest
		}
	}
	if !oldest.IsZero() {
		row.Oldest = time.Since(oldest)
	}
	if s.hasEnded() {
		row.Err = s.err
	}
	var sum past
	if before := r.past[s.Name()]; before != nil {
		for _, c := range before.connections {
			sum.count(*c)
		}
		sum.tried.add(before.tried)
	}
	for _, leaving := range r.leaving(s.Name()) {
		sum.add(leaving.sink)
	}
	sum.add(s)
	row.Tried = sum.tried
	row.Failing = s.queue.whatWasTried().Failing
	for _, connection := range slices.Sorted(maps.Keys(sum.connections)) {
		row.Connections = append(row.Connections, *sum.connections[connection])
	}
	return row
}

// keepCounts remembers what a sink that is gone has counted.
func (r *Router) keepCounts(s *Sink) {
	before := r.past[s.Name()]
	if before == nil {
		before = &past{}
		r.past[s.Name()] = before
	}
	before.add(s)
}

// Forget drops the counters of a connection that is gone for good. Those of one that has a
// publisher may come back.
func (r *Router) Forget(connection string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.live {
		s.forget(connection)
	}
	for _, before := range r.past {
		delete(before.connections, connection)
	}
}
