package phoenix_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// A stuckConn writes nothing from when stuck is set until it is released or closed.
type stuckConn struct {
	net.Conn
	stuck    *atomic.Bool
	released <-chan struct{}
	once     sync.Once
	closed   chan struct{}
}

func (c *stuckConn) Write(p []byte) (int, error) {
	if c.stuck.Load() {
		select {
		case <-c.released:
		case <-c.closed:
		}
	}
	return c.Conn.Write(p)
}

func (c *stuckConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// While much waits to be written, what would add to it waits; Status, Join and Leave do not.
func TestWriteBacklog(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var stuck atomic.Bool
		released := make(chan struct{})
		conn, events := start(t, srv, phoenix.Options{
			ReplyTimeout: 3 * time.Second, HeartbeatInterval: time.Hour,
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := srv.DialContext(ctx, network, addr)
				return &stuckConn{Conn: conn, stuck: &stuck, released: released, closed: make(chan struct{})}, err
			},
		})
		log := record(t, events)
		join(t, conn, "room:1")
		log.forget()
		stuck.Store(true)
		big := phoenix.JSON(`"` + strings.Repeat("x", 600<<10) + `"`)
		for range 3 { // the writer holds one, two wait
			send(t, conn, phoenix.Push{Topic: "room:1", Name: "silent", Payload: big, Timeout: time.Hour})
			settle(0)
		}

		echo := phoenix.Push{Topic: "room:1", Name: "echo", Index: 1}
		for name, call := range map[string]func(ctx context.Context) error{
			"Send":      func(ctx context.Context) error { return conn.Send(ctx, echo) },
			"SendRef":   func(ctx context.Context) error { _, err := conn.SendRef(ctx, echo); return err },
			"Push":      func(ctx context.Context) error { _, err := conn.Push(ctx, echo); return err },
			"PushEvent": func(ctx context.Context) error { _, err := conn.PushEvent(ctx, echo); return err },
			"Heartbeat": func(ctx context.Context) error { _, err := conn.Heartbeat(ctx); return err },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s did not wait: %v", name, err)
			}
			cancel()
		}
		begun := time.Now()
		st, err := conn.Status(t.Context())
		if err != nil || st.Link != phoenix.StatusConnected || time.Since(begun) != 0 {
			t.Errorf("status %+v after %v, error %v", st, time.Since(begun), err)
		}
		e, err := conn.JoinEvent(t.Context(), phoenix.Channel{Topic: "room:2"})
		if err != nil || tell(&e) != "room:2 join_error 1 timeout" || time.Since(begun) != 3*time.Second {
			t.Errorf("joined: %s after %v, error %v", tell(&e), time.Since(begun), err)
		}
		e, err = conn.LeaveEvent(t.Context(), "room:1")
		if err != nil || tell(&e) != "room:1 left" || time.Since(begun) != 6*time.Second {
			t.Errorf("left: %s after %v, error %v", tell(&e), time.Since(begun), err)
		}
		close(released)
		settle(time.Second)
		if n := srv.Stats().Heartbeats; n != 0 {
			t.Error("the heartbeat that was given up was sent")
		}
		for _, d := range details[*phoenix.PushError](log) {
			if d.Index != 0 {
				t.Errorf("a push that was given up was made: %+v", d)
			}
		}
	})
}
