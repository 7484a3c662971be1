package phoenix_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// panicking is a consumer that panics at the first message with the name boom, and counts its runs.
func panicking(runs *atomic.Int32) func(*phoenix.Stream) {
	return func(events *phoenix.Stream) {
		runs.Add(1)
		for e := range events.All(context.Background()) {
			if e.Name == "boom" {
				panic("boom")
			}
		}
	}
}

// boom lets the consumers of all connections panic.
func boom(srv *phoenixtest.Server) { srv.Broadcast("room:boom", "boom", nil) }

// A consumer that panics ends its run and nothing else. The connection is started again after its delays, as often in a row as
// it may retry; then its end is told.
func TestPanicOfConsumer(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var logged bytes.Buffer
		var ended []error
		s := supervise(t, phoenix.SupervisorOptions{
			Logger: slog.New(slog.NewJSONHandler(&logged, nil)),
			Ended: func(name string, err error) {
				ended = append(ended, err)
				if name != "bad" {
					t.Errorf("%s ended: %v", name, err)
				}
			},
		})
		var runs atomic.Int32
		o := patient("room:boom")
		o.MaxRetries, o.ReconnectAfter = 2, phoenix.Steps(time.Second, 3*time.Second)
		must(t, s.Add(phoenix.Spec{Name: "bad", Options: to(srv, o), Consume: panicking(&runs)}))
		other := add(t, s, srv, "other", patient("room:boom"))
		must(t, s.Start("bad"), s.Start("other"))
		for i, delay := range []time.Duration{time.Second, 3 * time.Second} {
			settle(5 * time.Second)
			boom(srv)
			settle(0)
			st := status(t, s, "bad")
			var p *phoenix.PanicError
			if st.Link != phoenix.StatusDisconnected || st.Session != i+1 || !errors.As(st.Err, &p) || p.Value != "boom" {
				t.Errorf("after panic %d: %+v", i+1, st)
			}
			if _, err := s.Conn("bad"); !errors.Is(err, phoenix.ErrNotRunning) {
				t.Errorf("the connection after panic %d: %v", i+1, err)
			}
			settle(delay)
			if st := status(t, s, "bad"); st.Link != phoenix.StatusConnected || st.Err != nil {
				t.Errorf("%v after panic %d: %+v", delay, i+1, st)
			}
		}
		if len(ended) != 0 {
			t.Errorf("ended before the last retry: %v", ended)
		}
		settle(5 * time.Second)
		boom(srv)
		settle(time.Hour)
		if len(ended) != 1 || !strings.Contains(ended[0].Error(), "boom") || runs.Load() != 3 {
			t.Errorf("%d runs, ended %v", runs.Load(), ended)
		}
		if st := status(t, s, "bad"); st.Link != phoenix.StatusDisconnected || !errors.Is(st.Err, ended[0]) {
			t.Errorf("status %+v", st)
		}
		records := strings.Split(strings.TrimSpace(logged.String()), "\n")
		if len(records) != 3 {
			t.Errorf("%d records, want one a panic: %s", len(records), logged.String())
		}
		for _, r := range records {
			if !strings.Contains(r, `"level":"ERROR"`) || !strings.Contains(r, `"connection":"bad"`) || !strings.Contains(r, "supervisor_panic_test.go") {
				t.Errorf("record %s", r)
			}
		}
		if n := len(details[*phoenix.Disconnected](other)); n != 0 {
			t.Errorf("the other connection has lost its link %d times", n)
		}
	})
}

// A run that lasted StableAfter starts the count of panics anew.
func TestPanicsAfterStableRuns(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{Ended: func(_ string, err error) { t.Errorf("ended: %v", err) }})
		var runs atomic.Int32
		o := patient("room:boom")
		o.MaxRetries, o.ReconnectAfter, o.StableAfter = 1, phoenix.Steps(time.Second), 10*time.Second
		must(t, s.Add(phoenix.Spec{Name: "bad", Options: to(srv, o), Consume: panicking(&runs)}), s.Start("bad"))
		for range 5 {
			settle(12 * time.Second)
			boom(srv)
		}
		settle(time.Second)
		if st := status(t, s, "bad"); st.Link != phoenix.StatusConnected || runs.Load() != 6 {
			t.Errorf("%d runs, status %+v", runs.Load(), st)
		}
	})
}

// A stop between two runs ends the wait; a start does not wait any longer.
func TestStopAndStartAfterPanic(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		var runs atomic.Int32
		o := patient("room:boom")
		o.MaxRetries, o.ReconnectAfter = -1, phoenix.Steps(time.Hour)
		must(t, s.Add(phoenix.Spec{Name: "bad", Options: to(srv, o), Consume: panicking(&runs)}), s.Start("bad"))
		settle(time.Second)
		boom(srv)
		settle(time.Second)
		must(t, s.Start("bad"))
		settle(time.Second)
		if st := status(t, s, "bad"); st.Link != phoenix.StatusConnected {
			t.Errorf("started: %+v", st)
		}
		boom(srv)
		settle(time.Second)
		must(t, s.Stop(t.Context(), "bad"))
		settle(2 * time.Hour)
		if st := status(t, s, "bad"); st.Link != phoenix.StatusDisconnected || st.Err != nil || runs.Load() != 2 {
			t.Errorf("%d runs, stopped: %+v", runs.Load(), st)
		}
		must(t, s.Restart(t.Context(), "bad"))
		settle(time.Second)
		boom(srv)
		settle(time.Second)
		must(t, s.Replace(t.Context(), phoenix.Spec{Name: "bad", Options: to(srv, patient("room:1"))}))
		settle(time.Second)
		if srv.Subscribers("room:1") != 1 {
			t.Error("a replaced connection that waited for its next run has not been started")
		}
	})
}

// What else may panic.
func TestPanicsOfCallbacks(t *testing.T) {
	for what, o := range map[string]phoenix.Options{
		"credentials": {Credentials: func(context.Context) (phoenix.Credentials, error) { panic("boom") }},
		"skip":        {Channels: topics("room:boom"), Skip: func(_, _ []byte) bool { panic("boom") }},
		"backoff":     {Credentials: func(context.Context) (phoenix.Credentials, error) { panic("boom") }, ReconnectAfter: func(int) time.Duration { panic("boom") }},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				var ended []error
				s := supervise(t, phoenix.SupervisorOptions{Ended: func(_ string, err error) {
					ended = append(ended, err)
					panic("Ended, too")
				}})
				log := add(t, s, srv, "bad", o)
				must(t, s.Start("bad"))
				settle(time.Second)
				boom(srv)
				settle(time.Hour)
				var p *phoenix.PanicError
				if len(ended) != 1 || !errors.As(ended[0], &p) || p.Value != "boom" {
					t.Errorf("ended %v", ended)
				}
				if n := len(details[*phoenix.Disconnected](log)); n != 1 {
					t.Errorf("events %q", log.take())
				}
				must(t, s.Stop(t.Context(), "bad"))
			})
		})
	}
}

// A consumer that stops reading early drops the rest, and the connection goes on.
func TestConsumerReturnsEarly(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		must(t, s.Add(phoenix.Spec{Name: "a", Options: to(srv, patient("room:1")), Consume: func(*phoenix.Stream) {}}), s.Start("a"))
		settle(time.Second)
		for range 10000 {
			srv.Broadcast("room:1", "news", nil)
		}
		settle(time.Minute)
		if st := status(t, s, "a"); st.Link != phoenix.StatusConnected || st.Session != 1 {
			t.Errorf("status %+v", st)
		}
		must(t, s.Stop(t.Context(), "a"))
	})
}

// Ended may start its connection again.
func TestEndedStartsAgain(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Stop()
		var s *phoenix.Supervisor
		var times atomic.Int32
		s = supervise(t, phoenix.SupervisorOptions{Ended: func(name string, _ error) {
			if st, err := s.Status(t.Context(), name); err != nil || st.Err == nil {
				t.Errorf("status %+v, error %v", st, err)
			}
			if times.Add(1) == 3 {
				if err := srv.Start(); err != nil {
					t.Error(err)
				}
			}
			if err := s.Start(name); err != nil {
				t.Error(err)
			}
		}})
		add(t, s, srv, "a", phoenix.Options{Channels: topics("room:1")})
		must(t, s.Start("a"))
		settle(time.Second)
		if st := status(t, s, "a"); st.Link != phoenix.StatusConnected || times.Load() != 3 {
			t.Errorf("ended %d times, status %+v", times.Load(), st)
		}
	})
}

// A Conn that somebody closes has been stopped: that is no end that has to be told.
func TestConnClosedByHand(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{Ended: func(_ string, err error) { t.Errorf("ended: %v", err) }})
		add(t, s, srv, "a", patient("room:1"))
		must(t, s.Start("a"))
		settle(time.Second)
		conn, err := s.Conn("a")
		must(t, err, conn.Close(t.Context()))
		settle(0)
		if st := status(t, s, "a"); st.Link != phoenix.StatusDisconnected || st.Err != nil {
			t.Errorf("status %+v", st)
		}
		must(t, s.Start("a"))
		settle(time.Second)
		if st := status(t, s, "a"); st.Link != phoenix.StatusConnected || st.Session != 2 {
			t.Errorf("started again: %+v", st)
		}
	})
}
