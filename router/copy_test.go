package router_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"phx/router"
)

// A writer is a function.
type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestCopyWritesWholeChunks(t *testing.T) {
	q := router.NewQueue(1000, router.Block, nil)
	mustPut(t, q, "xxx", 1, 2)
	mustPut(t, q, "xxx", 3)
	q.CloseInput(nil)
	var writes []string
	err := router.Copy(t.Context(), writer(func(p []byte) (int, error) {
		writes = append(writes, string(p))
		return len(p), nil
	}), q)
	if err != nil {
		t.Errorf("Copy: %v", err)
	}
	if got, want := strings.Join(writes, "|"), "1 xxx\n2 xxx\n3 xxx\n"; got != want {
		t.Errorf("Copy wrote %q, want %q in one write", got, want)
	}
}

func TestCopyReportsWriteErrors(t *testing.T) {
	cause := errors.New("disk full")
	for _, c := range []struct {
		writer writer
		want   error
	}{
		{func([]byte) (int, error) { return 0, cause }, cause},
		{func(p []byte) (int, error) { return len(p) - 1, nil }, io.ErrShortWrite},
	} {
		q := router.NewQueue(three, router.Block, nil)
		mustPut(t, q, "xxx", 1)
		err := router.Copy(t.Context(), c.writer, q)
		var failed *router.WriteError
		if !errors.As(err, &failed) || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.want.Error()) {
			t.Errorf("Copy: %v, want a WriteError with %v", err, c.want)
		}
		if got := put(q, "xxx", 2); got != err {
			t.Errorf("Put after a failed write: %v, want %v", got, err)
		}
	}
}

func TestCopyEndsWithItsContextAndTheInput(t *testing.T) {
	cause := errors.New("cause")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		q := router.NewQueue(three, router.Block, nil)
		returned := waits(t, "Copy", func() error { return router.Copy(ctx, io.Discard, q) })
		cancel(cause)
		returned(cause)
		if err := put(q, "xxx", 1); err != cause {
			t.Errorf("Put without a consumer: %v, want %v", err, cause)
		}
	})
	q := router.NewQueue(three, router.Block, nil)
	q.CloseInput(cause)
	if err := router.Copy(t.Context(), io.Discard, q); err != cause {
		t.Errorf("Copy of an input that ended by an error: %v, want %v", err, cause)
	}
}
