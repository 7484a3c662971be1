package phoenix_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// The end of Serve's context closes as Close does.
func TestServeEndsWithItsContext(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, patient("room:1"))
		log := record(t, conn.Events())
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- conn.Serve(ctx) }()
		settle(time.Second)
		log.forget()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		log.want(
			"1s disconnected closed_by_us 1000",
			"1s room:1 errored disconnected",
		)
	})
}

func TestStart(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{})
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st, err := conn.Status(t.Context()); err != nil || st.Link != phoenix.StatusConnected {
			t.Errorf("status %+v, error %v", st, err)
		}
		if err := conn.Start(t.Context()); err == nil {
			t.Error("started twice")
		}
	})
}

func TestStartFails(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Refuse(&phoenixtest.Refusal{Status: 403})
		var link *phoenix.LinkError
		if err := newConn(t, srv, phoenix.Options{}).Start(t.Context()); !errors.As(err, &link) || link.HTTPStatus != 403 {
			t.Errorf("error %v", err)
		}
	})
}

// When Start's context has ended or ends, the connection is closed.
func TestStartWithEndedContext(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		for _, after := range []time.Duration{0, time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			conn := newConn(t, srv, phoenix.Options{NetDial: silentDial(t)})
			if err := conn.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
			<-conn.Done()
			cancel()
		}
		synctest.Wait()
	})
}

// Status tells what the link and each channel are doing.
func TestStatus(t *testing.T) {
	bubble(t, slowJoins(2*time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Stop()
		conn := newConn(t, srv, patient("room:1"))
		status := func(link phoenix.LinkStatus, session, retries int, channel string) {
			t.Helper()
			st, err := conn.Status(t.Context())
			if err != nil || st.Link != link || st.Session != session || st.Retries != retries {
				t.Errorf("status %+v, error %v; want %s, session %d, %d retries", st, err, link, session, retries)
			}
			if got := st.Channels; channel == "" && len(got) != 0 || channel != "" && (len(got) != 1 || got[0].State != channel) {
				t.Errorf("channels %+v, want one that is %q", got, channel)
			}
		}
		status(phoenix.StatusDisconnected, 0, 0, "")
		record(t, conn.Events())
		go func() { _ = conn.Serve(context.Background()) }()
		settle(500 * time.Millisecond)
		status(phoenix.StatusConnecting, 0, 1, "waiting")
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		status(phoenix.StatusConnected, 1, 1, "joining")
		settle(2 * time.Second)
		status(phoenix.StatusConnected, 1, 1, "joined")
		settle(10 * time.Second)
		status(phoenix.StatusConnected, 1, 0, "joined")
		srv.BlackHole()
		go func() { _ = conn.Leave(t.Context(), "room:1") }()
		settle(0)
		status(phoenix.StatusConnected, 1, 0, "leaving")
		go func() { _ = conn.Close(t.Context()) }()
		settle(0)
		status(phoenix.StatusDisconnecting, 1, 0, "leaving")
		<-conn.Done()
		status(phoenix.StatusDisconnected, 0, 0, "")
	})
}
