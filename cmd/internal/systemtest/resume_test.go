package systemtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"phx/cmd/phxtest"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

// These tests cut links and kill phx while it follows a numbered log, and look for numbers that are missing afterwards.

// received are the numbers that somebody got, in their order.
type received struct {
	mu   sync.Mutex
	got  []int
	most int
	grew chan struct{}
}

func (n *received) add(number int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, number)
	n.most = max(n.most, number)
	if n.grew != nil {
		close(n.grew)
		n.grew = nil
	}
}

// await waits for a number, or a larger one.
func (n *received) await(t *testing.T, number int) {
	t.Helper()
	for {
		n.mu.Lock()
		if n.most >= number {
			n.mu.Unlock()
			return
		}
		if n.grew == nil {
			n.grew = make(chan struct{})
		}
		grew := n.grew
		n.mu.Unlock()
		select {
		case <-grew:
		case <-t.Context().Done():
			t.Fatal("the number has not come")
		}
	}
}

// check fails the test for each number up to last that is not there, and returns how many came more than once.
func (n *received) check(t *testing.T, who string, last int) (twice int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	times := make([]int, last+1)
	for _, number := range n.got {
		if times[number]++; times[number] > 1 {
			twice++
		}
	}
	missing := 0
	for number := 1; number <= last; number++ {
		if times[number] == 0 {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%s: %d of %d numbers are missing", who, missing, last)
	}
	return twice
}

// read takes the numbers of lines up to the end of a pipe.
func (n *received) read(t *testing.T, r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		number, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Errorf("a line that is no number: %q", lines.Text())
			continue
		}
		n.add(number)
	}
}

// A run is a phx whose stdout are numbers.
type run struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when all of its output is read
}

func startRun(t *testing.T, n *received, dir string, args ...string) *run {
	t.Helper()
	r := &run{cmd: exec.Command(binary(t), args...), done: make(chan struct{})}
	r.cmd.Dir = dir
	r.cmd.Env = append(os.Environ(), phxtest.RaceOptions)
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r.cmd.Stdout, r.cmd.Stderr = in, log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		defer out.Close()
		n.read(t, out)
	}()
	t.Cleanup(func() {
		r.end(os.Kill)
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s said:\n%s", args[0], text[max(0, len(text)-4<<10):])
		}
	})
	return r
}

// end ends the run by a signal and waits until its output is read.
func (r *run) end(sig os.Signal) {
	_ = r.cmd.Process.Signal(sig) // it fails when there is no process any more
	_ = r.cmd.Wait()
	<-r.done
}

// trouble is what happens to a run: cuts and kills in some order.
func trouble(cuts, kills int) []string {
	list := make([]string, 0, cuts+kills)
	for i := range cuts + kills {
		what := "cut"
		if i < kills {
			what = "kill"
		}
		list = append(list, what)
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// A numberedLog is log:numbers of a server.
type numberedLog struct {
	server *phoenixtest.Server
	last   int
}

func startLog(t *testing.T) *numberedLog {
	server, err := phoenixtest.Listen(peer.App())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return &numberedLog{server: server}
}

// append adds entries, and returns one of their numbers.
func (l *numberedLog) append(t *testing.T, count int) int {
	t.Helper()
	text, err := exec.Command(binary(t), "push", "log:numbers", "append", fmt.Sprintf(`{"count":%d}`, count), "-u", l.server.URL).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	l.last += count
	return l.last - rand.IntN(count)
}

// savedCursor is what the file of a connection says of log:numbers; 0: nothing.
func savedCursor(t *testing.T, path, connection string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var saved struct {
		Connections map[string]map[string]struct{ Since int }
	}
	if err := json.Unmarshal(text, &saved); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return saved.Connections[connection]["log:numbers"].Since
}

// TestResumeListen: of 100,000 numbers none is missing after 50 cuts of the link and 10 kills of phx, and what comes twice was written
// after the value in the file.
func TestResumeListen(t *testing.T) {
	t.Parallel()
	entries, cuts, kills := 100_000, 50, 10
	if testing.Short() {
		entries, cuts, kills = 6_000, 8, 4
	}
	log, dir := startLog(t), t.TempDir()
	all := &received{}
	start := func() *run {
		return startRun(t, all, dir, "listen", "log:numbers", "-u", log.server.URL, "--join-params", `{"since":0}`,
			"--resume", "since=.data.payload.n", "--resume-file", "cursors.json", "-q", ".data.payload.n", "--reconnect-after", "10ms", "--max-outage", "5m")
	}
	listen := start()
	steps := trouble(cuts, kills)
	for i, what := range steps {
		all.await(t, log.append(t, entries*(i+1)/len(steps)-log.last))
		if what == "cut" {
			log.server.DropConns()
			continue
		}
		listen.end(os.Kill)
		before := len(all.got) // nobody adds to it
		cursor := savedCursor(t, filepath.Join(dir, "cursors.json"), "default")
		listen = start()
		all.await(t, log.append(t, 1))
		all.mu.Lock()
		for _, number := range all.got[before:] {
			if number <= cursor {
				t.Errorf("%d came again after a restart, and the file said %d", number, cursor)
				break
			}
		}
		all.mu.Unlock()
	}
	all.await(t, log.last)
	listen.end(os.Interrupt)
	t.Logf("%d of %d came more than once", all.check(t, "stdout", log.last), log.last)
	if cursor := savedCursor(t, filepath.Join(dir, "cursors.json"), "default"); cursor != log.last {
		t.Errorf("at the end the file says %d, want %d", cursor, log.last)
	}
}

// TestResumeServe: the same for serve, at each of its sinks, of which one is slow and fails for a time after each start.
func TestResumeServe(t *testing.T) {
	t.Parallel()
	entries, cuts, kills := 20_000, 20, 10
	if testing.Short() {
		entries, cuts, kills = 1_200, 4, 3
	}
	log, dir := startLog(t), t.TempDir()
	printed, posted := &received{}, &received{}
	var attempts int
	var mu sync.Mutex
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var event struct {
			Data struct{ Payload struct{ N int } }
		}
		if attempts++; attempts%400 < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			t.Error(err)
		}
		posted.add(event.Data.Payload.N)
	}))
	t.Cleanup(hook.Close)
	config := fmt.Sprintf(`
state_dir: state
control: {socket: control.sock}
connections:
  backend:
    uri: %s
    auto_join_channels: [{topic: "log:numbers", params: {since: 0}, resume: {since: .data.payload.n}}]
    reconnect_after_msec: [10]
    max_retries: -1
sinks:
  hook: {webhook: {url: %q}, queue: 1000000}
  file: {file: {path: numbers}, format: payload, queue: 1000000}
routes:
  - {event: entry, to: [hook, file]}
`, log.server.URL, hook.URL)
	if err := os.WriteFile(filepath.Join(dir, "phx.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *run { return startRun(t, printed, dir, "serve", "-f", "phx.yaml") }
	serve := start()
	steps := trouble(cuts, kills)
	for i, what := range steps {
		posted.await(t, log.append(t, entries*(i+1)/len(steps)-log.last))
		if what == "cut" {
			log.server.DropConns()
			continue
		}
		serve.end(os.Kill)
		serve = start()
	}
	posted.await(t, log.append(t, 1)) // by a serve that is up, whatever came last
	serve.end(os.Interrupt)
	text, err := os.ReadFile(filepath.Join(dir, "numbers"))
	if err != nil {
		t.Fatal(err)
	}
	filed := &received{}
	for line := range strings.Lines(string(text)) {
		var entry struct{ N int }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		filed.add(entry.N)
	}
	t.Logf("more than once: %d in the file, %d at the webhook, of %d", filed.check(t, "file", log.last), posted.check(t, "webhook", log.last), log.last)
	if cursor := savedCursor(t, filepath.Join(dir, "state/resume-backend.json"), "backend"); cursor != log.last {
		t.Errorf("at the end the file says %d, want %d", cursor, log.last)
	}
}

// TestResumeCountsWritten: while nobody reads stdout, a rejoin goes on behind what has been written, and not behind what was received.
func TestResumeCountsWritten(t *testing.T) {
	t.Parallel()
	const entries = 20_000
	since, received := make(chan int, 2), make(chan struct{})
	var once sync.Once
	app := func(s *phoenixtest.Server) {
		s.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("log:*", phoenixtest.ChannelFuncs{
			OnJoin: func(s *phoenixtest.Socket, params phoenixtest.Payload) (any, error) {
				from := phoenixtest.Field(params, "since", -1)
				since <- from
				if from < 0 {
					s.Send(nil)
				}
				return nil, nil
			},
			OnInfo: func(s *phoenixtest.Socket, _ any) phoenixtest.Result {
				for n := range entries {
					s.Push("entry", phoenixtest.Map{"n": n + 1})
				}
				s.Conn().SendPing("all")
				return phoenixtest.NoReply()
			},
		})}})
	}
	server, err := phoenixtest.Listen(app, phoenixtest.WithTap(func(f phoenixtest.Frame) {
		if f.FromClient && string(f.Data) == "all" { // the pong: all that came before the ping was read
			once.Do(func() { close(received) })
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	cmd := exec.Command(binary(t), "listen", "log:a", "-u", server.URL, "--resume", "since=.data.payload.n", "--no-jitter", "--reconnect-after", "500ms")
	cmd.Env = append(os.Environ(), phxtest.RaceOptions)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	if from := <-since; from != -1 {
		t.Errorf("the first join says since %d", from)
	}
	<-received
	server.DropConns()
	from := <-since
	_ = cmd.Process.Kill() // it runs, or the test has failed
	text, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	if written := strings.Count(string(text), "\n"); from <= 0 || from > written || written == entries {
		t.Errorf("the rejoin says since %d; %d lines were written of %d", from, written, entries)
	}
}
