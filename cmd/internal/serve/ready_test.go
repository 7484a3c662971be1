package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

func TestReadyBeforeTheStart(t *testing.T) {
	s := stageOf(t, two)
	if ready, missing := s.Ready(t.Context()); ready || !slices.Equal(missing, []string{"serve is starting"}) {
		t.Errorf("ready %t, missing %q", ready, missing)
	}
}

// Ready says what is missing: a connection, a channel that is not joined, one that was left. Connections that are not required
// never are.
func TestReady(t *testing.T) {
	for what, c := range map[string]struct {
		do      func(s *stage)
		missing []string
	}{
		"all is there":             {func(*stage) {}, nil},
		"a connection":             {func(s *stage) { s.stop("a") }, []string{"a: disconnected"}},
		"one that is not required": {func(s *stage) { s.stop("b") }, nil},
		"a channel": {func(s *stage) {
			_, err := s.Push(s.t.Context(), "a", Push{Topic: "room:a", Event: "crash", Payload: []byte("{}")})
			must(s.t, err)
		}, []string{"a: room:a: errored"}},
		"a channel that the config does not have": {func(s *stage) {
			_, err := s.Join(s.t.Context(), "a", Join{Topic: "room:private"})
			must(s.t, err)
		}, nil},
		"a channel that was left": {func(s *stage) {
			_, err := s.Leave(s.t.Context(), "a", "room:a")
			must(s.t, err)
		}, []string{"a: room:a: left"}},
	} {
		t.Run(what, func(t *testing.T) {
			s := started(t, `
defaults: {rejoin_after_msec: [3600000]}
connections:
  a: {uri: "${URI}", auto_join_channels: [room:a]}
  b: {uri: "${URI}", auto_join_channels: [room:b], required: false}
`)
			s.await("a", StateJoined)
			s.await("b", StateJoined)
			c.do(s)
			if ready, missing := s.Ready(t.Context()); ready != (c.missing == nil) || !slices.Equal(missing, c.missing) {
				t.Errorf("ready %t, missing %q, want %q", ready, missing, c.missing)
			}
		})
	}
}

// WatchReady tells how it is, and then each change, until its context ends.
func TestWatchReady(t *testing.T) {
	s := started(t, one)
	s.await("a", StateJoined)
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan []string)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.WatchReady(ctx, func(_ bool, missing []string) { told <- missing })
	}()
	if missing := <-told; len(missing) > 0 {
		t.Errorf("at first %q is missing", missing)
	}
	_, err := s.Leave(t.Context(), "a", "room:a")
	must(t, err)
	if missing := <-told; !slices.Equal(missing, []string{"a: room:a: left"}) {
		t.Errorf("after a leave %q is missing", missing)
	}
	_, err = s.Join(t.Context(), "a", Join{Topic: "room:a"})
	must(t, err)
	if missing := <-told; len(missing) > 0 {
		t.Errorf("after a join %q is missing", missing)
	}
	cancel()
	<-ended
}

// The first required connection that is over is told.
func TestFailed(t *testing.T) {
	s := newStage(t, refusing, strings.ReplaceAll(refused, "false", "true"))
	s.open()
	must(t, s.StartAll())
	err := <-s.Failed()
	var ended *EndedError
	var link *phoenix.LinkError
	if !errors.As(err, &ended) || ended.Connection != "a" || !strings.HasPrefix(ended.Settings.Address(), s.srv.URL) || !errors.As(err, &link) {
		t.Errorf("error %v", err)
	}
}

// One that is not required is logged, and nothing else.
func TestFailedIsAboutWhatIsRequired(t *testing.T) {
	s := over(t)
	select {
	case err := <-s.Failed():
		t.Errorf("error %v", err)
	default:
	}
	if c := s.is("a"); !strings.Contains(c.Error, "403") {
		t.Errorf("%+v", c)
	}
}

// A panic in what becomes of its events ends a run of this connection, and nothing of another.
func TestPanicHarmsNoOther(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), `
connections:
  a: {uri: "${URI}", auto_join_channels: [room:a]}
  b: {uri: "${URI}", auto_join_channels: [room:crash], reconnect_after_msec: [1]}
`)
	panicked := false
	s.logEvent = func(ev *phoenix.Event) {
		if _, ok := ev.Detail.(*phoenix.Joined); ok && ev.Topic == "room:crash" && !panicked {
			panicked = true
			panic("a bug")
		}
	}
	s.open()
	signals := s.subscribe(SubscribeRequest{Match: "phoenix.channel.joined", Topic: []string{"room:crash"}})
	must(t, s.StartAll())
	before := s.await("a", StateJoined)
	signals.find("phoenix.channel.joined")
	signals.find("phoenix.channel.joined")
	if after := s.await("b", StateJoined); after.Session != 2 || after.Counters["joins"] != 2 {
		t.Errorf("the one that panicked is %+v", after)
	}
	if after := s.is("a"); after.Session != 1 || !after.Since.Equal(before.Since) {
		t.Errorf("the other one was %+v and is %+v", before, after)
	}
	s.log.await(t, "a connection panicked")
}

// What the metrics are made of.
func TestConnectionMetrics(t *testing.T) {
	s := started(t, one)
	s.await("a", StateJoined)
	_, err := s.Join(t.Context(), "a", Join{Topic: "room:private"})
	must(t, err)
	for _, line := range []string{
		`phx_connection_up{connection="a"} 1`, `phx_connection_sessions_total{connection="a"} 1`, `phx_channel_joins_total{connection="a",result="joined"} 1`,
		`phx_channel_joins_total{connection="a",result="join_error"} 1`, `phx_channels{connection="a",state="joined"} 1`,
		`phx_channels{connection="a",state="errored"} 1`,
	} {
		// An event is counted after it has been routed.
		s.until(func() bool { return strings.Contains(s.metrics(), "\n"+line+"\n") })
	}
}

// A connection that hangs is told as such, and hides no other.
func TestConnectionThatDoesNotAnswer(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), `
connections:
  a: {uri: "${URI}", auto_join_channels: [room:a]}
  b: {uri: "${URI}", auto_join_channels: [room:b]}
`)
	let, hangs := make(chan struct{}), make(chan struct{})
	s.handler = hangingHandler{s.log, func(message string) {
		if strings.HasPrefix(message, "a reply that nothing waits for") { // logged by the loop of a
			close(hangs)
			<-let
		}
	}}
	s.open()
	defer s.end()
	defer close(let)
	must(t, s.StartAll())
	s.await("b", StateJoined)
	s.await("a", StateJoined)
	for timedOut := false; !timedOut; { // where nothing gets a processor for so long, the reply is there first
		answer, err := s.Push(t.Context(), "a", Push{Topic: "room:a", Event: "slow", Payload: []byte(`{"ms":50}`), TimeoutMS: 1})
		must(t, err)
		timedOut = answer.Status == http.StatusGatewayTimeout
	}
	<-hangs
	list, err := s.Connections(t.Context())
	must(t, err)
	if len(list) != 2 || list[0].Error != "the connection does not answer" || list[1].Status != StateConnected || list[1].Error != "" {
		t.Errorf("%+v", list)
	}
	if ready, missing := s.Ready(t.Context()); ready || !slices.Equal(missing, []string{"a: the connection does not answer"}) {
		t.Errorf("ready %t, missing %q", ready, missing)
	}
	// Who asks with less time than a status has learns it, too; who has gone gets no status.
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if ready, missing := s.Ready(short); ready || len(missing) == 0 || missing[0] != "a: the connection does not answer" {
		t.Errorf("in a millisecond: ready %t, missing %q", ready, missing)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if ready, missing := s.Ready(gone); ready || len(missing) == 0 || missing[0] != "a: no status: context canceled" {
		t.Errorf("nobody asks: ready %t, missing %q", ready, missing)
	}
	if page := s.metrics(); !strings.Contains(page, `phx_connection_up{connection="b"} 1`) || !strings.Contains(page, `phx_connection_required{connection="a"} 1`) {
		t.Errorf("metrics:\n%s", page)
	}
}

// Connections are looked at side by side: however many do not answer, the others are shown in a second or so.
func TestManyConnectionsThatDoNotAnswer(t *testing.T) {
	const many = 30
	config := "connections:\n  good: {uri: \"${URI}\"}\n"
	for i := range many {
		config += fmt.Sprintf("  c%d: {uri: \"${URI}\", auto_join_channels: [room:a]}\n", i)
	}
	s := newStage(t, phoenixtest.Demo(), config)
	let, hangs := make(chan struct{}), make(chan struct{}, many)
	s.handler = hangingHandler{s.log, func(message string) {
		if strings.HasPrefix(message, "a reply that nothing waits for") { // logged by the loop
			hangs <- struct{}{}
			<-let
		}
	}}
	s.open()
	defer s.end()
	defer close(let)
	must(t, s.StartAll())
	s.await("good", StateConnected)
	var all sync.WaitGroup
	for i := range many {
		name := fmt.Sprintf("c%d", i)
		s.await(name, StateJoined)
		all.Go(func() {
			for timedOut := false; !timedOut; {
				answer, err := s.Push(t.Context(), name, Push{Topic: "room:a", Event: "slow", Payload: []byte(`{"ms":50}`), TimeoutMS: 1})
				if err != nil {
					t.Error(err)
				}
				timedOut = err != nil || answer.Status == http.StatusGatewayTimeout
			}
		})
	}
	all.Wait()
	for range many {
		<-hangs
	}
	for what, look := range map[string]func(){
		"list": func() {
			list, err := s.Connections(t.Context())
			if err != nil || len(list) != many+1 || list[0].Error != "" || list[many].Error != "the connection does not answer" {
				t.Errorf("%+v, %v", list, err)
			}
		},
		"metrics": func() { s.metrics() },
		"ready": func() {
			ctx, cancel := context.WithTimeout(t.Context(), answerTime)
			defer cancel()
			if ready, missing := s.Ready(ctx); ready || len(missing) != many || missing[0] != "c0: the connection does not answer" {
				t.Errorf("ready %t, missing %q", ready, missing)
			}
		},
	} {
		begun := time.Now()
		look()
		if took := time.Since(begun); took > many/3*time.Second { // one after the other, they would take three times that
			t.Errorf("%s took %v", what, took)
		}
	}
}

// A hangingHandler calls hang before it logs a message.
type hangingHandler struct {
	slog.Handler
	hang func(message string)
}

// Handle implements [slog.Handler].
func (h hangingHandler) Handle(ctx context.Context, r slog.Record) error {
	h.hang(r.Message)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h hangingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return hangingHandler{h.Handler.WithAttrs(attrs), h.hang}
}

func TestHealth(t *testing.T) {
	problem := errors.New("a problem")
	for _, want := range []error{nil, problem} {
		h := NewHealth(func(context.Context) error { return want })
		for range 2 { // the end of a check makes room for the next
			if err := h.Check(t.Context()); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	}
}

// TestHealthOfWhoDoesNotAnswer: the answer comes after a second, and all who ask wait for one and the same.
func TestHealthOfWhoDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		h := NewHealth(func(context.Context) error {
			asked.Add(1)
			<-release // and does not heed its context
			return nil
		})
		for range 3 {
			begin := time.Now()
			if err := h.Check(t.Context()); !errors.Is(err, errNoAnswer) {
				t.Errorf("got %v, want %v", err, errNoAnswer)
			}
			if took := time.Since(begin); took != time.Second {
				t.Errorf("the answer took %v", took)
			}
		}
		if got := asked.Load(); got != 1 {
			t.Errorf("alive was called %d times while it did not answer", got)
		}
		close(release)
		synctest.Wait()
		if err := h.Check(t.Context()); err != nil || asked.Load() != 2 {
			t.Errorf("after it answered again: %v, asked %d times, want nil and 2", err, asked.Load())
		}
	})
}

// TestHealthOfWhoDoesNotWait: who goes away takes no answer from others.
func TestHealthOfWhoDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth(func(ctx context.Context) error {
			select {
			case <-time.After(answerTime / 2):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		impatient, cancel := context.WithTimeout(t.Context(), answerTime/4)
		defer cancel()
		first := make(chan error, 1)
		go func() { first <- h.Check(impatient) }()
		synctest.Wait() // the impatient one asks first
		if err := h.Check(t.Context()); err != nil {
			t.Errorf("the patient one got %v", err)
		}
		if err := <-first; err == nil {
			t.Error("the impatient one got an answer that was not there yet")
		}
	})
}

// A source stands for a bridge: it is alive and ready, unless its functions say otherwise.
type source struct {
	alive func(context.Context) error
	ready func(context.Context) (bool, []string)
}

func (s source) web() *Web {
	alive, ready := s.alive, s.ready
	if alive == nil {
		alive = func(context.Context) error { return nil }
	}
	if ready == nil {
		ready = func(context.Context) (bool, []string) { return true, nil }
	}
	return NewWeb(NewHealth(alive), ready, "ready", busyMetrics(), quiet)
}

// startServer serves a source, and returns the URL and how to begin the end; the error of Serve comes on ended.
func startServer(t *testing.T, s source) (url string, stop func(), ended <-chan error) {
	t.Helper()
	l, err := ListenHTTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		result <- s.web().Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return "http://" + l.Addr().String(), cancel, result
}

// request returns status, headers and body.
func request(t *testing.T, method, url string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func TestServer(t *testing.T) {
	unwell := source{
		alive: func(context.Context) error { return errors.New("stuck") },
		ready: func(context.Context) (bool, []string) {
			return false, []string{"backend: connecting", "other: room:lobby is not joined,\nand that is\nto be one line"}
		},
	}
	silent := source{ready: func(context.Context) (bool, []string) { return false, nil }}
	for name, tests := range map[string]struct {
		source source
		tests  []serverTest
	}{
		"well": {source{}, []serverTest{
			{"GET", "/healthz", 200, "ok\n"},
			{"HEAD", "/healthz", 200, ""},
			{"POST", "/healthz", 405, "Method Not Allowed\n"},
			{"GET", "/readyz", 200, "ready\n"},
			{"HEAD", "/readyz", 200, ""},
			{"DELETE", "/readyz", 405, "Method Not Allowed\n"},
			{"HEAD", "/metrics", 200, ""},
			{"PUT", "/metrics", 405, "Method Not Allowed\n"},
			{"GET", "/", 404, "404 page not found\n"},
			{"GET", "/metrics/", 404, "404 page not found\n"},
			{"GET", "/debug/pprof/", 404, "404 page not found\n"},
			{"POST", "/v1/reload", 404, "404 page not found\n"},
		}},
		"unwell": {unwell, []serverTest{
			{"GET", "/healthz", 503, "stuck\n"},
			{"GET", "/readyz", 503, "backend: connecting\nother: room:lobby is not joined, and that is to be one line\n"},
			{"HEAD", "/readyz", 503, ""},
		}},
		"silent": {silent, []serverTest{{"GET", "/readyz", 503, "not ready\n"}}},
	} {
		t.Run(name, func(t *testing.T) {
			url, _, _ := startServer(t, tests.source)
			for _, test := range tests.tests {
				status, header, body := request(t, test.method, url+test.path)
				if status != test.status || body != test.body {
					t.Errorf("%s %s: %d %q, want %d %q", test.method, test.path, status, body, test.status, test.body)
				}
				if allow := header.Get("Allow"); (allow == "GET, HEAD") != (status == 405) {
					t.Errorf("%s %s: Allow: %q", test.method, test.path, allow)
				}
			}
		})
	}
}

type serverTest struct {
	method, path string
	status       int
	body         string
}

func TestServerMetrics(t *testing.T) {
	url, _, _ := startServer(t, source{})
	status, header, body := request(t, "GET", url+"/metrics")
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("status %d, type %q", status, header.Get("Content-Type"))
	}
	if got := len(parse(t, strings.NewReader(body))["phx_connection_up"].GetMetric()); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

// TestServerEnds: at the end nobody new is let in, and who is there gets an answer.
func TestServerEnds(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	url, stop, ended := startServer(t, source{ready: func(context.Context) (bool, []string) {
		close(asked)
		<-release
		return true, nil
	}})
	answered := make(chan string, 1)
	go func() {
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answered <- string(body)
	}()
	<-asked
	stop()
	for { // until the listener is closed
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if got := <-answered; got != "ready\n" {
		t.Errorf("the request at the end got %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve ended with %v", err)
	}
}

func TestServerWhoseListenerFails(t *testing.T) {
	l, err := ListenHTTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := (source{}).web().Serve(t.Context(), l); err == nil {
		t.Error("Serve ended well without a listener")
	}
}

func TestListenErrors(t *testing.T) {
	taken, err := ListenHTTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	_, err = ListenHTTP(addr)
	if codeOf(err) != exit.Failure || !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("an address in use: %v", err)
	}
	if got, want := err.Error(), "cannot listen on "+addr+" (http.listen): address already in use"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if hint := exit.HintOf(err); !strings.Contains(hint, "stop who uses") {
		t.Errorf("hint: %q", hint)
	}
	_, err = ListenHTTP("9464")
	if err == nil || !strings.Contains(exit.HintOf(err), "HOST:PORT") {
		t.Errorf("an address without host: %v", err)
	}
}
