package router_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"phx/router"
)

// TestModel compares queues with the model under random puts, takes and releases, and then checks the promise itself: each
// record came out once, in the order of its origin, or one announcement counts it, where it is missing.
func TestModel(t *testing.T) {
	for _, policy := range []router.Policy{router.Block, router.DropNewest, router.DropOldest, router.Fail} {
		t.Run(policy.String(), func(t *testing.T) {
			for seed := range uint64(500) {
				g := newGame(seed, policy)
				if err := g.play(200); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// FuzzModel looks for seeds that TestModel does not try.
func FuzzModel(f *testing.F) {
	f.Add(uint64(1), byte(router.DropOldest))
	f.Fuzz(func(t *testing.T, seed uint64, policy byte) {
		p := router.Policy(policy % 4)
		if err := newGame(seed, p).play(200); err != nil {
			t.Fatalf("%v, seed %d: %v", p, seed, err)
		}
	})
}

// A game is a queue and a model that are treated alike.
type game struct {
	*rand.Rand
	q       *router.Queue
	m       model
	origins []*router.Origin
	seqs    map[*router.Origin]uint64
	put     map[string][]uint64 // of each connection, accepted by Put or counted as lost
	held    []*router.Chunk     // taken and not given back
	begin   []int               // where the lines of each of them begin in out
	last    *router.Chunk       // taken last, if it was not given back
	out     [][]byte
	// silent: losses are not announced. rude: the consumer also loses announcements.
	silent, rude bool
}

func newGame(seed uint64, p router.Policy) *game {
	r := rand.New(rand.NewPCG(seed, uint64(p)))
	g := &game{
		Rand: r, silent: r.IntN(10) == 0, rude: r.IntN(4) == 0,
		seqs: make(map[*router.Origin]uint64), put: make(map[string][]uint64),
	}
	limit := []int{0, 200, 2000, 40_000}[r.IntN(4)]
	records := []int{0, 0, 1, 5, 40}[r.IntN(5)]
	g.q = router.NewQueue(int64(limit), p, g.announce)
	g.q.LimitRecords(records)
	g.m = model{limit: limit, records: records, policy: p, announce: g.announce, counts: make(map[*router.Origin]*counts)}
	for i := range 1 + r.IntN(4) {
		o := router.NewOrigin(fmt.Sprint("origin", i))
		if i == 0 && r.IntN(2) == 0 {
			o = nil
		}
		g.origins = append(g.origins, o)
		g.m.counts[o] = new(counts)
	}
	return g
}

func (g *game) announce(dst []byte, l router.Loss) []byte {
	if g.silent {
		return dst
	}
	return fmt.Appendf(dst, "lost %s %d %d-%d\n", connection(l.Origin), l.Count, l.FirstSeq, l.LastSeq)
}

func connection(o *router.Origin) string {
	if o == nil {
		return "none"
	}
	return o.Connection
}

// play makes random moves, brings the queue to its end and checks what came of it.
func (g *game) play(moves int) error {
	hurry := g.IntN(10) // how often the consumer moves
	for range moves {
		if err := g.move(hurry); err != nil {
			return err
		}
		if err := g.compare(); err != nil {
			return err
		}
	}
	g.q.CloseInput(nil)
	g.m.ended = true
	if err := g.putChunk(); err != nil {
		return err
	}
	if g.IntN(4) == 0 {
		return g.abort()
	}
	if err := g.finish(); err != nil {
		return err
	}
	return g.checkStream()
}

func (g *game) move(hurry int) error {
	switch n := g.IntN(30); {
	case n <= hurry:
		_, err := g.takeChunk()
		return err
	case n <= 2*hurry:
		g.release()
		return nil
	case n <= 3*hurry:
		g.giveBack()
		return nil
	}
	return g.putChunk()
}

// finish takes what there is until the end of the input. The consumer goes on losing records.
func (g *game) finish() error {
	for moves := 0; ; moves++ {
		if g.IntN(2) == 0 {
			g.giveBack()
		}
		g.release()
		if more, err := g.takeChunk(); err != nil || !more {
			return err
		}
		if err := g.compare(); err != nil {
			return err
		}
		if moves > 100_000 {
			return errors.New("the end of the input does not come")
		}
	}
}

// padding is what follows the number in the longest record.
var padding = strings.Repeat(" ", 2000) + "\n"

func (g *game) putChunk() error {
	o := g.origins[g.IntN(len(g.origins))]
	c := g.q.ChunkOf(o)
	var records []item
	for range g.IntN(6) {
		g.seqs[o] += 1 + uint64(g.IntN(3))
		seq := g.seqs[o]
		line := fmt.Appendf(nil, "%s %d", connection(o), seq)
		line = append(line, padding[len(padding)-1-g.IntN([]int{10, 100, 2000}[g.IntN(3)]):]...)
		records = append(records, item{line: line, loss: router.Loss{Origin: o, Count: 1, FirstSeq: seq, LastSeq: seq}})
		c.Commit(append(c.Buffer(), line...), seq)
	}
	err := g.q.Put(canceled, c)
	if len(records) == 0 && !g.m.ended {
		return err
	}
	want := map[byte]error{'y': nil, 'w': canceled.Err(), 'f': router.ErrFull, 'c': router.ErrClosed}[g.m.put(records)]
	if err != want {
		return fmt.Errorf("Put: %v, want %v", err, want)
	}
	if err == nil || err == router.ErrFull {
		for _, r := range records {
			g.put[connection(o)] = append(g.put[connection(o)], r.loss.FirstSeq)
		}
	}
	return nil
}

func (g *game) takeChunk() (more bool, err error) {
	c, err := g.q.Take(canceled)
	if err != nil {
		if want := map[bool]error{true: io.EOF, false: canceled.Err()}[g.m.ended]; err != want {
			return false, fmt.Errorf("Take: %v, want %v", err, want)
		}
		if due, waiting := g.m.due(), g.m.waiting; len(due)+len(waiting) > 0 {
			return false, fmt.Errorf("Take: %v, with %q due and %d records waiting", err, lines(due), len(waiting))
		}
		return false, nil
	}
	g.held, g.begin, g.last = append(g.held, c), append(g.begin, len(g.out)), c
	if err := g.m.take(c.Bytes()); err != nil {
		return false, err
	}
	for i, it := range g.m.taken[len(g.m.taken)-1] {
		line, seq := c.Record(i)
		if !bytes.Equal(line, it.line) || seq != it.loss.LastSeq || c.OriginOf(i) != it.loss.Origin {
			return false, fmt.Errorf("record %d is %q, %d of %s; want %q", i, line, seq, connection(c.OriginOf(i)), it.line)
		}
		g.out = append(g.out, slices.Clone(line))
	}
	return true, nil
}

// release gives back all chunks as delivered, in any order.
func (g *game) release() {
	for len(g.held) > 0 {
		i := g.IntN(len(g.held))
		g.m.deliver(g.m.taken[i])
		g.m.taken = slices.Delete(g.m.taken, i, i+1)
		g.q.Release(g.held[i])
		g.forget(i)
	}
}

// forget removes the i-th chunk from those that are held.
func (g *game) forget(i int) {
	g.held, g.begin, g.last = slices.Delete(g.held, i, i+1), slices.Delete(g.begin, i, i+1), nil
}

// giveBack gives back the chunk that was taken last as delivered in part.
func (g *game) giveBack() {
	if g.last == nil {
		return
	}
	i := len(g.held) - 1
	items := g.m.taken[i]
	delivered := g.IntN(len(items) + 1)
	lost := g.IntN(len(items) - delivered + 1)
	onlyAnnouncements := true
	for _, it := range items[delivered : delivered+lost] {
		onlyAnnouncements = onlyAnnouncements && it.announces
	}
	if onlyAnnouncements && !g.rude {
		lost = 0
	}
	g.m.giveBack(delivered, lost)
	if lost > 0 && delivered+lost == len(items) {
		g.q.ReleaseFirst(g.last, delivered)
	} else {
		g.q.GiveBack(g.last, delivered, lost)
	}
	g.out = g.out[:g.begin[i]+delivered]
	g.forget(i)
}
