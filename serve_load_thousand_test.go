package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"phx/phoenix/phoenixtest"
)

const (
	// manyConnections is how many one process has.
	manyConnections = 1000
	// manyMessages is how many each of them gets in a round of traffic.
	manyMessages = 5
	// manyHeap is how much more memory may be in use after a round than after the one before, and manyText how much text a message
	// has, so that a round that stayed would need more.
	manyHeap = 12 << 20
	manyText = 4 << 10
)

// A tally reads the signals of many connections, and counts them.
type tally struct {
	mu       sync.Mutex
	rest     []byte            // of a line that is not whole yet
	seq      map[string]uint64 // the last one of each connection
	events   map[string]int
	problems []string
	changed  chan struct{} // has something after a change
}

// Write implements [io.Writer] for the output of phx serve.
func (c *tally) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = append(c.rest, p...)
	for {
		line, rest, found := bytes.Cut(c.rest, []byte("\n"))
		if !found {
			break
		}
		c.line(line)
		c.rest = rest
	}
	c.rest = bytes.Clone(c.rest)
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

// line counts a signal. None may be missing, and none may come twice.
func (c *tally) line(text []byte) {
	var s struct {
		Type     string   `json:"type"`
		Metadata soakMeta `json:"metadata"`
		Data     struct {
			Reason string `json:"reason"`
			Code   int    `json:"code"`
		} `json:"data"`
	}
	err := json.Unmarshal(text, &s)
	name := s.Metadata.Connection
	c.seq[name]++
	if (err != nil || s.Metadata.Seq != c.seq[name]) && len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf("number %d of %s is wrong (%v): %.200s", c.seq[name], name, err, text))
	}
	event := s.Metadata.Event
	if event == "" {
		event = strings.TrimSpace(fmt.Sprintf("%s %s %d", s.Type, s.Data.Reason, s.Data.Code))
	}
	c.events[event]++
}

func (c *tally) count(event string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[event]
}

// await waits until there are as many events.
func (c *tally) await(t *testing.T, event string, n int) {
	t.Helper()
	tooLong := time.After(patience)
	for c.count(event) < n {
		select {
		case <-c.changed:
		case <-tooLong:
			t.Fatalf("%d of %d events %s came", c.count(event), n, event)
		}
	}
}

// Ends is what clients say to a server when they end, by connection, in order.
type ends struct {
	mu   sync.Mutex
	said map[*phoenixtest.Conn]string
}

// tap is the server's.
func (e *ends) tap(f phoenixtest.Frame) {
	const opClose = 8
	what := ""
	switch {
	case !f.FromClient:
	case f.Opcode == opClose && len(f.Data) >= 2:
		what = fmt.Sprintf("close %d;", int(f.Data[0])<<8|int(f.Data[1]))
	case f.Opcode == opClose:
		what = "close;"
	case bytes.Contains(f.Data, []byte(`"phx_leave"`)):
		what = "leave;"
	}
	if what != "" {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.said[f.Conn] += what
	}
}

// TestServeThousandConnections runs many connections in one process: all are joined, all get their messages, memory does not grow
// with these, and in the end each channel is left and each connection closed, in the time that serve has for it.
func TestServeThousandConnections(t *testing.T) {
	e := &ends{said: map[*phoenixtest.Conn]string{}}
	server := phoenixtest.NewServer(phoenixtest.Demo(), phoenixtest.WithTap(e.tap))
	defer server.Close()
	var config strings.Builder
	fmt.Fprintf(&config, "defaults: {uri: %s, reply_timeout_msec: 60000, connect_timeout_msec: 60000}\nconnections:\n", server.URL)
	for i := range manyConnections {
		fmt.Fprintf(&config, "  c%d: {auto_join_channels: [room:%d]}\n", i, i%10)
	}
	out := &tally{seq: map[string]uint64{}, events: map[string]int{}, changed: make(chan struct{}, 1)}
	s := startServe(t, config.String(), out)
	began := time.Now()
	s.awaitReady(t)
	joined := time.Since(began)
	if n := server.Stats(); n.Open != manyConnections || n.Joined != manyConnections {
		t.Errorf("ready with %+v", n)
	}

	first := s.traffic(t, server, out)
	second := s.traffic(t, server, out)
	if second > first+manyHeap {
		t.Errorf("after a round of traffic %.1f MiB are in use, after another one %.1f", first/(1<<20), second/(1<<20))
	}

	began = time.Now()
	cut := s.stop(t)
	stopped := time.Since(began)
	const closed = "phoenix.connection.disconnected closed_by_us 1000"
	if n := out.count(closed); n < manyConnections-cut {
		t.Errorf("%d signals %s, want %d, or %d less", n, closed, manyConnections, cut)
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	for _, problem := range out.problems {
		t.Error(problem)
	}
	server.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	said := map[string]int{}
	for _, what := range e.said {
		said[what]++
	}
	if n := said["leave;close 1000;"]; n < manyConnections-cut || cut == 0 && len(said) != 1 {
		t.Errorf("what clients said in the end: %v; %d were cut", said, cut)
	}
	t.Logf("ready after %v, stopped after %v, %d cut; heap in use after a round %.1f MiB, after another %.1f",
		joined.Round(time.Millisecond), stopped.Round(time.Millisecond), cut, first/(1<<20), second/(1<<20))
}

// traffic sends messages to every connection, and returns what memory is in use when all have come out again.
func (s *served) traffic(t *testing.T, server *phoenixtest.Server, out *tally) (heap float64) {
	t.Helper()
	payload := phoenixtest.RawJSON(fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", manyText)))
	before := out.count(eventNumber)
	for n := range manyMessages {
		for topic := range 10 {
			server.Broadcast(fmt.Sprint("room:", topic), eventNumber, payload)
		}
		// One for each connection is under way: whoever reads has room for them, however slow he is.
		out.await(t, eventNumber, before+(n+1)*manyConnections)
	}
	return s.afterGC(t)
}

// afterGC returns what memory is in use when the garbage until now has been collected. To look makes some, so that it is.
func (s *served) afterGC(t *testing.T) (heap float64) {
	t.Helper()
	const collections = "go_gc_duration_seconds_count"
	_, metrics := s.get(t, "/metrics")
	before := value(t, metrics, collections)
	s.await(t, func() (bool, string) {
		_, metrics := s.get(t, "/metrics")
		heap = value(t, metrics, "go_memstats_heap_inuse_bytes")
		now := value(t, metrics, collections)
		return now > before, fmt.Sprintf("there were %v garbage collections, and %v before", now, before)
	})
	return heap
}
