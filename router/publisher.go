package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	"phx/phoenix"
	"phx/router/glob"
	"phx/signal"
)

// A Publisher takes the events of one run of one connection. It belongs to one goroutine, which calls [Publisher.Flush] before it waits for
// the next event, and when it ends, however it ends.
type Publisher struct {
	router     *Router
	connection string
	formats    []encoding // by signal.Format

	table     *table // in use since the first event after a Flush; nil: none
	unflushed int    // events since then
	decisions decisions
	collected []*outlet // those with a chunk
	turn      uint64    // the number of the event that is being put
	scratch   *[]byte   // holds the line of an event that nobody wants yet; nil: none needed so far
}

// Publisher returns a publisher for a connection of that name, which has to satisfy [signal.CheckName].
func (r *Router) Publisher(connection string) *Publisher {
	return &Publisher{router: r, connection: connection, formats: make([]encoding, len(signal.Formats()))}
}

// An encoding is the line of the current event in one format.
type encoding struct {
	encoder *signal.Encoder // nil: not needed so far
	line    []byte          // in a chunk or in the scratch
	turn    uint64          // of which event
}

// An outlet is what a publisher has for each target: the chunk that it fills, if it has something for it.
type outlet struct {
	target target
	origin *Origin
	queue  *Queue // whose the chunk is
	chunk  *Chunk
	turn   uint64 // the last event it got
}

const (
	// maxUnflushed is after how many events a publisher flushes by itself: a sink that gets few of the signals of a connection that never
	// rests should not wait for them until a chunk is full.
	maxUnflushed = 1024
	// encoderCache is what an encoder of a publisher may remember, in bytes.
	encoderCache = 16 << 10
)

// Publish leads an event to the sinks and subscriptions that want it. It waits for none of them.
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
	for _, a := range d.asks {
		if !p.reached(a.outlets) && a.rule.satisfies(p.defaultLine(ev), p.connection, p.router.log) {
			for _, o := range a.outlets {
				p.give(o, ev)
			}
		}
	}
	if p.unflushed++; p.unflushed == maxUnflushed {
		p.Flush()
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

// give appends the event's line to the outlet's chunk, unless it is there already. The chunk is put only at the outlet's next event:
// until the end of this one, others copy the line from there.
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
		o.put()
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
	if e.encoder == nil {
		e.encoder = signal.NewEncoder(format, p.connection)
		e.encoder.CacheAtMost(encoderCache)
	}
	start := len(dst)
	dst = e.encoder.Append(dst, ev)
	e.line, e.turn = dst[start:], p.turn
	return dst
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

// put hands over the outlet's chunk. The queue counts what it does not take, and announces it if there is still somebody to read.
func (o *outlet) put() {
	o.queue.Put(context.Background(), o.chunk)
	o.chunk = nil
}

// Flush hands over what Publish has collected.
func (p *Publisher) Flush() {
	if p.table == nil {
		return
	}
	for i, o := range p.collected {
		o.put()
		o.queue = nil
		p.collected[i] = nil
	}
	p.collected = p.collected[:0]
	for i := range p.formats {
		p.formats[i].line = nil // the chunk it is in is not ours any more
	}
	p.returnScratch()
	p.unflushed = 0
	p.table.release()
	p.table = nil
}

// scratches are shared by all publishers, as most of them are idle most of the time.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

// mostScratch is the capacity from which a scratch buffer, after a very large line, is left to the collector.
const mostScratch = 64 << 10

func (p *Publisher) returnScratch() {
	if p.scratch != nil && cap(*p.scratch) <= mostScratch {
		scratches.Put(p.scratch)
	}
	p.scratch = nil
}

// decisionCache is what a publisher may remember of decisions, in bytes. The server chooses topics and events.
const decisionCache = 16 << 10

// A decision says where events of one key go.
type decision struct {
	always []*outlet
	asks   []ask // what depends on the event itself
}

// An ask is a rule whose Where decides about outlets.
type ask struct {
	rule    *rule
	outlets []*outlet
}

// A decisionKey is all of an event that a filter looks at before Where.
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

// keep remembers a decision and forgets all others when there is no room; it reports false for one that is too large.
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
	size := 160 + 8*cap(d.always) + 32*cap(d.asks)
	for _, a := range d.asks {
		size += 8 * cap(a.outlets)
	}
	return size
}

// newDecision asks all rules.
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

// subject returns what filters ask of an event.
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

// decideBy adds to d what a rule makes of a subject.
func (p *Publisher) decideBy(r *rule, s *subject, d *decision) {
	switch {
	case !r.wantsNames(s):
	case r.Where != nil:
		d.asks = append(d.asks, ask{rule: r, outlets: p.outletsOf(r.to)})
	default:
		// That some of them get the signal anyway is seen when it is given to them.
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
			p.decisions.outlets[t] = o
		}
		outlets = append(outlets, o)
	}
	return outlets
}

// A Route leads the signals that its filter wants to sinks, which it names.
type Route struct {
	Filter
	To []string
}

// A Filter says which signals somebody wants: those that satisfy everything it asks. The zero Filter asks nothing and wants them
// all.
type Filter struct {
	// Match has to match the type.
	Match *Pattern
	// Subscribe has to match one of the bus topics.
	Subscribe *Pattern
	// Topic and Event: one of the globs has to match the raw topic, the raw event. A signal that has none matches no glob. Empty:
	// not asked.
	Topic, Event []glob.Glob
	// Where has to return true for the signal's line in the default format, which is without its line break and valid during the
	// call. It runs on the goroutines of the connections, several at a time, each call for at most a second: then ctx ends, and it
	// has to return. An error does not match.
	Where func(ctx context.Context, line []byte) (bool, error)
}

// A subject is what a filter asks of a signal before it looks into it. All that differs between signals of one connection is
// their kind, topic and event.
type subject struct {
	typ                string
	topic, event       string
	hasTopic, hasEvent bool
	busTopics          []string
}

// wantsNames reports whether the filter wants the subject, as far as Where is not asked.
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

// wantsName reports whether one of the globs matches the name, if there is one, or no glob asks.
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

// whereLimit is how long a Where may look at one signal.
const whereLimit = time.Second

// failuresEvery is how often the failures of one rule's Where are logged at most.
const failuresEvery = time.Minute

// errOverrun is the error of a Where that took too long.
var errOverrun = errors.New("it took longer than a second")

// satisfies reports whether Where is true for the line of a signal of that connection, and logs if it cannot tell.
func (r *rule) satisfies(line []byte, connection string, log *slog.Logger) bool {
	matched, err := callWhere(r.Where, line)
	switch {
	case err == nil:
		return matched
	case r.subscriber == nil:
		r.logFailure(log, slog.LevelWarn, connection, err)
	case err == errOverrun:
		// It would hold up the connections again and again; and nobody else has asked for it.
		r.subscriber.end(fmt.Errorf("the expression of the subscription was given up: %w", err))
	default:
		r.logFailure(log, slog.LevelDebug, connection, err)
	}
	return false
}

// callWhere calls where and bounds it. What an expression makes of what a server sends is beyond foresight: if it panics, that is
// the expression's failure and not the connection's.
func callWhere(where func(context.Context, []byte) (bool, error), line []byte) (matched bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), whereLimit)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			matched, err = false, fmt.Errorf("it panicked: %v", value)
		}
	}()
	matched, err = where(ctx, line)
	if ctx.Err() != nil {
		return false, errOverrun
	}
	return matched, err
}

// logFailure logs one of the failures of a rule's Where a minute.
func (r *rule) logFailure(log *slog.Logger, level slog.Level, connection string, err error) {
	if n, ok := r.failures.pick(failuresEvery); ok {
		log.Log(context.Background(), level, "cannot tell whether a signal satisfies where, so it does not: correct the expression",
			"rule", r.name, "connection", connection, "error", err, "others_since_last", n-1)
	}
}
