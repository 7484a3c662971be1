package main_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soakRate is how many numbered events a second each of the ten channels gets.
const soakRate = 120

// soakRound is how long a round takes, with each of its faults.
const soakRound = 5 * time.Second

// TestSoak loads phx serve, as a process, while all kinds of things go wrong, and compares what each sink got with what was sent:
// everything is there once and in order, or counted in a drop signal. It takes 5 seconds, or what PHX_SOAK says.
func TestSoak(t *testing.T) {
	needBinary(t)
	duration := soakRound
	if text := os.Getenv("PHX_SOAK"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("PHX_SOAK: %v", err)
		}
	}
	s := newSoak(t)
	s.start(t)
	s.awaitStart(t)
	began, before, atStart := time.Now(), s.audit.total(), s.metrics(t)
	rounds := max(1, int(duration/soakRound))
	for round := 1; round <= rounds; round++ {
		s.round(t, round)
	}
	s.openGate(t)
	took, came, after := time.Since(began), s.audit.total()-before, s.metrics(t)
	s.finish(t, rounds)
	s.compare(t, rounds)
	t.Logf("%d signals in %v, %.0f a second, to each of 5 sinks; %s; %.0f MiB resident in the end, %.0f at the start",
		came, took.Round(time.Millisecond), float64(came)/took.Seconds(), s.summary(), memory(t, after), memory(t, atStart))
}

// awaitStart waits until all channels are joined, one of them after it was refused.
func (s *soak) awaitStart(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	match, ok := s.stderr.await(ctx, regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`))
	if !ok {
		t.Fatal("phx serve does not say where its HTTP server is")
	}
	s.address = match[0]
	for connection, topics := range map[string][]string{
		"alpha": {"room:a1", "room:a2", "room:a3", "room:a4"},
		"beta":  {"room:b1", "room:b2", betaTopic(0)},
		"gamma": {"room:g1", "room:g2", refusedTopic},
	} {
		for _, topic := range topics {
			s.audit.await(t, 1, connection, eventNumber, topic)
		}
	}
	if status, body := s.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz with everything there: %d %s", status, body)
	}
}

// round lets everything go wrong once. Faults come at their time, so that load comes between; each is waited for by its effect.
func (s *soak) round(t *testing.T, round int) {
	t.Helper()
	faults := []func(*testing.T, int){s.killServer, s.rotateToken, s.crashChannel, s.reload}
	ticks := time.NewTicker(soakRound / time.Duration(len(faults)+1))
	defer ticks.Stop()
	for _, fault := range faults {
		<-ticks.C
		fault(t, round)
	}
	<-ticks.C
}

// killServer takes gamma's server away, until a dial has failed.
func (s *soak) killServer(t *testing.T, round int) {
	t.Helper()
	before := s.audit.count("gamma", "phoenix.connection.disconnected", "")
	s.c.StopListening()
	s.c.DropConns()
	s.audit.await(t, before+2, "gamma", "phoenix.connection.disconnected", "")
	if status, body := s.get(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "gamma") {
		t.Errorf("/readyz without gamma: %d %s", status, body)
	}
	if err := s.c.Start(); err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"room:g1", "room:g2", refusedTopic} {
		s.audit.await(t, round+1, "gamma", "phoenix.channel.joined", topic)
	}
}

// rotateToken gives alpha another token, and ends its connection, for which only the new one is good.
func (s *soak) rotateToken(t *testing.T, round int) {
	t.Helper()
	old, next := soakAlpha+strconv.Itoa(round-1), soakAlpha+strconv.Itoa(round)
	s.write(t, "alpha.token", next+"\n")
	s.load.rotate(old, next)
	for _, conn := range s.ab.Conns() {
		if tokenOf(conn.Info()) == old {
			conn.Drop()
		}
	}
	s.audit.await(t, round+1, "alpha", "phoenix.connection.connected", "")
	if s.load.connectsWith(next) != 1 {
		t.Errorf("alpha connected without the new token")
	}
	for _, topic := range []string{"room:a1", "room:a2", "room:a3", "room:a4"} {
		s.audit.await(t, round+1, "alpha", "phoenix.channel.joined", topic)
	}
}

// crashChannel crashes one of the channels of alpha, which alone is joined again.
func (s *soak) crashChannel(t *testing.T, round int) {
	t.Helper()
	joined := s.audit.count("alpha", "phoenix.channel.joined", "room:a2")
	s.load.crash("room:a2")
	s.audit.await(t, joined+1, "alpha", "phoenix.channel.joined", "room:a2")
	if got, want := s.audit.count("alpha", "phoenix.channel.joined", "room:a1"), round+1; got != want {
		t.Errorf("room:a1 was joined %d times, want %d: another channel crashed", got, want)
	}
}

// reload changes the channels of beta, and of nobody else.
func (s *soak) reload(t *testing.T, round int) {
	t.Helper()
	s.configure(t, round)
	output, err := s.phx("ctl", "--control", filepath.Join(s.dir, "run", "control.sock"), "reload").CombinedOutput()
	if err != nil {
		t.Fatalf("phx ctl reload: %v\n%s", err, output)
	}
	s.audit.await(t, 1, "beta", eventNumber, betaTopic(round))
}

// openGate lets the sink read again that did not, once it has lost something. Nobody else has noticed.
func (s *soak) openGate(t *testing.T) {
	t.Helper()
	const more = 1000
	before := s.audit.total()
	for _, l := range []*ledger{s.stdout, s.audit, s.handler} {
		l.awaitThat(t, "more, while another sink stands", func() bool { return l.total() >= before+more })
	}
	metrics := s.metrics(t)
	for _, connection := range []string{"alpha", "beta", "gamma"} {
		if value(t, metrics, fmt.Sprintf("phx_sink_signals_dropped_total{connection=%q,sink=%q}", connection, "stuck")) == 0 {
			t.Errorf("a sink that does not read has lost nothing of %s", connection)
		}
	}
	if _, err := io.WriteString(s.gate, "go\n"); err != nil {
		t.Fatal(err)
	}
}

// finish stops the load, waits until every sink has what was sent last, and then stops phx serve.
func (s *soak) finish(t *testing.T, rounds int) {
	t.Helper()
	s.load.stopping.Store(true)
	live := map[string][]string{
		"alpha": {"room:a1", "room:a2", "room:a3", "room:a4"},
		"gamma": {"room:g1", "room:g2", refusedTopic},
		"beta":  {"room:b1", "room:b2", betaTopic(rounds)},
	}
	for _, l := range []*ledger{s.stdout, s.audit, s.handler, s.hooked, s.stuck} {
		for connection, topics := range live {
			for _, topic := range topics {
				l.await(t, 1, connection, eventLast, topic)
			}
		}
	}
	sendSignal(t, s.cmd, syscall.SIGTERM)
	awaitEnd(t, s.ended)
	s.readers.Wait()
	for _, f := range s.tails {
		if err := f.end(); err != nil {
			t.Error(err)
		}
	}
	s.hook.Close()
	s.ab.Close()
	s.c.Close()
	if got := endOf(s.cmd.ProcessState); got != "0" {
		t.Errorf("phx serve ended with %s, want 0", got)
	}
}

// compare compares what every sink got, whole.
func (s *soak) compare(t *testing.T, rounds int) {
	t.Helper()
	s.audit.checkNumbers(t, s.load)
	for _, l := range []*ledger{s.audit, s.stdout, s.handler, s.hooked, s.stuck} {
		l.checkWhole(t, s.audit)
	}
	s.tenth.check(t, s.audit, func(e entry) bool {
		return e.kind.connection == "gamma" && e.kind.name == eventNumber && e.kind.topic != refusedTopic && e.n%10 == 0
	})
	if s.tenth.total() == 0 {
		t.Error("tenth got nothing")
	}
	for _, connection := range []string{"alpha", "beta", "gamma"} {
		if got, want := s.audit.count(connection, "phoenix.connection.connected", ""), rounds+1; got != want {
			t.Errorf("%s connected %d times, want %d", connection, got, want)
		}
	}
	if got, want := s.audit.count("gamma", "phoenix.channel.join_error", refusedTopic), rounds+1; got != want {
		t.Errorf("%d refused joins are told, want %d", got, want)
	}
	if strings.Contains(s.stderr.String(), soakSecret) {
		t.Error("the log tells a token")
	}
}
