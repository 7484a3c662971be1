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

// waits starts f, makes sure that it waits, and returns a function that makes sure that it has returned want.
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

// A gap at the end of the stream is announced when the consumer reaches it, although no record follows.
func TestLossIsAnnouncedBeforeWaiting(t *testing.T) {
	q := router.NewQueue(three, router.DropNewest, announce)
	mustPut(t, q, "xxx", 1, 2, 3, 4)
	wantDrain(t, q, "1 2 3 (lost 1 4-4)")
}

// TestConcurrent has several producers and a consumer at work at once, for the race detector and the promise.
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
				if err := router.Copy(t.Context(), &out, q); err != nil {
					t.Fatalf("Copy: %v", err)
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

// checkConservation checks that all records came out or were announced, those of each producer in order.
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
