package signal

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	c := newClock()
	var got [timeLen]byte
	moments := []time.Time{
		time.Unix(0, 0), time.Unix(0, 999), at, at, at.Add(999 * time.Nanosecond), at.Add(time.Second), at.Add(-time.Hour),
		time.Date(2026, 2, 7, 23, 59, 59, 999999999, time.FixedZone("", -3600)), {}, time.Unix(-1, 1000),
	}
	for range 1000 {
		moments = append(moments, time.Unix(rand.Int64N(2), rand.Int64N(1e9)))
	}
	for _, moment := range moments {
		c.put(got[:], moment)
		if want := moment.UTC().Format(timeLayout); string(got[:]) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
