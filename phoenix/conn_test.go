package phoenix_test

import (
	"context"
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
	o.URL, o.NetDial = srv.URL, srv.DialContext
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	conn, err := phoenix.New(o)
	if err != nil {
		t.Fatal(err)
	}
	events := conn.Events()
	go func() { _ = conn.Serve(context.Background()) }()
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn, events
}

func TestJoinAndPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		conn, events := start(t, srv, phoenix.Options{})
		ctx := context.Background()
		if _, err := conn.Join(ctx, phoenix.Channel{Topic: "room:lobby"}); err != nil {
			t.Fatal(err)
		}
		r, err := conn.Push(ctx, phoenix.Push{Topic: "room:lobby", Name: "echo", Payload: phoenix.JSON(`{"a":1.0}`)})
		if err != nil || r.Status != "ok" || string(r.Payload.Data) != `{"a":1.0}` {
			t.Fatalf("reply %+v, error %v", r, err)
		}
		time.Sleep(time.Minute + time.Second/2)
		if err := conn.Leave(ctx, "room:lobby"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(ctx); err != nil {
			t.Fatal(err)
		}
		ticks := 0
		for e, err := range events.All(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := e.Detail.(phoenix.Message); ok {
				ticks++
			} else {
				t.Logf("%d %s %T %+v", e.Seq, e.Topic, e.Detail, e.Detail)
			}
		}
		if ticks != 60 {
			t.Errorf("%d ticks in a minute", ticks)
		}
	})
}
