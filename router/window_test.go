package router

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A windowGame plays a receiver with a window: requests succeed, fail for a while, or are refused because of a record in them. What the
// receiver has accepted is compared with what was put.
type windowGame struct {
	t      *testing.T
	random *rand.Rand
	w      *window
	q      *Queue
	origin *Origin
	now    time.Time
	put    []string            // records, in their order
	last   map[string]int      // by topic: the index of the last record that was accepted
	got    map[string]int      // how often a record was accepted
	out    [][]*item           // requests under way
	busy   map[string]struct{} // topics of those
	down   bool                // every request fails
	stuck  bool                // every request with a record of t0 fails
	failed int                 // requests in a row
}

func topicOf(line []byte) ([]byte, error) {
	topic, rest, _ := bytes.Cut(line, []byte{' '})
	if bytes.HasPrefix(rest, []byte("broken")) {
		return nil, io.ErrUnexpectedEOF
	}
	return topic, nil
}

func isPoison(line string) bool { return strings.HasSuffix(line, "poison") }

// TestWindow: whatever a receiver does, the records of a topic are accepted in their order and once, all of them but those that the
// receiver refuses; a topic is never in two requests at once; and requests keep their limits.
func TestWindow(t *testing.T) {
	seeds := 400
	if testing.Short() {
		seeds = 80
	}
	for seed := range seeds {
		playWindow(t, uint64(seed))
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func playWindow(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 11))
	g := &windowGame{t: t, random: random, origin: NewOrigin("c"), now: time.Unix(1e9, 0), last: map[string]int{}, got: map[string]int{}, busy: map[string]struct{}{}}
	limits := windowLimits{
		Records: 1 + random.IntN(2)*random.IntN(12), Bytes: 40 + random.IntN(400), Requests: 1 + random.IntN(4), Wait: time.Duration(random.IntN(2)) * time.Second,
	}
	g.w = newWindow(limits)
	g.q = NewQueue(1<<20, DropOldest, nil)
	topics, records := 1+random.IntN(6), 20+random.IntN(150)
	if limits.Requests == 1 {
		topics = 1
	}
	ended := false
	for moves := 0; ; moves++ {
		if moves > 20000 {
			t.Fatalf("no end: %d records in hand, %d requests", len(g.w.items), len(g.out))
		}
		if len(g.put) < records && random.IntN(3) == 0 {
			g.putSome(topics)
		}
		if len(g.put) >= records && !ended {
			g.q.CloseInput(nil)
			ended = true
		}
		over := g.fill()
		batch, delay := g.w.next(g.now, ended)
		switch {
		case batch != nil:
			g.send(batch, limits)
		case len(g.out) > 0:
			g.answer()
		case over && len(g.w.items) == 0:
			g.finish(records)
			return
		case g.w.stale():
			g.w.giveBack(g.q, true)
		case delay > 0:
			if g.w.waits(g.now) && random.IntN(2) == 0 {
				g.w.giveBack(g.q, true)
			}
			g.now = g.now.Add(delay)
		}
		if len(g.out) > 0 && random.IntN(3) == 0 {
			g.answer()
		}
		if random.IntN(40) == 0 {
			g.down = !g.down
		}
		if random.IntN(60) == 0 {
			g.stuck = !g.stuck
		}
	}
}

func (g *windowGame) putSome(topics int) {
	c := g.q.ChunkOf(g.origin)
	for range 1 + g.random.IntN(9) {
		line := fmt.Sprintf("t%d %d", g.random.IntN(topics), len(g.put))
		switch g.random.IntN(25) {
		case 0:
			line += " poison"
		case 1:
			line = fmt.Sprintf("t%d broken", g.random.IntN(topics))
		}
		g.put = append(g.put, line)
		c.Commit(append(c.Buffer(), line+"\n"...), uint64(len(g.put)))
	}
	_ = g.q.Put(g.t.Context(), c)
}

func (g *windowGame) fill() (over bool) {
	for room := g.w.room(); room > 0; room = g.w.room() {
		c, err := g.q.poll(room)
		if c == nil {
			return err == io.EOF
		}
		g.w.add(c, g.now, topicOf)
		g.w.giveBack(g.q, false)
	}
	return false
}

func (g *windowGame) send(batch []*item, limits windowLimits) {
	g.out = append(g.out, batch)
	size := 0
	topics := map[string]struct{}{}
	for _, it := range batch {
		topic, _ := topicOf(it.line())
		topics[string(topic)] = struct{}{}
		size += len(it.line()) + 1
	}
	for topic := range topics {
		if _, twice := g.busy[topic]; twice {
			g.t.Errorf("topic %s is in two requests", topic)
		}
		g.busy[topic] = struct{}{}
	}
	if len(batch) > limits.Records || len(batch) > 1 && size > limits.Bytes+len(batch) || len(g.out) > limits.Requests {
		g.t.Errorf("%d records of %d bytes in one of %d requests, with %+v", len(batch), size, len(g.out), limits)
	}
	if g.failed > 0 && len(g.out) > 1 {
		g.t.Errorf("%d requests are under way after a failure", len(g.out))
	}
}

// answer ends one of the requests under way.
func (g *windowGame) answer() {
	i := g.random.IntN(len(g.out))
	batch := g.out[i]
	g.out = append(g.out[:i], g.out[i+1:]...)
	poison, fails := false, g.down
	for _, it := range batch {
		topic, _ := topicOf(it.line())
		delete(g.busy, string(topic))
		fails = fails || g.stuck && string(topic) == "t0"
		poison = poison || isPoison(string(it.line()))
	}
	switch {
	case fails:
		g.failed++
		g.w.failed(batch, g.now, time.Duration(g.random.IntN(3))*time.Second)
	case poison:
		g.failed = 0
		if lost := g.w.refused(batch, true); lost > 0 && len(batch) > 1 {
			g.t.Errorf("%d records were lost for one of them", lost)
		}
	default:
		g.failed = 0
		for _, it := range batch {
			line := string(it.line())
			g.got[line]++
			topic, _ := topicOf(it.line())
			_, seq := it.part.chunk.Record(it.index - it.part.first)
			if last, known := g.last[string(topic)]; known && last >= int(seq) {
				g.t.Errorf("record %d of %s was accepted after %d", seq, topic, last)
			}
			g.last[string(topic)] = int(seq)
		}
		g.w.delivered(batch)
	}
	g.w.giveBack(g.q, len(g.out) == 0 && g.random.IntN(4) == 0)
}

func (g *windowGame) finish(records int) {
	g.w.giveBack(g.q, true)
	good := 0
	for _, line := range g.put {
		wanted := 1
		if isPoison(line) || strings.HasSuffix(line, "broken") {
			wanted = 0
		}
		good += wanted
		if g.got[line] != wanted {
			g.t.Errorf("record %q was accepted %d times, want %d", line, g.got[line], wanted)
		}
	}
	if d, l := g.origin.Delivered.Load(), g.origin.Dropped.Load(); d != uint64(good) || d+l != uint64(len(g.put)) || len(g.put) < records {
		g.t.Errorf("%d records count as delivered and %d as dropped, of %d good ones among %d", d, l, good, len(g.put))
	}
	if g.q.used != (weight{}) || len(g.w.strands) != 0 || len(g.q.held) != 0 {
		g.t.Errorf("left: %+v of the queue, %d strands, %d chunks", g.q.used, len(g.w.strands), len(g.q.held))
	}
}

// TestWindowOfAStubbornTopic: a topic whose requests always fail holds up no other one, and goes alone in the end.
func TestWindowOfAStubbornTopic(t *testing.T) {
	q := NewQueue(1<<20, DropOldest, nil)
	w := newWindow(windowLimits{Records: 8, Bytes: 1 << 10, Requests: 2})
	o := NewOrigin("c")
	now := time.Unix(1e9, 0)
	c := q.ChunkOf(o)
	for i := range 64 {
		c.Commit(fmt.Appendf(c.Buffer(), "t%d %d\n", i%8, i), uint64(i+1))
	}
	_ = q.Put(t.Context(), c)
	q.CloseInput(nil)
	alone := false
	for range 1000 {
		for room := w.room(); room > 0; room = w.room() {
			c, _ := q.poll(room)
			if c == nil {
				break
			}
			w.add(c, now, topicOf)
		}
		batch, delay := w.next(now, true)
		if batch == nil {
			w.giveBack(q, w.sending == 0)
			now = now.Add(max(delay, time.Millisecond))
			continue
		}
		stubborn := false
		for _, it := range batch {
			stubborn = stubborn || bytes.HasPrefix(it.line(), []byte("t0"))
		}
		if stubborn {
			alone = len(batch) == 1
			w.failed(batch, now, 0)
		} else {
			w.delivered(batch)
		}
		w.giveBack(q, false)
	}
	if n := o.Delivered.Load(); n != 56 || !alone {
		t.Errorf("%d records of seven good topics were delivered, want 56; the bad topic is alone: %v", n, alone)
	}
}

// TestWindowOfAStubbornBacklog: nor does a topic that always fails and has much that waits, wherever that is.
func TestWindowOfAStubbornBacklog(t *testing.T) {
	q := NewQueue(64<<20, DropOldest, nil)
	w := newWindow(windowLimits{Records: 8, Bytes: 1 << 10, Requests: 2})
	o := NewOrigin("c")
	now := time.Unix(1e9, 0)
	const others = 50
	n, rounds := 5000, 1000
	if testing.Short() { // with the race detector the long one takes ten seconds
		n, rounds = 500, 300
	}
	put := func(topic string, n int) {
		c := q.ChunkOf(o)
		for i := range n {
			if c.Full() {
				_ = q.Put(t.Context(), c)
				c = q.ChunkOf(o)
			}
			c.Commit(fmt.Appendf(c.Buffer(), "%s %d\n", topic, i), uint64(i+1))
		}
		_ = q.Put(t.Context(), c)
	}
	put("t0", n)
	put("t1", others)
	for range rounds {
		for room := w.room(); room > 0; room = w.room() {
			c, _ := q.poll(room)
			if c == nil {
				break
			}
			w.add(c, now, topicOf)
		}
		batch, delay := w.next(now, false)
		switch {
		case batch == nil:
			w.giveBack(q, w.sending == 0)
			now = now.Add(max(delay, time.Millisecond))
		case bytes.HasPrefix(batch[0].line(), []byte("t0")):
			w.failed(batch, now, 0)
			w.giveBack(q, false)
		default:
			w.delivered(batch)
			w.giveBack(q, false)
		}
	}
	w.giveBack(q, true)
	if got := o.Delivered.Load(); got != others {
		t.Errorf("%d of %d records of the good topic were delivered", got, others)
	}
}
