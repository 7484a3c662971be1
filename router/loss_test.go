package router_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"phx/router"
)

// announceOf is announce with the origin.
func announceOf(dst []byte, l router.Loss) []byte {
	return fmt.Appendf(dst, "lost %d %d-%d %s\n", l.Count, l.FirstSeq, l.LastSeq, l.Origin.Connection)
}

// putOf is put for the records of an origin.
func putOf(q *router.Queue, o *router.Origin, seqs ...uint64) error {
	c := q.ChunkOf(o)
	for _, seq := range seqs {
		c.Commit(fmt.Appendf(c.Buffer(), "%d %s\n", seq, o.Connection), seq)
	}
	return q.Put(canceled, c)
}

func mustPutOf(t *testing.T, q *router.Queue, o *router.Origin, seqs ...uint64) {
	t.Helper()
	if err := putOf(q, o, seqs...); err != nil {
		t.Fatalf("Put(%d of %s): %v", seqs, o.Connection, err)
	}
}

func wantCounts(t *testing.T, o *router.Origin, delivered, dropped uint64) {
	t.Helper()
	if a, b := o.Delivered.Load(), o.Dropped.Load(); a != delivered || b != dropped {
		t.Errorf("%s: %d delivered, %d dropped, want %d and %d", o.Connection, a, b, delivered, dropped)
	}
}

// Each origin learns of its own losses, in the order in which they began.
func TestLossesOfSeveralOrigins(t *testing.T) {
	for _, c := range []struct {
		policy       router.Policy
		want         string
		aLost, bLost uint64
	}{
		{router.DropOldest, "(lost 1 1-1 aaa) 2 3 (lost 2 3-7 bbb) 8", 1, 2},
		{router.DropNewest, "3 1 7 (lost 2 2-3 aaa) (lost 1 8-8 bbb)", 2, 1},
	} {
		t.Run(c.policy.String(), func(t *testing.T) {
			q := router.NewQueue(1000, c.policy, announceOf)
			q.LimitRecords(3)
			a, b := router.NewOrigin("aaa"), router.NewOrigin("bbb")
			mustPutOf(t, q, b, 3)
			mustPutOf(t, q, a, 1)
			mustPutOf(t, q, b, 7)
			mustPutOf(t, q, a, 2, 3)
			mustPutOf(t, q, b, 8)
			wantDrain(t, q, c.want)
			wantCounts(t, a, 3-c.aLost, c.aLost)
			wantCounts(t, b, 3-c.bLost, c.bLost)
		})
	}
}

// Whoever is called for a loss takes all there are, once, announced or not, and in whichever order
// they happened.
func TestTakeLosses(t *testing.T) {
	q := router.NewQueue(1000, router.DropOldest, announceOf)
	q.LimitRecords(3)
	called := 0
	q.OnLoss(func() { called++ })
	a, b := router.NewOrigin("aaa"), router.NewOrigin("bbb")
	want := func(calls int, want string) {
		t.Helper()
		var got []string
		for _, l := range q.TakeLosses() {
			got = append(got, strings.TrimSuffix(string(announceOf(nil, l)), "\n"))
		}
		if got := strings.Join(got, ", "); got != want || called != calls {
			t.Errorf("after %d calls TakeLosses returned %q, want %q after %d", called, got, want, calls)
		}
	}
	want(0, "")
	mustPutOf(t, q, a, 1, 2)
	taken, err := q.Take(canceled)
	if err != nil {
		t.Fatal(err)
	}
	mustPutOf(t, q, b, 1, 2)
	mustPutOf(t, q, a, 3, 4)
	q.GiveBack(taken, 1, 1) // later than what is lost behind it
	want(1, "lost 2 1-2 bbb, lost 2 2-3 aaa")
	want(1, "")
	mustPutOf(t, q, a, 5, 6)
	mustPutOf(t, q, a, 7)
	want(2, "lost 1 4-4 aaa")
	wantDrain(t, q, "(lost 3 2-4 aaa) 5 6 (lost 2 1-2 bbb) 7")
	want(2, "")
}

func TestRecordKnowsItsOrigin(t *testing.T) {
	q := router.NewQueue(1000, router.DropOldest, announceOf)
	a, b := router.NewOrigin("aaa"), router.NewOrigin("bbb")
	mustPutOf(t, q, a, 1)
	mustPutOf(t, q, b, 2, 3)
	c, err := q.Take(canceled)
	if err != nil || c.Len() != 3 {
		t.Fatalf("Take: %v, want three records in one chunk", err)
	}
	for i, want := range []struct {
		line   string
		origin *router.Origin
	}{{"1 aaa\n", a}, {"2 bbb\n", b}, {"3 bbb\n", b}} {
		if line, seq := c.Record(i); string(line) != want.line || seq != uint64(i+1) || c.OriginOf(i) != want.origin {
			t.Errorf("record %d: %q, %d of %v, want %q", i, line, seq, c.OriginOf(i), want.line)
		}
	}
	q.Release(c)
}

func TestLimitRecords(t *testing.T) {
	a := router.NewOrigin("aaa")
	for policy, want := range map[router.Policy]string{
		router.Block: "1 2 3", router.DropNewest: "1 2 3 (lost 1 4-4 aaa)", router.DropOldest: "(lost 1 1-1 aaa) 2 3 4",
	} {
		q := router.NewQueue(1<<20, policy, announceOf)
		q.LimitRecords(3)
		mustPutOf(t, q, a, 1, 2, 3)
		if err := putOf(q, a, 4); (err != nil) != (policy == router.Block) {
			t.Errorf("%v: Put beyond the limit: %v", policy, err)
		}
		if n, size := q.Len(); n != 3 || size != int64(3*len("1 aaa\n")) {
			t.Errorf("%v: Len() = %d, %d, want three records", policy, n, size)
		}
		wantDrain(t, q, want)
	}
	q := router.NewQueue(1<<20, router.DropOldest, announceOf)
	q.LimitRecords(48)
	c := q.ChunkOf(a)
	for !c.Full() {
		c.Commit(append(c.Buffer(), "x\n"...), 1)
	}
	if c.Len() != 3 {
		t.Errorf("a chunk for 48 records is full with %d, want 3", c.Len())
	}
	q.Release(c)
	wantCounts(t, a, 9, 3)
	mustPutOf(t, q, a, 1, 2)
	mustPutOf(t, q, a, 3, 4)
	if c, err := q.Take(canceled); err != nil || c.Len() != 2 {
		t.Errorf("Take: %v, want two records, because four are more than a full chunk", err)
	}
}

// What Put does not take is counted too, and what is not put at all is not.
func TestCountsOfWhatDoesNotGetIn(t *testing.T) {
	for name, end := range map[string]func(q *router.Queue){
		"CloseInput": func(q *router.Queue) { q.CloseInput(nil) },
		"Abort": func(q *router.Queue) {
			if n := q.Abort(nil); n != 0 {
				t.Errorf("Abort lost %d records of an empty queue", n)
			}
		},
	} {
		q := router.NewQueue(1000, router.DropOldest, announceOf)
		a := router.NewOrigin("aaa")
		end(q)
		if err := putOf(q, a, 1, 2); err == nil {
			t.Errorf("Put after %s succeeded", name)
		}
		unused := q.ChunkOf(a)
		unused.Commit(append(unused.Buffer(), "x\n"...), 3)
		q.Release(unused)
		wantCounts(t, a, 0, 2)
	}
}

func TestAbortCountsWhatWaits(t *testing.T) {
	q := router.NewQueue(1000, router.DropNewest, announceOf)
	q.LimitRecords(4)
	a, b := router.NewOrigin("aaa"), router.NewOrigin("bbb")
	mustPutOf(t, q, a, 1, 2)
	taken, err := q.Take(canceled)
	if err != nil {
		t.Fatal(err)
	}
	mustPutOf(t, q, b, 1)
	mustPutOf(t, q, a, 3, 4)
	if n := q.Abort(nil); n != 2 {
		t.Errorf("Abort: %d records were lost, want 2", n)
	}
	if n := q.Abort(nil); n != 0 {
		t.Errorf("a second Abort: %d records were lost", n)
	}
	wantCounts(t, a, 0, 2)
	wantCounts(t, b, 0, 1)
	q.GiveBack(taken, 1, 0)
	wantCounts(t, a, 1, 3)
}

// TestConcurrentOrigins has producers of several origins and a consumer that loses some at work at
// once.
func TestConcurrentOrigins(t *testing.T) {
	const records = 10_000
	for _, policy := range []router.Policy{router.Block, router.DropNewest, router.DropOldest} {
		t.Run(policy.String(), func(t *testing.T) {
			q := router.NewQueue(1<<20, policy, announceOf)
			q.LimitRecords(100)
			var all sync.WaitGroup
			var origins []*router.Origin
			for i := range 3 {
				o := router.NewOrigin(fmt.Sprint("origin", i))
				origins = append(origins, o)
				all.Go(func() {
					for seq := range uint64(records) {
						c := q.ChunkOf(o)
						c.Commit(fmt.Appendf(c.Buffer(), "%d %s\n", seq+1, o.Connection), seq+1)
						if err := q.Put(t.Context(), c); err != nil {
							t.Errorf("Put: %v", err)
						}
					}
				})
			}
			go func() {
				all.Wait()
				q.CloseInput(nil)
			}()
			announced := consumeBadly(t, q)
			for _, o := range origins {
				delivered, dropped := o.Delivered.Load(), o.Dropped.Load()
				if delivered+dropped != records || dropped != announced[o.Connection] {
					t.Errorf("%s: %d delivered, %d dropped, %d announced", o.Connection, delivered, dropped, announced[o.Connection])
				}
			}
		})
	}
}

// consumeBadly takes everything, loses the second record of each chunk, and returns how many
// losses were announced.
func consumeBadly(t *testing.T, q *router.Queue) map[string]uint64 {
	announced := make(map[string]uint64)
	for {
		c, err := q.Take(t.Context())
		if err != nil {
			return announced
		}
		seen := c.Len()
		lose := seen > 2 && !strings.Contains(string(c.Bytes()), "lost")
		if lose {
			seen = 1
		}
		for i := range seen {
			line, _ := c.Record(i)
			var l router.Loss
			var name string
			if n, _ := fmt.Sscanf(string(line), "lost %d %d-%d %s", &l.Count, &l.FirstSeq, &l.LastSeq, &name); n == 4 {
				announced[name] += l.Count
			}
		}
		if lose {
			q.GiveBack(c, 1, 1)
		} else {
			q.Release(c)
		}
	}
}
