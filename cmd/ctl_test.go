package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/serve"
	"phx/phoenix"
	"phx/signal"
)

func TestCtl(t *testing.T) {
	b := &ctlBackend{answers: ctlAnswers()}
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
		{"status backend -q .status", "", 0, "\"connected\"\n", "", "get backend"},
		{"status nobody", "", exit.Failure, "", "serve has no connection \"nobody\"\nphx: `phx ctl list` shows", "get nobody"},
		{"status backend --wait connected -q .name", "", 0, "\"backend\"\n", "", "await connected backend"},
		{"status backend --wait joined --timeout 1ms", "", exit.Timeout, "", "backend is not joined within 1ms: it is connected", "await joined backend"},
		{"status --wait joined --timeout 1ms", "", exit.Timeout, "", "backend is not joined within", "await joined backend"},
		{"status --wait connected -q .name", "", exit.Failure, "\"backend\"\n", "no connection \"other\"", "await connected other"},
		{"status backend --wait asleep", "", exit.Usage, "", "neither connected nor joined", ""},
		{"status backend --timeout 1", "", exit.Usage, "", "--timeout needs --wait", ""},
		{"start backend -q .name", "", 0, "\"backend\"\n", "", "start backend"},
		{"start", "", exit.Usage, "", "there is no NAME", ""},
		{"stop backend -q .name", "", 0, "\"backend\"\n", "", "stop backend"},
		{"restart backend -q .name", "", 0, "\"backend\"\n", "", "restart backend"},
		{"remove backend -q .status", "", 0, "\"removed\"\n", "", "remove backend"},
		{"reload", "", exit.Usage, "", "phx: phx.yaml:3:1: it is wrong\nphx: mend it\n", ""},
		{"join backend room:a -q .data.response", "", 0, "{\"welcome\":true}\n", "", "join room:a  on backend"},
		{`join backend room:a --params {"a":1} -q .type -r`, "", 0, "phoenix.channel.joined\n", "", `join room:a {"a":1} on backend`},
		{"join backend room:a --params @" + params + " -q .type -r", "", 0, "phoenix.channel.joined\n", "", `join room:a {"token":"x"} on backend`},
		{"join backend room:a --params - -q .type -r", "{}", 0, "phoenix.channel.joined\n", "", "join room:a {} on backend"},
		{"join backend room:a --params [secret]", "", exit.Usage, "", "the params in --params are not one JSON object", ""},
		{"join backend room:a --params @/nowhere", "", exit.Read, "", "cannot read /nowhere", ""},
		{"join backend room:private -q .data.reason", "", exit.Join, "\"error\"\n", `cannot join "room:a": {"reason":"unauthorized"}`, "join room:private  on backend"},
		{"join backend room:slow -q .data.reason", "", exit.Timeout, "\"timeout\"\n", "no answer in time", "join room:slow  on backend"},
		{"leave backend a/b?c -q .type -r", "", 0, "phoenix.channel.left\n", "", "leave a/b?c on backend"},
		{`push backend room:a echo {"n":1.0} -q .data.payload`, "", 0, "{\"n\":1.0}\n", "", `push room:a echo {"n":1.0} "" 0s false on backend`},
		{"push backend room:a echo --timeout 2 -q .data.status", " [1] \n", 0, "\"ok\"\n", "", `push room:a echo [1] "" 2s false on backend`},
		{"push backend room:a echo --binary -q .data.status", "\x00\xff", 0, "\"ok\"\n", "", `push room:a echo  "\x00\xff" 0s false on backend`},
		{"push backend room:a echo 1 --no-reply", "", 0, "{\"ref\":\"7\"}\n", "", `push room:a echo 1 "" 0s true on`},
		{"push backend room:a echo 1 -o payload", "", 0, "{\"n\":1.0}\n", "", ""},
		{"push backend room:a silent 1 -o payload", "", exit.Timeout, "", "no reply to", ""},
		{"join backend room:a -o payload", "", 0, "{\"welcome\":true}\n", "", ""},
		{"join backend room:a -o jido", "", exit.Usage, "", "neither signal nor payload", ""},
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
		b.note("")
		r := &phxRun{stdin: tt.stdin, env: env}
		r.run(t.Context(), append([]string{"ctl"}, strings.Split(tt.args, " ")...)...)
		if r.code != tt.code || r.out.String() != tt.out {
			t.Errorf("ctl %s: exit code %d, want %d; printed %q, want %q", tt.args, r.code, tt.code, r.out.String(), tt.out)
		}
		if stderr := r.err.String(); !strings.Contains(stderr, tt.stderr) || tt.stderr == "" && stderr != "" || strings.Contains(stderr, "secret") {
			t.Errorf("ctl %s: stderr\n%s\nwant\n%s", tt.args, stderr, tt.stderr)
		}
		if tt.asked != "" && b.asked != tt.asked {
			t.Errorf("ctl %s: asked for %s, want %s", tt.args, b.asked, tt.asked)
		}
	}
}

func TestCtlStartFromAFile(t *testing.T) {
	b := &ctlBackend{}
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
	b := &ctlBackend{events: ctlEvents()}
	env, _ := startCtl(t, b)
	const anything = "Match: Subscribe: Topic:[] Event:[] Where: "
	tests := []struct {
		args   string
		code   exit.Code
		out    string
		stderr string
		asked  string
	}{
		{"-c 2 -q .metadata.seq", 0, "1\n2\n3\n4\n", "", anything + "Format:signal"},
		{"-c 2 -q .metadata.seq --match phoenix.**", 0, "1\n2\n", "", "Match:phoenix.** Subscribe: Topic:[] Event:[] Where: Format:signal"},
		// What has no payload is not printed, and does not count.
		{"-c 2 -o payload --match phoenix.**", 0, "{\"welcome\":true}\n{\"n\":1}\n", "", ""},
		{"-c 1 -q .data.payload.n//empty", 0, "1\n", "", ""},
		{"-c 3 -o payload", 0, "{\"welcome\":true}\n{\"n\":1}\n{\"n\":2,\"text\":\"\\\"type\\\":\\\"phoenix.channel.x\\\"\"}\n{\"n\":3}\n", "", anything + "Format:signal"},
		{"-c 1 -o cloudevents -q .sequence -r", 0, "0000000001\n0000000002\n0000000003\n", "", anything + "Format:cloudevents"},
		{"-c 1 -o jido -q .extensions.metadata.seq", 0, "1\n2\n3\n", "", anything + "Format:jido"},
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
		{"--topic room:* --topic a,b --event x --where .a --subscribe jido.** -c 1 -q 1", 0, "1\n1\n1\n", "",
			"Match: Subscribe:jido.** Topic:[room:* a,b] Event:[x] Where:.a Format:signal"},
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
		if tt.asked != "" && b.asked != "subscribe {"+tt.asked+"}" {
			t.Errorf("ctl listen %s: asked for %s", tt.args, b.asked)
		}
	}
}

func TestCtlListenEndsWithServe(t *testing.T) {
	b := &ctlBackend{events: ctlEvents()}
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
	b := &ctlBackend{}
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

// A ctlBackend stands for a running phx serve with the connection "backend". It notes what it is asked for.
type ctlBackend struct {
	mu    sync.Mutex
	asked string
	// answers are the events that answer pushes and joins, by event and by topic.
	answers map[string]phoenix.Event
	// events are what every subscription sends; then it waits.
	events []phoenix.Event
	// entry and dir are what was added.
	entry, dir string
}

func (b *ctlBackend) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = fmt.Sprintf(format, args...)
}

func (b *ctlBackend) one(what, name string) (serve.Connection, error) {
	b.note("%s %s", what, name)
	if name != "backend" {
		return serve.Connection{}, serve.UnknownConnection(name)
	}
	return serve.Connection{Name: name, Status: "connected", URI: "ws://localhost/socket"}, nil
}

func (b *ctlBackend) Connections(context.Context) ([]serve.Connection, error) {
	return []serve.Connection{{Name: "backend", Status: "connected"}, {Name: "other", Status: "connecting"}}, nil
}

func (b *ctlBackend) Connection(_ context.Context, name string) (serve.Connection, error) {
	return b.one("get", name)
}

func (b *ctlBackend) Await(ctx context.Context, name, state string) (serve.Connection, error) {
	c, err := b.one("await "+state, name)
	if err != nil || state == serve.StateConnected {
		return c, err
	}
	<-ctx.Done()
	return c, ctx.Err()
}

func (b *ctlBackend) Add(_ context.Context, entry []byte, dir string) (serve.Connection, error) {
	b.entry, b.dir = string(entry), dir
	return b.one("add", "backend")
}

func (b *ctlBackend) Remove(_ context.Context, name string) error {
	_, err := b.one("remove", name)
	return err
}

func (b *ctlBackend) Start(_ context.Context, name string) (serve.Connection, error) {
	return b.one("start", name)
}

func (b *ctlBackend) Stop(_ context.Context, name string) (serve.Connection, error) {
	return b.one("stop", name)
}

func (b *ctlBackend) Restart(_ context.Context, name string) (serve.Connection, error) {
	return b.one("restart", name)
}

func (b *ctlBackend) answer(key, name string) (serve.Answer, error) {
	if _, err := b.one(b.asked, name); err != nil {
		return serve.Answer{}, err
	}
	ev := b.answers[key]
	return serve.Answer{HTTPStatus: http.StatusOK, Line: signal.NewEncoder(signal.FormatSignal, "backend").Append(nil, &ev)}, nil
}

func (b *ctlBackend) Join(_ context.Context, name, topic string, params json.RawMessage) (serve.Answer, error) {
	b.note("join %s %s on", topic, params)
	return b.answer(topic, name)
}

func (b *ctlBackend) Leave(_ context.Context, name, topic string) (serve.Answer, error) {
	b.note("leave %s on", topic)
	return b.answer("left", name)
}

func (b *ctlBackend) Push(_ context.Context, name string, p serve.Push) (serve.Answer, error) {
	b.note("push %s %s %s %q %v %v on", p.Topic, p.Event, p.Payload, p.Binary, p.Timeout, p.NoReply)
	if p.NoReply {
		return serve.NewRefAnswer("7"), nil
	}
	return b.answer(p.Event, name)
}

func (b *ctlBackend) Reload(context.Context) error {
	return &serve.Error{Status: http.StatusUnprocessableEntity, Code: int(exit.Usage), Message: "phx.yaml:3:1: it is wrong", Advice: "mend it"}
}

func (b *ctlBackend) Subscribe(r serve.SubscribeRequest) (serve.Subscription, error) {
	b.note("subscribe %+v", r)
	e := signal.NewEncoder(r.Format, "backend")
	var lines []byte
	for i := range b.events {
		lines = e.Append(lines, &b.events[i])
	}
	return &ctlSubscription{lines}, nil
}

type ctlSubscription struct{ lines []byte }

func (s *ctlSubscription) Next(ctx context.Context) ([]byte, error) {
	if lines := s.lines; lines != nil {
		s.lines = nil
		return lines, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (s *ctlSubscription) Close() {}

// startCtl starts a control server and returns what runs `phx ctl` with it, and what ends the server.
func startCtl(t *testing.T, b *ctlBackend) (env map[string]string, end func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := serve.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve.NewServer(b, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
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
		return pushed("", &phoenix.JoinError{Topic: "room:a", Reason: reason}, response)
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
