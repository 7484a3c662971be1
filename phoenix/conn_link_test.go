package phoenix_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
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
		if ticks := details[*phoenix.Message](log); len(ticks) != 3600 {
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

// slowly returns a dialer to srv whose connections get 10 kB a second, until cut is set and they get nothing.
func slowly(srv *phoenixtest.Server, cut *atomic.Bool) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		far, err := srv.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		near, link := net.Pipe()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			defer far.Close()
			_, _ = io.Copy(far, link)
		}()
		parts := make(chan []byte, 2000) // what has been sent and is on its way
		go func() {
			defer close(parts)
			for {
				part := make([]byte, 1000)
				n, err := far.Read(part)
				parts <- part[:n] // there is room for all of the test
				if err != nil {
					return
				}
			}
		}()
		go func() {
			defer link.Close()
			for part := range parts {
				if !cut.Load() {
					_, _ = link.Write(part)
				}
				select {
				case <-time.After(100 * time.Millisecond):
				case <-gone:
					return
				}
			}
		}()
		return near, nil
	}
}

// A message of 1 MB at 10 kB a second holds up the answers to heartbeats for longer than they may take, and arrives. A link on which
// nothing comes any more, in the middle of such a message, is found.
func TestLargeMessageOnASlowLink(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var cut atomic.Bool
		_, events := start(t, srv, phoenix.Options{Channels: topics("room:1"), NetDial: slowly(srv, &cut)})
		log := record(t, events)
		large := phoenixtest.Map{"text": strings.Repeat("x", 1_000_000)}
		settle(time.Second)
		srv.Broadcast("room:1", "large", large)
		settle(2 * time.Minute)
		if lost, got := details[*phoenix.Disconnected](log), details[*phoenix.Message](log); len(lost) != 0 || len(got) != 1 {
			t.Fatalf("%d messages, and lost: %+v", len(got), lost)
		}
		srv.Broadcast("room:1", "large", large)
		settle(50 * time.Second)
		log.forget()
		cut.Store(true)
		settle(41 * time.Second) // the interval, the timeout, and one of the latter for the bytes that came last
		if lost := details[*phoenix.Disconnected](log); len(lost) != 1 || lost[0].Reason != phoenix.ReasonHeartbeatTimeout {
			t.Errorf("lost: %+v, want one heartbeat timeout", lost)
		}
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

// patient reconnects and rejoins for ever, after one second.
func patient(names ...string) phoenix.Options {
	return phoenix.Options{
		Channels: topics(names...), MaxRetries: -1,
		ReconnectAfter: phoenix.Steps(time.Second), RejoinAfter: phoenix.Steps(time.Second),
	}
}

// However a session ends, unless we ended it: reconnect and rejoin, once (rule 13).
func TestEveryLossReconnects(t *testing.T) {
	closed := func(code int) func(*phoenixtest.Server) {
		return func(srv *phoenixtest.Server) { srv.CloseConns(code) }
	}
	for _, c := range []struct {
		name string
		lose func(*phoenixtest.Server)
		want string
	}{
		{"close 1000", closed(1000), "closed_by_remote 1000"},
		{"close 1001", closed(1001), "closed_by_remote 1001"},
		{"close 1009", closed(1009), "message_too_big 1009"},
		{"close 1011", closed(1011), "closed_by_remote 1011"},
		{"close 1012", closed(1012), "closed_by_remote 1012"},
		{"drop", (*phoenixtest.Server).DropConns, "eof"},
		{"reset", (*phoenixtest.Server).ResetConns, "reset"},
		{"no WebSocket frame", func(srv *phoenixtest.Server) { srv.Conns()[0].SendRaw([]byte{0xff, 0xff}) }, "protocol_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				_, events := start(t, srv, patient("room:1", "room:2"))
				log := record(t, events)
				settle(10 * time.Second)
				log.forget()
				c.lose(srv)
				settle(10 * time.Second)
				log.want(
					"10s disconnected "+c.want,
					"10s room:1 errored disconnected, retry",
					"10s room:2 errored disconnected, retry",
					"10s retry 1 in 1s",
					"11s connecting 2",
					"11s reconnected after 1s",
					"11s room:1 joining 1",
					"11s room:2 joining 1",
					"11s room:1 rejoined after 11s",
					"11s room:2 rejoined after 11s",
				)
				if st := srv.Stats(); st.Joins != 4 || st.Open != 1 {
					t.Errorf("the server counts %+v, want 4 joins and 1 open socket", st)
				}
			})
		})
	}
}

// An idle timeout closes with 1000 on Cowboy, which looks every second, and with 1002 on Bandit; neither means "stop".
func TestIdleTimeoutReconnects(t *testing.T) {
	for _, c := range []struct {
		flavor phoenixtest.Flavor
		code   int
		uptime time.Duration
	}{
		{phoenixtest.Cowboy, 1000, 11 * time.Second},
		{phoenixtest.Bandit, 1002, 10 * time.Second},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			app := socket(phoenixtest.UserSocket{IdleTimeout: 10 * time.Second})
			bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
				o := patient()
				o.HeartbeatInterval = time.Hour
				_, events := start(t, srv, o)
				log := record(t, events)
				settle(15 * time.Second)
				lost := details[*phoenix.Disconnected](log)
				if len(lost) != 1 || lost[0].Code != c.code || lost[0].Uptime != c.uptime || !lost[0].WillReconnect {
					t.Errorf("%d losses, want one by close code %d after %v", len(lost), c.code, c.uptime)
				}
				if srv.Stats().Connects != 2 {
					t.Error("no reconnect")
				}
				if len(lost) == 1 && (lost[0].Silence != c.uptime || !strings.Contains(lost[0].Text, fmt.Sprintf("after %v in which nothing was sent", c.uptime))) {
					t.Errorf("silent for %v, told as %q", lost[0].Silence, lost[0].Text)
				}
			}, phoenixtest.WithFlavor(c.flavor))
		})
	}
}

// What ends for another reason is not taken for an idle session: it came right behind something that was written, or with a code that
// says what it is, or heartbeats did not come in time either, so that a shorter interval is no help.
func TestNotEveryEndIsIdle(t *testing.T) {
	for name, c := range map[string]struct {
		end      func(srv *phoenixtest.Server)
		interval time.Duration
		after    time.Duration
		want     time.Duration
		stuck    bool // nothing is written any more
	}{
		"1000":                 {func(srv *phoenixtest.Server) { srv.CloseConns(1000) }, 0, 12 * time.Second, 12 * time.Second, false},
		"EOF":                  {(*phoenixtest.Server).DropConns, 0, 12 * time.Second, 12 * time.Second, false},
		"reset":                {(*phoenixtest.Server).ResetConns, 0, 12 * time.Second, 12 * time.Second, false},
		"none at all":          {(*phoenixtest.Server).DropConns, phoenix.NoHeartbeat, 45 * time.Second, 45 * time.Second, false},
		"restart":              {func(srv *phoenixtest.Server) { srv.CloseConns(1012) }, 0, 12 * time.Second, 0, false},
		"at once":              {func(srv *phoenixtest.Server) { srv.CloseConns(1002) }, 0, 300 * time.Millisecond, 0, false},
		"heartbeat":            {func(srv *phoenixtest.Server) { srv.CloseConns(1002) }, 3 * time.Second, 12*time.Second + 300*time.Millisecond, 0, false},
		"no heartbeat in time": {func(srv *phoenixtest.Server) { srv.CloseConns(1002) }, 3 * time.Second, 5 * time.Second, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				var stuck atomic.Bool
				released := make(chan struct{})
				conn, events := start(t, srv, phoenix.Options{
					HeartbeatInterval: c.interval,
					NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
						conn, err := srv.DialContext(ctx, network, addr)
						return &stuckConn{Conn: conn, stuck: &stuck, released: released, closed: make(chan struct{})}, err
					},
				})
				log := record(t, events)
				settle(time.Millisecond)
				if c.stuck { // in a join, which holds up the verdict on heartbeats
					stuck.Store(true)
					go func() { _, _ = conn.Join(context.Background(), phoenix.Channel{Topic: "room:1"}) }()
				}
				settle(c.after - time.Millisecond)
				c.end(srv)
				settle(0)
				close(released) // the end of the session waits for its writer
				settle(time.Second)
				if lost := details[*phoenix.Disconnected](log); len(lost) != 1 || lost[0].Silence != c.want {
					t.Errorf("got %+v, want a silence of %v", lost, c.want)
				}
			})
		})
	}
}

// A deployment: channels are rejoined once each, the outage is said, and no message comes twice.
func TestServerRestart(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, patient("room:lobby", "room:1"))
		log := record(t, events)
		settle(5*time.Second + time.Second/2)
		srv.Stop()
		settle(10 * time.Second)
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		settle(5 * time.Second)
		if n := srv.Stats().Joined; n != 4 {
			t.Errorf("%d joins, want 2 for each channel", n)
		}
		for _, c := range details[*phoenix.Connected](log) {
			if c.Reconnect && c.Outage != 11*time.Second {
				t.Errorf("outage of %v, want 11s", c.Outage)
			}
		}
		var ticks []string
		for _, e := range log.all() {
			switch d := e.Detail.(type) {
			case *phoenix.Message:
				ticks = append(ticks, string(e.Payload.Data))
			case *phoenix.Joined:
				// The last tick came half a second before the loss: until then it is known that nothing was missed.
				if d.Rejoin && d.Gap != 11500*time.Millisecond {
					t.Errorf("gap of %v, want 11.5s", d.Gap)
				}
			}
		}
		want := `[{"n":1} {"n":2} {"n":3} {"n":4} {"n":5} {"n":17} {"n":18} {"n":19} {"n":20}]`
		if got := fmt.Sprint(ticks); got != want {
			t.Errorf("ticks %s\nwant  %s", got, want)
		}
	})
}

// A channel that crashes or is closed is joined again; its outstanding pushes do not wait for their timeout (rule 8).
func TestChannelLost(t *testing.T) {
	for _, c := range []struct{ event, lost, push string }{
		{"crash", "errored phx_error", "channel_crashed"},
		{"close", "closed", "channel_closed"},
	} {
		t.Run(c.event, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				conn, events := start(t, srv, patient("room:1", "room:2"))
				log := record(t, events)
				settle(time.Second)
				log.forget()
				send(t, conn, phoenix.Push{Topic: "room:2", Name: "silent", Index: 1, Timeout: time.Minute})
				send(t, conn, phoenix.Push{Topic: "room:1", Name: "silent", Index: 2})
				send(t, conn, phoenix.Push{Topic: "room:1", Name: c.event, Index: 3})
				settle(0)
				send(t, conn, phoenix.Push{Topic: "room:1", Name: "echo", Index: 4})
				settle(5 * time.Second)
				log.want(
					"1s room:1 "+c.lost+", retry in 1s",
					"1s push 2 lost: "+c.push+", delivered: unknown",
					"1s push 3 lost: "+c.push+", delivered: unknown",
					"1s push 4 lost: not_joined, delivered: no",
					"2s room:1 joining 2",
					"2s room:1 rejoined after 2s",
				)
			})
		})
	}
}

// Without retries a lost channel is given up, and the link stays.
func TestChannelLostForGood(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Channels: topics("room:1")})
		log := record(t, events)
		settle(time.Second)
		log.forget()
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "crash"})
		settle(time.Minute)
		log.want(
			"1s room:1 errored phx_error",
			"1s push 0 lost: channel_crashed, delivered: unknown",
		)
		if st, err := conn.Status(t.Context()); err != nil || st.Link != phoenix.StatusConnected || len(st.Channels) != 0 {
			t.Errorf("status %+v, error %v", st, err)
		}
	})
}

// "unmatched topic" for a joined channel means that the server lost it (rule 5).
func TestUnmatchedTopic(t *testing.T) {
	app := rooms(phoenixtest.ChannelFuncs{
		OnIn: func(s *phoenixtest.Socket, _ string, _ phoenixtest.Payload) phoenixtest.Result {
			s.Conn().SendText(fmt.Sprintf(`[null,%s,"room:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`,
				s.MessageRef()))
			return phoenixtest.NoReply()
		},
	})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient("room:1"))
		log := record(t, events)
		settle(time.Second)
		log.forget()
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "anything"})
		settle(5 * time.Second)
		log.want(
			"1s push 0 lost: unmatched_topic, delivered: no",
			"1s room:1 errored unmatched_topic, retry in 1s",
			"2s room:1 joining 2",
			"2s room:1 rejoined after 2s",
		)
	})
}

// The outstanding pushes of a lost link fail at once: those that were written, in doubt (rule 19).
func TestPushesOfLostLink(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient("room:1"))
		log := record(t, events)
		settle(time.Second)
		srv.Conns()[0].Stall()
		big := phoenix.JSON(`"` + strings.Repeat("x", 512<<10) + `"`)
		log.forget()
		for i := range 3 { // the first is still read by the server, the second blocks the writer
			send(t, conn, phoenix.Push{Topic: "room:1", Name: "echo", Index: i, Payload: big})
			settle(0)
		}
		srv.DropConns()
		settle(0)
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "echo", Index: 3})
		settle(0)
		log.want(
			"1s disconnected eof",
			"1s push 0 lost: disconnected, delivered: unknown",
			"1s push 1 lost: disconnected, delivered: unknown",
			"1s push 2 lost: disconnected, delivered: no",
			"1s room:1 errored disconnected, retry",
			"1s retry 1 in 1s",
			"1s push 3 lost: disconnected, delivered: no",
		)
	})
}

// A server that closes with 1009 has not taken the largest message, and it has read those before it: of the others nothing is known
// (rule 19). Where two are that large, or a larger one has ended without an answer, it is not known which one it was.
func TestPushTooBigForServer(t *testing.T) {
	room := phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
		OnIn: func(*phoenixtest.Socket, string, phoenixtest.Payload) phoenixtest.Result {
			return phoenixtest.NoReply()
		},
	})
	silent := socket(phoenixtest.UserSocket{Channels: []phoenixtest.Route{room}})
	push := func(index, size int) phoenix.Push {
		return phoenix.Push{Topic: "room:1", Name: "silent", Index: index, Payload: phoenix.JSON(`"` + strings.Repeat("x", size) + `"`)}
	}
	for name, c := range map[string]struct {
		compress bool
		early    int // the size of a push that has timed out by then; 0: none
		sizes    []int
		want     []string
	}{
		"the largest":     {sizes: []int{300, 2000, 100}, want: []string{"unknown", "no", "unknown"}},
		"two that large":  {sizes: []int{2000, 2000}, want: []string{"unknown", "unknown"}},
		"after a timeout": {early: 900, sizes: []int{300}, want: []string{"unknown"}},
		"compressed":      {compress: true, sizes: []int{2000, 100}, want: []string{"unknown", "unknown"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, silent, func(t *testing.T, srv *phoenixtest.Server) {
				o := phoenix.Options{Channels: topics("room:1"), Compress: c.compress}
				conn, events := start(t, srv, o)
				log := record(t, events)
				settle(time.Second)
				if c.early > 0 {
					early := push(9, c.early)
					early.Timeout = time.Second
					send(t, conn, early)
					settle(2 * time.Second)
				}
				// All are written before the server, which reads nothing any more, closes.
				srv.Conns()[0].Stall()
				for i, size := range c.sizes {
					send(t, conn, push(i, size))
				}
				settle(0)
				srv.CloseConns(1009)
				settle(time.Second)
				var got []string
				for _, e := range details[*phoenix.PushError](log) {
					got = append(got, string(e.Delivered))
					if (e.Delivered == phoenix.DeliveredNo) != e.TooBig || e.Size < c.sizes[e.Index] || e.Size > c.sizes[e.Index]+100 {
						t.Errorf("push %d: delivered %s, %d bytes, too big: %v", e.Index, e.Delivered, e.Size, e.TooBig)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("delivered: %q, want %q", got, c.want)
				}
				var link *phoenix.LinkError
				if !errors.As(conn.Err(), &link) || link.Unanswered < slices.Max(c.sizes) || link.Unanswered > slices.Max(append(c.sizes, c.early))+100 {
					t.Errorf("the largest message without an answer: %+v", link)
				}
			})
		})
	}
}

// A second join of a topic on the same socket closes the first: its phx_close comes behind the reply and is stale
// (rule 4). The broadcast has no join_ref and is not.
func TestStaleFramesAreDropped(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, patient("room:1"))
		log := record(t, events)
		settle(time.Second)
		log.forget()
		server := srv.Conns()[0]
		server.SendText(`["99","99","room:1","phx_close",{}]`)
		server.SendText(`["99","99","room:1","phx_error",{}]`)
		server.SendText(`["99",null,"room:1","stale",{}]`)
		server.SendText(`[null,null,"room:other","foreign",{}]`)
		server.SendText(`["1","77","room:1","phx_reply",{"status":"ok","response":{}}]`)
		server.SendText(`["1",null,"room:1","push",{}]`)
		server.SendText(`[null,null,"room:1","broadcast",{}]`)
		settle(time.Second)
		log.want(
			"1s room:1 push {}",
			"1s room:1 broadcast {}",
		)
	})
}

// Three retries against a dead server are three retries, with the delays that were asked for.
func TestRetriesExhausted(t *testing.T) {
	for _, c := range []struct {
		name    string
		backoff phoenix.Backoff
		delays  [3]time.Duration
	}{
		{"steps", phoenix.Steps(time.Second, 3*time.Second), [3]time.Duration{time.Second, 3 * time.Second, 3 * time.Second}},
		{"exponential", phoenix.Exponential(time.Second, 3*time.Second), [3]time.Duration{time.Second, 2 * time.Second, 3 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				srv.Stop()
				conn, events := start(t, srv, phoenix.Options{MaxRetries: 3, ReconnectAfter: c.backoff})
				log := record(t, events)
				begun := time.Now()
				<-conn.Done()
				if took := time.Since(begun); took != c.delays[0]+c.delays[1]+c.delays[2] {
					t.Errorf("gave up after %v", took)
				}
				if n := len(details[*phoenix.Connecting](log)); n != 4 {
					t.Errorf("%d dials, want 1 and 3 retries", n)
				}
				for i, r := range details[*phoenix.Reconnecting](log) {
					if r.Attempt != i+1 || r.Delay != c.delays[i] || r.MaxAttempts != 3 || r.Reason != phoenix.ReasonConnectRefused {
						t.Errorf("retry %d: %+v", i, r)
					}
				}
				exhausted := details[*phoenix.ReconnectExhausted](log)
				if len(exhausted) != 1 || exhausted[0].Attempts != 3 || exhausted[0].MaxAttempts != 3 {
					t.Errorf("exhausted: %+v", exhausted)
				}
				var link *phoenix.LinkError
				if !errors.As(conn.Err(), &link) || link.Reason != phoenix.ReasonConnectRefused {
					t.Errorf("error %v", conn.Err())
				}
			})
		})
	}
}

// Without retries there is nothing to be exhausted.
func TestNoRetries(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Stop()
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		<-conn.Done()
		log.want(
			"0s connecting 1",
			"0s disconnected connect_refused",
		)
	})
}

// Accept-then-close must not be hammered: the retries are counted on until a session has been stable (rule 14).
func TestAcceptThenClose(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			Channels: topics("room:1"), MaxRetries: 3, StableAfter: 10 * time.Second,
			ReconnectAfter: phoenix.Steps(time.Second, 2*time.Second, 4*time.Second),
		})
		log := record(t, events)
		for range 4 {
			settle(9 * time.Second)
			srv.CloseConns(1000)
			settle(0)
		}
		<-conn.Done()
		if n := srv.Stats().Connects; n != 4 {
			t.Errorf("%d sessions, want 4", n)
		}
		if len(details[*phoenix.ReconnectExhausted](log)) != 1 {
			t.Error("the retries were counted anew although no session was stable")
		}
	})
}

// A session that was up for StableAfter with every channel joined starts the count anew.
func TestStableSessionStartsAnew(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			Channels: topics("room:1"), MaxRetries: 1, StableAfter: 10 * time.Second, ReconnectAfter: phoenix.Steps(time.Second),
		})
		log := record(t, events)
		for range 5 {
			settle(12 * time.Second)
			srv.CloseConns(1012)
			settle(0)
		}
		settle(5 * time.Second)
		if st, err := conn.Status(t.Context()); err != nil || st.Link != phoenix.StatusConnected || st.Session != 6 {
			t.Errorf("status %+v, error %v", st, err)
		}
		for _, r := range details[*phoenix.Reconnecting](log) {
			if r.Attempt != 1 {
				t.Errorf("retry %d, want 1", r.Attempt)
			}
		}
	})
}

// One channel that is not joined keeps a link from being stable, however long it is up.
func TestUnjoinedChannelIsNotStable(t *testing.T) {
	app := socket(phoenixtest.UserSocket{Channels: []phoenixtest.Route{
		phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{}),
		phoenixtest.RouteFuncs("private:*", phoenixtest.ChannelFuncs{
			OnJoin: func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) {
				return nil, phoenixtest.RefuseJoin(nil)
			},
		}),
	}})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			Channels: topics("room:1", "private:1"), MaxRetries: 2, RetryRefusals: true,
			ReconnectAfter: phoenix.Steps(time.Second), RejoinAfter: phoenix.Steps(20 * time.Second),
		})
		record(t, events)
		for range 3 {
			settle(15 * time.Second)
			srv.CloseConns(1012)
			settle(0)
		}
		select {
		case <-conn.Done():
		default:
			t.Error("the retries were counted anew although a channel was not joined")
		}
	})
}

// FailFast retries nothing before everything has been joined once, and then as told.
func TestFailFast(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		options := phoenix.Options{
			Channels: topics("room:1"), FailFast: true, MaxRetries: 3, ReconnectAfter: phoenix.Steps(time.Second),
		}
		srv.Stop()
		conn, events := start(t, srv, options)
		log := record(t, events)
		<-conn.Done()
		log.want(
			"0s connecting 1",
			"0s disconnected connect_refused",
		)
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		_, events = start(t, srv, options)
		log = record(t, events)
		settle(time.Second)
		log.forget()
		srv.DropConns()
		settle(5 * time.Second)
		log.want(
			"1s disconnected eof",
			"1s room:1 errored disconnected, retry",
			"1s retry 1 in 1s",
			"2s connecting 2",
			"2s reconnected after 1s",
			"2s room:1 joining 1",
			"2s room:1 rejoined after 2s",
		)
	})
}

// A join that fails is not retried either, with FailFast.
func TestFailFastJoin(t *testing.T) {
	bubble(t, slowJoins(time.Minute), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{FailFast: true, MaxRetries: 3, ReplyTimeout: 5 * time.Second})
		record(t, events)
		_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"})
		var failed *phoenix.JoinError
		if !errors.As(err, &failed) || failed.Reason != phoenix.JoinTimeout {
			t.Errorf("error %v", err)
		}
	})
}

// What a refusal is and what only means "later" (rule 16).
func TestRefusedDials(t *testing.T) {
	refused := func(status int, retryAfter string) *phoenixtest.Refusal {
		r := &phoenixtest.Refusal{Status: status, Header: http.Header{}, Body: "go away"}
		if retryAfter != "" {
			r.Header.Set("Retry-After", retryAfter)
		}
		return r
	}
	for _, c := range []struct {
		name          string
		refusal       *phoenixtest.Refusal
		retryRefusals bool
		want          []string
	}{
		{"403", refused(403, ""), false, []string{"0s connecting 1", "0s disconnected refused 403"}},
		{"404", refused(404, ""), false, []string{"0s connecting 1", "0s disconnected refused 404"}},
		{"403, retried", refused(403, ""), true, []string{
			"0s connecting 1", "0s disconnected refused 403", "0s retry 1 in 1s",
			"1s connecting 2", "1s disconnected refused 403", "1s exhausted after 1 of 1",
		}},
		{"503", refused(503, ""), false, []string{
			"0s connecting 1", "0s disconnected refused 503", "0s retry 1 in 1s",
			"1s connecting 2", "1s disconnected refused 503", "1s exhausted after 1 of 1",
		}},
		{"429 with Retry-After", refused(429, "7"), false, []string{
			"0s connecting 1", "0s disconnected refused 429", "0s retry 1 in 7s",
			"7s connecting 2", "7s disconnected refused 429", "7s exhausted after 1 of 1",
		}},
		{"Retry-After below the backoff", refused(503, "0"), false, []string{
			"0s connecting 1", "0s disconnected refused 503", "0s retry 1 in 1s",
			"1s connecting 2", "1s disconnected refused 503", "1s exhausted after 1 of 1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				srv.Refuse(c.refusal)
				conn, events := start(t, srv, phoenix.Options{
					MaxRetries: 1, RetryRefusals: c.retryRefusals, ReconnectAfter: phoenix.Steps(time.Second), NoJitter: true,
				})
				log := record(t, events)
				<-conn.Done()
				log.want(c.want...)
				var link *phoenix.LinkError
				if !errors.As(conn.Err(), &link) || link.Stage != phoenix.StageUpgrade ||
					link.HTTPStatus != c.refusal.Status || link.Body != "go away" {
					t.Errorf("error %+v", conn.Err())
				}
			})
		})
	}
}

// Clients that were all told to come back after the same time come back spread over half of it, and none before it (rule 29). The
// longest outage bounds even that.
func TestRetryAfterIsSpread(t *testing.T) {
	delays := map[time.Duration]bool{}
	for range 20 {
		bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
			refusal := &phoenixtest.Refusal{Status: 503, Header: http.Header{"Retry-After": {"60"}}}
			srv.Refuse(refusal)
			begun := time.Now()
			conn, events := start(t, srv, phoenix.Options{MaxRetries: -1, MaxOutage: 100 * time.Second})
			log := record(t, events)
			<-conn.Done()
			if took := time.Since(begun); took != 100*time.Second {
				t.Errorf("it was tried for %v, want 100s", took)
			}
			retries := details[*phoenix.Reconnecting](log)
			if len(retries) == 0 || retries[0].Delay < time.Minute || retries[0].Delay > 90*time.Second {
				t.Fatalf("retries %+v, want the first in 60 to 90 s", retries)
			}
			delays[retries[0].Delay] = true
			if ends := details[*phoenix.ReconnectExhausted](log); len(ends) != 1 {
				t.Errorf("%d ends of the retries, want one", len(ends))
			}
		})
	}
	if len(delays) < 5 {
		t.Errorf("20 clients came back at %d different times", len(delays))
	}
}

// Once it has been up, a connection is refused like any other outage: a proxy does that at each deploy (rule 27). So is the rejoin of a
// channel that crashes for a while.
func TestRefusalAfterSuccess(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Second), MaxOutage: time.Hour})
		log := record(t, events)
		join(t, conn, "room:1")
		srv.Refuse(&phoenixtest.Refusal{Status: 404})
		srv.CloseConns(1012)
		settle(10 * time.Second)
		if n := len(details[*phoenix.Disconnected](log)); n < 5 {
			t.Fatalf("%d ends of dials and sessions in 10 s, want more: a refusal has ended the retries", n)
		}
		srv.Refuse(nil)
		settle(2 * time.Second)
		if joined := details[*phoenix.Joined](log); len(joined) != 2 || joined[1].Gap < 10*time.Second {
			t.Errorf("joins %+v, want a second one after a gap of 10 s or more", joined)
		}
	})
}

// A stuckConn writes nothing from when stuck is set until it is released or closed.
type stuckConn struct {
	net.Conn
	stuck    *atomic.Bool
	released <-chan struct{}
	once     sync.Once
	closed   chan struct{}
}

func (c *stuckConn) Buffered() int { return c.Conn.(interface{ Buffered() int }).Buffered() }

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

// Credentials are read at every dial, params at every join, so that tokens can rotate (rule 16).
func TestCredentialsAndParamsRotate(t *testing.T) {
	var seen []string
	app := socket(phoenixtest.UserSocket{
		AuthToken: true,
		Connect: func(info *phoenixtest.ConnectInfo) error {
			seen = append(seen, fmt.Sprint("dial ", info.Params["user"], info.Headers["x-key"], *info.AuthToken))
			return nil
		},
		Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
			OnJoin: func(_ *phoenixtest.Socket, params phoenixtest.Payload) (any, error) {
				seen = append(seen, "join "+string(params.Bytes()))
				return nil, nil
			},
			OnIn: func(*phoenixtest.Socket, string, phoenixtest.Payload) phoenixtest.Result {
				return phoenixtest.Stop("normal")
			},
		})},
	})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		dials, joins := 0, 0
		o := patient()
		o.Credentials = func(context.Context) (phoenix.Credentials, error) {
			dials++
			n := fmt.Sprint(dials)
			return phoenix.Credentials{
				Params: url.Values{"user": {"u" + n}}, Header: http.Header{"X-Key": {"k" + n}}, AuthToken: "t" + n, HasAuthToken: true,
			}, nil
		}
		o.Channels = []phoenix.Channel{{Topic: "room:1", Params: func(context.Context) (phoenix.Payload, error) {
			joins++
			return phoenix.JSON(fmt.Sprintf(`{"token":%d}`, joins)), nil
		}}}
		conn, events := start(t, srv, o)
		record(t, events)
		settle(time.Second)
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "close"})
		settle(5 * time.Second)
		srv.DropConns()
		settle(5 * time.Second)
	})
	want := `[dial u1k1t1 join {"token":1} join {"token":2} dial u2k2t2 join {"token":3}]`
	if got := fmt.Sprint(seen); got != want {
		t.Errorf("the server saw %s\nwant           %s", got, want)
	}
}

// A socket without auth_token answers without a subprotocol: not an error (rule 24).
func TestAuthTokenIsIgnored(t *testing.T) {
	bubble(t, rooms(phoenixtest.ChannelFuncs{}), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{Credentials: func(context.Context) (phoenix.Credentials, error) {
			return phoenix.Credentials{AuthToken: "tök", HasAuthToken: true}, nil
		}})
		if err := conn.Start(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Credentials that cannot be read fail the dial, which is retried: a file may be there again the next time.
func TestCredentialsFail(t *testing.T) {
	broken := errors.New("no such file")
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var calls atomic.Int32
		conn, events := start(t, srv, phoenix.Options{
			MaxRetries: 1, ReconnectAfter: phoenix.Steps(time.Second),
			Credentials: func(context.Context) (phoenix.Credentials, error) {
				calls.Add(1)
				return phoenix.Credentials{}, broken
			},
		})
		log := record(t, events)
		<-conn.Done()
		if !errors.Is(conn.Err(), broken) || calls.Load() != 2 {
			t.Errorf("error %v after %d calls", conn.Err(), calls.Load())
		}
		for _, d := range details[*phoenix.Disconnected](log) {
			if d.Text != broken.Error() {
				t.Errorf("the event says %q", d.Text)
			}
		}
		if srv.Stats().Attempts != 0 {
			t.Error("dialed without credentials")
		}
	})
}

// Params that cannot be read fail the join, and nothing hangs; nor do those that no server takes (rule 12).
func TestParamsFail(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{ReplyTimeout: 5 * time.Second})
		record(t, events)
		read := func(p phoenix.Payload, err error) func(context.Context) (phoenix.Payload, error) {
			return func(context.Context) (phoenix.Payload, error) { return p, err }
		}
		for name, params := range map[string]func(context.Context) (phoenix.Payload, error){
			"an error": read(phoenix.Payload{}, errors.New("no such file")),
			"null":     read(phoenix.JSON(`null`), nil),
			"a list":   read(phoenix.JSON(`[]`), nil),
			"no JSON":  read(phoenix.JSON(`{`), nil),
			"a wait": func(ctx context.Context) (phoenix.Payload, error) {
				<-ctx.Done()
				return phoenix.Payload{}, ctx.Err()
			},
		} {
			_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1", Params: params})
			var failed *phoenix.JoinError
			if !errors.As(err, &failed) || failed.Reason != phoenix.JoinRefused || failed.Err == nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := srv.Stats().Joins; n != 0 {
			t.Errorf("%d joins on the wire, want none", n)
		}
		for name, params := range map[string]func(context.Context) (phoenix.Payload, error){
			"nothing":     read(phoenix.Payload{}, nil),
			"white space": read(phoenix.JSON("\n {\"a\":1}"), nil),
			"bytes":       read(phoenix.Binary([]byte{0}), nil),
		} {
			if _, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:" + name, Params: params}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Params that are still being read when the channel is left, or the link lost, are of no use any more.
func TestParamsTooLate(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		go func() {
			_, _ = conn.Join(t.Context(), phoenix.Channel{Topic: "room:1", Params: func(context.Context) (phoenix.Payload, error) {
				time.Sleep(2 * time.Second)
				return phoenix.Payload{}, nil
			}})
		}()
		settle(time.Second)
		log.forget()
		if err := conn.Leave(t.Context(), "room:1"); err != nil {
			t.Error(err)
		}
		settle(5 * time.Second)
		log.want("1s room:1 left")
		if n := srv.Stats().Joins; n != 0 {
			t.Errorf("%d joins on the wire, want none", n)
		}
	})
}
