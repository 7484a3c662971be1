package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"phx/cmd/internal/control"
	"phx/phoenix"
	"phx/signal"
)

// A ctlBackend stands for a running phx serve with the connection "backend". It notes what it is asked for.
type ctlBackend struct {
	mu    sync.Mutex
	asked string
	// answers are the events that answer pushes and joins, by event and by topic.
	answers map[string]phoenix.Event
	// events are what every subscription sends; then it waits.
	events []phoenix.Event
	// entry and dir are what was added.
	entry, dir string
}

func (b *ctlBackend) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = fmt.Sprintf(format, args...)
}

func (b *ctlBackend) one(what, name string) (control.Connection, error) {
	b.note("%s %s", what, name)
	if name != "backend" {
		return control.Connection{}, control.UnknownConnection(name)
	}
	return control.Connection{Name: name, Status: "connected", URI: "ws://localhost/socket"}, nil
}

func (b *ctlBackend) Connections(context.Context) ([]control.Connection, error) {
	return []control.Connection{{Name: "backend", Status: "connected"}, {Name: "other", Status: "connecting"}}, nil
}

func (b *ctlBackend) Connection(_ context.Context, name string) (control.Connection, error) {
	return b.one("get", name)
}

func (b *ctlBackend) Await(ctx context.Context, name, state string) (control.Connection, error) {
	c, err := b.one("await "+state, name)
	if err != nil || state == control.StateConnected {
		return c, err
	}
	<-ctx.Done()
	return c, ctx.Err()
}

func (b *ctlBackend) Add(_ context.Context, entry []byte, dir string) (control.Connection, error) {
	b.entry, b.dir = string(entry), dir
	return b.one("add", "backend")
}

func (b *ctlBackend) Remove(_ context.Context, name string) error {
	_, err := b.one("remove", name)
	return err
}

func (b *ctlBackend) Start(_ context.Context, name string) (control.Connection, error) {
	return b.one("start", name)
}

func (b *ctlBackend) Stop(_ context.Context, name string) (control.Connection, error) {
	return b.one("stop", name)
}

func (b *ctlBackend) Restart(_ context.Context, name string) (control.Connection, error) {
	return b.one("restart", name)
}

func (b *ctlBackend) answer(key, name string) (control.Answer, error) {
	if _, err := b.one(b.asked, name); err != nil {
		return control.Answer{}, err
	}
	ev := b.answers[key]
	return control.Answer{HTTPStatus: http.StatusOK, Line: signal.NewEncoder(signal.FormatSignal, "backend").Append(nil, &ev)}, nil
}

func (b *ctlBackend) Join(_ context.Context, name, topic string, params json.RawMessage) (control.Answer, error) {
	b.note("join %s %s on", topic, params)
	return b.answer(topic, name)
}

func (b *ctlBackend) Leave(_ context.Context, name, topic string) (control.Answer, error) {
	b.note("leave %s on", topic)
	return b.answer("left", name)
}

func (b *ctlBackend) Push(_ context.Context, name string, p control.Push) (control.Answer, error) {
	b.note("push %s %s %s %q %v %v on", p.Topic, p.Event, p.Payload, p.Binary, p.Timeout, p.NoReply)
	if p.NoReply {
		return control.NewRefAnswer("7"), nil
	}
	return b.answer(p.Event, name)
}

func (b *ctlBackend) Reload(context.Context) error {
	return &control.Error{Status: http.StatusUnprocessableEntity, Code: exitUsage, Message: "phx.yaml:3:1: it is wrong", Advice: "mend it"}
}

func (b *ctlBackend) Subscribe(r control.SubscribeRequest) (control.Subscription, error) {
	b.note("subscribe %+v", r)
	e := signal.NewEncoder(r.Format, "backend")
	var lines []byte
	for i := range b.events {
		lines = e.Append(lines, &b.events[i])
	}
	return &ctlSubscription{lines}, nil
}

type ctlSubscription struct{ lines []byte }

func (s *ctlSubscription) Next(ctx context.Context) ([]byte, error) {
	if lines := s.lines; lines != nil {
		s.lines = nil
		return lines, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (s *ctlSubscription) Close() {}

// startCtl starts a control server and returns what runs `phx ctl` with it, and what ends the server.
func startCtl(t *testing.T, b *ctlBackend) (env map[string]string, end func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- control.NewServer(b, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	t.Cleanup(end)
	return map[string]string{"PHX_CONTROL": path}, end
}

// pushed returns an event about a push of that event.
func pushed(event string, detail phoenix.Detail, payload string) phoenix.Event {
	ev := phoenix.Event{Topic: "room:a", Name: event, Detail: detail, Seq: 1, Time: time.Unix(1, 0)}
	if payload != "" {
		ev.Payload = phoenix.JSON(payload)
	}
	return ev
}

// ctlAnswers are an answer of each kind.
func ctlAnswers() map[string]phoenix.Event {
	pushError := func(reason phoenix.PushReason) phoenix.Event {
		return pushed(string(reason), &phoenix.PushError{Topic: "room:a", Name: string(reason), Reason: reason, Delivered: phoenix.DeliveredNo}, "")
	}
	joinError := func(reason phoenix.JoinReason, response string) phoenix.Event {
		return pushed("", &phoenix.JoinError{Topic: "room:a", Reason: reason}, response)
	}
	answers := map[string]phoenix.Event{
		"echo":         pushed("echo", &phoenix.PushReply{Status: "ok"}, `{"n":1.0}`),
		"fail":         pushed("fail", &phoenix.PushReply{Status: "error"}, `{"reason":"bad"}`),
		"silent":       pushed("silent", &phoenix.PushTimeout{Timeout: 2 * time.Second}, ""),
		"room:a":       pushed("", &phoenix.Joined{}, `{"welcome":true}`),
		"room:private": joinError(phoenix.JoinRefused, `{"reason":"unauthorized"}`),
		"room:slow":    joinError(phoenix.JoinTimeout, ""),
		"left":         pushed("", &phoenix.Left{}, ""),
	}
	for _, reason := range []phoenix.PushReason{
		phoenix.PushDisconnected, phoenix.PushCancelled, phoenix.PushChannelCrashed, phoenix.PushChannelClosed,
		phoenix.PushNotJoined, phoenix.PushUnmatchedTopic,
	} {
		answers[string(reason)] = pushError(reason)
	}
	return answers
}
