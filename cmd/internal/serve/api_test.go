package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix/phoenixtest"
	"phx/router"
	"phx/signal"
)

// socketPath returns the path of a socket that is not there yet, short enough for one.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "phx", "s")
}

// A served is a control API that runs until the end of the test, or until end is called, which returns what Serve returned.
type served struct {
	*stage
	path   string
	client *Client
	// called gets a token for each call that is being answered, as far as there is room.
	called chan struct{}
	end    func() error
}

// serve serves the control API of a stage.
func (s *stage) serve(change ...func(*Server)) *served {
	s.t.Helper()
	api := &served{stage: s, path: socketPath(s.t), called: make(chan struct{}, 1)}
	l, err := Listen(api.path)
	must(s.t, err)
	server := NewServer(s.Bridge, slog.New(s.log))
	calls := server.mux
	server.mux = http.NewServeMux()
	server.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		select {
		case api.called <- struct{}{}:
		default:
		}
		calls.ServeHTTP(w, r)
	})
	for _, f := range change {
		f(server)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	result := make(chan error, 1)
	go func() { result <- server.Serve(ctx, l) }()
	api.client = NewClient(api.path)
	api.end = sync.OnceValue(func() error {
		cancel()
		return <-result
	})
	s.t.Cleanup(func() {
		api.client.Close()
		if err := api.end(); err != nil {
			s.t.Errorf("Serve: %v", err)
		}
	})
	return api
}

// request makes a call as it stands, as curl would.
func (s *served) request(method, target, body string) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://phx"+target, strings.NewReader(body))
	must(s.t, err)
	response, err := s.client.http.Do(r)
	must(s.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(s.t, err)
	return response, string(text)
}

// talking is a server whose joins and pushes answer with what they were sent, but for some topics and events.
func talking(srv *phoenixtest.Server) {
	srv.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("*", phoenixtest.ChannelFuncs{
		OnJoin: func(s *phoenixtest.Socket, params phoenixtest.Payload) (any, error) {
			if s.Topic() == "private" {
				return nil, phoenixtest.RefuseJoin(phoenixtest.Map{"reason": "no"})
			}
			return params, nil
		},
		OnIn: func(_ *phoenixtest.Socket, event string, p phoenixtest.Payload) phoenixtest.Result {
			switch event {
			case "silent":
				return phoenixtest.NoReply()
			case "fail":
				return phoenixtest.Error(p)
			}
			return phoenixtest.OK(p)
		},
	})}})
}

const talkingConfig = `connections: {backend: {uri: "${URI}", auto_join_channels: [room:lobby]}}`

// talkingAPI returns the control API of a stage whose connection "backend" is joined to room:lobby.
func talkingAPI(t *testing.T) *served {
	t.Helper()
	s := newStage(t, talking, talkingConfig)
	s.open()
	must(t, s.StartAll())
	s.await("backend", StateJoined)
	return s.serve()
}

// varying is what differs from run to run in an answer.
var varying = regexp.MustCompile(`"(since|joined_at|time)":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"|"id":"[^"]*"|"uri":"ws://127.0.0.1:\d+/socket/websocket"|"counters":\{[^}]+\}` +
	`|"join_ms":\d+|"latency_ms":\d+,"latency_us":\d+|,"phoenix_(join_)?ref":"\d+"|"seq":\d+`)

// fixed returns an answer without what varies: an X stands for it.
func fixed(answer string) string { return varying.ReplaceAllString(answer, "X") }

const (
	joinedJSON  = `{"name":"backend","status":"connected",X,"transport":"websocket","session":1,"attempt":0,X,"required":true,"channels":[{"topic":"room:lobby","state":"joined",X}],X}`
	stoppedJSON = `{"name":"backend","status":"disconnected",X,"session":1,"attempt":0,X,"required":true,"channels":[],X}`
	unknownJSON = `{"error":{"message":"serve has no connection \"x\"","hint":"` + "`phx ctl list`" + ` shows those it has","exit_code":1}}`
)

func TestCalls(t *testing.T) {
	const c = "/v1/connections"
	tests := []struct {
		method, target, body string
		status               int
		answer               string
		failure              string
	}{
		{"GET", c, "", 200, `{"connections":[` + joinedJSON + `]}`, ""},
		{"GET", c + "/backend", "", 200, joinedJSON, ""},
		{"GET", c + "/back%65nd", "", 200, joinedJSON, ""},
		{"GET", c + "/x", "", 404, unknownJSON, ""},
		{"GET", c + "/..", "", 404, strings.ReplaceAll(unknownJSON, `"x\"`, `"..\"`), ""},
		{"POST", c + "/x/start", "", 404, unknownJSON, ""},
		{"POST", c + "/x/push", `{"topic":"a","event":"e","payload":1}`, 404, unknownJSON, ""},
		{"POST", c + "/x/channels", `{"topic":"room:a"}`, 404, unknownJSON, ""},
		{"DELETE", c + "/x", "", 404, unknownJSON, ""},
		{"POST", c, `{"name":"backend","uri":"ws://localhost/socket"}`, 409, `{"error":{"message":"serve has a connection \"backend\" already","hint":"give the new one another name, or ` + "`phx ctl remove`" + ` the old one","exit_code":1}}`, ""},
		{"POST", c + "?dir=/etc/a%20b", `{"name":"b"}`, 400, `{"error":{"message":"the sent connection:1:1: the connection \"b\" has no uri","hint":"a right one: uri: ws://localhost:4000/socket, here or in defaults:","exit_code":2}}`, ""},
		{"POST", c + "/backend/channels", `{"topic":"a/../?%"}`, 200, joinedSignal("a/../?%", `{}`), ""},
		{"POST", c + "/backend/channels", `{"topic":"a/b//c","params":{"a":1.0}}`, 200, joinedSignal("a/b//c", `{"a":1.0}`), ""},
		{"POST", c + "/backend/channels", `{"topic":".."}`, 200, joinedSignal("..", `{}`), ""},
		{"POST", c + "/backend/channels", `{"topic":"x/"}`, 200, joinedSignal("x/", `{}`), ""},
		{"POST", c + "/backend/channels", `{"topic":"private"}`, 502, ``, `{"message":"error","exit_code":64}`},
		{"DELETE", c + "/backend/channels/a%2F..%2F%3F%25", "", 200, leftSignal("a/../?%"), ""},
		{"DELETE", c + "/backend/channels/a/b//c", "", 200, leftSignal("a/b//c"), ""},
		{"DELETE", c + "/backend/channels/..", "", 200, leftSignal(".."), ""},
		{"DELETE", c + "/backend/channels/x/", "", 200, leftSignal("x/"), ""},
		{"DELETE", c + "/backend/channels/nobody", "", 409, `{"error":{"message":"the topic is not joined","hint":"` + "`phx ctl status backend`" + ` shows the channels","exit_code":66}}`, ""},
		{"POST", c + "/backend/push", `{"topic":"room:lobby","event":"echo","payload": {"n": 1.0}}`, 200, replySignal("echo", "ok", `"payload":{"n": 1.0}`), ""},
		{"POST", c + "/backend/push", `{"topic":"room:lobby","event":"echo","payload":null,"timeout_ms":1500}`, 200, replySignal("echo", "ok", `"payload":null`), ""},
		{"POST", c + "/backend/push", `{"topic":"room:lobby","event":"echo","payload_base64":"AP8="}`, 200, replySignal("echo", "ok", `"payload_base64":"AP8="`), ""},
		{"POST", c + "/backend/push", `{"topic":"room:lobby","event":"fail","payload":1}`, 200, replySignal("fail", "error", `"payload":1`), `{"message":"the status\u007f of \"room:lobby\" is error","hint":"é, and not ok","exit_code":65}`},
		{"POST", c + "/backend/push", `{"topic":"room:lobby","event":"silent","payload":1,"timeout_ms":2}`, 504, ``, `{"message":"2ms","exit_code":28}`},
		{"POST", c + "/backend/push", `{"topic":"nobody","event":"e","payload":1}`, 502, ``, `{"message":"not_joined","exit_code":66}`},
		{"POST", c + "/backend/push", `{"topic":"room:lobby","event":"e","payload":1,"no_reply":true}`, 202, `{"ref":"X"}`, ""},
		{"GET", "/v1/signals?match=a..b", "", 400, `{"error":{"message":"segment 2 of the pattern \"a..b\" is empty: one dot stands between two segments, and none at the ends","hint":"a right one: phoenix.backend.**","exit_code":2}}`, ""},
		{"POST", "/v1/reload", "", 200, `{"status":"reloaded"}`, ""},
		{"POST", c + "/backend/stop", "", 200, stoppedJSON, ""},
		{"POST", c + "/backend/start", "", 200, ``, ""},
		{"POST", c + "/backend/restart", "", 200, ``, ""},
		{"GET", c + "/backend?wait=joined", "", 200, strings.ReplaceAll(joinedJSON, `"session":1`, `"session":Y`), ""},
		{"POST", c, `{"name":"b","uri":"${URI}"}`, 201, ``, ""},
		{"GET", c + "/b?wait=connected&timeout=1m", "", 200, `{"name":"b","status":"connected",X,"transport":"websocket","session":1,"attempt":0,X,"required":true,"channels":[],X}`, ""},
		{"DELETE", c + "/b", "", 200, `{"name":"b","status":"removed"}`, ""},
		{"GET", c + "/b", "", 404, strings.ReplaceAll(unknownJSON, `"x\"`, `"b\"`), ""},
	}
	s := talkingAPI(t)
	refs, sessions := regexp.MustCompile(`^\{"ref":"\d+"}`), regexp.MustCompile(`"session":[23]`)
	for _, tt := range tests {
		response, answer := s.request(tt.method, tt.target, tt.body)
		got := refs.ReplaceAllString(fixed(answer), `{"ref":"X"}`)
		if strings.Contains(tt.answer, `"session":Y`) {
			got = sessions.ReplaceAllString(got, `"session":Y`)
		}
		if response.StatusCode != tt.status || tt.answer != "" && got != tt.answer+"\n" {
			t.Errorf("%s %s %s: %d %s\nwant %d %s", tt.method, tt.target, tt.body, response.StatusCode, got, tt.status, tt.answer)
		}
		if failure := response.Header.Get(errorHeader); failure != tt.failure {
			t.Errorf("%s %s %s: the failure is\n%s\nwant\n%s", tt.method, tt.target, tt.body, failure, tt.failure)
		}
		if kind := response.Header.Get("Content-Type"); kind != "application/json" {
			t.Errorf("%s %s: %s", tt.method, tt.target, kind)
		}
	}
}

// TestSinks: a sink is told as it is, and those that throw away are not told.
func TestSinks(t *testing.T) {
	receiver := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(receiver.Close) // after the end of the stage, whose sink goes on until it has delivered
	s := newStage(t, talking, talkingConfig+`
sinks:
  hook: {webhook: {url: "`+receiver.URL+`/hook?key=hunter2"}}
  idle: {file: {path: idle.ndjson}}
  never: {discard: {}}
routes: [{topic: "room:*", to: [hook, never, discard]}, {event: nothing, to: [idle, stdout]}]`)
	s.open()
	must(t, s.StartAll())
	s.await("backend", StateJoined)
	api := s.serve()
	varying := regexp.MustCompile(`"(last_error_at":"[^"]*"|waiting_bytes":[1-9]\d*)`)
	get := func(target string) (int, string) {
		response, answer := api.request("GET", target, "")
		return response.StatusCode, varying.ReplaceAllString(answer, "X")
	}
	// Each signal is given up.
	s.until(func() bool {
		_, answer := get("/v1/sinks/hook")
		return strings.Contains(answer, `"waiting":0`) && strings.Contains(answer, `"404":`)
	})
	status, answer := get("/v1/sinks/hook")
	hook := regexp.MustCompile(`^\{"name":"hook","kind":"webhook","status":"failing","waiting":0,"waiting_bytes":0,"oldest_ms":0,"delivered":0,"lost":[1-9],` +
		`"attempts":\{"404":[1-9]\},"last_error":"the answer was 404 Not Found: 404 page not found",X\}\n$`)
	if status != 200 || !hook.MatchString(answer) {
		t.Errorf("%d %s", status, answer)
	}
	const others = `{"name":"idle","kind":"file","status":"up","waiting":0,"waiting_bytes":0,"oldest_ms":0,"delivered":0,"lost":0,"attempts":{}},` +
		`{"name":"stdout","kind":"stdout","status":"up","waiting":0,"waiting_bytes":0,"oldest_ms":0,"delivered":0,"lost":0,"attempts":{}}]}` + "\n"
	if status, answer := get("/v1/sinks"); status != 200 || !strings.HasPrefix(answer, `{"sinks":[{"name":"hook"`) || !strings.HasSuffix(answer, others) {
		t.Errorf("%d %s", status, answer)
	}
	for _, name := range []string{"x", "never", "discard"} {
		want := strings.ReplaceAll(strings.ReplaceAll(unknownJSON, "connection", "sink"), "ctl list", "ctl sinks")
		if status, answer := get("/v1/sinks/" + name); status != 404 || answer != strings.ReplaceAll(want, `"x\"`, `"`+name+`\"`)+"\n" {
			t.Errorf("%d %s", status, answer)
		}
	}
}

// joinedSignal, leftSignal and replySignal are signals that answer calls, without what varies.
func joinedSignal(topic, response string) string {
	return answerSignal("phoenix.channel.joined", topic, `"response":`+response+`,"rejoin":false,X`, `XX`)
}

func leftSignal(topic string) string {
	return answerSignal("phoenix.channel.left", topic, `"reason":"requested"`, `X`)
}

func replySignal(event, status, payload string) string {
	return answerSignal("phoenix.push.reply", "room:lobby", `"event":"`+event+`","status":"`+status+`",`+payload+`,X,"index":0`, `,"phoenix_event":"`+event+`"XX`)
}

func answerSignal(kind, topic, data, metadata string) string {
	return `{"specversion":"1.0",X,"source":"/jidoka/phoenix/backend","type":"` + kind + `","subject":"` + topic + `",X,"datacontenttype":"application/json",` +
		`"data":{"connection_name":"backend","topic":"` + topic + `",` + data + `},` +
		`"metadata":{"connection_name":"backend","phoenix_topic":"` + topic + `"` + metadata + `,"session":1,X}}`
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
		{"GET", "/v1//connections", "", 404, "there is no call GET /v1//connections"},
		{"GET", "//v1/connections", "", 404, "no call"},
		{"POST", "/v1/connections/backend/explode", "", 404, "no call"},
		{"POST", "/v1/connections//start", "", 404, "no call"},
		{"DELETE", "/v1/connections/backend/channels/", "", 404, "no call"},
		{"DELETE", "/v1/connections//channels/a", "", 404, "no call"},
		{"DELETE", c, "", 405, "DELETE does not go with /v1/connections"},
		{"GET", c + "/backend/channels/a/b", "", 405, "GET does not go with /v1/connections/backend/channels/a/b"},
		{"GET", c + "/backend/push", "", 405, "does not go"},
		{"HEAD", "/v1/signals", "", 405, ""},
		{"HEAD", c, "", 405, ""},
		{"GET", c + "?x=1", "", 400, `unknown name, \"x\"`},
		{"DELETE", c + "/backend?force=1", "", 400, `unknown name, \"force\"`},
		{"GET", c + "/backend?wait=asleep", "", 400, `no state \"asleep\"`},
		{"GET", c + "/backend?wait=joined&wait=joined", "", 400, `more than one \"wait\"`},
		{"GET", c + "/backend?wait=joined&timeout=soon", "", 400, `timeout \"soon\" is not a duration`},
		{"GET", c + "/backend?timeout=1", "", 400, "no state to wait for"},
		{"GET", c + "/backend?wait=%zz", "", 400, "the query is wrong"},
		{"GET", "/v1/sinks?name=a", "", 400, `unknown name, \"name\"`},
		{"POST", "/v1/sinks", "", 405, "POST does not go with /v1/sinks"},
		{"GET", "/v1/sinks/", "", 404, "no call"},
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
		{"POST", c + "/backend/push", `{"topic":"a","event":"e","payload":1,"timeout_ms":9223372036855}`, 400, "timeout_ms"},
		{"POST", c + "/backend/push", `{"topic":"a","event":"e","payload":1,"timeout_ms":"1s"}`, 400, "timeout_ms is of the wrong kind: string"},
	}
	s := talkingAPI(t)
	for _, tt := range tests {
		response, answer := s.request(tt.method, tt.target, tt.body)
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
	// The bridge was asked for nothing.
	after := s.is("backend")
	for _, name := range []string{"disconnects", "join_errors", "push_replies", "push_timeouts", "push_errors"} {
		if after.Counters[name] != 0 {
			t.Errorf("%d %s", after.Counters[name], name)
		}
	}
	if after.Session != 1 || after.Counters["joins"] > 1 || len(after.Channels) != 1 || len(s.names()) != 1 {
		t.Errorf("%+v", after)
	}
}

// What a reload says is answered: with the code of a wrong file, and without one for what nobody foresaw.
func TestReloadErrors(t *testing.T) {
	s := talkingAPI(t)
	s.write("connections: {backend: {}}")
	response, answer := s.request("POST", "/v1/reload", "")
	if response.StatusCode != 422 || !strings.Contains(answer, `phx.yaml:1:15: `) || !strings.Contains(answer, `"exit_code":2}}`) {
		t.Errorf("%d %s", response.StatusCode, answer)
	}
	s.loadError = errors.New("the file is wrong")
	response, answer = s.request("POST", "/v1/reload", "")
	if response.StatusCode != 500 || answer != `{"error":{"message":"the file is wrong","exit_code":1}}`+"\n" {
		t.Errorf("%d %s", response.StatusCode, answer)
	}
}

func TestAnUnboundedBodyIsRefused(t *testing.T) {
	s := stageOf(t, one).serve(func(s *Server) { s.maxBody = 1 << 20 })
	body := io.MultiReader(strings.NewReader(`{"topic":"`), &endless{}, strings.NewReader(`"}`))
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://phx/v1/connections/backend/channels", body)
	must(t, err)
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

// goneAPI returns the control API of a stage whose connection "a" is connected, and its channel refused.
func goneAPI(t *testing.T) *served {
	t.Helper()
	s := newStage(t, gone, one)
	s.open()
	signals := s.subscribe(SubscribeRequest{})
	must(t, s.StartAll())
	signals.find("phoenix.channel.join_error")
	return s.serve()
}

func TestWaiting(t *testing.T) {
	s := goneAPI(t)
	// As long as it takes to look at the connection once, on a busy machine, too.
	_, err := s.client.Connection(t.Context(), "a", StateJoined, 500*time.Millisecond)
	const message = "a is not joined within 500ms: it is connected, room:a is errored"
	if codeOf(err) != exit.Timeout || err.Error() != message || exit.HintOf(err) != "allow more time, or see the log of serve" {
		t.Errorf("exit code %d, %v, %s", codeOf(err), err, exit.HintOf(err))
	}
	// The time is one that a person would write: phx ctl status waits for several connections, for each as long as is left.
	if _, err := s.client.Connection(t.Context(), "a", StateJoined, 12345678); codeOf(err) != exit.Timeout || !strings.Contains(err.Error(), "within 12ms:") {
		t.Errorf("exit code %d, %v", codeOf(err), err)
	}
	if response, _ := s.request("GET", "/v1/connections/a?wait=joined&timeout=1ms", ""); response.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("HTTP status %d", response.StatusCode)
	}
	if _, err := s.client.Connection(t.Context(), "x", StateConnected, 0); codeOf(err) != exit.Failure {
		t.Errorf("an unknown name: %v", err)
	}
	s.stop("a")
	for len(s.called) > 0 {
		<-s.called
	}
	go func() {
		<-s.called
		_, _ = s.Start(context.Background(), "a")
	}()
	var c Connection
	text, err := s.client.Connection(t.Context(), "a", StateConnected, 0)
	if must(t, err); json.Unmarshal(text, &c) != nil || c.Status != StateConnected {
		t.Errorf("%s", text)
	}
}

func TestWaitingEndsWithTheCaller(t *testing.T) {
	s := goneAPI(t)
	enough := errors.New("the caller has enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-s.called
		cancel(enough)
	}()
	if _, err := s.client.Connection(ctx, "a", StateJoined, 0); !errors.Is(err, enough) {
		t.Errorf("the caller went: %v", err)
	}
}

func TestWaitingEndsWithTheServer(t *testing.T) {
	s := goneAPI(t)
	go func() {
		<-s.called
		_ = s.end()
	}()
	if _, err := s.client.Connection(t.Context(), "a", StateJoined, 0); codeOf(err) != exit.LinkLost || err.Error() != "serve is shutting down" {
		t.Errorf("the server shut down: %v", err)
	}
}

// codeOf returns the code of an [exit.Error], -1 for any other.
func codeOf(err error) exit.Code {
	if e := (*exit.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return -1
}

func TestAPanicHarmsNobody(t *testing.T) {
	s := talkingAPI(t)
	s.load = func() { panic("a bug") }
	response, answer := s.request("POST", "/v1/reload", "")
	if response.StatusCode != 500 || !strings.Contains(answer, "serve made a mistake") || strings.Contains(answer, "a bug") {
		t.Errorf("%d %s", response.StatusCode, answer)
	}
	if response, _ := s.request("GET", "/v1/connections", ""); response.StatusCode != 200 {
		t.Errorf("the next call: %d", response.StatusCode)
	}
}

// One message passes all that a subscriber asks for, in the format that it asks for.
func TestSignals(t *testing.T) {
	s := newStage(t, talking, `connections: {backend: {uri: "${URI}", auto_join_channels: ["a&b", "room:c", other]}}`)
	s.open()
	must(t, s.StartAll())
	s.await("backend", StateJoined)
	api := s.serve()
	stream, err := api.client.Signals(t.Context(), SubscribeRequest{
		Match: "phoenix.backend.**", Subscribe: "jido.**", Topic: []string{"room:*", "a&b"}, Event: []string{"x y", "other", "leave"},
		Where: `"n":1`, Format: signal.FormatJido,
	})
	must(t, err)
	defer stream.Close()
	if kind := stream.response.Header.Get("Content-Type"); kind != "application/x-ndjson" {
		t.Error(kind)
	}
	s.srv.Broadcast("other", "x y", phoenixtest.Map{"n": 1})
	s.srv.Broadcast("a&b", "z", phoenixtest.Map{"n": 1})
	s.srv.Broadcast("a&b", "x y", phoenixtest.Map{"n": 2})
	s.srv.Broadcast("a&b", "x y", phoenixtest.Map{"n": 1})
	s.srv.Broadcast("room:c", "other", phoenixtest.Map{"n": 1})
	for _, topic := range []string{"a&b", "room:c"} {
		line, err := stream.Next()
		must(t, err)
		if text := string(line); !strings.Contains(text, `"specversion":"1.0.2"`) || !strings.Contains(text, topic) && !strings.Contains(text, `a\u0026b`) {
			t.Errorf("%s: %s", topic, text)
		}
	}
	s.Bridge.Shutdown(t.Context())
	if _, err := stream.Next(); codeOf(err) != exit.LinkLost || !strings.Contains(err.Error(), "has ended the stream") {
		t.Errorf("at the end: %v", err)
	}
}

func TestAFilterThatIsWrong(t *testing.T) {
	s := stageOf(t, one).serve()
	if _, err := s.client.Signals(t.Context(), SubscribeRequest{Match: "["}); codeOf(err) != exit.Usage || !strings.Contains(err.Error(), `"["`) {
		t.Error(err)
	}
	if _, err := s.client.Signals(t.Context(), SubscribeRequest{Where: "("}); codeOf(err) != exit.JQCompile {
		t.Error(err)
	}
}

// newsType is the type of the signals that subscribers broadcasts.
const newsType = "phoenix.a.room_a.news"

// watchWhere makes the stage count the calls of subscribers' Where for such signals: others may come at any time.
func (s *stage) watchWhere() *atomic.Int64 {
	var calls atomic.Int64
	s.where = func(string) (func(context.Context, router.Signal) (bool, error), error) {
		return func(_ context.Context, s router.Signal) (bool, error) {
			if bytes.Contains(s.Text(), []byte(newsType)) {
				calls.Add(1)
			}
			return true, nil
		}, nil
	}
	return &calls
}

// subscribers returns how many subscribers with a Where there are: that of each is called for a message.
func (s *stage) subscribers(calls *atomic.Int64, all *subscriber) int64 {
	s.t.Helper()
	calls.Store(0)
	s.srv.Broadcast("room:a", "news", nil)
	all.find(newsType)
	return calls.Load()
}

func TestSignalsEndWithTheCaller(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), one)
	calls := s.watchWhere()
	s.open()
	all := s.subscribe(SubscribeRequest{})
	must(t, s.StartAll())
	s.await("a", StateJoined)
	api := s.serve()
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	stream, err := api.client.Signals(ctx, SubscribeRequest{Where: "true", Match: "none"})
	must(t, err)
	cancel(enough)
	if _, err := stream.Next(); !errors.Is(err, enough) {
		t.Error(err)
	}
	s.until(func() bool { return s.subscribers(calls, all) == 0 })
}

func TestSignalsEndWithTheServer(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), one)
	calls := s.watchWhere()
	s.open()
	all := s.subscribe(SubscribeRequest{})
	must(t, s.StartAll())
	s.await("a", StateJoined)
	api := s.serve()
	stream, err := api.client.Signals(t.Context(), SubscribeRequest{Where: "true"})
	must(t, err)
	defer stream.Close()
	if n := s.subscribers(calls, all); n != 1 {
		t.Errorf("%d subscribers", n)
	}
	must(t, api.end())
	for err == nil {
		_, err = stream.Next()
	}
	if codeOf(err) != exit.LinkLost {
		t.Error(err)
	}
	if n := s.subscribers(calls, all); n != 0 {
		t.Error("the server has ended before its subscription")
	}
}

// TestSubscribersComeAndGo: nothing is left of them.
func TestSubscribersComeAndGo(t *testing.T) {
	const atOnce, rounds = 50, 20
	s := newStage(t, phoenixtest.Demo(), one)
	calls := s.watchWhere()
	s.open()
	all := s.subscribe(SubscribeRequest{})
	must(t, s.StartAll())
	s.await("a", StateJoined)
	api := s.serve()
	before := 0
	for round := range rounds {
		var group sync.WaitGroup
		for range atOnce {
			group.Go(func() {
				client := NewClient(api.path)
				defer client.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if _, err := client.Signals(ctx, SubscribeRequest{Where: "true"}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		s.until(func() bool { return s.subscribers(calls, all) == 0 })
		if round == 0 {
			before = runtime.NumGoroutine()
		}
	}
	// A few connections may still be ending; one goroutine a subscriber would be more.
	if now := runtime.NumGoroutine(); now > before+atOnce*rounds/2 {
		t.Errorf("%d goroutines, %d after the first round", now, before)
	}
}

// TestASubscriberThatStopsReading is cut off, and harms nobody else.
func TestASubscriberThatStopsReading(t *testing.T) {
	s := joined(t)
	api := s.serve(func(s *Server) { s.writeTimeout = 20 * time.Millisecond })
	conn, err := net.Dial("unix", api.path)
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("GET /v1/signals HTTP/1.1\r\nHost: phx\r\n\r\n"))
	must(t, err)
	text := strings.Repeat("x", 1<<16)
	s.until(func() bool {
		s.srv.Broadcast("room:a", "news", phoenixtest.Map{"text": text})
		return strings.Contains(s.log.String(), "a subscriber of signals has gone, or did not read for too long")
	})
	_, err = api.client.Connections(t.Context())
	must(t, err)
}

// A subscriber whose where does not end is cut off, and told why.
func TestSignalsWithAWhereThatDoesNotEnd(t *testing.T) {
	s := newStage(t, phoenixtest.Demo(), one)
	s.where = func(string) (func(context.Context, router.Signal) (bool, error), error) {
		return func(ctx context.Context, _ router.Signal) (bool, error) { <-ctx.Done(); return false, ctx.Err() }, nil
	}
	s.open()
	api := s.serve()
	stream, err := api.client.Signals(t.Context(), SubscribeRequest{Where: "repeat(1)"})
	must(t, err)
	must(t, s.StartAll())
	for err == nil {
		_, err = stream.Next()
	}
	if codeOf(err) != exit.JQRun || !strings.Contains(err.Error(), "it took longer than a second") || !strings.Contains(exit.HintOf(err), "where") {
		t.Errorf("code %d, %v", codeOf(err), err)
	}
	if c := s.await("a", StateJoined); c.Session != 1 { // the connection has gone on
		t.Errorf("%+v", c)
	}
}

// Before all connections of the config file are known, none is missing: a wait for one waits, and any other call says that serve is starting.
func TestCallsBeforeStart(t *testing.T) {
	s := newStage(t, talking, talkingConfig)
	s.open()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Await(ended, "backend", StateJoined); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait ends with %v", err)
	}
	if _, err := s.Connection(t.Context(), "backend"); !errors.Is(err, errStarting) {
		t.Errorf("error %v", err)
	}
	joined := make(chan error)
	go func() {
		_, err := s.Await(t.Context(), "backend", StateJoined)
		joined <- err
	}()
	must(t, s.StartAll())
	must(t, <-joined)
	if _, err := s.Await(t.Context(), "other", StateJoined); asAPIError(err).status != http.StatusNotFound {
		t.Errorf("error %v", err)
	}
}
