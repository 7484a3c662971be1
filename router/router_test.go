package router

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/signal"
)

func TestSinkGetsASignalOnce(t *testing.T) {
	var all, some recorder
	r := New(nil)
	some1 := mustCompile(t, "phoenix.backend.**")
	apply(t, r, []*Sink{roomySink("all", &all), roomySink("some", &some)}, []Route{
		{To: []string{"all"}},
		{Filter: Filter{Match: &some1}, To: []string{"some", "all"}},
		{To: []string{"all", "all"}},
	})
	backend, billing := r.Feed("backend"), r.Feed("billing")
	for seq := range uint64(3) {
		backend.Put(tick(seq + 1))
		billing.Put(tick(seq + 1))
	}
	backend.Flush()
	billing.Flush()
	shutdown(t, r)
	for _, check := range []struct {
		name string
		got  []uint64
		want []uint64
	}{
		{"all of backend", all.of("backend"), numbers(3)},
		{"all of billing", all.of("billing"), numbers(3)},
		{"some of backend", some.of("backend"), numbers(3)},
		{"some of billing", some.of("billing"), nil},
	} {
		if !slices.Equal(check.got, check.want) {
			t.Errorf("%s: %v, want %v", check.name, check.got, check.want)
		}
	}
}

func TestNoRouteLeadsNowhere(t *testing.T) {
	var out recorder
	r := New(nil)
	f := r.Feed("backend")
	f.Put(tick(1))
	f.Flush()
	apply(t, r, []*Sink{roomySink("out", &out)}, nil)
	f.Put(tick(2))
	f.Flush()
	f.Flush()
	shutdown(t, r)
	if got := out.of("backend"); got != nil {
		t.Errorf("%v came without a route", got)
	}
}

func TestApplyErrorsChangeNothing(t *testing.T) {
	var out recorder
	r := New(nil)
	sink := roomySink("out", &out)
	gone := roomySink("gone", Discard())
	apply(t, r, []*Sink{sink, gone}, toAll("out"))
	apply(t, r, []*Sink{sink}, toAll("out"))
	<-gone.done
	for want, change := range map[string]func() error{
		`two sinks called "out"`: func() error { return r.Apply([]*Sink{sink, roomySink("out", Discard())}, nil) },
		`no sink of that name`:   func() error { return r.Apply([]*Sink{sink}, toAll("out", "audit")) },
		`taken away before`:      func() error { return r.Apply([]*Sink{sink, roomySink("new", Discard()), gone}, nil) },
	} {
		if err := change(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	f := r.Feed("backend")
	f.Put(tick(1))
	f.Flush()
	shutdown(t, r)
	if got := out.of("backend"); !slices.Equal(got, numbers(1)) {
		t.Errorf("after the errors: %v", got)
	}
	if err := r.Apply([]*Sink{sink}, nil); err != ErrShutDown {
		t.Errorf("Apply after Shutdown: %v", err)
	}
	shutdown(t, r) // does nothing
}

// TestReplacementWaits: of two sinks of one name, the second delivers when the first has.
func TestReplacementWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var first, second, third recorder
		r := New(nil)
		slow := drainFunc(func(ctx context.Context, q *Queue) error {
			<-release
			return first.Run(ctx, q)
		})
		apply(t, r, []*Sink{roomySink("out", slow)}, toAll("out"))
		f := r.Feed("backend")
		f.Put(tick(1))
		apply(t, r, []*Sink{roomySink("out", &second)}, toAll("out"))
		f.Put(tick(2))
		f.Flush()
		synctest.Wait()
		apply(t, r, []*Sink{roomySink("out", &third)}, toAll("out"))
		f.Put(tick(3))
		f.Flush()
		synctest.Wait()
		if len(second.of("backend"))+len(third.of("backend")) > 0 {
			t.Error("a replacement did not wait")
		}
		close(release)
		synctest.Wait()
		for i, out := range []*recorder{&first, &second, &third} {
			if got := out.of("backend"); !slices.Equal(got, []uint64{uint64(i + 1)}) {
				t.Errorf("sink %d got %v", i+1, got)
			}
		}
		shutdown(t, r)
	})
}

// TestGraceRunsOut: a sink that was taken away and does not get on is stopped, also while a feed has forgotten to flush.
func TestGraceRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped time.Duration
		start := time.Now()
		r := New(nil)
		r.Grace = 3 * time.Second
		sink := roomySink("stuck", drainFunc(func(ctx context.Context, q *Queue) error {
			<-ctx.Done()
			stopped = time.Since(start)
			return ctx.Err()
		}))
		var other recorder
		apply(t, r, []*Sink{sink, roomySink("other", &other)}, toAll("stuck", "other"))
		f := r.Feed("backend")
		for seq := range uint64(5) {
			f.Put(tick(seq + 1))
		}
		f.Flush()
		f.Put(tick(6))
		apply(t, r, nil, nil)
		synctest.Wait()
		if got := other.of("backend"); !slices.Equal(got, numbers(5)) {
			t.Errorf("beside a stuck sink, another got %v", got)
		}
		<-sink.done
		synctest.Wait()
		f.Flush()
		if stopped != r.Grace {
			t.Errorf("stopped after %v, want %v", stopped, r.Grace)
		}
		if o := sink.origin("backend"); o.Delivered.Load() != 0 || o.Dropped.Load() != 6 {
			t.Errorf("delivered %d, dropped %d, want 0 and 6", o.Delivered.Load(), o.Dropped.Load())
		}
		shutdown(t, r)
	})
}

func TestShutdownDeliversEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(out *recorder) Drain {
			return drainFunc(func(ctx context.Context, q *Queue) error {
				time.Sleep(2 * time.Second)
				return out.Run(ctx, q)
			})
		}
		var kept, left recorder
		r := New(nil)
		sink := roomySink("kept", slow(&kept))
		apply(t, r, []*Sink{sink, roomySink("left", slow(&left))}, toAll("kept", "left"))
		sub := r.Subscribe(Filter{}, signal.FormatPayload, 1<<20)
		f := r.Feed("backend")
		f.Put(tick(1))
		apply(t, r, []*Sink{sink}, toAll("kept"))
		f.Put(tick(2))
		f.Flush()
		shutdown(t, r)
		f.Put(tick(3))
		f.Flush()
		if got := kept.of("backend"); !slices.Equal(got, numbers(2)) {
			t.Errorf("the sink got %v, want 1 and 2", got)
		}
		if got := left.of("backend"); !slices.Equal(got, numbers(1)) {
			t.Errorf("the sink that was leaving got %v, want 1", got)
		}
		var got recorder
		takeAll(sub, &got)
		if !slices.Equal(got.of("backend"), numbers(2)) {
			t.Errorf("the subscription got %v, want 1 and 2", got.of("backend"))
		}
		if _, err := sub.Take(t.Context()); err != io.EOF {
			t.Errorf("then %v, want io.EOF", err)
		}
		if _, err := r.Subscribe(Filter{}, signal.FormatSignal, 1<<20).Take(t.Context()); err != io.EOF {
			t.Errorf("a subscription after the end: %v, want io.EOF", err)
		}
	})
}

// TestShutdownGivesUp on sinks that are stuck: one obeys its ctx, one does not even that, one was leaving.
func TestShutdownGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		obedient := drainFunc(func(ctx context.Context, q *Queue) error { <-ctx.Done(); return ctx.Err() })
		deaf := drainFunc(func(ctx context.Context, q *Queue) error { <-release; return nil })
		dead := drainFunc(func(ctx context.Context, q *Queue) error { return errors.New("broken") })
		var fine recorder
		log := &logBook{}
		r := New(log.logger())
		stay := []*Sink{roomySink("obedient", obedient), roomySink("deaf", deaf), roomySink("dead", dead), roomySink("fine", &fine)}
		apply(t, r, append([]*Sink{roomySink("leaving", deaf)}, stay...), toAll("obedient", "deaf", "dead", "fine", "leaving"))
		f := r.Feed("backend")
		f.Put(tick(1))
		f.Put(tick(2))
		f.Flush()
		apply(t, r, stay, toAll("obedient", "deaf"))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := r.Shutdown(ctx)
		if want := "sinks that did not deliver everything: dead, deaf, leaving, obedient"; err == nil || err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		if took := time.Since(start); took != 2*time.Second+lastChance {
			t.Errorf("Shutdown took %v", took)
		}
		if got := fine.of("backend"); !slices.Equal(got, numbers(2)) {
			t.Errorf("the sink beside them got %v", got)
		}
		for _, s := range stay[:3] {
			if o := s.origin("backend"); o.Dropped.Load() != 2 {
				t.Errorf("%s: %d dropped, want 2", s.Name(), o.Dropped.Load())
			}
		}
		if n := log.count("a sink is stuck"); n != 2 {
			t.Errorf("logged %d stuck sinks, want 2: %s", n, &log.text)
		}
	})
}

// TestDeadSink: what comes for a sink whose drain failed is counted, and nobody else notices.
func TestDeadSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var other recorder
		log := &logBook{}
		dead := NewSink(SinkOptions{
			Name: "dead", Bytes: 1 << 20, Policy: DropNewest, Logger: log.logger(),
			Drain: drainFunc(func(ctx context.Context, q *Queue) error {
				c, err := q.Take(ctx)
				if err == nil {
					q.Release(c)
				}
				return errors.New("no space left on device")
			}),
		})
		r := New(nil)
		apply(t, r, []*Sink{dead, roomySink("other", &other)}, toAll("dead", "other"))
		f := r.Feed("backend")
		for seq := range uint64(10) {
			f.Put(tick(seq + 1))
			f.Flush()
			synctest.Wait()
		}
		rows := r.Stats()
		want := []SinkStats{
			{Sink: "dead", Err: dead.err},
			{Sink: "dead", Connection: "backend", Delivered: 1, Dropped: 9},
			{Sink: "other"},
			{Sink: "other", Connection: "backend", Delivered: 10},
		}
		if !slices.Equal(rows, want) {
			t.Errorf("Stats: %+v, want %+v", rows, want)
		}
		if n := log.count("level=ERROR"); n != 1 || log.count("no space left on device") != 1 {
			t.Errorf("%d errors logged, want 1: %s", n, &log.text)
		}
		r.Forget("backend")
		if rows := r.Stats(); len(rows) != 2 {
			t.Errorf("after Forget: %+v", rows)
		}
		if err := r.Shutdown(t.Context()); err == nil || !strings.Contains(err.Error(), "dead") {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

func TestStatsTellWhatWaits(t *testing.T) {
	r := New(nil)
	sink := roomySink("out", drainFunc(func(ctx context.Context, q *Queue) error { <-ctx.Done(); return ctx.Err() }))
	apply(t, r, []*Sink{sink}, toAll("out"))
	f := r.Feed("backend")
	f.Put(tick(1))
	f.Put(tick(2))
	f.Flush()
	bytes := len(lineOf(signal.FormatSignal, "backend", tick(1))) + len(lineOf(signal.FormatSignal, "backend", tick(2)))
	want := []SinkStats{{Sink: "out", Waiting: 2, WaitingBytes: int64(bytes)}, {Sink: "out", Connection: "backend"}}
	if rows := r.Stats(); !slices.Equal(rows, want) {
		t.Errorf("Stats: %+v, want %+v", rows, want)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Shutdown(ended); err == nil {
		t.Error("Shutdown says that everything was delivered")
	}
}

// TestCountersGoOn when a sink is replaced by another one of its name, while the first still delivers and afterwards.
func TestCountersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(nil)
		f := r.Feed("backend")
		var seq uint64
		put := func() {
			seq++
			f.Put(tick(seq))
			f.Flush()
			synctest.Wait()
		}
		check := func(when string, delivered, dropped uint64) {
			t.Helper()
			want := SinkStats{Sink: "out", Connection: "backend", Delivered: delivered, Dropped: dropped}
			if rows := r.Stats(); len(rows) != 2 || rows[1] != want {
				t.Errorf("%s: %+v, want %+v", when, rows, want)
			}
		}
		// The first one delivers two signals and is stuck with the third.
		stuck := drainFunc(func(ctx context.Context, q *Queue) error {
			for range 2 {
				c, err := q.Take(ctx)
				if err != nil {
					return err
				}
				q.Release(c)
			}
			<-ctx.Done()
			return ctx.Err()
		})
		apply(t, r, []*Sink{roomySink("out", stuck)}, toAll("out"))
		put()
		put()
		put()
		apply(t, r, []*Sink{roomySink("out", Discard())}, toAll("out"))
		check("while the first one is leaving", 2, 0)
		time.Sleep(r.Grace)
		put()
		check("when it is gone", 3, 1)
		r.Forget("backend")
		if rows := r.Stats(); len(rows) != 1 {
			t.Errorf("after Forget: %+v", rows)
		}
		shutdown(t, r)
	})
}

// reopened counts calls of Reopen.
type reopened struct {
	recorder
	times int
}

func (d *reopened) Reopen() { d.times++ }

func TestReopen(t *testing.T) {
	r := New(nil)
	file := &reopened{}
	apply(t, r, []*Sink{roomySink("file", file), roomySink("other", Discard())}, nil)
	r.Reopen()
	shutdown(t, r)
	if file.times != 1 {
		t.Errorf("reopened %d times, want once", file.times)
	}
}
