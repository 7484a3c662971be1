package phoenix

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// herd lets n dials to a server come at once, in their order, and returns when each had its turn; it ends with the last.
func herd(d *dialTurns, server string, n int) []time.Duration {
	turns := make([]time.Duration, n)
	begun := time.Now()
	done := make(chan struct{}, n)
	for i := range n {
		go func() {
			if err := d.wait(context.Background(), server); err == nil {
				turns[i] = time.Since(begun)
			}
			done <- struct{}{}
		}()
		synctest.Wait()
	}
	for range n {
		<-done
	}
	return turns
}

// A thousand dials to one server come one after the other, in order, and on the average as far apart as was asked for.
func TestDialTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, mean = 1000, 5 * time.Millisecond
		turns := herd(newDialTurns(mean), "a.test:80", n)
		if turns[0] != 0 {
			t.Errorf("the first dial waited for %v", turns[0])
		}
		if !slices.IsSorted(turns) {
			t.Errorf("not in order: %v", turns)
		}
		distances := map[time.Duration]bool{}
		for i := 1; i < n; i++ {
			apart := turns[i] - turns[i-1]
			distances[apart] = true
			if apart > 2*mean {
				t.Errorf("dial %d came %v after the one before", i, apart)
			}
		}
		if len(distances) < n/2 {
			t.Errorf("%d different distances: they are not drawn", len(distances))
		}
		// The mean of so many evenly drawn distances is within a tenth of what was asked for, five standard deviations away.
		if total := turns[n-1]; total < 9*n*mean/10 || total > 11*n*mean/10 {
			t.Errorf("%d dials took %v", n, total)
		}
	})
}

// Who dials alone does not wait, however often, as long as an interval is between two dials.
func TestDialAloneDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialTurns(5 * time.Millisecond)
		for range 20 {
			if waited := herd(d, "a.test:80", 1)[0]; waited != 0 {
				t.Errorf("waited for %v", waited)
			}
			time.Sleep(11 * time.Millisecond)
		}
	})
}

// Servers have nothing to do with each other.
func TestDialTurnsOfManyServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialTurns(time.Hour)
		for _, server := range []string{"a.test:80", "a.test:81", "b.test:80"} {
			if waited := herd(d, server, 1)[0]; waited != 0 {
				t.Errorf("the dial to %s waited for %v", server, waited)
			}
		}
	})
}

// A dial that is given up leaves its turn to the next.
func TestDialTurnGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd = 100
		d := newDialTurns(time.Second)
		herd(d, "a.test:80", 1)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, crowd)
		for range crowd {
			go func() { gone <- d.wait(ctx, "a.test:80") }()
		}
		synctest.Wait()
		begun := time.Now()
		last := make(chan error, 1)
		go func() { last <- d.wait(t.Context(), "a.test:80") }()
		synctest.Wait()
		cancel()
		for range crowd {
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		}
		if err := <-last; err != nil || time.Since(begun) > 2*time.Second {
			t.Errorf("the dial behind %d that were given up waited for %v: %v", crowd, time.Since(begun), err)
		}
	})
}

// Nothing is kept of servers that nobody dials any more.
func TestDialTurnsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialTurns(5 * time.Millisecond)
		herd(d, "a.test:80", 3)
		herd(d, "b.test:80", 1)
		time.Sleep(11 * time.Millisecond)
		synctest.Wait()
		if len(d.servers) != 0 {
			t.Errorf("%d servers are kept", len(d.servers))
		}
	})
}

// A negative interval staggers nothing.
func TestDialTurnsWithoutInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if turns := herd(newDialTurns(-1), "a.test:80", 10); turns[9] != 0 {
			t.Errorf("turns %v", turns)
		}
	})
}

// A server is a host and a port, whatever else is in the URL.
func TestDialServer(t *testing.T) {
	for url, want := range map[string]string{
		"ws://a.test/socket":                  "a.test:80",
		"http://A.test:80/other?token=1":      "a.test:80",
		"wss://a.test/socket":                 "a.test:443",
		"https://user:secret@a.test:4000/s":   "a.test:4000",
		"ws://[::1]:4000/socket/websocket":    "[::1]:4000",
		"wss://[fe80::1]/socket/websocket?a=": "[fe80::1]:443",
	} {
		e, err := newEndpoint(url, "2.0.0")
		if err != nil {
			t.Fatal(err)
		}
		if got := e.server(); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
