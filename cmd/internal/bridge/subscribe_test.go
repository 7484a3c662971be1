package bridge_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/control"
	"phx/signal"
)

// A filter takes the one message that it wants, of the three that there are.
func TestSubscribeFilters(t *testing.T) {
	for what, c := range map[string]struct {
		request control.SubscribeRequest
		want    string
	}{
		"match":     {control.SubscribeRequest{Match: "phoenix.*.room_a.gossip"}, "phoenix.a.room_a.gossip"},
		"subscribe": {control.SubscribeRequest{Subscribe: "jido.protocol.phoenix.a.room_b.**"}, "phoenix.a.room_b.news"},
		"topic":     {control.SubscribeRequest{Topic: []string{"room:c", "room:b"}}, "phoenix.a.room_b.news"},
		"event":     {control.SubscribeRequest{Event: []string{"go*"}}, "phoenix.a.room_a.gossip"},
		"where":     {control.SubscribeRequest{Where: `"phoenix_event":"gossip"`}, "phoenix.a.room_a.gossip"},
		"all":       {control.SubscribeRequest{Topic: []string{"room:a"}, Event: []string{"news"}}, "phoenix.a.room_a.news"},
	} {
		t.Run(what, func(t *testing.T) {
			s := started(t, `connections: {a: {uri: "${URI}", auto_join_channels: [room:a, room:b]}}`)
			s.await("a", control.StateJoined)
			everything, filtered := s.subscribe(control.SubscribeRequest{}), s.subscribe(c.request)
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
func (l *listener) rest() []said {
	l.t.Helper()
	all := l.waiting
	for {
		lines, err := l.Next(patient(l.t))
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
	s.await("a", control.StateJoined)
	sub := s.subscribe(control.SubscribeRequest{Match: "phoenix.a.**", Format: signal.FormatPayload})
	s.srv.Broadcast("room:a", "news", map[string]int{"n": 1})
	if lines, err := sub.Next(patient(t)); err != nil || string(lines) != `{"n":1}`+"\n" {
		t.Errorf("%q, error %v", lines, err)
	}
}

func TestSubscribeErrors(t *testing.T) {
	s := stageOf(t, one)
	for what, c := range map[string]struct {
		request control.SubscribeRequest
		code    int
		says    string
	}{
		"match":     {control.SubscribeRequest{Match: "phoenix..a"}, 2, "phoenix..a"},
		"subscribe": {control.SubscribeRequest{Subscribe: "jido..a"}, 2, "jido..a"},
		"topic":     {control.SubscribeRequest{Topic: []string{"room:*", `a\`}}, 2, `the glob "a\\": a glob must not`},
		"event":     {control.SubscribeRequest{Event: []string{`a\`}}, 2, `the glob "a\\": a glob must not`},
		"where":     {control.SubscribeRequest{Where: "("}, 3, "does not compile"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := s.Subscribe(c.request)
			wantError(t, err, http.StatusBadRequest, c.code, c.says)
		})
	}
}

func TestSubscriberThatGoes(t *testing.T) {
	s := stageOf(t, one)
	sub := s.subscribe(control.SubscribeRequest{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if lines, err := sub.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%q, error %v", lines, err)
	}
}
