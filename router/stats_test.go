package router

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"phx/signal"
)

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
