package router

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"
)

func announceLoss(dst []byte, l Loss) []byte { return fmt.Appendf(dst, "lost %d\n", l.Count) }

// occupied is the memory of all that waits and of the pool.
func (q *Queue) occupied() (bytes int64) {
	for _, list := range []*Chunk{q.head, q.pool.free} {
		for c := list; c != nil; c = c.next {
			bytes += c.footprint()
		}
	}
	return bytes
}

// TestMemoryIsBounded fills queues that nobody reads, in ways that waste.
func TestMemoryIsBounded(t *testing.T) {
	const many = 1 << 20
	ways := map[string]struct {
		record, perChunk int
		limit            int64
	}{
		"one tiny record a chunk":           {3, 1, 2 << 20},
		"tiny records":                      {3, many, 2 << 20},
		"usual lines, one a chunk":          {400, 1, 16 << 20},
		"usual lines":                       {400, many, 16 << 20},
		"lines of just over half a chunk":   {33 << 10, 1, 16 << 20},
		"lines that do not fit in threes":   {25 << 10, 2, 16 << 20},
		"lines that are larger than chunks": {100 << 10, 1, 16 << 20},
	}
	for name, way := range ways {
		for _, p := range []Policy{Block, DropNewest, DropOldest, Fail} {
			t.Run(name+", "+p.String(), func(t *testing.T) {
				limit := way.limit
				q := NewQueue(limit, p, announceLoss)
				fill(q, make([]byte, way.record), way.perChunk, limit*3/2)
				if got, most := q.occupied(), limit+limit/8+8<<20; got > most {
					t.Errorf("%d MiB for a limit of %d MiB, want at most %d", got>>20, limit>>20, most>>20)
				}
				if q.used.cost() < limit*9/10 {
					t.Errorf("only %d MiB of %d used", q.used.cost()>>20, limit>>20)
				}
				checkSlack(t, q)
			})
		}
	}
}

// fill puts records until they cost total, or Put would wait.
func fill(q *Queue, record []byte, perChunk int, total int64) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for put := int64(0); put < total; {
		c := q.Chunk()
		for c.Len() < perChunk && !c.Full() {
			c.Commit(append(c.Buffer(), record...), 1)
		}
		put += c.weight().cost()
		if q.Put(ctx, c) == ctx.Err() {
			return
		}
	}
}

// checkSlack compares the queue's running totals with a count, and those of an emptied queue with
// nothing.
func checkSlack(t *testing.T, q *Queue) {
	t.Helper()
	var used weight
	var slack int64
	for c := q.head; c != nil; c = c.next {
		used = used.plus(c.weight())
		slack += c.slack
	}
	if used != q.used || used != q.waiting || slack != q.slack {
		t.Errorf("used %v, waiting %v, slack %d, a count says %v and %d", q.used, q.waiting, q.slack, used, slack)
	}
	q.CloseInput(nil)
	if err := WriterDrain(io.Discard).Run(t.Context(), q); err != nil {
		t.Errorf("Run: %v", err)
	}
	if q.used != (weight{}) || q.waiting != (weight{}) || q.slack != 0 {
		t.Errorf("used %v, waiting %v, slack %d when empty", q.used, q.waiting, q.slack)
	}
	if got := q.occupied(); got > 4<<20 {
		t.Errorf("an emptied queue holds %d KiB", got>>10)
	}
}

// A huge record must not outlive its turn, neither in a chunk with others nor in the pool.
func TestHugeRecordLeavesNoMemory(t *testing.T) {
	const limit = 10 << 20
	q := NewQueue(limit, DropOldest, announceLoss)
	put := func(records ...[]byte) {
		c := q.Chunk()
		for _, r := range records {
			c.Commit(append(c.Buffer(), r...), 1)
		}
		if err := q.Put(t.Context(), c); err != nil {
			t.Fatalf("Put: %v", err)
		}
	}
	put(make([]byte, limit*9/10), []byte("first\n"), []byte("second\n"))
	put(make([]byte, limit/5)) // loses the huge one
	if got := q.occupied(); got > limit/2 {
		t.Errorf("%d MiB are held for %d MiB", got>>20, q.used.cost()>>20)
	}
	last := q.limit - q.used.cost() - recordOverhead + 1
	put(make([]byte, last)) // is one byte too long for the first to stay
	for _, want := range []int{len("lost 2\n") + len("second\n"), limit / 5, int(last)} {
		c, err := q.Take(t.Context())
		if err != nil || len(c.Bytes()) != want {
			t.Fatalf("Take: %d bytes, %v; want %d bytes", len(c.Bytes()), err, want)
		}
		q.Release(c)
	}
	if got := q.occupied(); got > 1<<20 {
		t.Errorf("an emptied queue holds %d KiB", got>>10)
	}
}

// Chunks that wait again with little left in them are counted like others.
func TestGivenBackChunksAreTrimmed(t *testing.T) {
	const limit = 32 << 20
	q := NewQueue(limit, Block, nil)
	fill(q, make([]byte, 20<<10), 3, limit)
	var taken []*Chunk
	for q.head != nil {
		taken = append(taken, q.pop())
	}
	for i := len(taken) - 1; i >= 0; i-- {
		q.GiveBack(taken[i], 2, 0)
	}
	if got, most := q.occupied(), q.used.cost()*9/8+8<<20; got > most {
		t.Errorf("%d MiB for %d MiB, want at most %d", got>>20, q.used.cost()>>20, most>>20)
	}
	checkSlack(t, q)
}

func TestAbortFreesWhatWaits(t *testing.T) {
	q := NewQueue(32<<20, Block, nil)
	fill(q, make([]byte, 400), 1, 32<<20)
	q.Abort(nil)
	if q.used != (weight{}) || q.occupied() > 4<<20 {
		t.Errorf("an aborted queue counts %v and holds %d KiB", q.used, q.occupied()>>10)
	}
}

// The steady state of a reader that keeps up, and of a blocked one under the policies that go on.
func TestNoAllocations(t *testing.T) {
	line := make([]byte, 400)
	round := func(q *Queue) {
		c := q.Chunk()
		for !c.Full() {
			c.Commit(append(c.Buffer(), line...), 1)
		}
		if err := q.Put(t.Context(), c); err != nil {
			t.Fatalf("Put: %v", err)
		}
	}
	for _, p := range []Policy{Block, DropNewest, DropOldest, Fail} {
		q := NewQueue(64<<20, p, announceLoss)
		if n := testing.AllocsPerRun(100, func() {
			round(q)
			c, err := q.Take(t.Context())
			if err != nil {
				t.Fatalf("Take: %v", err)
			}
			q.Release(c)
		}); n != 0 {
			t.Errorf("%v, reader keeps up: %v allocations a chunk", p, n)
		}
	}
	for _, p := range []Policy{Block, DropNewest, DropOldest, Fail} {
		q := NewQueue(64<<20, p, func(dst []byte, _ Loss) []byte { return append(dst, "lost\n"...) })
		a, b := NewOrigin("aaa"), NewOrigin("bbb")
		if n := testing.AllocsPerRun(100, func() {
			for _, o := range []*Origin{a, b, a} {
				c := q.ChunkOf(o)
				c.Commit(append(c.Buffer(), line...), 1)
				if err := q.Put(t.Context(), c); err != nil {
					t.Fatalf("Put: %v", err)
				}
			}
			for i := range 2 {
				c, err := q.Take(t.Context())
				switch {
				case err != nil:
					t.Fatalf("Take: %v", err)
				case i == 0:
					q.GiveBack(c, 1, 1)
				default:
					q.Release(c)
				}
			}
		}); n != 0 {
			t.Errorf("%v, two origins, a record lost: %v allocations", p, n)
		}
	}
	for _, p := range []Policy{DropNewest, DropOldest} {
		q := NewQueue(1<<20, p, func(dst []byte, _ Loss) []byte { return dst })
		for range 100 {
			round(q)
		}
		if n := testing.AllocsPerRun(100, func() { round(q) }); n != 0 {
			t.Errorf("%v, reader blocked: %v allocations a chunk", p, n)
		}
	}
}

// The chunks of a backlog that is over are there for the next one, of any queue, until the collector takes them.
func TestBacklogIsReused(t *testing.T) {
	const chunks = 100
	backlog := func() map[*Chunk]bool {
		q := NewQueue(64<<20, Block, nil)
		used := map[*Chunk]bool{}
		for range chunks {
			c := q.Chunk()
			used[c] = true
			c.Commit(append(c.Buffer(), make([]byte, c.full)...), 1)
			if err := q.Put(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		for range chunks {
			c, err := q.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			q.Release(c)
		}
		return used
	}
	first := backlog()
	reused := 0
	for c := range backlog() {
		if first[c] {
			reused++
		}
	}
	// With the race detector, a sync.Pool drops some.
	if reused < chunks/4 {
		t.Errorf("of %d chunks, %d are used again", chunks, reused)
	}
	var left []weak.Pointer[Chunk]
	for c := range first {
		left = append(left, weak.Make(c))
	}
	clear(first)
	runtime.GC()
	runtime.GC() // what a sync.Pool has survives one
	if slices.ContainsFunc(left, func(c weak.Pointer[Chunk]) bool { return c.Value() != nil }) {
		t.Error("the collector has left a chunk")
	}
}

// Records of many chunks that are taken at once are copied once.
func TestTakeSomeCopiesOnce(t *testing.T) {
	const size = 4 << 20
	q := NewQueue(64<<20, Block, nil)
	fill(q, make([]byte, 400), 1, size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := q.TakeSome(t.Context(), 1<<20)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(c.Bytes()); got < size*3/4 || q.head != nil {
		t.Errorf("%d bytes are taken", got)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 2*size {
		t.Errorf("%d KiB are allocated for %d KiB", got>>10, size>>10)
	}
}

func BenchmarkQueue(b *testing.B) {
	for _, size := range []int{40, 400, 4000} {
		b.Run(fmt.Sprint("record=", size), func(b *testing.B) {
			line := make([]byte, size)
			q := NewQueue(64<<20, Block, nil)
			done := make(chan error, 1)
			go func() { done <- WriterDrain(io.Discard).Run(context.Background(), q) }()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			c := q.Chunk()
			for b.Loop() {
				c.Commit(append(c.Buffer(), line...), 1)
				if c.Full() {
					if err := q.Put(context.Background(), c); err != nil {
						b.Fatalf("Put: %v", err)
					}
					c = q.Chunk()
				}
			}
			q.CloseInput(nil)
			if err := <-done; err != nil {
				b.Fatalf("Run: %v", err)
			}
		})
	}
}

// BenchmarkOrigins is the way of a record in and out on one goroutine, with the chunks of several
// origins one after the other. The reader keeps up, or never comes.
func BenchmarkOrigins(b *testing.B) {
	line := make([]byte, 100)
	for _, origins := range []int{0, 1, 4} {
		for _, perChunk := range []int{1, 4096} {
			for _, reads := range []bool{true, false} {
				b.Run(fmt.Sprintf("origins=%d/perchunk=%d/reads=%v", origins, perChunk, reads), func(b *testing.B) {
					q := NewQueue(1<<20, DropOldest, announceLoss)
					of := make([]*Origin, max(origins, 1))
					for i := range origins {
						of[i] = NewOrigin(fmt.Sprint(i))
					}
					b.ReportAllocs()
					for put, turn := 0, 0; put < b.N; turn++ {
						c := q.ChunkOf(of[turn%len(of)])
						for c.Len() < perChunk && !c.Full() {
							c.Commit(append(c.Buffer(), line...), 1)
						}
						put += c.Len()
						if err := q.Put(b.Context(), c); err != nil {
							b.Fatalf("Put: %v", err)
						}
						if reads && turn%8 == 7 {
							releaseAll(b, q)
						}
					}
				})
			}
		}
	}
}

func releaseAll(b *testing.B, q *Queue) {
	for {
		c, err := q.poll(0)
		if err != nil {
			b.Fatalf("Take: %v", err)
		}
		if c == nil {
			return
		}
		q.Release(c)
	}
}

// noted returns a chunk with the records 1, an announcement of 2 to 4, 5, and an announcement of 6
// to 8, all of o.
func noted(o *Origin) *Chunk {
	c := &Chunk{full: 1000, most: 100, origin: o}
	c.Commit(append(c.Buffer(), "1\n"...), 1)
	c.commitAnnouncement(append(c.Buffer(), "2-4\n"...), Loss{Origin: o, Count: 3, FirstSeq: 2, LastSeq: 4})
	c.Commit(append(c.Buffer(), "5\n"...), 5)
	c.commitAnnouncement(append(c.Buffer(), "6-8\n"...), Loss{Origin: o, Count: 3, FirstSeq: 6, LastSeq: 8})
	return c
}

func wantLoss(t *testing.T, c *Chunk, i int, want Loss, announced bool) {
	t.Helper()
	if got, ok := c.lossOf(i); got != want || ok != announced {
		t.Errorf("the loss of record %d: %v, %v, want %v, %v", i, got, ok, want, announced)
	}
}

// Announcements stay what they are when their chunk is cut and copied.
func TestAnnouncementsInChunks(t *testing.T) {
	o := NewOrigin("aaa")
	c := noted(o)
	c.skip(1)
	old := c.trim()
	if &old.buf[0] == &c.buf[0] || len(c.buf) != cap(c.buf) {
		t.Error("a trimmed chunk has its old storage, or more than it needs")
	}
	wantLoss(t, c, 0, Loss{o, 3, 2, 4}, true)
	wantLoss(t, c, 1, Loss{o, 1, 5, 5}, false)
	wantLoss(t, c, 2, Loss{o, 3, 6, 8}, true)

	c.truncate(2)
	c.commitAnnouncement(append(c.Buffer(), "6-9\n"...), Loss{o, 4, 6, 9})
	wantLoss(t, c, 2, Loss{o, 4, 6, 9}, true)
	if got, want := string(c.Bytes()), "2-4\n5\n6-9\n"; got != want {
		t.Errorf("the chunk is %q, want %q", got, want)
	}
	if got, want := c.weight(), (weight{bytes: 10, records: 3, notes: 2}); got != want {
		t.Errorf("it weighs %v, want %v", got, want)
	}

	d := noted(o)
	d.appendAll(c)
	wantLoss(t, d, 4, Loss{o, 3, 2, 4}, true)
	wantLoss(t, d, 5, Loss{o, 1, 5, 5}, false)
	wantLoss(t, d, 6, Loss{o, 4, 6, 9}, true)
	d.tally(0, d.Len(), (*Origin).delivered)
	if got := o.Delivered.Load(); got != 3 {
		t.Errorf("%d of three records were counted", got)
	}
}

// A used chunk is like a new one.
func TestResetChunk(t *testing.T) {
	c := noted(NewOrigin("aaa"))
	c.charged, c.slack, c.next = c.weight(), 1, &Chunk{}
	c.skip(2)
	c.reset()
	if c.Len() != 0 || len(c.Bytes()) != 0 || len(c.notes) != 0 || c.start != 0 || c.origin != nil || c.mixed ||
		c.charged != (weight{}) || c.slack != 0 || c.next != nil || c.full != 1000 || c.most != 100 {
		t.Errorf("a chunk that was reset is %+v", c)
	}
}

// TestBacklog compares what a queue tells with the records that it has, each of which says itself when it came.
func TestBacklog(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			start := time.Now()
			policy := []Policy{DropOldest, DropNewest}[seed%2]
			q := NewQueue([]int64{1 << 10, 1 << 20}[random.IntN(2)], policy, func(dst []byte, _ Loss) []byte { return append(dst, "lost\n"...) })
			origins := []*Origin{NewOrigin("a"), NewOrigin("b")}
			var held []*Chunk
			var seq uint64
			check := func() {
				t.Helper()
				records, first := 0, time.Duration(-1)
				count := func(c *Chunk) {
					for i := range c.Len() {
						line, _ := c.Record(i)
						ms, err := strconv.Atoi(strings.TrimSpace(string(line)))
						if err != nil {
							continue // an announcement
						}
						if records++; first < 0 {
							first = time.Duration(ms) * time.Millisecond
						}
					}
				}
				for _, c := range held {
					count(c)
				}
				for c := q.head; c != nil; c = c.next {
					count(c)
				}
				n, _, oldest := q.backlog()
				if n != records || oldest.IsZero() != (records == 0) {
					t.Fatalf("seed %d: %d records, the oldest of %v, and there are %d", seed, n, oldest, records)
				}
				if records == 0 {
					return
				}
				age, told := time.Since(start)-first, time.Since(oldest)
				if told < age || told > age+stampEvery+age/4 {
					t.Fatalf("seed %d: the oldest is told to be %v old, and is %v", seed, told, age)
				}
			}
			for range 600 {
				switch random.IntN(8) {
				default:
					time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
					c := q.ChunkOf(origins[random.IntN(2)])
					for range 1 + random.IntN(3) {
						seq++
						c.Commit(fmt.Appendln(c.Buffer(), time.Since(start).Milliseconds()), seq)
					}
					_ = q.Put(t.Context(), c)
				case 0:
					if c, err := q.poll(random.IntN(9)); c != nil && err == nil {
						held = append(held, c)
					}
				case 1:
					if len(held) > 0 {
						c := held[0]
						q.Advance(c, random.IntN(c.Len()+1))
						if random.IntN(2) == 0 {
							held = held[1:]
							q.Release(c)
						}
					}
				case 2:
					if n := len(held); n > 0 {
						c := held[n-1]
						held = held[:n-1]
						q.GiveBack(c, 0, random.IntN(c.Len()+1))
					}
				}
				check()
			}
		})
	}
}
