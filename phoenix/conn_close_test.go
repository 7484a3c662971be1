package phoenix_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// Close sends 1000, waits for the server's answer, and fails the pushes that still wait.
func TestClose(t *testing.T) {
	const opClose = 8
	var closes []string
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		if f.FromClient && f.Opcode == opClose {
			closes = append(closes, string(f.Data))
		}
	})
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient("room:1"))
		log := record(t, events)
		settle(time.Second)
		log.forget()
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "silent"})
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		log.want(
			"1s disconnected closed_by_us 1000",
			"1s push 0 lost: cancelled, delivered: unknown",
			"1s room:1 errored disconnected",
		)
		if conn.Err() != nil {
			t.Errorf("error %v", conn.Err())
		}
		settle(0)
		if n := srv.Stats().Open; n != 0 {
			t.Errorf("%d sockets are open", n)
		}
	}, tap)
	if len(closes) != 1 || closes[0] != "\x03\xe8" {
		t.Errorf("close frames %q, want one with code 1000", closes)
	}
}

// What was sent before a Close is written before the close frame. The frames are counted on the wire: a channel dies with
// its socket, and what it had not yet handled with it.
func TestCloseSendsWhatWasQueued(t *testing.T) {
	const pushes = 100
	var got atomic.Int32
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		if f.FromClient && bytes.Contains(f.Data, []byte(`"silent"`)) {
			got.Add(1)
		}
	})
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{})
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		join(t, conn, "room:1")
		for range pushes {
			send(t, conn, phoenix.Push{Topic: "room:1", Name: "silent"})
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		settle(0)
		if n := got.Load(); n != pushes {
			t.Errorf("%d of %d pushes came", n, pushes)
		}
	}, tap)
}

// A server that does not answer the close frame is waited for, but not for long.
func TestCloseOfHalfOpenLink(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient())
		log := record(t, events)
		settle(time.Second)
		log.forget()
		srv.BlackHole()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := conn.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed within a second: %v", err)
		}
		<-conn.Done()
		log.want("3s disconnected closed_by_us")
	})
}

func TestCloseWhileDialing(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		log := record(t, events)
		settle(time.Second)
		begun := time.Now()
		if err := conn.Close(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("closed after %v: %v", time.Since(begun), err)
		}
		log.want(
			"0s connecting 1",
			"1s disconnected closed_by_us",
		)
	})
}

// A server that accepts and says nothing holds up a dial in the midst of its upgrade.
func TestCloseWhileUpgrading(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{NetDial: silentDial(t)})
		record(t, events)
		settle(time.Second)
		begun := time.Now()
		if err := conn.Close(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("closed after %v: %v", time.Since(begun), err)
		}
	})
}

// silentDial dials a server that reads and never answers.
func silentDial(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		t.Cleanup(func() { _ = server.Close() })
		go func() { _, _ = io.Copy(io.Discard, server) }()
		return client, nil
	}
}

func TestCloseWhileWaitingForRetry(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Stop()
		conn, events := start(t, srv, phoenix.Options{MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Hour)})
		log := record(t, events)
		joined := make(chan error, 1)
		go func() {
			_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"})
			joined <- err
		}()
		settle(time.Second)
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-joined; !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("the join ended with %v", err)
		}
		log.want(
			"0s connecting 1",
			"0s disconnected connect_refused",
			"0s retry 1 in 1h0m0s",
			"1s disconnected closed_by_us",
		)
	})
}

func TestCloseBeforeStart(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{})
		events := conn.Events()
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := events.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("the stream says %v, want its end", err)
		}
		if err := conn.Start(t.Context()); !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("started after its close: %v", err)
		}
		if err := conn.Serve(t.Context()); !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("served after its close: %v", err)
		}
		if _, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"}); !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("joined after its close: %v", err)
		}
	})
}

func TestCloseFromManyGoroutines(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient("room:1"))
		log := record(t, events)
		settle(time.Second)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := conn.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := conn.Close(t.Context()); err != nil {
			t.Errorf("closed again: %v", err)
		}
		if lost := details[*phoenix.Disconnected](log); len(lost) != 1 || lost[0].Reason != phoenix.ReasonClosedByUs {
			t.Errorf("%d ends of the session, want one by us", len(lost))
		}
	})
}

// After the end every method says so at once.
func TestMethodsAfterClose(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient("room:1"))
		record(t, events)
		settle(time.Second)
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		ctx := t.Context()
		push := phoenix.Push{Topic: "room:1", Name: "echo"}
		_, joined := conn.Join(ctx, phoenix.Channel{Topic: "room:1"})
		_, pushed := conn.Push(ctx, push)
		_, beat := conn.Heartbeat(ctx)
		for name, err := range map[string]error{
			"Join": joined, "Push": pushed, "Heartbeat": beat, "Send": conn.Send(ctx, push), "Start": conn.Start(ctx),
			"Leave": conn.Leave(ctx, "room:1"), "Serve": conn.Serve(ctx),
		} {
			if !errors.Is(err, phoenix.ErrClosed) {
				t.Errorf("%s: %v, want that the connection is closed", name, err)
			}
		}
	})
}
