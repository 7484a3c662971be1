package phoenix

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix/phoenixtest"
)

// hooked runs test in a bubble, with a connection that has hooks and does not run yet.
func hooked(t *testing.T, h hooks, test func(t *testing.T, conn *Conn, srv *phoenixtest.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		conn, err := New(Options{URL: srv.URL, NetDial: srv.DialContext, MaxRetries: -1, ConnectTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		conn.hooks = h
		test(t, conn, srv)
	})
}

// The numbers of a run go on from those of the run before.
func TestNumbersGoOn(t *testing.T) {
	hooked(t, hooks{seq: 41, session: 7}, func(t *testing.T, conn *Conn, _ *phoenixtest.Server) {
		events := conn.Events()
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		var seqs []uint64
		var sessions []int
		for e := range events.All(t.Context()) {
			seqs, sessions = append(seqs, e.Seq), append(sessions, e.Session)
			if d, ok := e.Detail.(*Connected); ok && d.Reconnect {
				t.Error("the first session of a run is a reconnect")
			}
		}
		if !slices.Equal(seqs, []uint64{42, 43, 44}) || !slices.Equal(sessions, []int{7, 8, 8}) {
			t.Errorf("numbers %v, sessions %v", seqs, sessions)
		}
		if seq, session := conn.numbers(); seq != 44 || session != 8 {
			t.Errorf("the last number is %d, the last session %d", seq, session)
		}
	})
	hooked(t, hooks{seq: 41, session: 7}, func(t *testing.T, conn *Conn, _ *phoenixtest.Server) {
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if seq, session := conn.numbers(); seq != 41 || session != 7 {
			t.Errorf("never started: the last number is %d, the last session %d", seq, session)
		}
	})
}

// The wait for a turn is no part of the dial: neither of its timeout nor of what it took.
func TestTurn(t *testing.T) {
	turn := func(context.Context) error { time.Sleep(time.Minute); return nil }
	hooked(t, hooks{turn: turn}, func(t *testing.T, conn *Conn, _ *phoenixtest.Server) {
		events := conn.Events()
		begun := time.Now()
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != time.Minute {
			t.Errorf("connected after %v", took)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		for e := range events.All(t.Context()) {
			if d, ok := e.Detail.(*Connected); ok && d.Took != 0 {
				t.Errorf("the dial took %v", d.Took)
			}
		}
	})
}

// A close does not wait for a turn.
func TestCloseWhileWaitingForTurn(t *testing.T) {
	turn := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	hooked(t, hooks{turn: turn}, func(t *testing.T, conn *Conn, srv *phoenixtest.Server) {
		served := make(chan error, 1)
		go func() { served <- conn.Serve(t.Context()) }()
		synctest.Wait()
		begun := time.Now()
		if err := conn.Close(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("closed after %v: %v", time.Since(begun), err)
		}
		if err := <-served; err != nil || srv.Stats().Attempts != 0 {
			t.Errorf("served with %v, %d dials", err, srv.Stats().Attempts)
		}
	})
}

// Who asked for them is told of changes of the status, and of nothing else.
func TestChanged(t *testing.T) {
	var told []LinkStatus
	changed := func(link LinkStatus) { told = append(told, link) }
	hooked(t, hooks{changed: changed}, func(t *testing.T, conn *Conn, srv *phoenixtest.Server) {
		served := make(chan error, 1)
		go func() { served <- conn.Serve(t.Context()) }()
		synctest.Wait()
		want := func(status ...LinkStatus) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(told, status) {
				t.Errorf("told %q, want %q", told, status)
			}
			told = nil
		}
		want(StatusConnecting, StatusConnected)
		if _, err := conn.Join(t.Context(), Channel{Topic: "room:1"}); err != nil {
			t.Error(err)
		}
		want(StatusConnected, StatusConnected) // joining, joined
		if _, err := conn.Push(t.Context(), Push{Topic: "room:1", Name: "echo"}); err != nil {
			t.Error(err)
		}
		srv.Conns()[0].SendText(`[null,null,"room:1","news",{}]`)
		want()
		if err := conn.Close(t.Context()); err != nil || <-served != nil {
			t.Errorf("closed: %v", err)
		}
		want(StatusDisconnecting, StatusDisconnected)
	})
}

// What panics in a hook is the supervisor, and the connection ends.
func TestPanicInHooks(t *testing.T) {
	for name, h := range map[string]hooks{
		"turn": {turn: func(context.Context) error { panic("boom") }},
		"changed": {changed: func(LinkStatus) {
			time.Sleep(time.Second) // meanwhile there is a socket that nobody has asked for yet
			panic("boom")
		}},
	} {
		hooked(t, h, func(t *testing.T, conn *Conn, srv *phoenixtest.Server) {
			var failed *PanicError
			if err := conn.Serve(t.Context()); !errors.As(err, &failed) || err.Error() != "the supervisor panicked: boom" {
				t.Errorf("%s: %v", name, err)
			}
			synctest.Wait()
			if n := srv.Stats().Open; n != 0 {
				t.Errorf("%s: %d sockets are open", name, n)
			}
		})
	}
}
