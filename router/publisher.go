package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"phx/phoenix"
	"phx/router/glob"
	"phx/signal"
)

// A Publisher routes the events of one run of a connection. It belongs to one goroutine, which
// calls [Publisher.Flush] before it waits for the next event, and when it ends, even by a panic.
type Publisher struct {
	router     *Router
	connection string
	formats    []encoding // by signal.Format

	table     *table // in use since the first event after a Flush; nil: none
	unflushed int    // events since then
	decisions decisions
	collected []*outlet // those with a chunk
	turn      uint64    // the number of the current event
	scratch   *[]byte   // for the line of an event that no outlet got yet; nil: none needed so far
	current   current   // what Where is asked about
	limit     callLimit
	progress  *Progress // nil: nobody asks
	epoch     uint64
	guard     func() bool // nil: everything may pass
	dropped   bool        // the guard has said no: the progress goes no further
	published uint64      // the number of the last event
}

// Publisher returns a publisher for a connection of that name, which has to satisfy
// [signal.CheckName].
func (r *Router) Publisher(connection string) *Publisher {
	return &Publisher{router: r, connection: connection, formats: make([]encoding, len(signal.Formats()))}
}

// Follow makes progress tell which of the events that are published from now on are done with at every sink that they went to.
// Subscriptions do not count. It is called before the first event; all runs of a connection have one progress.
func (p *Publisher) Follow(progress *Progress) { p.progress = progress }

// SetEpoch sets the epoch of the signals from now on, as [signal.Encoder.SetEpoch] does. What was published before is flushed.
func (p *Publisher) SetEpoch(epoch uint64) {
	if p.epoch == epoch {
		return
	}
	p.Flush()
	p.epoch = epoch
	for _, e := range p.formats {
		if e.encoder != nil {
			e.encoder.SetEpoch(epoch)
		}
	}
	for _, o := range p.decisions.outlets {
		o.origin.setEpoch(epoch)
	}
}

// Guard has a function asked right before signals are handed over to sinks and subscriptions, a batch at a time. When it returns false
// they are dropped, and neither counted nor announced: another process sends them, or says that they are missing. The progress that
// [Publisher.Follow] was called with stays before them, whatever follows. It is called on other goroutines, too: for signals that wait for
// a slow Where.
func (p *Publisher) Guard(mayPass func() bool) { p.guard = mayPass }

// An encoding is the line of the current event in one format.
type encoding struct {
	encoder *signal.Encoder // nil: not needed so far
	line    []byte          // in a chunk or in the scratch
	turn    uint64          // of which event
}

// An outlet is the way of a publisher to one target, with the chunk that it fills.
type outlet struct {
	target target
	origin *Origin
	queue  *Queue // whose the chunk is
	chunk  *Chunk
	turn   uint64 // the last event it got
}

const (
	// maxUnflushed is the number of events after which Publish flushes by itself. Otherwise a sink
	// that gets few of the signals of a connection that never rests would wait for them until a
	// chunk is full.
	maxUnflushed = 1024
	// encoderCache is what an encoder of a publisher may remember, in bytes.
	encoderCache = 16 << 10
)

// Publish routes an event to the sinks and subscriptions that want it. It waits for none of them.
func (p *Publisher) Publish(ev *phoenix.Event) {
	if p.table == nil || p.table != p.router.table.Load() {
		p.Flush()
		p.table = p.router.acquire()
	}
	d := p.decide(ev)
	p.turn++
	for _, o := range d.always {
		p.give(o, ev)
	}
	late := false
	p.current = current{publisher: p, ev: ev}
	for _, c := range d.checks {
		switch {
		case c.rule.off.Load() || p.reached(c.outlets):
		case c.rule.late.busy():
			late = true
		case c.rule.satisfies(&p.limit, &p.current, p.connection, p.router.log):
			for _, o := range c.outlets {
				p.give(o, ev)
			}
		}
	}
	if late {
		p.checkLater(d, ev)
	}
	p.published = ev.Seq
	if p.unflushed++; p.unflushed == maxUnflushed {
		p.Flush()
	}
}

// checkLater leaves the checks whose Where is slow to the lanes of their rules.
func (p *Publisher) checkLater(d *decision, ev *phoenix.Event) {
	given := map[*outlet]*atomic.Bool{} // two rules may lead to one outlet
	for _, c := range d.checks {
		if c.rule.off.Load() || p.reached(c.outlets) || !c.rule.late.busy() {
			continue
		}
		j := job{line: bytes.Clone(p.defaultLine(ev)), connection: p.connection, seq: ev.Seq}
		for _, o := range c.outlets {
			if o.turn == p.turn {
				continue
			}
			if given[o] == nil {
				given[o] = new(atomic.Bool)
			}
			j.to = append(j.to, delivery{
				queue: o.target.input(), origin: o.origin, given: given[o], line: p.appendLine(nil, o.target.Format(), ev),
			})
		}
		j.progress, j.guard = p.progress, p.guard
		c.rule.late.add(c.rule, j, p.router.log)
	}
}

// reached reports whether all of the outlets have got the current event.
func (p *Publisher) reached(outlets []*outlet) bool {
	for _, o := range outlets {
		if o.turn != p.turn {
			return false
		}
	}
	return true
}

// give appends the line of the event to the chunk of the outlet, unless it is there already. A
// full chunk is put only at the next event, because other outlets copy the line from there.
func (p *Publisher) give(o *outlet, ev *phoenix.Event) {
	if o.turn == p.turn {
		return
	}
	o.turn = p.turn
	switch {
	case o.chunk == nil:
		o.queue = o.target.input()
		p.collected = append(p.collected, o)
		o.chunk = o.queue.ChunkOf(o.origin)
	case o.chunk.Full():
		p.put(o)
		o.chunk = o.queue.ChunkOf(o.origin)
	}
	o.chunk.Commit(p.appendLine(o.chunk.Buffer(), o.target.Format(), ev), ev.Seq)
}

// appendLine appends the event's line in a format, encoded if it is the first.
func (p *Publisher) appendLine(dst []byte, format signal.Format, ev *phoenix.Event) []byte {
	e := &p.formats[format]
	if e.turn == p.turn {
		return append(dst, e.line...)
	}
	start := len(dst)
	dst = p.encoder(format).Append(dst, ev)
	e.line, e.turn = dst[start:], p.turn
	return dst
}

// encoder returns the encoder of a format, made when it is needed.
func (p *Publisher) encoder(format signal.Format) *signal.Encoder {
	e := &p.formats[format]
	if e.encoder == nil {
		e.encoder = signal.NewEncoder(format, p.connection)
		e.encoder.SetEpoch(p.epoch)
		e.encoder.CacheAtMost(encoderCache)
	}
	return e.encoder
}

// defaultLine returns the event's line in the default format, without its line break.
func (p *Publisher) defaultLine(ev *phoenix.Event) []byte {
	e := &p.formats[signal.FormatSignal]
	if e.turn != p.turn {
		if p.scratch == nil {
			p.scratch = scratches.Get().(*[]byte)
		}
		*p.scratch = p.appendLine((*p.scratch)[:0], signal.FormatSignal, ev)
	}
	return e.line[:len(e.line)-1]
}

// A current is the event that is being published, as the Signal of Where.
type current struct {
	publisher *Publisher
	ev        *phoenix.Event
}

// Text implements [Signal].
func (c *current) Text() []byte { return c.publisher.defaultLine(c.ev) }

// Value implements [Signal].
func (c *current) Value(outer, inner string) (value []byte, known bool) {
	encoder := c.publisher.encoder(signal.FormatSignal)
	if inner != "" {
		return encoder.Value(c.ev, outer, inner)
	}
	line := c.Text()
	return encoder.Member(line, outer)
}

// put puts the chunk of the outlet. The queue counts and announces what it does not take.
func (p *Publisher) put(o *outlet) {
	if p.guard == nil || p.guard() {
		o.queue.Put(context.Background(), o.chunk)
	} else {
		p.dropped = true
		o.queue.Release(o.chunk)
	}
	o.chunk = nil
}

// Flush hands over what Publish has collected.
func (p *Publisher) Flush() {
	if p.table == nil {
		return
	}
	for i, o := range p.collected {
		p.put(o)
		o.queue = nil
		p.collected[i] = nil
	}
	p.collected = p.collected[:0]
	for i := range p.formats {
		p.formats[i].line = nil // the chunk it is in is not ours any more
	}
	p.returnScratch()
	if p.progress != nil && !p.dropped {
		p.progress.Published(p.published)
	}
	p.unflushed = 0
	p.table.release()
	p.table = nil
}

// scratches are shared by all publishers, as most of them are idle most of the time.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

// mostScratch is the capacity from which a scratch buffer, after a very large line, is left to the
// collector.
const mostScratch = 64 << 10

func (p *Publisher) returnScratch() {
	if p.scratch != nil && cap(*p.scratch) <= mostScratch {
		scratches.Put(p.scratch)
	}
	p.scratch = nil
}

// decisionCache is what a publisher may remember of decisions, in bytes. The server chooses topics
// and events.
const decisionCache = 16 << 10

// A decision says where events of one key go.
type decision struct {
	always []*outlet
	checks []check // what depends on the event itself
}

// A check is a rule whose Where decides about outlets.
type check struct {
	rule    *rule
	outlets []*outlet
}

// A decisionKey is what a filter checks of an event before Where.
type decisionKey struct {
	detail      reflect.Type
	topic, name string
}

// decisions are what a publisher remembers of one table.
type decisions struct {
	number    uint64 // of the table
	latestKey decisionKey
	latest    *decision // nil: none; streams repeat themselves
	kept      map[decisionKey]*decision
	size      int // about how many bytes the decisions hold
	outlets   map[target]*outlet
}

// decide returns where an event goes by the publisher's table.
func (p *Publisher) decide(ev *phoenix.Event) *decision {
	known := &p.decisions
	if known.number != p.table.number {
		*known = decisions{number: p.table.number}
	}
	key := decisionKey{detail: reflect.TypeOf(ev.Detail), topic: ev.Topic, name: ev.Name}
	if known.latest != nil && known.latestKey == key {
		return known.latest
	}
	d := known.kept[key]
	if d == nil {
		// The key outlives the event it came from.
		key.topic, key.name = strings.Clone(key.topic), strings.Clone(key.name)
		d = p.newDecision(ev)
		if !known.keep(key, d) {
			return d
		}
	}
	known.latestKey, known.latest = key, d
	return d
}

// keep remembers a decision and forgets all others when there is no room; it reports false for one
// that is too large.
func (k *decisions) keep(key decisionKey, d *decision) bool {
	size := d.size() + len(key.topic) + len(key.name)
	if size > decisionCache {
		return false
	}
	if k.kept == nil || k.size+size > decisionCache {
		k.kept = map[decisionKey]*decision{}
		k.size = 0
	}
	k.kept[key] = d
	k.size += size
	return true
}

// size returns about how many bytes a decision and its place in the map hold.
func (d *decision) size() int {
	size := 160 + 8*cap(d.always) + 32*cap(d.checks)
	for _, c := range d.checks {
		size += 8 * cap(c.outlets)
	}
	return size
}

// newDecision applies all rules.
func (p *Publisher) newDecision(ev *phoenix.Event) *decision {
	d := &decision{}
	s := p.subject(ev)
	if s.typ == "" {
		return d // there is no signal of such an event
	}
	for _, r := range p.table.routes {
		p.decideBy(r, &s, d)
	}
	for _, subscription := range p.table.subscriptions {
		p.decideBy(&subscription.rule, &s, d)
	}
	return d
}

// subject returns what filters check of an event.
func (p *Publisher) subject(ev *phoenix.Event) subject {
	s := subject{
		typ:       signal.Type(p.connection, ev),
		topic:     ev.Topic,
		event:     ev.Name,
		busTopics: signal.BusTopics(p.connection, ev.Topic),
	}
	switch ev.Detail.(type) {
	case *phoenix.Message, *phoenix.PushReply, *phoenix.PushTimeout, *phoenix.PushError:
		s.hasEvent = true
	}
	s.hasTopic = s.hasEvent || ev.Topic != ""
	return s
}

// decideBy adds the decision of one rule to d.
func (p *Publisher) decideBy(r *rule, s *subject, d *decision) {
	switch {
	case !r.wantsNames(s):
	case r.Where != nil:
		d.checks = append(d.checks, check{rule: r, outlets: p.outletsOf(r.to)})
	default:
		// An outlet may be there twice: give passes the event to it once.
		d.always = append(d.always, p.outletsOf(r.to)...)
	}
}

// outletsOf returns the outlets for targets, made or remembered.
func (p *Publisher) outletsOf(targets []target) []*outlet {
	outlets := make([]*outlet, 0, len(targets))
	for _, t := range targets {
		o := p.decisions.outlets[t]
		if o == nil {
			if p.decisions.outlets == nil {
				p.decisions.outlets = map[target]*outlet{}
			}
			o = &outlet{target: t, origin: t.origin(p.connection)}
			o.origin.setEpoch(p.epoch)
			if _, isSink := t.(*Sink); isSink {
				o.origin.follow(p.progress)
			}
			p.decisions.outlets[t] = o
		}
		outlets = append(outlets, o)
	}
	return outlets
}

// A Route routes the signals that its filter wants to sinks, by name.
type Route struct {
	Filter
	To []string
}

// A Filter selects signals: those that meet all of its conditions. The zero Filter has none and
// selects all signals.
type Filter struct {
	// Match has to match the type; nil: any.
	Match *Pattern
	// Subscribe has to match one of the bus topics; nil: any.
	Subscribe *Pattern
	// One of the globs of Topic has to match the raw topic, one of Event the raw event. A signal
	// without a topic or event matches no glob. Empty: any.
	Topic, Event []glob.Glob
	// Where has to return true for the signal, which is valid during the call. Where is called on the goroutines of the
	// connections, several at a time. ctx ends after a second, and Where has to return then. After
	// that it is called on another goroutine until it is in time again, and after ten such calls in a
	// row not at all. An error is no match. nil: any.
	Where func(ctx context.Context, s Signal) (bool, error)
}

// A Signal is one that Where is asked about. It is encoded when it has to be.
type Signal interface {
	// Text returns the line in the default format, without its line break.
	Text() []byte
	// Value returns the value of the member inner of the member outer, or with an empty inner that of the member outer itself, as JSON
	// text. It reports whether that is known without a look at the text.
	Value(outer, inner string) (value []byte, known bool)
}

// A subject is what a filter checks of a signal before Where. Signals of one connection with the
// same kind, topic and event have the same subject.
type subject struct {
	typ                string
	topic, event       string
	hasTopic, hasEvent bool
	busTopics          []string
}

// wantsNames reports whether the filter selects the subject, Where aside.
func (f *Filter) wantsNames(s *subject) bool {
	if f.Match != nil && !f.Match.Match(s.typ) {
		return false
	}
	if f.Subscribe != nil && !matchesAny(f.Subscribe, s.busTopics) {
		return false
	}
	return wantsName(f.Topic, s.topic, s.hasTopic) && wantsName(f.Event, s.event, s.hasEvent)
}

func matchesAny(p *Pattern, names []string) bool {
	for _, name := range names {
		if p.Match(name) {
			return true
		}
	}
	return false
}

// wantsName reports whether one of the globs matches the name, or there are no globs.
func wantsName(globs []glob.Glob, name string, has bool) bool {
	if len(globs) == 0 {
		return true
	}
	if !has {
		return false
	}
	for _, g := range globs {
		if g.MatchString(name) {
			return true
		}
	}
	return false
}

const (
	// whereLimit bounds one call of Where.
	whereLimit = time.Second
	// A Where that overruns its limit so many times in a row is not called any more.
	mostOverruns = 10
	// What waits in the lane of a rule is bounded by these.
	laneJobs  = 64
	laneBytes = 1 << 20
)

// failuresEvery is the shortest time between two logs of failures of one Where.
const failuresEvery = time.Minute

// A lane calls a Where that was too slow on a goroutine of its own, so that it holds up no
// connection, until nothing waits for it. The signals of a connection keep their order.
type lane struct {
	mu      sync.Mutex
	running bool
	jobs    []job
	bytes   int
}

// A job is a signal for which Where is still to be called.
type job struct {
	line       lineSignal
	connection string
	seq        uint64
	to         []delivery
	progress   *Progress // holds the signal as long as it waits here
	guard      func() bool
}

// A lineSignal is a Signal of which there is the text alone.
type lineSignal []byte

// Text implements [Signal].
func (s lineSignal) Text() []byte { return s }

// Value implements [Signal].
func (lineSignal) Value(string, string) ([]byte, bool) { return nil, false }

// A delivery is where a signal goes if it satisfies Where.
type delivery struct {
	queue  *Queue
	origin *Origin
	line   []byte
	given  *atomic.Bool // the queue has got the signal
}

var errLate = errors.New("it is slow, and too many signals wait for it")

// busy reports whether signals go to the lane.
func (l *lane) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running
}

// open makes signals go to the lane, the first of which comes soon.
func (l *lane) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = true
}

// add leaves a signal to the lane of a rule, if there is room.
func (l *lane) add(r *rule, j job, log *slog.Logger) {
	size := len(j.line)
	for _, d := range j.to {
		size += len(d.line)
	}
	l.mu.Lock()
	full := len(l.jobs) > 0 && (len(l.jobs) >= laneJobs || l.bytes+size > laneBytes)
	if !full {
		if j.progress != nil {
			j.progress.late.addAll([]mark{{seq: j.seq}})
		}
		l.jobs = append(l.jobs, j)
		l.bytes += size
		if len(l.jobs) == 1 {
			go l.work(r, log)
		}
	}
	l.mu.Unlock()
	if full {
		r.logFailure(log, slog.LevelWarn, j.connection, errLate)
	}
}

// work does the jobs until there is none.
func (l *lane) work(r *rule, log *slog.Logger) {
	var limit callLimit
	for {
		l.mu.Lock()
		j := l.jobs[0]
		l.mu.Unlock()
		done := r.off.Load() || !r.satisfies(&limit, j.line, j.connection, log) || j.deliver()
		if done && j.progress != nil {
			j.progress.late.settleAll([]mark{{seq: j.seq}})
		}
		l.mu.Lock()
		l.jobs[0] = job{}
		l.jobs = l.jobs[1:]
		if len(l.jobs) == 0 {
			l.jobs, l.bytes, l.running = nil, 0, r.overruns.Load() > 0
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// deliver puts the signal into the queues, unless the guard says no.
func (j *job) deliver() (done bool) {
	if j.guard != nil && !j.guard() {
		return false
	}
	for _, d := range j.to {
		if !d.given.Swap(true) {
			c := d.queue.ChunkOf(d.origin)
			c.Commit(append(c.Buffer(), d.line...), j.seq)
			_ = d.queue.Put(context.Background(), c) // the queue counts what it does not take
		}
	}
	return true
}

// countOverrun counts one call in a row that was too slow, and switches Where off after too many.
func (r *rule) countOverrun(log *slog.Logger) {
	r.late.open()
	if r.overruns.Add(1) == mostOverruns {
		r.off.Store(true)
		log.Error("where took longer than a second ten times in a row and is switched off: nothing goes by this route until the configuration is reloaded",
			"rule", r.name)
	}
}

// errSubscriber stands for the error of a subscription's Where, which may show values that are its subscriber's secret.
var errSubscriber = errors.New("the expression of a subscription failed on it")

// errOverrun is the error of a Where that took too long.
var errOverrun = errors.New("it took longer than a second")

// satisfies reports whether Where is true for a signal of the connection. It logs a failure, which counts as false.
func (r *rule) satisfies(limit *callLimit, s Signal, connection string, log *slog.Logger) bool {
	matched, err := limit.call(r.Where, s)
	if err != errOverrun {
		r.overruns.Store(0)
	} else if r.subscriber == nil {
		r.countOverrun(log)
	}
	switch {
	case err == nil:
		return matched
	case r.subscriber == nil:
		r.logFailure(log, slog.LevelWarn, connection, err)
	case err == errOverrun:
		// It would hold up the connections again and again, and only this subscriber wants it.
		r.subscriber.end(fmt.Errorf("the expression of the subscription was given up: %w", err))
	default:
		r.logFailure(log, slog.LevelDebug, connection, errSubscriber)
	}
	return false
}

// A callLimit bounds the time of calls of Where, one after the other. Its context is made anew only after one that took too long.
type callLimit struct {
	ctx   context.Context // nil: there is none
	timer *time.Timer
}

// call calls where. A panic is an error: an expression that cannot cope with what a server sends must not end the connection.
func (l *callLimit) call(where func(context.Context, Signal) (bool, error), s Signal) (matched bool, err error) {
	if l.ctx == nil {
		ctx, cancel := context.WithCancel(context.Background())
		l.ctx, l.timer = ctx, time.AfterFunc(whereLimit, cancel)
	} else {
		l.timer.Reset(whereLimit)
	}
	defer func() {
		inTime := l.timer.Stop()
		if !inTime {
			l.ctx = nil
		}
		if value := recover(); value != nil {
			matched, err = false, fmt.Errorf("it panicked: %v", value)
		} else if !inTime {
			matched, err = false, errOverrun
		}
	}()
	return where(l.ctx, s)
}

// logFailure logs one failure of Where per rule and minute, and how many it did not log.
func (r *rule) logFailure(log *slog.Logger, level slog.Level, connection string, err error) {
	if n, ok := r.failures.pick(1, failuresEvery); ok {
		log.Log(context.Background(), level, "cannot tell whether a signal satisfies where, so it does not: correct the expression",
			"rule", r.name, "connection", connection, "error", err, "others_since_last", n-1)
	}
}
