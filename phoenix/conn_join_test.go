package phoenix_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// A join that times out is left, counts as a failed attempt and is tried again; the answer that comes late is stale
// (rule 9).
func TestJoinTimeoutIsLeftAndRetried(t *testing.T) {
	var slow atomic.Bool
	slow.Store(true)
	var frames []string
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		if f.FromClient {
			frames = append(frames, string(f.Data))
		}
	})
	app := rooms(phoenixtest.ChannelFuncs{
		OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
			if slow.Swap(false) {
				s.Sleep(5 * time.Second)
				return phoenixtest.Map{"answer": "late"}, nil
			}
			return phoenixtest.Map{"answer": "in time"}, nil
		},
	})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			ReplyTimeout: 4 * time.Second, MaxRetries: 3, RejoinAfter: phoenix.Steps(500*time.Millisecond, time.Second),
		})
		log := record(t, events)
		response, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"})
		if err != nil || string(response.Data) != `{"answer":"in time"}` {
			t.Errorf("response %s, error %v", response.Data, err)
		}
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:1 joining 1",
			"4s room:1 join_error 1 timeout, retry in 500ms",
			"4.5s room:1 joining 2",
			`5s room:1 joined {"answer":"in time"}`,
		)
	}, tap)
	want := []string{
		`["1","1","room:1","phx_join",{}]`,
		`["1","2","room:1","phx_leave",{}]`,
		`["3","3","room:1","phx_join",{}]`,
	}
	if len(frames) < len(want) || fmt.Sprint(frames[:len(want)]) != fmt.Sprint(want) {
		t.Errorf("frames %s\nwant   %s", frames, want)
	}
}

func TestJoinRefused(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{MaxRetries: 3})
		log := record(t, events)
		_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:private"})
		var refused *phoenix.JoinError
		if !errors.As(err, &refused) || refused.Reason != phoenix.JoinRefused ||
			string(refused.Response.Data) != `{"reason":"unauthorized"}` {
			t.Errorf("error %v", err)
		}
		settle(time.Minute)
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:private joining 1",
			"0s room:private join_error 1 error",
		)
		join(t, conn, "room:1") // the socket stays open
	})
}

// What Phoenix itself says about a join has reasons of its own (PROTOCOL.md, section 4).
func TestJoinReasons(t *testing.T) {
	app := socket(phoenixtest.UserSocket{MaxChannels: 1, Channels: []phoenixtest.Route{
		phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{}),
		phoenixtest.RouteFuncs("broken:*", phoenixtest.ChannelFuncs{
			OnJoin: func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) { panic("broken") },
		}),
	}})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		record(t, events)
		for _, c := range []struct {
			topic string
			want  phoenix.JoinReason
		}{
			{"broken:1", phoenix.JoinCrashed},
			{"nowhere:1", phoenix.JoinUnmatchedTopic},
			{"room:1", ""},
			{"room:2", phoenix.JoinTooManyChannels},
		} {
			_, err := conn.Join(t.Context(), phoenix.Channel{Topic: c.topic})
			var failed *phoenix.JoinError
			if !errors.As(err, &failed) && c.want != "" || failed != nil && failed.Reason != c.want {
				t.Errorf("join of %s: %v, want reason %q", c.topic, err, c.want)
			}
		}
	})
}

// With RetryRefusals a refused join is tried again until its retries are used up (rule 16).
func TestRetryRefusedJoin(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			RetryRefusals: true, MaxRetries: 2, RejoinAfter: phoenix.Steps(time.Second, 2*time.Second),
		})
		log := record(t, events)
		if _, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:private"}); err == nil {
			t.Error("joined")
		}
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:private joining 1",
			"0s room:private join_error 1 error, retry in 1s",
			"1s room:private joining 2",
			"1s room:private join_error 2 error, retry in 2s",
			"3s room:private joining 3",
			"3s room:private join_error 3 error",
		)
	})
}

func TestJoinTwice(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Channels: topics("room:1", "room:1")})
		record(t, events)
		settle(time.Second)
		if _, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"}); !errors.Is(err, phoenix.ErrJoined) {
			t.Errorf("joining twice: %v", err)
		}
		if n := srv.Stats().Joins; n != 1 {
			t.Errorf("%d joins on the wire, want 1", n)
		}
	})
}

// When a caller gives up waiting, its topic stays wanted.
func TestJoinOutlivesItsContext(t *testing.T) {
	bubble(t, slowJoins(2*time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := conn.Join(ctx, phoenix.Channel{Topic: "room:1"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		log.forget()
		settle(2 * time.Second)
		log.want("2s room:1 joined {}")
	})
}

// The joins in flight are bounded (rule 10), and come in the order in which the topics were wanted.
func TestJoinsInFlight(t *testing.T) {
	names := make([]string, 20)
	for i := range names {
		names[i] = fmt.Sprintf("room:%02d", i)
	}
	bubble(t, slowJoins(time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{Channels: topics(names...)})
		log := record(t, events)
		settle(time.Second / 2)
		if n := len(details[*phoenix.Joining](log)); n != 8 {
			t.Errorf("%d joins in flight, want 8", n)
		}
		settle(20 * time.Second)
		joined := 0
		for _, e := range log.all() {
			if _, ok := e.Detail.(*phoenix.Joined); ok {
				if e.Topic != names[joined] {
					t.Fatalf("join %d was that of %s", joined, e.Topic)
				}
				joined++
			}
		}
		if joined != len(names) {
			t.Errorf("%d of %d channels joined", joined, len(names))
		}
	})
}
