package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
	"phx/signal"
)

func TestCtl(t *testing.T) {
	b := &ctlServer{answers: ctlAnswers()}
	env, _ := startCtl(t, b)
	params := filepath.Join(t.TempDir(), "params.json")
	if err := os.WriteFile(params, []byte("{\"token\": \"x\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args, stdin string
		code        exit.Code
		out, stderr string
		asked       string
	}{
		{"list -q .name -r", "", 0, "backend\nother\n", "", ""},
		{"list -q .status -e", "", 0, "\"connected\"\n\"connecting\"\n", "", ""},
		{"list -q empty -e", "", exit.NoOutput, "", "", ""},
		{"list -q ]", "", exit.JQCompile, "", "does not compile", ""},
		{"list extra", "", exit.Usage, "", "an argument too many", ""},
		{"status -q .name", "", 0, "\"backend\"\n\"other\"\n", "", ""},
		{"status backend -q .status", "", 0, "\"connected\"\n", "", "GET /v1/connections/backend"},
		{"status nobody", "", exit.Failure, "", "serve has no connection \"nobody\"\nphx: `phx ctl list` shows", "GET /v1/connections/nobody"},
		{"status backend --wait connected -q .name", "", 0, "\"backend\"\n", "", "GET /v1/connections/backend?wait=connected"},
		{"status backend --wait joined --timeout 1ms", "", exit.Timeout, "", "backend is not joined within 1ms: it is connected", "GET /v1/connections/backend?timeout=1ms&wait=joined"},
		{"status --wait joined --timeout 1ms", "", exit.Timeout, "", "backend is not joined within", "GET /v1/connections/backend?timeout=*"},
		{"status --wait connected -q .name", "", exit.Failure, "\"backend\"\n", "no connection \"other\"", "GET /v1/connections/other?wait=connected"},
		{"status backend --wait asleep", "", exit.Usage, "", "neither connected nor joined", ""},
		{"status backend --timeout 1", "", exit.Usage, "", "--timeout needs --wait", ""},
		{"start backend -q .name", "", 0, "\"backend\"\n", "", "POST /v1/connections/backend/start"},
		{"start", "", exit.Usage, "", "there is no NAME", ""},
		{"stop backend -q .name", "", 0, "\"backend\"\n", "", "POST /v1/connections/backend/stop"},
		{"restart backend -q .name", "", 0, "\"backend\"\n", "", "POST /v1/connections/backend/restart"},
		{"remove backend -q .status", "", 0, "\"removed\"\n", "", "DELETE /v1/connections/backend"},
		{"sinks -q .name -r", "", 0, "audit\nhook\n", "", ""},
		{"sinks hook", "", 0, `{"name":"hook","status":"failing","waiting":3}` + "\n", "", "GET /v1/sinks/hook"},
		{"sinks a/b", "", exit.Failure, "", "serve has no sink \"a/b\"\nphx: `phx ctl sinks` shows", "GET /v1/sinks/a%2Fb"},
		{"sinks hook audit", "", exit.Usage, "", "an argument too many", ""},
		{"sinks -o cloudevents", "", exit.Usage, "", "is none of json, text", ""},
		{"reload", "", exit.Usage, "", "phx: phx.yaml:3:1: it is wrong\nphx: mend it\n", ""},
		{"join backend room:a -q .data.response", "", 0, "{\"welcome\":true}\n", "", `POST /v1/connections/backend/channels {"topic":"room:a"}`},
		{`join backend room:a --params {"a":1} -q .type -r`, "", 0, "phoenix.channel.joined\n", "", `POST /v1/connections/backend/channels {"topic":"room:a","params":{"a":1}}`},
		{"join backend room:a --params @" + params + " -q .type -r", "", 0, "phoenix.channel.joined\n", "", `POST /v1/connections/backend/channels {"topic":"room:a","params":{"token":"x"}}`},
		{"join backend room:a --params - -q .type -r", "{}", 0, "phoenix.channel.joined\n", "", `POST /v1/connections/backend/channels {"topic":"room:a","params":{}}`},
		{"join backend room:a --params [secret]", "", exit.Usage, "", "the params in --params are not one JSON object", ""},
		{"join backend room:a --params @/nowhere", "", exit.Read, "", "cannot read /nowhere", ""},
		{"join backend room:private -q .data.reason", "", exit.Join, "\"error\"\n", `cannot join "room:a": {"reason":"unauthorized"}`, `POST /v1/connections/backend/channels {"topic":"room:private"}`},
		{"join backend room:slow -q .data.reason", "", exit.Timeout, "\"timeout\"\n", "no answer in time", `POST /v1/connections/backend/channels {"topic":"room:slow"}`},
		{"leave backend a/b?c -q .type -r", "", 0, "phoenix.channel.left\n", "", "DELETE /v1/connections/backend/channels/a%2Fb%3Fc"},
		{`push backend room:a echo {"n":1.0} -q .data.payload`, "", 0, "{\"n\":1.0}\n", "", `POST /v1/connections/backend/push {"topic":"room:a","event":"echo","payload":{"n":1.0}}`},
		{"push backend room:a echo --timeout 2 -q .data.status", " [1] \n", 0, "\"ok\"\n", "", `POST /v1/connections/backend/push {"topic":"room:a","event":"echo","payload":[1],"timeout_ms":2000}`},
		{"push backend room:a echo --binary -q .data.status", "\x00\xff", 0, "\"ok\"\n", "", `POST /v1/connections/backend/push {"topic":"room:a","event":"echo","payload_base64":"AP8="}`},
		{"push backend room:a echo 1 --no-reply", "", 0, "{\"ref\":\"7\"}\n", "", `POST /v1/connections/backend/push {"topic":"room:a","event":"echo","payload":1,"no_reply":true}`},
		{"push backend room:a echo 1 -o payload", "", 0, "{\"n\":1.0}\n", "", ""},
		{"push backend room:a silent 1 -o payload", "", exit.Timeout, "", "no reply to", ""},
		{"join backend room:a -o payload", "", 0, "{\"welcome\":true}\n", "", ""},
		{"join backend room:a -o jido", "", exit.Usage, "", "is none of signal, payload, text", ""},
		{"push backend room:a echo 1 --no-reply --timeout 1", "", exit.Usage, "", "--timeout bounds the wait", ""},
		{"push backend room:a echo", "", exit.Usage, "", "standard input is empty", ""},
		{"push backend room:a echo", "{} {}", exit.Usage, "", "has more than one JSON value", ""},
		{"push backend room:a echo", "{", exit.Usage, "", "nothing was sent", ""},
		{"push backend room:a", "", exit.Usage, "", "there is no EVENT", ""},
		{"push nobody room:a echo 1", "", exit.Failure, "", "no connection \"nobody\"", ""},
		{"push backend room:a fail 1 -q .data.status", "", exit.PushStatus, "\"error\"\n", `was answered with status "error": {"reason":"bad"}`, ""},
		{"push backend room:a silent 1 -q .data.timeout_ms", "", exit.Timeout, "2000\n", `no reply to "silent" on "room:a" in 2s`, ""},
		{"push backend room:a disconnected 1 -q .data.delivered", "", exit.LinkLost, "\"no\"\n", "safe to send it again", ""},
		{"push backend room:a cancelled 1 -q 1", "", exit.LinkLost, "1\n", "cancelled", ""},
		{"push backend room:a channel_crashed 1 -q 1", "", exit.Channel, "1\n", "channel_crashed", ""},
		{"push backend room:a channel_closed 1 -q 1", "", exit.Channel, "1\n", "channel_closed", ""},
		{"push backend room:a not_joined 1 -q 1", "", exit.Channel, "1\n", "not_joined", ""},
		{"push backend room:a unmatched_topic 1 -q 1", "", exit.Channel, "1\n", "unmatched_topic", ""},
		{"explode", "", exit.Usage, "", `there is no command "explode"`, ""},
		{"list --control /nowhere/s", "", exit.Connect, "", "no phx serve is running: nobody listens on /nowhere/s\nphx: start one: phx serve -f FILE", ""},
		{"--control /nowhere/s list", "", exit.Connect, "", "nobody listens on /nowhere/s", ""},
	}
	for _, tt := range tests {
		b.asked = ""
		r := &phxRun{stdin: tt.stdin, env: env}
		r.run(t.Context(), append([]string{"ctl"}, strings.Split(tt.args, " ")...)...)
		if r.code != tt.code || r.out.String() != tt.out {
			t.Errorf("ctl %s: exit code %d, want %d; printed %q, want %q", tt.args, r.code, tt.code, r.out.String(), tt.out)
		}
		if stderr := r.err.String(); !strings.Contains(stderr, tt.stderr) || tt.stderr == "" && stderr != "" || strings.Contains(stderr, "secret") {
			t.Errorf("ctl %s: stderr\n%s\nwant\n%s", tt.args, stderr, tt.stderr)
		}
		if begin, open := strings.CutSuffix(tt.asked, "*"); tt.asked != "" && b.asked != tt.asked && !(open && strings.HasPrefix(b.asked, begin)) {
			t.Errorf("ctl %s: asked for %s, want %s", tt.args, b.asked, tt.asked)
		}
	}
}

func TestCtlStartFromAFile(t *testing.T) {
	b := &ctlServer{}
	env, _ := startCtl(t, b)
	dir := t.TempDir()
	const text = "defaults: {max_retries: 3}\nconnections:\n  backend: {uri: 'ws://localhost/socket', auth_token: '${TOKEN}', tls: {ca_file: ca.pem}}\n  other: {uri: '${UNSET}'}\n"
	file := filepath.Join(dir, "phx.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := (&phxRun{env: env}).run(t.Context(), "ctl", "start", "backend", "-f", file, "-q", ".name")
	r.want(t, exit.OK, "")
	var entry map[string]any
	if err := json.Unmarshal([]byte(b.entry), &entry); err != nil {
		t.Fatal(err)
	}
	if entry["name"] != "backend" || entry["auth_token"] != "${TOKEN}" || entry["max_retries"] == nil {
		t.Errorf("sent %s", b.entry)
	}
	if b.dir != dir {
		t.Errorf("relative paths start at %s", b.dir)
	}
	r = (&phxRun{env: env, stdin: text}).run(t.Context(), "ctl", "start", "backend", "-f", "-", "-q", ".name")
	r.want(t, exit.OK, "")
	if wd, err := os.Getwd(); err != nil || b.dir != wd {
		t.Errorf("with - they start at %s", b.dir)
	}
	for args, message := range map[string]string{
		"nobody -f " + file:            "nobody",
		"backend -f " + file + ".none": "cannot read " + file + ".none",
	} {
		r = (&phxRun{env: env}).run(t.Context(), append([]string{"ctl", "start"}, strings.Fields(args)...)...)
		if r.code == exit.OK || !strings.Contains(r.err.String(), message) {
			t.Errorf("%s: exit code %d\n%s", args, r.code, r.err.String())
		}
	}
}

// ctlEvents are two lifecycle signals and three messages.
func ctlEvents() []phoenix.Event {
	events := []phoenix.Event{
		pushed("", &phoenix.Connected{}, ""), pushed("", &phoenix.Joined{}, `{"welcome":true}`),
		pushed("tick", &phoenix.Message{}, `{"n":1}`), pushed("a%b", &phoenix.Message{}, `{"n":2,"text":"\"type\":\"phoenix.channel.x\""}`),
		pushed("tick", &phoenix.Message{}, `{"n":3}`),
	}
	events[3].Topic = "a\tb%41"
	for i := range events {
		events[i].Seq, events[i].Session = uint64(i+1), 1
	}
	return events
}

func TestCtlListen(t *testing.T) {
	b := &ctlServer{events: ctlEvents()}
	env, _ := startCtl(t, b)
	tests := []struct {
		args   string
		code   exit.Code
		out    string
		stderr string
		asked  string
	}{
		{"-c 2 -q .metadata.seq", 0, "1\n2\n3\n4\n", "", "?format=signal"},
		{"-c 2 -q .metadata.seq --match phoenix.**", 0, "1\n2\n", "", "?format=signal&match=phoenix.%2A%2A"},
		// What has no payload is not printed, and does not count.
		{"-c 2 -o payload --match phoenix.**", 0, "{\"welcome\":true}\n{\"n\":1}\n", "", ""},
		{"-c 1 -q .data.payload.n//empty", 0, "1\n", "", ""},
		{"-c 3 -o payload", 0, "{\"welcome\":true}\n{\"n\":1}\n{\"n\":2,\"text\":\"\\\"type\\\":\\\"phoenix.channel.x\\\"\"}\n{\"n\":3}\n", "", "?format=signal"},
		{"-c 1 -o cloudevents -q .sequence -r", 0, "0000000001\n0000000002\n0000000003\n", "", "?format=cloudevents"},
		{"-c 1 -o jido -q .extensions.metadata.seq", 0, "1\n2\n3\n", "", "?format=jido"},
		{"--until .data.payload.n==2 -o payload -q .n", 0, "null\n1\n2\n", "", ""},
		{"--until .metadata=={connection_name:\"backend\",phoenix_topic:\"a\\tb%41\",phoenix_event:\"a%b\",session:1,seq:4} -o cloudevents -q .sequence -r", 0,
			"0000000001\n0000000002\n0000000003\n0000000004\n", "", ""},
		{"--until .subject==\"a\\tb%41\"and.specversion==\"1.0\" -o cloudevents -q .phxenc", 0, "null\nnull\nnull\n\"pct\"\n", "", ""},
		{"--until .metadata.phoenix_event==\"a%b\"and.specversion==\"1.0\" -o jido -q .specversion -r", 0, "1.0.2\n1.0.2\n1.0.2\n1.0.2\n", "", ""},
		{"--fail-on .data.payload.n==1 -q .metadata.seq", exit.Failure, "1\n2\n3\n", "--fail-on matched signal 3", ""},
		{"--until .data.payload.n+1>2 --duration 1h -q .metadata.seq", 0, "1\n2\n3\n4\n", "", ""},
		{"--until .data.payload.n.x.y==1 -c 1 -q .metadata.seq", exit.JQRun, "1\n2\n3\n", "--until failed on 1 record", ""},
		{"--until ]", exit.JQCompile, "", "does not compile", ""},
		{"--duration 1ms -q empty", 0, "", "", ""},
		{"--idle-timeout 1ms -q empty", 0, "", "", ""},
		{"--max-time 1ms -q empty", exit.Timeout, "", "not finished within --max-time", ""},
		{"-c 1 -q .data.nothing -e", exit.Failure, "null\nnull\nnull\n", "", ""},
		{"--topic room:* --topic a\\,b --event x --where .a --subscribe jido.** -c 1 -q 1", 0, "1\n1\n1\n", "",
			"?event=x&format=signal&subscribe=jido.%2A%2A&topic=room%3A%2A&topic=a%5C%2Cb&where=.a"},
		{"room:lobby", exit.Usage, "", "an argument too many", ""},
	}
	for _, tt := range tests {
		r := (&phxRun{env: env}).run(t.Context(), append([]string{"ctl", "listen"}, strings.Split(tt.args, " ")...)...)
		if r.code != tt.code || r.out.String() != tt.out {
			t.Errorf("ctl listen %s: exit code %d, want %d; printed\n%s\nwant\n%s\n%s", tt.args, r.code, tt.code, r.out.String(), tt.out, r.err.String())
		}
		if stderr := r.err.String(); !strings.Contains(stderr, tt.stderr) || tt.stderr == "" && stderr != "" {
			t.Errorf("ctl listen %s: stderr\n%s\nwant\n%s", tt.args, stderr, tt.stderr)
		}
		if tt.asked != "" && b.asked != "GET /v1/signals"+tt.asked {
			t.Errorf("ctl listen %s: asked for %s", tt.args, b.asked)
		}
	}
}

func TestCtlListenEndsWithServe(t *testing.T) {
	b := &ctlServer{events: ctlEvents()}
	env, end := startCtl(t, b)
	r := &phxRun{env: env}
	ready := filepath.Join(t.TempDir(), "ready")
	var once sync.Once
	r.out.grown = func(text string) {
		if strings.Count(text, "\n") == len(b.events) {
			if _, err := os.Stat(ready); err != nil {
				t.Error(err)
			}
			once.Do(func() { go end() })
		}
	}
	r.run(t.Context(), "ctl", "listen", "--ready-file", ready)
	if r.code != exit.LinkLost || !strings.Contains(r.err.String(), "phx: phx serve has ended the stream of signals at ") {
		t.Errorf("exit code %d\n%s", r.code, r.err.String())
	}
}

func TestCtlListenWithoutAReader(t *testing.T) {
	b := &ctlServer{}
	env, _ := startCtl(t, b)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	reader.Close()
	lookup := func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
	var stderr safeBuffer
	var died syscall.Signal
	streams := &Streams{In: strings.NewReader(""), Out: writer, Err: &stderr, LookupEnv: lookup}
	code := exit.Code(run(t.Context(), []string{"ctl", "listen"}, streams, func(sig syscall.Signal) { died = sig }))
	if code != exit.Pipe || died != syscall.SIGPIPE || stderr.String() != "" {
		t.Errorf("exit code %d, died of %v\n%s", code, died, stderr.String())
	}
}

// A ctlServer stands for a running phx serve with the connections "backend" and "other", and answers as that does.
type ctlServer struct {
	// asked is the last request but for the list: method, target and body.
	asked string
	// answers are the events that answer pushes and joins, by event and by topic.
	answers map[string]phoenix.Event
	// events are what every subscription sends; then it waits.
	events []phoenix.Event
	// entry and dir are what was added.
	entry, dir string
}

// ServeHTTP implements [http.Handler].
func (b *ctlServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	path := strings.Split(r.URL.EscapedPath(), "/") // "", v1, connections, NAME, what
	if r.Method+r.URL.Path == "GET/v1/connections" {
		_, _ = io.WriteString(w, `{"connections":[{"name":"backend","status":"connected"},{"name":"other","status":"connecting"}]}`)
		return
	}
	if r.Method+r.URL.Path == "GET/v1/sinks" {
		_, _ = io.WriteString(w, `{"sinks":[{"name":"audit","status":"up","waiting":0},{"name":"hook","status":"failing","waiting":3}]}`)
		return
	}
	b.asked = strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(body))
	switch {
	case r.URL.Path == "/v1/signals":
		b.stream(w, r)
	case r.URL.Path == "/v1/reload":
		ctlError(w, http.StatusUnprocessableEntity, "phx.yaml:3:1: it is wrong", "mend it", exit.Usage)
	case len(path) == 3:
		b.entry, b.dir = string(body), r.URL.Query().Get("dir")
		_, _ = io.WriteString(w, `{"name":"backend"}`)
	case r.URL.Path == "/v1/sinks/hook":
		_, _ = io.WriteString(w, `{"name":"hook","status":"failing","waiting":3}`)
	case path[2] == "sinks":
		ctlError(w, http.StatusNotFound, fmt.Sprintf("serve has no sink %q", strings.TrimPrefix(r.URL.Path, "/v1/sinks/")), "`phx ctl sinks` shows those it has", exit.Failure)
	case path[3] != "backend":
		ctlError(w, http.StatusNotFound, fmt.Sprintf("serve has no connection %q", path[3]), "`phx ctl list` shows those it has", exit.Failure)
	case r.URL.Query().Get("wait") == "joined":
		ctlError(w, http.StatusGatewayTimeout, "backend is not joined within "+r.URL.Query().Get("timeout")+": it is connected", "allow more time", exit.Timeout)
	case len(path) == 4 && r.Method == "DELETE":
		_, _ = io.WriteString(w, `{"name":"backend","status":"removed"}`)
	case len(path) == 4 || path[4] == "start" || path[4] == "stop" || path[4] == "restart":
		_, _ = io.WriteString(w, `{"name":"backend","status":"connected"}`)
	case len(path) == 6:
		b.answer(w, "left")
	default:
		var call struct {
			Topic, Event string
			NoReply      bool `json:"no_reply"`
		}
		_ = json.Unmarshal(body, &call)
		if call.NoReply {
			_, _ = io.WriteString(w, `{"ref":"7"}`)
			return
		}
		b.answer(w, cmp.Or(call.Event, call.Topic))
	}
}

// answer answers with the signal of an event, and the failure that it is.
func (b *ctlServer) answer(w http.ResponseWriter, key string) {
	ev := b.answers[key]
	if f := explainAnswer("", &ev); f != nil {
		text, _ := json.Marshal(map[string]any{"message": f.Message, "hint": f.Hint, "exit_code": f.Code})
		w.Header().Set("Phx-Error", string(text))
	}
	_, _ = w.Write(signal.NewEncoder(signal.FormatSignal, "backend").Append(nil, &ev))
}

// stream sends the events, and waits for the end of the caller or of the server.
func (b *ctlServer) stream(w http.ResponseWriter, r *http.Request) {
	format, _ := signal.ParseFormat(r.URL.Query().Get("format"))
	e := signal.NewEncoder(format, "backend")
	var lines []byte
	for i := range b.events {
		lines = e.Append(lines, &b.events[i])
	}
	_, _ = w.Write(lines)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// ctlError answers with an error.
func ctlError(w http.ResponseWriter, status int, message, hint string, code exit.Code) {
	w.WriteHeader(status)
	text, _ := json.Marshal(map[string]any{"error": map[string]any{"message": message, "hint": hint, "exit_code": code}})
	_, _ = w.Write(text)
}

// startCtl starts a server and returns what runs `phx ctl` with it, and what ends the server.
func startCtl(t *testing.T, b *ctlServer) (env map[string]string, end func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{Handler: b, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	end = sync.OnceFunc(func() {
		cancel() // which ends streams as the end of phx serve does
		_ = server.Shutdown(context.Background())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	t.Cleanup(end)
	return map[string]string{"PHX_CONTROL": path}, end
}

// pushed returns an event about a push of that event.
func pushed(event string, detail phoenix.Detail, payload string) phoenix.Event {
	ev := phoenix.Event{Topic: "room:a", Name: event, Detail: detail, Seq: 1, Time: time.Unix(1, 0)}
	if payload != "" {
		ev.Payload = phoenix.JSON(payload)
	}
	return ev
}

// ctlAnswers are an answer of each kind.
func ctlAnswers() map[string]phoenix.Event {
	pushError := func(reason phoenix.PushReason) phoenix.Event {
		return pushed(string(reason), &phoenix.PushError{Topic: "room:a", Name: string(reason), Reason: reason, Delivered: phoenix.DeliveredNo}, "")
	}
	joinError := func(reason phoenix.JoinReason, response string) phoenix.Event {
		ev := pushed("", nil, response)
		ev.Detail = &phoenix.JoinError{Topic: "room:a", Reason: reason, Response: ev.Payload}
		return ev
	}
	answers := map[string]phoenix.Event{
		"echo":         pushed("echo", &phoenix.PushReply{Status: "ok"}, `{"n":1.0}`),
		"fail":         pushed("fail", &phoenix.PushReply{Status: "error"}, `{"reason":"bad"}`),
		"silent":       pushed("silent", &phoenix.PushTimeout{Timeout: 2 * time.Second}, ""),
		"room:a":       pushed("", &phoenix.Joined{}, `{"welcome":true}`),
		"room:private": joinError(phoenix.JoinRefused, `{"reason":"unauthorized"}`),
		"room:slow":    joinError(phoenix.JoinTimeout, ""),
		"left":         pushed("", &phoenix.Left{}, ""),
	}
	for _, reason := range []phoenix.PushReason{
		phoenix.PushDisconnected, phoenix.PushCancelled, phoenix.PushChannelCrashed, phoenix.PushChannelClosed,
		phoenix.PushNotJoined, phoenix.PushUnmatchedTopic,
	} {
		answers[string(reason)] = pushError(reason)
	}
	return answers
}
