package phoenix_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

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
			"4s room:2 joined {}",
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
