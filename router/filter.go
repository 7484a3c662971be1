package router

import (
	"context"

	"phx/router/glob"
)

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

// A Route leads the signals that its filter wants to sinks, which it names.
type Route struct {
	Filter
	To []string
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
