package boottime

import (
	"testing"
	"time"
)

// The clock keeps up with Go's own, and does not go back.
func TestNow(t *testing.T) {
	start, last := time.Now(), Now()
	first := last
	for time.Since(start) < 20*time.Millisecond {
		now := Now()
		if now < last {
			t.Fatalf("after %v comes %v", last, now)
		}
		last = now
	}
	if passed := time.Since(start); last-first > passed || last-first < 15*time.Millisecond {
		t.Errorf("%v have passed, of %v", last-first, passed)
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
