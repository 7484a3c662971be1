package router_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"phx/router"
)

// A model is the queue as its documentation has it, record by record and slow.
type model struct {
	limit   int
	policy  router.Policy
	waiting []record
	taken   int // cost of what is taken
	lost    router.Loss
	failed  bool
}

type record struct {
	line []byte
	seq  uint64
}

func (r record) cost() int { return len(r.line) + 24 }

func (m *model) used() int {
	n := m.taken
	for _, r := range m.waiting {
		n += r.cost()
	}
	return n
}

func (m *model) fits(charge int) bool { return len(m.waiting) == 0 || m.used()+charge <= m.limit }

func (m *model) lose(seq uint64) {
	if m.lost.Count == 0 {
		m.lost.FirstSeq = seq
	}
	m.lost.Count++
	m.lost.LastSeq = seq
}

// put reports what Put should return: 'y' for nil, 'w' for waiting, 'f' for ErrFull.
func (m *model) put(chunk []record) byte {
	total := 0
	for _, r := range chunk {
		total += r.cost()
	}
	if m.policy == router.Block {
		if !m.fits(total) {
			return 'w'
		}
		m.waiting = append(m.waiting, chunk...)
		return 'y'
	}
	for _, r := range chunk {
		m.putRecord(r)
	}
	if m.failed {
		return 'f'
	}
	return 'y'
}

func (m *model) putRecord(r record) {
	switch m.policy {
	case router.DropOldest:
		for !m.fits(r.cost()) {
			m.lose(m.waiting[0].seq)
			m.waiting = m.waiting[1:]
		}
	case router.DropNewest:
		if m.lost.Count > 0 && m.fits(r.cost()) {
			a := record{line: announce(nil, m.lost)}
			if !m.fits(a.cost() + r.cost()) {
				m.lose(r.seq)
				return
			}
			m.waiting = append(m.waiting, a)
			m.lost = router.Loss{}
		} else if !m.fits(r.cost()) {
			m.lose(r.seq)
			return
		}
	case router.Fail:
		if m.failed || !m.fits(r.cost()) {
			m.failed = true
			m.lose(r.seq)
			return
		}
	}
	m.waiting = append(m.waiting, r)
}

// due returns the announcement that has to come out next, if any.
func (m *model) due(ended bool) []byte {
	atEnd := len(m.waiting) == 0 && (m.policy != router.Fail || ended)
	if m.lost.Count == 0 || m.policy != router.DropOldest && !atEnd {
		return nil
	}
	return announce(nil, m.lost)
}

// take accepts got as the next chunk, or says what is wrong with it.
func (m *model) take(got []byte, ended bool) error {
	if a := m.due(ended); a != nil {
		if !bytes.Equal(got, a) {
			return fmt.Errorf("took %q, want the announcement %q", got, a)
		}
		m.lost = router.Loss{}
		m.taken += record{line: a}.cost()
		return nil
	}
	if len(got) == 0 {
		return errors.New("took an empty chunk")
	}
	for len(got) > 0 {
		if len(m.waiting) == 0 || !bytes.HasPrefix(got, m.waiting[0].line) {
			return fmt.Errorf("took %q where only %d other records wait", got, len(m.waiting))
		}
		got = got[len(m.waiting[0].line):]
		m.taken += m.waiting[0].cost()
		m.waiting = m.waiting[1:]
	}
	return nil
}

// TestModel compares queues with the model under random puts, takes and releases, and then checks the promise itself: each
// record came out once and in order, or one announcement counts it.
func TestModel(t *testing.T) {
	for _, policy := range []router.Policy{router.Block, router.DropNewest, router.DropOldest, router.Fail} {
		t.Run(policy.String(), func(t *testing.T) {
			for seed := range uint64(500) {
				g := newGame(seed, policy)
				if err := g.play(200); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if err := checkStream(g.put, g.out.Bytes()); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// A game is a queue and a model that are treated alike.
type game struct {
	*rand.Rand
	q     *router.Queue
	m     model
	seq   uint64
	put   []uint64 // accepted by Put, or counted as lost
	held  []*router.Chunk
	out   bytes.Buffer
	ended bool
}

func newGame(seed uint64, p router.Policy) *game {
	r := rand.New(rand.NewPCG(seed, uint64(p)))
	limit := []int{0, 100, 1000, 20_000}[r.IntN(4)]
	return &game{Rand: r, q: router.NewQueue(int64(limit), p, announce), m: model{limit: limit, policy: p}}
}

// play makes random moves and then empties the queue.
func (g *game) play(moves int) error {
	hurry := g.IntN(10) // how often the consumer moves
	for range moves {
		var err error
		switch n := g.IntN(20); {
		case n <= hurry:
			_, err = g.takeChunk()
		case n <= 2*hurry:
			g.release()
		default:
			err = g.putChunk()
		}
		if err != nil {
			return err
		}
	}
	g.q.CloseInput(nil)
	g.ended = true
	for {
		g.release()
		if more, err := g.takeChunk(); err != nil || !more {
			return err
		}
	}
}

// padding is what follows the number in the longest record.
var padding = strings.Repeat(" ", 2000) + "\n"

func (g *game) putChunk() error {
	c := g.q.Chunk()
	var records []record
	for range g.IntN(6) {
		g.seq += 1 + uint64(g.IntN(3))
		line := append(strconv.AppendUint(nil, g.seq, 10), padding[len(padding)-1-g.IntN([]int{10, 100, 2000}[g.IntN(3)]):]...)
		records = append(records, record{line, g.seq})
		c.Commit(append(c.Buffer(), line...), g.seq)
	}
	err := g.q.Put(canceled, c)
	if len(records) == 0 {
		return err
	}
	want := map[byte]error{'y': nil, 'w': canceled.Err(), 'f': router.ErrFull}[g.m.put(records)]
	if err != want {
		return fmt.Errorf("Put: %v, want %v", err, want)
	}
	if err != canceled.Err() {
		for _, r := range records {
			g.put = append(g.put, r.seq)
		}
	}
	return nil
}

func (g *game) takeChunk() (more bool, err error) {
	c, err := g.q.Take(canceled)
	if err != nil {
		if want := map[bool]error{true: io.EOF, false: canceled.Err()}[g.ended]; err != want {
			return false, fmt.Errorf("Take: %v, want %v", err, want)
		}
		if n := len(g.m.waiting); n > 0 || g.m.due(g.ended) != nil {
			return false, fmt.Errorf("Take: %v, with %d records waiting", err, n)
		}
		return false, nil
	}
	g.out.Write(c.Bytes())
	g.held = append(g.held, c)
	return true, g.m.take(c.Bytes(), g.ended)
}

// release gives back all chunks, in any order.
func (g *game) release() {
	g.Shuffle(len(g.held), func(i, j int) { g.held[i], g.held[j] = g.held[j], g.held[i] })
	for _, c := range g.held {
		g.q.Release(c)
	}
	g.held, g.m.taken = nil, 0
}

// checkStream reads what came out, and compares it with the numbers of the records that went in.
func checkStream(put []uint64, out []byte) error {
	for line := range bytes.Lines(out) {
		seq, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 10, 64)
		l := router.Loss{Count: 1, FirstSeq: seq, LastSeq: seq}
		if err != nil {
			if _, err := fmt.Sscanf(string(line), "lost %d %d-%d", &l.Count, &l.FirstSeq, &l.LastSeq); err != nil {
				return fmt.Errorf("a line %q came out", line)
			}
		}
		n := int(l.Count)
		if n == 0 || n > len(put) || put[0] != l.FirstSeq || put[n-1] != l.LastSeq {
			return fmt.Errorf("%q came out where %d was next", line, put[:min(len(put), 10)])
		}
		put = put[n:]
	}
	if len(put) > 0 {
		return fmt.Errorf("%d neither came out nor were announced", put)
	}
	return nil
}
