package router

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/signal"
)

// overrun is a Where that comes to no end.
func overrun(ctx context.Context, _ []byte) (bool, error) {
	<-ctx.Done()
	return true, nil
}

// TestWhereThatFails does not match, is logged once a minute and harms no other route.
func TestWhereThatFails(t *testing.T) {
	failing := map[string]func(context.Context, []byte) (bool, error){
		"cannot iterate over a number": func(context.Context, []byte) (bool, error) { return true, errors.New("cannot iterate over a number") },
		"it panicked: boom":            func(context.Context, []byte) (bool, error) { panic("boom") },
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
			f := r.Feed("backend")
			start := time.Now()
			for seq := range uint64(5) {
				f.Put(tick(seq + 1))
			}
			f.Flush()
			if took := time.Since(start); took > 5*whereLimit {
				t.Errorf("%s: five events took %v", message, took)
			}
			if n := log.count(message); n != 1 || log.count(`rule="route 2"`) != 1 || log.count("connection=backend") != 1 {
				t.Errorf("%s: logged %d times, want once: %s", message, n, &log.text)
			}
			time.Sleep(failuresEvery)
			f.Put(tick(6))
			f.Flush()
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

// TestWhereOfASubscription: one that takes too long ends its subscription, an error does not.
func TestWhereOfASubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logBook{}
		r := New(log.logger())
		endless := r.Subscribe(Filter{Where: overrun}, signal.FormatSignal, 1<<20)
		failing := r.Subscribe(Filter{Where: whereFails}, signal.FormatSignal, 1<<20)
		f := r.Feed("backend")
		start := time.Now()
		for seq := range uint64(3) {
			f.Put(tick(seq + 1))
		}
		f.Flush()
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

// TestWhereIsAskedOnlyIfItMatters: not for sinks that get the signal anyway.
func TestWhereIsAskedOnlyIfItMatters(t *testing.T) {
	asked := 0
	where := func(context.Context, []byte) (bool, error) { asked++; return true, nil }
	var out recorder
	r := New(nil)
	apply(t, r, []*Sink{roomySink("out", &out), roomySink("other", Discard())}, []Route{
		{Filter: Filter{Where: where}, To: []string{"out"}},
		{To: []string{"out"}},
		{Filter: Filter{Where: where}, To: []string{"other"}},
		{Filter: Filter{Where: where}, To: []string{"other", "out"}},
	})
	f := r.Feed("backend")
	f.Put(tick(1))
	f.Flush()
	shutdown(t, r)
	if got := out.of("backend"); asked != 1 || !slices.Equal(got, numbers(1)) {
		t.Errorf("asked %d times, want once; got %v", asked, got)
	}
}
