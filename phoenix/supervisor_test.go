package phoenix_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

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
