package boottime

import (
	"testing"
	"time"
)

// The clock keeps up with Go's own, and does not go back. Each is read within two readings of the other, so that a pause in between
// does not count.
func TestNow(t *testing.T) {
	const least = 20 * time.Millisecond
	outer := time.Now()
	first := Now()
	inner := time.Now()
	last := first
	for time.Since(inner) < least {
		now := Now()
		if now < last {
			t.Fatalf("after %v comes %v", last, now)
		}
		last = now
	}
	last = Now()
	if most := time.Since(outer); last-first > most || last-first < least {
		t.Errorf("%v have passed, of %v to %v", last-first, least, most)
	}
}

// Where the system has no such clock, a jump of the time of day counts as time that has passed, and one back does not.
func TestNowElsewhere(t *testing.T) {
	var c clock
	before := c.now()
	c.ahead += time.Hour // as the time of day would make it
	if passed := c.now() - before; passed < time.Hour || passed > time.Hour+time.Minute {
		t.Errorf("after a jump of an hour, %v have passed", passed)
	}
	if c.now() < before+time.Hour {
		t.Error("it went back")
	}
}
