package phoenix_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// The calls that return their answer as an event return the one that the stream has, and it stays what it is.
func TestEventsOfCalls(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, stream := start(t, srv, phoenix.Options{})
		log := record(t, stream)
		ctx := t.Context()
		var got []phoenix.Event
		keep := func(e phoenix.Event, err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
			got = append(got, e)
		}
		keep(conn.JoinEvent(ctx, phoenix.Channel{Topic: "room:1"}))
		keep(conn.JoinEvent(ctx, phoenix.Channel{Topic: "room:private"}))
		for i, name := range []string{"echo", "silent", "crash"} {
			keep(conn.PushEvent(ctx, phoenix.Push{
				Topic: "room:1", Name: name, Payload: phoenix.JSON(`{"a":1.0}`), Index: i, Timeout: time.Second,
			}))
			if name == "silent" {
				keep(conn.LeaveEvent(ctx, "room:1"))
				join(t, conn, "room:1")
			}
		}
		join(t, conn, "room:2")
		for range 100 { // what would overwrite a payload that is not a clone
			over := phoenix.Push{Topic: "room:2", Name: "echo", Payload: phoenix.JSON(strings.Repeat(" ", 100) + `{"overwritten":true}`)}
			if _, err := conn.Push(ctx, over); err != nil {
				t.Fatal(err)
			}
		}
		bySeq := map[uint64]phoenix.Event{}
		for _, e := range log.all() {
			bySeq[e.Seq] = e
		}
		var told []string
		for _, e := range got {
			told = append(told, tell(&e))
			if streamed := bySeq[e.Seq]; tell(&streamed) != tell(&e) || streamed.Ref != e.Ref || streamed.JoinRef != e.JoinRef {
				t.Errorf("event %+v, but the stream has %+v", e, streamed)
			}
		}
		want := "[room:1 joined {} room:private join_error 1 error push 0 ok {\"a\":1.0} push 1 timeout room:1 left " +
			"push 2 lost: channel_crashed, delivered: unknown]"
		if fmt.Sprint(told) != want {
			t.Errorf("events %s\nwant   %s", told, want)
		}
	})
}

// The response in a JoinError lies in a buffer of the connection; a clone has its own.
func TestEventsAreClones(t *testing.T) {
	response := []byte(`{"reason":"no"}`)
	e := phoenix.Event{
		Payload: phoenix.Payload{Data: response},
		Detail:  &phoenix.JoinError{Topic: "room:1", Response: phoenix.Payload{Data: response}},
	}
	c := e.Clone()
	copy(response, "overwritten....")
	if d := c.Detail.(*phoenix.JoinError); string(c.Payload.Data) != `{"reason":"no"}` || string(d.Response.Data) != `{"reason":"no"}` {
		t.Errorf("payload %s, response %s", c.Payload.Data, d.Response.Data)
	}
}

// JoinEvent returns the first answer, Join the last; the topic stays wanted.
func TestJoinEventIsTheFirstAnswer(t *testing.T) {
	bubble(t, slowJoins(4*time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			ReplyTimeout: 3 * time.Second, MaxRetries: 1, RejoinAfter: phoenix.Steps(5 * time.Second),
		})
		record(t, events)
		begun := time.Now()
		e, err := conn.JoinEvent(t.Context(), phoenix.Channel{Topic: "room:1"})
		if err != nil || tell(&e) != "room:1 join_error 1 timeout, retry in 5s" || time.Since(begun) != 3*time.Second {
			t.Errorf("event %s after %v, error %v", tell(&e), time.Since(begun), err)
		}
		if _, err := conn.JoinEvent(t.Context(), phoenix.Channel{Topic: "room:1"}); !errors.Is(err, phoenix.ErrJoined) {
			t.Errorf("joined again: %v", err)
		}
		if _, err := conn.JoinEvent(t.Context(), phoenix.Channel{}); err == nil {
			t.Error("joined a topic without a name")
		}
	})
}

// Without an event there is an error.
func TestCallsWithoutEvent(t *testing.T) {
	bubble(t, slowJoins(time.Minute), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{ReplyTimeout: time.Hour})
		record(t, events)
		if _, err := conn.LeaveEvent(t.Context(), "room:1"); !errors.Is(err, phoenix.ErrNotJoined) {
			t.Errorf("left what was not joined: %v", err)
		}
		if _, err := conn.PushEvent(t.Context(), phoenix.Push{}); err == nil {
			t.Error("pushed nothing")
		}
		joined := make(chan error, 2)
		for _, topic := range []string{"room:1", "room:2"} {
			go func() {
				_, err := conn.JoinEvent(context.Background(), phoenix.Channel{Topic: topic})
				joined <- err
			}()
			synctest.Wait()
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := conn.LeaveEvent(short, "room:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("left within a second: %v", err)
		}
		if err := <-joined; !errors.Is(err, phoenix.ErrNotJoined) {
			t.Errorf("the join of what is left ended with %v", err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-joined; !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("the join of a closed connection ended with %v", err)
		}
	})
}

// SendRef returns the ref of the frame when it is written, and what became of the push if it never was.
func TestSendRef(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		slow := func(d time.Duration) func(context.Context) (phoenix.Payload, error) {
			return func(context.Context) (phoenix.Payload, error) { time.Sleep(d); return phoenix.Payload{}, nil }
		}
		conn, events := start(t, srv, phoenix.Options{Channels: []phoenix.Channel{
			{Topic: "room:1", Params: slow(2 * time.Second)}, {Topic: "room:2", Params: slow(9 * time.Second)},
		}})
		log := record(t, events)
		settle(time.Second)
		begun := time.Now()
		echo := phoenix.Push{Topic: "room:1", Name: "echo", Index: 3}
		ref, err := conn.SendRef(t.Context(), echo)
		if err != nil || ref == "" || time.Since(begun) != time.Second {
			t.Errorf("ref %q after %v, error %v", ref, time.Since(begun), err)
		}
		settle(time.Second / 2)
		var ended []string
		for _, e := range log.all() {
			if _, ok := e.Detail.(*phoenix.PushReply); ok {
				ended = append(ended, e.Ref)
			}
		}
		if fmt.Sprint(ended) != fmt.Sprint([]string{ref}) {
			t.Errorf("the stream has replies to %v, want one to %s", ended, ref)
		}

		var lost *phoenix.PushError
		if _, err := conn.SendRef(t.Context(), phoenix.Push{Topic: "room:3", Name: "echo"}); !errors.As(err, &lost) || lost.Reason != phoenix.PushNotJoined {
			t.Errorf("sent to a topic that is not joined: %v", err)
		}
		var late *phoenix.PushTimeout
		waits := phoenix.Push{Topic: "room:2", Name: "echo", Timeout: time.Second}
		if _, err := conn.SendRef(t.Context(), waits); !errors.As(err, &late) {
			t.Errorf("sent before the topic was joined: %v", err)
		}
		if _, err := conn.SendRef(t.Context(), phoenix.Push{}); err == nil {
			t.Error("sent nothing")
		}
	})
}
