package phoenix_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// A server counts only what the client sends as life (rule 17): its idle timeout is twice the interval, and an hour passes.
func TestHourOfHeartbeatsOnQuietChannel(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{HeartbeatEvents: true})
		log := record(t, events)
		join(t, conn, "room:quiet")
		log.forget()
		settle(time.Hour)
		if n := srv.Stats().Heartbeats; n != 120 {
			t.Errorf("the server saw %d heartbeats in an hour, want 120", n)
		}
		if all, beats := log.all(), details[*phoenix.Heartbeat](log); len(all) != 120 || len(beats) != 120 {
			t.Errorf("%d events, %d of them heartbeats, want 120", len(all), len(beats))
		}
	})
}

// Incoming traffic never postpones a heartbeat (rule 17).
func TestHourOfHeartbeatsOnBusyChannel(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		join(t, conn, "room:lobby")
		log.forget()
		settle(time.Hour)
		if n := srv.Stats().Heartbeats; n != 120 {
			t.Errorf("the server saw %d heartbeats in an hour, want 120", n)
		}
		if ticks := details[phoenix.Message](log); len(ticks) != 3600 {
			t.Errorf("%d messages, want 3600", len(ticks))
		}
		if st := srv.Stats(); st.Connects != 1 {
			t.Errorf("%d sessions, want 1", st.Connects)
		}
	})
}

// A half-open link raises no error: the heartbeat finds it within interval and timeout, and the gap counts from the last
// word of the server.
func TestHalfOpenLink(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{
			Channels: topics("room:1"), MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Second),
		})
		log := record(t, events)
		settle(45 * time.Second)
		log.forget()
		srv.BlackHole()
		settle(time.Minute)
		log.want(
			"1m10s heartbeat_timeout",
			"1m10s disconnected heartbeat_timeout",
			"1m10s room:1 errored disconnected, retry",
			"1m10s retry 1 in 1s",
			"1m11s connecting 2",
			"1m11s reconnected after 1s",
			"1m11s room:1 joining 1",
			"1m11s room:1 rejoined after 41s",
		)
	})
}

// A slow join holds up the answers to heartbeats on the server (rule 10). The link is not dead before the join is.
func TestSlowJoinIsNoDeadLink(t *testing.T) {
	bubble(t, slowJoins(25*time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			HeartbeatInterval: 5 * time.Second, HeartbeatTimeout: 2 * time.Second, ReplyTimeout: 30 * time.Second,
		})
		log := record(t, events)
		join(t, conn, "room:slow")
		settle(time.Minute)
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:slow joining 1",
			"25s room:slow joined {}",
		)
	})
}

// When the join has timed out and the heartbeat has had no answer either, the link is dead.
func TestJoinTimeoutOnDeadLink(t *testing.T) {
	bubble(t, slowJoins(time.Hour), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{
			Channels:          topics("room:slow"),
			HeartbeatInterval: 5 * time.Second, HeartbeatTimeout: 2 * time.Second, ReplyTimeout: 15 * time.Second,
			MaxRetries: 1, ReconnectAfter: phoenix.Steps(time.Second), RejoinAfter: phoenix.Steps(time.Second),
		})
		log := record(t, events)
		settle(16 * time.Second)
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:slow joining 1",
			"15s room:slow join_error 1 timeout, retry in 1s",
			"15s heartbeat_timeout",
			"15s disconnected heartbeat_timeout",
			"15s retry 1 in 1s",
			"16s connecting 2",
			"16s reconnected after 1s",
			"16s room:slow joining 1",
		)
	})
}

// slowJoins is an application whose joins take their time.
func slowJoins(d time.Duration) phoenixtest.App {
	return rooms(phoenixtest.ChannelFuncs{
		OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
			s.Sleep(d)
			return nil, nil
		},
	})
}

func TestHeartbeatOnDemand(t *testing.T) {
	bubble(t, slowJoins(3*time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Channels: topics("room:slow")})
		record(t, events)
		settle(time.Second)
		rtt, err := conn.Heartbeat(t.Context())
		if err != nil || rtt != 2*time.Second {
			t.Errorf("round trip %v, error %v; want 2s, the rest of the join", rtt, err)
		}
	})
}

func TestHeartbeatWithoutSession(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Minute)})
		record(t, events)
		settle(time.Second)
		srv.BlackHole()
		failed := make(chan error, 1)
		go func() {
			_, err := conn.Heartbeat(t.Context())
			failed <- err
		}()
		settle(time.Second)
		srv.DropConns()
		settle(0)
		select {
		case err := <-failed:
			if err == nil {
				t.Error("a heartbeat whose session was lost was answered")
			}
		default:
			t.Error("a heartbeat waits on although its session was lost")
		}
		if _, err := conn.Heartbeat(t.Context()); err == nil {
			t.Error("a heartbeat without a session was answered")
		}
	})
}

// A ping is answered with its data, also one that comes behind another.
func TestPingIsAnswered(t *testing.T) {
	var pongs []string
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		const opPong = 10
		if f.FromClient && f.Opcode == opPong {
			pongs = append(pongs, string(f.Data)) // by the one goroutine that reads from the one client
		}
	})
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{})
		record(t, events)
		settle(time.Second)
		srv.Conns()[0].SendPing("one")
		srv.Conns()[0].SendPing("")
		settle(time.Second)
	}, tap)
	if len(pongs) != 2 || pongs[0] != "one" || pongs[1] != "" {
		t.Errorf("pongs %q, want those of two pings", pongs)
	}
}

// The connect timeout bounds the reading of credentials, too.
func TestCredentialsTimeout(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var calls atomic.Int32
		conn, events := start(t, srv, phoenix.Options{
			Credentials: func(ctx context.Context) (phoenix.Credentials, error) {
				calls.Add(1)
				<-ctx.Done()
				return phoenix.Credentials{}, ctx.Err()
			},
		})
		log := record(t, events)
		<-conn.Done()
		log.want(
			"0s connecting 1",
			"10s disconnected timeout",
		)
		var link *phoenix.LinkError
		if !errors.As(conn.Err(), &link) || link.Stage != phoenix.StageCredentials || calls.Load() != 1 {
			t.Errorf("error %v after %d calls", conn.Err(), calls.Load())
		}
	})
}

// OnHeartbeat is called for each answer, with its round trip, and makes no event.
func TestOnHeartbeat(t *testing.T) {
	bubble(t, slowJoins(time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		var trips []time.Duration
		conn, events := start(t, srv, phoenix.Options{OnHeartbeat: func(rtt time.Duration) { trips = append(trips, rtt) }})
		log := record(t, events)
		settle(29500 * time.Millisecond)
		go func() { _, _ = conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"}) }() // holds up the first
		settle(time.Minute)
		if want := []time.Duration{time.Second / 2, 0}; !slices.Equal(trips, want) {
			t.Errorf("round trips %v, want %v", trips, want)
		}
		if n := len(log.all()); n != 4 {
			t.Errorf("%d events, want those of the link and the join", n)
		}
	})
}
