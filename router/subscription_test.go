package router

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"phx/phoenix"
	"phx/signal"
)

func TestSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(nil)
		p := r.Publisher("backend")
		p.Publish(tick(1))
		p.Flush()
		ticks := mustCompile(t, "phoenix.*.*.tick")
		s := r.Subscribe(Filter{Match: &ticks}, signal.FormatCloudEvents, 1<<20)
		if s.Format() != signal.FormatCloudEvents {
			t.Errorf("the format is %v", s.Format())
		}
		p.Publish(tick(2))
		p.Publish(messageOf("room:lobby", "tock", 3))
		p.Flush()
		c, err := s.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(c.Bytes()), lineOf(signal.FormatCloudEvents, "backend", tick(2)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		go func() {
			synctest.Wait() // until somebody waits in Take
			s.Close()
		}()
		if _, err := s.Take(t.Context()); err != ErrClosed {
			t.Errorf("Take of a closed subscription: %v", err)
		}
		s.Release(c)
		s.Close()
		if _, err := s.Take(t.Context()); err != ErrClosed {
			t.Errorf("Take after Close: %v", err)
		}
		p.Publish(tick(4))
		p.Flush()
		if n := len(r.table.Load().subscriptions); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}

// TestSubscriberThatDoesNotTake loses the oldest signals, is told how many, and harms nobody.
func TestSubscriberThatDoesNotTake(t *testing.T) {
	var out recorder
	r := New(nil)
	apply(t, r, []*Sink{roomySink("out", &out)}, toAll("out"))
	lazy := r.Subscribe(Filter{}, signal.FormatSignal, 64<<10)
	p := r.Publisher("backend")
	const n = 5000
	for seq := range uint64(n) {
		p.Publish(tick(seq + 1))
	}
	p.Flush()
	shutdown(t, r)
	if got := out.of("backend"); !slices.Equal(got, numbers(n)) {
		t.Errorf("the sink got %d signals, want %d", len(got), n)
	}
	var got recorder
	takeWaiting(lazy, &got)
	lines := got.lines["backend"]
	if len(lines) < 50 || len(lines) > 300 {
		t.Fatalf("%d lines in 64 KiB", len(lines))
	}
	if !strings.Contains(lines[0], `"type":"phoenix.signal.dropped"`) || !strings.Contains(lines[0], `"first_seq":1,`) ||
		!strings.Contains(lines[0], `"policy":"drop-oldest"`) || !strings.Contains(lines[0], `"connection_name":"backend"`) {
		t.Errorf("the first line is %s", lines[0])
	}
	kept := got.of("backend")[1:]
	if want := numbers(n)[n-len(kept):]; !slices.Equal(kept, want) {
		t.Errorf("kept %v, want the last ones", kept)
	}
}

// heap returns the memory in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestSubscribersLeaveNothing: many come, get something and go, also while a connection is idle.
func TestSubscribersLeaveNothing(t *testing.T) {
	r := New(nil)
	p := r.Publisher("backend")
	p.Publish(tick(1))
	p.Flush()
	goroutines, before := runtime.NumGoroutine(), heap()
	const n = 1000
	subscriptions := make([]*Subscription, n)
	for i := range subscriptions {
		subscriptions[i] = r.Subscribe(Filter{}, signal.FormatSignal, 256<<10)
	}
	for seq := range uint64(50) {
		p.Publish(tick(seq + 2))
	}
	p.Flush()
	if got := runtime.NumGoroutine(); got > goroutines {
		t.Errorf("%d goroutines for the subscriptions", got-goroutines)
	}
	for i, s := range subscriptions {
		var got recorder
		takeWaiting(s, &got)
		if len(got.of("backend")) != 50 {
			t.Fatalf("subscription %d got %d signals, want 50", i, len(got.of("backend")))
		}
		s.Close()
	}
	subscriptions = nil
	if after := heap(); after > before+n*1024 {
		t.Errorf("while the publisher is idle, %d KiB are left", (after-before)>>10)
	}
	p.Publish(tick(52))
	p.Flush()
	if after := heap(); after > before+64<<10 {
		t.Errorf("%d KiB are left", (after-before)>>10)
	}
	runtime.KeepAlive(r)
	runtime.KeepAlive(p)
}

// TestDecisionTooLargeToKeep: with many subscriptions a decision outgrows what a publisher may
// remember, and is made anew.
func TestDecisionTooLargeToKeep(t *testing.T) {
	r := New(nil)
	subscriptions := make([]*Subscription, 3000)
	for i := range subscriptions {
		subscriptions[i] = r.Subscribe(Filter{}, signal.FormatPayload, 64<<10)
	}
	p := r.Publisher("backend")
	for seq := range uint64(3) {
		p.Publish(&phoenix.Event{Seq: seq + 1, Payload: phoenix.JSON("1"), Detail: &phoenix.Message{}})
	}
	p.Flush()
	if p.decisions.size != 0 {
		t.Errorf("%d bytes of decisions kept", p.decisions.size)
	}
	for _, s := range subscriptions {
		c, err := s.Take(context.Background())
		if err != nil || string(c.Bytes()) != "1\n1\n1\n" {
			t.Fatalf("got %q, %v", c.Bytes(), err)
		}
		s.Release(c)
		s.Close()
	}
}
