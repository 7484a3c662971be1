//go:build unix

package lease

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/natslink"
	"phx/cmd/phxtest"
)

// newTestKV returns a store in a bucket of a real server.
func newTestKV(t *testing.T, ttl time.Duration) (*KV, *phxtest.NATSServer) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs nats-server, which takes minutes to build")
	}
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	server, err := phxtest.StartNATS(ctx, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	link := natslink.New(natslink.Options{URLs: []string{server.URL}})
	t.Cleanup(func() { link.Close(context.WithoutCancel(t.Context())) })
	kv := NewKV(link, "leases", 1, ttl, slog.New(slog.DiscardHandler))
	t.Cleanup(kv.Close)
	return kv, server
}

// A server of JetStream does what the model's store does: compare-and-set of each key, revisions that grow, sessions that end by their time
// or at once, and snapshots with all of it.
func TestKV(t *testing.T) {
	s, _ := newTestKV(t, 3*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	told := make(chan struct{}, 100)
	look := func() Snapshot {
		t.Helper()
		view, err := s.Watch(ctx, func() { told <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
		return view
	}
	if view := look(); view.Revision != 0 || len(view.Sessions)+len(view.Runs) != 0 {
		t.Errorf("a new bucket has %+v", view)
	}
	began, err := s.Begin(ctx, Session{ID: "A", Instance: "a"})
	if err != nil {
		t.Fatal(err)
	}
	<-told
	if _, err := s.Begin(ctx, Session{ID: "A"}); !errors.Is(err, ErrConflict) {
		t.Errorf("a session begins twice: %v", err)
	}
	renewed, err := s.Renew(ctx, Session{ID: "A", Instance: "a", Number: 1, Down: map[string]Down{"x": {Status: "connecting", Since: 5}}}, began, false)
	if err != nil || renewed <= began {
		t.Fatalf("renewed by %d after %d: %v", renewed, began, err)
	}
	if _, err := s.Renew(ctx, Session{ID: "A"}, began, false); !errors.Is(err, ErrConflict) {
		t.Errorf("renewed by a revision that is past: %v", err)
	}
	claimed, err := s.Claim(ctx, "x", Run{Session: "A", Instance: "a"}, 0)
	if err != nil || claimed <= renewed {
		t.Fatalf("claimed by %d after %d: %v", claimed, renewed, err)
	}
	if _, err := s.Claim(ctx, "x", Run{Session: "B"}, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("claimed twice: %v", err)
	}
	given, err := s.Claim(ctx, "x", Run{Since: 7}, claimed)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Begin(ctx, Session{ID: "B", Instance: "b"})
	if err != nil {
		t.Fatal(err)
	}
	view := look()
	a, x := view.Sessions["A"], view.Runs["x"]
	if view.Revision != other || len(view.Sessions) != 2 || a.Revision != renewed || a.Number != 1 || a.Down["x"].Since != 5 || a.Created == 0 ||
		x.Revision != given || x.Session != "" || x.Since != 7 {
		t.Errorf("the bucket has %+v", view)
	}
	for len(told) > 0 {
		<-told
	}
	if _, err := s.Renew(ctx, Session{ID: "B"}, other, true); err != nil {
		t.Fatal(err)
	}
	<-told
	if _, ended := look().Sessions["B"]; ended {
		t.Error("a session that has ended is there")
	}
	// The other one ends by its time, and that is told, too.
	for {
		<-told
		if _, lives := look().Sessions["A"]; !lives {
			break
		}
	}
	if _, err := s.Renew(ctx, Session{ID: "A"}, renewed, false); !errors.Is(err, ErrConflict) {
		t.Errorf("a session that is gone was renewed: %v", err)
	}
}

// What an owner keeps for the next one is written by compare-and-set, also after somebody has deleted it. It is nothing that instances are
// told of.
func TestKVValue(t *testing.T) {
	s, _ := newTestKV(t, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	told := make(chan struct{}, 100)
	if _, err := s.Watch(ctx, func() { told <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	value, revision, err := s.Value(ctx, "x")
	if value != nil || revision != 0 || err != nil {
		t.Errorf("a new bucket has %s at %d, %v", value, revision, err)
	}
	first, err := s.SetValue(ctx, "x", []byte(`{"a":1}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetValue(ctx, "x", []byte(`{"a":2}`), 0); !errors.Is(err, ErrConflict) {
		t.Errorf("written by a revision that is past: %v", err)
	}
	if value, revision, err = s.Value(ctx, "x"); string(value) != `{"a":1}` || revision != first || err != nil {
		t.Errorf("the bucket has %s at %d, %v", value, revision, err)
	}
	if _, kv, err := s.open(ctx); err != nil || kv.Delete(ctx, "resume.x") != nil {
		t.Fatal(err)
	}
	if value, revision, err = s.Value(ctx, "x"); value != nil || revision <= first || err != nil {
		t.Errorf("after a deletion the bucket has %s at %d, %v", value, revision, err)
	}
	if _, err := s.SetValue(ctx, "x", []byte(`{"a":3}`), revision); err != nil {
		t.Error(err)
	}
	// The first that is told is what the instances agree about.
	if _, err := s.Claim(ctx, "x", Run{Session: "A"}, 0); err != nil {
		t.Fatal(err)
	}
	<-told
	if view, err := s.Watch(ctx, func() {}); err != nil || len(told) != 0 || len(view.Runs) != 1 || len(view.Sessions) != 0 {
		t.Errorf("%d more were told; the bucket has %+v, %v", len(told), view, err)
	}
}

// A bucket that was deleted is made again, and its revisions, which are epochs, go on behind the last that was seen. One that has other
// replicas than was asked for is used, and that is said once.
func TestKVDeleted(t *testing.T) {
	s, server := newTestKV(t, time.Minute)
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.replicas = 3
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	if _, err := s.Begin(ctx, Session{ID: "A"}); err == nil || !strings.Contains(err.Error(), "with 3 replicas (cluster.replicas)") {
		t.Errorf("a server alone keeps 3 replicas: %v", err)
	}
	s.replicas = 1
	if _, err := s.Begin(ctx, Session{ID: "A"}); err != nil {
		t.Fatal(err)
	}
	claimed, err := s.Claim(ctx, "x", Run{Session: "A"}, 0)
	if err != nil || claimed != 2 {
		t.Fatalf("claimed by %d: %v", claimed, err)
	}
	if log.Len() > 0 {
		t.Errorf("nothing was wrong:\n%s", &log)
	}
	js, _, err := s.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(ctx, "leases"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Renew(ctx, Session{ID: "A"}, 1, false); err == nil {
		t.Error("renewed in a bucket that is gone")
	}
	if _, err := s.Renew(ctx, Session{ID: "A"}, 1, false); !errors.Is(err, ErrConflict) {
		t.Errorf("renewed in a bucket that is new: %v", err)
	}
	if view, err := s.Watch(ctx, func() {}); err != nil || len(view.Sessions)+len(view.Runs) > 0 {
		t.Errorf("a new bucket has %+v, %v", view, err)
	}
	again, err := s.Claim(ctx, "x", Run{Session: "B"}, 0)
	if err != nil || again <= claimed {
		t.Errorf("claimed by %d after %d: %v", again, claimed, err)
	}
	if n := strings.Count(log.String(), "the bucket of the leases was gone"); n != 1 {
		t.Errorf("said %d times that it was gone:\n%s", n, &log)
	}

	link := natslink.New(natslink.Options{URLs: []string{server.URL}})
	defer link.Close(ctx)
	log.Reset()
	other := NewKV(link, "leases", 3, time.Minute, s.log)
	for range 2 {
		other.forget()
		if view, err := other.Watch(ctx, func() {}); err != nil || view.Runs["x"].Revision != again {
			t.Errorf("the bucket has %+v, %v", view, err)
		}
	}
	other.Close()
	if text := log.String(); strings.Count(text, "another number of replicas") != 1 || !strings.Contains(text, "nats stream edit KV_leases --replicas 3") {
		t.Errorf("of a bucket with one replica, where three are wanted, it said:\n%s", text)
	}
}

// A write to a server that is away fails in its time, and is not made later.
func TestKVAway(t *testing.T) {
	s, server := newTestKV(t, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	began, err := s.Begin(ctx, Session{ID: "A", Instance: "a"})
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	short, cancelShort := context.WithTimeout(ctx, 300*time.Millisecond)
	_, err = s.Claim(short, "x", Run{Session: "A"}, 0)
	cancelShort()
	if err == nil || errors.Is(err, ErrConflict) {
		t.Errorf("a claim while the server is away: %v", err)
	}
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.link.AwaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	for {
		revision, err := s.Renew(ctx, Session{ID: "A", Number: 1}, began, false)
		if err == nil && revision > began {
			break
		}
		if ctx.Err() != nil || errors.Is(err, ErrConflict) {
			t.Fatal(err)
		}
	}
	view, err := s.Watch(ctx, func() {})
	if err != nil || len(view.Runs) != 0 || view.Sessions["A"].Number != 1 {
		t.Errorf("the bucket has %+v, %v", view, err)
	}
}
