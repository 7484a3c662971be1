package serve

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

func TestReadyBeforeTheStart(t *testing.T) {
	s := stageOf(t, two)
	if ready, missing := s.Ready(t.Context()); ready || !slices.Equal(missing, []string{"serve is starting"}) {
		t.Errorf("ready %t, missing %q", ready, missing)
	}
}

// Ready says what is missing: a connection, a channel that is not joined, one that was left. Connections that are not required
// never are.
func TestReady(t *testing.T) {
	for what, c := range map[string]struct {
		do      func(s *stage)
		missing []string
	}{
		"all is there":             {func(*stage) {}, nil},
		"a connection":             {func(s *stage) { s.stop("a") }, []string{"a: disconnected"}},
		"one that is not required": {func(s *stage) { s.stop("b") }, nil},
		"a channel": {func(s *stage) {
			_, err := s.Push(s.t.Context(), "a", Push{Topic: "room:a", Event: "crash", Payload: []byte("{}")})
			must(s.t, err)
		}, []string{"a: room:a: errored"}},
		"a channel that the config does not have": {func(s *stage) {
			_, err := s.Join(s.t.Context(), "a", "room:private", nil)
			must(s.t, err)
		}, nil},
		"a channel that was left": {func(s *stage) {
			_, err := s.Leave(s.t.Context(), "a", "room:a")
			must(s.t, err)
		}, []string{"a: room:a: left"}},
	} {
		t.Run(what, func(t *testing.T) {
			s := started(t, `
defaults: {rejoin_after_msec: [3600000]}
connections:
  a: {uri: "${URI}", auto_join_channels: [room:a]}
  b: {uri: "${URI}", auto_join_channels: [room:b], required: false}
`)
			s.await("a", StateJoined)
			s.await("b", StateJoined)
			c.do(s)
			if ready, missing := s.Ready(t.Context()); ready != (c.missing == nil) || !slices.Equal(missing, c.missing) {
				t.Errorf("ready %t, missing %q, want %q", ready, missing, c.missing)
			}
		})
	}
}

// WatchReady tells how it is, and then each change, until its context ends.
func TestWatchReady(t *testing.T) {
	s := started(t, one)
	s.await("a", StateJoined)
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan []string)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.WatchReady(ctx, func(_ bool, missing []string) { told <- missing })
	}()
	if missing := <-told; len(missing) > 0 {
		t.Errorf("at first %q is missing", missing)
	}
	_, err := s.Leave(t.Context(), "a", "room:a")
	must(t, err)
	if missing := <-told; !slices.Equal(missing, []string{"a: room:a: left"}) {
		t.Errorf("after a leave %q is missing", missing)
	}
	_, err = s.Join(t.Context(), "a", "room:a", nil)
	must(t, err)
	if missing := <-told; len(missing) > 0 {
		t.Errorf("after a join %q is missing", missing)
	}
	cancel()
	<-ended
}

// The first required connection that is over is told.
func TestFailed(t *testing.T) {
	s := newStage(t, refusing, strings.ReplaceAll(refused, "false", "true"))
	s.open()
	must(t, s.StartAll())
	err := <-s.Failed()
	var ended *EndedError
	var link *phoenix.LinkError
	if !errors.As(err, &ended) || ended.Connection != "a" || !strings.HasPrefix(ended.URI, s.srv.URL) || !errors.As(err, &link) {
		t.Errorf("error %v", err)
	}
}

// One that is not required is logged, and nothing else.
func TestFailedIsAboutWhatIsRequired(t *testing.T) {
	s := over(t)
	select {
	case err := <-s.Failed():
		t.Errorf("error %v", err)
	default:
	}
	if c := s.is("a"); !strings.Contains(c.Error, "403") {
		t.Errorf("%+v", c)
	}
}

// A panic in what becomes of its events ends a run of this connection, and nothing of another.
func TestPanicHarmsNoOther(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), `
connections:
  a: {uri: "${URI}", auto_join_channels: [room:a]}
  b: {uri: "${URI}", auto_join_channels: [room:crash], reconnect_after_msec: [1]}
`)
	panicked := false
	s.logEvent = func(ev *phoenix.Event) {
		if _, ok := ev.Detail.(*phoenix.Joined); ok && ev.Topic == "room:crash" && !panicked {
			panicked = true
			panic("a bug")
		}
	}
	s.open()
	signals := s.subscribe(SubscribeRequest{Match: "phoenix.channel.joined", Topic: []string{"room:crash"}})
	must(t, s.StartAll())
	before := s.await("a", StateJoined)
	signals.find("phoenix.channel.joined")
	signals.find("phoenix.channel.joined")
	if after := s.await("b", StateJoined); after.Session != 2 || after.Counters["joins"] != 2 {
		t.Errorf("the one that panicked is %+v", after)
	}
	if after := s.is("a"); after.Session != 1 || !after.Since.Equal(before.Since) {
		t.Errorf("the other one was %+v and is %+v", before, after)
	}
	s.log.await(t, "a connection panicked")
}

// What the metrics are made of.
func TestConnectionMetrics(t *testing.T) {
	s := started(t, one)
	s.await("a", StateJoined)
	_, err := s.Join(t.Context(), "a", "room:private", nil)
	must(t, err)
	list := s.Source().Connections()
	if len(list) != 1 || list[0].Name != "a" || list[0].Sessions != 1 || list[0].Channels["joined"] != 1 || list[0].Channels["errored"] != 1 {
		t.Errorf("%+v", list)
	}
}

// A connection that hangs is told as such, and hides no other.
func TestConnectionThatDoesNotAnswer(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), `
connections:
  a: {uri: "${URI}", auto_join_channels: [room:a]}
  b: {uri: "${URI}", auto_join_channels: [room:b]}
`)
	let, hangs := make(chan struct{}), make(chan struct{})
	s.handler = hangingHandler{s.log, func(message string) {
		if strings.HasPrefix(message, "a reply that nothing waits for") { // logged by the loop of a
			close(hangs)
			<-let
		}
	}}
	s.open()
	defer s.end()
	defer close(let)
	must(t, s.StartAll())
	s.await("b", StateJoined)
	s.await("a", StateJoined)
	_, err := s.Push(t.Context(), "a", Push{Topic: "room:a", Event: "slow", Payload: []byte(`{"ms":50}`), Timeout: time.Millisecond})
	must(t, err)
	<-hangs
	list, err := s.Connections(t.Context())
	must(t, err)
	if len(list) != 2 || list[0].Error != "the connection does not answer" || list[1].Status != StateConnected || list[1].Error != "" {
		t.Errorf("%+v", list)
	}
	if ready, missing := s.Ready(t.Context()); ready || !slices.Equal(missing, []string{"a: the connection does not answer"}) {
		t.Errorf("ready %t, missing %q", ready, missing)
	}
	if metrics := s.Source().Connections(); len(metrics) != 2 || metrics[1].Status != phoenix.StatusConnected {
		t.Errorf("%+v", metrics)
	}
}

// A hangingHandler calls hang before it logs a message.
type hangingHandler struct {
	slog.Handler
	hang func(message string)
}

// Handle implements [slog.Handler].
func (h hangingHandler) Handle(ctx context.Context, r slog.Record) error {
	h.hang(r.Message)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h hangingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return hangingHandler{h.Handler.WithAttrs(attrs), h.hang}
}
