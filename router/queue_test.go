package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

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

// drain takes and releases until there is nothing more, and returns the seqs and announcements it saw, with spaces.
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

// Each record "N xxx\n" of these tests occupies 6+24 bytes, so three fit into a queue of 94, and an announcement occupies
// about 11+48.
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

// The announcement stands before the next record that is accepted, not where the consumer happens to be.
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
