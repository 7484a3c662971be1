package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/router"
)

// two is a config with two connections.
const two = `
connections:
  a: {uri: "${URI}", auto_join_channels: [room:a]}
  b: {uri: "${URI}", auto_join_channels: [room:b]}
`

// names returns the names of the connections.
func (s *stage) names() []string {
	s.t.Helper()
	list, err := s.Connections(s.t.Context())
	must(s.t, err)
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	return names
}

func TestReloadLeavesAloneWhatIsUnchanged(t *testing.T) {
	s := started(t, two)
	before := s.await("a", StateJoined)
	s.await("b", StateJoined)
	s.reload(strings.ReplaceAll(two, "room:b", "room:changed"))
	s.await("b", StateJoined)
	if after := s.is("a"); after.Session != 1 || !after.Since.Equal(before.Since) || !after.Channels[0].JoinedAt.Equal(before.Channels[0].JoinedAt) {
		t.Errorf("it was %+v and is %+v", before, after)
	}
}

// single is a config with a connection, of which more is to be said.
const single = `connections: {a: {uri: "${URI}", auto_join_channels: [room:a, {topic: room:b, params: {n: 1}}], %s}}`

// What needs no new socket is changed on the one that there is; channels that are not concerned stay joined.
func TestReloadKeepsTheSocket(t *testing.T) {
	changes := map[string]string{
		"retries":        fmt.Sprintf(single, "max_retries: 3, reconnect_after_msec: [7], rejoin_after_msec: [8], jitter: false"),
		"no reconnect":   fmt.Sprintf(single, "reconnect: false"),
		"timeouts":       fmt.Sprintf(single, "connect_timeout_msec: 7, reply_timeout_msec: 20, heartbeat_interval_msec: 9000, heartbeat_timeout_msec: 8000"),
		"not required":   fmt.Sprintf(single, "required: false"),
		"token source":   fmt.Sprintf(single, "params: {t: {file: other}}, headers: {X-Key: {file: other}}, auth_token: {file: other}"),
		"a topic more":   strings.ReplaceAll(fmt.Sprintf(single, ""), "[room:a,", "[room:a, room:more,"),
		"a topic less":   strings.ReplaceAll(fmt.Sprintf(single, ""), `, {topic: room:b, params: {n: 1}}`, ""),
		"another topic":  strings.ReplaceAll(fmt.Sprintf(single, ""), "room:b", "room:c"),
		"other params":   strings.ReplaceAll(fmt.Sprintf(single, ""), "n: 1", "n: 2"),
		"another secret": strings.ReplaceAll(fmt.Sprintf(single, ""), "params: {n: 1}", "params: {n: 1}, secret_params: {}"),
		"another order":  strings.ReplaceAll(fmt.Sprintf(single, ""), "[room:a, {topic: room:b, params: {n: 1}}]", "[{topic: room:b, params: {n: 1}}, room:a]"),
	}
	for name, config := range changes {
		t.Run(name, func(t *testing.T) {
			was := fmt.Sprintf(single, "")
			if name == "token source" {
				was = fmt.Sprintf(single, "params: {t: {file: token}}, headers: {X-Key: {command: [echo, x]}}, auth_token: {file: token}")
			}
			s := stageOf(t, was)
			must(t, os.WriteFile(filepath.Join(s.dir, "token"), []byte("x"), 0o600))
			must(t, s.StartAll())
			before := s.await("a", StateJoined)
			s.reload(config)
			s.until(func() bool { // what is left needs the server's answer
				c, err := s.Await(patient(t), "a", StateJoined)
				return err == nil && !slices.ContainsFunc(c.Channels, func(c Channel) bool { return c.State != "joined" })
			})
			after := s.is("a")
			if after.Session != 1 || !after.Since.Equal(before.Since) || after.Counters["disconnects"] != 0 || !after.Channels[0].JoinedAt.Equal(before.Channels[0].JoinedAt) {
				t.Errorf("it was %+v and is %+v", before, after)
			}
			want := slices.Sorted(slices.Values(s.connection("a").settings.Load().connection.AutoJoin()))
			var topics []string
			for _, c := range after.Channels {
				topics = append(topics, c.Topic)
			}
			slices.Sort(topics)
			if !slices.Equal(topics, want) {
				t.Errorf("topics %q, want %q", topics, want)
			}
			if after.Required == (name == "not required") {
				t.Errorf("required: %t", after.Required)
			}
			rejoined := len(before.Channels) == len(after.Channels) && !after.Channels[1].JoinedAt.Equal(before.Channels[1].JoinedAt)
			if want := name == "other params" || name == "another topic"; rejoined != want {
				t.Errorf("the second channel was joined anew: %t, want %t", rejoined, want)
			}
			if name == "timeouts" {
				answer, err := s.Push(t.Context(), "a", Push{Topic: "room:a", Event: "silent", Payload: []byte("{}")})
				if err != nil || answer.Err == nil || answer.Err.Message != "20ms" {
					t.Errorf("a push without an answer: %+v, %v", answer.Err, err)
				}
			}
		})
	}
}

// What the socket was opened with needs a new one.
func TestReloadWithANewSocket(t *testing.T) {
	for _, change := range []string{"vsn: 1.0.0", "params: {user: b}", "headers: {X-A: b}", "presence: true", "max_message: 1MiB", "max_channels_per_socket: 7", "tls: {server_name: other}"} {
		s := started(t, fmt.Sprintf(single, ""))
		s.await("a", StateJoined)
		s.reload(fmt.Sprintf(single, change))
		if c := s.await("a", StateJoined); c.Session != 2 {
			t.Errorf("%s: session %d", change, c.Session)
		}
	}
}

// What a connection was told while it is stopped counts when it is started.
func TestReloadOfWhatIsStopped(t *testing.T) {
	s := started(t, two)
	s.await("a", StateJoined)
	s.stop("a")
	s.reload(strings.ReplaceAll(two, "room:a", "room:a, room:more"))
	if c := s.is("a"); c.Status != string(phoenix.StatusDisconnected) {
		t.Errorf("%+v", c)
	}
	_, err := s.Start(t.Context(), "a")
	must(t, err)
	if c := s.await("a", StateJoined); len(c.Channels) != 2 {
		t.Errorf("%+v", c)
	}
}

// A connection that is changed so that it needs another socket is closed and started anew, and its signals are numbered as if it
// were one run.
func TestReloadRestartsWhatIsChanged(t *testing.T) {
	s := stageOf(t, two)
	signals := s.subscribe(SubscribeRequest{Subscribe: "jido.protocol.phoenix.a.**"})
	must(t, s.StartAll())
	s.await("a", StateJoined)
	s.reload(strings.ReplaceAll(two, "[room:a]", "[room:changed], vsn: 1.0.0"))
	var joined []string
	seen := signals.until(func(sig said) bool {
		if sig.Type == "phoenix.channel.joined" {
			joined = append(joined, sig.Data.Topic)
		}
		return len(joined) == 2
	})
	for i, sig := range seen {
		if sig.Metadata.Seq != uint64(i+1) {
			t.Fatalf("the numbers do not go on: %v", seen)
		}
	}
	if want := []string{"room:a", "room:changed"}; !slices.Equal(joined, want) {
		t.Errorf("joined %q, want %q", joined, want)
	}
}

// Of a connection that the file has no more nothing is left: under its name another one begins anew.
func TestReloadForgetsWhatIsGone(t *testing.T) {
	s := started(t, two)
	s.await("b", StateJoined)
	s.reload(strings.Split(two, "  b:")[0])
	if names := s.names(); !slices.Equal(names, []string{"a"}) {
		t.Errorf("connections %q", names)
	}
	for _, row := range s.router.Stats() {
		if slices.ContainsFunc(row.Connections, func(c router.ConnectionStats) bool { return c.Connection == "b" }) {
			t.Errorf("still counted: %+v", row)
		}
	}
	s.reload(two)
	if c := s.await("b", StateJoined); c.Session != 1 || c.Counters["disconnects"] != 0 {
		t.Errorf("the new one has a past: %+v", c)
	}
}

func TestReloadForgetsTheMetricsOfWhatIsGone(t *testing.T) {
	s := started(t, two)
	for _, name := range []string{"a", "b"} {
		s.await(name, StateJoined)
		if _, err := s.Push(t.Context(), name, echo("room:"+name)); err != nil {
			t.Fatal(err)
		}
	}
	s.reload(strings.Split(two, "  b:")[0])
	if metrics := s.metrics(); strings.Contains(metrics, `connection="b"`) || !strings.Contains(metrics, `connection="a"`) {
		t.Errorf("metrics:\n%s", metrics)
	}
}

// metrics returns the page of metrics.
func (s *stage) metrics() string {
	page := httptest.NewRecorder()
	s.Metrics.Handler(slog.New(s.log)).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return page.Body.String()
}

func TestAddedConnectionSurvivesReload(t *testing.T) {
	s := started(t, two)
	s.add(`{"name": "c", "uri": "${URI}"}`)
	s.await("c", StateConnected)
	s.reload(two)
	if c := s.is("c"); c.Status != string(phoenix.StatusConnected) || c.Session != 1 {
		t.Errorf("after a reload: %+v", c)
	}
}

// What was added belongs to the file as soon as that has it, with the same settings or with others, and goes with it.
func TestAddedConnectionBecomesTheFiles(t *testing.T) {
	for settings, session := range map[string]int{`uri: "${URI}"`: 1, `uri: "${URI}", vsn: 1.0.0`: 2} {
		t.Run(settings, func(t *testing.T) {
			s := started(t, two)
			s.add(`{"name": "c", "uri": "${URI}"}`)
			s.await("c", StateConnected)
			s.reload(two + "  c: {" + settings + "}\n")
			if c := s.await("c", StateConnected); c.Session != session {
				t.Errorf("session %d, want %d", c.Session, session)
			}
			s.reload(two)
			if names := s.names(); !slices.Equal(names, []string{"a", "b"}) {
				t.Errorf("connections %q", names)
			}
		})
	}
}

// refusing is a server that refuses a connection until it gets the token "good".
func refusing(srv *phoenixtest.Server) {
	srv.Mount("/socket", phoenixtest.UserSocket{Connect: func(info *phoenixtest.ConnectInfo) error {
		if info.Params["token"] != "good" {
			return &phoenixtest.Refusal{Status: http.StatusForbidden}
		}
		return nil
	}})
}

const refused = `connections: {a: {uri: "${URI}", required: false, max_retries: 0}}`

// over returns a stage whose connection "a" is over.
func over(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, refusing, refused)
	s.open()
	must(t, s.StartAll())
	s.log.await(t, "the connection is over")
	return s
}

// A connection that is over gets another chance with other settings.
func TestReloadRevivesWhatIsOverAndChanged(t *testing.T) {
	s := over(t)
	s.reload(strings.ReplaceAll(refused, "required", "params: {token: good}, required"))
	if c := s.await("a", StateConnected); c.Session != 1 {
		t.Errorf("%+v", c)
	}
}

func TestReloadLeavesWhatIsOver(t *testing.T) {
	s := over(t)
	s.reload(refused + "\n")
	if c := s.is("a"); c.Status != string(phoenix.StatusDisconnected) || c.Error == "" || s.srv.Stats().Attempts != 1 {
		t.Errorf("%+v after %d attempts", c, s.srv.Stats().Attempts)
	}
}

// What somebody has stopped stays so, and has its new settings when it is started.
func TestReloadLeavesWhatIsStopped(t *testing.T) {
	s := started(t, two)
	s.await("a", StateJoined)
	s.stop("a")
	s.reload(strings.ReplaceAll(two, "room:a", "room:changed"))
	if c := s.is("a"); c.Status != string(phoenix.StatusDisconnected) {
		t.Errorf("after the reload it is %s", c.Status)
	}
	_, err := s.Start(t.Context(), "a")
	must(t, err)
	if c := s.await("a", StateJoined); c.Channels[0].Topic != "room:changed" {
		t.Errorf("started with %+v", c.Channels)
	}
}

// What cannot be changed while serve runs is refused, and with it the rest of the change.
func TestReloadRefusesOtherListeners(t *testing.T) {
	for _, change := range []string{"control: {socket: other.sock}", "http: {listen: 127.0.0.1:1}", "cluster: {shard: 0/1}"} {
		t.Run(change, func(t *testing.T) {
			s := started(t, two)
			s.write(strings.ReplaceAll(two, "  b:", "  c:") + change)
			if err := s.Reload(t.Context()); codeOf(err) != exit.Usage || !strings.Contains(err.Error(), "control, http, state_dir and cluster cannot be changed") {
				t.Errorf("error %v", err)
			}
			if names := s.names(); !slices.Equal(names, []string{"a", "b"}) {
				t.Errorf("connections %q", names)
			}
		})
	}
}

func TestReloadBeforeTheStart(t *testing.T) {
	s := stageOf(t, two)
	wantError(t, s.Reload(t.Context()), http.StatusServiceUnavailable, 1, "still starting")
}

// counting is a sink that counts how often its program is started.
const counting = `
connections: {a: {uri: "${URI}", auto_join_channels: [room:a]}}
sinks:
  count: {exec: {command: [sh, -c, "echo started >> starts; cat > signals"], dir: .}, queue: %d}
routes:
  - {to: count}
`

// A sink whose settings are the same is the same sink, whatever else changes.
func TestReloadKeepsSinks(t *testing.T) {
	for queue, starts := range map[int]int{10: 1, 20: 2} {
		t.Run(fmt.Sprint("queue ", queue), func(t *testing.T) {
			s := started(t, fmt.Sprintf(counting, 10))
			s.await("a", StateJoined)
			s.reload(fmt.Sprintf(counting, queue) + "  - {to: discard}\n")
			s.srv.Broadcast("room:a", "news", nil)
			s.end()
			if n := strings.Count(s.file("starts"), "started"); n != starts {
				t.Errorf("its program was started %d times, want %d", n, starts)
			}
		})
	}
}

// A pipe cannot be written to until it is mended.
type pipe struct{ mended atomic.Bool }

func (p *pipe) Write(lines []byte) (int, error) {
	if !p.mended.Load() {
		return 0, errors.New("broken")
	}
	return len(lines), nil
}

// deadSinks are those that do not work any more.
func (s *stage) deadSinks() []string {
	dead := map[string]bool{}
	for _, row := range s.router.Stats() {
		if row.Err != nil {
			dead[row.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(dead))
}

// A sink that is dead is made anew by any reload.
func TestReloadRevivesSinks(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), two)
	out := &pipe{}
	s.stdout = out
	s.open()
	must(t, s.StartAll())
	s.log.await(t, "the sink has ended")
	out.mended.Store(true)
	s.reload(two)
	if dead := s.deadSinks(); len(dead) > 0 {
		t.Errorf("dead sinks %q", dead)
	}
}

// A sink that makes a reload fail leaves those that there were at work.
func TestFailedReloadKeepsSinks(t *testing.T) {
	const config = `
connections: {a: {uri: "${URI}", auto_join_channels: [room:a]}}
sinks:
  out: {file: {path: out}}
`
	s := started(t, config+"routes: [{to: out}]")
	s.await("a", StateJoined)
	s.write(config + "  bad: {file: {path: nowhere/bad}}\nroutes: [{to: bad}]")
	if err := s.Reload(t.Context()); err == nil {
		t.Error("the reload succeeded")
	}
	s.srv.Broadcast("room:a", "news", nil)
	s.end()
	if out := s.file("out"); !strings.Contains(out, "phoenix.a.room_a.news") {
		t.Errorf("the file has\n%s", out)
	}
}

// What was removed by the control API is back after a reload, for the file has it still.
func TestReloadBringsBackWhatWasRemoved(t *testing.T) {
	s := started(t, two)
	must(t, s.Remove(t.Context(), "a"))
	s.reload(two)
	if c := s.await("a", StateJoined); c.Session != 1 {
		t.Errorf("%+v", c)
	}
}

const oneConnection = "connections: {a: {uri: '${URI}'}}\n"

// hanging returns a stage with a connection a that hangs, because the log of its events does, until it is let go on.
func hanging(t *testing.T) (s *stage, goOn func()) {
	t.Helper()
	hangs, gate := make(chan struct{}, 100), make(chan struct{})
	s = newStage(t, phoenixtest.Demo(), oneConnection)
	s.logEvent = func(*phoenix.Event) {
		hangs <- struct{}{}
		<-gate
	}
	s.open()
	must(t, s.StartAll())
	<-hangs
	return s, func() { close(gate) }
}

// until waits for something that nothing tells of.
func (s *stage) until(enough func() bool) {
	s.t.Helper()
	for ctx := patient(s.t); !enough(); {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			s.t.Fatal("it does not happen")
		}
	}
}

// errorStatus returns the HTTP status that an error is answered with.
func errorStatus(err error) int {
	if e := (*apiError)(nil); errors.As(err, &e) {
		return e.status
	}
	return 0
}

// Who removes a connection that hangs may give up. The removal is completed all the same, and the name is free then.
func TestRemovalOutlivesItsCaller(t *testing.T) {
	s, goOn := hanging(t)
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Remove(soon, "a"); errorStatus(err) != http.StatusGatewayTimeout {
		t.Errorf("Remove of a connection that hangs: %v", err)
	}
	s.reload("connections: {}\n") // which leaves it to that
	s.write(oneConnection)
	if err := s.Reload(t.Context()); errorStatus(err) != http.StatusGatewayTimeout {
		t.Errorf("a reload that wants the connection back meanwhile: %v", err)
	}
	goOn()
	s.until(func() bool { return s.Reload(t.Context()) == nil })
	s.await("a", StateConnected)
}

// A change that waits for a connection lets go when serve ends, and so does one that waits for its turn. Later ones are refused.
func TestShutdownWaitsForNoChange(t *testing.T) {
	s, goOn := hanging(t)
	s.write("connections: {}\n")
	const changes = 3
	ended := make(chan error, changes)
	for range changes {
		go func() { ended <- s.Reload(context.Background()) }()
	}
	s.until(func() bool {
		c, err := s.Connection(t.Context(), "a")
		return err == nil && c.Status == string(phoenix.StatusDisconnecting)
	})
	down := make(chan error)
	go func() { down <- s.Shutdown(context.Background()) }()
	late := 0
	for range changes {
		switch err := <-ended; errorStatus(err) {
		case http.StatusServiceUnavailable:
			late++
		case http.StatusGatewayTimeout:
		default:
			t.Errorf("a reload at the end: %v", err)
		}
	}
	if late != changes-1 {
		t.Errorf("%d changes came too late, want %d", late, changes-1)
	}
	_, err := s.Add(t.Context(), []byte(`{"name":"b","uri":"ws://127.0.0.1:1/socket"}`), "")
	if errorStatus(err) != http.StatusServiceUnavailable {
		t.Errorf("an addition at the end: %v", err)
	}
	goOn()
	must(t, <-down)
}

func TestAdd(t *testing.T) {
	s := started(t, two)
	c, err := s.Add(t.Context(), []byte(`{"name": "c", "uri": "${URI}", "auto_join_channels": ["room:c"]}`), "")
	must(t, err)
	if c.Name != "c" || !c.Required {
		t.Errorf("added %+v", c)
	}
	s.await("c", StateJoined)
}

// Relative paths of an entry begin where its sender says, or else where the config is.
func TestAddFindsFiles(t *testing.T) {
	elsewhere := t.TempDir()
	for what, c := range map[string]struct{ dir, token string }{"here": {"", "here"}, "elsewhere": {elsewhere, "elsewhere"}} {
		t.Run(what, func(t *testing.T) {
			tokens := make(chan any, 1)
			s := newStage(t, func(srv *phoenixtest.Server) {
				srv.Mount("/socket", phoenixtest.UserSocket{Connect: func(info *phoenixtest.ConnectInfo) error {
					tokens <- info.Params["token"]
					return nil
				}})
			}, `connections: {}`)
			must(t, os.WriteFile(filepath.Join(s.dir, "token"), []byte("here"), 0o600))
			must(t, os.WriteFile(filepath.Join(elsewhere, "token"), []byte("elsewhere"), 0o600))
			s.open()
			must(t, s.StartAll())
			_, err := s.Add(t.Context(), []byte(`{"name": "c", "uri": "${URI}", "params": {"token": {"file": "token"}}}`), c.dir)
			must(t, err)
			if token := <-tokens; token != c.token {
				t.Errorf("the token is %q, want %q", token, c.token)
			}
		})
	}
}

// An entry that cannot be taken is refused, and nothing is left of it.
func TestAddRefused(t *testing.T) {
	for what, c := range map[string]struct {
		entry  string
		status int
		code   exit.Code
		says   string
	}{
		"no name":         {`{"uri": "${URI}"}`, http.StatusBadRequest, 2, "name"},
		"a reserved name": {`{"name": "push", "uri": "${URI}"}`, http.StatusBadRequest, 2, "reserved"},
		"a name there is": {`{"name": "a", "uri": "${URI}"}`, http.StatusConflict, 1, `connection "a" already`},
		"no uri":          {`{"name": "c"}`, http.StatusBadRequest, 2, "uri"},
		"an unknown key":  {`{"name": "c", "uri": "${URI}", "timeout": 3}`, http.StatusBadRequest, 2, `"timeout"`},
		"a bad value":     {`{"name": "c", "uri": "${URI}", "vsn": "3.0.0"}`, http.StatusBadRequest, 2, "vsn"},
		"no JSON":         {`{"name": `, http.StatusBadRequest, 2, "the sent connection:1"},
		"no encryption":   {`{"name": "c", "uri": "ws://phoenix.test/socket"}`, http.StatusBadRequest, 2, "require_wss"},
	} {
		t.Run(what, func(t *testing.T) {
			s := started(t, "require_wss: true\n"+two)
			_, err := s.Add(t.Context(), []byte(c.entry), "")
			wantError(t, err, c.status, c.code, c.says)
			if strings.Contains(err.Error(), s.dir) {
				t.Errorf("it names a file that does not exist: %v", err)
			}
			if names := s.names(); len(names) != 2 {
				t.Errorf("connections %q", names)
			}
		})
	}
}

func TestAddBeforeTheStart(t *testing.T) {
	s := stageOf(t, two)
	_, err := s.Add(t.Context(), []byte(`{"name": "c", "uri": "${URI}"}`), "")
	wantError(t, err, http.StatusServiceUnavailable, 1, "still starting")
}

// A name is free as soon as Remove has returned.
func TestRemove(t *testing.T) {
	s := joined(t)
	must(t, s.Remove(t.Context(), "a"))
	if names := s.names(); len(names) > 0 {
		t.Errorf("connections %q", names)
	}
	s.add(`{"name": "a", "uri": "${URI}"}`)
	if c := s.await("a", StateConnected); c.Session != 1 {
		t.Errorf("%+v", c)
	}
}
