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
		takeWaiting(sub, &got)
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
