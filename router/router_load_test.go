package router

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"

	"phx/signal"
)

// TestApplyUnderLoad: while connections put numbered signals, sinks, routes and subscriptions change. What each one gets is
// compared whole.
func TestApplyUnderLoad(t *testing.T) {
	const perConnection = 4000
	connections := []string{"c0", "c1", "c2", "c3"}
	r := New(nil)
	var kept recorder
	keptSink := roomySink("kept", &kept)
	var rotated []*recorder // one after the other, each for a while
	var last *Sink
	rotate := func() {
		out := &recorder{}
		rotated = append(rotated, out)
		last = roomySink("rotated", out)
		// The routes differ, too, and lead to the same.
		routes := toAll("kept", "rotated")
		if len(rotated)%2 == 0 {
			everything := mustCompile(t, "phoenix.**")
			routes = []Route{{To: []string{"rotated"}}, {Filter: Filter{Match: &everything}, To: []string{"kept"}}, {To: []string{"kept"}}}
		}
		apply(t, r, []*Sink{keptSink, last}, routes)
	}
	rotate()

	beat := make(chan struct{}) // the feeds wait for the next change now and then, so that there are many
	var feeds sync.WaitGroup
	for i, connection := range connections {
		feeds.Go(func() {
			f := r.Feed(connection)
			defer f.Flush()
			for seq := range uint64(perConnection) {
				f.Put(messageOf("room:"+strconv.FormatUint(seq%7, 10), "tick", seq+1))
				if seq%uint64(3+20*i) == 0 {
					f.Flush()
				}
				if seq%100 == 99 {
					beat <- struct{}{}
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { feeds.Wait(); close(ended) }()

	var subscribers sync.WaitGroup
	for range 2 {
		subscribers.Go(func() {
			for stillOn(ended) {
				checkSubscriber(t, r)
			}
		})
	}
	for stillOn(ended) {
		select {
		case <-beat:
			rotate()
			r.Stats()
		case <-ended:
		}
	}
	subscribers.Wait()
	shutdown(t, r)

	for _, connection := range connections {
		if got := kept.of(connection); !slices.Equal(got, numbers(perConnection)) {
			t.Errorf("the sink that stayed got %s", gaps(got))
		}
		var got []uint64
		for _, out := range rotated {
			got = append(got, out.of(connection)...)
		}
		if !slices.Equal(got, numbers(perConnection)) {
			t.Errorf("the sinks one after the other got %s", gaps(got))
		}
	}
}

func stillOn(ended <-chan struct{}) bool {
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// checkSubscriber subscribes for a while: what comes from a connection has no gaps.
func checkSubscriber(t *testing.T, r *Router) {
	s := r.Subscribe(Filter{}, signal.FormatSignal, 1<<30)
	defer s.Close()
	var got recorder
	for range 20 {
		takeWaiting(s, &got)
		runtime.Gosched()
	}
	for connection, seqs := range got.seqs {
		for i, seq := range seqs {
			if seq != seqs[0]+uint64(i) {
				t.Errorf("a subscriber got from %s %s", connection, gaps(seqs))
				return
			}
		}
	}
}

// gaps describes numbers by the places where they do not go on.
func gaps(seqs []uint64) string {
	text := fmt.Sprintf("%d numbers", len(seqs))
	for i := 1; i < len(seqs); i++ {
		if seqs[i] != seqs[i-1]+1 {
			text += fmt.Sprintf(", %d after %d", seqs[i], seqs[i-1])
		}
		if len(text) > 500 {
			break
		}
	}
	return text
}
