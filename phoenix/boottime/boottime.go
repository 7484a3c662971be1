// Package boottime tells time that also passes while the system is suspended. Go's own clock stands still then, which makes a gap look
// smaller than it was, and a deadline later.
package boottime

import (
	"sync"
	"time"
)

// began is when the process began, by both of Go's clocks.
var began = time.Now()

// Now returns the time since some moment in the past, which does not change while the process runs. It never goes back. It is a
// system call on Linux; elsewhere it goes by the time of day where that is ahead of Go's clock, which may be too much, and never too
// little.
func Now() time.Duration {
	if now, ok := now(); ok {
		return now
	}
	return elsewhere.now()
}

// elsewhere is the clock of systems that have none.
var elsewhere clock

// A clock adds to Go's clock what the time of day has jumped ahead of it.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Duration {
	now := time.Now()
	running, day := now.Sub(began), now.Round(0).Sub(began.Round(0))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = max(c.ahead, day-running)
	return running + c.ahead
}

// Suspended returns how long the system has been suspended since it was started, and whether that is known.
func Suspended() (time.Duration, bool) { return suspended() }
