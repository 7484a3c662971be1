package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"phx/cmd/internal/control"
)

// stormy are configs between which reloads go to and fro: a stays as it is, b changes, c comes and goes.
var stormy = func() []string {
	const rest = `
  a: {uri: "${URI}", auto_join_channels: [room:a]}
sinks: {out: {file: {path: out}, queue: %s}}
routes: [{to: [out, discard]}]
`
	same := fmt.Sprintf(rest, "1000000")
	return []string{
		"connections:\n  b: {uri: \"${URI}\", auto_join_channels: [room:b]}" + same,
		"connections:\n  b: {uri: \"${URI}\", auto_join_channels: [room:b, room:b2]}" + same,
		"connections:\n  b: {uri: \"${URI}\"}\n  c: {uri: \"${URI}\"}" + fmt.Sprintf(rest, "2000000"),
	}
}()

// storm asks everything at once. Errors are right where the name is not there, or is already, or is stopped; and those with one
// of the other statuses.
func (s *stage) storm(others ...int) {
	const seed, askers, questions = 1, 4, 40
	right := append(others, http.StatusNotFound, http.StatusConflict)
	asks := []func(ctx context.Context, name string, n int) error{
		func(ctx context.Context, _ string, n int) error {
			s.write(stormy[n%len(stormy)])
			return s.Reload(ctx)
		},
		func(ctx context.Context, name string, _ int) error {
			_, err := s.Add(ctx, fmt.Appendf(nil, `{"name": %q, "uri": "${URI}"}`, name), "")
			return err
		},
		func(ctx context.Context, _ string, _ int) error { _, err := s.Connections(ctx); return err },
		func(ctx context.Context, _ string, _ int) error {
			s.Ready(ctx)
			s.Source().Sinks()
			s.Source().Connections()
			return nil
		},
	}
	for _, what := range []string{"Restart", "Stop", "Start", "Remove", "Push"} {
		asks = append(asks, func(ctx context.Context, name string, _ int) error { return calls[what](s, ctx, name) })
	}
	var all sync.WaitGroup
	for asker := range uint64(askers) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, asker))
			for range questions {
				ask, name := asks[random.IntN(len(asks))], string(rune('a'+random.IntN(3)))
				err := ask(patient(s.t), name, random.IntN(100))
				var e *control.Error
				if err != nil && (!errors.As(err, &e) || !slices.Contains(right, e.Status)) {
					s.t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	all.Wait()
}

// wantWhole makes sure that each connection's signals are in the file, in order, without a gap or a double: from 1 again only when
// it was removed.
func (s *stage) wantWhole() {
	s.t.Helper()
	last := map[string]uint64{}
	for line := range strings.Lines(s.file("out")) {
		sig := signalOf(s.t, []byte(line))
		name, seq := sig.Metadata.Connection, sig.Metadata.Seq
		if seq != last[name]+1 && seq != 1 {
			s.t.Errorf("%v comes after %d", sig, last[name])
		}
		last[name] = seq
	}
}

// Whatever is asked at the same time, nothing is lost, and the last reload decides.
func TestStorm(t *testing.T) {
	s := started(t, stormy[0])
	s.storm()
	s.reload(stormy[0])
	for _, name := range []string{"a", "b"} {
		_, err := s.Restart(t.Context(), name)
		must(t, err)
		s.await(name, control.StateJoined)
	}
	s.end()
	s.wantWhole()
}

// An end in the midst of it comes at once, and loses nothing.
func TestShutdownInAStorm(t *testing.T) {
	s := started(t, stormy[0])
	s.await("a", control.StateJoined)
	signals, seen := s.subscribe(control.SubscribeRequest{}), 0
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.storm(http.StatusServiceUnavailable, http.StatusGatewayTimeout)
	}()
	signals.until(func(said) bool {
		seen++
		return seen == 10
	})
	must(t, s.Shutdown(patient(t)))
	<-over
	s.wantWhole()
}
