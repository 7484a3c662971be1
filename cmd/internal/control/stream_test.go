package control

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"phx/signal"
)

// wanted is a request with everything in it.
var wanted = SubscribeRequest{
	Match: "phoenix.**", Subscribe: "jido.**", Topic: []string{"room:*", "a&b"}, Event: []string{"x y"},
	Where: ".data.n > 1", Format: signal.FormatJido,
}

func TestSignals(t *testing.T) {
	backend := newFakeBackend()
	s := serve(t, backend)
	stream, err := s.client.Signals(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if asked := backend.last(); asked != "subscribe {Match:phoenix.** Subscribe:jido.** Topic:[room:* a&b] Event:[x y] Where:.data.n > 1 Format:jido}" {
		t.Error(asked)
	}
	if kind := stream.response.Header.Get("Content-Type"); kind != "application/x-ndjson" {
		t.Error(kind)
	}
	long := `{"long":"` + strings.Repeat("x", 3*streamBuffer) + `"}` + "\n"
	backend.signals <- "{\"n\":1}\n{\"n\":2}\n"
	backend.signals <- long + "{\"n\":3}\n"
	for i, want := range []string{"{\"n\":1}\n", "{\"n\":2}\n", long, "{\"n\":3}\n"} {
		line, err := stream.Next()
		if err != nil || string(line) != want {
			t.Errorf("line %d: %.40q, %v", i, line, err)
		}
		if i == 0 && !stream.Ready() || i == 3 && stream.Ready() {
			t.Errorf("ready after line %d: %v", i, stream.Ready())
		}
	}
	close(backend.signals)
	if _, err := stream.Next(); exitCode(err) != exitLinkLost || !strings.Contains(err.Error(), "has ended the stream") {
		t.Errorf("at the end: %v", err)
	}
	<-backend.closed
}

func TestSignalsEndWithTheCaller(t *testing.T) {
	backend := newFakeBackend()
	s := serve(t, backend)
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	stream, err := s.client.Signals(ctx, SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	cancel(enough)
	if _, err := stream.Next(); !errors.Is(err, enough) {
		t.Error(err)
	}
	<-backend.closed
}

func TestSignalsEndWithTheServer(t *testing.T) {
	backend := newFakeBackend()
	s := serve(t, backend)
	stream, err := s.client.Signals(t.Context(), SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Next(); exitCode(err) != exitLinkLost {
		t.Error(err)
	}
	if len(backend.closed) != 1 {
		t.Error("the server has ended before its subscription")
	}
}

func TestAFilterThatIsWrong(t *testing.T) {
	s := serve(t, newFakeBackend())
	if _, err := s.client.Signals(t.Context(), SubscribeRequest{Match: "["}); exitCode(err) != exitUsage || err.Error() != "the pattern is wrong" {
		t.Error(err)
	}
}

// TestSubscribersComeAndGo: nothing is left of them.
func TestSubscribersComeAndGo(t *testing.T) {
	const atOnce, rounds = 50, 20
	backend := newFakeBackend()
	s := serve(t, backend)
	before := 0
	for round := range rounds {
		var group sync.WaitGroup
		for range atOnce {
			group.Go(func() {
				client := NewClient(s.path)
				defer client.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if _, err := client.Signals(ctx, SubscribeRequest{}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for range atOnce {
			<-backend.closed
		}
		if round == 0 {
			before = runtime.NumGoroutine()
		}
	}
	if backend.open != 0 {
		t.Errorf("%d subscriptions are open", backend.open)
	}
	// A few connections may still be ending; one goroutine a subscriber would be more.
	if now := runtime.NumGoroutine(); now > before+atOnce*rounds/2 {
		t.Errorf("%d goroutines, %d after the first round", now, before)
	}
}

// TestASubscriberThatStopsReading is cut off, and harms nobody else.
func TestASubscriberThatStopsReading(t *testing.T) {
	backend := newFakeBackend()
	backend.lines = append(bytes.Repeat([]byte("x"), 1<<20), '\n')
	s := serve(t, backend, func(s *Server) { s.writeTimeout = 20 * time.Millisecond })
	conn, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /v1/signals HTTP/1.1\r\nHost: phx\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	<-backend.closed
	if _, err := s.client.Connections(t.Context()); err != nil {
		t.Error(err)
	}
}
