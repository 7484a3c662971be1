package phoenix_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

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
