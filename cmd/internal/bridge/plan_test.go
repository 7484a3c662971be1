package bridge_test

import (
	"slices"
	"strings"
	"testing"

	"phx/cmd/internal/bridge"
	"phx/phoenix/phoenixtest"
)

// Whatever is wrong anywhere in the file is told at once, each once, with its place, in the order of the file.
func TestPlanTellsAllMistakes(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), `
defaults: {vsn: 3.0.0}
connections:
  a: {uri: "${URI}", auto_join_channels: [room:a]}
  b: {uri: "http//broken"}
  c: {uri: "${URI}", max_retries: many}
sinks:
  s: {file: {path: out}, when_full: block}
routes:
  - {to: stdout, where: "("}
`)
	_, err := bridge.New(s.options())
	if err == nil {
		t.Fatal("the configuration is accepted")
	}
	var places []string
	for line := range strings.Lines(err.Error()) {
		_, rest, _ := strings.Cut(line, "phx.yaml:")
		place, _, _ := strings.Cut(rest, ": ")
		places = append(places, place)
	}
	if want := []string{"2:17", "5:12", "6:35", "8:37", "10:25"}; !slices.Equal(places, want) {
		t.Errorf("mistakes at %q, want %q:\n%v", places, want, err)
	}
}

func TestNoConnectionsIsAllowed(t *testing.T) {
	s := started(t, `connections: {}`)
	s.log.await(t, "no connections")
	if ready, missing := s.Ready(t.Context()); !ready {
		t.Errorf("not ready: %q", missing)
	}
}

// Files are opened before anything is connected.
func TestStartFailsBeforeItConnects(t *testing.T) {
	s := stageOf(t, `
connections: {a: {uri: "${URI}"}}
sinks: {out: {file: {path: nowhere/out}}}
routes: [{to: out}]
`)
	err := s.StartAll()
	if err == nil || !strings.Contains(err.Error(), "the sink out cannot work") {
		t.Errorf("error %v", err)
	}
	if list, err := s.Connections(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("connections %v, error %v", list, err)
	}
}
