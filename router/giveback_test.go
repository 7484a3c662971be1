package router_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"phx/router"
)

// mustTake takes a chunk with the given lines.
func mustTake(t *testing.T, q *router.Queue, want ...string) *router.Chunk {
	t.Helper()
	c, err := q.Take(canceled)
	if err != nil {
		t.Fatalf("Take: %v, want %q", err, want)
	}
	if got := strings.Split(strings.TrimSpace(string(c.Bytes())), "\n"); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatalf("Take: %q, want %q", got, want)
	}
	return c
}

// A consumer that goes record by record and cannot deliver one goes on behind the announcement.
func TestGiveBackLosesOne(t *testing.T) {
	for _, policy := range []router.Policy{router.Block, router.DropNewest, router.DropOldest, router.Fail} {
		t.Run(policy.String(), func(t *testing.T) {
			q := router.NewQueue(1000, policy, announceOf)
			a := router.NewOrigin("aaa")
			mustPutOf(t, q, a, 1, 2, 3, 4)
			q.GiveBack(mustTake(t, q, "1 aaa", "2 aaa", "3 aaa", "4 aaa"), 1, 1)
			wantCounts(t, a, 1, 1)
			q.Release(mustTake(t, q, "lost 1 2-2 aaa"))
			mustPutOf(t, q, a, 5)
			wantDrain(t, q, "3 4 5")
			wantCounts(t, a, 4, 1)
		})
	}
}

// What is given back is the oldest that waits, and what was lost meanwhile is missing behind it.
func TestGiveBackAmongLosses(t *testing.T) {
	q := router.NewQueue(1<<20, router.DropOldest, announceOf)
	q.LimitRecords(4)
	a := router.NewOrigin("aaa")
	mustPutOf(t, q, a, 1, 2, 3)
	c := mustTake(t, q, "1 aaa", "2 aaa", "3 aaa")
	mustPutOf(t, q, a, 4)
	mustPutOf(t, q, a, 5) // loses 4
	q.GiveBack(c, 1, 1)
	wantDrain(t, q, "(lost 1 2-2 aaa) 3 (lost 1 4-4 aaa) 5")
	wantCounts(t, a, 3, 2)
}

// A record lost beside one that was dropped is part of the same gap.
func TestGiveBackJoinsGaps(t *testing.T) {
	q := router.NewQueue(1<<20, router.DropOldest, announceOf)
	q.LimitRecords(2)
	a := router.NewOrigin("aaa")
	mustPutOf(t, q, a, 1)
	c := mustTake(t, q, "1 aaa")
	mustPutOf(t, q, a, 2)
	mustPutOf(t, q, a, 3) // loses 2
	q.ReleaseFirst(c, 0)
	wantDrain(t, q, "(lost 2 1-2 aaa) 3")
}

// An announcement that is lost like the records comes again with the next loss, or at the end, and never for ever.
func TestLostAnnouncement(t *testing.T) {
	q := router.NewQueue(1000, router.DropNewest, announceOf)
	a, b := router.NewOrigin("aaa"), router.NewOrigin("bbb")
	mustPutOf(t, q, a, 1, 2)
	mustPutOf(t, q, b, 1)
	mustPutOf(t, q, a, 3)
	q.GiveBack(mustTake(t, q, "1 aaa", "2 aaa", "1 bbb", "3 aaa"), 0, 1)
	q.ReleaseFirst(mustTake(t, q, "lost 1 1-1 aaa"), 0)
	q.GiveBack(mustTake(t, q, "2 aaa", "1 bbb", "3 aaa"), 1, 1)
	q.ReleaseFirst(mustTake(t, q, "lost 1 1-1 bbb"), 0)
	q.ReleaseFirst(mustTake(t, q, "3 aaa"), 0)
	q.ReleaseFirst(mustTake(t, q, "lost 2 1-3 aaa"), 0)
	if c, err := q.Take(canceled); err != canceled.Err() {
		t.Fatalf("Take: %v, %v, want nothing before the end of the input", c, err)
	}
	q.CloseInput(nil)
	q.ReleaseFirst(mustTake(t, q, "lost 1 1-1 bbb", "lost 2 1-3 aaa"), 0)
	if c, err := q.Take(canceled); err != io.EOF {
		t.Errorf("Take: %v, %v, want io.EOF", c, err)
	}
	wantCounts(t, a, 1, 2)
	wantCounts(t, b, 0, 1)
}

// Nobody has to be told of losses.
func TestGiveBackWithoutAnnouncements(t *testing.T) {
	q := router.NewQueue(1000, router.Block, nil)
	a := router.NewOrigin("aaa")
	mustPutOf(t, q, a, 1, 2, 3)
	q.GiveBack(mustTake(t, q, "1 aaa", "2 aaa", "3 aaa"), 0, 2)
	wantDrain(t, q, "3")
	wantCounts(t, a, 1, 2)
}

func TestGiveBackWakesProducersAndConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := router.NewQueue(1000, router.Block, announceOf)
		q.LimitRecords(2)
		a := router.NewOrigin("aaa")
		mustPutOf(t, q, a, 1)
		c := mustTake(t, q, "1 aaa")
		mustPutOf(t, q, a, 2)
		d := mustTake(t, q, "2 aaa")
		mustPutOf(t, q, a, 3)
		putting := waits(t, "Put", putting(t.Context(), q, "xxx", 4))
		q.Release(mustTake(t, q, "3 aaa"))
		putting(nil)
		q.Release(mustTake(t, q, "4 xxx"))
		taking := waits(t, "Take", func() error {
			c, err := q.Take(t.Context())
			if err == nil {
				q.Release(c)
			}
			return err
		})
		q.Release(c)
		q.GiveBack(d, 0, 0)
		taking(nil)
	})
	synctest.Test(t, func(t *testing.T) {
		q := full(t)
		putting := waits(t, "Put", putting(t.Context(), q, "xxx", 4))
		q.GiveBack(mustTake(t, q, "1 xxx", "2 xxx", "3 xxx"), 2, 0)
		putting(nil)
		wantDrain(t, q, "3 4")
	})
}

// A failed write has delivered the records that are there as a whole.
func TestCopyCountsWhatWasWritten(t *testing.T) {
	for written, delivered := range map[int]uint64{0: 0, 5: 0, 6: 1, 11: 1, 12: 2} {
		q := router.NewQueue(1000, router.Block, nil)
		a := router.NewOrigin("aaa")
		mustPutOf(t, q, a, 1, 2, 3)
		err := router.Copy(t.Context(), writer(func([]byte) (int, error) { return written, io.ErrClosedPipe }), q)
		if err == nil {
			t.Error("a failed write is no error")
		}
		wantCounts(t, a, delivered, 3-delivered)
	}
}
