package router

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"phx/phoenix"
	"phx/signal"
)

// A recorder is a drain that keeps what it gets, for each connection apart.
type recorder struct {
	mu    sync.Mutex
	lines map[string][]string
	seqs  map[string][]uint64
}

func (r *recorder) Run(ctx context.Context, q *Queue) error {
	for {
		c, err := q.Take(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		r.record(c)
		q.Release(c)
	}
}

func (r *recorder) record(c *Chunk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil {
		r.lines, r.seqs = map[string][]string{}, map[string][]uint64{}
	}
	for i := range c.Len() {
		line, seq := c.Record(i)
		connection := c.OriginOf(i).Connection
		r.lines[connection] = append(r.lines[connection], string(line))
		r.seqs[connection] = append(r.seqs[connection], seq)
	}
}

// of returns the numbers of what came from a connection.
func (r *recorder) of(connection string) []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seqs[connection]
}

// A drainFunc is a drain that does what a test wants.
type drainFunc func(ctx context.Context, q *Queue) error

func (f drainFunc) Run(ctx context.Context, q *Queue) error { return f(ctx, q) }

// roomySink returns a sink that loses nothing.
func roomySink(name string, d Drain) *Sink {
	return NewSink(SinkOptions{Name: name, Bytes: 1 << 30, Policy: DropOldest, Drain: d})
}

// A logBook is a logger that a test can read.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// count returns how often text was logged.
func (b *logBook) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), text)
}

// tick is a message, the usual event.
func tick(seq uint64) *phoenix.Event { return messageOf("room:lobby", "tick", seq) }

func messageOf(topic, name string, seq uint64) *phoenix.Event {
	return &phoenix.Event{
		Time: time.Unix(1_800_000_000, int64(seq)), Session: 1, Seq: seq, Topic: topic, Name: name,
		Payload: phoenix.JSON(`{"n":1}`), Detail: phoenix.Message{},
	}
}

// toAll is the route of every signal to the sinks.
func toAll(names ...string) []Route { return []Route{{To: names}} }

func apply(t *testing.T, r *Router, sinks []*Sink, routes []Route) {
	t.Helper()
	if err := r.Apply(sinks, routes); err != nil {
		t.Fatal(err)
	}
}

func shutdown(t *testing.T, r *Router) {
	t.Helper()
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// lineOf returns the line of an event as an encoder of its own writes it.
func lineOf(format signal.Format, connection string, ev *phoenix.Event) string {
	return string(signal.NewEncoder(format, connection).Append(nil, ev))
}

// takeWaiting records what waits for a subscription.
func takeWaiting(s *Subscription, into *recorder) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		c, err := s.Take(ended)
		if err != nil {
			return
		}
		into.record(c)
		s.Release(c)
	}
}

// numbers returns 1 to n.
func numbers(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return all
}
