package bridge_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/control"
	"phx/phoenix/phoenixtest"
)

// Every connection is left and closed, and what it says of that is delivered.
func TestShutdownDeliversEverything(t *testing.T) {
	s := started(t, `
connections: {a: {uri: "${URI}", auto_join_channels: [room:a]}}
sinks: {out: {file: {path: out}}}
routes: [{to: out}]
`)
	s.await("a", control.StateJoined)
	s.end()
	var last []string
	for line := range strings.Lines(s.file("out")) {
		last = append(last, signalOf(t, []byte(line)).Type)
	}
	if got := strings.Join(last, " "); !strings.HasSuffix(got, "phoenix.channel.left phoenix.connection.disconnected") {
		t.Errorf("the file has %s", got)
	}
}

// A server that says nothing any more is not waited for longer than there is time.
func TestShutdownWithADeadServer(t *testing.T) {
	s := joined(t)
	s.srv.BlackHole()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("the connection was left in no time")
	}
}

// Nor is a reload that does not come to its end; the connections are closed well all the same.
func TestShutdownDuringAReload(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), one)
	s.open()
	signals := s.subscribe(control.SubscribeRequest{Match: "phoenix.connection.disconnected"})
	must(t, s.StartAll())
	s.await("a", control.StateJoined)
	loading, goOn := make(chan struct{}), make(chan struct{})
	s.load = func() {
		close(loading)
		<-goOn
	}
	reloaded := make(chan error, 1)
	go func() { reloaded <- s.Reload(t.Context()) }()
	<-loading
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, s.Shutdown(ctx))
	if end := signals.find("phoenix.connection.disconnected"); end.Data.Reason != "closed_by_us" {
		t.Errorf("the connection ended with %q", end.Data.Reason)
	}
	close(goOn)
	wantError(t, <-reloaded, http.StatusServiceUnavailable, 56, "shutting down")
}

// A reload that comes too late starts nothing.
func TestReloadAfterShutdown(t *testing.T) {
	s := joined(t)
	s.end()
	s.write(two)
	wantError(t, s.Reload(t.Context()), http.StatusServiceUnavailable, 56, "shutting down")
}
