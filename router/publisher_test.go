package router

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/signal"
)

// TestLinesOfAllFormats: each sink gets what an encoder of its format writes, whichever was
// encoded first, and huge lines, too.
func TestLinesOfAllFormats(t *testing.T) {
	events := []*phoenix.Event{
		tick(1), messageOf("a b", "\x01", 2), tick(3),
		{Time: tick(4).Time, Seq: 4, Detail: &phoenix.Connecting{Attempt: 1}},
	}
	huge := messageOf("room:lobby", "huge", 5)
	huge.Payload = phoenix.JSON(`"` + strings.Repeat("x", 300<<10) + `"`)
	events = append(events, huge, tick(6))
	where := func(context.Context, Signal) (bool, error) { return true, nil }

	r := New(nil)
	var sinks []*Sink
	var routes []Route
	recorders := map[string]*recorder{}
	formats := map[string]signal.Format{}
	for i := range 12 {
		name := "sink" + strconv.Itoa(i)
		formats[name] = signal.Format(i % 4)
		recorders[name] = &recorder{}
		sinks = append(sinks, NewSink(SinkOptions{Name: name, Format: formats[name], Bytes: 1 << 30, Policy: DropOldest, Drain: recorders[name]}))
		route := Route{To: []string{name}}
		if i < 8 {
			route.Where = where
		}
		routes = append(routes, route)
	}
	apply(t, r, sinks, routes)
	p := r.Publisher("backend")
	for _, ev := range events {
		p.Publish(ev)
	}
	p.Flush()
	shutdown(t, r)
	for name, format := range formats {
		var want []string
		for _, ev := range events {
			if line := lineOf(format, "backend", ev); line != "" {
				want = append(want, line)
			}
		}
		if got := recorders[name].lines["backend"]; !slices.Equal(got, want) {
			t.Errorf("%s (%v): %d lines %.300q, want %d", name, format, len(got), got, len(want))
		}
	}
}

// TestPublisherFlushesByItself: a sink that gets little of much does not wait for it.
func TestPublisherFlushesByItself(t *testing.T) {
	r := New(nil)
	rare := mustCompile(t, "**.rare")
	s := r.Subscribe(Filter{Match: &rare}, signal.FormatSignal, 1<<20)
	p := r.Publisher("backend")
	p.Publish(messageOf("room:lobby", "rare", 1))
	for seq := range uint64(maxUnflushed - 1) {
		p.Publish(tick(seq + 2))
	}
	if n, _ := s.queue.Len(); n != 1 {
		t.Errorf("%d signals handed over after %d events, want 1", n, maxUnflushed)
	}
	if p.table != nil {
		t.Error("the publisher still uses its table")
	}
}

// TestUnknownEvent: what has no signal goes nowhere.
func TestUnknownEvent(t *testing.T) {
	r := New(nil)
	s := r.Subscribe(Filter{}, signal.FormatSignal, 1<<20)
	p := r.Publisher("backend")
	p.Publish(&phoenix.Event{Seq: 1})
	p.Flush()
	if n, _ := s.queue.Len(); n != 0 {
		t.Errorf("%d signals of an event that has none", n)
	}
}

// TestDecisionsStayBounded: a server that invents topics fills no memory.
func TestDecisionsStayBounded(t *testing.T) {
	r := New(nil)
	apply(t, r, []*Sink{roomySink("out", Discard())}, toAll("out"))
	p := r.Publisher("backend")
	most := 0
	for i := range 20_000 {
		p.Publish(messageOf("room:"+strconv.Itoa(i), strings.Repeat("e", i%200), uint64(i+1)))
		most = max(most, len(p.decisions.kept))
		if p.decisions.size > decisionCache {
			t.Fatalf("%d bytes of decisions", p.decisions.size)
		}
	}
	p.Publish(messageOf(strings.Repeat("t", 2*decisionCache), "e", 20_001))
	if p.decisions.size > decisionCache {
		t.Errorf("%d bytes of decisions", p.decisions.size)
	}
	if most < 30 {
		t.Errorf("never more than %d decisions kept", most)
	}
	p.Flush()
	shutdown(t, r)
}

// usual is a router as many have one: a few routes, one of them for little, one with a where.
func usual(tb testing.TB) *Router {
	compile := func(text string) *Pattern {
		p, err := CompilePattern(text)
		if err != nil {
			tb.Fatal(err)
		}
		return &p
	}
	never := func(context.Context, Signal) (bool, error) { return false, nil }
	r := New(nil)
	err := r.Apply([]*Sink{
		roomySink("out", Discard()), roomySink("copy", Discard()),
		NewSink(SinkOptions{Name: "hook", Format: signal.FormatCloudEvents, Bytes: 1 << 30, Policy: DropOldest, Drain: Discard()}),
	}, []Route{
		{To: []string{"out"}},
		{Filter: Filter{Match: compile("phoenix.backend.**")}, To: []string{"copy", "out"}},
		{Filter: Filter{Subscribe: compile("jido.protocol.phoenix.backend")}, To: []string{"hook"}},
		{Filter: Filter{Match: compile("phoenix.connection.*"), Where: never}, To: []string{"hook"}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// TestPublisherAllocatesNothing in the steady state.
func TestPublisherAllocatesNothing(t *testing.T) {
	r := usual(t)
	p := r.Publisher("backend")
	events := []*phoenix.Event{tick(1), messageOf("room:lobby", "tock", 2), messageOf("room:1", "tick", 3)}
	allocs := testing.AllocsPerRun(2000, func() {
		for _, ev := range events {
			p.Publish(ev)
		}
		p.Flush()
	})
	if allocs > 0 {
		t.Errorf("%v allocations for three events", allocs)
	}
	shutdown(t, r)
}

// TestIdlePublisherHoldsLittle: no chunk, and little memory. (A second format costs about 3 KiB.)
func TestIdlePublisherHoldsLittle(t *testing.T) {
	r := New(nil)
	apply(t, r, []*Sink{roomySink("out", Discard()), roomySink("copy", Discard())}, []Route{
		{To: []string{"out"}},
		{Filter: Filter{Where: whereOdd}, To: []string{"copy"}},
	})
	const n = 500
	publishers := make([]*Publisher, n)
	before := heap()
	for i := range publishers {
		p := r.Publisher("backend")
		p.Publish(&phoenix.Event{Seq: 1, Detail: &phoenix.Connecting{Attempt: 1}})
		p.Publish(&phoenix.Event{Seq: 2, Detail: &phoenix.Connected{}})
		p.Publish(&phoenix.Event{Seq: 3, Topic: "room:lobby", Detail: &phoenix.Joined{}})
		p.Publish(tick(4))
		p.Flush()
		if p.table != nil || len(p.collected) > 0 || p.scratch != nil {
			t.Fatal("an idle publisher holds something")
		}
		publishers[i] = p
	}
	// What waits is the sinks', and the pools'.
	shutdown(t, r)
	if each := (int64(heap()) - int64(before)) / n; each > 8<<10 {
		t.Errorf("an idle publisher holds %d bytes", each)
	} else {
		t.Logf("an idle publisher holds %d bytes", each)
	}
	runtime.KeepAlive(publishers)
}

func BenchmarkPublisher(b *testing.B) {
	for name, batch := range map[string]int{"busy": 100, "one at a time": 1} {
		b.Run(name, func(b *testing.B) {
			p := usual(b).Publisher("backend")
			ev := tick(1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Publish(ev)
				if i%batch == 0 {
					p.Flush()
				}
			}
		})
	}
}

// overrun is a Where that comes to no end.
func overrun(ctx context.Context, _ Signal) (bool, error) {
	<-ctx.Done()
	return true, nil
}

// TestWhereThatFails does not match, is logged once a minute and harms no other route.
func TestWhereThatFails(t *testing.T) {
	failing := map[string]func(context.Context, Signal) (bool, error){
		"cannot iterate over a number": func(context.Context, Signal) (bool, error) { return true, errors.New("cannot iterate over a number") },
		"it panicked: boom":            func(context.Context, Signal) (bool, error) { panic("boom") },
		"longer than a second":         overrun,
	}
	for message, where := range failing {
		synctest.Test(t, func(t *testing.T) {
			var out, other recorder
			log := &logBook{}
			r := New(log.logger())
			apply(t, r, []*Sink{roomySink("out", &out), roomySink("other", &other)}, []Route{
				{To: []string{"other"}},
				{Filter: Filter{Where: where}, To: []string{"out"}},
			})
			p := r.Publisher("backend")
			start := time.Now()
			for seq := range uint64(5) {
				p.Publish(tick(seq + 1))
			}
			p.Flush()
			if took := time.Since(start); took > whereLimit {
				t.Errorf("%s: five events took %v", message, took)
			}
			if n := log.count(message); n != 1 || log.count(`rule="route 2"`) != 1 || log.count("connection=backend") != 1 {
				t.Errorf("%s: logged %d times, want once: %s", message, n, &log.text)
			}
			time.Sleep(failuresEvery)
			p.Publish(tick(6))
			p.Flush()
			time.Sleep(2 * whereLimit) // one that was too slow is called on another goroutine
			if log.count(message) != 2 || log.count("others_since_last=4") != 1 {
				t.Errorf("%s: after a minute: %s", message, &log.text)
			}
			shutdown(t, r)
			if got := out.of("backend"); got != nil {
				t.Errorf("%s: matched %v", message, got)
			}
			if got := other.of("backend"); !slices.Equal(got, numbers(6)) {
				t.Errorf("%s: the other route got %v", message, got)
			}
		})
	}
}

// TestEndlessWhere: it holds up its connection once, and after ten overruns it is switched off until
// the next configuration.
func TestEndlessWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, other recorder
		log := &logBook{}
		r := New(log.logger())
		var calls atomic.Int32
		sinks := []*Sink{roomySink("out", &out), roomySink("other", &other)}
		routes := []Route{
			{Filter: Filter{Where: func(ctx context.Context, s Signal) (bool, error) { calls.Add(1); return overrun(ctx, s) }}, To: []string{"out"}},
			{To: []string{"other"}},
		}
		apply(t, r, sinks, routes)
		p := r.Publisher("backend")
		start := time.Now()
		for seq := range uint64(100) {
			p.Publish(tick(seq + 1))
		}
		p.Flush()
		if took := time.Since(start); took != whereLimit {
			t.Errorf("100 events took %v, want %v", took, whereLimit)
		}
		time.Sleep(time.Minute)
		if calls.Load() != 10 || log.count("is switched off") != 1 || log.count("level=ERROR") != 1 {
			t.Errorf("where was called %d times: %s", calls.Load(), &log.text)
		}
		apply(t, r, sinks, routes)
		p.Publish(tick(101))
		p.Flush()
		if calls.Load() != 11 {
			t.Errorf("where was called %d times, want once more after a reload", calls.Load())
		}
		shutdown(t, r)
		if got := other.of("backend"); !slices.Equal(got, numbers(101)) {
			t.Errorf("the other route got %v", got)
		}
	})
}

// TestSlowWhere: what waits for one that was too slow once comes late, in order and once.
func TestSlowWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out recorder
		r := New(nil)
		slow := func(ctx context.Context, s Signal) (bool, error) {
			if line := string(s.Text()); strings.Contains(line, `"seq":1,`) || strings.Contains(line, `"seq":1}`) {
				return overrun(ctx, s)
			}
			time.Sleep(10 * time.Millisecond)
			return true, nil
		}
		apply(t, r, []*Sink{roomySink("out", &out)}, []Route{
			{Filter: Filter{Where: slow}, To: []string{"out"}}, {Filter: Filter{Where: slow}, To: []string{"out"}},
		})
		p := r.Publisher("backend")
		for seq := range uint64(20) {
			p.Publish(tick(seq + 1))
		}
		p.Flush()
		time.Sleep(time.Minute)
		p.Publish(tick(21))
		p.Flush()
		shutdown(t, r)
		if got := out.of("backend"); !slices.Equal(got, numbers(21)[1:]) {
			t.Errorf("the sink got %v", got)
		}
	})
}

// TestWhereOfASubscription: one that takes too long ends its subscription, an error does not.
func TestWhereOfASubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logBook{}
		r := New(log.logger())
		endless := r.Subscribe(Filter{Where: overrun}, signal.FormatSignal, 1<<20)
		failing := r.Subscribe(Filter{Where: whereFails}, signal.FormatSignal, 1<<20)
		p := r.Publisher("backend")
		start := time.Now()
		for seq := range uint64(3) {
			p.Publish(tick(seq + 1))
		}
		p.Flush()
		if took := time.Since(start); took != whereLimit {
			t.Errorf("three events took %v, want %v", took, whereLimit)
		}
		if _, err := endless.Take(t.Context()); !errors.Is(err, errOverrun) || !strings.Contains(err.Error(), "given up") {
			t.Errorf("Take of the endless one: %v", err)
		}
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := failing.Take(soon); err != context.DeadlineExceeded {
			t.Errorf("Take of the failing one: %v", err)
		}
		if log.count("level=WARN") != 0 || log.count("level=DEBUG") != 1 {
			t.Errorf("the log of what only a subscriber does wrong: %s", &log.text)
		}
		endless.Close()
		failing.Close()
		shutdown(t, r)
	})
}

// TestSignalOfWhere: what a signal tells of its values is what its text has there, before the text is asked for and after it.
func TestSignalOfWhere(t *testing.T) {
	var out recorder
	var known []string
	where := func(_ context.Context, s Signal) (bool, error) {
		paths := [][2]string{{"data", "payload"}, {"metadata", "phoenix_topic"}, {"metadata", "phoenix_event"}, {"data", ""}, {"metadata", ""}, {"type", ""}, {"data", "none"}}
		for range 2 {
			for _, path := range paths {
				value, isKnown := s.Value(path[0], path[1])
				if !isKnown {
					continue
				}
				known = append(known, path[0]+" "+path[1])
				var members map[string]json.RawMessage
				if err := json.Unmarshal(s.Text(), &members); err != nil {
					t.Fatal(err)
				}
				want := members[path[0]]
				if path[1] != "" {
					var inner map[string]json.RawMessage
					if err := json.Unmarshal(want, &inner); err != nil {
						t.Fatal(err)
					}
					want = inner[path[1]]
				}
				if string(value) != string(want) {
					t.Errorf("%v is %s, want %s", path, value, want)
				}
			}
		}
		return true, nil
	}
	r := New(nil)
	apply(t, r, []*Sink{roomySink("out", &out)}, []Route{{Filter: Filter{Where: where}, To: []string{"out"}}})
	p := r.Publisher("backend")
	p.Publish(messageOf("room:\"é\"", "new msg", 1))
	p.Publish(&phoenix.Event{Seq: 2, Topic: "t", Detail: &phoenix.Joined{}})
	p.Flush()
	shutdown(t, r)
	slices.Sort(known)
	want := []string{"data ", "data payload", "metadata ", "metadata phoenix_event", "metadata phoenix_topic"}
	if got := slices.Compact(known); !slices.Equal(got, want) {
		t.Errorf("known are %q, want %q", got, want)
	}
}

// TestWhereIsAskedOnlyIfItMatters: not for sinks that get the signal anyway.
func TestWhereIsAskedOnlyIfItMatters(t *testing.T) {
	asked := 0
	where := func(context.Context, Signal) (bool, error) { asked++; return true, nil }
	var out recorder
	r := New(nil)
	apply(t, r, []*Sink{roomySink("out", &out), roomySink("other", Discard())}, []Route{
		{Filter: Filter{Where: where}, To: []string{"out"}},
		{To: []string{"out"}},
		{Filter: Filter{Where: where}, To: []string{"other"}},
		{Filter: Filter{Where: where}, To: []string{"other", "out"}},
	})
	p := r.Publisher("backend")
	p.Publish(tick(1))
	p.Flush()
	shutdown(t, r)
	if got := out.of("backend"); asked != 1 || !slices.Equal(got, numbers(1)) {
		t.Errorf("asked %d times, want once; got %v", asked, got)
	}
}

// A guard that says no keeps back what waits to be handed over, whole batches and full chunks alike, and counts nothing as lost.
func TestGuard(t *testing.T) {
	var out recorder
	var mayPass atomic.Bool
	mayPass.Store(true)
	r := New(nil)
	apply(t, r, []*Sink{roomySink("s", &out)}, []Route{{To: []string{"s"}}})
	p := r.Publisher("backend")
	progress := NewProgress()
	p.Follow(progress)
	p.SetEpoch(7)
	p.Guard(mayPass.Load)
	large := func(seq uint64) *phoenix.Event {
		ev := messageOf("t", "e", seq)
		ev.Payload = phoenix.JSON(`"` + strings.Repeat("x", 10_000) + `"`)
		return ev
	}
	p.Publish(tick(1))
	p.Flush()
	mayPass.Store(false)
	p.Publish(tick(2))
	p.Flush()
	for seq := range uint64(100) { // more than a chunk holds: they would go out without a flush
		p.Publish(large(3 + seq))
	}
	p.Flush()
	mayPass.Store(true)
	p.SetEpoch(9)
	p.Publish(tick(200))
	p.Flush()
	stats := r.Stats()
	shutdown(t, r)
	if done := progress.Done(); done != 1 {
		t.Errorf("done up to %d, want 1: what was kept back is not done with", done)
	}
	if got := out.of("backend"); !slices.Equal(got, []uint64{1, 200}) {
		t.Errorf("signals %v", got)
	}
	if text := strings.Join(out.lines["backend"], ""); strings.Count(text, `"epoch":7,`) != 1 || strings.Count(text, `"epoch":9,`) != 1 {
		t.Errorf("epochs in %s", text)
	}
	if _, lost := stats[0].Sum(); lost != 0 {
		t.Errorf("%d count as lost", lost)
	}
}

// What waits for a slow Where when the guard begins to say no is kept back, too.
func TestGuardOfSlowWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out recorder
		var mayNotPass atomic.Bool
		r := New(nil)
		where := func(ctx context.Context, s Signal) (bool, error) {
			if strings.HasSuffix(string(s.Text()), `"seq":1}}`) {
				return overrun(ctx, s)
			}
			time.Sleep(10 * time.Millisecond)
			return true, nil
		}
		apply(t, r, []*Sink{roomySink("out", &out)}, []Route{{Filter: Filter{Where: where}, To: []string{"out"}}})
		p := r.Publisher("backend")
		progress := NewProgress()
		p.Follow(progress)
		p.Guard(func() bool { return !mayNotPass.Load() })
		p.SetEpoch(7)
		for seq := range uint64(4) {
			p.Publish(tick(seq + 1))
		}
		p.Flush()
		time.Sleep(15 * time.Millisecond)
		mayNotPass.Store(true)
		time.Sleep(time.Minute)
		stats := r.Stats()
		shutdown(t, r)
		if done := progress.Done(); done != 2 {
			t.Errorf("done up to %d, want 2: what was kept back is not done with", done)
		}
		if got := out.of("backend"); !slices.Equal(got, []uint64{2}) {
			t.Errorf("the sink got %v, want 2 alone", got)
		}
		if _, lost := stats[0].Sum(); lost != 0 {
			t.Errorf("%d count as lost", lost)
		}
	})
}
