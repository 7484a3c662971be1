package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"phx/phoenix/boottime"
)

// Options are what a [Keeper] is made with.
type Options struct {
	Store Store
	// Instance is what this process is called. No two have the same name.
	Instance string
	// TTL is how long a session counts after its last renewal.
	TTL time.Duration
	// Onward says that what runs goes on while the store cannot be reached: rather twice than not at all.
	Onward bool
	// Granted has a connection run that is ours now; called again while it runs, it has a new epoch. Revoked has it stopped: at once if
	// it is lost. [Keeper.Stopped] has to be called when that is done. Neither may wait.
	Granted func(g *Grant)
	Revoked func(g *Grant, lost bool)
	// Down returns the connections that run here and are not up. It may not wait.
	Down   func() map[string]Outage
	Logger *slog.Logger

	// clock is boottime.Now, but in tests.
	clock func() time.Duration
}

// An Outage is a connection that is not up.
type Outage struct {
	Status string
	// Since is since when, by [boottime.Now]; Never says that it was not up since it was granted.
	Since time.Duration
	Never bool
}

// A Grant is the lease of a connection. Its methods may be called from any goroutine.
type Grant struct {
	Name string
	// Before says that somebody ran the connection before, Missed for how long messages may have been missed when it was granted.
	Before bool
	Missed time.Duration

	epoch atomic.Uint64
	// until is until when the session counts by which it was granted, expires when others may take over, in nanoseconds of
	// boottime.Now. over says that the lease is not ours any more, late that another one may have it.
	session    atomic.Pointer[deadline]
	over, late atomic.Bool
	clock      func() time.Duration
}

// A deadline is that of a session, which moves with each renewal until it has passed: once that was found, it has passed for all.
type deadline struct{ until, expires atomic.Int64 }

// hasPassed is what until is once somebody has found that it has passed.
const hasPassed = math.MinInt64

// holds reports whether the time has not come.
func (d *deadline) holds(clock func() time.Duration) bool {
	for {
		until := d.until.Load()
		switch {
		case until == hasPassed:
			return false
		case int64(clock()) < until:
			return true
		case d.until.CompareAndSwap(until, hasPassed):
			return false
		}
	}
}

// move moves the deadline, unless it has passed for somebody, and reports whether it could. Only the keeper calls it.
func (d *deadline) move(until, expires int64) bool {
	d.expires.Store(expires)
	before := d.until.Load()
	return before != hasPassed && d.until.CompareAndSwap(before, until)
}

// Epoch says whose turn it is: it is greater than that of everybody who had the lease before.
func (g *Grant) Epoch() uint64 { return g.epoch.Load() }

// Holds reports whether the lease is ours at this moment. Once it is not, it is not again.
func (g *Grant) Holds() bool { return !g.over.Load() && g.session.Load().holds(g.clock) }

// MayEnd reports whether nobody else can have the lease yet, although it is not ours any more: there is time to say that it is over.
func (g *Grant) MayEnd() bool {
	return !g.late.Load() && int64(g.clock()) < g.session.Load().expires.Load()
}

// A View is what is known of all instances.
type View struct {
	Snapshot
	// Session is the ID of our own session; empty: there is none. Config is our own configuration's.
	Session, Config string
	// Own is how many connections run here.
	Own int
	// Settled says that the session has been there for so long that it is known what is ours.
	Settled bool
}

// A Keeper keeps the session of this process, and says which connections are its own. One goroutine runs the core; each request to the
// store has one of its own.
type Keeper struct {
	o       Options
	log     *slog.Logger
	inputs  chan func(c *core, now time.Duration)
	claims  chan struct{} // has a token for each claim that is under way
	ended   chan struct{} // closed when the goroutine has ended
	over    chan struct{} // closed when the session was given up
	stop    context.CancelFunc
	ctx     context.Context
	view    atomic.Pointer[View]
	lost    atomic.Bool // the store does not answer; it was logged
	counts  keeperCounts
	helpers sync.WaitGroup
	started bool // the goroutine runs

	// The rest is the goroutine's. twin is the session of the last process that has our name.
	core    *core
	session string
	twin    string
	current *deadline
	grants  map[string]*Grant
}

// keeperCounts count since the keeper was made.
type keeperCounts struct {
	taken, lost, failed atomic.Uint64
	// renewed is when the last renewal was sent that was written, in nanoseconds of boottime.Now; 0: there was none.
	renewed atomic.Int64
}

// Stats is what there is to know about the leases of a process.
type Stats struct {
	Instance string
	// Session says that the process has a session, and Connections how many it runs.
	Session     bool
	Connections int
	// Taken counts the connections that it has taken and that somebody had run before, Lost those that it has lost, with its session or
	// alone, and FailedRenewals the renewals of its session without an answer.
	Taken, Lost, FailedRenewals uint64
	// Renewed says that there was a renewal, or the beginning of a session, and Age how long ago the last one was sent.
	Renewed bool
	Age     time.Duration
}

// Stats returns what is known at this moment.
func (k *Keeper) Stats() Stats {
	v, n := k.View(), &k.counts
	s := Stats{
		Instance: k.o.Instance, Session: v.Session != "", Connections: v.Own,
		Taken: n.taken.Load(), Lost: n.lost.Load(), FailedRenewals: n.failed.Load(),
	}
	if at := n.renewed.Load(); at != 0 {
		s.Renewed, s.Age = true, k.o.clock()-time.Duration(at)
	}
	return s
}

// claimsAtOnce bounds the claims under way: a thousand connections may be free at once.
const claimsAtOnce = 64

// NewKeeper returns a keeper that does nothing before [Keeper.Configure].
func NewKeeper(o Options) *Keeper {
	k := &Keeper{
		o: o, log: o.Logger, inputs: make(chan func(*core, time.Duration), 16), claims: make(chan struct{}, claimsAtOnce),
		ended: make(chan struct{}), over: make(chan struct{}), grants: map[string]*Grant{},
		core: newCore(coreOptions{instance: o.Instance, ttl: o.TTL, onward: o.Onward, newID: rand.Text}),
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if k.o.clock == nil {
		k.o.clock = boottime.Now
	}
	k.view.Store(&View{})
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k
}

// Configure says which connections there are to run; config is equal for equal configurations of all instances. The first call starts
// the keeper. It is not called by two at once, nor beside Close.
func (k *Keeper) Configure(names []string, config string) {
	input := func(c *core, now time.Duration) { c.configure(now, names, config) }
	if !k.started {
		k.started = true
		go k.run(input)
		return
	}
	k.post(input)
}

// Stopped says that a connection which was revoked does not run any more. Since o messages of it may have been missed.
func (k *Keeper) Stopped(name string, o Outage) {
	k.post(func(c *core, now time.Duration) {
		delete(k.grants, name)
		c.stopped(now, name, o.Since, o.Never)
	})
}

// View returns what was known last.
func (k *Keeper) View() *View { return k.view.Load() }

// Instance returns what this process is called.
func (k *Keeper) Instance() string { return k.o.Instance }

// Close gives up the session, when nothing runs any more that was granted. It does not wait longer than ctx.
func (k *Keeper) Close(ctx context.Context) {
	if !k.started {
		return
	}
	k.post(func(c *core, now time.Duration) { c.end(now) })
	select {
	case <-k.over:
	case <-ctx.Done():
	}
	k.stop()
	<-k.ended
	idle := make(chan struct{})
	go func() { // a call of the store may be held up by a dial
		defer close(idle)
		k.helpers.Wait()
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// post hands an input to the goroutine.
func (k *Keeper) post(input func(*core, time.Duration)) {
	select {
	case k.inputs <- input:
	case <-k.ended:
	}
}

// wakeInterval is the longest time between two looks at the clock: timers stand still while the system is suspended.
const wakeInterval = time.Second

// run is the goroutine.
func (k *Keeper) run(input func(*core, time.Duration)) {
	defer close(k.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	over := false
	for {
		now := k.o.clock()
		if k.session != "" && k.current.until.Load() == hasPassed {
			k.core.refused(now)
		}
		input(k.core, now)
		k.carryOut(now)
		if k.core.over() && !over {
			over = true
			close(k.over)
		}
		timer.Reset(min(max(0, k.core.next(now)-now), wakeInterval))
		select {
		case input = <-k.inputs:
		case <-timer.C:
			input = func(c *core, now time.Duration) { c.wake(now) }
		case <-k.ctx.Done():
			return
		}
	}
}

// carryOut does what the core wants done. Deadlines come first: what was lost says nothing more before it is stopped.
func (k *Keeper) carryOut(now time.Duration) {
	c := k.core
	if !k.move() {
		c.refused(now)
		k.move()
	}
	if twin := c.twin(); twin != "" && twin != k.twin {
		k.twin = twin
		k.log.Warn("another process has the same instance name: connections are not spread evenly, and phx ctl list does not tell the two apart",
			"instance", k.o.Instance, "hint", "give each its own cluster.instance")
	}
	out := c.out
	c.out = output{}
	for _, r := range out.revokes {
		g := k.grants[r.name]
		g.late.Store(r.late)
		if r.lost {
			k.counts.lost.Add(1)
			g.over.Store(true)
			k.log.Warn("the lease of a connection is lost", "connection", r.name, "epoch", g.Epoch())
		} else {
			k.log.Info("a connection is given back, for another instance", "connection", r.name, "epoch", g.Epoch())
		}
		k.o.Revoked(g, r.lost)
	}
	for _, r := range out.grants {
		g := k.grants[r.name]
		if g == nil {
			g = &Grant{Name: r.name, Before: r.before, Missed: r.missed, clock: k.o.clock}
			k.grants[r.name] = g
			if r.before {
				k.counts.taken.Add(1)
			}
		}
		g.session.Store(k.current)
		g.epoch.Store(r.epoch)
		k.log.Info("a connection is ours", "connection", r.name, "epoch", r.epoch)
		k.o.Granted(g)
	}
	for _, r := range out.requests {
		if r.kind == reapSession {
			k.log.Warn("a session that has ended is still in the store, and is removed", "instance", r.session.Instance, "session", r.session.ID)
		}
		k.request(r)
	}
	v := &View{Config: c.config}
	if s := c.session; s != nil && c.viewed {
		v.Snapshot, v.Session = c.view, s.id
		v.Settled = c.settled(now, s.id) && c.viewAt >= c.joined+c.tick()
	}
	for _, l := range c.leases {
		v.Settled = v.Settled && !l.pending
		if l.epoch != 0 {
			v.Own++
		}
	}
	k.view.Store(v)
}

// move moves the deadline of the session, or takes that of a new one. It reports false if it has passed for somebody.
func (k *Keeper) move() bool {
	s := k.core.session
	if s == nil {
		switch {
		case k.session == "":
			return true
		case k.core.ending:
			k.log.Info("this instance has given up its session", "instance", k.o.Instance)
		default:
			k.log.Warn("the session of this instance is lost: its connections stop, unless unreachable is continue", "instance", k.o.Instance)
		}
		k.session = ""
		return true
	}
	if s.id != k.session {
		k.session, k.current = s.id, &deadline{}
		k.log.Info("this instance has a session", "instance", k.o.Instance)
	}
	until, expires := int64(s.until), int64(s.expires)
	k.counts.renewed.Store(expires - int64(k.o.TTL))
	if k.o.Onward {
		until, expires = math.MaxInt64, math.MaxInt64
	}
	return k.current.move(until, expires)
}

// request calls the store, and hands its answer to the core.
func (k *Keeper) request(r request) {
	if r.kind == renewSession {
		k.addDown(&r)
	}
	k.helpers.Go(func() {
		ctx, cancel := context.WithTimeout(k.ctx, k.core.patience())
		defer cancel()
		revision, view, err := k.call(ctx, r)
		k.logAnswer(err)
		if r.kind == renewSession && err != nil && !errors.Is(err, ErrConflict) && k.ctx.Err() == nil {
			k.counts.failed.Add(1)
		}
		k.post(func(c *core, now time.Duration) { c.answered(now, r, revision, view, err) })
	})
}

// addDown adds the connections that are not up.
func (k *Keeper) addDown(r *request) {
	s := k.core.session
	for name, o := range k.o.Down() {
		down := Down{Status: o.Status}
		if !o.Never && s.known {
			down.Since = o.Since.Milliseconds() + s.early
		}
		r.session.Down[name] = down
	}
}

func (k *Keeper) call(ctx context.Context, r request) (revision uint64, view Snapshot, err error) {
	switch r.kind {
	case beginSession:
		revision, err = k.o.Store.Begin(ctx, r.session)
	case renewSession, endSession, reapSession:
		revision, err = k.o.Store.Renew(ctx, r.session, r.revision, r.kind != renewSession)
	case readStore:
		view, err = k.o.Store.Watch(ctx, func() { k.post(func(c *core, now time.Duration) { c.hint(now) }) })
	case claimRun:
		select {
		case k.claims <- struct{}{}:
			revision, err = k.o.Store.Claim(ctx, r.name, r.run, r.revision)
			<-k.claims
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return revision, view, err
}

// logAnswer logs the beginning and the end of a time without answers.
func (k *Keeper) logAnswer(err error) {
	failed := err != nil && !errors.Is(err, ErrConflict) && k.ctx.Err() == nil
	if was := k.lost.Swap(failed); was == failed {
		return
	}
	switch {
	case !failed:
		k.log.Info("the leases are kept again")
	case k.View().Session != "" && !k.o.Onward:
		k.log.Warn("the leases cannot be kept in NATS; it is tried again", "error", err, "connections_stop_after", fmt.Sprint(k.o.TTL*9/10))
	default:
		k.log.Warn("the leases cannot be kept in NATS; it is tried again", "error", err)
	}
}
