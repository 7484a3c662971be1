package phoenix

import (
	"container/heap"
	"time"
)

// A timer is one deadline of the machine. The zero timer is not set. It lives in the thing it belongs to, and is stopped
// when that thing ends, so that no timer fires for the dead.
type timer struct {
	at   time.Time
	fire func(now time.Time)
	// late breaks ties: of two timers due at once, a late one fires second.
	late bool

	in *timers
	// pos is the index in the heap plus one; 0: not set.
	pos int
}

func (t *timer) isSet() bool { return t.pos > 0 }

// stop takes t out of its heap; stopping a timer that is not set does nothing.
func (t *timer) stop() {
	if t.isSet() {
		heap.Remove(t.in, t.pos-1)
	}
}

// timers is a heap of the timers that are set, the earliest first.
type timers struct {
	heap []*timer
}

// set sets t, or sets it anew, to at.
func (ts *timers) set(t *timer, at time.Time) {
	t.stop()
	t.at, t.in = at, ts
	heap.Push(ts, t)
}

// first returns the earliest timer, nil if none is set.
func (ts *timers) first() *timer {
	if len(ts.heap) == 0 {
		return nil
	}
	return ts.heap[0]
}

// shift moves every deadline by d; their order stays.
func (ts *timers) shift(d time.Duration) {
	for _, t := range ts.heap {
		t.at = t.at.Add(d)
	}
}

func (t *timer) before(u *timer) bool {
	if t.at.Equal(u.at) {
		return !t.late && u.late
	}
	return t.at.Before(u.at)
}

// Len, Less, Swap, Push and Pop are container/heap's.

func (ts *timers) Len() int           { return len(ts.heap) }
func (ts *timers) Less(i, j int) bool { return ts.heap[i].before(ts.heap[j]) }

func (ts *timers) Swap(i, j int) {
	ts.heap[i], ts.heap[j] = ts.heap[j], ts.heap[i]
	ts.heap[i].pos, ts.heap[j].pos = i+1, j+1
}

func (ts *timers) Push(x any) {
	t := x.(*timer)
	ts.heap = append(ts.heap, t)
	t.pos = len(ts.heap)
}

func (ts *timers) Pop() any {
	last := len(ts.heap) - 1
	t := ts.heap[last]
	ts.heap[last] = nil
	ts.heap = ts.heap[:last]
	t.pos = 0
	return t
}
