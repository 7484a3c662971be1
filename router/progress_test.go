package router

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestProgress compares what a progress says with a plain account of every record: random events with none to three records go to queues
// with every policy, and are delivered, judged, dropped or given up at random, and queues are taken away. Nothing is settled before it is,
// and in the end everything that can be is.
func TestProgress(t *testing.T) {
	for seed := range uint64(300) {
		testProgress(t, seed)
	}
}

// An account is the fate of each record of an event, by queue.
type account struct {
	open      []map[uint64]int // how many records of an event are neither delivered nor lost in a way that is announced; nil: it is taken away
	published uint64
}

func (a *account) done() uint64 {
	done := a.published
	for _, open := range a.open {
		for seq, records := range open {
			if records > 0 {
				done = min(done, seq-1)
			}
		}
	}
	return done
}

// add changes the number of records of an event in a queue.
func (a *account) add(queue int, seq uint64, records int) {
	if a.open[queue] != nil {
		a.open[queue][seq] += records
	}
}

func testProgress(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	p, a := NewProgress(), &account{}
	policies := []Policy{DropNewest, DropOldest, Block, Fail}
	queues := make([]*Queue, 1+rng.IntN(3))
	origins := make([]*Origin, len(queues))
	for i := range queues {
		policy := policies[rng.IntN(len(policies))]
		limit := int64(1 << 20)
		if policy != Block {
			limit = int64(200 + rng.IntN(2000))
		}
		queues[i], origins[i] = NewQueue(limit, policy, nil), p.Origin("c")
		a.open = append(a.open, map[uint64]int{})
	}
	takeAway := func(i int) {
		origins[i].unfollow()
		a.open[i] = nil
	}
	// lost takes what a queue has lost by its policy off the account: what was put, and is neither waiting nor taken.
	held := make([][]uint64, len(queues))
	put := func(i int, c *Chunk) {
		var seqs []uint64
		for r := range c.Len() {
			_, seq := c.Record(r)
			seqs = append(seqs, seq)
			a.add(i, seq, 1)
		}
		before := origins[i].Dropped.Load()
		err := queues[i].Put(context.Background(), c)
		held[i] = append(held[i], seqs...)
		dropped := int(origins[i].Dropped.Load() - before)
		var gone []uint64
		switch queues[i].policy {
		case DropOldest:
			gone, held[i] = held[i][:dropped], held[i][dropped:]
		case DropNewest, Fail:
			gone, held[i] = held[i][len(held[i])-dropped:], held[i][:len(held[i])-dropped]
		}
		if errors.Is(err, ErrFull) {
			return // the rest is lost for good, and comes again
		}
		for _, seq := range gone {
			a.add(i, seq, -1)
		}
	}
	chunks := make([]*Chunk, len(queues))
	flush := func(seq uint64) {
		for i, c := range chunks {
			if c != nil {
				put(i, c)
				chunks[i] = nil
			}
		}
		p.Published(seq)
		a.published = seq
	}
	take := func(i int) {
		c, err := queues[i].poll(0)
		if c == nil {
			if err != nil && err != io.EOF {
				t.Fatalf("seed %d: %v", seed, err)
			}
			return
		}
		n := c.Len()
		delivered := n
		if rng.IntN(3) == 0 {
			delivered = rng.IntN(n + 1)
		}
		lost := 0
		if delivered < n && rng.IntN(2) == 0 {
			lost = 1
		}
		queues[i].GiveBack(c, delivered, lost)
		for _, seq := range held[i][:delivered+lost] {
			a.add(i, seq, -1)
		}
		held[i] = held[i][delivered+lost:]
	}
	check := func(when string) {
		if got, want := p.Done(), a.done(); got != want {
			t.Fatalf("seed %d, %s: done up to %d, want %d", seed, when, got, want)
		}
	}
	for seq := uint64(1); seq < 200; seq++ {
		for i := range queues {
			for range rng.IntN(3) {
				if chunks[i] == nil {
					chunks[i] = queues[i].ChunkOf(origins[i])
				}
				chunks[i].Commit(append(chunks[i].Buffer(), "a record of some length\n"...), seq)
			}
		}
		if rng.IntN(3) == 0 {
			flush(seq)
		}
		if rng.IntN(2) == 0 {
			take(rng.IntN(len(queues)))
		}
		if seq > 100 && rng.IntN(300) == 0 {
			takeAway(rng.IntN(len(queues)))
		}
		check("under way")
	}
	flush(200)
	check("all put")
	gaveUp := rng.IntN(3) == 0
	for i, q := range queues {
		if gaveUp && i == 0 {
			if c, _ := q.poll(0); c != nil {
				q.ReleaseFirst(c, 0)
			}
			q.Abort(nil)
			continue
		}
		for len(held[i]) > 0 {
			take(i)
		}
	}
	check("at the end")
	for i := range queues {
		takeAway(i)
	}
	if got := p.Done(); got != 200 {
		t.Fatalf("seed %d, without queues: done up to %d", seed, got)
	}
}

// TestProgressInBatches: the records of a chunk count together, so that the lock of the progress is taken once for them. Whoever looks
// meanwhile sees all of them, or none.
func TestProgressInBatches(t *testing.T) {
	const n = 2000
	p := NewProgress()
	o := p.Origin("c")
	q := NewQueue(1<<20, DropNewest, nil)
	for _, giveBack := range []func(c *Chunk){
		q.Release,
		func(c *Chunk) { q.GiveBack(c, c.Len(), 0) },
		func(c *Chunk) { q.giveBackEach(c, slices.Repeat([]fate{recordDelivered}, c.Len())) },
	} {
		before := p.Done()
		seen := map[uint64]bool{}
		c := q.ChunkOf(o)
		for i := range n {
			c.Commit(append(c.Buffer(), "x\n"...), before+uint64(i)+1)
		}
		if err := q.Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		p.Published(before + n)
		c, err := q.Take(t.Context())
		if err != nil || c.Len() != n {
			t.Fatal(c.Len(), err)
		}
		looking, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			close(looking)
			for at := p.Done(); ; at = p.Done() {
				seen[at] = true
				if at == before+n {
					return
				}
			}
		}()
		<-looking
		giveBack(c)
		<-done
		delete(seen, before)
		if len(seen) != 1 {
			t.Errorf("%d of %d records were seen alone", len(seen)-1, n)
		}
	}
}
