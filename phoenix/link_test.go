package phoenix

import (
	"testing"
	"time"
)

func TestBackoffs(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name string
		b    Backoff
		want []time.Duration
	}{
		{"steps", Steps(ms, 5*ms, 2*ms), []time.Duration{ms, 5 * ms, 2 * ms, 2 * ms, 2 * ms}},
		{"no steps", Steps(), []time.Duration{0, 0}},
		{"exponential", Exponential(100*ms, time.Second), []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, time.Second, time.Second}},
	} {
		for attempt, want := range c.want {
			if got := c.b(attempt); got != want {
				t.Errorf("%s: attempt %d after %v, want %v", c.name, attempt, got, want)
			}
		}
	}
}

// However often it fails, the delay stays at the limit.
func TestExponentialDoesNotOverflow(t *testing.T) {
	b := Exponential(100*time.Millisecond, 30*time.Second)
	for _, attempt := range []int{9, 60, 64, 1000, 1 << 30} {
		if got := b(attempt); got != 30*time.Second {
			t.Errorf("attempt %d after %v", attempt, got)
		}
	}
}

// The delay is drawn evenly from half the ceiling to the ceiling, the first one, too (rule 15).
func TestJittered(t *testing.T) {
	const draws, buckets = 50_000, 10
	ceiling := time.Second
	b := Jittered(Steps(ceiling))
	var counts [buckets]int
	for range draws {
		d := b(0)
		if d < ceiling/2 || d > ceiling {
			t.Fatalf("delay %v is not between half of %v and %v", d, ceiling, ceiling)
		}
		counts[min(int((d-ceiling/2)*buckets/(ceiling/2)), buckets-1)]++
	}
	for i, n := range counts { // ten standard deviations are 671
		if n < draws/buckets-700 || n > draws/buckets+700 {
			t.Errorf("%d of %d draws in tenth %d", n, draws, i)
		}
	}
	if d := Jittered(Steps(0))(0); d != 0 {
		t.Errorf("a delay of 0 became %v", d)
	}
}

func TestDefaultBackoffs(t *testing.T) {
	for name, c := range map[string]struct {
		b           Backoff
		first, last time.Duration
	}{
		"reconnect": {DefaultReconnectAfter(), 100 * time.Millisecond, 30 * time.Second},
		"rejoin":    {DefaultRejoinAfter(), 100 * time.Millisecond, 10 * time.Second},
	} {
		if d := c.b(0); d < c.first/2 || d > c.first {
			t.Errorf("%s: the first delay is %v, want at most %v", name, d, c.first)
		}
		if d := c.b(100); d < c.last/2 || d > c.last {
			t.Errorf("%s: the last delay is %v, want at most %v", name, d, c.last)
		}
	}
}
