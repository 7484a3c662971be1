package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"phx/phoenix/phoenixtest"
)

// TestServeStopLeavesNothing stops a connection in all kinds of states. Each time no goroutine and no file of it is left.
func TestServeStopLeavesNothing(t *testing.T) {
	server := phoenixtest.NewServer(phoenixtest.Demo())
	defer server.Close()
	s := startServe(t, fmt.Sprintf(`
connections: {other: {uri: %s, auto_join_channels: [room:other]}}
routes: [{to: [discard]}]
`, server.URL), nil)
	s.awaitReady(t)
	before := s.atRest(t)

	config := filepath.Join(t.TempDir(), "more.yaml")
	text := fmt.Sprintf(`
connections:
  one: {uri: %s, auto_join_channels: [room:1, room:2, room:3], max_retries: -1, required: false, reconnect_after_msec: [60000]}
`, server.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const stopped, back = "the connection is stopped", 1 << 40 // memory is another test's
	up := func() {
		t.Helper()
		s.ctl(t, "status", "one", "--wait", "joined", "--timeout", patience.String())
		s.awaitUsage(t, "the connection is up", func(u usage) bool { return u.goroutines > before.goroutines })
	}

	s.ctl(t, "start", "-f", config, "one")
	for range 5 {
		up()
		s.ctl(t, "stop", "one")
		s.awaitBack(t, stopped, before, back)
		s.ctl(t, "start", "one")
	}
	up()
	s.ctl(t, "restart", "one")
	up()

	// While it waits for its next attempt.
	server.Refuse(&phoenixtest.Refusal{Status: http.StatusServiceUnavailable})
	s.ctl(t, "restart", "one")
	s.awaitMetric(t, `phx_connection_status{connection="one",status="connecting"}`, 1)
	s.ctl(t, "stop", "one")
	s.awaitBack(t, stopped+" while it waited for its next attempt", before, back)
	server.Refuse(nil)

	// After it was lost, without having noticed.
	s.ctl(t, "start", "one")
	up()
	conns := server.Conns()
	conns[len(conns)-1].BlackHole()
	s.ctl(t, "stop", "one")
	s.awaitBack(t, stopped+" whose server was gone", before, back)

	s.ctl(t, "start", "one")
	up()
	s.ctl(t, "remove", "one")
	s.awaitBack(t, "the connection is removed", before, back)
	if _, metrics := s.get(t, "/metrics"); value(t, metrics, `phx_connection_up{connection="other"}`) != 1 {
		t.Error("the other connection is not up any more")
	}
	if cut := s.stop(t); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
}
