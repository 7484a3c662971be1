package phoenix_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
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
	app := socket(phoenixtest.UserSocket{Channels: []phoenixtest.Route{
		phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{}),
		phoenixtest.RouteFuncs("full:*", phoenixtest.ChannelFuncs{
			OnJoin: func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) {
				return nil, phoenixtest.RefuseJoin(phoenixtest.Map{"reason": "too many channels joined"})
			},
		}),
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
			{"full:1", phoenix.JoinTooManyChannels}, // on another socket, too, which has none
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

// A leave that is never answered ends with the reply timeout (rule 8).
func TestLeaveWithoutAnswer(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{ReplyTimeout: 3 * time.Second, HeartbeatInterval: time.Hour})
		log := record(t, events)
		join(t, conn, "room:1")
		log.forget()
		srv.BlackHole()
		settle(time.Second)
		if err := conn.Leave(t.Context(), "room:1"); err != nil {
			t.Error(err)
		}
		log.want("4s room:1 left")
	})
}

// A leave fails the pushes that still wait (PROTOCOL.md, section 6: their replies never come).
func TestLeaveCancelsPushes(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		join(t, conn, "room:1")
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "silent", Index: 7})
		log.forget()
		if err := conn.Leave(t.Context(), "room:1"); err != nil {
			t.Error(err)
		}
		log.want(
			"0s push 7 lost: cancelled, delivered: unknown",
			"0s room:1 left",
		)
		if err := conn.Leave(t.Context(), "room:1"); !errors.Is(err, phoenix.ErrNotJoined) {
			t.Errorf("leaving twice: %v", err)
		}
		if _, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "echo"}); err == nil {
			t.Error("a push on a topic that was left had a reply")
		}
	})
}

// A topic that is joined again while it is being left is joined after the leave.
func TestJoinWhileLeaving(t *testing.T) {
	bubble(t, slowJoins(time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		conn, log := leaving(t, srv)
		join(t, conn, "room:1")
		log.want(
			"2s room:2 joined {}",
			"2s room:1 left",
			"2s room:1 joining 1",
			"3s room:1 joined {}",
		)
	})
}

// When the link is lost in between, the next session joins it, and only once (rule 18).
func TestLinkLostWhileLeaving(t *testing.T) {
	bubble(t, slowJoins(time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		conn, log := leaving(t, srv)
		joined := make(chan error, 1)
		go func() {
			_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"})
			joined <- err
		}()
		synctest.Wait()
		srv.DropConns()
		if err := <-joined; err != nil {
			t.Error(err)
		}
		log.want(
			"1s disconnected eof",
			"1s room:1 left",
			"1s retry 1 in 1s",
			"2s connecting 2",
			"2s reconnected after 1s",
			"2s room:2 joining 1",
			"2s room:1 joining 1",
			"3s room:2 joined {}",
			"4s room:1 joined {}",
		)
	})
}

// leaving returns a connection that has begun to leave room:1; the slow join of room:2 holds up the answer.
func leaving(t *testing.T, srv *phoenixtest.Server) (*phoenix.Conn, *recorder) {
	t.Helper()
	conn, events := start(t, srv, phoenix.Options{MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Second)})
	log := record(t, events)
	join(t, conn, "room:1")
	go func() { _, _ = conn.Join(t.Context(), phoenix.Channel{Topic: "room:2"}) }()
	synctest.Wait()
	go func() { _ = conn.Leave(t.Context(), "room:1") }()
	synctest.Wait()
	log.forget()
	return conn, log
}

// A leave takes back a join that is on its way, and the call that waits for it.
func TestLeaveWhileJoining(t *testing.T) {
	bubble(t, slowJoins(time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		joined := make(chan error, 1)
		go func() {
			_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"})
			joined <- err
		}()
		synctest.Wait()
		if err := conn.Leave(t.Context(), "room:1"); err != nil {
			t.Error(err)
		}
		if err := <-joined; !errors.Is(err, phoenix.ErrNotJoined) {
			t.Errorf("the join ended with %v", err)
		}
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:1 joining 1",
			"1s room:1 left",
		)
	})
}

// A push without a reply times out; the reply that comes late is no event (rule 6).
func TestPushTimeoutAndLateReply(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{ReplyTimeout: 2 * time.Second})
		log := record(t, events)
		join(t, conn, "room:1")
		log.forget()
		_, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "slow", Payload: phoenix.JSON(`{"ms":3000}`)})
		var timeout *phoenix.PushTimeout
		if !errors.As(err, &timeout) || timeout.Timeout != 2*time.Second {
			t.Errorf("error %v", err)
		}
		settle(time.Minute)
		log.want("2s push 0 timeout")
	})
}

// A push may have a timeout of its own, longer or shorter.
func TestPushWithItsOwnTimeout(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{ReplyTimeout: 2 * time.Second})
		log := record(t, events)
		join(t, conn, "room:1")
		log.forget()
		slow := phoenix.Push{Topic: "room:1", Name: "slow", Payload: phoenix.JSON(`{"ms":3000}`)}
		for i, timeout := range []time.Duration{5 * time.Second, time.Second, 0} {
			slow.Index, slow.Timeout = i, timeout
			send(t, conn, slow)
		}
		settle(time.Minute)
		log.want(
			"1s push 1 timeout",
			"2s push 2 timeout",
			`3s push 0 ok {"ms":3000}`,
		)
	})
}

// A status is any string and a response any JSON; the first of two replies counts (rule 6).
func TestRepliesOfAnyKind(t *testing.T) {
	app := rooms(phoenixtest.ChannelFuncs{
		OnIn: func(s *phoenixtest.Socket, event string, p phoenixtest.Payload) phoenixtest.Result {
			switch event {
			case "twice":
				s.Reply(s.Ref(), "first", nil)
				s.Reply(s.Ref(), "second", nil)
				return phoenixtest.NoReply()
			case "bytes":
				return phoenixtest.OK(phoenixtest.Binary(append([]byte{0xff}, p.Bytes()...)))
			}
			return phoenixtest.Reply("not now", phoenixtest.RawJSON(`[1.0, 12345678901234567890]`))
		},
	})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		join(t, conn, "room:1")
		log.forget()
		r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "any"})
		if err != nil || r.Status != "not now" || string(r.Payload.Data) != `[1.0, 12345678901234567890]` {
			t.Errorf("reply %+v, error %v", r, err)
		}
		r, err = conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "bytes", Payload: phoenix.Binary([]byte{0, 1})})
		if err != nil || !r.Payload.Binary || string(r.Payload.Data) != "\xff\x00\x01" {
			t.Errorf("reply %+v, error %v", r, err)
		}
		log.forget()
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "twice"})
		log.want("0s push 0 first {}")
	})
}

// Many callers at once, each gets the reply to its own push.
func TestConcurrentPushes(t *testing.T) {
	const callers, each = 50, 40
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		record(t, events)
		join(t, conn, "room:1")
		join(t, conn, "room:2")
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				for i := range each {
					text := fmt.Sprintf(`{"caller":%d,"i":%d}`, caller, i)
					topic := fmt.Sprintf("room:%d", 1+i%2)
					r, err := conn.Push(t.Context(), phoenix.Push{Topic: topic, Name: "echo", Payload: phoenix.JSON(text)})
					if err != nil || string(r.Payload.Data) != text {
						t.Errorf("reply %s to %s, error %v", r.Payload.Data, text, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// Pushes that come before the join's answer wait for it, in order; one without a join fails at once.
func TestPushBeforeJoined(t *testing.T) {
	echo := func(_ *phoenixtest.Socket, _ string, p phoenixtest.Payload) phoenixtest.Result {
		return phoenixtest.OK(p)
	}
	app := rooms(phoenixtest.ChannelFuncs{
		OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
			s.Sleep(3 * time.Second)
			return nil, nil
		},
		OnIn: echo,
	})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Channels: topics("room:1")})
		log := record(t, events)
		settle(time.Second)
		log.forget()
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "echo", Index: 1, Payload: phoenix.JSON("1")})
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "echo", Index: 2, Payload: phoenix.JSON("2")})
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "echo", Index: 3, Timeout: time.Second})
		send(t, conn, phoenix.Push{Topic: "room:2", Name: "echo", Index: 4})
		settle(10 * time.Second)
		log.want(
			"1s push 4 lost: not_joined, delivered: no",
			"2s push 3 timeout",
			"3s room:1 joined {}",
			"3s push 1 ok 1",
			"3s push 2 ok 2",
		)
	})
}

// A caller that gives up does not end its push: the stream tells how it ends.
func TestPushOutlivesItsContext(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		join(t, conn, "room:1")
		log.forget()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := conn.Push(ctx, phoenix.Push{Topic: "room:1", Name: "slow", Payload: phoenix.JSON(`{"ms":2000}`)})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		settle(5 * time.Second)
		log.want(`2s push 0 ok {"ms":2000}`)
	})
}

// What would make the server close the whole socket, or drop the push without an answer, is not sent (rule 12).
func TestPushesThatAreNotSent(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		join(t, conn, "room:1")
		log.forget()
		long := make([]byte, 256)
		for _, p := range []phoenix.Push{
			{Name: "echo"},
			{Topic: "room:1", Name: "phx_leave"},
			{Topic: "room:1", Name: "phx_reply"},
			{Topic: "room:1", Name: "echo", Payload: phoenix.JSON(`{"a":}`)},
			{Topic: "room:1", Name: "echo", Payload: phoenix.JSON(``)},
			{Topic: "room:1", Name: "echo", Payload: phoenix.JSON("\"\xff\"")},
			{Topic: "room:1", Name: string(long), Payload: phoenix.Binary(nil)},
			{Topic: "room:1", Name: "\xff"},
			{Topic: "room:\xff", Name: "echo"},
		} {
			var invalid *phoenix.InvalidError
			if err := conn.Send(t.Context(), p); !errors.As(err, &invalid) || invalid.Err == nil {
				t.Errorf("%q on %q with %q: error %v", p.Name, p.Topic, p.Payload.Data, err)
			}
		}
		log.want()
	})
}

// A batch sends its pushes in their order, without those that cannot be sent, and is empty afterwards, also when nothing is sent.
func TestPushBatch(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		join(t, conn, "room:1")
		log.forget()
		batch := conn.NewPushBatch()
		add := func(indexes ...int) {
			for _, i := range indexes {
				echo := phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON(fmt.Sprint(i)), Index: i}
				if err := batch.Add(echo); err != nil {
					t.Errorf("added %d: %v", i, err)
				}
			}
		}
		sent := func(want int) {
			if n := batch.Len(); n != want {
				t.Errorf("the batch has %d pushes, want %d", n, want)
			}
			if err := batch.Send(t.Context()); err != nil || batch.Len() != 0 {
				t.Errorf("%d pushes are left, error %v", batch.Len(), err)
			}
		}
		sent(0)
		add(3, 1)
		if err := batch.Add(phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON("{")}); !errors.As(err, new(*phoenix.InvalidError)) {
			t.Errorf("added what is not JSON: %v", err)
		}
		add(2)
		sent(3)
		add(4) // while the first may still be on their way
		sent(1)
		settle(time.Second)
		log.want("0s push 3 ok 3", "0s push 1 ok 1", "0s push 2 ok 2", "0s push 4 ok 4")

		add(5)
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := batch.Send(t.Context()); !errors.Is(err, phoenix.ErrClosed) || batch.Len() != 0 {
			t.Errorf("sent on a closed connection: %v, %d pushes are left", err, batch.Len())
		}
	})
}

// tellPresence tells of metas by their refs, and of what else the tests put into them.
func tellPresence(d phoenix.Detail) string {
	switch d := d.(type) {
	case *phoenix.PresenceJoin:
		return fmt.Sprintf("join %s %s", d.Key, d.Metas)
	case *phoenix.PresenceLeave:
		return fmt.Sprintf("leave %s %s", d.Key, d.Metas)
	case *phoenix.PresenceSync:
		return "sync " + string(d.State.AppendJSON(nil))
	}
	return ""
}

var phxRef = regexp.MustCompile(`"phx_ref(_prev)?":"([^"]*)"`)

// presenceLines are the lines of the recorder about presence:1, with the refs numbered in the order in which they came.
func (r *recorder) presenceLines() (lines []string) {
	refs := map[string]int{}
	for _, line := range r.take() {
		_, line, found := strings.Cut(line, " presence:1 ")
		if !found {
			continue
		}
		lines = append(lines, phxRef.ReplaceAllStringFunc(line, func(member string) string {
			match := phxRef.FindStringSubmatch(member)
			if refs[match[2]] == 0 {
				refs[match[2]] = len(refs) + 1
			}
			return fmt.Sprintf("ref%s:%d", match[1], refs[match[2]])
		}))
	}
	return lines
}

// present is a channel that is joined as user.
func present(user string) phoenix.Channel {
	params := phoenix.JSON(fmt.Sprintf(`{"user":%q}`, user))
	return phoenix.Channel{Topic: "presence:1", Params: func(context.Context) (phoenix.Payload, error) { return params, nil }}
}

// onlyPresence drops all messages.
func onlyPresence(_, _ []byte) bool { return true }

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// Two users, one of them twice, an update and a leave, as one of them sees it.
func TestPresenceOfTwoUsers(t *testing.T) {
	bubble(t, peer.App(), func(t *testing.T, srv *phoenixtest.Server) {
		o := phoenix.Options{Channels: []phoenix.Channel{present("alice")}, Presence: true, Skip: onlyPresence}
		_, events := start(t, srv, o)
		alice := record(t, events)
		settle(time.Second)
		bob := newConn(t, srv, phoenix.Options{Channels: []phoenix.Channel{present("bob")}})
		second := newConn(t, srv, phoenix.Options{Channels: []phoenix.Channel{present("alice")}})
		for _, conn := range []*phoenix.Conn{bob, second} {
			if err := conn.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
		}
		send(t, bob, phoenix.Push{Topic: "presence:1", Name: "update_meta", Payload: phoenix.JSON(`{"n":1.0}`)})
		settle(time.Second)
		for _, conn := range []*phoenix.Conn{second, bob} {
			if err := conn.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
		}
		wantLines(t, alice.presenceLines(),
			"joining 1",
			"joined {}",
			`join alice [{ref:1,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"}]}}`,
			`join bob [{ref:2,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"}]},"bob":{"metas":[{ref:2,"status":"online"}]}}`,
			`join alice [{ref:3,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"},{ref:3,"status":"online"}]},"bob":{"metas":[{ref:2,"status":"online"}]}}`,
			`join bob [{"n":1.0,ref:4,ref_prev:2,"status":"online"}]`,
			`leave bob [{ref:2,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"},{ref:3,"status":"online"}]},"bob":{"metas":[{"n":1.0,ref:4,ref_prev:2,"status":"online"}]}}`,
			`leave alice [{ref:3,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"}]},"bob":{"metas":[{"n":1.0,ref:4,ref_prev:2,"status":"online"}]}}`,
			`leave bob [{"n":1.0,ref:4,ref_prev:2,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"}]}}`,
		)
	})
}

// presenceServer joins presence:1 with a client that tracks presence, on a server that sends what send says.
func presenceServer(t *testing.T, o phoenix.Options, test func(srv *phoenixtest.Server, log *recorder, send func(frames ...string))) {
	bubble(t, socket(phoenixtest.UserSocket{Channels: []phoenixtest.Route{
		phoenixtest.RouteFuncs("presence:*", phoenixtest.ChannelFuncs{}),
	}}), func(t *testing.T, srv *phoenixtest.Server) {
		o.Channels, o.Presence, o.MaxRetries = topics("presence:1"), true, -1
		o.ReconnectAfter, o.RejoinAfter = phoenix.Steps(time.Second), phoenix.Steps(time.Second)
		_, events := start(t, srv, o)
		log := record(t, events)
		settle(time.Second)
		log.forget()
		test(srv, log, func(frames ...string) {
			for _, text := range frames {
				srv.Conns()[len(srv.Conns())-1].SendText(text)
			}
			settle(time.Second)
		})
	})
}

// Signals come directly behind their message, numbered like all, with its refs; in what is filtered they still come.
func TestPresenceOrderAndNumbers(t *testing.T) {
	skip := func(_, event []byte) bool { return string(event) == "presence_diff" }
	presenceServer(t, phoenix.Options{Skip: skip}, func(_ *phoenixtest.Server, log *recorder, send func(...string)) {
		send(
			`["1",null,"presence:1","presence_state",{"b":{"metas":[{"phx_ref":"2"}]},"a":{"metas":[{"phx_ref":"1"}]}}]`,
			`[null,null,"presence:1","between",{}]`,
			`[null,null,"presence:1","presence_diff",{"joins":{"c":{"metas":[{"phx_ref":"3"}]}},"leaves":{"a":{"metas":[{"phx_ref":"1"}]}}}]`,
			`[null,null,"presence:1","presence_diff",{"joins":{},"leaves":{}}]`,
			`[null,null,"presence:1","after",{}]`,
		)
		var got []string
		for _, e := range log.all() {
			got = append(got, fmt.Sprintf("%d %s|%s %s", e.Seq, e.JoinRef, e.Ref, tell(&e)))
		}
		wantLines(t, got,
			`5 1| presence:1 presence_state {"b":{"metas":[{"phx_ref":"2"}]},"a":{"metas":[{"phx_ref":"1"}]}}`,
			`6 1| presence:1 join a [{"phx_ref":"1"}]`,
			`7 1| presence:1 join b [{"phx_ref":"2"}]`,
			`8 1| presence:1 sync {"a":{"metas":[{"phx_ref":"1"}]},"b":{"metas":[{"phx_ref":"2"}]}}`,
			`9 | presence:1 between {}`, // 10 is the diff
			`11 | presence:1 join c [{"phx_ref":"3"}]`,
			`12 | presence:1 leave a [{"phx_ref":"1"}]`,
			`13 | presence:1 sync {"b":{"metas":[{"phx_ref":"2"}]},"c":{"metas":[{"phx_ref":"3"}]}}`,
			`15 | presence:1 after {}`,
		)
	})
}

// After a loss of the link the next state tells who came and went meanwhile; diffs of the lost session do not count.
func TestPresenceOverReconnect(t *testing.T) {
	presenceServer(t, phoenix.Options{Skip: onlyPresence}, func(srv *phoenixtest.Server, log *recorder, send func(...string)) {
		send(
			`["1",null,"presence:1","presence_state",{"a":{"metas":[{"phx_ref":"1"}]},"b":{"metas":[{"phx_ref":"2"}]}}]`,
		)
		srv.DropConns()
		settle(3 * time.Second)
		log.forget()
		send(
			`[null,null,"presence:1","presence_diff",{"joins":{"d":{"metas":[{"phx_ref":"4"}]}},"leaves":{}}]`,
			`["1",null,"presence:1","presence_state",{}]`, // of the first join: stale
		)
		wantLines(t, log.presenceLines())
		send(`["2",null,"presence:1","presence_state",{"b":{"metas":[{"phx_ref":"2"}]},"c":{"metas":[{"phx_ref":"3"}]}}]`)
		wantLines(t, log.presenceLines(),
			"join c [{ref:1}]",
			"join d [{ref:2}]",
			"leave a [{ref:3}]",
			`sync {"b":{"metas":[{ref:4}]},"c":{"metas":[{ref:1}]},"d":{"metas":[{ref:2}]}}`,
		)
	})
}

// What is no presence payload is reported and never fatal; it is still the message that it is.
func TestPresenceMalformedIsReported(t *testing.T) {
	var logged strings.Builder
	presenceServer(t, phoenix.Options{Logger: warnings(&logged)}, func(srv *phoenixtest.Server, log *recorder, send func(...string)) {
		send(
			`["1",null,"presence:1","presence_state",[]]`,
			`["1",null,"presence:1","presence_state",{"a":{"metas":[{"phx_ref":"1"}]}}]`,
			`[null,null,"presence:1","presence_diff",{"joins":{"b":{"metas":[{"phx_ref":"2"}]}},"leaves":{"a":[]}}]`,
			`[null,null,"presence:1","presence_diff",{"joins":{},"leaves":{"a":{"metas":[{"phx_ref":"1"}]}}}]`,
		)
		srv.Conns()[0].SendBinary([]byte("\x02\x0a\x0dpresence:1presence_diff\x00"))
		settle(time.Second)
		wantLines(t, log.presenceLines(),
			`presence_state []`,
			`presence_state {"a":{"metas":[{ref:1}]}}`,
			`join a [{ref:1}]`,
			`sync {"a":{"metas":[{ref:1}]}}`,
			`presence_diff {"joins":{"b":{"metas":[{ref:2}]}},"leaves":{"a":[]}}`,
			`presence_diff {"joins":{},"leaves":{"a":{"metas":[{ref:1}]}}}`,
			`leave a [{ref:1}]`,
			`sync {}`,
			"presence_diff \x00",
		)
		if got := strings.Count(logged.String(), "a presence message was not taken"); got != 3 {
			t.Errorf("%d reports, want 3:\n%s", got, &logged)
		}
	})
}

// Without the option, presence messages are messages and no more.
func TestPresenceIsOptIn(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{Channels: []phoenix.Channel{present("ada")}})
		log := record(t, events)
		settle(time.Second)
		for _, e := range log.all() {
			if _, isJoining := e.Detail.(*phoenix.PresenceJoin); isJoining || e.Seq > 6 {
				t.Errorf("event %d: %s", e.Seq, tell(&e))
			}
		}
	})
}

// What an event holds of a presence stays valid when the buffers of its message are used again.
func TestPresenceStaysValid(t *testing.T) {
	presenceServer(t, phoenix.Options{}, func(_ *phoenixtest.Server, log *recorder, send func(...string)) {
		const members = 200
		send(`["1",null,"presence:1","presence_state",{}]`)
		for i := range members {
			send(fmt.Sprintf(`[null,null,"presence:1","presence_diff",{"joins":{"user %d":{"metas":[{"phx_ref":"%[1]d"}]}},"leaves":{}}]`, i))
		}
		joins, syncs := details[*phoenix.PresenceJoin](log), details[*phoenix.PresenceSync](log)
		if len(joins) != members || len(syncs) != members+1 {
			t.Fatalf("%d joins, %d syncs", len(joins), len(syncs))
		}
		for i, join := range joins {
			if want := fmt.Sprintf(`{"phx_ref":"%d"}`, i); join.Key != fmt.Sprintf("user %d", i) || string(join.Metas[0]) != want {
				t.Errorf("join %d: %s", i, tellPresence(join))
			}
			var state map[string]json.RawMessage
			if err := json.Unmarshal(syncs[i+1].State.AppendJSON(nil), &state); err != nil || len(state) != i+1 {
				t.Errorf("sync %d has %d keys, error %v", i+1, len(state), err)
			}
		}
	})
}

// A message that is filtered is checked like any other when presence is tracked: what comes of it fits on a line.
func TestPresenceOfFilteredMessages(t *testing.T) {
	var logged strings.Builder
	o := phoenix.Options{Skip: onlyPresence, Logger: warnings(&logged)}
	presenceServer(t, o, func(_ *phoenixtest.Server, log *recorder, send func(...string)) {
		send(
			"[\"1\",null,\"presence:1\",\"presence_state\",{\"a\":\n{\"metas\":[{\"phx_ref\":\n\"1\"}]}}]",
			`[null,null,"presence:1","presence_diff",{"joins":{"b":{"metas":[{"phx_ref":"2"}]}},"leaves":{}} cut]`,
		)
		wantLines(t, log.presenceLines(),
			`join a [{ref:1}]`,
			`sync {"a":{"metas":[{ref:1}]}}`,
		)
		if !strings.Contains(logged.String(), "could not be read") {
			t.Errorf("logged: %s", &logged)
		}
	})
}

// A push with NoReply has no event when it is written, whether it is answered or not, and one when it is not. Its replies are not
// logged; a leave behind it is confirmed when the channel has handled it.
func TestPushWithoutReply(t *testing.T) {
	var got atomic.Int32
	var log strings.Builder
	app := rooms(phoenixtest.ChannelFuncs{OnIn: func(s *phoenixtest.Socket, event string, p phoenixtest.Payload) phoenixtest.Result {
		got.Add(1)
		return phoenixtest.OK(nil)
	}})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		o := patient("room:1")
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		conn, events := start(t, srv, o)
		told := record(t, events)
		settle(time.Second)
		told.forget()
		log.Reset()
		for range 100 {
			send(t, conn, phoenix.Push{Topic: "room:1", Name: "x", NoReply: true})
		}
		left, err := conn.LeaveEvent(t.Context(), "room:1")
		if err != nil || !left.Detail.(*phoenix.Left).Confirmed || got.Load() != 100 {
			t.Errorf("the channel has %d: %+v, %v", got.Load(), left.Detail, err)
		}
		send(t, conn, phoenix.Push{Topic: "room:2", Name: "x", NoReply: true, Index: 7})
		settle(time.Minute)
		told.want("1s room:1 left", "1s push 7 lost: not_joined, delivered: no")
		if log.Len() > 0 {
			t.Errorf("log\n%s", log.String())
		}
		if _, err := conn.PushEvent(t.Context(), phoenix.Push{Topic: "room:1", Name: "x", NoReply: true}); !errors.As(err, new(*phoenix.InvalidError)) {
			t.Errorf("PushEvent: %v", err)
		}
	})
}

// A leave that is not answered in time is over, and not confirmed.
func TestLateLeaveIsNotConfirmed(t *testing.T) {
	app := rooms(phoenixtest.ChannelFuncs{OnIn: func(s *phoenixtest.Socket, _ string, _ phoenixtest.Payload) phoenixtest.Result {
		s.Sleep(time.Hour)
		return phoenixtest.NoReply()
	}})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{ReplyTimeout: 4 * time.Second})
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		join(t, conn, "room:1")
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "x", NoReply: true})
		left, err := conn.LeaveEvent(t.Context(), "room:1")
		if err != nil || left.Detail.(*phoenix.Left).Confirmed {
			t.Errorf("%+v, %v", left.Detail, err)
		}
	})
}

// Nobody waits for the reply to a push with NoReply, but the one that says that the server has lost the channel is heard.
func TestPushWithoutReplyFindsALostChannel(t *testing.T) {
	app := rooms(phoenixtest.ChannelFuncs{OnIn: func(*phoenixtest.Socket, string, phoenixtest.Payload) phoenixtest.Result {
		return phoenixtest.NoReply()
	}})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient("room:1"))
		told := record(t, events)
		settle(time.Second)
		told.forget()
		ref, err := conn.SendRef(t.Context(), phoenix.Push{Topic: "room:1", Name: "x", NoReply: true})
		if err != nil {
			t.Fatal(err)
		}
		srv.Conns()[0].SendText(`[null,"` + ref + `","room:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		settle(time.Minute)
		told.want(
			"1s room:1 errored unmatched_topic, retry in 1s",
			"2s room:1 joining 2",
			"2s room:1 rejoined after 2s",
		)
	})
}
