package phoenix_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// All channels are left at once, and the link is closed behind the last answer.
func TestStopLeavesAllChannels(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		const channels = 50
		var names []string
		for i := range channels {
			names = append(names, fmt.Sprint("room:", i))
		}
		log := add(t, s, srv, "a", patient(names...))
		must(t, s.Start("a"))
		settle(time.Second)
		log.forget()
		must(t, s.Stop(t.Context(), "a"))
		if n := len(details[*phoenix.Left](log)); n != channels {
			t.Errorf("%d channels were left, want %d", n, channels)
		}
		events := log.all()
		if last, ok := events[len(events)-1].Detail.(*phoenix.Disconnected); !ok || last.Reason != phoenix.ReasonClosedByUs || last.Code != 1000 {
			t.Errorf("the last event is %+v", events[len(events)-1])
		}
		if took := time.Since(log.begun); took != time.Second {
			t.Errorf("stopped %v after the start, want one second", took)
		}
	})
}

// A server that answers nothing holds up a stop for four seconds: two for the leaves and two for its close frame. Who does not
// want to wait so long does not have to; meanwhile the connection is disconnecting.
func TestStopOfHalfOpenLink(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		log := add(t, s, srv, "a", patient("room:1"))
		must(t, s.Start("a"))
		settle(time.Second)
		srv.BlackHole()
		log.forget()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Stop(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("stopped within a second: %v", err)
		}
		if st := status(t, s, "a"); st.Link != phoenix.StatusDisconnecting || time.Since(st.Since) != time.Second || st.Session != 1 {
			t.Errorf("status %+v", st)
		}
		must(t, s.Stop(t.Context(), "a"))
		log.want(
			"5s disconnected closed_by_us",
			"5s room:1 left",
		)
		if st := status(t, s, "a"); st.Link != phoenix.StatusDisconnected || st.Since != time.Now() || st.Err != nil {
			t.Errorf("status %+v", st)
		}
	})
}

// A connection that is stopped while it waits for its next dial tells its end, too.
func TestStopDuringBackoff(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Stop()
		s := supervise(t, phoenix.SupervisorOptions{Ended: func(string, error) { t.Error("ended by itself") }})
		log := add(t, s, srv, "a", phoenix.Options{MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Hour)})
		must(t, s.Start("a"))
		settle(time.Second)
		must(t, s.Stop(t.Context(), "a"))
		log.want(
			"0s connecting 1",
			"0s disconnected connect_refused",
			"0s retry 1 in 1h0m0s",
			"1s disconnected closed_by_us",
		)
		if st := status(t, s, "a"); st.Link != phoenix.StatusDisconnected || st.Err != nil {
			t.Errorf("status %+v", st)
		}
	})
}

// A consumer that hangs holds up its own connection and nobody else. What is asked meanwhile is done when it has ended, in the
// order in which it was asked.
func TestConsumerHangs(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		release := make(chan struct{})
		runs := 0
		must(t, s.Add(phoenix.Spec{Name: "hangs", Options: to(srv, patient("room:1")), Consume: func(*phoenix.Stream) {
			runs++
			<-release
		}}))
		add(t, s, srv, "other", patient("room:1"))
		must(t, s.Start("hangs"), s.Start("other"))
		settle(time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.Stop(ctx, "hangs"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stopped: %v", err)
		}
		must(t, s.Start("hangs"))
		restarted := make(chan error, 1)
		go func() { restarted <- s.Restart(t.Context(), "hangs") }()
		settle(0)
		asked := time.Now()
		if st := status(t, s, "hangs"); st.Link != phoenix.StatusDisconnecting {
			t.Errorf("status %+v", st)
		}
		must(t, s.Restart(t.Context(), "other"))
		if st := status(t, s, "other"); st.Session != 2 && st.Link != phoenix.StatusConnecting {
			t.Errorf("status of the other %+v", st)
		}
		if names := s.Names(); len(names) != 2 || time.Since(asked) != 0 {
			t.Errorf("names %q after %v", names, time.Since(asked))
		}
		close(release)
		must(t, <-restarted)
		settle(0)
		if st := status(t, s, "hangs"); st.Link != phoenix.StatusConnected || runs != 3 {
			t.Errorf("%d runs, status %+v", runs, st)
		}
	})
}

// Credentials that do not care about their context, either.
func TestCredentialsHang(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		release := make(chan struct{})
		log := add(t, s, srv, "hangs", phoenix.Options{Credentials: func(context.Context) (phoenix.Credentials, error) {
			<-release
			return phoenix.Credentials{}, nil
		}})
		add(t, s, srv, "other", patient("room:1"))
		must(t, s.Start("hangs"), s.Start("other"))
		settle(time.Minute)
		if st := status(t, s, "hangs"); st.Link != phoenix.StatusConnecting {
			t.Errorf("status %+v", st)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Remove(ctx, "hangs"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("removed: %v", err)
		}
		if err := s.Add(phoenix.Spec{Name: "hangs", Options: to(srv, phoenix.Options{})}); !errors.Is(err, phoenix.ErrConnectionExists) {
			t.Errorf("the name was given away: %v", err)
		}
		if err := s.Start("hangs"); !errors.Is(err, phoenix.ErrUnknownConnection) {
			t.Errorf("started while it is being removed: %v", err)
		}
		must(t, s.Stop(t.Context(), "other"))
		close(release)
		settle(0)
		if names := s.Names(); len(names) != 1 {
			t.Errorf("names %q", names)
		}
		log.want(
			"0s connecting 1",
			"1m1s disconnected closed_by_us",
		)
	})
}

// Shutdown stops all connections at once, however long each of them takes, and nothing can be started any more.
func TestShutdown(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := phoenix.NewSupervisor(phoenix.SupervisorOptions{DialInterval: -1})
		const crowd = 20
		var logs []*recorder
		for i := range crowd {
			name := fmt.Sprint("c", i)
			logs = append(logs, add(t, s, srv, name, patient("room:1")))
			must(t, s.Start(name))
		}
		add(t, s, srv, "stopped", patient("room:1"))
		settle(time.Second)
		srv.BlackHole()
		begun := time.Now()
		must(t, s.Shutdown(t.Context()))
		if took := time.Since(begun); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
		for _, log := range logs {
			if len(details[*phoenix.Left](log)) != 1 || len(details[*phoenix.Disconnected](log)) != 1 {
				t.Errorf("events %q", log.take())
			}
		}
		must(t, s.Shutdown(t.Context()), s.Stop(t.Context(), "c0"))
		for what, err := range map[string]error{
			"Start": s.Start("stopped"), "Restart": s.Restart(t.Context(), "c0"),
			"Add":     s.Add(phoenix.Spec{Name: "new", Options: to(srv, phoenix.Options{})}),
			"Replace": s.Replace(t.Context(), phoenix.Spec{Name: "c0", Options: to(srv, phoenix.Options{})}),
		} {
			if !errors.Is(err, phoenix.ErrShutdown) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// When its time is over, Shutdown cuts what is left, and says what it was. Nothing of that lives on.
func TestShutdownThatHasNoTime(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := phoenix.NewSupervisor(phoenix.SupervisorOptions{DialInterval: -1})
		log := add(t, s, srv, "a", patient("room:1"))
		must(t, s.Start("a"))
		settle(time.Second)
		srv.BlackHole()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("error %v", err)
		}
		settle(0)
		if st := status(t, s, "a"); st.Link != phoenix.StatusDisconnected || time.Since(log.begun) != 2*time.Second {
			t.Errorf("after %v: %+v", time.Since(log.begun), st)
		}
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:1 joining 1",
			"0s room:1 joined {}",
			"2s disconnected closed_by_us",
			"2s room:1 left",
		)
	})
}

// A start that waits behind a stop when everything is shut down starts nothing.
func TestShutdownForgetsStarts(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := phoenix.NewSupervisor(phoenix.SupervisorOptions{DialInterval: -1})
		add(t, s, srv, "a", patient("room:1"))
		must(t, s.Start("a"))
		settle(time.Second)
		srv.BlackHole()
		restarted := make(chan error, 1)
		go func() { restarted <- s.Restart(t.Context(), "a") }()
		settle(time.Second)
		must(t, s.Start("a"), s.Shutdown(t.Context()))
		if err := <-restarted; !errors.Is(err, phoenix.ErrShutdown) {
			t.Errorf("restarted: %v", err)
		}
		if n := srv.Stats().Connects; n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}
