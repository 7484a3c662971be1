package phoenix_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// joined reports whether all wanted channels are joined, and there are some.
func joined(st phoenix.ConnectionStatus) bool {
	return st.Link == phoenix.StatusConnected && len(st.Channels) > 0 &&
		!slices.ContainsFunc(st.Channels, func(c phoenix.ChannelStatus) bool { return c.State != "joined" })
}

// Await returns at the moment when enough has happened, whenever that is.
func TestAwait(t *testing.T) {
	bubble(t, slowJoins(3*time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		add(t, s, srv, "a", patient("room:1"))
		begun := time.Now()
		results := make(chan time.Duration, 100)
		for range cap(results) {
			go func() {
				if st, err := s.Await(t.Context(), "a", joined); err != nil || !joined(st) {
					t.Errorf("status %+v, error %v", st, err)
				}
				results <- time.Since(begun)
			}()
		}
		settle(time.Second)
		must(t, s.Start("a"))
		for range cap(results) {
			if took := <-results; took != 4*time.Second {
				t.Errorf("awaited for %v, want 4s", took)
			}
		}
		if st, err := s.Await(t.Context(), "a", joined); err != nil || time.Since(begun) != 4*time.Second {
			t.Errorf("what is so already: %+v, error %v", st, err)
		}
	})
}

// Await's context bounds it; what it has seen last is returned, also when the connection is removed.
func TestAwaitInVain(t *testing.T) {
	bubble(t, slowJoins(time.Hour), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		add(t, s, srv, "a", patient("room:1"))
		must(t, s.Start("a"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if st, err := s.Await(ctx, "a", joined); !errors.Is(err, context.DeadlineExceeded) || st.Link != phoenix.StatusConnected {
			t.Errorf("status %+v, error %v", st, err)
		}
		removed := make(chan error, 1)
		go func() {
			st, err := s.Await(t.Context(), "a", joined)
			if st.Name != "a" {
				t.Errorf("status %+v", st)
			}
			removed <- err
		}()
		synctest.Wait()
		must(t, s.Remove(t.Context(), "a"))
		if err := <-removed; !errors.Is(err, phoenix.ErrUnknownConnection) {
			t.Errorf("removed: %v", err)
		}
	})
}

// Changed tells of each change, so that who asks for it before looking misses nothing, and messages are none.
func TestChanged(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		var wakes int
		var last phoenix.ConnectionStatus
		var watcher sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		watcher.Go(func() {
			for {
				changed := s.Changed()
				if st, err := s.Status(ctx, "a"); err == nil {
					last = st
				}
				select {
				case <-changed:
					wakes++
				case <-ctx.Done():
					return
				}
			}
		})
		synctest.Wait()
		look := func(what string, want phoenix.LinkStatus, woken bool) {
			t.Helper()
			synctest.Wait()
			if last.Link != want || woken != (wakes > 0) {
				t.Errorf("%s: woken %d times, saw %q", what, wakes, last.Link)
			}
			wakes = 0
		}
		add(t, s, srv, "a", patient("room:1"))
		look("added", phoenix.StatusDisconnected, true)
		must(t, s.Start("a"))
		look("started", phoenix.StatusConnected, true)
		for range 1000 {
			srv.Broadcast("room:1", "news", nil)
		}
		settle(9 * time.Minute)
		wakes = 0 // the link has become stable
		for range 1000 {
			srv.Broadcast("room:1", "news", nil)
		}
		settle(9 * time.Minute)
		look("messages and heartbeats", phoenix.StatusConnected, false)
		srv.StopListening()
		srv.DropConns()
		look("lost", phoenix.StatusConnecting, true)
		must(t, s.Stop(t.Context(), "a"))
		look("stopped", phoenix.StatusDisconnected, true)
		must(t, s.Remove(t.Context(), "a"))
		look("removed", phoenix.StatusDisconnected, true)
		cancel()
		watcher.Wait()
	})
}

// Since is when the link became what it is, whoever looked at it, and not when a channel or a retry was the news.
func TestStatusSince(t *testing.T) {
	bubble(t, slowJoins(5*time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		begun := time.Now()
		since := func(what string, link phoenix.LinkStatus, want time.Duration) {
			t.Helper()
			synctest.Wait()
			if st := status(t, s, "a"); st.Link != link || st.Since.Sub(begun) != want {
				t.Errorf("%s: %s since %v, want %s since %v", what, st.Link, st.Since.Sub(begun), link, want)
			}
		}
		add(t, s, srv, "a", patient("room:1"))
		settle(time.Second)
		since("added", phoenix.StatusDisconnected, 0)
		must(t, s.Start("a"))
		settle(10 * time.Second)
		since("joined", phoenix.StatusConnected, time.Second)
		srv.StopListening()
		srv.DropConns()
		settle(10 * time.Second)
		since("lost", phoenix.StatusConnecting, 11*time.Second)
		must(t, srv.Start())
		settle(10 * time.Second)
		since("back", phoenix.StatusConnected, 22*time.Second)
		must(t, s.Stop(t.Context(), "a"))
		settle(time.Second)
		since("stopped", phoenix.StatusDisconnected, 31*time.Second)
	})
}

// A connection whose loop hangs does not answer: its status is what is known of it, within ctx.
func TestStatusOfHungConnection(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		release := make(chan struct{})
		o := patient("room:1")
		o.HeartbeatInterval, o.OnHeartbeat = 30*time.Second, func(time.Duration) { <-release }
		add(t, s, srv, "hangs", o)
		add(t, s, srv, "other", patient("room:1"))
		must(t, s.Start("hangs"), s.Start("other"))
		settle(time.Minute)
		for _, ask := range []func(context.Context) (phoenix.ConnectionStatus, error){
			func(ctx context.Context) (phoenix.ConnectionStatus, error) { return s.Status(ctx, "hangs") },
			func(ctx context.Context) (phoenix.ConnectionStatus, error) { return s.Await(ctx, "hangs", joined) },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			st, err := ask(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || st.Name != "hangs" || st.Link != phoenix.StatusConnected || st.Since.IsZero() {
				t.Errorf("status %+v, error %v", st, err)
			}
		}
		if st := status(t, s, "other"); !joined(st) {
			t.Errorf("the other: %+v", st)
		}
		close(release)
		settle(0)
		if st := status(t, s, "hangs"); !joined(st) {
			t.Errorf("released: %+v", st)
		}
	})
}
