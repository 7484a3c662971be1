package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/signal"
)

// one is a config with one connection, joined to room:a.
const one = `connections: {a: {uri: "${URI}", auto_join_channels: [room:a], rejoin_after_msec: [3600000]}}`

// joined returns a stage whose connection "a" is joined to room:a.
func joined(t *testing.T) *stage {
	t.Helper()
	s := started(t, one)
	s.await("a", StateJoined)
	return s
}

// calls are all that name a connection.
var calls = map[string]func(s *stage, ctx context.Context, name string) error{
	"Connection": func(s *stage, ctx context.Context, name string) error { _, err := s.Connection(ctx, name); return err },
	"Await": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Await(ctx, name, StateConnected)
		return err
	},
	"Remove":  func(s *stage, ctx context.Context, name string) error { return s.Remove(ctx, name) },
	"Start":   func(s *stage, ctx context.Context, name string) error { _, err := s.Start(ctx, name); return err },
	"Stop":    func(s *stage, ctx context.Context, name string) error { _, err := s.Stop(ctx, name); return err },
	"Restart": func(s *stage, ctx context.Context, name string) error { _, err := s.Restart(ctx, name); return err },
	"Join": func(s *stage, ctx context.Context, name string) error {
		_, err := s.Join(ctx, name, Join{Topic: "room:b"})
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
	s.await("a", StateConnected)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	c, err := s.Await(ctx, "a", StateJoined)
	if !errors.Is(err, context.DeadlineExceeded) || c.Name != "a" || c.Status != string(phoenix.StatusConnected) {
		t.Errorf("%+v, error %v", c, err)
	}
}

// A connection of which a configured channel was left is connected, and not joined.
func TestAwaitJoinedWantsWhatIsConfigured(t *testing.T) {
	s := joined(t)
	_, err := s.Leave(t.Context(), "a", "room:a")
	must(t, err)
	s.await("a", StateConnected)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if c, err := s.Await(ctx, "a", StateJoined); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%+v, error %v", c, err)
	}
}

func TestAwaitEndsWithTheConnection(t *testing.T) {
	s := newStage(t, gone, one)
	s.open()
	must(t, s.StartAll())
	awaited := make(chan error, 1)
	go func() {
		_, err := s.Await(t.Context(), "a", StateJoined)
		awaited <- err
	}()
	s.await("a", StateConnected)
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
			s.await("a", StateJoined)
			_, err := s.Leave(t.Context(), "a", "room:a")
			must(t, err)
			a, err := s.Join(t.Context(), "a", Join{Topic: c.topic, Params: c.given})
			must(t, err)
			if got := signalOf(t, a.Line); a.Status != http.StatusOK || got.Type != "phoenix.channel.joined" || string(got.Data.Response) != c.wantsResponse {
				t.Errorf("status %d, %s", a.Status, a.Line)
			}
		})
	}
}

func TestJoinOfWhatIsJoined(t *testing.T) {
	s := joined(t)
	_, err := s.Join(t.Context(), "a", Join{Topic: "room:a"})
	wantError(t, err, http.StatusConflict, 1, "joined already")
}

// A refused join is answered with its signal.
func TestJoinRefused(t *testing.T) {
	s := joined(t)
	a, err := s.Join(t.Context(), "a", Join{Topic: "room:private"})
	must(t, err)
	if got := signalOf(t, a.Line); a.Status != http.StatusBadGateway || got.Type != "phoenix.channel.join_error" || failureCode(a) != exit.Join {
		t.Errorf("status %d, %s", a.Status, a.Line)
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
	s.await("a", StateConnected)
	answered := make(chan error, 1)
	go func() {
		_, err := s.Join(t.Context(), "a", Join{Topic: "room:b"})
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
		push   Push
		status int
		typ    string
		says   string
		code   exit.Code
	}{
		"a reply": {echo("room:a"), http.StatusOK, "phoenix.push.reply", `"payload":{"n":1}`, exit.OK},
		"an error reply": {
			Push{Topic: "room:a", Event: "fail", Payload: json.RawMessage(`{}`)}, http.StatusOK, "phoenix.push.reply", `"status":"error"`, exit.PushStatus,
		},
		"binary": {
			Push{Topic: "room:a", Event: "echo", Binary: []byte{1, 2, 3}}, http.StatusOK, "phoenix.push.reply", `"AQID"`, exit.OK,
		},
		"no binary at all": {
			Push{Topic: "room:a", Event: "echo", Binary: []byte{}}, http.StatusOK, "phoenix.push.reply", `base64":""`, exit.OK,
		},
		"a timeout": {
			Push{Topic: "room:a", Event: "silent", Payload: json.RawMessage(`{}`), TimeoutMS: 1},
			http.StatusGatewayTimeout, "phoenix.push.timeout", `"timeout_ms":1`, exit.Timeout,
		},
		"a crash": {
			Push{Topic: "room:a", Event: "crash", Payload: json.RawMessage(`{}`)}, http.StatusBadGateway, "phoenix.push.error", "", exit.Channel,
		},
		"no channel": {
			echo("room:b"), http.StatusBadGateway, "phoenix.push.error", "not_joined", exit.Channel,
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := joined(t)
			a, err := s.Push(t.Context(), "a", c.push)
			must(t, err)
			if got := signalOf(t, a.Line); a.Status != c.status || got.Type != c.typ || !strings.Contains(string(a.Line), c.says) {
				t.Errorf("status %d, %s", a.Status, a.Line)
			}
			if code := failureCode(a); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
		})
	}
}

// failureCode returns the exit code of an answer.
func failureCode(a Answer) exit.Code {
	if a.Err == nil {
		return exit.OK
	}
	return a.Err.Code
}

// Who wants no reply is told the ref of the push, which its reply will have.
func TestPushWithoutReply(t *testing.T) {
	s := joined(t)
	signals := s.subscribe(SubscribeRequest{Match: "phoenix.push.reply"})
	p := echo("room:a")
	p.NoReply = true
	a, err := s.Push(t.Context(), "a", p)
	must(t, err)
	var answer struct{ Ref string }
	must(t, json.Unmarshal(a.Line, &answer))
	if reply := signals.find("phoenix.push.reply"); a.Status != http.StatusAccepted || answer.Ref == "" || reply.Metadata.Ref != answer.Ref {
		t.Errorf("status %d, %s; the reply is %+v", a.Status, a.Line, reply)
	}
}

func TestPushWithoutReplyToNoChannel(t *testing.T) {
	s := joined(t)
	p := echo("room:b")
	p.NoReply = true
	a, err := s.Push(t.Context(), "a", p)
	must(t, err)
	if got := signalOf(t, a.Line); a.Status != http.StatusBadGateway || got.Type != "phoenix.push.error" || failureCode(a) != exit.Channel {
		t.Errorf("status %d, %s", a.Status, a.Line)
	}
}

// What no server could take is the caller's mistake, and not ours.
func TestCallsThatAreWrong(t *testing.T) {
	for what, c := range map[string]struct {
		call func(s *stage) error
		says string
	}{
		"the protocol's event": {func(s *stage) error {
			_, err := s.Push(s.t.Context(), "a", Push{Topic: "room:a", Event: "phx_leave", Payload: json.RawMessage(`{}`)})
			return err
		}, "phx_leave"},
		"the protocol's event without reply": {func(s *stage) error {
			_, err := s.Push(s.t.Context(), "a", Push{Topic: "room:a", Event: "phx_leave", Payload: json.RawMessage(`{}`), NoReply: true})
			return err
		}, "phx_leave"},
		"binary by vsn 1.0.0": {func(s *stage) error {
			_, err := s.Push(s.t.Context(), "old", Push{Topic: "room:a", Event: "echo", Binary: []byte{1}})
			return err
		}, "vsn 1.0.0"},
		"the socket's topic": {func(s *stage) error { _, err := s.Join(s.t.Context(), "a", Join{Topic: "phoenix"}); return err }, `"phoenix"`},
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
	_, err := s.Push(ctx, "a", Push{Topic: "room:a", Event: "silent", Payload: json.RawMessage(`{}`)})
	wantError(t, err, http.StatusGatewayTimeout, 28, "not finished in time")
}

// What a caller gets is the signal that everybody gets: the same id, the same number.
func TestAnswersAreTheRoutedSignals(t *testing.T) {
	for typ, call := range map[string]func(s *stage) (Answer, error){
		"phoenix.channel.joined":     func(s *stage) (Answer, error) { return s.Join(s.t.Context(), "a", Join{Topic: "room:b"}) },
		"phoenix.channel.join_error": func(s *stage) (Answer, error) { return s.Join(s.t.Context(), "a", Join{Topic: "room:private"}) },
		"phoenix.channel.left":       func(s *stage) (Answer, error) { return s.Leave(s.t.Context(), "a", "room:a") },
		"phoenix.push.reply":         func(s *stage) (Answer, error) { return s.Push(s.t.Context(), "a", echo("room:a")) },
		"phoenix.push.error":         func(s *stage) (Answer, error) { return s.Push(s.t.Context(), "a", echo("room:b")) },
	} {
		t.Run(typ, func(t *testing.T) {
			s := joined(t)
			signals := s.subscribe(SubscribeRequest{})
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

// A filter takes the one message that it wants, of the three that there are.
func TestSubscribeFilters(t *testing.T) {
	for what, c := range map[string]struct {
		request SubscribeRequest
		want    string
	}{
		"match":     {SubscribeRequest{Match: "phoenix.*.room_a.gossip"}, "phoenix.a.room_a.gossip"},
		"subscribe": {SubscribeRequest{Subscribe: "jido.protocol.phoenix.a.room_b.**"}, "phoenix.a.room_b.news"},
		"topic":     {SubscribeRequest{Topic: []string{"room:c", "room:b"}}, "phoenix.a.room_b.news"},
		"event":     {SubscribeRequest{Event: []string{"go*"}}, "phoenix.a.room_a.gossip"},
		"where":     {SubscribeRequest{Where: `"phoenix_event":"gossip"`}, "phoenix.a.room_a.gossip"},
		"all":       {SubscribeRequest{Topic: []string{"room:a"}, Event: []string{"news"}}, "phoenix.a.room_a.news"},
	} {
		t.Run(what, func(t *testing.T) {
			s := started(t, `connections: {a: {uri: "${URI}", auto_join_channels: [room:a, room:b]}}`)
			s.await("a", StateJoined)
			everything, filtered := s.subscribe(SubscribeRequest{}), s.subscribe(c.request)
			s.srv.Broadcast("room:a", "news", nil)
			s.srv.Broadcast("room:b", "news", nil)
			s.srv.Broadcast("room:a", "gossip", nil)
			everything.find("phoenix.a.room_a.gossip")
			s.end()
			var got []string
			for _, sig := range filtered.rest() {
				if strings.HasPrefix(sig.Type, "phoenix.a.") {
					got = append(got, sig.Type)
				}
			}
			if !slices.Equal(got, []string{c.want}) {
				t.Errorf("got %q, want %q alone", got, c.want)
			}
		})
	}
}

// rest returns what comes until the end of the stream.
func (l *subscriber) rest() []said {
	l.t.Helper()
	all := l.waiting
	for {
		lines, err := l.next(patient(l.t))
		if err == io.EOF {
			return all
		}
		must(l.t, err)
		for line := range strings.Lines(string(lines)) {
			all = append(all, signalOf(l.t, []byte(line)))
		}
	}
}

func TestSubscribeFormat(t *testing.T) {
	s := started(t, one)
	s.await("a", StateJoined)
	sub := s.subscribe(SubscribeRequest{Match: "phoenix.a.**", Format: signal.FormatPayload})
	s.srv.Broadcast("room:a", "news", map[string]int{"n": 1})
	if lines, err := sub.next(patient(t)); err != nil || string(lines) != `{"n":1}`+"\n" {
		t.Errorf("%q, error %v", lines, err)
	}
}

func TestSubscribeErrors(t *testing.T) {
	s := stageOf(t, one)
	for what, c := range map[string]struct {
		request SubscribeRequest
		code    exit.Code
		says    string
	}{
		"match":     {SubscribeRequest{Match: "phoenix..a"}, 2, "phoenix..a"},
		"subscribe": {SubscribeRequest{Subscribe: "jido..a"}, 2, "jido..a"},
		"topic":     {SubscribeRequest{Topic: []string{"room:*", `a\`}}, 2, `the glob "a\\": a glob must not`},
		"event":     {SubscribeRequest{Event: []string{`a\`}}, 2, `the glob "a\\": a glob must not`},
		"where":     {SubscribeRequest{Where: "("}, 3, "does not compile"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := s.Subscribe(c.request)
			wantError(t, err, http.StatusBadRequest, c.code, c.says)
		})
	}
}

func TestSubscriberThatGoes(t *testing.T) {
	s := stageOf(t, one)
	sub := s.subscribe(SubscribeRequest{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if lines, err := sub.next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%q, error %v", lines, err)
	}
}
