package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"phx/phoenix/phoenixtest"
)

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
	stderr  watched
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
func (s *soak) phx(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binDir, "phx"), args...)
	cmd.Env = append(os.Environ(), raceOptions)
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
	s.cmd = s.phx("serve", "-f", "phx.yaml")
	s.cmd.Stdout, s.cmd.Stderr = stdoutW, stderrW
	err = s.cmd.Start()
	stdoutW.Close()
	stderrW.Close()
	if err != nil {
		t.Fatal(err)
	}
	s.readers.Go(func() { s.stderr.readAll(stderrR) })
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
			t.Logf("phx serve ended with %s; its stderr:\n%s", endOf(s.cmd.ProcessState), s.stderr.String())
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

// value returns that of a series, 0 if there is none.
func value(t *testing.T, metrics, series string) float64 {
	t.Helper()
	for line := range strings.Lines(metrics) {
		text, ok := strings.CutPrefix(line, series+" ")
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			t.Errorf("the metrics have a number that is none: %s", line)
		}
		return n
	}
	return 0
}

// memory returns how much of it the process has, in MiB.
func memory(t *testing.T, metrics string) float64 {
	t.Helper()
	return value(t, metrics, "process_resident_memory_bytes") / (1 << 20)
}
