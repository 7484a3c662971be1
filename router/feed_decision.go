package router

import (
	"reflect"
	"strings"

	"phx/phoenix"
	"phx/signal"
)

// decisionCache is what a feed may remember of decisions, in bytes. The server chooses topics and events.
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

// decisions are what a feed remembers of one table.
type decisions struct {
	number    uint64 // of the table
	latestKey decisionKey
	latest    *decision // nil: none; streams repeat themselves
	kept      map[decisionKey]*decision
	size      int // about how many bytes the decisions hold
	outlets   map[target]*outlet
}

// decide returns where an event goes by the feed's table.
func (f *Feed) decide(ev *phoenix.Event) *decision {
	known := &f.decisions
	if known.number != f.table.number {
		*known = decisions{number: f.table.number}
	}
	key := decisionKey{detail: reflect.TypeOf(ev.Detail), topic: ev.Topic, name: ev.Name}
	if known.latest != nil && known.latestKey == key {
		return known.latest
	}
	d := known.kept[key]
	if d == nil {
		// The key outlives the event it came from.
		key.topic, key.name = strings.Clone(key.topic), strings.Clone(key.name)
		d = f.newDecision(ev)
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
func (f *Feed) newDecision(ev *phoenix.Event) *decision {
	d := &decision{}
	s := f.subject(ev)
	if s.typ == "" {
		return d // there is no signal of such an event
	}
	for _, r := range f.table.routes {
		f.decideBy(r, &s, d)
	}
	for _, subscription := range f.table.subscriptions {
		f.decideBy(&subscription.rule, &s, d)
	}
	return d
}

// decideBy adds to d what a rule makes of a subject.
func (f *Feed) decideBy(r *rule, s *subject, d *decision) {
	switch {
	case !r.wantsNames(s):
	case r.Where != nil:
		d.asks = append(d.asks, ask{rule: r, outlets: f.outletsOf(r.to)})
	default:
		// That some of them get the signal anyway is seen when it is given to them.
		d.always = append(d.always, f.outletsOf(r.to)...)
	}
}

// outletsOf returns the outlets for targets, made or remembered.
func (f *Feed) outletsOf(targets []target) []*outlet {
	outlets := make([]*outlet, 0, len(targets))
	for _, t := range targets {
		o := f.decisions.outlets[t]
		if o == nil {
			if f.decisions.outlets == nil {
				f.decisions.outlets = map[target]*outlet{}
			}
			o = &outlet{target: t, origin: t.origin(f.connection)}
			f.decisions.outlets[t] = o
		}
		outlets = append(outlets, o)
	}
	return outlets
}

// subject returns what filters ask of an event.
func (f *Feed) subject(ev *phoenix.Event) subject {
	s := subject{
		typ:       signal.Type(f.connection, ev),
		topic:     ev.Topic,
		event:     ev.Name,
		busTopics: signal.BusTopics(f.connection, ev.Topic),
	}
	switch ev.Detail.(type) {
	case phoenix.Message, *phoenix.PushReply, *phoenix.PushTimeout, *phoenix.PushError:
		s.hasEvent = true
	}
	s.hasTopic = s.hasEvent || ev.Topic != ""
	return s
}
