package systemtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"phx/cmd/phxtest"
	"phx/phoenix/phoenixtest"
)

// A served is a running phx serve that is phxtest.Watched over HTTP.
type served struct {
	cmd    *exec.Cmd
	log    phxtest.Watched
	socket string // of the control API
	web    string // where health and metrics are
	client *http.Client
	ready  chan bool // tells once whether it became ready
	ended  chan struct{}
}

// startServe runs phx serve with a config that does not say where to listen.
func startServe(t *testing.T, config string, stdout io.Writer) *served {
	t.Helper()
	dir := t.TempDir()
	s := &served{
		socket: filepath.Join(dir, "control.sock"), client: &http.Client{Transport: &http.Transport{}},
		ready: make(chan bool, 1), ended: make(chan struct{}),
	}
	path := filepath.Join(dir, "phx.yaml")
	config += fmt.Sprintf("control: {socket: %s}\nhttp: {listen: \"127.0.0.1:0\"}\n", s.socket)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(binary(t), "serve", "-f", path, "--ready-fd", "3")
	s.cmd.Env = append(os.Environ(), phxtest.RaceOptions)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.ExtraFiles = stdout, &s.log, []*os.File{readyW}
	err = s.cmd.Start()
	readyW.Close()
	if err != nil {
		readyR.Close()
		t.Fatal(err)
	}
	go func() {
		defer readyR.Close()
		line, _ := io.ReadAll(readyR) // a pipe has no other error than its end
		s.ready <- len(line) > 0
	}()
	go func() {
		_ = s.cmd.Wait() // how it ended is in ProcessState
		s.log.End()
		close(s.ended)
	}()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		_ = s.cmd.Process.Kill() // it fails when there is no process any more
		<-s.ended
		if t.Failed() {
			t.Logf("stderr of phx serve:\n%s", s.log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	match, ok := s.log.Await(ctx, regexp.MustCompile(`http://127\.0\.0\.1:\d+`))
	if !ok {
		t.Fatal("phx serve does not say where its HTTP server is")
	}
	s.web = match[0]
	return s
}

// awaitReady waits until every connection is connected and joined.
func (s *served) awaitReady(t *testing.T) {
	t.Helper()
	select {
	case ready := <-s.ready:
		if !ready {
			t.Fatal("phx serve ended before it was ready")
		}
	case <-time.After(phxtest.Patience):
		t.Fatal("phx serve does not get ready")
	}
	if status, body := s.get(t, "/readyz"); status != http.StatusOK {
		t.Fatalf("/readyz, after it was told to be ready: %d %s", status, body)
	}
}

func (s *served) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp, err := s.client.Get(s.web + path)
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

// ctl runs phx ctl and returns what it prints.
func (s *served) ctl(t *testing.T, args ...string) string {
	t.Helper()
	return phxOutput(t, append([]string{"ctl", "--control", s.socket}, args...)...)
}

// cutPattern is how serve says that it had no time left for some connections: five seconds is all it takes, on any machine.
var cutPattern = regexp.MustCompile(`(\d+) connections were not stopped in time`)

// stop ends phx serve as a service manager does. It has to end by itself, in order, but for the connections that it says were cut.
func (s *served) stop(t *testing.T) (cut int) {
	t.Helper()
	sendSignal(t, s.cmd, syscall.SIGTERM)
	awaitEnd(t, s.ended)
	if got := phxtest.EndOf(s.cmd.ProcessState); got != "0" {
		t.Errorf("phx serve ended with %s, want 0", got)
	}
	match := cutPattern.FindStringSubmatch(s.log.String())
	if match != nil {
		cut, _ = strconv.Atoi(match[1]) // it is digits
	} else if strings.Contains(s.log.String(), "not everything ended as it should") {
		t.Error("phx serve did not end everything, and does not say that connections were cut")
	}
	return cut
}

// A usage is what a process holds.
type usage struct{ goroutines, files, heap float64 }

func (s *served) usage(t *testing.T) usage {
	t.Helper()
	status, metrics := s.get(t, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, metrics)
	}
	u := usage{
		goroutines: value(t, metrics, "go_goroutines"),
		files:      value(t, metrics, "process_open_fds"),
		heap:       value(t, metrics, "go_memstats_heap_inuse_bytes"),
	}
	if u.goroutines == 0 || u.heap == 0 {
		t.Fatalf("/metrics does not tell what is in use: %+v", u)
	}
	return u
}

// looks is how many looks tell what a process holds while nothing happens. Each look takes some goroutines itself, now more and now
// less: what is low, and was seen usual times, will be seen again.
const looks, usual = 30, 3

// atRest returns what the process holds of each while nothing happens.
func (s *served) atRest(t *testing.T) usage {
	t.Helper()
	var goroutines, files, heap [looks]float64
	for i := range looks {
		u := s.usage(t)
		goroutines[i], files[i], heap[i] = u.goroutines, u.files, u.heap
	}
	low := func(seen [looks]float64) float64 {
		slices.Sort(seen[:])
		return seen[usual-1]
	}
	return usage{low(goroutines), low(files), low(heap)}
}

// awaitUsage waits until what the process holds is as asked for.
func (s *served) awaitUsage(t *testing.T, what string, enough func(usage) bool) (u usage) {
	t.Helper()
	s.await(t, func() (bool, string) {
		u = s.usage(t)
		return enough(u), fmt.Sprintf("%s: it holds %+v", what, u)
	})
	return u
}

// awaitMetric waits until a series has a value.
func (s *served) awaitMetric(t *testing.T, series string, want float64) {
	t.Helper()
	s.await(t, func() (bool, string) {
		_, metrics := s.get(t, "/metrics")
		got := value(t, metrics, series)
		return got == want, fmt.Sprintf("%s is %v, want %v", series, got, want)
	})
}

// await looks until what it sees is right. A process that does not get there shows its goroutines and ends.
func (s *served) await(t *testing.T, look func() (right bool, seen string)) {
	t.Helper()
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	tooLong := time.After(phxtest.Patience)
	for {
		right, seen := look()
		if right {
			return
		}
		select {
		case <-ticks.C:
		case <-tooLong:
			sendSignal(t, s.cmd, syscall.SIGQUIT)
			<-s.ended
			t.Fatal(seen)
		}
	}
}

// awaitBack waits until the process holds no more than it did, but for some memory.
func (s *served) awaitBack(t *testing.T, what string, before usage, heap float64) usage {
	t.Helper()
	return s.awaitUsage(t, fmt.Sprintf("%s; before: %+v", what, before), func(u usage) bool {
		return u.goroutines <= before.goroutines && u.files <= before.files && u.heap <= before.heap+heap
	})
}

// TestServeStopLeavesNothing stops a connection in all kinds of states. Each time no goroutine and no file of it is left.
func TestServeStopLeavesNothing(t *testing.T) {
	long(t)
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
		s.ctl(t, "status", "one", "--wait", "joined", "--timeout", phxtest.Patience.String())
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

const (
	// crowdSize is how many subscribers come and go, crowdAtOnce how many are there at a time.
	crowdSize   = 1000
	crowdAtOnce = 50
	// crowdReads is how many signals a subscriber reads at most before it goes.
	crowdReads = 8
	// crowdHeap is how much more memory may be in use afterwards: garbage, mostly. What is left of a subscriber may not have
	// a size worth mentioning: the crowd would need more than this with 16 KiB each.
	crowdHeap = 16 << 20
	// ahead is how many messages the server is ahead of a subscriber that keeps up: much less than what makes it lose any.
	ahead = 100
)

// numberText makes the messages so large that somebody who does not read soon has no room for them.
var numberText = strings.Repeat("x", 1000)

// A numbers is the application of a server that sends numbered messages to the one client that joins.
type numbers struct {
	// joined gets the client's channel.
	joined chan *phoenixtest.Socket
	// wanted has one for each message that somebody waits for; underway one for each that the client has not seen.
	wanted, underway chan struct{}
	// sent is how many there were, once done is closed.
	sent int64
	done chan struct{}
}

func newNumbers() *numbers {
	return &numbers{
		joined: make(chan *phoenixtest.Socket, 1), underway: make(chan struct{}, ahead),
		wanted: make(chan struct{}, crowdSize*(crowdReads+1)), done: make(chan struct{}),
	}
}

func (n *numbers) app(s *phoenixtest.Server) {
	s.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
		OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
			s.Send(nil)
			return nil, nil
		},
		OnInfo: func(s *phoenixtest.Socket, _ any) phoenixtest.Result {
			n.joined <- s
			return phoenixtest.NoReply()
		},
		OnIn: func(_ *phoenixtest.Socket, _ string, p phoenixtest.Payload) phoenixtest.Result {
			return phoenixtest.OK(p)
		},
	})}})
}

// send sends what is wanted, and says at the end that it was the end.
func (n *numbers) send(to *phoenixtest.Socket) {
	defer close(n.done)
	for range n.wanted {
		n.underway <- struct{}{}
		n.sent++
		to.Push(eventNumber, phoenixtest.RawJSON(fmt.Sprintf(`{"n":%d,"text":%q}`, n.sent, numberText)))
	}
	to.Push(eventLast, phoenixtest.RawJSON(fmt.Sprintf(`{"n":%d}`, n.sent+1)))
}

// A subscriber is somebody at /v1/signals.
type subscriber struct {
	conn  net.Conn
	lines *bufio.Reader
}

// subscribe asks for signals. With the header of the answer it is certain that those from now on come.
func subscribe(socket, query string) (*subscriber, error) {
	conn, err := ask(socket, query)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New("the answer is " + resp.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &subscriber{conn, bufio.NewReader(resp.Body)}, nil
}

// ask sends the request alone.
func ask(socket, query string) (net.Conn, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "GET /v1/signals?%s HTTP/1.1\r\nHost: phx\r\n\r\n", query); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// next reads a signal.
func (s *subscriber) next() (*soakSignal, error) {
	line, err := s.lines.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var signal soakSignal
	return &signal, json.Unmarshal(line, &signal)
}

// read reads a number of messages, which follow each other.
func (s *subscriber) read(count int) error {
	var last int64
	for range count {
		signal, err := s.next()
		if err != nil {
			return err
		}
		n := signal.Data.Payload.N
		if n == 0 || last != 0 && n != last+1 {
			return fmt.Errorf("after message %d came %+v", last, signal)
		}
		last = n
	}
	return nil
}

// wantNumbers is the query for what a numbers sends.
const wantNumbers = "event=" + eventNumber + "&event=" + eventLast

// visit is what the i-th of the crowd does.
func (n *numbers) visit(socket string, i int) error {
	if i%5 == 0 { // it has gone before it is answered
		conn, err := ask(socket, wantNumbers)
		if err == nil {
			conn.Close()
		}
		return err
	}
	query := wantNumbers
	if i%20 == 1 {
		query += "&where=.data.payload.n+%3E+0"
	}
	s, err := subscribe(socket, query)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	count := 1 + i%crowdReads
	for range count + 1 {
		n.wanted <- struct{}{}
	}
	if err := s.read(count); err != nil {
		return err
	}
	if i%2 == 0 { // it goes within a line
		_, err = io.ReadFull(s.lines, make([]byte, 100))
	}
	return err
}

// TestServeSubscribers lets a crowd come to /v1/signals, and go again in all kinds of ways, beside one that does not read and one
// that gets everything. Nothing is left of them.
func TestServeSubscribers(t *testing.T) {
	long(t)
	n := newNumbers()
	server := phoenixtest.NewServer(n.app)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "all.ndjson")
	s := startServe(t, fmt.Sprintf(`
connections: {a: {uri: %s, auto_join_channels: [room:numbers]}}
sinks: {all: {file: {path: %s}, queue: 64MiB}}
routes: [{event: [%s, %s], to: [all]}]
`, server.URL, file, eventNumber, eventLast), nil)
	s.awaitReady(t)
	before := s.atRest(t)

	steady, err := subscribe(s.socket, wantNumbers)
	if err != nil {
		t.Fatal(err)
	}
	defer steady.conn.Close()
	idle, err := subscribe(s.socket, wantNumbers)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.conn.Close()
	go n.send(<-n.joined)

	var visits, reads sync.WaitGroup
	reads.Go(func() { n.readAll(t, steady) })
	for first := range crowdAtOnce {
		visits.Go(func() {
			for i := first; i < crowdSize; i += crowdAtOnce {
				if err := n.visit(s.socket, i); err != nil {
					t.Errorf("subscriber %d: %v", i, err)
				}
			}
		})
	}
	visits.Wait()
	close(n.wanted)
	<-n.done
	reads.Wait()
	during := s.usage(t)
	if got := s.ctl(t, "push", "a", "room:numbers", "echo", `{"n":1.0}`, "-o", "payload"); got != "{\"n\":1.0}\n" {
		t.Errorf("beside somebody who does not read, the answer of a push is %q", got)
	}
	lost := readOn(t, idle, n.sent)
	steady.conn.Close()
	idle.conn.Close()

	after := s.awaitBack(t, "the subscribers have gone", before, crowdHeap)
	if got := server.Stats().Connects; got != 1 {
		t.Errorf("the connection connected %d times, want once", got)
	}
	if cut := s.stop(t); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
	checkFile(t, file, n.sent)
	t.Logf("%d messages to each, the one who did not read lost %d; before: %+v, with him: %+v, after: %+v", n.sent, lost, before, during, after)
}

// readAll reads every message until the last one, in order.
func (n *numbers) readAll(t *testing.T, s *subscriber) {
	for want := int64(1); ; want++ {
		signal, err := s.next()
		if err != nil || signal.Data.Payload.N != want {
			t.Errorf("the steady subscriber got %+v, error %v, want message %d", signal, err, want)
			for { // so that the others get theirs
				select {
				case <-n.underway:
				case <-n.done:
					return
				}
			}
		}
		if signal.Metadata.Event == eventLast {
			return
		}
		<-n.underway
	}
}

// readOn reads what somebody gets who has not read until now: some of it, then how much was lost. It returns how much. phx serve
// may have cut him off by now, where everything takes long.
func readOn(t *testing.T, s *subscriber, sent int64) (lost uint64) {
	t.Helper()
	var got, last int64
	for {
		signal, err := s.next()
		if err != nil {
			t.Logf("the one who did not read was cut off after %d messages: %v", got, err)
			return lost
		}
		if signal.Type == "phoenix.signal.dropped" {
			lost += signal.Data.Count
			continue
		}
		if signal.Data.Payload.N <= last {
			t.Errorf("the one who did not read got message %d after %d", signal.Data.Payload.N, last)
		}
		got, last = got+1, signal.Data.Payload.N
		if signal.Metadata.Event == eventLast {
			break
		}
	}
	if lost == 0 || uint64(got)+lost != uint64(sent)+1 {
		t.Errorf("of %d messages the one who did not read got %d and was told to have lost %d", sent+1, got, lost)
	}
	return lost
}

// checkFile checks that a sink has got every message once and in order.
func checkFile(t *testing.T, path string, sent int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &subscriber{lines: bufio.NewReader(f)}
	for want := range sent + 1 {
		if signal, err := s.next(); err != nil || signal.Data.Payload.N != want+1 {
			t.Fatalf("the file has %+v, error %v, want message %d", signal, err, want+1)
		}
	}
	if signal, err := s.next(); err != io.EOF {
		t.Errorf("the file has more: %+v, error %v", signal, err)
	}
}

const (
	// manyConnections is how many one process has.
	manyConnections = 1000
	// manyMessages is how many each of them gets in a round of traffic.
	manyMessages = 5
	// manyHeap is how much more memory may be in use after a round than after the one before, and manyText how much text a message
	// has, so that a round that stayed would need more.
	manyHeap = 12 << 20
	manyText = 4 << 10
)

// A tally reads the signals of many connections, and counts them.
type tally struct {
	mu       sync.Mutex
	rest     []byte            // of a line that is not whole yet
	seq      map[string]uint64 // the last one of each connection
	events   map[string]int
	problems []string
	changed  chan struct{} // has something after a change
}

// Write implements [io.Writer] for the output of phx serve.
func (c *tally) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = append(c.rest, p...)
	for {
		line, rest, found := bytes.Cut(c.rest, []byte("\n"))
		if !found {
			break
		}
		c.line(line)
		c.rest = rest
	}
	c.rest = bytes.Clone(c.rest)
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

// line counts a signal. None may be missing, and none may come twice.
func (c *tally) line(text []byte) {
	var s struct {
		Type     string   `json:"type"`
		Metadata soakMeta `json:"metadata"`
		Data     struct {
			Reason string `json:"reason"`
			Code   int    `json:"code"`
		} `json:"data"`
	}
	err := json.Unmarshal(text, &s)
	name := s.Metadata.Connection
	c.seq[name]++
	if (err != nil || s.Metadata.Seq != c.seq[name]) && len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf("number %d of %s is wrong (%v): %.200s", c.seq[name], name, err, text))
	}
	event := s.Metadata.Event
	if event == "" {
		event = strings.TrimSpace(fmt.Sprintf("%s %s %d", s.Type, s.Data.Reason, s.Data.Code))
	}
	c.events[event]++
}

func (c *tally) count(event string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[event]
}

// await waits until there are as many events.
func (c *tally) await(t *testing.T, event string, n int) {
	t.Helper()
	tooLong := time.After(phxtest.Patience)
	for c.count(event) < n {
		select {
		case <-c.changed:
		case <-tooLong:
			t.Fatalf("%d of %d events %s came", c.count(event), n, event)
		}
	}
}

// Ends is what clients say to a server when they end, by connection, in order.
type ends struct {
	mu   sync.Mutex
	said map[*phoenixtest.Conn]string
}

// tap is the server's.
func (e *ends) tap(f phoenixtest.Frame) {
	const opClose = 8
	what := ""
	switch {
	case !f.FromClient:
	case f.Opcode == opClose && len(f.Data) >= 2:
		what = fmt.Sprintf("close %d;", int(f.Data[0])<<8|int(f.Data[1]))
	case f.Opcode == opClose:
		what = "close;"
	case bytes.Contains(f.Data, []byte(`"phx_leave"`)):
		what = "leave;"
	}
	if what != "" {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.said[f.Conn] += what
	}
}

// TestServeThousandConnections runs many connections in one process: all are joined, all get their messages, memory does not grow
// with these, and in the end each channel is left and each connection closed, in the time that serve has for it.
func TestServeThousandConnections(t *testing.T) {
	long(t)
	e := &ends{said: map[*phoenixtest.Conn]string{}}
	server := phoenixtest.NewServer(phoenixtest.Demo(), phoenixtest.WithTap(e.tap))
	defer server.Close()
	var config strings.Builder
	fmt.Fprintf(&config, "defaults: {uri: %s, reply_timeout_msec: 60000, connect_timeout_msec: 60000}\nconnections:\n", server.URL)
	for i := range manyConnections {
		fmt.Fprintf(&config, "  c%d: {auto_join_channels: [room:%d]}\n", i, i%10)
	}
	out := &tally{seq: map[string]uint64{}, events: map[string]int{}, changed: make(chan struct{}, 1)}
	s := startServe(t, config.String(), out)
	began := time.Now()
	s.awaitReady(t)
	joined := time.Since(began)
	if n := server.Stats(); n.Open != manyConnections || n.Joined != manyConnections {
		t.Errorf("ready with %+v", n)
	}

	first := s.traffic(t, server, out)
	second := s.traffic(t, server, out)
	if second > first+manyHeap {
		t.Errorf("after a round of traffic %.1f MiB are in use, after another one %.1f", first/(1<<20), second/(1<<20))
	}

	began = time.Now()
	cut := s.stop(t)
	stopped := time.Since(began)
	const closed = "phoenix.connection.disconnected closed_by_us 1000"
	if n := out.count(closed); n < manyConnections-cut {
		t.Errorf("%d signals %s, want %d, or %d less", n, closed, manyConnections, cut)
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	for _, problem := range out.problems {
		t.Error(problem)
	}
	server.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	said := map[string]int{}
	for _, what := range e.said {
		said[what]++
	}
	if n := said["leave;close 1000;"]; n < manyConnections-cut || cut == 0 && len(said) != 1 {
		t.Errorf("what clients said in the end: %v; %d were cut", said, cut)
	}
	t.Logf("ready after %v, stopped after %v, %d cut; heap in use after a round %.1f MiB, after another %.1f",
		joined.Round(time.Millisecond), stopped.Round(time.Millisecond), cut, first/(1<<20), second/(1<<20))
}

// traffic sends messages to every connection, and returns what memory is in use when all have come out again.
func (s *served) traffic(t *testing.T, server *phoenixtest.Server, out *tally) (heap float64) {
	t.Helper()
	payload := phoenixtest.RawJSON(fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", manyText)))
	before := out.count(eventNumber)
	for n := range manyMessages {
		for topic := range 10 {
			server.Broadcast(fmt.Sprint("room:", topic), eventNumber, payload)
		}
		// One for each connection is under way: whoever reads has room for them, however slow he is.
		out.await(t, eventNumber, before+(n+1)*manyConnections)
	}
	return s.afterGC(t)
}

// afterGC returns what memory is in use when the garbage until now has been collected. To look makes some, so that it is.
func (s *served) afterGC(t *testing.T) (heap float64) {
	t.Helper()
	const collections = "go_gc_duration_seconds_count"
	_, metrics := s.get(t, "/metrics")
	before := value(t, metrics, collections)
	s.await(t, func() (bool, string) {
		_, metrics := s.get(t, "/metrics")
		heap = value(t, metrics, "go_memstats_heap_inuse_bytes")
		now := value(t, metrics, collections)
		return now > before, fmt.Sprintf("there were %v garbage collections, and %v before", now, before)
	})
	return heap
}
