package phoenix

import (
	"math/rand/v2"
	"time"

	"github.com/jpillora/backoff"
)

// A Backoff says how long to wait before retry number attempt, counted from 0. It is called by one goroutine at a time.
type Backoff func(attempt int) time.Duration

// Exponential returns a Backoff that doubles from first to limit.
func Exponential(first, limit time.Duration) Backoff {
	b := backoff.Backoff{Min: first, Max: limit, Factor: 2}
	return func(attempt int) time.Duration { return b.ForAttempt(float64(attempt)) }
}

// Steps returns a Backoff that goes through the given delays; the last one repeats. Without any it does not wait.
func Steps(delays ...time.Duration) Backoff {
	if len(delays) == 0 {
		delays = []time.Duration{0}
	}
	return func(attempt int) time.Duration { return delays[min(attempt, len(delays)-1)] }
}

// Jittered returns a Backoff that draws each delay evenly from half of b's to b's, so that clients which lost a server
// at the same moment do not come back at the same moment (PROTOCOL.md, rule 15: jpillora's own jitter leaves the first
// delay, the herd's, as it is).
func Jittered(b Backoff) Backoff {
	return func(attempt int) time.Duration {
		ceiling := b(attempt)
		half := ceiling / 2
		return half + rand.N(ceiling-half+1)
	}
}

// DefaultReconnectAfter is the backoff between dials: 100 ms doubling to 30 s, jittered.
func DefaultReconnectAfter() Backoff {
	return Jittered(Exponential(100*time.Millisecond, 30*time.Second))
}

// DefaultRejoinAfter is the backoff between the joins of a channel, jittered.
func DefaultRejoinAfter() Backoff {
	const ms = time.Millisecond
	return Jittered(Steps(100*ms, 500*ms, 1000*ms, 2000*ms, 5000*ms, 10000*ms))
}
