package phoenix_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// TestOnJoin: the pushes of OnJoin are the first of the channel after each join, before one that waited for it. One that is refused makes
// the join a failure that is retried; what was missed began before the first of these.
func TestOnJoin(t *testing.T) {
	var frames []string
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		if text := string(f.Data); f.FromClient && !strings.Contains(text, "heartbeat") {
			frames = append(frames, text)
		}
	})
	refusals := 2
	app := rooms(phoenixtest.ChannelFuncs{
		OnIn: func(s *phoenixtest.Socket, event string, p phoenixtest.Payload) phoenixtest.Result {
			if event != "subscribe" {
				return phoenixtest.OK(nil)
			}
			if refusals--; refusals == 0 || refusals == -1 { // at the second and the third join
				return phoenixtest.Error(phoenixtest.Map{"reason": "busy"})
			}
			return phoenixtest.OK(nil)
		},
	})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		calls := 0
		conn, events := start(t, srv, phoenix.Options{
			MaxRetries: 3, ReconnectAfter: phoenix.Steps(time.Second), RejoinAfter: phoenix.Steps(2 * time.Second), NoJitter: true,
			Channels: []phoenix.Channel{{
				Topic: "room:1",
				Params: func(context.Context) (phoenix.Payload, error) {
					time.Sleep(time.Second) // so that a push has to wait
					return phoenix.JSON(`{"a":"<","since":0}`), nil
				},
				OnJoin: func(context.Context) ([]phoenix.Push, error) {
					calls++
					return []phoenix.Push{{Name: "subscribe", Payload: phoenix.JSON(fmt.Sprintf(`{"call":%d}`, calls))}, {Name: "second"}}, nil
				},
				Resume: func(context.Context) (json.RawMessage, error) {
					if calls == 1 {
						return nil, nil
					}
					return json.RawMessage(`{"since":1.0}`), nil
				},
			}},
		})
		var joins []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ev := range events.All(t.Context()) {
				switch d := ev.Detail.(type) {
				case *phoenix.Joined:
					joins = append(joins, fmt.Sprintf("joined rejoin=%v gap=%v resumed=%s on_join=%d", d.Rejoin, d.Gap, d.Resumed, d.OnJoin))
				case *phoenix.PushReply:
					joins = append(joins, fmt.Sprintf("reply %s %s on_join=%v", ev.Name, d.Status, d.OnJoin))
				case *phoenix.PushError:
					joins = append(joins, fmt.Sprintf("error %s %s on_join=%v", ev.Name, d.Reason, d.OnJoin))
				case *phoenix.Errored:
					joins = append(joins, fmt.Sprintf("errored %s will=%v in=%v", d.Reason, d.Will, d.In))
				}
			}
		}()
		settle(time.Millisecond)
		if _, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "waited"}); err != nil {
			t.Error(err)
		}
		settle(time.Second)
		srv.DropConns()
		settle(20 * time.Second)
		status, err := conn.Status(t.Context())
		if err != nil || len(status.Channels) != 1 || status.Channels[0].State != "joined" || status.Channels[0].Unanswered != 0 {
			t.Errorf("status %+v, %v", status, err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		<-done
		want := []string{
			"joined rejoin=false gap=0s resumed= on_join=2",
			"reply subscribe ok on_join=true",
			"reply second ok on_join=true",
			"reply waited ok on_join=false",
			"errored disconnected will=true in=0s",
			`joined rejoin=true gap=3s resumed={"since":1.0} on_join=2`,
			"reply subscribe error on_join=true",
			"errored on_join will=true in=2s",
			"error second cancelled on_join=true",
			`joined rejoin=true gap=6s resumed={"since":1.0} on_join=2`,
			"reply subscribe error on_join=true",
			"errored on_join will=true in=2s",
			"error second cancelled on_join=true",
			`joined rejoin=true gap=9s resumed={"since":1.0} on_join=2`,
			"reply subscribe ok on_join=true",
			"reply second ok on_join=true",
			"errored disconnected will=false in=0s",
		}
		if strings.Join(joins, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(joins, "\n"), strings.Join(want, "\n"))
		}
	}, tap)
	want := []string{
		`["1","1","room:1","phx_join",{"a":"<","since":0}]`, `["1","2","room:1","subscribe",{"call":1}]`, `["1","3","room:1","second",{}]`, `["1","4","room:1","waited",{}]`,
		`["5","5","room:1","phx_join",{"a":"\u003c","since":1.0}]`, `["5","6","room:1","subscribe",{"call":2}]`, `["5","7","room:1","second",{}]`, `["5","8","room:1","phx_leave",{}]`,
	}
	if len(frames) < len(want) || strings.Join(frames[:len(want)], "\n") != strings.Join(want, "\n") {
		t.Errorf("frames\n%s\nwant\n%s", strings.Join(frames, "\n"), strings.Join(want, "\n"))
	}
}
