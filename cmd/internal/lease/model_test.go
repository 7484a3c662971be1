package lease

import (
	"cmp"
	"container/heap"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"phx/cmd/phxtest/mutation"
)

// The model test runs a few cores beside a store in a world of its own, in which everything goes wrong that may: requests and answers
// are late or lost, the store goes away and comes back, processes are killed, frozen and started again, clocks differ, snapshots are
// old, and what is told of changes does not come. What the cores let their processes do is compared with plain books, which know
// what really happened:
//
//   - An epoch is the revision of a write that is there, of the one who has it. Nobody else has it, and nobody who has ended it.
//   - Nobody sends anything once another one may, unless the store's own clock has jumped.
//   - What is lost was lost: the store had given up the session, or nothing was heard of it.
//   - What has dropped something because its time was over sends nothing more before the next epoch.
//   - A gap is never told smaller than it was.
//   - When all is well again, every connection runs within the time to live and a tick, once, and stays where it is. Instances that
//     start together take from nobody.
//
// model_mutants_test.go proves that it sees something.
var (
	modelSeeds = flag.Int("model.seeds", 2000, "how many seeds TestModel runs")
	modelSeed  = flag.Uint64("model.seed", 0, "the one seed that TestModel runs, with a log of every step")
)

func TestModel(t *testing.T) {
	if *modelSeed != 0 {
		newWorld(t, *modelSeed, true, map[string]int{}).run()
		return
	}
	seeds := *modelSeeds
	if testing.Short() || mutation.RaceDetector() { // TestModelCatchesMutants runs all of them, without it
		seeds = min(seeds, 400)
	}
	seen, places := map[string]int{}, map[string]string{}
	for seed := range uint64(seeds) {
		w := newWorld(t, seed+1, false, seen)
		w.places = places
		w.run()
	}
	t.Logf("%d seeds, %d places, seen: %v", seeds, len(places), seen)
	for _, what := range []string{
		"granted", "moved", "lost", "adopted a renewal", "lost late", "conflict of a claim", "conflict of a renewal", "old snapshot", "frozen for long",
		"killed", "store away", "store's clock jumps", "gap", "onward", "orphan goes on", "ended", "reconfigured", "risen", "reaped",
	} {
		if seen[what] < seeds/50 {
			t.Errorf("%q happened %d times in %d seeds: the generator hardly reaches it", what, seen[what], seeds)
		}
	}
}

const (
	modelTTL = 15 * time.Second
	// chaosTime is how long things go wrong, quietTime how long nothing does after that.
	chaosTime = 12 * modelTTL
	quietTime = 6 * modelTTL
)

// A world is one seed.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	seed    uint64
	verbose bool
	seen    map[string]int

	now   time.Duration // in truth
	queue happenings
	order int

	store     modelStore
	names     []string
	instances []*instance
	births    int
	quiet     bool
	ended     time.Duration // when the last fault was over

	// jumps says that the store's clock jumps in this seed, onward that instances go on without the store, deaf that no changes are told,
	// undead that sessions which were removed by their time come back.
	jumps, onward, deaf, undead bool
	// together: no fault in the first times to live, in which all start.
	together bool

	books books
	// places are where connections ended, of all seeds.
	places map[string]string
}

// A happening is something that happens at a time.
type happening struct {
	at    time.Duration
	order int
	do    func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].at, h[j].at), cmp.Compare(h[i].order, h[j].order)) < 0
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, happening{w.now + d, w.order, do})
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, at %v: %s", w.seed, w.now, fmt.Sprintf(format, args...))
}

func (w *world) log(format string, args ...any) {
	if w.verbose {
		w.t.Logf("%10.3f %s", w.now.Seconds(), fmt.Sprintf(format, args...))
	}
}

// upTo draws a duration.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d) + 1)) }

// one reports true once in n times.
func (w *world) one(n int) bool { return w.rng.IntN(n) == 0 }

// A modelStore is what a real one promises, and no more.
type modelStore struct {
	w        *world
	revision uint64
	// ahead is what its clock is ahead of the truth.
	ahead time.Duration
	// states are what it was after each write, the last ones.
	states []Snapshot
	// gone is when each session has to be renewed by, by its clock.
	gone map[string]time.Duration
	away bool
	// changed is when a session has come or gone last.
	changed time.Duration
	// markers says that a session that is removed by its time has a revision.
	markers bool
	// removed are the sessions that were removed by their time.
	removed map[string]SessionEntry
	// writes are all runs that were ever written, by name and revision.
	writes map[string]map[uint64]Run
}

func (s *modelStore) clock() time.Duration { return s.w.now + s.ahead }

func (s *modelStore) state() Snapshot { return s.states[len(s.states)-1] }

// write makes the next state.
func (s *modelStore) write(change func(*Snapshot)) {
	now := s.state()
	next := Snapshot{Revision: now.Revision, Sessions: maps.Clone(now.Sessions), Runs: maps.Clone(now.Runs)}
	change(&next)
	s.states = append(s.states, next)
	if len(s.states) > 40 {
		s.states = s.states[1:]
	}
}

// expire removes sessions that were not renewed.
func (s *modelStore) expire() {
	for _, id := range slices.Sorted(maps.Keys(s.gone)) {
		if s.clock() < s.gone[id] {
			continue
		}
		delete(s.gone, id)
		s.changed = s.w.now
		s.removed[id] = s.state().Sessions[id]
		s.write(func(next *Snapshot) {
			delete(next.Sessions, id)
			if s.markers {
				s.revision++
				next.Revision = s.revision
			}
		})
		s.w.log("store: %s is gone", id)
		s.w.tell()
	}
}

// do carries out a request. It returns what Store does.
func (s *modelStore) do(r request, down map[string]Down) (uint64, Snapshot, error) {
	s.expire()
	created := func() Entry { return Entry{Revision: s.revision, Created: s.clock().Milliseconds()} }
	own, here := s.state().Sessions[r.session.ID]
	switch r.kind {
	case readStore:
		back := 0
		if !s.w.quiet && s.w.one(6) {
			back = s.w.rng.IntN(len(s.states))
		}
		if back > 0 {
			s.w.seen["old snapshot"]++
		}
		return 0, s.states[len(s.states)-1-back], nil
	case claimRun:
		if s.state().Runs[r.name].Revision != r.revision {
			return 0, Snapshot{}, ErrConflict
		}
		s.revision++
		if s.writes[r.name] == nil {
			s.writes[r.name] = map[uint64]Run{}
		}
		s.writes[r.name][s.revision] = r.run
		s.write(func(next *Snapshot) {
			next.Revision = s.revision
			next.Runs[r.name] = RunEntry{r.run, created()}
		})
		s.w.log("store: %s is of %q by %d, missing since %d of %d", r.name, r.run.Session, s.revision, r.run.Since, s.clock().Milliseconds())
		s.w.tell()
	case beginSession, renewSession:
		if here != (r.kind == renewSession) || own.Revision != r.revision {
			return 0, Snapshot{}, ErrConflict
		}
		s.revision++
		s.gone[r.session.ID] = s.clock() + modelTTL
		said := r.session
		said.Down = map[string]Down{}
		maps.Copy(said.Down, r.session.Down)
		maps.Copy(said.Down, down)
		s.write(func(next *Snapshot) {
			next.Revision = s.revision
			next.Sessions[said.ID] = SessionEntry{said, created()}
		})
		if r.kind == beginSession {
			s.changed = s.w.now
			s.w.tell()
		}
		at := s.gone[r.session.ID]
		s.w.after(at-s.clock(), s.expire)
	case endSession, reapSession:
		if own.Revision != r.revision {
			return 0, Snapshot{}, ErrConflict
		}
		if r.kind == reapSession {
			s.w.seen["reaped"]++
			s.w.log("store: %s is removed by another one", r.session.ID)
		}
		s.revision++
		s.changed = s.w.now
		delete(s.gone, r.session.ID)
		s.write(func(next *Snapshot) {
			next.Revision = s.revision
			delete(next.Sessions, r.session.ID)
		})
		s.w.log("store: %s has ended", r.session.ID)
		s.w.tell()
	}
	return s.revision, Snapshot{}, nil
}

// tell tells the instances of a change.
func (w *world) tell() {
	for _, i := range w.instances {
		if w.deaf || !w.quiet && w.one(3) {
			continue
		}
		w.after(w.upTo(modelTTL/100), func() { i.step(func(c *core, now time.Duration) { c.hint(now) }) })
	}
}

// An instance is a process.
type instance struct {
	w      *world
	name   string
	core   *core
	config string
	names  []string
	// base and rate make its clock of the truth.
	base time.Duration
	rate float64

	dead   bool
	ending bool
	// waiting is what it does once it no longer stands still.
	waiting []func()
	stands  bool
	running map[string]*running
	// stopping are the connections that take their time to stop.
	stopping map[string]bool
	// late says that something had been dropped before the step.
	late bool
	// heard is when the last renewal was sent whose answer came.
	heard time.Duration
	woken int
	// spins counts the steps in a row after which the core wanted to be woken at once.
	spins int
}

// A running connection is one that an instance runs.
type running struct {
	epoch uint64
	until *time.Duration // of the session that it was granted by; by the clock of the instance
	// silent says that it had something to send when its time was over.
	silent bool
	down   bool
	since  int64 // since when it is, by the store's clock; 0: it was never up
	// sinceOwn is the same by the clock of the instance.
	sinceOwn time.Duration
}

func (i *instance) clock() time.Duration { return i.base + time.Duration(float64(i.w.now)*i.rate) }

// start starts a process.
func (w *world) start(name string) *instance {
	w.births++
	i := &instance{
		w: w, name: name, config: "A", names: slices.Clone(w.names), base: w.upTo(1000 * time.Hour), rate: 1 + (w.rng.Float64()-0.5)/100,
		running: map[string]*running{}, stopping: map[string]bool{}, heard: w.now,
	}
	birth, ids := w.births, 0
	i.core = newCore(coreOptions{instance: name, ttl: modelTTL, onward: w.onward, newID: func() string {
		ids++
		return fmt.Sprintf("%s.%d.%d", name, birth, ids)
	}})
	w.instances = append(w.instances, i)
	w.log("%s starts as process %d", name, birth)
	i.step(func(c *core, now time.Duration) { c.configure(now, i.names, i.config) })
	i.send()
	return i
}

// step gives the core an input, now or when the process goes on, and does what it wants done.
func (i *instance) step(input func(*core, time.Duration)) {
	switch {
	case i.dead:
		return
	case i.stands:
		i.waiting = append(i.waiting, func() { i.step(input) })
		return
	}
	before := i.core.session
	if i.late = i.dropped(); i.late {
		i.core.refused(i.clock())
	}
	input(i.core, i.clock())
	out := i.core.out
	i.core.out = output{}
	if i.core.session != before || i.core.session != nil {
		i.deadline()
	}
	for _, r := range out.revokes {
		i.revoke(r)
	}
	for _, g := range out.grants {
		i.grant(g)
	}
	for _, r := range out.requests {
		i.request(r)
	}
	i.woken++
	turn := i.woken
	next := max(0, i.core.next(i.clock())-i.clock())
	if i.spins++; next > 0 {
		i.spins = 0
	} else if i.spins > 1000 {
		i.w.fail("%s: wants to be woken at once, again and again", i.core.instance)
	}
	i.w.after(time.Duration(float64(next)/i.rate)+1, func() {
		if turn == i.woken {
			i.step(func(c *core, now time.Duration) { c.wake(now) })
		}
	})
}

// dropped reports whether something was dropped because the time of the session was over.
func (i *instance) dropped() bool {
	s := i.core.session
	if s == nil || i.w.onward {
		return false
	}
	for _, r := range i.running {
		if r.silent && i.epochIsOf(r, s.id) {
			return true
		}
	}
	return false
}

// deadline takes over until when the session counts. What was granted by an earlier one keeps its own.
func (i *instance) deadline() {
	s := i.core.session
	if s == nil {
		return
	}
	for _, r := range i.running {
		if r.until != nil && i.core.leases != nil && i.epochIsOf(r, s.id) {
			until, _ := i.core.deadlines()
			*r.until = until
		}
	}
}

// epochIsOf reports whether the session has made the claim.
func (i *instance) epochIsOf(r *running, id string) bool {
	for name, own := range i.running {
		if own == r {
			return i.w.store.writes[name][r.epoch].Session == id
		}
	}
	return false
}

// request sends a request on its way.
func (i *instance) request(r request) {
	w := i.w
	patience := time.Duration(float64(i.core.patience()) / i.rate)
	answered := false
	answer := func(revision uint64, view Snapshot, err error) {
		if answered {
			return
		}
		answered = true
		if i.dead {
			return
		}
		sent := r.sent
		i.step(func(c *core, now time.Duration) {
			switch {
			case err == nil:
				if r.kind == beginSession || r.kind == renewSession {
					i.heard = max(i.heard, w.now-time.Duration(float64(now-sent)/i.rate))
				}
				if r.kind == readStore && c.session != nil {
					if own, here := view.Sessions[c.session.id]; here && own.Revision > c.session.revision {
						w.seen["adopted a renewal"]++
					}
				}
			case errors.Is(err, ErrConflict) && r.kind == claimRun:
				w.seen["conflict of a claim"]++
			case errors.Is(err, ErrConflict) && r.kind == renewSession:
				w.seen["conflict of a renewal"]++
			}
			w.log("%s: request %d %s by %d of %.3f is answered: %d %v", i.name, r.kind, r.name, r.revision, sent.Seconds()-now.Seconds(), max(revision, view.Revision), err)
			c.answered(now, r, revision, view, err)
		})
	}
	unknown := errors.New("no answer")
	w.after(patience, func() { answer(0, Snapshot{}, unknown) })
	way := func() time.Duration {
		switch {
		case w.quiet || !w.one(8):
			return w.upTo(modelTTL / 200)
		case w.one(2):
			return w.upTo(modelTTL / 5)
		}
		return w.upTo(modelTTL)
	}
	down := map[string]Down{}
	for name, own := range i.running {
		if own.down {
			down[name] = Down{Status: "connecting", Since: own.since}
		}
	}
	if !w.quiet && w.one(20) {
		return // it is lost
	}
	chaos := !w.quiet
	w.after(way(), func() {
		if chaos && w.quiet {
			return // the last fault is over, and so are its effects
		}
		if w.store.away {
			if w.one(2) {
				answer(0, Snapshot{}, unknown) // refused, at once
			}
			return
		}
		revision, view, err := w.store.do(r, down)
		if !w.quiet && w.one(12) {
			return // the answer is lost
		}
		w.after(way(), func() { answer(revision, view, err) })
	})
}

func (i *instance) grant(g grant) {
	w := i.w
	w.seen["granted"]++
	w.log("%s: %s is granted with epoch %d, missed %v %v", i.name, g.name, g.epoch, g.before, g.missed)
	if i.stopping[g.name] {
		w.fail("%s: %s is granted while it is being stopped", i.name, g.name)
	}
	r := i.running[g.name]
	if r == nil {
		w.books.granted(i, g)
		r = &running{down: true} // until it sends something
		i.running[g.name] = r
	} else {
		w.seen["orphan goes on"]++
		w.books.next(i, g)
	}
	until, _ := i.core.deadlines()
	r.epoch, r.until = g.epoch, &until
}

func (i *instance) revoke(r revoke) {
	w := i.w
	own := i.running[r.name]
	if own == nil {
		w.fail("%s: %s is revoked and does not run", i.name, r.name)
	}
	w.log("%s: %s is revoked, %+v", i.name, r.name, r)
	w.books.revoked(i, r, own)
	i.stopping[r.name] = true
	took := w.upTo(modelTTL / 1000)
	if !r.lost {
		took = w.upTo(modelTTL / 10)
		if w.quiet {
			took = w.upTo(modelTTL / 100)
		}
	} else {
		w.books.end(i, r.name, own.epoch)
		delete(i.running, r.name)
	}
	w.after(took, func() { i.stoppedRunning(r, 0, true) })
}

// stoppedRunning is called when a connection has been stopped.
func (i *instance) stoppedRunning(r revoke, since time.Duration, never bool) {
	if i.dead {
		return
	}
	if i.stands {
		i.waiting = append(i.waiting, func() { i.stoppedRunning(r, since, never) })
		return
	}
	if own := i.running[r.name]; own != nil && i.stopping[r.name] {
		switch {
		case !own.down:
			since, never = i.clock(), false
		case own.since != 0:
			since, never = own.sinceOwn, false
		}
		i.w.books.end(i, r.name, own.epoch)
		delete(i.running, r.name)
	}
	i.w.log("%s: %s has stopped, missing since %v %v", i.name, r.name, since-i.clock(), never)
	delete(i.stopping, r.name)
	i.step(func(c *core, now time.Duration) { c.stopped(now, r.name, since, never) })
}

// send sends signals of all that runs, again and again, as far as the deadline allows.
func (i *instance) send() {
	if i.dead {
		return
	}
	w := i.w
	if !i.stands {
		for _, name := range slices.Sorted(maps.Keys(i.running)) {
			r := i.running[name]
			if !w.onward && i.clock() >= *r.until {
				r.silent = true
				continue
			}
			if r.silent {
				w.fail("%s: %s goes on with epoch %d, in which signals were dropped", i.name, name, r.epoch)
			}
			if r.down && (w.quiet || w.one(5)) {
				r.down = false // and says what was missed
			}
			if !r.down {
				w.books.sent(i, name, r)
				if r.down = !w.quiet && w.one(40); r.down {
					r.since, r.sinceOwn = w.store.clock().Milliseconds(), i.clock()
				}
			}
		}
	}
	w.after(modelTTL/60+w.upTo(modelTTL/60), i.send)
}

// books are what really happened.
type books struct {
	w *world
	// owner is who has an epoch of a connection, over says that it was ended.
	owner map[string]map[uint64]*instance
	over  map[string]map[uint64]bool
	// latest is the highest epoch of a connection that was granted.
	latest map[string]uint64
	// last is when a connection sent something, by whomever.
	last map[string]time.Duration
	// first is when it did so after all was well.
	first map[string]time.Duration
	moved int
}

// checkEpoch checks that an epoch is the revision of a write of this instance, and nobody else's.
func (b *books) checkEpoch(i *instance, name string, epoch uint64) {
	b.w.t.Helper()
	run, written := b.w.store.writes[name][epoch]
	switch owner := b.owner[name][epoch]; {
	case !written:
		b.w.fail("%s: epoch %d of %s was never written", i.name, epoch, name)
	case run.Instance != i.name:
		b.w.fail("%s: epoch %d of %s was written for %q", i.name, epoch, name, run.Instance)
	case owner != nil && owner != i:
		b.w.fail("%s: epoch %d of %s is another one's", i.name, epoch, name)
	case b.over[name][epoch]:
		b.w.fail("%s: epoch %d of %s has ended", i.name, epoch, name)
	}
	if b.owner[name] == nil {
		b.owner[name], b.over[name] = map[uint64]*instance{}, map[uint64]bool{}
	}
	b.owner[name][epoch] = i
}

func (b *books) granted(i *instance, g grant) {
	w := b.w
	b.checkEpoch(i, g.name, g.epoch)
	last, sent := b.last[g.name]
	switch {
	case !w.jumps && !w.onward && sent && !g.before:
		w.fail("%s: %s has run before, and nothing is said of what was missed since %v", i.name, g.name, last)
	case !w.jumps && !w.onward && sent && g.missed < w.now-last-modelTTL/25: // it sends no more often
		w.fail("%s: %s has missed %v at most, and it says %v", i.name, g.name, w.now-last, g.missed)
	case sent:
		w.seen["gap"]++
	}
	b.next(i, g)
}

// next notes a new epoch of what runs, or of what begins to.
func (b *books) next(i *instance, g grant) {
	b.checkEpoch(i, g.name, g.epoch)
	b.latest[g.name] = max(b.latest[g.name], g.epoch)
}

func (b *books) sent(i *instance, name string, r *running) {
	w := b.w
	b.checkEpoch(i, name, r.epoch)
	if latest := b.latest[name]; latest > r.epoch && !w.jumps && !w.onward {
		w.fail("%s: sends with epoch %d of %s, while epoch %d was granted", i.name, r.epoch, name, latest)
	}
	if before, sent := b.last[name]; w.quiet && w.now > w.ended+w.recovery()+modelTTL/5 && (!sent || w.now-before > modelTTL/5) {
		w.fail("%s: nothing was sent of %s for %v", i.name, name, w.now-before)
	}
	b.last[name] = w.now
	if _, known := b.first[name]; w.quiet && !known {
		b.first[name] = w.now
	}
}

// end notes that an epoch is over.
func (b *books) end(i *instance, name string, epoch uint64) {
	b.checkEpoch(i, name, epoch)
	b.over[name][epoch] = true
}

func (b *books) revoked(i *instance, r revoke, own *running) {
	w := b.w
	if !r.lost {
		w.seen["moved"]++
		b.moved++
		since := w.now - w.store.changed
		switch {
		case w.quiet && w.now > w.ended+w.recovery()+modelTTL+modelTTL/6:
			w.fail("%s: %s moves, while nothing has changed for long", i.name, r.name)
		case w.quiet && !w.deaf && w.now > w.ended+modelTTL && slices.Contains(i.names, r.name) && since > modelTTL/20 && since < modelTTL*3/10:
			w.fail("%s: %s moves %v after somebody has come or gone", i.name, r.name, since)
		}
		return
	}
	w.seen["lost"]++
	if r.late {
		w.seen["lost late"]++
	}
	state := w.store.state()
	_, lives := state.Sessions[w.store.writes[r.name][own.epoch].Session]
	mine := state.Runs[r.name].Revision == own.epoch
	if lives && mine && !i.late && w.now-i.heard < modelTTL*85/100 {
		w.fail("%s: %s is lost, and is there; a renewal was sent and answered %v ago", i.name, r.name, w.now-i.heard)
	}
}

// newWorld makes the world of a seed.
func newWorld(t *testing.T, seed uint64, verbose bool, seen map[string]int) *world {
	w := &world{t: t, places: map[string]string{}, rng: rand.New(rand.NewPCG(seed, 2)), seed: seed, verbose: verbose, seen: seen}
	w.jumps, w.onward, w.deaf, w.together, w.undead = w.one(8), w.one(8), w.one(4), w.one(3), w.one(8)
	w.store = modelStore{
		w: w, revision: uint64(w.rng.IntN(1000)), ahead: w.upTo(100 * time.Hour), gone: map[string]time.Duration{}, markers: w.one(2),
		removed: map[string]SessionEntry{}, writes: map[string]map[uint64]Run{},
	}
	w.store.states = []Snapshot{{Revision: w.store.revision, Sessions: map[string]SessionEntry{}, Runs: map[string]RunEntry{}}}
	w.books = books{
		w: w, owner: map[string]map[uint64]*instance{}, over: map[string]map[uint64]bool{}, latest: map[string]uint64{},
		last: map[string]time.Duration{}, first: map[string]time.Duration{},
	}
	for n := range 1 + w.rng.IntN(6) {
		w.names = append(w.names, fmt.Sprintf("c%d", n))
	}
	if w.onward {
		seen["onward"]++
	}
	return w
}

// recovery is in what time every connection has to run again. That of a session which the store does not remove is found to be free later.
func (w *world) recovery() time.Duration {
	if w.undead {
		return 3*modelTTL + modelTTL/3
	}
	return modelTTL + modelTTL/3
}

func (w *world) run() {
	w.t.Helper()
	count := 1 + w.rng.IntN(4)
	for n := range count {
		start := w.upTo(modelTTL / 4)
		w.after(start, func() { w.start(fmt.Sprintf("i%d", n)) })
	}
	begin := time.Duration(0)
	if w.together {
		// Nothing goes wrong until all run what is theirs.
		begin, w.quiet = 2*modelTTL, true
		w.after(begin, func() {
			if w.books.moved > 0 {
				w.fail("%d connections have moved at the start, with nothing that went wrong", w.books.moved)
			}
			for _, name := range w.names {
				if w.books.last[name] == 0 {
					w.fail("%s does not run", name)
				}
			}
			w.quiet = false
			w.books.first = map[string]time.Duration{}
		})
	}
	for at := begin + 1; at < begin+chaosTime; at += w.upTo(modelTTL) {
		w.after(at, w.fault)
	}
	w.after(begin+chaosTime, w.settle)
	for len(w.queue) > 0 && w.now <= begin+chaosTime+quietTime {
		h := heap.Pop(&w.queue).(happening)
		w.now = h.at
		h.do()
	}
	for _, name := range w.names {
		first, sent := w.books.first[name]
		switch {
		case !sent || first > w.ended+w.recovery()+modelTTL/5: // for requests under way when the last fault ended
			w.fail("%s did not run %v after the last fault: it did after %v (%v)", name, w.recovery(), first-w.ended, sent)
		case w.now-w.books.last[name] > modelTTL/10:
			w.fail("%s does not run any more", name)
		}
		var at []string
		for _, i := range w.instances {
			if i.running[name] != nil && !i.dead {
				at = append(at, i.name)
			}
		}
		if len(at) != 1 {
			w.fail("%s runs at %v", name, at)
		}
		// Where a connection is, depends on nothing but who is there.
		var there []string
		for _, i := range w.alive() {
			there = append(there, i.name)
		}
		slices.Sort(there)
		key := fmt.Sprint(name, slices.Compact(there))
		if before, known := w.places[key]; known && before != at[0] && len(w.onceEach(there)) == len(there) {
			w.fail("of %v, %s runs at %s, and in another seed at %s", there, name, at[0], before)
		}
		w.places[key] = at[0]
	}
}

// onceEach returns the names without those that several processes have: which of these runs what is a matter of chance.
func (w *world) onceEach(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		count := 0
		for _, i := range w.alive() {
			if i.name == name {
				count++
			}
		}
		return count > 1
	})
}

// alive returns the processes that are.
func (w *world) alive() []*instance {
	return slices.DeleteFunc(slices.Clone(w.instances), func(i *instance) bool { return i.dead })
}

// rise brings a session back that was removed by its time: it is not removed again.
func (s *modelStore) rise() {
	ids := slices.Sorted(maps.Keys(s.removed))
	if len(ids) == 0 {
		return
	}
	id := ids[s.w.rng.IntN(len(ids))]
	s.w.seen["risen"]++
	s.w.log("store: %s is there again", id)
	s.write(func(next *Snapshot) { next.Sessions[id] = s.removed[id] })
	delete(s.removed, id)
	s.changed = s.w.now
}

// fault makes something go wrong.
func (w *world) fault() {
	if w.undead && w.one(3) {
		w.store.rise()
		return
	}
	alive := w.alive()
	if len(alive) == 0 {
		w.start(fmt.Sprintf("i%d", w.rng.IntN(4)))
		return
	}
	i := alive[w.rng.IntN(len(alive))]
	switch w.rng.IntN(9) {
	case 0:
		w.seen["killed"]++
		w.log("%s is killed", i.name)
		i.kill()
		if w.one(2) {
			w.after(w.upTo(2*modelTTL), func() { w.again(i.name) })
		}
	case 1, 2:
		i.freeze(w.upTo(2 * modelTTL))
	case 3:
		if !i.ending {
			i.stop()
			w.after(w.upTo(modelTTL), func() { w.again(i.name) })
		}
	case 4, 5:
		if !w.store.away {
			w.seen["store away"]++
			w.log("the store is away")
			w.store.away = true
			for_ := w.upTo(modelTTL / 2)
			if w.one(4) {
				for_ = w.upTo(3 * modelTTL)
			}
			w.after(for_, func() { w.store.away = false; w.log("the store is back"); w.store.expire() })
		}
	case 6:
		if w.jumps {
			w.seen["store's clock jumps"]++
			w.store.ahead += w.upTo(2*modelTTL) - modelTTL/2
			w.store.expire()
		}
	case 7:
		w.again(fmt.Sprintf("i%d", w.rng.IntN(4)))
	case 8:
		w.seen["reconfigured"]++
		i.reconfigure(fmt.Sprintf("%c", 'A'+w.rng.IntN(2)))
	}
}

// again starts a process, if none of that name runs.
func (w *world) again(name string) {
	if w.quiet || slices.ContainsFunc(w.alive(), func(i *instance) bool { return i.name == name }) {
		return
	}
	w.start(name)
}

// reconfigure gives a process another configuration: A has all connections, B not the first.
func (i *instance) reconfigure(config string) {
	i.config, i.names = config, i.w.names
	if config == "B" {
		i.names = i.w.names[1:]
	}
	names := i.names
	i.step(func(c *core, now time.Duration) { c.configure(now, names, config) })
}

func (i *instance) kill() {
	i.dead = true
	i.running, i.stopping, i.waiting = map[string]*running{}, map[string]bool{}, nil
}

func (i *instance) freeze(d time.Duration) {
	if i.stands {
		return
	}
	if d > modelTTL {
		i.w.seen["frozen for long"]++
	}
	i.w.log("%s stands still for %v", i.name, d)
	i.stands = true
	i.w.after(d, i.thaw)
}

// thaw lets a process go on: what it was about to send first.
func (i *instance) thaw() {
	if !i.stands || i.dead {
		return
	}
	i.w.log("%s goes on", i.name)
	i.stands = false
	for name, r := range i.running {
		switch {
		case r.down:
		case i.w.onward || i.clock() < *r.until:
			i.w.books.sent(i, name, r)
		default:
			r.silent = true
		}
	}
	waiting := i.waiting
	i.waiting = nil
	for _, do := range waiting {
		do()
	}
	i.step(func(c *core, now time.Duration) { c.wake(now) })
}

// stop ends a process well: what runs is stopped, then its session ends.
func (i *instance) stop() {
	w := i.w
	i.ending = true
	w.seen["ended"]++
	w.log("%s ends", i.name)
	w.after(w.upTo(modelTTL/20), func() {
		if i.dead || i.stands {
			return
		}
		for name, r := range i.running {
			w.books.end(i, name, r.epoch)
		}
		i.running = map[string]*running{}
		i.step(func(c *core, now time.Duration) { c.end(now) })
		w.after(modelTTL/5, i.kill)
	})
}

// settle ends all faults.
func (w *world) settle() {
	w.log("all is well from now on")
	w.quiet, w.ended, w.store.away = true, w.now, false
	w.store.expire()
	for _, i := range w.alive() {
		if i.ending {
			i.kill()
			continue
		}
		i.thaw()
		if i.config != "A" {
			i.reconfigure("A")
		}
	}
	if len(w.alive()) == 0 {
		w.start("i0")
	}
}
