package lease

import (
	"errors"
	"maps"
	"slices"
	"time"
)

// A core decides when an instance begins and renews its session, which connections it claims, and which it gives up. It is pure, like
// the machine of package phoenix: inputs are method calls that carry the time, outputs are collected in out, and next says when it
// wants to be woken. Times are those of a clock that also runs while the system is suspended, counted from anywhere.
//
// What it relies on, and what not:
//
//   - A session counts for 0.9 of its time to live from before its last renewal was sent. The store keeps it for at least the whole
//     time from when it was written. Which other sessions live, a snapshot says, and no clock.
//   - The store may fail to remove a session. So one that was seen not to be renewed for longer than it counts is removed by whoever sees
//     that, by compare-and-set: it is of nobody, or the removal is refused.
//   - A write without an answer may have been made, or be made later. What is ours is known by the session in it.
//   - A snapshot that is older than what is known is not looked at.
//   - A change that the store tells of makes a snapshot come sooner. It says nothing by itself, and one comes without it.
//   - A lease that was given up or lost is never used again. The same connection is claimed anew, which is a new epoch.
type core struct {
	coreOptions
	config string
	ending bool

	session *ownSession // nil: none
	// former are the IDs of our sessions before.
	former map[string]bool
	// busy says that a request about the session is under way; retryAt is the earliest time for the next.
	busy    bool
	retryAt time.Duration
	begins  map[string]time.Duration // when the session of that ID was asked for

	view    Snapshot
	viewed  bool          // view is of this session
	viewAt  time.Duration // when view was asked for
	highest uint64        // revision that is known
	reading bool          // a snapshot is under way
	readAt  time.Duration // when the next one is due
	asked   time.Duration // when the last one was asked for
	// first is when each session was seen first by this session of ours, joined when the last one came, and changed when the sessions
	// have changed last. died are those that have gone before our eyes.
	first           map[string]time.Duration
	joined, changed time.Duration
	died            map[string]bool
	// lively is when each session was last seen with another revision than before.
	lively map[string]time.Duration
	// seen are the last entries of sessions, also of those that are gone.
	seen map[string]SessionEntry
	// reapAt is the earliest time for the removal of a session that was asked for before.
	reapAt map[string]time.Duration

	leases map[string]*lease
	out    output
}

// coreOptions are what a core is made with.
type coreOptions struct {
	instance string
	ttl      time.Duration
	// onward says that what runs goes on while the store cannot be reached.
	onward bool
	newID  func() string
}

// ownSession is our session.
type ownSession struct {
	id       string
	revision uint64
	number   uint64 // of the last renewal that was sent
	// sent is when each renewal was sent that may be the one that counts, by number.
	sent map[uint64]time.Duration
	// until is when we stop, expires when others may begin to take over.
	until, expires time.Duration
	// begun is when we learned of it. Until then nothing in it is known.
	begun   time.Duration
	renewAt time.Duration
	// conflict is when a renewal was refused: the next snapshot says why. 0: it was not.
	conflict time.Duration
	// early and late bound what the store's clock is ahead of ours, in milliseconds; known says that they do.
	early, late int64
	known       bool
}

// A lease is what we know, and do, about the run of a connection.
type lease struct {
	name   string
	wanted bool
	known  RunEntry // the one with the highest revision that we have seen
	// epoch is that of the run under way; 0: there is none. orphan says that its session is gone, and that it goes on.
	epoch  uint64
	orphan bool
	// ended is the highest epoch that we have given up.
	ended uint64
	// stopping says that the connection is still being stopped; pending that a write is under way.
	stopping, pending bool
	// doubt is when a write ended of which we do not know whether it was made: a snapshot that is asked for later says so.
	doubt   time.Duration
	doubted bool
	// left is since when messages may have been missed when we stopped it, by the store's clock; 0: since it was granted.
	left int64
	// missed is since when messages may have been missed, by our clock, as far as is known when a session of ours is lost; ran says that
	// somebody has run the connection. They count if the store knows nothing of it any more. granted and before are the same as of the
	// last grant.
	missed, granted time.Duration
	ran, before     bool
}

// output is what a core wants done.
type output struct {
	requests []request
	grants   []grant
	revokes  []revoke
}

// A request is a call of the store. It is answered with answered, sooner or later.
type request struct {
	kind     requestKind
	session  Session // of all but readStore, with the ID alone for claimRun
	name     string  // of claimRun
	run      Run
	revision uint64
	sent     time.Duration
}

type requestKind int

const (
	beginSession requestKind = iota
	renewSession
	endSession
	claimRun
	readStore
	reapSession
)

// A grant says that a connection is ours to run. One that runs gets a new epoch.
type grant struct {
	name  string
	epoch uint64
	// missed is for how long messages may have been missed, if somebody ran the connection before.
	missed time.Duration
	before bool
}

// A revoke says that a connection is not to be run any more. One that is moved is to be closed well; one that is lost at once.
// stopped says when that is done. late says that others may run it already.
type revoke struct {
	name       string
	lost, late bool
}

func newCore(o coreOptions) *core {
	return &core{
		coreOptions: o, former: map[string]bool{}, begins: map[string]time.Duration{}, first: map[string]time.Duration{},
		seen: map[string]SessionEntry{}, reapAt: map[string]time.Duration{}, leases: map[string]*lease{},
	}
}

// tick is the time between two renewals, and for how long members have to stay the same before a connection moves.
func (c *core) tick() time.Duration { return c.ttl / 3 }

// soon is the time before what failed is tried again.
func (c *core) soon() time.Duration { return c.ttl / 30 }

// between is the least time between two snapshots.
func (c *core) between() time.Duration { return c.ttl / 100 }

// patience is how long a request may take.
func (c *core) patience() time.Duration { return c.ttl / 10 }

// configure says which connections there are. config is equal for equal configurations.
func (c *core) configure(now time.Duration, names []string, config string) {
	for _, l := range c.leases {
		l.wanted = false
	}
	for _, name := range names {
		c.lease(name).wanted = true
	}
	if c.config != config {
		c.config, c.changed = config, now
		if c.session != nil {
			c.session.renewAt = now // the others are to know
		}
	}
	c.proceed(now)
}

func (c *core) lease(name string) *lease {
	l := c.leases[name]
	if l == nil {
		l = &lease{name: name}
		c.leases[name] = l
	}
	return l
}

// wake is called at the time of next, or later.
func (c *core) wake(now time.Duration) { c.proceed(now) }

// hint says that the store has changed.
func (c *core) hint(now time.Duration) {
	c.readSoon(now)
	c.proceed(now)
}

// stopped says that a connection which was revoked does not run any more. Messages may have been missed since a time; with never, since
// it was granted.
func (c *core) stopped(now time.Duration, name string, since time.Duration, never bool) {
	l := c.lease(name)
	l.stopping, l.left = false, 0
	if s := c.session; s != nil && s.known && !never {
		l.left = since.Milliseconds() + s.early
	}
	switch {
	case !l.ran:
	case never:
		l.missed, l.ran = l.granted, l.before
	default:
		l.missed = min(l.missed, since)
	}
	c.proceed(now)
}

// refused says that something was dropped because the time of the session was over. It is called before what came meanwhile: the answer
// of a renewal, which would prolong the time, does not bring back what was dropped, and no renewal may say that nothing is missing.
func (c *core) refused(now time.Duration) {
	if s := c.session; s != nil {
		c.lose(now, now >= s.expires)
		c.proceed(now)
	}
}

// end gives up the session, when nothing runs any more.
func (c *core) end(now time.Duration) {
	c.ending = true
	if s := c.session; s != nil && !c.busy { // else when the renewal under way is answered, which decides about the revision
		c.busy = true
		c.out.requests = append(c.out.requests, request{kind: endSession, session: c.say(now, s), revision: s.revision, sent: now})
	}
}

// over reports whether the session was given up, after end.
func (c *core) over() bool { return c.ending && !c.busy && c.session == nil }

// say is what the session says of us. Connections that are not up are to be added.
func (c *core) say(now time.Duration, s *ownSession) Session {
	said := Session{ID: s.id, Instance: c.instance, Config: c.config, TTL: c.ttl.Milliseconds(), Number: s.number, Down: map[string]Down{}}
	if s.known {
		said.At = now.Milliseconds() + s.early
	}
	if c.viewed {
		said.Seen = c.view.Revision
	}
	for _, l := range c.leases {
		if l.pending || l.doubted { // it may be ours, and does not run
			said.Down[l.name] = Down{Status: "connecting"}
		}
	}
	return said
}

// readSoon asks for a snapshot as soon as it may be.
func (c *core) readSoon(now time.Duration) {
	c.readAt = min(c.readAt, max(now, c.asked+c.between()))
}

// proceed does what is due.
func (c *core) proceed(now time.Duration) {
	if c.ending {
		return
	}
	if s := c.session; s != nil && now >= s.until && !c.onward {
		c.lose(now, now >= s.expires)
	}
	switch s := c.session; {
	case c.busy:
	case s == nil:
		if now >= c.retryAt {
			c.begin(now)
		}
	case now >= max(s.renewAt, c.retryAt) && s.conflict == 0:
		c.renew(now)
	}
	if c.session == nil {
		return
	}
	if now >= c.readAt && !c.reading {
		c.reading, c.asked, c.readAt = true, now, now+c.tick()
		c.out.requests = append(c.out.requests, request{kind: readStore, sent: now})
	}
	c.decide(now)
}

func (c *core) begin(now time.Duration) {
	c.busy = true
	id := c.newID()
	c.begins[id] = now
	said := Session{ID: id, Instance: c.instance, Config: c.config, TTL: c.ttl.Milliseconds()}
	c.out.requests = append(c.out.requests, request{kind: beginSession, session: said, sent: now})
}

func (c *core) renew(now time.Duration) {
	s := c.session
	c.busy = true
	s.number++
	s.sent[s.number] = now
	s.renewAt = now + c.tick()
	c.out.requests = append(c.out.requests, request{kind: renewSession, session: c.say(now, s), revision: s.revision, sent: now})
}

// answered takes the answer to a request: the revision of what was written, or the snapshot.
func (c *core) answered(now time.Duration, r request, revision uint64, view Snapshot, err error) {
	switch r.kind {
	case beginSession:
		c.begunSession(now, r, revision, err)
	case renewSession:
		c.renewed(now, r, revision, err)
	case claimRun:
		c.claimed(now, r, revision, err)
	case readStore:
		c.reading = false
		if err != nil {
			c.readAt = now + c.soon()
		} else {
			c.read(now, r, view)
		}
	case endSession:
		c.busy, c.session = false, nil
	case reapSession: // the next snapshot says what came of it
	}
	c.proceed(now)
}

func (c *core) begunSession(now time.Duration, r request, revision uint64, err error) {
	c.busy = false
	sent := c.begins[r.session.ID]
	delete(c.begins, r.session.ID)
	if err != nil {
		c.retryAt = now + c.soon()
		return
	}
	s := &ownSession{id: r.session.ID, sent: map[uint64]time.Duration{0: sent}, begun: now, renewAt: sent + c.tick()}
	if r.session.Config != c.config {
		s.renewAt = now
	}
	c.session, c.viewed, c.joined, c.changed = s, false, now, now
	c.first, c.lively, c.died = map[string]time.Duration{}, map[string]time.Duration{}, map[string]bool{}
	// Of what was known before, nothing is left to be relied on: the store may be another one.
	c.highest = 0
	for _, l := range c.leases {
		l.known, l.ended = RunEntry{}, 0
	}
	c.confirm(0, revision)
	c.readAt = now
	if c.ending {
		c.end(now)
	}
}

// confirm notes that a renewal was written. The session counts from when that was sent, whenever we learn of it.
func (c *core) confirm(number, revision uint64) {
	s := c.session
	c.highest = max(c.highest, revision)
	if revision < s.revision {
		return
	}
	s.revision = revision
	sent, ok := s.sent[number]
	if !ok {
		return
	}
	s.until = max(s.until, sent+c.ttl*9/10)
	s.expires = max(s.expires, sent+c.ttl)
	maps.DeleteFunc(s.sent, func(n uint64, _ time.Duration) bool { return n < number })
}

func (c *core) renewed(now time.Duration, r request, revision uint64, err error) {
	c.busy = false
	s := c.session
	if s == nil || s.id != r.session.ID {
		return
	}
	switch {
	case err == nil:
		c.confirm(r.session.Number, revision)
		if r.session.Config != c.config {
			s.renewAt = now
		}
	case errors.Is(err, ErrConflict):
		// An earlier renewal may have been written whose answer was lost.
		s.conflict = now
		c.readSoon(now)
	default:
		s.renewAt, c.retryAt = now, now+c.soon()
	}
	if c.ending {
		c.end(now)
	}
}

// lose gives up the session, and with it all leases. late says that others may have them already.
func (c *core) lose(now time.Duration, late bool) {
	for _, l := range c.leases {
		if l.epoch != 0 { // what came since the last renewal may have been dropped
			l.missed, l.ran = c.session.until-c.ttl*9/10, true
		} else if since := c.missingSince(now, l); since != 0 && c.session.known {
			l.missed, l.ran = time.Duration(since-c.session.late)*time.Millisecond, true
		}
	}
	c.former[c.session.id] = true
	c.session, c.viewed = nil, false
	for _, l := range c.sorted() {
		switch {
		case l.epoch == 0:
		case c.onward:
			l.orphan = true
		default:
			c.revoke(l, true, late)
		}
	}
	c.retryAt = min(c.retryAt, now)
}

// sorted returns the leases in the order of their names.
func (c *core) sorted() []*lease {
	list := make([]*lease, 0, len(c.leases))
	for _, name := range slices.Sorted(maps.Keys(c.leases)) {
		list = append(list, c.leases[name])
	}
	return list
}

func (c *core) revoke(l *lease, lost, late bool) {
	l.ended = max(l.ended, l.epoch)
	l.epoch, l.orphan, l.stopping = 0, false, true
	c.out.revokes = append(c.out.revokes, revoke{l.name, lost, late})
}

// read takes a snapshot.
func (c *core) read(now time.Duration, r request, view Snapshot) {
	s := c.session
	if s == nil || c.ending || r.sent < s.begun {
		c.readAt = now
		return
	}
	own, here := view.Sessions[s.id]
	conflicted := s.conflict != 0 && r.sent >= s.conflict
	if old := view.Revision < c.highest; conflicted && !here && (!old || c.onward && now >= s.conflict+c.tick()) {
		// Where the end of a session has no revision, every snapshot may look old; and with onward no deadline ends that.
		c.lose(now, true)
		return
	}
	if view.Revision < c.highest || !here {
		// It is older than what we know, or we are gone: then a renewal says so.
		c.readAt = now + c.soon()
		if !here && view.Revision >= c.highest {
			s.renewAt = now
		}
		return
	}
	c.highest = view.Revision
	if own.Revision >= s.revision {
		c.confirm(own.Number, own.Revision)
		c.setClock(now, own)
	}
	if conflicted {
		s.conflict, s.renewAt = 0, now
	}
	c.members(now, view)
	c.view, c.viewed, c.viewAt = view, true, r.sent
	for name, e := range view.Runs {
		if l := c.lease(name); e.Revision >= l.known.Revision {
			l.known = e
		}
	}
	for _, l := range c.leases {
		if l.doubted && r.sent >= l.doubt {
			l.doubted = false
		}
	}
}

// setClock compares the store's clock with ours, by a renewal that was written between its being sent and now.
func (c *core) setClock(now time.Duration, own SessionEntry) {
	s := c.session
	if sent, ok := s.sent[own.Number]; ok {
		s.early, s.late, s.known = own.Created-now.Milliseconds(), own.Created-sent.Milliseconds(), true
	}
}

// members notes which sessions there are, and since when.
func (c *core) members(now time.Duration, view Snapshot) {
	for id, e := range view.Sessions {
		before, known := c.view.Sessions[id]
		if !c.viewed || !known || before.Config != e.Config {
			c.joined, c.changed = now, now
			c.readAt = min(c.readAt, now+c.tick())
		}
		if _, known := c.first[id]; !known {
			c.first[id] = now
		}
		if _, seen := c.lively[id]; !seen || before.Revision != e.Revision {
			c.lively[id] = now
		}
		c.seen[id] = e
	}
	for id := range c.view.Sessions {
		if _, here := view.Sessions[id]; !here {
			c.died[id] = c.viewed && c.settled(now, c.session.id)
			c.changed = now
		}
	}
	owners := map[string]bool{}
	for _, e := range view.Runs {
		owners[e.Session] = true
	}
	gone := func(id string) bool {
		_, here := view.Sessions[id]
		return !here && !owners[id]
	}
	maps.DeleteFunc(c.seen, func(id string, _ SessionEntry) bool { return gone(id) })
	maps.DeleteFunc(c.lively, func(id string, _ time.Duration) bool { return gone(id) })
	maps.DeleteFunc(c.died, func(id string, _ bool) bool { return gone(id) })
	maps.DeleteFunc(c.former, func(id string, _ bool) bool { return gone(id) })
	for _, times := range []map[string]time.Duration{c.first, c.reapAt} {
		maps.DeleteFunc(times, func(id string, _ time.Duration) bool {
			_, here := view.Sessions[id]
			return !here
		})
	}
}

// settled reports whether a session counts: it has been there for a while, so that all see it.
func (c *core) settled(now time.Duration, id string) bool {
	first, seen := c.first[id]
	return seen && now >= first+c.tick()
}

// suits reports whether of all instances with our configuration ours suits a connection best. Others may not have the connection.
func (c *core) suits(now time.Duration, name string) bool {
	return c.settled(now, c.session.id) && !c.better(now, name, c.ttl)
}

// better reports whether another instance suits a connection better, of those that were seen to renew their sessions so lately.
func (c *core) better(now time.Duration, name string, lately time.Duration) bool {
	own := score(name, c.instance)
	for id, e := range c.view.Sessions {
		if e.Instance != c.instance && e.Config == c.config && c.settled(now, id) && now-c.lively[id] <= lately && score(name, e.Instance) > own {
			return true
		}
	}
	return false
}

// twin returns the ID of the session of another process that has our name; empty: there is none. A session that a process of that name has
// left, which is not renewed, is none.
func (c *core) twin() string {
	if c.session == nil {
		return ""
	}
	for id, e := range c.view.Sessions {
		if e.Instance == c.instance && id != c.session.id && !c.former[id] && c.lively[id] >= c.first[id]+c.tick()/2 {
			return id
		}
	}
	return ""
}

// free reports whether nobody runs a connection.
func (c *core) free(l *lease) bool {
	_, lives := c.view.Sessions[l.known.Session]
	return l.known.Revision == 0 || !lives || c.former[l.known.Session]
}

// ready reports whether a connection that is free may be taken. When instances come, each waits until it is known who they are: else the
// first one takes all, and gives most of it away again. What was given back, or was left by one that has died, does not wait.
func (c *core) ready(l *lease) bool {
	return c.viewAt >= c.joined+c.tick() || l.known.Revision != 0 && l.known.Session == "" || c.died[l.known.Session]
}

// decide brings what we run in line with what the store says.
func (c *core) decide(now time.Duration) {
	if !c.viewed {
		return
	}
	c.reap(now)
	for _, l := range c.sorted() {
		c.decideOn(now, l)
		if l.epoch == 0 && !l.wanted && !l.stopping && !l.pending && !l.doubted && l.known.Session != c.session.id {
			delete(c.leases, l.name)
		}
	}
}

// reap removes sessions that the store has failed to remove: of nats-server 2.15, keys that were removed by their time may be there again for good
// after a kill.
func (c *core) reap(now time.Duration) {
	for _, id := range slices.Sorted(maps.Keys(c.view.Sessions)) {
		e := c.view.Sessions[id]
		ttl := time.Duration(e.TTL) * time.Millisecond
		if id == c.session.id || ttl == 0 || now < max(c.lively[id]+ttl+c.tick(), c.reapAt[id]) {
			continue
		}
		c.reapAt[id] = now + c.tick()
		c.out.requests = append(c.out.requests, request{kind: reapSession, session: e.Session, revision: e.Revision, sent: now})
	}
}

func (c *core) decideOn(now time.Duration, l *lease) {
	ours := l.known.Session == c.session.id
	switch {
	case l.pending || l.doubted || l.stopping:
	case l.orphan:
		switch {
		case !l.wanted:
			c.revoke(l, false, false)
		case ours:
			c.grant(now, l, l.known.Revision)
		case c.free(l):
			c.claim(now, l, true)
		default:
			c.revoke(l, true, true)
		}
	case l.epoch != 0:
		switch {
		case l.known.Revision != l.epoch:
			c.revoke(l, true, true)
		case !l.wanted, now >= c.changed+c.tick() && c.better(now, l.name, c.tick()+c.patience()): // it goes to one that lives
			c.revoke(l, false, false)
		}
	case ours && l.known.Revision > l.ended && l.wanted:
		c.grant(now, l, l.known.Revision)
	case ours:
		c.claim(now, l, l.wanted && c.suits(now, l.name))
	case l.wanted && c.free(l) && c.ready(l) && c.suits(now, l.name):
		c.claim(now, l, true)
	}
}

// claim takes a connection, or gives it back.
func (c *core) claim(now time.Duration, l *lease, take bool) {
	run := Run{Since: c.missingSince(now, l)}
	if take {
		run.Session, run.Instance = c.session.id, c.instance
	}
	l.pending = true
	c.out.requests = append(c.out.requests, request{
		kind: claimRun, session: Session{ID: c.session.id}, name: l.name, run: run, revision: l.known.Revision, sent: now,
	})
}

// missingSince returns from when on messages of a connection may have been missed, by the store's clock; 0: nobody ran it.
func (c *core) missingSince(now time.Duration, l *lease) int64 {
	owner, seen := c.seen[l.known.Session]
	down, isDown := owner.Down[l.name]
	switch {
	case l.known.Revision == 0 && l.ran && c.session.known: // the store has lost it
		return max(1, l.missed.Milliseconds()+c.session.early)
	case l.known.Revision == 0:
		return 0
	case l.known.Session == "":
		return l.known.Since
	case l.known.Session == c.session.id:
		if l.left != 0 { // we have stopped it
			return l.left
		}
	case seen && isDown && down.Since != 0:
		return down.Since
	case seen && !isDown && owner.At != 0 && owner.Seen >= l.known.Revision:
		return owner.At
	}
	if l.known.Since != 0 {
		return l.known.Since // it was never up
	}
	return l.known.Created
}

func (c *core) claimed(now time.Duration, r request, revision uint64, err error) {
	l := c.lease(r.name)
	l.pending = false
	if err != nil {
		l.doubt, l.doubted = now, true
		c.readSoon(now)
		return
	}
	c.highest = max(c.highest, revision)
	if revision > l.known.Revision {
		l.known = RunEntry{Run: r.run, Entry: Entry{Revision: revision}}
		if s := c.session; s != nil && s.known {
			l.known.Created = now.Milliseconds() + s.early
		}
	}
}

func (c *core) grant(now time.Duration, l *lease, epoch uint64) {
	l.epoch, l.orphan, l.left, l.granted, l.before = epoch, false, 0, now, false
	g := grant{name: l.name, epoch: epoch}
	if s := c.session; l.known.Since != 0 && s.known {
		g.missed, g.before = max(0, time.Duration(now.Milliseconds()+s.late-l.known.Since)*time.Millisecond), true
		l.granted, l.before = now-g.missed, true
	}
	c.out.grants = append(c.out.grants, g)
}

// deadlines returns until when what was granted may be used, and when others may have it; both 0 without a session.
func (c *core) deadlines() (until, expires time.Duration) {
	if c.session == nil {
		return 0, 0
	}
	return c.session.until, c.session.expires
}

// next returns when wake is to be called.
func (c *core) next(now time.Duration) time.Duration {
	if c.ending {
		return now + time.Hour
	}
	s := c.session
	if s == nil {
		if c.busy {
			return now + time.Hour
		}
		return c.retryAt
	}
	next := now + time.Hour
	if !c.onward {
		next = s.until
	}
	if !c.busy && s.conflict == 0 {
		next = min(next, max(s.renewAt, c.retryAt))
	}
	if !c.reading {
		next = min(next, c.readAt)
	}
	for _, at := range c.first {
		if at += c.tick(); at > now {
			next = min(next, at)
		}
	}
	for _, at := range []time.Duration{c.joined + c.tick(), c.changed + c.tick()} {
		if at > now {
			next = min(next, at)
		}
	}
	return next
}
