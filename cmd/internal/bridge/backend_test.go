package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/control"
	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// one is a config with one connection, joined to room:a.
const one = `connections: {a: {uri: "${URI}", auto_join_channels: [room:a], rejoin_after_msec: [3600000]}}`

// joined returns a stage whose connection "a" is joined to room:a.
func joined(t *testing.T) *stage {
	t.Helper()
	s := started(t, one)
	s.await("a", control.StateJoined)
	return s
}

// calls are all that name a connection.
var calls = map[string]func(s *stage, ctx context.Context, name string) error{
	"Connection": func(s *stage, ctx context.Context, name string) error { _, err := s.Connection(ctx, name); return err },
	"Await": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Await(ctx, name, control.StateConnected)
		return err
	},
	"Remove":  func(s *stage, ctx context.Context, name string) error { return s.Remove(ctx, name) },
	"Start":   func(s *stage, ctx context.Context, name string) error { _, err := s.Start(ctx, name); return err },
	"Stop":    func(s *stage, ctx context.Context, name string) error { _, err := s.Stop(ctx, name); return err },
	"Restart": func(s *stage, ctx context.Context, name string) error { _, err := s.Restart(ctx, name); return err },
	"Join": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Join(ctx, name, "room:b", nil)
		return err
	},
	"Leave": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Leave(ctx, name, "room:a")
		return err
	},
	"Push": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Push(ctx, name, echo("room:a"))
		return err
	},
}

func TestUnknownConnection(t *testing.T) {
	s := joined(t)
	for what, call := range calls {
		t.Run(what, func(t *testing.T) {
			wantError(t, call(s, t.Context(), "x"), http.StatusNotFound, 1, `no connection "x"`)
		})
	}
}

func TestStoppedConnection(t *testing.T) {
	s := joined(t)
	s.stop("a")
	for _, what := range []string{"Join", "Leave", "Push"} {
		t.Run(what, func(t *testing.T) {
			wantError(t, calls[what](s, t.Context(), "a"), http.StatusConflict, 56, "phx ctl start a")
		})
	}
}

func TestCallsAfterShutdown(t *testing.T) {
	s := joined(t)
	s.end()
	for _, what := range []string{"Start", "Restart", "Remove"} {
		t.Run(what, func(t *testing.T) {
			wantError(t, calls[what](s, t.Context(), "a"), http.StatusServiceUnavailable, 56, "shutting down")
		})
	}
}

// gone is a server that refuses every channel.
func gone(srv *phoenixtest.Server) {
	srv.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
		OnJoin: func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) {
			return nil, phoenixtest.RefuseJoin(phoenixtest.Map{"reason": "gone"})
		},
	})}})
}

// Await returns the connection as it is when the caller's time is up.
func TestAwaitTimesOut(t *testing.T) {
	s := newStage(t, gone, one)
	s.open()
	must(t, s.StartAll())
	s.await("a", control.StateConnected)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	c, err := s.Await(ctx, "a", control.StateJoined)
	if !errors.Is(err, context.DeadlineExceeded) || c.Name != "a" || c.Status != string(phoenix.StatusConnected) {
		t.Errorf("%+v, error %v", c, err)
	}
}

// A connection of which a configured channel was left is connected, and not joined.
func TestAwaitJoinedWantsWhatIsConfigured(t *testing.T) {
	s := joined(t)
	_, err := s.Leave(t.Context(), "a", "room:a")
	must(t, err)
	s.await("a", control.StateConnected)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if c, err := s.Await(ctx, "a", control.StateJoined); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%+v, error %v", c, err)
	}
}

func TestAwaitEndsWithTheConnection(t *testing.T) {
	s := newStage(t, gone, one)
	s.open()
	must(t, s.StartAll())
	awaited := make(chan error, 1)
	go func() {
		_, err := s.Await(t.Context(), "a", control.StateJoined)
		awaited <- err
	}()
	s.await("a", control.StateConnected)
	must(t, s.Remove(t.Context(), "a"))
	wantError(t, <-awaited, http.StatusNotFound, 1, `no connection "a"`)
}

// echoing is a server whose joins and pushes answer with what they were sent.
func echoing(srv *phoenixtest.Server) {
	srv.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
		OnJoin: func(_ *phoenixtest.Socket, params phoenixtest.Payload) (any, error) { return params, nil },
		OnIn: func(_ *phoenixtest.Socket, _ string, p phoenixtest.Payload) phoenixtest.Result {
			return phoenixtest.OK(p)
		},
	})}})
}

// Params that are given come before those of the configuration, which come before none.
func TestJoinParams(t *testing.T) {
	for what, c := range map[string]struct {
		topic         string
		given         json.RawMessage
		wantsResponse string
	}{
		"none":            {"room:b", nil, `{}`},
		"configured":      {"room:a", nil, `{"from":"config"}`},
		"given":           {"room:b", json.RawMessage(`{"from":"call"}`), `{"from":"call"}`},
		"given as others": {"room:a", json.RawMessage(`{"from":"call"}`), `{"from":"call"}`},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t, echoing, `connections: {a: {uri: "${URI}", auto_join_channels: [{topic: room:a, params: {from: config}}]}}`)
			s.open()
			must(t, s.StartAll())
			s.await("a", control.StateJoined)
			_, err := s.Leave(t.Context(), "a", "room:a")
			must(t, err)
			a, err := s.Join(t.Context(), "a", c.topic, c.given)
			must(t, err)
			if got := signalOf(t, a.Line); a.HTTPStatus != http.StatusOK || got.Type != "phoenix.channel.joined" || string(got.Data.Response) != c.wantsResponse {
				t.Errorf("status %d, %s", a.HTTPStatus, a.Line)
			}
		})
	}
}

func TestJoinOfWhatIsJoined(t *testing.T) {
	s := joined(t)
	_, err := s.Join(t.Context(), "a", "room:a", nil)
	wantError(t, err, http.StatusConflict, 1, "joined already")
}

// A refused join is answered with its signal.
func TestJoinRefused(t *testing.T) {
	s := joined(t)
	a, err := s.Join(t.Context(), "a", "room:private", nil)
	must(t, err)
	if got := signalOf(t, a.Line); a.HTTPStatus != http.StatusBadGateway || got.Type != "phoenix.channel.join_error" {
		t.Errorf("status %d, %s", a.HTTPStatus, a.Line)
	}
}

func TestLeaveOfWhatIsNotJoined(t *testing.T) {
	s := joined(t)
	_, err := s.Leave(t.Context(), "a", "room:b")
	wantError(t, err, http.StatusConflict, 66, "not joined")
}

// A join that a stop overtakes is answered.
func TestJoinThatIsTakenBack(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{})
	s := newStage(t, func(srv *phoenixtest.Server) {
		srv.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
			OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
				close(arrived)
				s.Wait(release)
				return nil, nil
			},
		})}})
	}, `connections: {a: {uri: "${URI}"}}`)
	s.open()
	must(t, s.StartAll())
	s.await("a", control.StateConnected)
	answered := make(chan error, 1)
	go func() {
		_, err := s.Join(t.Context(), "a", "room:b", nil)
		answered <- err
	}()
	<-arrived
	go close(release)
	s.stop("a")
	if err := <-answered; err != nil {
		wantError(t, err, http.StatusConflict, 66, "left again")
	}
}

// Each push ends with the answer that it got.
func TestPush(t *testing.T) {
	for what, c := range map[string]struct {
		push   control.Push
		status int
		typ    string
		says   string
	}{
		"a reply": {echo("room:a"), http.StatusOK, "phoenix.push.reply", `"payload":{"n":1}`},
		"an error reply": {
			control.Push{Topic: "room:a", Event: "fail", Payload: json.RawMessage(`{}`)}, http.StatusOK, "phoenix.push.reply", `"status":"error"`,
		},
		"binary": {
			control.Push{Topic: "room:a", Event: "echo", Binary: []byte{1, 2, 3}}, http.StatusOK, "phoenix.push.reply", `"AQID"`,
		},
		"no binary at all": {
			control.Push{Topic: "room:a", Event: "echo", Binary: []byte{}}, http.StatusOK, "phoenix.push.reply", `base64":""`,
		},
		"a timeout": {
			control.Push{Topic: "room:a", Event: "silent", Payload: json.RawMessage(`{}`), Timeout: time.Millisecond},
			http.StatusGatewayTimeout, "phoenix.push.timeout", "",
		},
		"a crash": {
			control.Push{Topic: "room:a", Event: "crash", Payload: json.RawMessage(`{}`)}, http.StatusBadGateway, "phoenix.push.error", "",
		},
		"no channel": {
			echo("room:b"), http.StatusBadGateway, "phoenix.push.error", "not_joined",
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := joined(t)
			a, err := s.Push(t.Context(), "a", c.push)
			must(t, err)
			if got := signalOf(t, a.Line); a.HTTPStatus != c.status || got.Type != c.typ || !strings.Contains(string(a.Line), c.says) {
				t.Errorf("status %d, %s", a.HTTPStatus, a.Line)
			}
		})
	}
}

// Who wants no reply is told the ref of the push, which its reply will have.
func TestPushWithoutReply(t *testing.T) {
	s := joined(t)
	signals := s.subscribe(control.SubscribeRequest{Match: "phoenix.push.reply"})
	p := echo("room:a")
	p.NoReply = true
	a, err := s.Push(t.Context(), "a", p)
	must(t, err)
	var answer struct{ Ref string }
	must(t, json.Unmarshal(a.Line, &answer))
	if reply := signals.find("phoenix.push.reply"); a.HTTPStatus != http.StatusAccepted || answer.Ref == "" || reply.Metadata.Ref != answer.Ref {
		t.Errorf("status %d, %s; the reply is %+v", a.HTTPStatus, a.Line, reply)
	}
}

func TestPushWithoutReplyToNoChannel(t *testing.T) {
	s := joined(t)
	p := echo("room:b")
	p.NoReply = true
	a, err := s.Push(t.Context(), "a", p)
	must(t, err)
	if got := signalOf(t, a.Line); a.HTTPStatus != http.StatusBadGateway || got.Type != "phoenix.push.error" {
		t.Errorf("status %d, %s", a.HTTPStatus, a.Line)
	}
}

// What no server could take is the caller's mistake, and not ours.
func TestCallsThatAreWrong(t *testing.T) {
	for what, c := range map[string]struct {
		call func(s *stage) error
		says string
	}{
		"the protocol's event": {func(s *stage) error {
			_, err := s.Push(s.t.Context(), "a", control.Push{Topic: "room:a", Event: "phx_leave", Payload: json.RawMessage(`{}`)})
			return err
		}, "phx_leave"},
		"the protocol's event without reply": {func(s *stage) error {
			_, err := s.Push(s.t.Context(), "a", control.Push{Topic: "room:a", Event: "phx_leave", Payload: json.RawMessage(`{}`), NoReply: true})
			return err
		}, "phx_leave"},
		"binary by vsn 1.0.0": {func(s *stage) error {
			_, err := s.Push(s.t.Context(), "old", control.Push{Topic: "room:a", Event: "echo", Binary: []byte{1}})
			return err
		}, "vsn 1.0.0"},
		"the socket's topic": {func(s *stage) error { _, err := s.Join(s.t.Context(), "a", "phoenix", nil); return err }, `"phoenix"`},
	} {
		t.Run(what, func(t *testing.T) {
			s := started(t, `connections: {a: {uri: "${URI}"}, old: {uri: "${URI}", vsn: 1.0.0}}`)
			wantError(t, c.call(s), http.StatusBadRequest, 2, c.says)
		})
	}
}

// A caller who does not wait long enough is told so.
func TestPushGivenUp(t *testing.T) {
	s := joined(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := s.Push(ctx, "a", control.Push{Topic: "room:a", Event: "silent", Payload: json.RawMessage(`{}`)})
	wantError(t, err, http.StatusGatewayTimeout, 28, "not finished in time")
}

// What a caller gets is the signal that everybody gets: the same id, the same number.
func TestAnswersAreTheRoutedSignals(t *testing.T) {
	for typ, call := range map[string]func(s *stage) (control.Answer, error){
		"phoenix.channel.joined":     func(s *stage) (control.Answer, error) { return s.Join(s.t.Context(), "a", "room:b", nil) },
		"phoenix.channel.join_error": func(s *stage) (control.Answer, error) { return s.Join(s.t.Context(), "a", "room:private", nil) },
		"phoenix.channel.left":       func(s *stage) (control.Answer, error) { return s.Leave(s.t.Context(), "a", "room:a") },
		"phoenix.push.reply":         func(s *stage) (control.Answer, error) { return s.Push(s.t.Context(), "a", echo("room:a")) },
		"phoenix.push.error":         func(s *stage) (control.Answer, error) { return s.Push(s.t.Context(), "a", echo("room:b")) },
	} {
		t.Run(typ, func(t *testing.T) {
			s := joined(t)
			signals := s.subscribe(control.SubscribeRequest{})
			a, err := call(s)
			must(t, err)
			answer := signalOf(t, a.Line)
			seen := signals.until(func(sig said) bool { return sig.Metadata.Seq == answer.Metadata.Seq })
			if routed := seen[len(seen)-1]; answer.ID == "" || routed.ID != answer.ID || answer.Type != typ {
				t.Errorf("the answer is %s %v, the signal %s %v", answer.ID, answer, routed.ID, routed)
			}
		})
	}
}

func TestAdd(t *testing.T) {
	s := started(t, two)
	c, err := s.Add(t.Context(), []byte(`{"name": "c", "uri": "${URI}", "auto_join_channels": ["room:c"]}`), "")
	must(t, err)
	if c.Name != "c" || !c.Required {
		t.Errorf("added %+v", c)
	}
	s.await("c", control.StateJoined)
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
		entry        string
		status, code int
		says         string
	}{
		"no name":         {`{"uri": "${URI}"}`, http.StatusBadRequest, 2, "name"},
		"a reserved name": {`{"name": "push", "uri": "${URI}"}`, http.StatusBadRequest, 2, "reserved"},
		"a name there is": {`{"name": "a", "uri": "${URI}"}`, http.StatusConflict, 1, `connection "a" already`},
		"no uri":          {`{"name": "c"}`, http.StatusBadRequest, 2, "uri"},
		"an unknown key":  {`{"name": "c", "uri": "${URI}", "timeout": 3}`, http.StatusBadRequest, 2, `"timeout"`},
		"a bad value":     {`{"name": "c", "uri": "${URI}", "vsn": "3.0.0"}`, http.StatusBadRequest, 2, "vsn"},
		"no JSON":         {`{"name": `, http.StatusBadRequest, 2, "connection:1"},
		"no encryption":   {`{"name": "c", "uri": "ws://phoenix.test/socket"}`, http.StatusBadRequest, 2, "require_wss"},
	} {
		t.Run(what, func(t *testing.T) {
			s := started(t, "require_wss: true\n"+two)
			_, err := s.Add(t.Context(), []byte(c.entry), "")
			wantError(t, err, c.status, c.code, c.says)
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
	if c := s.await("a", control.StateConnected); c.Session != 1 {
		t.Errorf("%+v", c)
	}
}
