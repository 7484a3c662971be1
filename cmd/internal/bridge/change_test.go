package bridge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"phx/cmd/config"
	"phx/cmd/internal/control"
	"phx/phoenix"
)

// A hanging is a bridge whose connections go to where nobody listens, and hang when they have something to log.
type hanging struct {
	*Bridge
	file   atomic.Value // a string
	goOn   chan struct{}
	events chan string // the names of connections that hang
}

const oneConnection = "connections: {a: {uri: 'ws://127.0.0.1:1/socket', max_retries: -1}}\n"

func newHanging(t *testing.T) *hanging {
	t.Helper()
	noEnv := func(string) (string, bool) { return "", false }
	h := &hanging{goOn: make(chan struct{}), events: make(chan string, 100)}
	h.file.Store(oneConnection)
	b, err := New(Options{
		Load: func() (*config.File, error) {
			return config.ParseFile("phx.yaml", []byte(h.file.Load().(string)), noEnv)
		},
		LookupEnv: noEnv,
		Stdout:    io.Discard,
		Logger:    slog.New(slog.DiscardHandler),
		LogEvent: func(*slog.Logger, *phoenix.Event) {
			h.events <- ""
			<-h.goOn
		},
		Reloading: func() func() { return func() {} },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Bridge = b
	if err := b.StartAll(); err != nil {
		t.Fatal(err)
	}
	<-h.events
	return h
}

// patience is for what happens soon.
const patience = 30 * time.Second

func (h *hanging) shutdown(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func statusOf(err error) int {
	if e := (*control.Error)(nil); errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// Who removes a connection that hangs may give up; the removal is completed all the same, and the name is free again.
func TestRemovalOutlivesItsCaller(t *testing.T) {
	h := newHanging(t)
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := h.Remove(soon, "a"); statusOf(err) != 504 {
		t.Errorf("Remove of a connection that hangs: %v", err)
	}
	if err := h.Reload(t.Context()); statusOf(err) != 504 {
		t.Errorf("a reload that wants the connection back meanwhile: %v", err)
	}
	close(h.goOn)
	for changed := h.supervisor.Changed(); h.connection("a") != nil; changed = h.supervisor.Changed() {
		select {
		case <-changed:
		case <-time.After(time.Millisecond): // The bridge forgets it a little later than the supervisor.
		}
	}
	if err := h.Reload(t.Context()); err != nil {
		t.Errorf("a reload after that: %v", err)
	}
	if all, err := h.Connections(t.Context()); err != nil || len(all) != 1 || all[0].Status == string(phoenix.StatusDisconnected) && all[0].Error != "" {
		t.Errorf("the connections are %v, %v", all, err)
	}
	h.shutdown(t)
}

// A change that waits for a connection lets go when the bridge is shut down, and so does one that waits for its turn; later ones are
// refused.
func TestShutdownWaitsForNoChange(t *testing.T) {
	h := newHanging(t)
	h.file.Store("connections: {}\n")
	const changes = 3
	ended := make(chan error, changes)
	for range changes {
		go func() { ended <- h.Reload(context.Background()) }()
	}
	for c := h.connection("a"); !c.removing.Load(); {
		time.Sleep(time.Millisecond)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = h.Shutdown(ctx) // ends when the connection does
	}()
	var late int
	for range changes {
		if err := <-ended; statusOf(err) == 503 {
			late++
		} else if statusOf(err) != 504 {
			t.Errorf("a reload at the end: %v", err)
		}
	}
	if late != changes-1 {
		t.Errorf("%d changes came too late, want %d", late, changes-1)
	}
	if _, err := h.Add(t.Context(), []byte(`{"name":"b","uri":"ws://127.0.0.1:1/socket"}`), ""); statusOf(err) != 503 {
		t.Errorf("an addition after the end: %v", err)
	}
	close(h.goOn)
	<-done
}
