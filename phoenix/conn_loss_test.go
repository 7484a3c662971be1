package phoenix_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

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
					"11s room:1 rejoined after 1s",
					"11s room:2 rejoined after 1s",
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
			}, phoenixtest.WithFlavor(c.flavor))
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
			case phoenix.Message:
				ticks = append(ticks, string(e.Payload.Data))
			case *phoenix.Joined:
				if d.Rejoin && d.Gap != 11*time.Second {
					t.Errorf("gap of %v, want 11s", d.Gap)
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
					"2s room:1 rejoined after 1s",
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
			"2s room:1 rejoined after 1s",
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
