package phoenix_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// start runs a connection to srv in the bubble and returns it with its stream; it is closed at the end of the test.
func start(t *testing.T, srv *phoenixtest.Server, o phoenix.Options) (*phoenix.Conn, *phoenix.Stream) {
	t.Helper()
	conn := newConn(t, srv, o)
	events := conn.Events()
	go func() { _ = conn.Serve(context.Background()) }()
	return conn, events
}

// newConn makes a connection to srv that logs to the test's output. It is closed at the end of the test.
func newConn(t *testing.T, srv *phoenixtest.Server, o phoenix.Options) *phoenix.Conn {
	t.Helper()
	if o.URL == "" {
		o.URL = srv.URL
	}
	if o.NetDial == nil {
		o.NetDial = srv.DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	conn, err := phoenix.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// bubble runs a test in a synctest bubble against a server, which is closed at its end. That nothing is left running then
// is what synctest checks.
func bubble(t *testing.T, app phoenixtest.App, test func(t *testing.T, srv *phoenixtest.Server), opts ...phoenixtest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(app, opts...)
		t.Cleanup(srv.Close)
		test(t, srv)
	})
}

// socket is an application with one socket.
func socket(s phoenixtest.UserSocket) phoenixtest.App {
	return func(srv *phoenixtest.Server) { srv.Mount("/socket", s) }
}

// rooms is an application whose channels room:* are made of funcs.
func rooms(funcs phoenixtest.ChannelFuncs) phoenixtest.App {
	return socket(phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", funcs)}})
}

// topics are channels without params.
func topics(names ...string) []phoenix.Channel {
	var cs []phoenix.Channel
	for _, name := range names {
		cs = append(cs, phoenix.Channel{Topic: name})
	}
	return cs
}

// join joins or ends the test.
func join(t *testing.T, conn *phoenix.Conn, topic string) {
	t.Helper()
	if _, err := conn.Join(t.Context(), phoenix.Channel{Topic: topic}); err != nil {
		t.Fatal(err)
	}
}

// send sends or ends the test.
func send(t *testing.T, conn *phoenix.Conn, p phoenix.Push) {
	t.Helper()
	if err := conn.Send(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// warnings is a logger of what is worth a warning.
func warnings(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// settle waits for everything in the bubble that does not wait for time, after d.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestJoinAndPush(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		join(t, conn, "room:lobby")
		r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:lobby", Name: "echo", Payload: phoenix.JSON(`{"a":1.0}`)})
		if err != nil || r.Status != "ok" || string(r.Payload.Data) != `{"a":1.0}` {
			t.Fatalf("reply %+v, error %v", r, err)
		}
		settle(2500 * time.Millisecond)
		if err := conn.Leave(t.Context(), "room:lobby"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:lobby joining 1",
			"0s room:lobby joined {}",
			`0s push 0 ok {"a":1.0}`,
			`1s room:lobby tick {"n":1}`,
			`2s room:lobby tick {"n":2}`,
			"2.5s room:lobby left",
			"2.5s disconnected closed_by_us 1000",
		)
	})
}
