package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A fakeBackend knows the connection "backend". It notes what it is asked for.
type fakeBackend struct {
	// waiting gets the state for each call of Await; await answers it.
	waiting chan string
	// joined lets Await return.
	joined chan struct{}
	// panics makes Reload panic.
	panics bool
	// lines is what each subscription sends, again and again; without lines it sends what is put into signals.
	lines   []byte
	signals chan string

	mu     sync.Mutex
	asked  []string
	open   int
	closed chan struct{} // gets a token for each subscription that is closed
}

func newFakeBackend() *fakeBackend {
	return &fakeBackend{
		waiting: make(chan string, 1), joined: make(chan struct{}),
		signals: make(chan string, 16), closed: make(chan struct{}, 2000),
	}
}

func (b *fakeBackend) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, fmt.Sprintf(format, args...))
}

// last returns what it was asked for last.
func (b *fakeBackend) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) == 0 {
		return ""
	}
	return b.asked[len(b.asked)-1]
}

func (b *fakeBackend) one(what, name string) (Connection, error) {
	b.note("%s %s", what, name)
	if name != "backend" {
		return Connection{}, fmt.Errorf("cannot %s: %w", what, UnknownConnection(name))
	}
	return Connection{
		Name: name, Status: "connected", URI: "ws://localhost/socket", Session: 2, Since: time.Date(2026, 11, 23, 0, 0, 0, 999, time.UTC),
		Required: true, Channels: []Channel{{Topic: "room:lobby", State: "joining"}},
	}, nil
}

func (b *fakeBackend) Connections(context.Context) ([]Connection, error) {
	c, err := b.one("list", "backend")
	return []Connection{c}, err
}

func (b *fakeBackend) Connection(_ context.Context, name string) (Connection, error) {
	return b.one("get", name)
}

func (b *fakeBackend) Await(ctx context.Context, name, state string) (Connection, error) {
	b.waiting <- state
	c, err := b.one("await "+state, name)
	if err != nil {
		return c, err
	}
	select {
	case <-b.joined:
		return c, nil
	case <-ctx.Done():
		return c, fmt.Errorf("waiting: %w", ctx.Err())
	}
}

func (b *fakeBackend) Add(_ context.Context, entry []byte, dir string) (Connection, error) {
	b.note("add %s from %q", entry, dir)
	if strings.Contains(string(entry), "taken") {
		return Connection{}, &Error{Status: http.StatusConflict, Code: exitFailure, Message: "there is one", Advice: "remove it"}
	}
	return b.one("added", "backend")
}

func (b *fakeBackend) Remove(_ context.Context, name string) error {
	_, err := b.one("remove", name)
	return err
}

func (b *fakeBackend) Start(_ context.Context, name string) (Connection, error) {
	return b.one("start", name)
}

func (b *fakeBackend) Stop(_ context.Context, name string) (Connection, error) {
	return b.one("stop", name)
}

func (b *fakeBackend) Restart(_ context.Context, name string) (Connection, error) {
	return b.one("restart", name)
}

func (b *fakeBackend) Join(_ context.Context, name, topic string, params json.RawMessage) (Answer, error) {
	_, err := b.one(fmt.Sprintf("join %s with %q on", topic, params), name)
	return Answer{http.StatusOK, []byte(`{"type":"phoenix.channel.joined"}` + "\n")}, err
}

func (b *fakeBackend) Leave(_ context.Context, name, topic string) (Answer, error) {
	_, err := b.one(fmt.Sprintf("leave %s on", topic), name)
	return Answer{http.StatusOK, []byte(`{"type":"phoenix.channel.left"}`)}, err
}

func (b *fakeBackend) Push(_ context.Context, name string, p Push) (Answer, error) {
	_, err := b.one(fmt.Sprintf("push %s %s %q %q %v %v on", p.Topic, p.Event, p.Payload, p.Binary, p.Timeout, p.NoReply), name)
	switch {
	case p.NoReply:
		return NewRefAnswer("7"), err
	case p.Event == "silent":
		return Answer{http.StatusGatewayTimeout, []byte(`{"type":"phoenix.push.timeout"}`)}, err
	}
	return Answer{http.StatusOK, []byte(`{"type":"phoenix.push.reply"}`)}, err
}

func (b *fakeBackend) Reload(context.Context) error {
	b.note("reload")
	if b.panics {
		panic("a bug")
	}
	return errors.New("the file is wrong")
}

func (b *fakeBackend) Subscribe(r SubscribeRequest) (Subscription, error) {
	b.note("subscribe %+v", r)
	if r.Match == "[" {
		return nil, BadRequest("write it right", "the pattern is wrong")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open++
	return &fakeSubscription{b}, nil
}

type fakeSubscription struct{ backend *fakeBackend }

func (s *fakeSubscription) Next(ctx context.Context) ([]byte, error) {
	if s.backend.lines != nil {
		return s.backend.lines, ctx.Err()
	}
	select {
	case text, ok := <-s.backend.signals:
		if !ok {
			return nil, errors.New("it has ended")
		}
		return []byte(text), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *fakeSubscription) Close() {
	s.backend.mu.Lock()
	s.backend.open--
	s.backend.mu.Unlock()
	s.backend.closed <- struct{}{}
}

// socketPath returns the path of a socket that is not there yet, short enough for one.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "phx", "s")
}

// A served is a server that runs until the end of the test, or until end is called, which returns what Serve returned.
type served struct {
	path   string
	client *Client
	end    func() error
}

func serve(t *testing.T, b Backend, change ...func(*Server)) *served {
	t.Helper()
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(b, slog.New(slog.DiscardHandler))
	for _, f := range change {
		f(server)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- server.Serve(ctx, l) }()
	s := &served{path: path, client: NewClient(path)}
	s.end = sync.OnceValue(func() error {
		cancel()
		return <-result
	})
	t.Cleanup(func() {
		s.client.Close()
		if err := s.end(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// request makes a call as it stands, as curl would.
func (s *served) request(t *testing.T, method, target, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://phx"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

const backendJSON = `{"name":"backend","status":"connected","uri":"ws://localhost/socket","session":2,"attempt":0,` +
	`"since":"2026-11-23T00:00:00Z","required":true,"channels":[{"topic":"room:lobby","state":"joining"}],"counters":{}}`

const unknownJSON = `{"error":{"message":"serve has no connection \"x\"","hint":"` + "`phx ctl list`" + ` shows those it has","exit_code":1}}`

func TestCalls(t *testing.T) {
	const c = "/v1/connections"
	tests := []struct {
		method, target, body string
		status               int
		answer, asked        string
	}{
		{"GET", c, "", 200, `{"connections":[` + backendJSON + `]}`, "list backend"},
		{"GET", c + "/backend", "", 200, backendJSON, "get backend"},
		{"GET", c + "/back%65nd", "", 200, backendJSON, "get backend"},
		{"GET", c + "/x", "", 404, unknownJSON, "get x"},
		{"POST", c + "/backend/start", "", 200, backendJSON, "start backend"},
		{"POST", c + "/backend/stop", "", 200, backendJSON, "stop backend"},
		{"POST", c + "/backend/restart", "", 200, backendJSON, "restart backend"},
		{"POST", c + "/x/start", "", 404, unknownJSON, "start x"},
		{"DELETE", c + "/backend", "", 200, `{"name":"backend","status":"removed"}`, "remove backend"},
		{"DELETE", c + "/x", "", 404, unknownJSON, "remove x"},
		{"POST", c + "?dir=/etc/phx", `{"name":"b"}`, 201, backendJSON, "added backend"},
		{"POST", c, `{"name":"taken"}`, 409, `{"error":{"message":"there is one","hint":"remove it","exit_code":1}}`, `add {"name":"taken"} from ""`},
		{"POST", c + "/backend/channels", `{"topic":"room:a"}`, 200, `{"type":"phoenix.channel.joined"}`, `join room:a with "" on backend`},
		{"POST", c + "/backend/channels", `{"topic":"room:a","params":{"a":1.0}}`, 200, `{"type":"phoenix.channel.joined"}`, `join room:a with "{\"a\":1.0}" on backend`},
		{"POST", c + "/x/channels", `{"topic":"room:a"}`, 404, unknownJSON, `join room:a with "" on x`},
		{"DELETE", c + "/backend/channels/room:lobby", "", 200, `{"type":"phoenix.channel.left"}`, "leave room:lobby on backend"},
		{"DELETE", c + "/backend/channels/a%2Fb%2F..%2F%3F%25", "", 200, `{"type":"phoenix.channel.left"}`, "leave a/b/../?% on backend"},
		{"DELETE", c + "/backend/channels/a/b//c", "", 200, `{"type":"phoenix.channel.left"}`, "leave a/b//c on backend"},
		{"POST", c + "/backend/push", `{"topic":"room:a","event":"echo","payload": {"n": 1.0}}`, 200, `{"type":"phoenix.push.reply"}`, `push room:a echo "{\"n\": 1.0}" "" 0s false on backend`},
		{"POST", c + "/backend/push", `{"topic":"room:a","event":"echo","payload":null,"timeout_ms":1500}`, 200, `{"type":"phoenix.push.reply"}`, `push room:a echo "null" "" 1.5s false on backend`},
		{"POST", c + "/backend/push", `{"topic":"room:a","event":"echo","payload_base64":"AP8="}`, 200, `{"type":"phoenix.push.reply"}`, `push room:a echo "" "\x00\xff" 0s false on backend`},
		{"POST", c + "/backend/push", `{"topic":"room:a","event":"silent","payload":1}`, 504, `{"type":"phoenix.push.timeout"}`, `push room:a silent "1" "" 0s false on backend`},
		{"POST", c + "/backend/push", `{"topic":"room:a","event":"e","payload":1,"no_reply":true}`, 202, `{"ref":"7"}`, `push room:a e "1" "" 0s true on backend`},
		{"POST", "/v1/reload", "", 500, `{"error":{"message":"the file is wrong","exit_code":1}}`, "reload"},
		{"GET", "/v1/signals?match=[", "", 400, `{"error":{"message":"the pattern is wrong","hint":"write it right","exit_code":2}}`, "subscribe {Match:[ Subscribe: Topic:[] Event:[] Where: Format:signal}"},
	}
	backend := newFakeBackend()
	s := serve(t, backend)
	for _, tt := range tests {
		response, answer := s.request(t, tt.method, tt.target, tt.body)
		if response.StatusCode != tt.status || answer != tt.answer+"\n" {
			t.Errorf("%s %s %s: %d %s\nwant %d %s", tt.method, tt.target, tt.body, response.StatusCode, answer, tt.status, tt.answer)
		}
		if asked := backend.last(); asked != tt.asked {
			t.Errorf("%s %s %s: asked for\n%s\nwant\n%s", tt.method, tt.target, tt.body, asked, tt.asked)
		}
		if kind := response.Header.Get("Content-Type"); kind != "application/json" {
			t.Errorf("%s %s: %s", tt.method, tt.target, kind)
		}
	}
}

func TestRequestsThatAreWrong(t *testing.T) {
	const c = "/v1/connections"
	tests := []struct {
		method, target, body string
		status               int
		message              string
	}{
		{"GET", "/", "", 404, "there is no call GET /"},
		{"GET", "/v1/connections/", "", 404, "no call"},
		{"GET", "/v2/connections", "", 404, "no call"},
		{"GET", "/v1/connections/backend/", "", 404, "no call"},
		{"POST", "/v1/connections/backend/explode", "", 404, "no call"},
		{"POST", "/v1/connections//start", "", 404, "no call"},
		{"DELETE", "/v1/connections/backend/channels/", "", 404, "no call"},
		{"DELETE", c, "", 405, "DELETE does not go with /v1/connections"},
		{"GET", c + "/backend/push", "", 405, "does not go"},
		{"HEAD", "/v1/signals", "", 405, ""},
		{"GET", c + "?x=1", "", 400, `unknown name, \"x\"`},
		{"DELETE", c + "/backend?force=1", "", 400, `unknown name, \"force\"`},
		{"GET", c + "/backend?wait=asleep", "", 400, `no state \"asleep\"`},
		{"GET", c + "/backend?wait=joined&wait=joined", "", 400, `more than one \"wait\"`},
		{"GET", c + "/backend?wait=joined&timeout=soon", "", 400, `timeout \"soon\" is not a duration`},
		{"GET", c + "/backend?timeout=1", "", 400, "no state to wait for"},
		{"GET", c + "/backend?wait=%zz", "", 400, "the query is wrong"},
		{"GET", "/v1/signals?topics=a", "", 400, `unknown name, \"topics\"`},
		{"GET", "/v1/signals?format=xml", "", 400, `unknown format \"xml\"`},
		{"GET", "/v1/signals?where=a&where=b", "", 400, `more than one \"where\"`},
		{"POST", c, `{"uri":"ws://x"}`, 400, "has no name"},
		{"POST", c, `{"name":7}`, 400, "name is of the wrong kind: number"},
		{"POST", c, `[]`, 400, "it is no object: array"},
		{"POST", c, ``, 400, "ends too early"},
		{"POST", c + "/backend/channels", `{"topic":"a","parms":{}}`, 400, `unknown field \"parms\"`},
		{"POST", c + "/backend/channels", `{"topic":"a"} {}`, 400, "something follows"},
		{"POST", c + "/backend/channels", `{"topic":"a"`, 400, "it ends too early"},
		{"POST", c + "/backend/channels", `{}`, 400, "has no topic"},
		{"POST", c + "/backend/channels", `{"topic":"a","params":[]}`, 400, "params is not an object"},
		{"POST", c + "/backend/channels", "{\"topic\":\"\xff\"}", 400, "not valid UTF-8"},
		{"POST", c + "/backend/push", `{"event":"e","payload":1}`, 400, "has no topic"},
		{"POST", c + "/backend/push", `{"topic":"a","payload":1}`, 400, "has no event"},
		{"POST", c + "/backend/push", `{"topic":"a","event":"e"}`, 400, "neither payload nor"},
		{"POST", c + "/backend/push", `{"topic":"a","event":"e","payload":1,"payload_base64":""}`, 400, "both payload and"},
		{"POST", c + "/backend/push", `{"topic":"a","event":"e","payload_base64":"?"}`, 400, "base64"},
		{"POST", c + "/backend/push", `{"topic":"a","event":"e","payload":1,"timeout_ms":-1}`, 400, "timeout_ms"},
		{"POST", c + "/backend/push", `{"topic":"a","event":"e","payload":1,"timeout_ms":"1s"}`, 400, "timeout_ms is of the wrong kind: string"},
	}
	backend := newFakeBackend()
	s := serve(t, backend)
	for _, tt := range tests {
		response, answer := s.request(t, tt.method, tt.target, tt.body)
		if response.StatusCode != tt.status || !strings.Contains(answer, tt.message) {
			t.Errorf("%s %s %s: %d %s\nwant %d %s", tt.method, tt.target, tt.body, response.StatusCode, answer, tt.status, tt.message)
		}
		if tt.message != "" && !strings.Contains(answer, `"exit_code":2}}`) {
			t.Errorf("%s %s %s: %s has no exit code 2", tt.method, tt.target, tt.body, answer)
		}
		if tt.status == 405 && response.Header.Get("Allow") == "" {
			t.Errorf("%s %s: nothing is allowed", tt.method, tt.target)
		}
	}
	if asked := backend.last(); asked != "" {
		t.Errorf("the backend was asked for %s", asked)
	}
}

func TestAnUnboundedBodyIsRefused(t *testing.T) {
	s := serve(t, newFakeBackend(), func(s *Server) { s.maxBody = 1 << 20 })
	body := io.MultiReader(strings.NewReader(`{"topic":"`), &endless{}, strings.NewReader(`"}`))
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://phx/v1/connections/backend/channels", body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.http.Do(r)
	if err != nil {
		return // cut while it was still sent, which is as good
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("HTTP status %d", response.StatusCode)
	}
}

// endless is text without an end.
type endless struct{}

func (*endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestWaiting(t *testing.T) {
	backend := newFakeBackend()
	s := serve(t, backend)
	_, err := s.client.Connection(t.Context(), "backend", StateJoined, time.Millisecond)
	want := &Error{
		Status: 504, Code: exitTimeout, Message: "backend is not joined within 1ms: it is connected, room:lobby is joining",
		Advice: "allow more time, or see the log of serve",
	}
	if diff := cmp.Diff(want, err); diff != "" {
		t.Error(diff)
	}
	if state := <-backend.waiting; state != StateJoined {
		t.Errorf("waited for %s", state)
	}
	if _, err := s.client.Connection(t.Context(), "x", StateConnected, 0); exitCode(err) != exitFailure {
		t.Errorf("an unknown name: %v", err)
	}
	<-backend.waiting
	go func() {
		<-backend.waiting
		close(backend.joined)
	}()
	if text, err := s.client.Connection(t.Context(), "backend", StateConnected, 0); err != nil || string(text) != backendJSON {
		t.Errorf("%s %v", text, err)
	}
}

func TestWaitingEndsWithTheServerAndTheCaller(t *testing.T) {
	backend := newFakeBackend()
	s := serve(t, backend)
	gone := errors.New("the caller has enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-backend.waiting
		cancel(gone)
	}()
	if _, err := s.client.Connection(ctx, "backend", StateJoined, 0); !errors.Is(err, gone) {
		t.Errorf("the caller went: %v", err)
	}
	go func() {
		<-backend.waiting
		_ = s.end()
	}()
	if _, err := s.client.Connection(t.Context(), "backend", StateJoined, 0); exitCode(err) != exitLinkLost {
		t.Errorf("the server shut down: %v", err)
	}
}

func exitCode(err error) int {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return -1
}

func TestAPanicHarmsNobody(t *testing.T) {
	backend := newFakeBackend()
	backend.panics = true
	s := serve(t, backend)
	response, answer := s.request(t, "POST", "/v1/reload", "")
	if response.StatusCode != 500 || !strings.Contains(answer, "serve made a mistake") || strings.Contains(answer, "a bug") {
		t.Errorf("%d %s", response.StatusCode, answer)
	}
	if response, _ := s.request(t, "GET", "/v1/connections", ""); response.StatusCode != 200 {
		t.Errorf("the next call: %d", response.StatusCode)
	}
}
