package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/router"
)

// A stage is a bridge with a server beside it: the variable URI of its config. What is shown here waits for signals and states
// and never for time to pass.
type stage struct {
	*Bridge
	t   *testing.T
	srv *phoenixtest.Server
	// dir is where the config is, and where relative paths of it begin.
	dir string
	log *journal
	// handler, if not nil, stands before log.
	handler slog.Handler
	// logEvent, if not nil, gets the events that are logged.
	logEvent func(ev *phoenix.Event)
	// load, if not nil, is called before the config is read.
	load func()
	// stdout is where the sink of that name writes.
	stdout io.Writer
	// where stands for jq.
	where func(expr string) (func(context.Context, router.Signal) (bool, error), error)
	// loadError, if not nil, is the error of reading the config.
	loadError error

	mu     sync.Mutex
	config string
}

// newStage returns a stage with a bridge that is not made yet: [stage.open] makes it.
func newStage(t *testing.T, app phoenixtest.App, config string) *stage {
	t.Helper()
	srv := phoenixtest.NewServer(app)
	t.Cleanup(srv.Close)
	return &stage{t: t, srv: srv, dir: t.TempDir(), log: newJournal(), stdout: io.Discard, where: where, config: config}
}

// stageOf returns a stage that is open, with a server like that of phx demo.
func stageOf(t *testing.T, config string) *stage {
	t.Helper()
	s := newStage(t, phoenixtest.Demo(), config)
	s.open()
	return s
}

// started returns a stage all of whose connections are started.
func started(t *testing.T, config string) *stage {
	t.Helper()
	s := stageOf(t, config)
	must(t, s.StartAll())
	return s
}

// open makes the bridge, which is shut down when the test ends.
func (s *stage) open() {
	s.t.Helper()
	var err error
	s.Bridge, err = New(s.options())
	must(s.t, err)
	s.t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
}

func (s *stage) options() Options {
	var handler slog.Handler = s.log
	if s.handler != nil {
		handler = s.handler
	}
	return Options{
		Load: s.read, Where: s.where, LookupEnv: s.lookupEnv, Dir: func() string { return s.dir }, Stdout: s.stdout,
		Logger: slog.New(handler), Reloading: func() func() { return func() {} }, Explain: explain,
		LogEvent: func(_ *slog.Logger, ev *phoenix.Event) {
			if s.logEvent != nil {
				s.logEvent(ev)
			}
		},
	}
}

func (s *stage) read() (*config.File, error) {
	if s.load != nil {
		s.load()
	}
	if s.loadError != nil {
		return nil, s.loadError
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return config.ParseFile(filepath.Join(s.dir, "phx.yaml"), []byte(s.config), s.lookupEnv)
}

// write changes the config; it counts from the next reload on.
func (s *stage) write(config string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = config
}

// reload puts another config into effect.
func (s *stage) reload(config string) {
	s.t.Helper()
	s.write(config)
	must(s.t, s.Reload(s.t.Context()))
}

func (s *stage) lookupEnv(name string) (string, bool) { return s.srv.URL, name == "URI" }

// explain says of the end of a join or a push whether it has failed.
func explain(_ config.Profile, ev *phoenix.Event) *exit.Error {
	switch d := ev.Detail.(type) {
	case *phoenix.PushReply:
		if d.Status != "ok" {
			return &exit.Error{Code: exit.PushStatus, Message: "the status\x7f of \"" + ev.Topic + "\" is " + d.Status, Hint: "é, and not ok"}
		}
	case *phoenix.PushTimeout:
		return &exit.Error{Code: exit.Timeout, Message: d.Timeout.String()}
	case *phoenix.PushError:
		return &exit.Error{Code: exit.Channel, Message: string(d.Reason)}
	case *phoenix.JoinError:
		return &exit.Error{Code: exit.Join, Message: string(d.Reason)}
	}
	return nil
}

// where stands in for jq: signals that contain the text of the expression, which must not be "(".
func where(expr string) (func(context.Context, router.Signal) (bool, error), error) {
	if expr == "(" {
		return nil, errors.New("where: it does not compile")
	}
	return func(_ context.Context, s router.Signal) (bool, error) {
		return bytes.Contains(s.Text(), []byte(expr)), nil
	}, nil
}

// await waits until a connection is in a state, and returns it.
func (s *stage) await(name, state string) Connection {
	s.t.Helper()
	c, err := s.Await(patient(s.t), name, state)
	if err != nil {
		s.t.Fatalf("%v; it is %+v", err, c)
	}
	return c
}

// is returns a connection as it is.
func (s *stage) is(name string) Connection {
	s.t.Helper()
	c, err := s.Connection(s.t.Context(), name)
	must(s.t, err)
	return c
}

// stop stops a connection.
func (s *stage) stop(name string) {
	s.t.Helper()
	_, err := s.Stop(s.t.Context(), name)
	must(s.t, err)
}

// add adds a connection as the control API does.
func (s *stage) add(entry string) {
	s.t.Helper()
	_, err := s.Add(s.t.Context(), []byte(entry), "")
	must(s.t, err)
}

// end ends the bridge, so that everything is delivered.
func (s *stage) end() {
	s.t.Helper()
	must(s.t, s.Shutdown(s.t.Context()))
}

// file returns what is in a file beside the config.
func (s *stage) file(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	must(s.t, err)
	return string(data)
}

// A said is a signal as far as it is looked at.
type said struct {
	ID, Type string
	Data     struct {
		Topic, Event, Reason, Status string
		Payload, Response            json.RawMessage
	}
	Metadata struct {
		Connection string `json:"connection_name"`
		Ref        string `json:"phoenix_ref"`
		Seq        uint64
	}
}

func (s said) String() string {
	return fmt.Sprintf("%s %d %s %s", s.Metadata.Connection, s.Metadata.Seq, s.Type, s.Data.Topic)
}

// signalOf reads the signal that is an answer.
func signalOf(t *testing.T, line []byte) said {
	t.Helper()
	var s said
	if err := json.Unmarshal(line, &s); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return s
}

// A subscriber reads signals as a subscriber of the control API gets them.
type subscriber struct {
	*router.Subscription
	t *testing.T
	// waiting are read, and not looked at yet.
	waiting []said
}

// subscribe begins to listen.
func (s *stage) subscribe(r SubscribeRequest) *subscriber {
	s.t.Helper()
	sub, err := s.Subscribe(r)
	must(s.t, err)
	s.t.Cleanup(sub.Close)
	return &subscriber{Subscription: sub, t: s.t}
}

// next returns the next lines, as many as there are.
func (l *subscriber) next(ctx context.Context) ([]byte, error) {
	chunk, err := l.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Release(chunk)
	return bytes.Clone(chunk.Bytes()), nil
}

// until returns the signals up to the first that is wanted.
func (l *subscriber) until(wanted func(said) bool) []said {
	l.t.Helper()
	var seen []said
	ctx := patient(l.t)
	for {
		for len(l.waiting) == 0 {
			lines, err := l.next(ctx)
			if err != nil {
				l.t.Fatalf("%v after %v", err, seen)
			}
			for line := range bytes.Lines(lines) {
				l.waiting = append(l.waiting, signalOf(l.t, line))
			}
		}
		next := l.waiting[0]
		l.waiting = l.waiting[1:]
		seen = append(seen, next)
		if wanted(next) {
			return seen
		}
	}
}

// find returns the next signal of a type, which may end with "*".
func (l *subscriber) find(typ string) said {
	l.t.Helper()
	begin, open := strings.CutSuffix(typ, "*")
	seen := l.until(func(s said) bool { return s.Type == typ || open && strings.HasPrefix(s.Type, begin) })
	return seen[len(seen)-1]
}

// A journal is a log that one can wait for.
type journal struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
	slog.Handler
}

func newJournal() *journal {
	j := &journal{changed: make(chan struct{})}
	j.Handler = slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug})
	return j
}

// Write implements [io.Writer].
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.changed)
	j.changed = make(chan struct{})
	return j.text.Write(p)
}

// String returns the log.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// await waits until the log has a text.
func (j *journal) await(t *testing.T, text string) {
	t.Helper()
	ctx := patient(t)
	for {
		j.mu.Lock()
		found, changed := strings.Contains(j.text.String(), text), j.changed
		j.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no %q in the log:\n%s", text, j)
		}
	}
}

// patient returns a context for what comes soon: without it, a test says what it has missed.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// must ends the test if there is an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError makes sure that an error is answered with this HTTP status and exit code, and says so and so.
func wantError(t *testing.T, err error, status int, code exit.Code, text string) {
	t.Helper()
	var e *apiError
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want one with status %d", err, err, status)
	}
	if e.status != status || e.err.Code != code || !strings.Contains(e.err.Message+"\n"+e.err.Hint, text) {
		t.Errorf("status %d, code %d, %q, %q; want %d, %d, %q", e.status, e.err.Code, e.err.Message, e.err.Hint, status, code, text)
	}
}

// echo is a push that the demo answers with its payload.
func echo(topic string) Push {
	return Push{Topic: topic, Event: "echo", Payload: json.RawMessage(`{"n":1}`)}
}

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
	_, err := New(s.options())
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
	if codeOf(err) != exit.Write || !strings.Contains(err.Error(), "the sink out cannot work") {
		t.Errorf("error %v", err)
	}
	if list, err := s.Connections(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("connections %v, error %v", list, err)
	}
}

// Every connection is left and closed, and what it says of that is delivered.
func TestShutdownDeliversEverything(t *testing.T) {
	s := started(t, `
connections: {a: {uri: "${URI}", auto_join_channels: [room:a]}}
sinks: {out: {file: {path: out}}}
routes: [{to: out}]
`)
	s.await("a", StateJoined)
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
	signals := s.subscribe(SubscribeRequest{Match: "phoenix.connection.disconnected"})
	must(t, s.StartAll())
	s.await("a", StateJoined)
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
			s.metrics()
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
				if err != nil && !slices.Contains(right, errorStatus(err)) {
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
		s.await(name, StateJoined)
	}
	s.end()
	s.wantWhole()
}

// An end in the midst of it comes at once, and loses nothing.
func TestShutdownInAStorm(t *testing.T) {
	s := started(t, stormy[0])
	s.await("a", StateJoined)
	signals, seen := s.subscribe(SubscribeRequest{}), 0
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

// TestDescriptorsOfAConfig: what is warned of at the start counts dials, files and commands of secrets.
func TestDescriptorsOfAConfig(t *testing.T) {
	const head = "connections:\n  a: {uri: 'ws://localhost'"
	need := func(rest string) uint64 { return stageOf(t, head+rest).first.descriptors() }
	plain := need("}")
	for _, tt := range []struct {
		config  string
		atLeast uint64 // more than the plain one
	}{
		{"}\n  b: {uri: 'ws://localhost'}", 2}, // a socket, and what finds its address
		{", params: {t: {file: token}}}", 0},   // which is read before the dial
		{", params: {t: {command: [cat]}}}", 4},
		{", auto_join_channels: [{topic: a, secret_params: {t: {command: [cat]}}}]}", 4},
		{"}\nsinks: {h: {webhook: {url: 'http://h', secret: {command: [cat]}}}}\nroutes: [{to: [h, stdout]}]", 8},
	} {
		if got := need(tt.config); got < plain+tt.atLeast || got > plain+20 {
			t.Errorf("%s: %d descriptors, and %d without", tt.config, got, plain)
		}
	}
}
