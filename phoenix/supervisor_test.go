package phoenix_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// supervise returns a supervisor whose dials do not wait for each other, unless o says how. It is shut down at the end of the
// test.
func supervise(t *testing.T, o phoenix.SupervisorOptions) *phoenix.Supervisor {
	t.Helper()
	if o.DialInterval == 0 {
		o.DialInterval = -1
	}
	s := phoenix.NewSupervisor(o)
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// add adds a connection to srv and returns what its runs consume.
func add(t *testing.T, s *phoenix.Supervisor, srv *phoenixtest.Server, name string, o phoenix.Options) *recorder {
	t.Helper()
	log := &recorder{t: t, begun: time.Now()}
	if err := s.Add(phoenix.Spec{Name: name, Options: to(srv, o), Consume: log.consume}); err != nil {
		t.Fatal(err)
	}
	return log
}

// to returns options of a connection to srv.
func to(srv *phoenixtest.Server, o phoenix.Options) phoenix.Options {
	o.URL = srv.URL
	if o.NetDial == nil {
		o.NetDial = srv.DialContext
	}
	return o
}

// consume adds the events of a run.
func (r *recorder) consume(events *phoenix.Stream) {
	for e := range events.All(context.Background()) {
		r.mu.Lock()
		r.events = append(r.events, e.Clone())
		r.lines = append(r.lines, e.Time.Sub(r.begun).String()+" "+tell(e))
		r.mu.Unlock()
	}
}

// must ends the test if one of the errors is one.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// status returns the status of a connection or ends the test.
func status(t *testing.T, s *phoenix.Supervisor, name string) phoenix.ConnectionStatus {
	t.Helper()
	st, err := s.Status(t.Context(), name)
	must(t, err)
	return st
}

// A connection is started, stopped and started again; its numbers go on as if it were one run.
func TestSupervisorStartAndStop(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		log := add(t, s, srv, "a", patient("room:1"))
		if _, err := s.Conn("a"); !errors.Is(err, phoenix.ErrNotRunning) {
			t.Errorf("a connection before its start: %v", err)
		}
		must(t, s.Start("a"), s.Start("a"))
		settle(time.Second)
		conn, err := s.Conn("a")
		must(t, err)
		if r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON(`{}`)}); err != nil || r.Status != "ok" {
			t.Errorf("reply %+v, error %v", r, err)
		}
		must(t, s.Stop(t.Context(), "a"), s.Stop(t.Context(), "a"))
		settle(time.Second)
		must(t, s.Start("a"))
		settle(0)
		for i, e := range log.all() {
			if e.Seq != uint64(i+1) {
				t.Fatalf("event %d has the number %d", i+1, e.Seq)
			}
		}
		if st := status(t, s, "a"); st.Link != phoenix.StatusConnected || st.Session != 2 {
			t.Errorf("status %+v", st)
		}
		if n := srv.Stats(); n.Connects != 2 || n.Open != 1 {
			t.Errorf("%+v", n)
		}
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:1 joining 1",
			"0s room:1 joined {}",
			"1s push 0 ok {}",
			"1s room:1 left",
			"1s disconnected closed_by_us 1000",
			"2s connecting 1",
			"2s connected",
			"2s room:1 joining 1",
			"2s room:1 joined {}",
		)
	})
}

// A stopped connection leaves no goroutine: the bubble's end, at which nobody shuts the supervisor down, would find it.
func TestSupervisorLeavesNothingBehind(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := phoenix.NewSupervisor(phoenix.SupervisorOptions{})
		for _, name := range []string{"a", "b", "c"} {
			add(t, s, srv, name, patient("room:1"))
			must(t, s.Start(name))
		}
		must(t, s.Add(phoenix.Spec{Name: "without a consumer", Options: to(srv, patient("room:1"))}), s.Start("without a consumer"))
		settle(time.Second)
		if n := srv.Stats(); n.Joined != 4 {
			t.Errorf("%+v", n)
		}
		must(t, s.Stop(t.Context(), "a"), s.Remove(t.Context(), "b"), s.Stop(t.Context(), "c"), s.Stop(t.Context(), "without a consumer"))
	})
}

func TestSupervisorNames(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		for _, name := range []string{"c", "a", "b"} {
			add(t, s, srv, name, phoenix.Options{})
		}
		must(t, s.Remove(t.Context(), "a"))
		add(t, s, srv, "a", phoenix.Options{})
		if names := s.Names(); !slices.Equal(names, []string{"c", "b", "a"}) {
			t.Errorf("names %q", names)
		}
		if err := s.Add(phoenix.Spec{Name: "a", Options: to(srv, phoenix.Options{})}); !errors.Is(err, phoenix.ErrConnectionExists) {
			t.Errorf("added twice: %v", err)
		}
	})
}

// What is wrong with a spec is said when it is given, without what may be a secret.
func TestSupervisorChecksSpecs(t *testing.T) {
	s := supervise(t, phoenix.SupervisorOptions{})
	must(t, s.Add(phoenix.Spec{Name: "good", Options: phoenix.Options{URL: "ws://user:hunter2@a.test/socket?token=hunter2"}}))
	if st := status(t, s, "good"); st.URI != "ws://a.test/socket/websocket" {
		t.Errorf("URI %q", st.URI)
	}
	for what, spec := range map[string]phoenix.Spec{
		"no name":      {Options: phoenix.Options{URL: "ws://a.test/socket"}},
		"no URL":       {Name: "bad"},
		"a bad URL":    {Name: "bad", Options: phoenix.Options{URL: "ftp://user:hunter2@a.test/socket"}},
		"bad timeouts": {Name: "bad", Options: phoenix.Options{URL: "ws://a.test", HeartbeatInterval: 1, HeartbeatTimeout: 2}},
	} {
		if err := s.Add(spec); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.Replace(t.Context(), phoenix.Spec{Name: "good"}); err == nil {
		t.Error("replaced by a spec without a URL")
	}
	if names := s.Names(); !slices.Equal(names, []string{"good"}) {
		t.Errorf("names %q", names)
	}
}

func TestSupervisorUnknownName(t *testing.T) {
	s := supervise(t, phoenix.SupervisorOptions{})
	ctx := t.Context()
	_, connErr := s.Conn("x")
	_, statusErr := s.Status(ctx, "x")
	_, awaitErr := s.Await(ctx, "x", func(phoenix.ConnectionStatus) bool { return true })
	for what, err := range map[string]error{
		"Start": s.Start("x"), "Stop": s.Stop(ctx, "x"), "Restart": s.Restart(ctx, "x"), "Remove": s.Remove(ctx, "x"),
		"Replace": s.Replace(ctx, phoenix.Spec{Name: "x", Options: phoenix.Options{URL: "ws://a.test"}}),
		"Conn":    connErr, "Status": statusErr, "Await": awaitErr,
	} {
		if !errors.Is(err, phoenix.ErrUnknownConnection) || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Restart and Replace stop and start what is running; a spec that replaces that of a stopped connection waits for its start.
func TestSupervisorRestartAndReplace(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		add(t, s, srv, "a", patient("room:1"))
		must(t, s.Restart(t.Context(), "a"))
		settle(time.Second)
		must(t, s.Restart(t.Context(), "a"))
		settle(time.Second)
		if n := srv.Stats(); n.Connects != 2 || n.Open != 1 {
			t.Errorf("after a restart of a stopped and of a running connection: %+v", n)
		}
		must(t, s.Replace(t.Context(), phoenix.Spec{Name: "a", Required: true, Options: to(srv, patient("room:2"))}))
		settle(time.Second)
		st := status(t, s, "a")
		if !st.Required || st.Session != 3 || len(st.Channels) != 1 || st.Channels[0].Topic != "room:2" {
			t.Errorf("replaced while it ran: %+v", st)
		}
		must(t, s.Stop(t.Context(), "a"))
		must(t, s.Replace(t.Context(), phoenix.Spec{Name: "a", Options: to(srv, patient("room:3"))}))
		settle(time.Second)
		if st := status(t, s, "a"); st.Required || st.Link != phoenix.StatusDisconnected {
			t.Errorf("replaced while it was stopped: %+v", st)
		}
		must(t, s.Start("a"))
		settle(time.Second)
		if srv.Subscribers("room:3") != 1 || srv.Subscribers("room:2") != 0 {
			t.Error("the last spec does not count")
		}
	})
}

// Several connections go to one server, each with credentials of its own.
func TestSupervisorCredentials(t *testing.T) {
	var tokens []any
	app := socket(phoenixtest.UserSocket{Connect: func(info *phoenixtest.ConnectInfo) error {
		tokens = append(tokens, info.Params["token"])
		if info.Params["token"] == "bad" {
			return errors.New("a bad token")
		}
		return nil
	}})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		for _, token := range []string{"alice", "bad", "bob"} {
			o := phoenix.Options{Credentials: func(context.Context) (phoenix.Credentials, error) {
				return phoenix.Credentials{Params: map[string][]string{"token": {token}}}, nil
			}}
			add(t, s, srv, token, o)
			must(t, s.Start(token))
			settle(time.Second)
		}
		if want := []any{"alice", "bad", "bob"}; !slices.Equal(tokens, want) {
			t.Errorf("tokens %v, want %v", tokens, want)
		}
		for name, want := range map[string]phoenix.LinkStatus{
			"alice": phoenix.StatusConnected, "bad": phoenix.StatusDisconnected, "bob": phoenix.StatusConnected,
		} {
			if st := status(t, s, name); st.Link != want {
				t.Errorf("%s: %+v", name, st)
			}
		}
	})
}

// Three retries against a dead server are three; then the end is told once, and nobody else notices.
func TestSupervisorRetriesExhausted(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		dead := phoenixtest.NewPipeServer(phoenixtest.Demo())
		dead.Close()
		ended := map[string][]error{}
		s := supervise(t, phoenix.SupervisorOptions{Ended: func(name string, err error) { ended[name] = append(ended[name], err) }})
		healthy := add(t, s, srv, "healthy", patient("room:1"))
		log := add(t, s, dead, "dead", phoenix.Options{MaxRetries: 3, ReconnectAfter: phoenix.Steps(time.Second)})
		must(t, s.Start("healthy"), s.Start("dead"))
		settle(time.Hour)
		if n := len(details[*phoenix.Connecting](log)); n != 4 {
			t.Errorf("%d dials, want 1 and 3 retries", n)
		}
		var link *phoenix.LinkError
		if errs := ended["dead"]; len(ended) != 1 || len(errs) != 1 || !errors.As(errs[0], &link) || link.Reason != phoenix.ReasonConnectRefused {
			t.Errorf("ended: %v", ended)
		}
		st := status(t, s, "dead")
		if st.Link != phoenix.StatusDisconnected || !errors.Is(st.Err, ended["dead"][0]) || time.Since(st.Since) != time.Hour-3*time.Second {
			t.Errorf("status %+v", st)
		}
		if st := status(t, s, "healthy"); st.Link != phoenix.StatusConnected || st.Session != 1 || st.Err != nil {
			t.Errorf("the other: %+v", st)
		}
		if len(details[*phoenix.Disconnected](healthy)) != 0 {
			t.Error("the other has lost its link")
		}
		must(t, s.Start("dead"))
		settle(0)
		if st := status(t, s, "dead"); st.Link != phoenix.StatusConnecting || st.Err != nil {
			t.Errorf("started again: %+v", st)
		}
	})
}

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

// Revoke ends a connection at once, whatever its server does, and says why; what was asked of it ends with it.
func TestRevoke(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{Ended: func(string, error) { t.Error("ended by itself") }})
		log := add(t, s, srv, "a", patient("room:1"))
		must(t, s.Start("a"))
		settle(time.Second)
		srv.BlackHole()
		log.forget()
		must(t, s.Revoke(t.Context(), "a"))
		log.want(
			"1s disconnected lease_lost",
			"1s room:1 errored disconnected",
		)
		if st := status(t, s, "a"); st.Link != phoenix.StatusDisconnected || st.Since != time.Now() || st.Err != nil {
			t.Errorf("status %+v", st)
		}
		must(t, s.Revoke(t.Context(), "a")) // it is nothing to do
		log.want()
	})
}

// The server gets nothing more from a connection that is revoked: neither a close frame, nor by long poll a leave, which a stop sends.
func TestRevokeSendsNothing(t *testing.T) {
	for transport, stops := range map[phoenix.Transport]string{
		phoenix.TransportWebSocket: "[phx_leave close]", phoenix.TransportLongPoll: "[phx_leave]",
	} {
		t.Run(string(transport), func(t *testing.T) {
			var mu sync.Mutex
			var got []string
			tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case !f.FromClient:
				case f.Opcode == websocket.CloseMessage:
					got = append(got, "close")
				default:
					var m []any
					if err := json.Unmarshal(f.Data, &m); err != nil {
						t.Error(err)
					}
					got = append(got, m[3].(string))
				}
			})
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				s := supervise(t, phoenix.SupervisorOptions{})
				o := patient("room:1")
				o.Transport = transport
				add(t, s, srv, "a", o)
				end := func(how func(context.Context, string) error) string {
					must(t, s.Start("a"))
					settle(time.Second)
					mu.Lock()
					got = nil
					mu.Unlock()
					must(t, how(t.Context(), "a"))
					settle(time.Second)
					mu.Lock()
					defer mu.Unlock()
					return fmt.Sprint(got)
				}
				if sent := end(s.Revoke); sent != "[]" {
					t.Errorf("a connection that was revoked sent %s", sent)
				}
				if sent := end(s.Stop); sent != stops {
					t.Errorf("a connection that was stopped sent %s, want %s", sent, stops)
				}
			}, tap)
		})
	}
}

// Also a connection that waits for its next dial is revoked, and says so.
func TestRevokeDuringBackoff(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Stop()
		s := supervise(t, phoenix.SupervisorOptions{})
		log := add(t, s, srv, "a", phoenix.Options{MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Hour)})
		must(t, s.Start("a"))
		settle(time.Second)
		log.forget()
		must(t, s.Revoke(t.Context(), "a"))
		log.want("1s disconnected lease_lost")
	})
}

// Who takes the place of another one rejoins its channels, and says since when messages may have been missed. A channel that is joined
// later was not the other one's.
func TestMissedSince(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		var gaps []string
		o := to(srv, patient("room:1"))
		missed := time.Now().Add(-time.Minute)
		o.MissedSince = func() time.Time { return missed }
		must(t, s.Add(phoenix.Spec{Name: "a", Options: o, Consume: func(events *phoenix.Stream) {
			for ev := range events.All(context.Background()) {
				if j, ok := ev.Detail.(*phoenix.Joined); ok {
					gaps = append(gaps, fmt.Sprintf("%s %v %v", ev.Topic, j.Rejoin, j.Gap))
				}
			}
		}}))
		must(t, s.Start("a"))
		settle(2 * time.Second)
		conn, err := s.Conn("a")
		must(t, err)
		_, err = conn.Join(t.Context(), phoenix.Channel{Topic: "room:2"})
		must(t, err)
		must(t, s.Stop(t.Context(), "a"))
		missed = time.Time{}
		must(t, s.Start("a"))
		settle(2 * time.Second)
		must(t, s.Stop(t.Context(), "a"))
		if want := []string{"room:1 true 1m0s", "room:2 false 0s", "room:1 false 0s"}; !slices.Equal(gaps, want) {
			t.Errorf("joins %q, want %q", gaps, want)
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
			if !strings.Contains(r, `"level":"ERROR"`) || !strings.Contains(r, `"connection":"bad"`) || !strings.Contains(r, "supervisor_test.go") {
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

// A thousand connections to one server are joined within seconds, come back after its restart without a herd, and are shut
// down cleanly within the time that a service manager gives.
func TestThousandConnections(t *testing.T) {
	const crowd = 1000
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := phoenix.NewSupervisor(phoenix.SupervisorOptions{Ended: func(name string, err error) { t.Errorf("%s ended: %v", name, err) }})
		var left, closed atomic.Int32
		consume := func(events *phoenix.Stream) {
			for e := range events.All(context.Background()) {
				switch d := e.Detail.(type) {
				case *phoenix.Left:
					left.Add(1)
				case *phoenix.Disconnected:
					if d.Reason == phoenix.ReasonClosedByUs && d.Code == 1000 {
						closed.Add(1)
					}
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i := range crowd {
			name := fmt.Sprint("c", i)
			must(t, s.Add(phoenix.Spec{Name: name, Options: to(srv, patient("room:1")), Consume: consume}), s.Start(name))
		}
		allJoined := func(session int) {
			t.Helper()
			for _, name := range s.Names() {
				st, err := s.Await(ctx, name, func(st phoenix.ConnectionStatus) bool { return joined(st) && st.Session == session })
				if err != nil {
					t.Fatalf("%s: %+v, error %v", name, st, err)
				}
			}
		}
		allJoined(1)
		srv.Stop()
		settle(10 * time.Second)
		must(t, srv.Start())
		allJoined(2)
		if n := srv.Stats(); n.Open != crowd || srv.Subscribers("room:1") != crowd {
			t.Errorf("%+v, %d joined", n, srv.Subscribers("room:1"))
		}

		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		must(t, s.Shutdown(ctx))
		if left.Load() != crowd || closed.Load() != crowd {
			t.Errorf("of %d connections %d left their channel and %d were closed", crowd, left.Load(), closed.Load())
		}
		settle(0)
		if n := srv.Stats(); n.Open != 0 {
			t.Errorf("%d sockets are open", n.Open)
		}
	})
}

// inUse is the memory that lives: heap and stacks.
func inUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// BenchmarkConnectionMemory tells what a further supervised connection with one joined channel takes, heap and stacks. The
// server's side is in this process, too; what it takes is found out with bare sockets, and subtracted. What the garbage collector
// lets lie comes on top: up to the heap's part again.
func BenchmarkConnectionMemory(b *testing.B) {
	const crowd = 1000
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	await := func(joined int) {
		if err := srv.Await(ctx, func(st phoenixtest.Stats) bool { return st.Joined == joined }); err != nil {
			b.Fatal(err)
		}
	}

	before := inUse()
	bare := make([]net.Conn, crowd)
	for i := range bare {
		ws, resp, err := websocket.DefaultDialer.DialContext(ctx, srv.URL+"/websocket?vsn=2.0.0", nil)
		if err == nil {
			_ = resp.Body.Close()
			err = ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `["1","1","room:%d","phx_join",{}]`, i))
		}
		if err != nil {
			b.Fatal(err)
		}
		bare[i] = ws.NetConn()
	}
	await(crowd)
	server := inUse() - before

	s := phoenix.NewSupervisor(phoenix.SupervisorOptions{DialInterval: -1})
	before = inUse()
	for i := range crowd {
		name := fmt.Sprint("c", i)
		err := s.Add(phoenix.Spec{
			Name:    name,
			Options: phoenix.Options{URL: srv.URL, MaxRetries: -1, Channels: topics(fmt.Sprint("room:", i))},
			Consume: func(events *phoenix.Stream) {
				for range events.All(context.Background()) {
				}
			},
		})
		if err == nil {
			err = s.Start(name)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	await(2 * crowd)
	b.ReportMetric((inUse()-before-server)/crowd/1024, "KiB/connection")
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(bare)
	if err := s.Shutdown(ctx); err != nil {
		b.Fatal(err)
	}
	for _, conn := range bare {
		_ = conn.Close()
	}
}

// A status is one snapshot: the session is that of the link, however often one looks while the link comes up.
func TestStatusIsOneSnapshot(t *testing.T) {
	srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
	t.Cleanup(srv.Close)
	s := supervise(t, phoenix.SupervisorOptions{})
	add(t, s, srv, "a", patient("room:1"))
	const runs = 300
	for session := 1; session <= runs; session++ {
		must(t, s.Start("a"))
		for {
			st := status(t, s, "a")
			if st.Link == phoenix.StatusConnected && st.Session != session || st.Link == phoenix.StatusConnecting && st.Session != session-1 {
				t.Fatalf("%s in session %d of %d", st.Link, st.Session, session)
			}
			if st.Link == phoenix.StatusConnected {
				break
			}
		}
		must(t, s.Stop(t.Context(), "a"))
	}
}

// Who has no descriptor left is told so, whatever it was needed for.
func TestNoDescriptors(t *testing.T) {
	for _, err := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)},
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.ENFILE)},
		&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "dial udp 127.0.0.53:53: socket: " + syscall.EMFILE.Error(), Name: "host"}},
	} {
		conn, failed := phoenix.New(phoenix.Options{
			URL: "ws://host/socket", NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, err },
		})
		must(t, failed)
		var link *phoenix.LinkError
		if failed := conn.Serve(t.Context()); !errors.As(failed, &link) || link.Reason != phoenix.ReasonNoDescriptors {
			t.Errorf("%v: %v", err, failed)
		}
	}
}

// Update changes what needs no new socket, while the link is up and while it is away.
func TestUpdate(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := supervise(t, phoenix.SupervisorOptions{})
		o := patient("room:1", "room:2")
		log := add(t, s, srv, "a", o)
		must(t, s.Start("a"))
		settle(time.Second)
		o.Channels = []phoenix.Channel{{Topic: "room:2"}, {Topic: "room:3"}}
		o.MaxRetries, o.ReconnectAfter = 2, phoenix.Steps(3*time.Second)
		o.HeartbeatInterval, o.HeartbeatTimeout = 5*time.Second, time.Second
		dialed := errors.New("dialed")
		o.Credentials = func(context.Context) (phoenix.Credentials, error) { return phoenix.Credentials{}, dialed }
		must(t, s.Update(t.Context(), phoenix.Spec{Name: "a", Required: true, Options: to(srv, o), Consume: log.consume}))
		settle(0)
		st := status(t, s, "a")
		if st.Session != 1 || !st.Required || len(st.Channels) != 2 || st.Channels[0].Topic != "room:2" || st.Channels[1].State != "joined" {
			t.Errorf("%+v", st)
		}
		settle(7 * time.Second)
		must(t, s.Update(t.Context(), phoenix.Spec{Name: "a", Options: to(srv, o), Consume: log.consume}, "room:2"))
		settle(0)
		if st := status(t, s, "a"); st.Session != 1 || len(st.Channels) != 2 || time.Since(st.Channels[1].JoinedAt) > time.Second {
			t.Errorf("%+v", st)
		}
		srv.Conns()[0].Drop()
		settle(time.Minute)
		if st := status(t, s, "a"); !errors.Is(st.Err, dialed) || st.Link != phoenix.StatusDisconnected {
			t.Errorf("%+v", st)
		}
		var exhausted *phoenix.ReconnectExhausted
		for _, e := range log.all() {
			if d, ok := e.Detail.(*phoenix.ReconnectExhausted); ok {
				exhausted = d
			}
		}
		if exhausted == nil || exhausted.MaxAttempts != 2 {
			t.Errorf("%+v", exhausted)
		}
		must(t, s.Update(t.Context(), phoenix.Spec{Name: "a", Options: to(srv, patient("room:4"))})) // it stays as it is
		if err := s.Update(t.Context(), phoenix.Spec{Name: "b", Options: to(srv, o)}); !errors.Is(err, phoenix.ErrUnknownConnection) {
			t.Error(err)
		}
		must(t, s.Start("a"))
		settle(time.Second)
		if st := status(t, s, "a"); st.Session != 2 || len(st.Channels) != 1 || st.Channels[0].Topic != "room:4" {
			t.Errorf("%+v", st)
		}
	})
}
