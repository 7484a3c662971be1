package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"phx/phoenix"
	"phx/router/glob"
	"phx/signal"
)

// A routingModel is a router beside a plain account of what has to come where.
type routingModel struct {
	t          *testing.T
	random     *rand.Rand
	router     *Router
	publishers map[string]*Publisher
	seq        map[string]uint64
	steps      strings.Builder

	sinks  map[string]*modelTarget
	routes []modelRoute
	subs   []*modelTarget
	all    []*modelTarget
}

// A modelTarget is a sink or a subscription with what it should get from each connection.
type modelTarget struct {
	label  string
	format signal.Format
	filter Filter // of a subscription
	sink   *Sink
	sub    *Subscription
	got    recorder
	want   map[string][]string
}

type modelRoute struct {
	filter Filter
	to     []string
}

// TestRoutingAgreesWithModel has random sinks, routes and subscriptions come and go between random
// events.
func TestRoutingAgreesWithModel(t *testing.T) {
	delivered := 0
	for seed := range uint64(120) {
		m := &routingModel{
			t: t, random: rand.New(rand.NewPCG(seed, 7)), router: New(nil),
			publishers: map[string]*Publisher{}, seq: map[string]uint64{}, sinks: map[string]*modelTarget{},
		}
		for _, connection := range []string{"backend", "billing"} {
			m.publishers[connection] = m.router.Publisher(connection)
		}
		m.run()
		if !m.check() {
			t.Fatalf("seed %d:%s", seed, &m.steps)
		}
		for _, target := range m.all {
			delivered += len(target.want["backend"]) + len(target.want["billing"])
		}
	}
	if delivered < 4_000 {
		t.Errorf("only %d signals delivered: the test asks for too little", delivered)
	}
}

func (m *routingModel) run() {
	for range 150 {
		switch n := m.random.IntN(20); {
		case n == 0:
			m.apply()
		case n == 1:
			m.subscribe()
		case n == 2 && len(m.subs) > 0:
			m.unsubscribe()
		case n < 6:
			m.publishers[pick(m.random, "backend", "billing")].Flush()
		default:
			m.put()
		}
	}
	for _, p := range m.publishers {
		p.Flush()
	}
	for len(m.subs) > 0 {
		m.unsubscribe()
	}
	shutdown(m.t, m.router)
}

func pick[T any](random *rand.Rand, choices ...T) T { return choices[random.IntN(len(choices))] }

func (m *routingModel) format() signal.Format {
	return pick(m.random, signal.FormatSignal, signal.FormatCloudEvents, signal.FormatPayload)
}

// apply keeps some sinks, replaces some, and draws new routes.
func (m *routingModel) apply() {
	sinks := map[string]*modelTarget{}
	for _, name := range []string{"a", "b", "c", "d"} {
		switch old := m.sinks[name]; {
		case m.random.IntN(3) == 0:
			continue
		case old != nil && m.random.IntN(2) == 0:
			sinks[name] = old
		default:
			s := m.target("sink " + name)
			s.sink = NewSink(SinkOptions{Name: name, Format: s.format, Bytes: 1 << 30, Policy: DropNewest, Drain: &s.got})
			sinks[name] = s
		}
	}
	m.sinks, m.routes = sinks, nil
	var real []*Sink
	for _, s := range sinks {
		real = append(real, s.sink)
	}
	var routes []Route
	names := slices.Sorted(maps.Keys(sinks))
	for range m.random.IntN(5) {
		if len(names) == 0 {
			break
		}
		route := modelRoute{filter: m.filter()}
		for range 1 + m.random.IntN(3) {
			route.to = append(route.to, pick(m.random, names...))
		}
		m.routes = append(m.routes, route)
		routes = append(routes, Route{Filter: route.filter, To: route.to})
		fmt.Fprintf(&m.steps, "\nroute %v to %v", describe(route.filter), route.to)
	}
	apply(m.t, m.router, real, routes)
}

func (m *routingModel) target(label string) *modelTarget {
	target := &modelTarget{label: fmt.Sprintf("%s (%d)", label, len(m.all)), format: m.format(), want: map[string][]string{}}
	m.all = append(m.all, target)
	return target
}

func (m *routingModel) subscribe() {
	s := m.target("subscription")
	s.filter = m.filter()
	s.sub = m.router.Subscribe(s.filter, s.format, 1<<30)
	m.subs = append(m.subs, s)
	fmt.Fprintf(&m.steps, "\n%s %v", s.label, describe(s.filter))
}

// unsubscribe ends a subscription; what publishers have not handed over yet may be lost to it.
func (m *routingModel) unsubscribe() {
	i := m.random.IntN(len(m.subs))
	for _, p := range m.publishers {
		p.Flush()
	}
	takeWaiting(m.subs[i].sub, &m.subs[i].got)
	m.subs[i].sub.Close()
	m.subs = slices.Delete(m.subs, i, i+1)
}

// filter draws a filter that asks some things.
func (m *routingModel) filter() Filter {
	var f Filter
	pattern := func(choices ...string) *Pattern {
		p := mustCompile(m.t, pick(m.random, choices...))
		return &p
	}
	if m.random.IntN(3) == 0 {
		f.Match = pattern("phoenix.**", "phoenix.backend.**", "phoenix.*.room_lobby.*", "phoenix.*.*.tick", "phoenix.channel.*", "**.reply", "nobody")
	}
	if m.random.IntN(4) == 0 {
		f.Subscribe = pattern("jido.protocol.phoenix.*", "jido.protocol.phoenix.backend.**", "**.room_lobby", "jido.protocol.phoenix.*._")
	}
	if m.random.IntN(4) == 0 {
		f.Topic = m.globs("room:*", "*", "?oom:lobby", "")
	}
	if m.random.IntN(4) == 0 {
		f.Event = m.globs("tick", "*", "user.*", "")
	}
	if m.random.IntN(4) == 0 {
		f.Where = pick(m.random, whereOdd, whereFails)
	}
	return f
}

func (m *routingModel) globs(choices ...string) []glob.Glob {
	var globs []glob.Glob
	for range 1 + m.random.IntN(2) {
		g, err := glob.Compile(pick(m.random, choices...))
		if err != nil {
			m.t.Fatal(err)
		}
		globs = append(globs, g)
	}
	return globs
}

// whereOdd wants the signals with an odd number.
func whereOdd(_ context.Context, s Signal) (bool, error) {
	line := s.Text()
	if bytes.HasSuffix(line, []byte("\n")) {
		return true, errors.New("with its line break")
	}
	digit := line[bytes.LastIndexByte(line, ':')+1 : len(line)-2]
	return digit[len(digit)-1]%2 == 1, nil
}

func whereFails(context.Context, Signal) (bool, error) { return true, errors.New("cannot say") }

func describe(f Filter) string {
	return fmt.Sprintf("match %v subscribe %v topic %v event %v where %v", f.Match, f.Subscribe, f.Topic, f.Event, f.Where != nil)
}

// event draws an event, and says what it has.
func (m *routingModel) event() (ev *phoenix.Event, hasTopic, hasEvent bool) {
	ev = messageOf(pick(m.random, "room:lobby", "room:1", "user.7", ""), pick(m.random, "tick", "user.typing", ""), 0)
	switch m.random.IntN(8) {
	case 0:
		ev.Name, ev.Detail = "", &phoenix.Joined{}
		ev.Topic = pick(m.random, "room:lobby", "room:1")
		return ev, true, false
	case 1:
		ev.Topic, ev.Name, ev.Payload, ev.Detail = "", "", phoenix.Payload{}, &phoenix.Connecting{URI: "ws://host", Attempt: 1}
		return ev, false, false
	case 2:
		ev.Detail = &phoenix.PushReply{Status: "ok"}
	case 3:
		ev.Payload, ev.Detail = phoenix.Payload{}, &phoenix.PushTimeout{}
	}
	return ev, true, true
}

func (m *routingModel) put() {
	connection := pick(m.random, "backend", "billing")
	ev, hasTopic, hasEvent := m.event()
	m.seq[connection]++
	ev.Seq = m.seq[connection]
	fmt.Fprintf(&m.steps, "\n%s: %T %q %q %d", connection, ev.Detail, ev.Topic, ev.Name, ev.Seq)
	wanted := func(f Filter) bool { return wantsByReference(f, connection, ev, hasTopic, hasEvent) }
	reached := map[*modelTarget]bool{}
	for _, route := range m.routes {
		if wanted(route.filter) {
			for _, name := range route.to {
				reached[m.sinks[name]] = true
			}
		}
	}
	for _, s := range m.subs {
		reached[s] = wanted(s.filter)
	}
	for target, isReached := range reached {
		if line := lineOf(target.format, connection, ev); isReached && line != "" {
			target.want[connection] = append(target.want[connection], line)
		}
	}
	m.publishers[connection].Publish(ev)
}

// wantsByReference says what a filter means, without any cleverness.
func wantsByReference(f Filter, connection string, ev *phoenix.Event, hasTopic, hasEvent bool) bool {
	onBus := func(topic string) bool { return matchesByReference(f.Subscribe.String(), topic) }
	globbed := func(globs []glob.Glob, has bool, name string) bool {
		return globs == nil || has && slices.ContainsFunc(globs, func(g glob.Glob) bool { return g.MatchString(name) })
	}
	switch {
	case f.Match != nil && !matchesByReference(f.Match.String(), signal.Type(connection, ev)),
		f.Subscribe != nil && !slices.ContainsFunc(signal.BusTopics(connection, ev.Topic), onBus),
		!globbed(f.Topic, hasTopic, ev.Topic), !globbed(f.Event, hasEvent, ev.Name):
		return false
	case f.Where == nil:
		return true
	}
	matched, err := f.Where(context.Background(), lineSignal(strings.TrimSuffix(lineOf(signal.FormatSignal, connection, ev), "\n")))
	return matched && err == nil
}

// check compares what each target got from each connection, whole.
func (m *routingModel) check() bool {
	ok := true
	for _, target := range m.all {
		if target.sink != nil {
			<-target.sink.done
		}
		for connection := range m.publishers {
			if !slices.Equal(target.got.lines[connection], target.want[connection]) {
				m.t.Errorf("%s got from %s\n%q\nwant\n%q", target.label, connection, target.got.lines[connection], target.want[connection])
				ok = false
			}
		}
	}
	return ok
}
