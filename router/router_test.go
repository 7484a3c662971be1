package router

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
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
