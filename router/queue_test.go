package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"phx/router"
)

// canceled is a context for calls that must not wait.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func announce(dst []byte, l router.Loss) []byte {
	return fmt.Appendf(dst, "lost %d %d-%d\n", l.Count, l.FirstSeq, l.LastSeq)
}

// put puts records "SEQ TEXT\n" in one chunk, one for each seq, without waiting.
func put(q *router.Queue, text string, seqs ...uint64) error {
	c := q.Chunk()
	for _, seq := range seqs {
		c.Commit(fmt.Appendf(c.Buffer(), "%d %s\n", seq, text), seq)
	}
	return q.Put(canceled, c)
}

func mustPut(t *testing.T, q *router.Queue, text string, seqs ...uint64) {
	t.Helper()
	if err := put(q, text, seqs...); err != nil {
		t.Fatalf("Put(%d): %v", seqs, err)
	}
}

// drain takes and releases until there is nothing more, and returns the seqs and announcements it
// saw, with spaces.
func drain(t *testing.T, q *router.Queue) string {
	t.Helper()
	var seen []string
	for {
		c, err := q.Take(canceled)
		if err != nil {
			if err != io.EOF && !errors.Is(err, context.Canceled) {
				t.Fatalf("Take: %v", err)
			}
			return strings.Join(seen, " ")
		}
		for line := range strings.Lines(string(c.Bytes())) {
			if seq, _, isRecord := strings.Cut(line, " "); isRecord && seq != "lost" {
				seen = append(seen, seq)
			} else {
				seen = append(seen, "("+strings.TrimSpace(line)+")")
			}
		}
		q.Release(c)
	}
}

func wantDrain(t *testing.T, q *router.Queue, want string) {
	t.Helper()
	if got := drain(t, q); got != want {
		t.Errorf("the consumer saw %q, want %q", got, want)
	}
}

// Each record "N xxx\n" of these tests occupies 6+24 bytes, so three fit into a queue of 94, and
// an announcement occupies about 11+48.
const three = 94

func TestBlockRefusesWhatDoesNotFit(t *testing.T) {
	q := router.NewQueue(three, router.Block, nil)
	mustPut(t, q, "xxx", 1, 2)
	if err := put(q, "xxx", 3, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("Put beyond the limit: %v, want context.Canceled", err)
	}
	mustPut(t, q, "xxx", 5)
	wantDrain(t, q, "1 2 5")
}

func TestBlockCountsUntilRelease(t *testing.T) {
	q := router.NewQueue(three, router.Block, nil)
	mustPut(t, q, "xxx", 1, 2)
	c, err := q.Take(canceled)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, q, "xxx", 3)
	if err := put(q, "xxx", 4); !errors.Is(err, context.Canceled) {
		t.Errorf("Put while a chunk is being written: %v, want context.Canceled", err)
	}
	q.Release(c)
	mustPut(t, q, "xxx", 5)
	wantDrain(t, q, "3 5")
}

func TestRecordLargerThanLimit(t *testing.T) {
	huge := strings.Repeat("x", 5000)
	for _, c := range []struct {
		policy router.Policy
		want   string // of 1, 2 (huge), 3 and 4, nothing taken meanwhile
		alone  string // of 5 (huge) after that
	}{
		{router.DropNewest, "1 (lost 1 2-2) 3", "5"},
		{router.DropOldest, "(lost 2 1-2) 3", "5"},
	} {
		t.Run(c.policy.String(), func(t *testing.T) {
			q := router.NewQueue(three+34, c.policy, announce)
			mustPut(t, q, "xxx", 1)
			mustPut(t, q, huge, 2)
			mustPut(t, q, "xxx", 3)
			wantDrain(t, q, c.want)
			mustPut(t, q, huge, 5)
			wantDrain(t, q, c.alone)
		})
	}
	t.Run("block", func(t *testing.T) {
		q := router.NewQueue(three, router.Block, nil)
		mustPut(t, q, huge, 1)
		if err := put(q, "xxx", 2); !errors.Is(err, context.Canceled) {
			t.Errorf("Put behind a huge record: %v, want context.Canceled", err)
		}
		wantDrain(t, q, "1")
	})
}

func TestDropNewest(t *testing.T) {
	q := router.NewQueue(three, router.DropNewest, announce)
	mustPut(t, q, "xxx", 1, 2, 3, 5, 8)
	mustPut(t, q, "xxx", 13)
	wantDrain(t, q, "1 2 3 (lost 3 5-13)")
	mustPut(t, q, "xxx", 21)
	wantDrain(t, q, "21")
}

// The announcement stands before the next record that is accepted, not where the consumer happens
// to be.
func TestDropNewestAnnouncesInPlace(t *testing.T) {
	q := router.NewQueue(2*three, router.DropNewest, announce)
	mustPut(t, q, "xxx", 1, 2, 3)
	c, err := q.Take(canceled)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, q, "xxx", 4, 5, 6, 7, 8)
	q.Release(c)
	mustPut(t, q, "xxx", 9)
	q.CloseInput(nil)
	wantDrain(t, q, "4 5 6 (lost 2 7-8) 9")
}

func TestDropOldest(t *testing.T) {
	q := router.NewQueue(three, router.DropOldest, announce)
	mustPut(t, q, "xxx", 1, 2, 3, 5, 8)
	mustPut(t, q, "xxx", 13)
	wantDrain(t, q, "(lost 3 1-3) 5 8 13")
	mustPut(t, q, "xxx", 21)
	wantDrain(t, q, "21")
}

// What is being written can be neither dropped nor overtaken.
func TestDropOldestSparesWhatIsTaken(t *testing.T) {
	q := router.NewQueue(three, router.DropOldest, announce)
	mustPut(t, q, "xxx", 1, 2, 3)
	c, err := q.Take(canceled)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, q, "xxx", 4, 5, 6)
	if got, want := string(c.Bytes()), "1 xxx\n2 xxx\n3 xxx\n"; got != want {
		t.Errorf("the taken chunk is now %q, want %q", got, want)
	}
	q.Release(c)
	wantDrain(t, q, "(lost 2 4-5) 6")
}

func TestFail(t *testing.T) {
	q := router.NewQueue(three, router.Fail, announce)
	mustPut(t, q, "xxx", 1)
	for _, seqs := range [][]uint64{{2, 3, 4, 5}, {6}} {
		if err := put(q, "xxx", seqs...); err != router.ErrFull {
			t.Errorf("Put(%d): %v, want ErrFull", seqs, err)
		}
	}
	wantDrain(t, q, "1 2 3")
	if err := put(q, "xxx", 7); err != router.ErrFull {
		t.Errorf("Put after a loss, with room again: %v, want ErrFull", err)
	}
	wantDrain(t, q, "")
	q.CloseInput(nil)
	wantDrain(t, q, "(lost 4 4-7)")
}

// Formats that print only payloads print no announcements.
func TestSilentAnnouncement(t *testing.T) {
	for _, p := range []router.Policy{router.DropNewest, router.DropOldest} {
		q := router.NewQueue(three, p, func(dst []byte, _ router.Loss) []byte { return dst })
		mustPut(t, q, "xxx", 1, 2, 3, 4)
		drain(t, q)
		mustPut(t, q, "xxx", 5)
		wantDrain(t, q, "5")
		mustPut(t, q, "xxx", 6, 7)
		c, err := q.Take(canceled)
		if err != nil {
			t.Fatal(err)
		}
		mustPut(t, q, "xxx", 8, 9, 10)
		q.Release(c)
		mustPut(t, q, "xxx", 11)
		q.CloseInput(nil)
		want := map[router.Policy]string{router.DropNewest: "8 11", router.DropOldest: "10 11"}[p]
		wantDrain(t, q, want)
	}
}

func TestEndOfInput(t *testing.T) {
	cause := errors.New("cause")
	for _, c := range []struct{ given, put, take error }{
		{nil, router.ErrClosed, io.EOF},
		{cause, cause, cause},
	} {
		q := router.NewQueue(three, router.Block, nil)
		mustPut(t, q, "xxx", 1)
		q.CloseInput(c.given)
		q.CloseInput(errors.New("a second one"))
		if err := put(q, "xxx", 2); err != c.put {
			t.Errorf("CloseInput(%v), Put: %v, want %v", c.given, err, c.put)
		}
		chunk, err := q.Take(canceled)
		if err != nil || string(chunk.Bytes()) != "1 xxx\n" {
			t.Fatalf("CloseInput(%v), Take: %v, want what was put before", c.given, err)
		}
		q.Release(chunk)
		if _, err := q.Take(context.Background()); err != c.take {
			t.Errorf("CloseInput(%v), Take after the last record: %v, want %v", c.given, err, c.take)
		}
	}
}

func TestAbort(t *testing.T) {
	cause := errors.New("cause")
	for _, c := range []struct{ given, want error }{{nil, router.ErrClosed}, {cause, cause}} {
		q := router.NewQueue(three, router.Block, nil)
		mustPut(t, q, "xxx", 1)
		q.Abort(c.given)
		q.Abort(errors.New("a second one"))
		if err := put(q, "xxx", 2); err != c.want {
			t.Errorf("Abort(%v), Put: %v, want %v", c.given, err, c.want)
		}
		if _, err := q.Take(context.Background()); err != c.want {
			t.Errorf("Abort(%v), Take: %v, want %v", c.given, err, c.want)
		}
	}
}

func TestEmptyChunkAndEmptyRecord(t *testing.T) {
	q := router.NewQueue(three, router.Block, nil)
	c := q.Chunk()
	c.Commit(c.Buffer(), 1)
	if c.Len() != 0 {
		t.Errorf("a record of nothing counts: Len() = %d", c.Len())
	}
	if err := q.Put(canceled, c); err != nil {
		t.Errorf("Put of an empty chunk: %v", err)
	}
	q.Release(q.Chunk())
	if _, err := q.Take(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("Take after an empty chunk: %v, want context.Canceled", err)
	}
}

func TestFull(t *testing.T) {
	q := router.NewQueue(64<<20, router.Block, nil)
	for _, size := range []int{2, 400, 100_000} {
		c := q.Chunk()
		for !c.Full() {
			c.Commit(append(c.Buffer(), make([]byte, size)...), 1)
		}
		if n := len(c.Bytes()); n > 64<<10+size || c.Len() > 4096 {
			t.Errorf("a chunk of records of %d bytes is full with %d bytes and %d records", size, n, c.Len())
		}
		q.Release(c)
	}
}

func TestPolicyNames(t *testing.T) {
	for _, p := range []router.Policy{router.Block, router.DropNewest, router.DropOldest, router.Fail} {
		if got, err := router.ParsePolicy(p.String()); got != p || err != nil {
			t.Errorf("ParsePolicy(%q) = %v, %v", p.String(), got, err)
		}
	}
	if _, err := router.ParsePolicy("drop"); err == nil || !strings.Contains(err.Error(), "drop-newest") {
		t.Errorf(`ParsePolicy("drop"): %v, want an error that lists the names`, err)
	}
	if got := router.Policy(9).String(); got != "Policy(9)" {
		t.Errorf("Policy(9).String() = %q", got)
	}
}

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
			q.Release(mustTake(t, q, "lost 1 2-2 aaa", "3 aaa", "4 aaa"))
			mustPutOf(t, q, a, 5)
			wantDrain(t, q, "5")
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

// An announcement that is lost like the records is not repeated before a record is accepted, and
// then with the next loss, or at the end, and never for ever.
func TestLostAnnouncement(t *testing.T) {
	q := router.NewQueue(1000, router.DropNewest, announceOf)
	a, b := router.NewOrigin("aaa"), router.NewOrigin("bbb")
	mustPutOf(t, q, a, 1, 2)
	mustPutOf(t, q, b, 1)
	mustPutOf(t, q, a, 3)
	q.GiveBack(mustTake(t, q, "1 aaa", "2 aaa", "1 bbb", "3 aaa"), 0, 1)
	q.GiveBack(mustTake(t, q, "lost 1 1-1 aaa", "2 aaa", "1 bbb", "3 aaa"), 0, 1)
	q.GiveBack(mustTake(t, q, "2 aaa", "1 bbb", "3 aaa"), 1, 1)
	q.GiveBack(mustTake(t, q, "lost 1 1-1 bbb", "3 aaa"), 0, 1)
	q.ReleaseFirst(mustTake(t, q, "3 aaa"), 0)
	if c, err := q.Take(canceled); err != canceled.Err() {
		t.Fatalf("Take: %v, %v, want nothing before the end of the input", c, err)
	}
	q.CloseInput(nil)
	q.ReleaseFirst(mustTake(t, q, "lost 2 1-3 aaa", "lost 1 1-1 bbb"), 0)
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
func TestWriterDrainCountsWhatWasWritten(t *testing.T) {
	for written, delivered := range map[int]uint64{0: 0, 5: 0, 6: 1, 11: 1, 12: 2} {
		q := router.NewQueue(1000, router.Block, nil)
		a := router.NewOrigin("aaa")
		mustPutOf(t, q, a, 1, 2, 3)
		err := router.WriterDrain(writer(func([]byte) (int, error) { return written, io.ErrClosedPipe })).Run(t.Context(), q)
		if err == nil {
			t.Error("a failed write is no error")
		}
		wantCounts(t, a, delivered, 3-delivered)
	}
}

// waits starts f, makes sure that it waits, and returns a function that makes sure that it has
// returned want.
func waits(t *testing.T, what string, f func() error) (returned func(want error)) {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- f() }()
	synctest.Wait()
	select {
	case err := <-result:
		t.Fatalf("%s did not wait, it returned %v", what, err)
	default:
	}
	return func(want error) {
		t.Helper()
		synctest.Wait()
		select {
		case err := <-result:
			if err != want {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		default:
			t.Errorf("%s still waits", what)
		}
	}
}

// putting is put with a context that allows waiting.
func putting(ctx context.Context, q *router.Queue, text string, seq uint64) func() error {
	return func() error {
		c := q.Chunk()
		c.Commit(fmt.Appendf(c.Buffer(), "%d %s\n", seq, text), seq)
		return q.Put(ctx, c)
	}
}

// full returns a queue with no room.
func full(t *testing.T) *router.Queue {
	q := router.NewQueue(three, router.Block, nil)
	mustPut(t, q, "xxx", 1, 2, 3)
	return q
}

func TestPutWaitsForRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := full(t)
		first := waits(t, "Put", putting(t.Context(), q, "xxx", 4))
		c, err := q.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		q.Release(c)
		first(nil)
		wantDrain(t, q, "4")
	})
}

// One release may make room for more than one producer.
func TestAllWaitingProducersProceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := full(t)
		first := waits(t, "the first Put", putting(t.Context(), q, "xxx", 4))
		second := waits(t, "the second Put", putting(t.Context(), q, "xxx", 5))
		wantDrain(t, q, "1 2 3")
		first(nil)
		second(nil)
	})
}

func TestWaitingPutEnds(t *testing.T) {
	cause := errors.New("cause")
	for name, end := range map[string]func(*router.Queue, context.CancelCauseFunc){
		"by its context": func(_ *router.Queue, cancel context.CancelCauseFunc) { cancel(cause) },
		"by Abort":       func(q *router.Queue, _ context.CancelCauseFunc) { q.Abort(cause) },
		"by CloseInput":  func(q *router.Queue, _ context.CancelCauseFunc) { q.CloseInput(cause) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				q := full(t)
				returned := waits(t, "Put", putting(ctx, q, "xxx", 4))
				end(q, cancel)
				returned(cause)
			})
		})
	}
}

func TestWaitingTakeEnds(t *testing.T) {
	cause := errors.New("cause")
	for name, c := range map[string]struct {
		end  func(*router.Queue, context.CancelCauseFunc)
		want error
	}{
		"by its context": {func(_ *router.Queue, cancel context.CancelCauseFunc) { cancel(cause) }, cause},
		"by Abort":       {func(q *router.Queue, _ context.CancelCauseFunc) { q.Abort(cause) }, cause},
		"by CloseInput":  {func(q *router.Queue, _ context.CancelCauseFunc) { q.CloseInput(nil) }, io.EOF},
		"by Put":         {func(q *router.Queue, _ context.CancelCauseFunc) { _ = put(q, "xxx", 1) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				q := router.NewQueue(three, router.Block, nil)
				returned := waits(t, "Take", func() error {
					_, err := q.Take(ctx)
					return err
				})
				c.end(q, cancel)
				returned(c.want)
			})
		})
	}
}

// A gap at the end of the stream is announced when the consumer reaches it, although no record
// follows.
func TestLossIsAnnouncedBeforeWaiting(t *testing.T) {
	q := router.NewQueue(three, router.DropNewest, announce)
	mustPut(t, q, "xxx", 1, 2, 3, 4)
	wantDrain(t, q, "1 2 3 (lost 1 4-4)")
}

// TestConcurrent has several producers and a consumer at work at once, for the race detector and
// the promise.
func TestConcurrent(t *testing.T) {
	const records = 20_000
	for _, policy := range []router.Policy{router.Block, router.DropNewest, router.DropOldest} {
		for _, producers := range []uint64{1, 3} {
			t.Run(fmt.Sprint(policy, producers), func(t *testing.T) {
				q := router.NewQueue(5000, policy, announce)
				var all sync.WaitGroup
				for p := range producers {
					all.Go(func() { produce(t, q, p*records, records) })
				}
				go func() {
					all.Wait()
					q.CloseInput(nil)
				}()
				var out strings.Builder
				if err := router.WriterDrain(&out).Run(t.Context(), q); err != nil {
					t.Fatalf("Run: %v", err)
				}
				checkConservation(t, out.String(), producers*records, records)
				if lost := strings.Contains(out.String(), "lost"); lost && policy == router.Block {
					t.Error("records were lost under Block")
				}
			})
		}
	}
}

// produce puts records with the numbers after base, a few at a time.
func produce(t *testing.T, q *router.Queue, base, records uint64) {
	c := q.Chunk()
	for i := range records {
		seq := base + i + 1
		c.Commit(fmt.Appendf(c.Buffer(), "%d x\n", seq), seq)
		if i%7 == 6 || i == records-1 {
			if err := q.Put(t.Context(), c); err != nil {
				t.Errorf("Put: %v", err)
				return
			}
			c = q.Chunk()
		}
	}
	q.Release(c)
}

// checkConservation checks that all records came out or were announced, those of each producer in
// order.
func checkConservation(t *testing.T, out string, total, perProducer uint64) {
	t.Helper()
	last := make(map[uint64]uint64)
	var count uint64
	for line := range strings.Lines(out) {
		var l router.Loss
		if n, _ := fmt.Sscanf(line, "lost %d %d-%d", &l.Count, &l.FirstSeq, &l.LastSeq); n == 3 {
			count += l.Count
			continue
		}
		var seq uint64
		if _, err := fmt.Sscanf(line, "%d x", &seq); err != nil {
			t.Fatalf("a line %q came out", line)
		}
		producer := (seq - 1) / perProducer
		if seq <= last[producer] {
			t.Fatalf("%d came out behind %d", seq, last[producer])
		}
		last[producer] = seq
		count++
	}
	if count != total {
		t.Errorf("%d records came out or were announced, want %d", count, total)
	}
}
