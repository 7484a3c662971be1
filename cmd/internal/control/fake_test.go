package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fakeBackend knows the connection "backend". It notes what it is asked for.
type fakeBackend struct {
	// waiting gets the state for each call of Await; await answers it.
	waiting chan string
	// joined lets Await return.
	joined chan struct{}
	// panics makes Reload panic.
	panics bool
	// lines is what each subscription sends, again and again; without lines it sends what is put into signals.
	lines   []byte
	signals chan string

	mu     sync.Mutex
	asked  []string
	open   int
	closed chan struct{} // gets a token for each subscription that is closed
}

func newFakeBackend() *fakeBackend {
	return &fakeBackend{
		waiting: make(chan string, 1), joined: make(chan struct{}),
		signals: make(chan string, 16), closed: make(chan struct{}, 2000),
	}
}

func (b *fakeBackend) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, fmt.Sprintf(format, args...))
}

// last returns what it was asked for last.
func (b *fakeBackend) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) == 0 {
		return ""
	}
	return b.asked[len(b.asked)-1]
}

func (b *fakeBackend) one(what, name string) (Connection, error) {
	b.note("%s %s", what, name)
	if name != "backend" {
		return Connection{}, fmt.Errorf("cannot %s: %w", what, UnknownConnection(name))
	}
	return Connection{
		Name: name, Status: "connected", URI: "ws://localhost/socket", Session: 2, Since: time.Date(2026, 11, 23, 0, 0, 0, 999, time.UTC),
		Required: true, Channels: []Channel{{Topic: "room:lobby", State: "joining"}},
	}, nil
}

func (b *fakeBackend) Connections(context.Context) ([]Connection, error) {
	c, err := b.one("list", "backend")
	return []Connection{c}, err
}

func (b *fakeBackend) Connection(_ context.Context, name string) (Connection, error) {
	return b.one("get", name)
}

func (b *fakeBackend) Await(ctx context.Context, name, state string) (Connection, error) {
	b.waiting <- state
	c, err := b.one("await "+state, name)
	if err != nil {
		return c, err
	}
	select {
	case <-b.joined:
		return c, nil
	case <-ctx.Done():
		return c, fmt.Errorf("waiting: %w", ctx.Err())
	}
}

func (b *fakeBackend) Add(_ context.Context, entry []byte, dir string) (Connection, error) {
	b.note("add %s from %q", entry, dir)
	if strings.Contains(string(entry), "taken") {
		return Connection{}, &Error{Status: http.StatusConflict, Code: exitFailure, Message: "there is one", Advice: "remove it"}
	}
	return b.one("added", "backend")
}

func (b *fakeBackend) Remove(_ context.Context, name string) error {
	_, err := b.one("remove", name)
	return err
}

func (b *fakeBackend) Start(_ context.Context, name string) (Connection, error) {
	return b.one("start", name)
}

func (b *fakeBackend) Stop(_ context.Context, name string) (Connection, error) {
	return b.one("stop", name)
}

func (b *fakeBackend) Restart(_ context.Context, name string) (Connection, error) {
	return b.one("restart", name)
}

func (b *fakeBackend) Join(_ context.Context, name, topic string, params json.RawMessage) (Answer, error) {
	_, err := b.one(fmt.Sprintf("join %s with %q on", topic, params), name)
	return Answer{http.StatusOK, []byte(`{"type":"phoenix.channel.joined"}` + "\n")}, err
}

func (b *fakeBackend) Leave(_ context.Context, name, topic string) (Answer, error) {
	_, err := b.one(fmt.Sprintf("leave %s on", topic), name)
	return Answer{http.StatusOK, []byte(`{"type":"phoenix.channel.left"}`)}, err
}

func (b *fakeBackend) Push(_ context.Context, name string, p Push) (Answer, error) {
	_, err := b.one(fmt.Sprintf("push %s %s %q %q %v %v on", p.Topic, p.Event, p.Payload, p.Binary, p.Timeout, p.NoReply), name)
	switch {
	case p.NoReply:
		return NewRefAnswer("7"), err
	case p.Event == "silent":
		return Answer{http.StatusGatewayTimeout, []byte(`{"type":"phoenix.push.timeout"}`)}, err
	}
	return Answer{http.StatusOK, []byte(`{"type":"phoenix.push.reply"}`)}, err
}

func (b *fakeBackend) Reload(context.Context) error {
	b.note("reload")
	if b.panics {
		panic("a bug")
	}
	return errors.New("the file is wrong")
}

func (b *fakeBackend) Subscribe(r SubscribeRequest) (Subscription, error) {
	b.note("subscribe %+v", r)
	if r.Match == "[" {
		return nil, BadRequest("write it right", "the pattern is wrong")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open++
	return &fakeSubscription{b}, nil
}

type fakeSubscription struct{ backend *fakeBackend }

func (s *fakeSubscription) Next(ctx context.Context) ([]byte, error) {
	if s.backend.lines != nil {
		return s.backend.lines, ctx.Err()
	}
	select {
	case text, ok := <-s.backend.signals:
		if !ok {
			return nil, errors.New("it has ended")
		}
		return []byte(text), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *fakeSubscription) Close() {
	s.backend.mu.Lock()
	s.backend.open--
	s.backend.mu.Unlock()
	s.backend.closed <- struct{}{}
}

// socketPath returns the path of a socket that is not there yet, short enough for one.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "phx", "s")
}

// A served is a server that runs until the end of the test, or until end is called, which returns what Serve returned.
type served struct {
	path   string
	client *Client
	end    func() error
}

func serve(t *testing.T, b Backend, change ...func(*Server)) *served {
	t.Helper()
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(b, slog.New(slog.DiscardHandler))
	for _, f := range change {
		f(server)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- server.Serve(ctx, l) }()
	s := &served{path: path, client: NewClient(path)}
	s.end = sync.OnceValue(func() error {
		cancel()
		return <-result
	})
	t.Cleanup(func() {
		s.client.Close()
		if err := s.end(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}
