package serve

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"phx/signal"
)

func TestClient(t *testing.T) {
	backend := newFakeBackend()
	s := serve(t, backend)
	ctx := t.Context()
	tests := []struct {
		name          string
		call          func() ([]byte, error)
		answer, asked string
	}{
		{"get", func() ([]byte, error) { return s.client.Connection(ctx, "backend", "", 0) }, backendJSON, "get backend"},
		{"add", func() ([]byte, error) { return s.client.Add(ctx, []byte(`{"name":"taken not"}`), "/a b") }, "", `add {"name":"taken not"} from "/a b"`},
		{"remove", func() ([]byte, error) { return s.client.Remove(ctx, "backend") }, `{"name":"backend","status":"removed"}`, "remove backend"},
		{"a name that is none", func() ([]byte, error) { return s.client.Remove(ctx, "a/b?") }, "", "remove a/b?"},
		{"start", func() ([]byte, error) { return s.client.Start(ctx, "backend") }, backendJSON, "start backend"},
		{"stop", func() ([]byte, error) { return s.client.Stop(ctx, "backend") }, backendJSON, "stop backend"},
		{"restart", func() ([]byte, error) { return s.client.Restart(ctx, "backend") }, backendJSON, "restart backend"},
		{"join", func() ([]byte, error) {
			a, err := s.client.Join(ctx, "backend", "room:<a>", []byte(`{"a":1.0}`))
			return a.Line, err
		}, `{"type":"phoenix.channel.joined"}`, `join room:<a> with "{\"a\":1.0}" on backend`},
		{"leave", func() ([]byte, error) {
			a, err := s.client.Leave(ctx, "backend", "a/../b%2F ?")
			return a.Line, err
		}, `{"type":"phoenix.channel.left"}`, "leave a/../b%2F ? on backend"},
		{"push", func() ([]byte, error) {
			a, err := s.client.Push(ctx, "backend", Push{Topic: "a", Event: "e", Payload: []byte(`{"n":1.0,"t":"<&>"}`), Timeout: time.Microsecond})
			return a.Line, err
		}, `{"type":"phoenix.push.reply"}`, `push a e "{\"n\":1.0,\"t\":\"<&>\"}" "" 1ms false on backend`},
		{"push without bytes", func() ([]byte, error) {
			a, err := s.client.Push(ctx, "backend", Push{Topic: "a", Event: "silent", Binary: []byte{}})
			return a.Line, err
		}, `{"type":"phoenix.push.timeout"}`, `push a silent "" "" 0s false on backend`},
	}
	for _, tt := range tests {
		answer, err := tt.call()
		if string(answer) != tt.answer || (err == nil) != (tt.answer != "") {
			t.Errorf("%s: %s, %v", tt.name, answer, err)
		}
		if asked := backend.last(); asked != tt.asked {
			t.Errorf("%s: asked for\n%s\nwant\n%s", tt.name, asked, tt.asked)
		}
	}
	list, err := s.client.Connections(ctx)
	if err != nil || len(list) != 1 || string(list[0]) != backendJSON {
		t.Errorf("%s %v", list, err)
	}
	if _, err := s.client.Reload(ctx); exitCode(err) != exitFailure || err.Error() != "the file is wrong" {
		t.Error(err)
	}
}

func TestNobodyAtTheSocket(t *testing.T) {
	path := socketPath(t)
	for _, leave := range []func(*testing.T, string){func(*testing.T, string) {}, leaveStale} {
		leave(t, path)
		_, err := NewClient(path).Connections(t.Context())
		if exitCode(err) != exitConnect || err.Error() != "no phx serve is running: nobody listens on "+path {
			t.Error(err)
		}
	}
}

func TestSomebodyElseAtTheSocket(t *testing.T) {
	tests := []struct{ answer, message string }{
		{"", "has gone before it had answered"},
		{"SSH-2.0-OpenSSH_9.9\r\n", "cannot reach phx serve"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "does not speak like phx serve"},
		{"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nhi", "does not speak like phx serve"},
		{"HTTP/1.1 301 Moved\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n", "does not speak like phx serve"},
	}
	for _, tt := range tests {
		path := socketPath(t)
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte(tt.answer))
		}()
		if _, err := NewClient(path).Connections(t.Context()); err == nil || !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%q: %v", tt.answer, err)
		}
		l.Close()
	}
}

func TestACallThatIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := NewClient(socketPath(t)).Connections(ctx); !errors.Is(err, enough) {
		t.Error(err)
	}
	if _, err := NewClient("x").Add(t.Context(), make([]byte, MaxBody+1), ""); exitCode(err) != exitUsage {
		t.Error(err)
	}
}

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
