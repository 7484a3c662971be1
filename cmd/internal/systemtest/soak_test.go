package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"phx/cmd/phxtest"
	"phx/phoenix/phoenixtest"
)

// soakRate is how many numbered events a second each of the ten channels gets.
const soakRate = 120

// soakRound is how long a round takes, with each of its faults.
const soakRound = 5 * time.Second

// TestSoak loads phx serve, as a process, while all kinds of things go wrong, and compares what each sink got with what was sent:
// everything is there once and in order, or counted in a drop signal. It takes 5 seconds, or what PHX_SOAK says.
func TestSoak(t *testing.T) {
	long(t)
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
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	match, ok := s.stderr.Await(ctx, regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`))
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
	output, err := s.phx(t, "ctl", "--control", filepath.Join(s.dir, "run", "control.sock"), "reload").CombinedOutput()
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
	if got := phxtest.EndOf(s.cmd.ProcessState); got != "0" {
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
	// Each round cuts the links of alpha and gamma. A reload changes the channels of beta on the socket that it has.
	for connection, want := range map[string]int{"alpha": rounds + 1, "beta": 1, "gamma": rounds + 1} {
		if got := s.audit.count(connection, "phoenix.connection.connected", ""); got != want {
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

// soakConfig is the config of a soak. The places are: the servers of alpha and beta, and of gamma; the directory; the webhook;
// what beta joins.
const soakConfig = `
defaults:
  max_retries: -1
  reconnect_after_msec: [20, 50, 100]
  rejoin_after_msec: [20, 50, 100]
  # Nothing here is about time: a machine that is busy is no reason for a loss.
  connect_timeout_msec: 60000
  reply_timeout_msec: 60000
  heartbeat_interval_msec: 120000
  heartbeat_timeout_msec: 60000
connections:
  alpha:
    uri: %[1]s
    auth_token: {file: %[3]s/alpha.token}
    auto_join_channels: [room:a1, room:a2, room:a3, room:a4]
  beta:
    uri: %[1]s
    params: {token: {file: %[3]s/beta.token}}
    auto_join_channels: [room:b1, room:b2, %[5]s]
  gamma:
    uri: %[2]s
    params: {token: secret-gamma}
    auto_join_channels: [room:g1, room:g2, room:refused]
sinks:
  audit:   {file: {path: %[3]s/audit.ndjson}, queue: 64MiB}
  tenth:   {file: {path: %[3]s/tenth.ndjson}, queue: 64MiB}
  handler: {exec: {command: [sh, -c, 'cat >>"$0"', %[3]s/handler.ndjson]}, format: jido, queue: 64MiB}
  hook:    {webhook: {url: %[4]s}, format: cloudevents}
  # Reads one line, and then nothing until someone writes to the gate.
  stuck:
    exec: {command: [sh, -c, 'IFS= read -r a; printf "%%s\n" "$a" >>"$0"; read -r b <"$1"; exec cat >>"$0"', %[3]s/stuck.ndjson, %[3]s/gate]}
    queue: 200
    when_full: drop-oldest
routes:
  - {match: "phoenix.**", to: [stdout, audit, handler, hook, stuck]}
  - {subscribe: "jido.protocol.phoenix.gamma.*", topic: "room:g?", event: n, where: .data.payload.n %% 10 == 0, to: [tenth, audit]}
control: {socket: %[3]s/run/control.sock}
http: {listen: "127.0.0.1:0"}
`

// Tokens of a soak. None of them may be seen anywhere; alpha's changes.
const (
	soakSecret = "secret-" // begins each of them
	soakAlpha  = soakSecret + "alpha-"
	soakBeta   = soakSecret + "beta"
	soakGamma  = soakSecret + "gamma"
)

// A soak is a running phx serve and all that is around it.
type soak struct {
	dir     string
	load    *load
	ab, c   *phoenixtest.Server // of alpha and beta, and of gamma
	hook    *httptest.Server
	gate    *os.File
	cmd     *exec.Cmd
	stderr  phxtest.Watched
	readers sync.WaitGroup
	ended   chan struct{}
	address string // of the HTTP server
	tails   []*tail
	posts   atomic.Int32 // to the webhook, so far

	stdout, audit, tenth, handler, hooked, stuck *ledger
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{
		dir: t.TempDir(), ended: make(chan struct{}),
		load: &load{rate: soakRate, tokens: []string{soakAlpha + "0", soakBeta, soakGamma}},
	}
	s.stdout, s.audit, s.tenth = newLedger("stdout", s.ended), newLedger("audit", s.ended), newLedger("tenth", s.ended)
	s.handler, s.hooked, s.stuck = newLedger("handler", s.ended), newLedger("hook", s.ended), newLedger("stuck", s.ended)
	s.ab, s.c = phoenixtest.NewServer(s.load.app()), phoenixtest.NewServer(s.load.app())
	t.Cleanup(s.c.Close)
	t.Cleanup(s.ab.Close)
	s.hook = httptest.NewServer(http.HandlerFunc(s.post))
	t.Cleanup(s.hook.Close)
	gate := filepath.Join(s.dir, "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.gate, err = os.OpenFile(gate, os.O_RDWR, 0); err != nil { // to read, too: it does not wait for the other end
		t.Fatal(err)
	}
	t.Cleanup(func() { s.gate.Close() })
	for _, l := range []*ledger{s.audit, s.tenth, s.handler, s.stuck} {
		f, err := follow(filepath.Join(s.dir, l.sink+".ndjson"), l)
		if err != nil {
			t.Fatal(err)
		}
		s.tails = append(s.tails, f)
	}
	s.write(t, "alpha.token", soakAlpha+"0\n")
	s.write(t, "beta.token", soakBeta+"\n")
	s.configure(t, 0)
	return s
}

// write replaces a file at once.
func (s *soak) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// configure writes the config of a round. Only beta's channels are another one than before.
func (s *soak) configure(t *testing.T, round int) {
	t.Helper()
	s.write(t, "phx.yaml", fmt.Sprintf(soakConfig, s.ab.URL, s.c.URL, s.dir, s.hook.URL, betaTopic(round)))
}

func betaTopic(round int) string { return "room:beta" + strconv.Itoa(round) }

// post is the webhook. It is out of order for a few of the posts, which come again.
func (s *soak) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	n := s.posts.Add(1)
	if err != nil || n == 10 || n == 500 {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = s.hooked.Write(append(bytes.TrimSpace(body), '\n')) // a ledger takes everything
}

// phx returns the command `phx` with arguments. The config has its own idea of everything.
func (s *soak) phx(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	cmd.Env = append(os.Environ(), phxtest.RaceOptions)
	cmd.Dir = s.dir
	return cmd
}

func (s *soak) start(t *testing.T) {
	t.Helper()
	stdoutR, stdoutW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderrR, stderrW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = s.phx(t, "serve", "-f", "phx.yaml")
	s.cmd.Stdout, s.cmd.Stderr = stdoutW, stderrW
	err = s.cmd.Start()
	stdoutW.Close()
	stderrW.Close()
	if err != nil {
		t.Fatal(err)
	}
	s.readers.Go(func() { s.stderr.ReadAll(stderrR) })
	s.readers.Go(func() {
		defer stdoutR.Close()
		_, _ = io.Copy(s.stdout, stdoutR) // a pipe has no other error than its end
	})
	go func() {
		_ = s.cmd.Wait() // how it ended is in ProcessState
		close(s.ended)
	}()
	t.Cleanup(func() {
		end := syscall.SIGKILL
		if t.Failed() {
			end = syscall.SIGQUIT // tells where every goroutine is
		}
		_ = s.cmd.Process.Signal(end) // it fails when there is no process any more
		<-s.ended
		s.readers.Wait()
		if t.Failed() {
			t.Logf("phx serve ended with %s; its stderr:\n%s", phxtest.EndOf(s.cmd.ProcessState), s.stderr.String())
		}
	})
}

// summary tells what was lost.
func (s *soak) summary() string {
	var parts []string
	for _, l := range []*ledger{s.stdout, s.audit, s.handler, s.hooked, s.stuck} {
		var lost uint64
		for _, of := range l.stories {
			for _, one := range of.losses {
				lost += one.count
			}
		}
		parts = append(parts, fmt.Sprintf("%s dropped %d", l.sink, lost))
	}
	return strings.Join(parts, ", ")
}

// get asks the HTTP server of phx serve.
func (s *soak) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(s.address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// metrics returns what /metrics tells.
func (s *soak) metrics(t *testing.T) string {
	t.Helper()
	status, body := s.get(t, "/metrics")
	if status != http.StatusOK {
		t.Errorf("/metrics: %d %s", status, body)
	}
	return body
}

// memory returns how much of it the process has, in MiB.
func memory(t *testing.T, metrics string) float64 {
	t.Helper()
	return value(t, metrics, "process_resident_memory_bytes") / (1 << 20)
}

// A load is the application of the servers of a soak: every channel gets numbered events from its join to its end, and what was
// sent is remembered.
type load struct {
	// rate is how many events a second a channel gets.
	rate float64
	// stopping makes every channel say that its last event was the last.
	stopping atomic.Bool

	mu sync.Mutex
	// tokens are those that may connect.
	tokens []string
	// connects are the tokens that were shown by who could connect.
	connects []string
	// attempts counts the joins of refusedTopic.
	attempts int
	sessions []*session
	latest   map[string]*phoenixtest.Socket // by topic
}

// A session is what one join got.
type session struct {
	topic string
	// sent is how many numbered events there were; they are numbered from 1.
	sent atomic.Int64
	// orderly is set when the channel ended, and its connection did not: everything that was sent has to arrive.
	orderly atomic.Bool
}

// The events of a load: numbered ones, and the one behind them.
const (
	eventNumber = "n"
	eventLast   = "last"
)

// refusedTopic is a topic of which every other join is refused, the first among them.
const refusedTopic = "room:refused"

// beat is how often a channel sends what is due by its rate; burst bounds what it catches up with at once, and backlog what waits for
// a client that is slow: on a busy machine there is less load, and no more to do in the end.
const (
	beat    = 10 * time.Millisecond
	burst   = 100
	backlog = 500
)

func (l *load) app() phoenixtest.App {
	return func(s *phoenixtest.Server) {
		s.Mount("/socket", phoenixtest.UserSocket{
			AuthToken:   true,
			IdleTimeout: -1, // with the long heartbeats of the config, a client may be idle
			Connect:     l.connect,
			Channels:    []phoenixtest.Route{{Topic: "room:*", New: func() phoenixtest.Channel { return &loadRoom{load: l} }}},
		})
	}
}

// tokenOf returns the token that a client shows, by either of the ways there are.
func tokenOf(info *phoenixtest.ConnectInfo) string {
	if info.AuthToken != nil {
		return *info.AuthToken
	}
	token, _ := info.Params["token"].(string)
	return token
}

func (l *load) connect(info *phoenixtest.ConnectInfo) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	token := tokenOf(info)
	if !slices.Contains(l.tokens, token) {
		return &phoenixtest.Refusal{Status: http.StatusForbidden}
	}
	l.connects = append(l.connects, token)
	return nil
}

// rotate lets a token connect in the place of another one.
func (l *load) rotate(from, to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens = append(slices.DeleteFunc(l.tokens, func(t string) bool { return t == from }), to)
}

// connectsWith counts the connects with a token.
func (l *load) connectsWith(token string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, t := range l.connects {
		if t == token {
			n++
		}
	}
	return n
}

// session returns the one with a number, nil if there is none.
func (l *load) session(number int) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number < 1 || number > len(l.sessions) {
		return nil
	}
	return l.sessions[number-1]
}

// crash lets the channel of a topic crash.
func (l *load) crash(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latest[topic].Send(crashNow{})
}

// admit decides about a join. An accepted one is a new session, which has a number.
func (l *load) admit(s *phoenixtest.Socket) (*session, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Topic() == refusedTopic {
		if l.attempts++; l.attempts%2 == 1 {
			return nil, 0, phoenixtest.RefuseJoin(phoenixtest.Map{"reason": "not now"})
		}
	}
	one := &session{topic: s.Topic()}
	l.sessions = append(l.sessions, one)
	if l.latest == nil {
		l.latest = map[string]*phoenixtest.Socket{}
	}
	l.latest[s.Topic()] = s
	return one, len(l.sessions), nil
}

// What a channel of a load sends itself.
type (
	sendDue  struct{}
	crashNow struct{}
)

// A loadRoom is a channel of a load.
type loadRoom struct {
	load    *load
	session *session
	number  int
	begun   time.Time
}

// Join implements [phoenixtest.Channel].
func (r *loadRoom) Join(s *phoenixtest.Socket, _ phoenixtest.Payload) (_ any, err error) {
	if r.session, r.number, err = r.load.admit(s); err != nil {
		return nil, err
	}
	r.begun = time.Now()
	s.Send(sendDue{})
	return nil, nil
}

// HandleIn implements [phoenixtest.Channel].
func (r *loadRoom) HandleIn(_ *phoenixtest.Socket, event string, _ phoenixtest.Payload) phoenixtest.Result {
	return phoenixtest.NoClause(event)
}

// HandleInfo implements [phoenixtest.InfoHandler].
func (r *loadRoom) HandleInfo(s *phoenixtest.Socket, msg any) phoenixtest.Result {
	if msg == any(crashNow{}) {
		r.session.orderly.Store(true)
		panic("crash, as asked for")
	}
	if r.load.stopping.Load() {
		r.session.orderly.Store(true)
		s.Push(eventLast, phoenixtest.Map{"session": r.number})
		return phoenixtest.NoReply()
	}
	s.Pace(backlog)
	sent := r.session.sent.Load()
	due := min(int64(time.Since(r.begun).Seconds()*r.load.rate), sent+burst)
	for n := sent + 1; n <= due; n++ {
		s.Push(eventNumber, phoenixtest.RawJSON(fmt.Sprintf(`{"session":%d,"n":%d,"text":"some text that makes it a usual size"}`, r.number, n)))
		r.session.sent.Store(n)
	}
	s.SendAfter(beat, sendDue{})
	return phoenixtest.NoReply()
}

// A ledger is what one sink got, read as it comes.
type ledger struct {
	sink string
	// over is closed when nothing can come any more.
	over <-chan struct{}

	mu       sync.Mutex
	rest     []byte // of a line that is not whole yet
	stories  map[string]*story
	kinds    map[kind]int
	problems []string
	changed  chan struct{} // closed and replaced at every change; nil while nobody waits
}

// A story is what a sink got of one connection.
type story struct {
	entries []entry
	losses  []loss
}

// An entry is a signal that has a number.
type entry struct {
	seq  uint64
	id   string
	kind kind
	// session and n are those of a numbered event.
	session int
	n       int64
}

// A kind is what a signal is about; name is the event of a message, and else the type.
type kind struct{ connection, name, topic string }

// A loss is what a signal phoenix.signal.dropped tells.
type loss struct{ count, first, last uint64 }

func newLedger(sink string, over <-chan struct{}) *ledger {
	return &ledger{sink: sink, over: over, stories: map[string]*story{}, kinds: map[kind]int{}}
}

// Write implements [io.Writer] for the output of the sink.
func (l *ledger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			break
		}
		l.line(line)
		l.rest = rest
	}
	l.rest = bytes.Clone(l.rest)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return len(p), nil
}

// A soakMeta is the metadata of a signal.
type soakMeta struct {
	Connection string `json:"connection_name"`
	Topic      string `json:"phoenix_topic"`
	Event      string `json:"phoenix_event"`
	Seq        uint64 `json:"seq"`
}

// A soakSignal is a signal in any of the formats.
type soakSignal struct {
	ID       string   `json:"id"`
	Type     string   `json:"type"`
	Metadata soakMeta `json:"metadata"`
	// Of the format jido.
	Extensions struct {
		Metadata soakMeta `json:"metadata"`
	} `json:"extensions"`
	// Of CloudEvents.
	Connection string `json:"phxconnection"`
	Topic      string `json:"phxtopic"`
	Event      string `json:"phxevent"`
	Sequence   string `json:"sequence"`

	Data struct {
		Payload struct {
			Session int   `json:"session"`
			N       int64 `json:"n"`
		} `json:"payload"`
		Count    uint64 `json:"count"`
		FirstSeq uint64 `json:"first_seq"`
		LastSeq  uint64 `json:"last_seq"`
	} `json:"data"`
}

// meta returns the metadata, wherever the format has them.
func (s *soakSignal) meta() (soakMeta, error) {
	switch {
	case s.Connection != "":
		m := soakMeta{Connection: s.Connection, Topic: s.Topic, Event: s.Event}
		if s.Sequence == "" {
			return m, nil
		}
		var err error
		m.Seq, err = strconv.ParseUint(s.Sequence, 10, 64)
		return m, err
	case s.Extensions.Metadata.Connection != "":
		return s.Extensions.Metadata, nil
	}
	return s.Metadata, nil
}

// line enters one line.
func (l *ledger) line(text []byte) {
	if bytes.Contains(text, []byte(soakSecret)) {
		l.problem("a signal that tells a token: %s", text)
	}
	var s soakSignal
	if err := json.Unmarshal(text, &s); err != nil {
		l.problem("a line that is not what a signal is: %v: %q", err, text)
		return
	}
	m, err := s.meta()
	if err != nil || m.Connection == "" || s.ID == "" || s.Type == "" {
		l.problem("a signal that lacks something (%v): %s", err, text)
		return
	}
	of := l.stories[m.Connection]
	if of == nil {
		of = &story{}
		l.stories[m.Connection] = of
	}
	if s.Type == "phoenix.signal.dropped" {
		of.losses = append(of.losses, loss{s.Data.Count, s.Data.FirstSeq, s.Data.LastSeq})
		return
	}
	if last := len(of.entries); last > 0 && of.entries[last-1].seq >= m.Seq {
		l.problem("%s: seq %d comes after %d: %s", m.Connection, m.Seq, of.entries[last-1].seq, text)
	}
	name := s.Type
	if m.Event != "" {
		name = m.Event
	}
	e := entry{seq: m.Seq, id: s.ID, kind: kind{m.Connection, name, m.Topic}, session: s.Data.Payload.Session, n: s.Data.Payload.N}
	of.entries = append(of.entries, e)
	l.kinds[e.kind]++
}

// maxProblems is how many problems of a sink are told; more of them say nothing more.
const maxProblems = 10

func (l *ledger) problem(format string, args ...any) {
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

// count returns how many signals of a kind there are.
func (l *ledger) count(connection, name, topic string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kinds[kind{connection, name, topic}]
}

// total returns how many signals there are of all connections.
func (l *ledger) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, of := range l.stories {
		n += len(of.entries)
	}
	return n
}

// await waits until there are at least n signals of a kind.
func (l *ledger) await(t *testing.T, n int, connection, name, topic string) {
	t.Helper()
	what := fmt.Sprintf("%d of %s %s %s", n, connection, name, topic)
	l.awaitThat(t, what, func() bool { return l.count(connection, name, topic) >= n })
}

// latest tells the last signal of each connection.
func (l *ledger) latest() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var text strings.Builder
	for _, of := range l.stories {
		if n := len(of.entries); n > 0 {
			fmt.Fprintf(&text, "%+v\n", of.entries[n-1])
		}
	}
	return text.String()
}

// soakPatience is how long a ledger waits: longer than others, as there is more to do until then.
const soakPatience = 3 * phxtest.Patience

// awaitThat waits until something is so. It is looked at again when the sink got something.
func (l *ledger) awaitThat(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soakPatience)
	defer cancel()
	for {
		l.mu.Lock()
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		if isSo() {
			return
		}
		select {
		case <-changed:
			continue
		case <-l.over:
			t.Errorf("phx serve has ended")
		case <-ctx.Done():
		}
		t.Fatalf("%s: it did not get %s; of each connection the last signal is\n%s", l.sink, what, l.latest())
	}
}

// A tail reads a file while it grows.
type tail struct {
	stop chan struct{}
	done chan error
}

// lookEvery is how often a tail looks for more.
const lookEvery = 20 * time.Millisecond

// follow copies what a file gets to w, until end is called.
func follow(path string, w io.Writer) (*tail, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f := &tail{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		defer file.Close()
		ticks := time.NewTicker(lookEvery)
		defer ticks.Stop()
		for {
			if _, err := io.Copy(w, file); err != nil {
				f.done <- err
				return
			}
			select {
			case <-ticks.C:
			case <-f.stop:
				_, err := io.Copy(w, file)
				f.done <- err
				return
			}
		}
	}()
	return f, nil
}

// end reads what there still is. Nobody writes any more.
func (f *tail) end() error {
	close(f.stop)
	return <-f.done
}

// checkWhole reports what is wrong with a sink that had to get all signals: each is there once and in order, or counted in a drop
// signal. reference is a sink that has lost none, or this one.
func (l *ledger) checkWhole(t *testing.T, reference *ledger) {
	t.Helper()
	l.check(t, reference, func(entry) bool { return true })
}

// check is checkWhole for a sink that had to get only what a route wants.
func (l *ledger) check(t *testing.T, reference *ledger, wanted func(entry) bool) {
	t.Helper()
	l.checkLines(t)
	for _, connection := range slices.Sorted(maps.Keys(reference.stories)) {
		var expected []entry
		for _, e := range reference.stories[connection].entries {
			if wanted(e) {
				expected = append(expected, e)
			}
		}
		got := l.stories[connection]
		if got == nil {
			got = &story{}
		}
		for _, problem := range got.compare(expected) {
			t.Errorf("%s, %s: %s", l.sink, connection, problem)
		}
	}
	for connection := range l.stories {
		if reference.stories[connection] == nil {
			t.Errorf("%s has signals of %s, which %s has not", l.sink, connection, reference.sink)
		}
	}
}

// checkLines reports lines that were wrong when they came, and a line without an end.
func (l *ledger) checkLines(t *testing.T) {
	t.Helper()
	for _, problem := range l.problems {
		t.Errorf("%s: %s", l.sink, problem)
	}
	if len(l.rest) > 0 {
		t.Errorf("%s ends within a line: %q", l.sink, l.rest)
	}
}

// compare tells how what a sink got differs from what it had to get. What it lacks must be counted by its losses, all of it and
// nothing else.
func (got *story) compare(expected []entry) []string {
	var problems []string
	complain := func(format string, args ...any) {
		if len(problems) < maxProblems {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	var lacking, announced uint64
	at := 0
	for _, want := range expected {
		for at < len(got.entries) && got.entries[at].seq < want.seq {
			complain("seq %d had not to come: %+v", got.entries[at].seq, got.entries[at])
			at++
		}
		if at < len(got.entries) && got.entries[at].seq == want.seq {
			if got.entries[at] != want {
				complain("seq %d is %+v, want %+v", want.seq, got.entries[at], want)
			}
			at++
			continue
		}
		lacking++
		if !slices.ContainsFunc(got.losses, func(l loss) bool { return l.first <= want.seq && want.seq <= l.last }) {
			complain("seq %d is neither there nor within a drop signal: %+v", want.seq, want)
		}
	}
	for _, e := range got.entries[at:] {
		complain("seq %d had not to come: %+v", e.seq, e)
	}
	for _, l := range got.losses {
		announced += l.count
	}
	if lacking != announced {
		complain("%d signals are lacking, and the drop signals count %d", lacking, announced)
	}
	return problems
}

// checkNumbers reports what is wrong with a sink that has lost nothing: seq goes from 1 without a hole, and of each session the
// numbered events go from 1 without a hole, to the last one that was sent if the channel ended in order.
func (l *ledger) checkNumbers(t *testing.T, sent *load) {
	t.Helper()
	last := map[int]int64{} // by session
	for connection, of := range l.stories {
		if len(of.losses) > 0 {
			t.Errorf("%s lost signals of %s, for which it has room: %+v", l.sink, connection, of.losses)
		}
		for i, e := range of.entries {
			if e.seq != uint64(i)+1 {
				t.Fatalf("%s, %s: seq %d comes where %d had to: %+v", l.sink, connection, e.seq, i+1, e)
			}
			if e.kind.name != eventNumber {
				continue
			}
			from := sent.session(e.session)
			if from == nil || from.topic != e.kind.topic {
				t.Fatalf("%s: nobody has sent %+v", l.sink, e)
			}
			if e.n != last[e.session]+1 {
				t.Fatalf("%s: after number %d of its session came %+v", l.sink, last[e.session], e)
			}
			last[e.session] = e.n
		}
	}
	for i, s := range sent.sessions {
		number := i + 1
		switch sent, got := s.sent.Load(), last[number]; {
		case got > sent:
			t.Errorf("session %d of %s sent %d events, and %d came", number, s.topic, sent, got)
		case got < sent && s.orderly.Load():
			t.Errorf("session %d of %s ended in order and sent %d events, but %d came", number, s.topic, sent, got)
		}
	}
}

// TestSoakCompare shows that compare sees what it is there for.
func TestSoakCompare(t *testing.T) {
	entries := func(seqs ...uint64) []entry {
		var list []entry
		for _, seq := range seqs {
			list = append(list, entry{seq: seq, id: fmt.Sprint(seq)})
		}
		return list
	}
	other := entries(1, 2, 3)
	other[1].id = "another"
	for name, test := range map[string]struct {
		got      story
		expected []entry
		problems int
	}{
		"the same":                 {story{entries: entries(1, 2, 3)}, entries(1, 2, 3), 0},
		"a hole":                   {story{entries: entries(1, 3)}, entries(1, 2, 3), 2},
		"a hole that is told":      {story{entries: entries(1, 3), losses: []loss{{1, 2, 2}}}, entries(1, 2, 3), 0},
		"an end that is told":      {story{entries: entries(1), losses: []loss{{2, 2, 3}}}, entries(1, 2, 3), 0},
		"a loss that is not":       {story{entries: entries(1, 2, 3), losses: []loss{{1, 2, 2}}}, entries(1, 2, 3), 1},
		"a loss of too few":        {story{entries: entries(1), losses: []loss{{1, 2, 3}}}, entries(1, 2, 3), 1},
		"a loss of the wrong ones": {story{entries: entries(1, 3), losses: []loss{{1, 3, 3}}}, entries(1, 2, 3), 1},
		"one too many":             {story{entries: entries(1, 2, 3)}, entries(1, 3), 1},
		"one too many at the end":  {story{entries: entries(1, 2, 3)}, entries(1, 2), 1},
		"a loss between":           {story{entries: entries(1, 3, 5), losses: []loss{{2, 2, 4}}}, entries(1, 2, 3, 4, 5), 0},
		"something else":           {story{entries: other}, entries(1, 2, 3), 1},
	} {
		if problems := test.got.compare(test.expected); len(problems) != test.problems {
			t.Errorf("%s: %d problems, want %d: %q", name, len(problems), test.problems, problems)
		}
	}
}

// TestSoakLedger shows that a ledger reads all formats, and sees what is wrong with lines.
func TestSoakLedger(t *testing.T) {
	l := newLedger("sink", nil)
	for _, part := range []string{
		`{"id":"1","type":"phoenix.a.t.n","metadata":{"connection_name":"a","phoenix_topic":"t","phoenix_event":"n","seq":1},"da`,
		`ta":{"payload":{"session":7,"n":5}}}` + "\n",
		`{"id":"2","type":"phoenix.a.t.n","extensions":{"metadata":{"connection_name":"a","phoenix_topic":"t","phoenix_event":"n","seq":2}}}` + "\n" +
			`{"id":"3","type":"phoenix.a.t.n","phxconnection":"a","phxtopic":"t","phxevent":"n","sequence":"0000000003"}` + "\n",
		`{"id":"4","type":"phoenix.signal.dropped","phxconnection":"a","data":{"count":2,"first_seq":4,"last_seq":9}}` + "\n",
	} {
		if _, err := l.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	want := &story{losses: []loss{{2, 4, 9}}}
	for seq := range uint64(3) {
		want.entries = append(want.entries, entry{seq: seq + 1, id: fmt.Sprint(seq + 1), kind: kind{"a", "n", "t"}})
	}
	want.entries[0].session, want.entries[0].n = 7, 5
	got := l.stories["a"]
	if len(l.problems) > 0 || !slices.Equal(got.entries, want.entries) || !slices.Equal(got.losses, want.losses) {
		t.Errorf("got %+v, want %+v; problems: %q", got, want, l.problems)
	}
	for _, wrong := range []string{
		"no JSON", `{"id":"5"}`, `{"id":"6","type":"t","phxconnection":"a","sequence":"x"}`,
		`{"id":"3","type":"t","metadata":{"connection_name":"a","seq":3}}`, // comes a second time
	} {
		before := len(l.problems)
		if _, _ = l.Write([]byte(wrong + "\n")); len(l.problems) != before+1 {
			t.Errorf("nothing is wrong with %s", wrong)
		}
	}
}
