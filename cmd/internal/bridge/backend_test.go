package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"phx/cmd/internal/control"
	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// one is a config with one connection, joined to room:a.
const one = `connections: {a: {uri: "${URI}", auto_join_channels: [room:a], rejoin_after_msec: [3600000]}}`

// joined returns a stage whose connection "a" is joined to room:a.
func joined(t *testing.T) *stage {
	t.Helper()
	s := started(t, one)
	s.await("a", control.StateJoined)
	return s
}

// calls are all that name a connection.
var calls = map[string]func(s *stage, ctx context.Context, name string) error{
	"Connection": func(s *stage, ctx context.Context, name string) error { _, err := s.Connection(ctx, name); return err },
	"Await": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Await(ctx, name, control.StateConnected)
		return err
	},
	"Remove":  func(s *stage, ctx context.Context, name string) error { return s.Remove(ctx, name) },
	"Start":   func(s *stage, ctx context.Context, name string) error { _, err := s.Start(ctx, name); return err },
	"Stop":    func(s *stage, ctx context.Context, name string) error { _, err := s.Stop(ctx, name); return err },
	"Restart": func(s *stage, ctx context.Context, name string) error { _, err := s.Restart(ctx, name); return err },
	"Join": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Join(ctx, name, "room:b", nil)
		return err
	},
	"Leave": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Leave(ctx, name, "room:a")
		return err
	},
	"Push": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Push(ctx, name, echo("room:a"))
		return err
	},
}

func TestUnknownConnection(t *testing.T) {
	s := joined(t)
	for what, call := range calls {
		t.Run(what, func(t *testing.T) {
			wantError(t, call(s, t.Context(), "x"), http.StatusNotFound, 1, `no connection "x"`)
		})
	}
}

func TestStoppedConnection(t *testing.T) {
	s := joined(t)
	s.stop("a")
	for _, what := range []string{"Join", "Leave", "Push"} {
		t.Run(what, func(t *testing.T) {
			wantError(t, calls[what](s, t.Context(), "a"), http.StatusConflict, 56, "phx ctl start a")
		})
	}
}

func TestCallsAfterShutdown(t *testing.T) {
	s := joined(t)
	s.end()
	for _, what := range []string{"Start", "Restart", "Remove"} {
		t.Run(what, func(t *testing.T) {
			wantError(t, calls[what](s, t.Context(), "a"), http.StatusServiceUnavailable, 56, "shutting down")
		})
	}
}

// gone is a server that refuses every channel.
func gone(srv *phoenixtest.Server) {
	srv.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
		OnJoin: func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) {
			return nil, phoenixtest.RefuseJoin(phoenixtest.Map{"reason": "gone"})
		},
	})}})
}

// Await returns the connection as it is when the caller's time is up.
func TestAwaitTimesOut(t *testing.T) {
	s := newStage(t, gone, one)
	s.open()
	must(t, s.StartAll())
	s.await("a", control.StateConnected)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	c, err := s.Await(ctx, "a", control.StateJoined)
	if !errors.Is(err, context.DeadlineExceeded) || c.Name != "a" || c.Status != string(phoenix.StatusConnected) {
		t.Errorf("%+v, error %v", c, err)
	}
}

// A connection of which a configured channel was left is connected, and not joined.
func TestAwaitJoinedWantsWhatIsConfigured(t *testing.T) {
	s := joined(t)
	_, err := s.Leave(t.Context(), "a", "room:a")
	must(t, err)
	s.await("a", control.StateConnected)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if c, err := s.Await(ctx, "a", control.StateJoined); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%+v, error %v", c, err)
	}
}

func TestAwaitEndsWithTheConnection(t *testing.T) {
	s := newStage(t, gone, one)
	s.open()
	must(t, s.StartAll())
	awaited := make(chan error, 1)
	go func() {
		_, err := s.Await(t.Context(), "a", control.StateJoined)
		awaited <- err
	}()
	s.await("a", control.StateConnected)
	must(t, s.Remove(t.Context(), "a"))
	wantError(t, <-awaited, http.StatusNotFound, 1, `no connection "a"`)
}

// echoing is a server whose joins and pushes answer with what they were sent.
func echoing(srv *phoenixtest.Server) {
	srv.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
		OnJoin: func(_ *phoenixtest.Socket, params phoenixtest.Payload) (any, error) { return params, nil },
		OnIn: func(_ *phoenixtest.Socket, _ string, p phoenixtest.Payload) phoenixtest.Result {
			return phoenixtest.OK(p)
		},
	})}})
}

// Params that are given come before those of the configuration, which come before none.
func TestJoinParams(t *testing.T) {
	for what, c := range map[string]struct {
		topic         string
		given         json.RawMessage
		wantsResponse string
	}{
		"none":            {"room:b", nil, `{}`},
		"configured":      {"room:a", nil, `{"from":"config"}`},
		"given":           {"room:b", json.RawMessage(`{"from":"call"}`), `{"from":"call"}`},
		"given as others": {"room:a", json.RawMessage(`{"from":"call"}`), `{"from":"call"}`},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t, echoing, `connections: {a: {uri: "${URI}", auto_join_channels: [{topic: room:a, params: {from: config}}]}}`)
			s.open()
			must(t, s.StartAll())
			s.await("a", control.StateJoined)
			_, err := s.Leave(t.Context(), "a", "room:a")
			must(t, err)
			a, err := s.Join(t.Context(), "a", c.topic, c.given)
			must(t, err)
			if got := signalOf(t, a.Line); a.HTTPStatus != http.StatusOK || got.Type != "phoenix.channel.joined" || string(got.Data.Response) != c.wantsResponse {
				t.Errorf("status %d, %s", a.HTTPStatus, a.Line)
			}
		})
	}
}

func TestJoinOfWhatIsJoined(t *testing.T) {
	s := joined(t)
	_, err := s.Join(t.Context(), "a", "room:a", nil)
	wantError(t, err, http.StatusConflict, 1, "joined already")
}

// A refused join is answered with its signal.
func TestJoinRefused(t *testing.T) {
	s := joined(t)
	a, err := s.Join(t.Context(), "a", "room:private", nil)
	must(t, err)
	if got := signalOf(t, a.Line); a.HTTPStatus != http.StatusBadGateway || got.Type != "phoenix.channel.join_error" {
		t.Errorf("status %d, %s", a.HTTPStatus, a.Line)
	}
}

func TestLeaveOfWhatIsNotJoined(t *testing.T) {
	s := joined(t)
	_, err := s.Leave(t.Context(), "a", "room:b")
	wantError(t, err, http.StatusConflict, 66, "not joined")
}

// A join that a stop overtakes is answered.
func TestJoinThatIsTakenBack(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{})
	s := newStage(t, func(srv *phoenixtest.Server) {
		srv.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
			OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
				close(arrived)
				s.Wait(release)
				return nil, nil
			},
		})}})
	}, `connections: {a: {uri: "${URI}"}}`)
	s.open()
	must(t, s.StartAll())
	s.await("a", control.StateConnected)
	answered := make(chan error, 1)
	go func() {
		_, err := s.Join(t.Context(), "a", "room:b", nil)
		answered <- err
	}()
	<-arrived
	go close(release)
	s.stop("a")
	if err := <-answered; err != nil {
		wantError(t, err, http.StatusConflict, 66, "left again")
	}
}
