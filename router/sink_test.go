package router_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"phx/router"
)

// A logBook is a log that can be read.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // holds a token when something was added
}

func newLog() (*slog.Logger, *logBook) {
	book := &logBook{more: make(chan struct{}, 1)}
	leaveOutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "delay" || a.Key == "pid" {
			return slog.Attr{}
		}
		return a
	}
	return slog.New(slog.NewTextHandler(book, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: leaveOutTime})), book
}

// Write implements [io.Writer].
func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default:
	}
	return b.text.Write(p)
}

// String returns what was logged since the last call.
func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.text.Reset()
	return b.text.String()
}

// waitFor waits until something that contains text was logged, and returns all that was.
func (b *logBook) waitFor(t *testing.T, text string) string {
	t.Helper()
	for {
		b.mu.Lock()
		logged := b.text.String()
		b.mu.Unlock()
		if strings.Contains(logged, text) {
			return logged
		}
		select {
		case <-b.more:
		case <-t.Context().Done():
			t.Fatalf("%q was not logged, but\n%s", text, logged)
		}
	}
}

func wantContains(t *testing.T, what, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s lacks %q:\n%s", what, w, got)
		}
	}
}

func wantLacks(t *testing.T, what, got string, unwanted ...string) {
	t.Helper()
	for _, u := range unwanted {
		if strings.Contains(got, u) {
			t.Errorf("%s has %q:\n%s", what, u, got)
		}
	}
}

// A source is a queue with one origin.
type source struct {
	*router.Queue
	origin *router.Origin
}

func newSource() source {
	return source{router.NewQueue(1<<20, router.DropOldest, announce), router.NewOrigin("backend")}
}

// put puts lines, each with a line break, numbered from seq on, in one chunk.
func (s source) put(t *testing.T, seq uint64, lines ...string) {
	t.Helper()
	c := s.ChunkOf(s.origin)
	for i, line := range lines {
		c.Commit(fmt.Appendf(c.Buffer(), "%s\n", line), seq+uint64(i))
	}
	if err := s.Put(canceled, c); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func (s source) wantCounted(t *testing.T, delivered, dropped uint64) {
	t.Helper()
	if d, l := s.origin.Delivered.Load(), s.origin.Dropped.Load(); d != delivered || l != dropped {
		t.Errorf("%d records count as delivered and %d as dropped, want %d and %d", d, l, delivered, dropped)
	}
}

// running runs a drain and returns a function that waits for its end.
func running(ctx context.Context, d router.Drain, q *router.Queue) (ended func() error) {
	result := make(chan error, 1)
	go func() { result <- d.Run(ctx, q) }()
	return func() error { return <-result }
}

func TestDiscard(t *testing.T) {
	s := newSource()
	s.put(t, 1, "a", "b")
	s.CloseInput(nil)
	if err := router.Discard().Run(t.Context(), s.Queue); err != nil {
		t.Errorf("Run: %v", err)
	}
	s.wantCounted(t, 2, 0)
	if err := router.Discard().Run(canceled, newSource().Queue); err != context.Canceled {
		t.Errorf("Run without time: %v", err)
	}
}

func TestWriterDrain(t *testing.T) {
	s := newSource()
	s.put(t, 1, "a", "b")
	s.CloseInput(nil)
	var out strings.Builder
	if err := router.WriterDrain(&out).Run(t.Context(), s.Queue); err != nil || out.String() != "a\nb\n" {
		t.Errorf("Run: %v, and wrote %q", err, out.String())
	}
	s.wantCounted(t, 2, 0)
}

// splitMessages goes through the messages of a log, as far as they are quoted.
func splitMessages(logged string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(logged) {
			_, rest, _ := strings.Cut(line, `msg="`)
			if message, _, ok := strings.Cut(rest, `"`); ok && !yield(message) {
				return
			}
		}
	}
}

// A writer is a function.
type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestWriterDrainWritesWholeChunks(t *testing.T) {
	q := router.NewQueue(1000, router.Block, nil)
	mustPut(t, q, "xxx", 1, 2)
	mustPut(t, q, "xxx", 3)
	q.CloseInput(nil)
	var writes []string
	err := router.WriterDrain(writer(func(p []byte) (int, error) {
		writes = append(writes, string(p))
		return len(p), nil
	})).Run(t.Context(), q)
	if err != nil {
		t.Errorf("Run: %v", err)
	}
	if got, want := strings.Join(writes, "|"), "1 xxx\n2 xxx\n3 xxx\n"; got != want {
		t.Errorf("it wrote %q, want %q in one write", got, want)
	}
}

func TestWriterDrainReportsWriteErrors(t *testing.T) {
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
		err := router.WriterDrain(c.writer).Run(t.Context(), q)
		if !errors.Is(err, c.want) || err.Error() != "cannot write the output: "+c.want.Error() {
			t.Errorf("Run: %v, want one about a write with %v", err, c.want)
		}
	}
}

func TestWriterDrainEndsWithItsContextAndTheInput(t *testing.T) {
	cause := errors.New("cause")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		q := router.NewQueue(three, router.Block, nil)
		returned := waits(t, "Run", func() error { return router.WriterDrain(io.Discard).Run(ctx, q) })
		cancel(cause)
		returned(cause)
	})
	q := router.NewQueue(three, router.Block, nil)
	q.CloseInput(cause)
	if err := router.WriterDrain(io.Discard).Run(t.Context(), q); err != cause {
		t.Errorf("Run with an input that ended by an error: %v, want %v", err, cause)
	}
}
