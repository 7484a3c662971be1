package phoenix

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// dialTurns gives the dials to one server their turns, some time apart, in the order in which they came. Different servers
// have nothing to do with each other.
type dialTurns struct {
	mean time.Duration

	mu sync.Mutex
	// servers are those that are dialed just now: one that nobody waits for is forgotten when its last interval is over.
	servers map[string]*dialQueue
}

// A dialQueue holds the dials that wait while an interval runs; each is told by closing its channel.
type dialQueue struct{ waiting []chan struct{} }

func newDialTurns(mean time.Duration) *dialTurns {
	return &dialTurns{mean: mean, servers: map[string]*dialQueue{}}
}

// wait waits for a turn to dial the server, or for the end of ctx: then the turn goes to the next.
func (d *dialTurns) wait(ctx context.Context, server string) error {
	if d.mean < 0 {
		return nil
	}
	d.mu.Lock()
	q := d.servers[server]
	if q == nil {
		d.servers[server] = &dialQueue{}
		d.mu.Unlock()
		d.interval(server)
		return nil
	}
	turn := make(chan struct{})
	q.waiting = append(q.waiting, turn)
	d.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(other chan struct{}) bool { return other == turn })
	return ctx.Err()
}

// interval lets the next dial wait for a time that is drawn evenly: without the draw, those who lost a server together would
// come back in step.
func (d *dialTurns) interval(server string) {
	time.AfterFunc(rand.N(2*d.mean+1), func() { d.next(server) })
}

// next gives the next dial its turn.
func (d *dialTurns) next(server string) {
	d.mu.Lock()
	q := d.servers[server]
	if len(q.waiting) == 0 {
		delete(d.servers, server)
		d.mu.Unlock()
		return
	}
	close(q.waiting[0])
	q.waiting = slices.Delete(q.waiting, 0, 1)
	d.mu.Unlock()
	d.interval(server)
}

// server is what dials are staggered by: host and port.
func (e *endpoint) server() string {
	port := "80"
	if e.url.Scheme == "wss" {
		port = "443"
	}
	return strings.ToLower(hostPort(&e.url, port))
}
