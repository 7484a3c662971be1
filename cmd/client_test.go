package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

func TestConnect(t *testing.T) {
	r := phx(t, "connect", "--uri", startDemo(t).URL, "--name", "backend")
	r.want(t, exit.OK, "")
	var signal struct {
		Type string
		Data map[string]any
	}
	if err := json.Unmarshal([]byte(r.out.String()), &signal); err != nil {
		t.Fatalf("%v: %s", err, r.out.String())
	}
	if signal.Type != "phoenix.connection.connected" || signal.Data["connection_name"] != "backend" {
		t.Errorf("%+v", signal)
	}
	for _, key := range []string{"dns_ms", "tcp_ms", "upgrade_ms", "rtt_us", "connect_ms"} {
		if _, ok := signal.Data[key]; !ok {
			t.Errorf("no %s in %v", key, signal.Data)
		}
	}
}

func TestConnectFailures(t *testing.T) {
	url := startDemo(t).URL
	closed := phoenixtest.NewServer(phoenixtest.Demo())
	closed.Close()
	tests := []struct {
		args   []string
		code   exit.Code
		stderr string
	}{
		{[]string{"-u", url + "?token=bad"}, exit.Refused, "HTTP status 403"},
		{[]string{"-u", url + "/nowhere?token=secret"}, exit.Refused, "check the path in --uri"},
		{[]string{"-u", closed.URL}, exit.Connect, "nobody listens there"},
		{[]string{"-u", strings.Replace(url, "ws:", "wss:", 1)}, exit.TLS, "does the port speak TLS?"},
		{[]string{"-u", url, "--auth-token-file", "/nowhere"}, exit.Read, "cannot read /nowhere for --auth-token-file"},
		{[]string{"-u", url, "-q", "]"}, exit.JQCompile, "does not compile"},
		{[]string{"-u", url, "-q", ".data.x", "-e"}, exit.Failure, ""},
		{[]string{"-u", url, "-q", "empty", "-e"}, exit.NoOutput, ""},
		{[]string{"-u", url, "--max-time", "0.000000001"}, exit.Timeout, "not finished within --max-time 1ns"},
	}
	for _, tt := range tests {
		r := phx(t, append([]string{"connect"}, tt.args...)...)
		stderr := r.err.String()
		if r.code != tt.code || !strings.Contains(stderr, tt.stderr) || tt.stderr == "" && stderr != "" {
			t.Errorf("%v: exit code %d, want %d\n%s", tt.args, r.code, tt.code, stderr)
		}
		if strings.Contains(stderr, "secret") {
			t.Errorf("%v: a secret on stderr\n%s", tt.args, stderr)
		}
	}
}

// quietSocket is an application that does something at each join, and then accepts it.
func quietSocket(onJoin func(*phoenixtest.Server)) phoenixtest.App {
	return func(s *phoenixtest.Server) {
		s.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("*", phoenixtest.ChannelFuncs{
			OnJoin: func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) {
				onJoin(s)
				return nil, nil
			},
		})}})
	}
}

func TestJoinPrintsInTheOrderOfTheArguments(t *testing.T) {
	url := startDemo(t).URL
	r := phx(t, "join", "room:b", "room:private", "other", "room:a", "-u", url, "-q", "[.subject, .type, .data.reason]")
	r.want(t, exit.Join, `phx: cannot join "room:private": {"reason":"unauthorized"}
phx: cannot join "other": {"reason":"unmatched topic"}
phx: the channel's join/3 refused: check the topic and --join-params
`)
	want := `["room:b","phoenix.channel.joined",null]
["room:private","phoenix.channel.join_error","error"]
["other","phoenix.channel.join_error","unmatched_topic"]
["room:a","phoenix.channel.joined",null]
`
	if r.out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", r.out.String(), want)
	}
}

func TestJoinIsSilentWhenAllIsWell(t *testing.T) {
	url := startDemo(t).URL
	phx(t, "join", "room:a", "-u", url).want(t, exit.OK, "")
	r := phx(t, "join", "room:a", "-u", url, "-v", "--log-format", "json")
	for line := range strings.Lines(r.err.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if !strings.Contains(r.err.String(), `"msg":"joined"`) {
		t.Errorf("log\n%s", r.err.String())
	}
}

func TestJoinParamsAreSentAndNotShown(t *testing.T) {
	params := make(chan string, 2)
	server := phoenixtest.NewServer(func(s *phoenixtest.Server) {
		s.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("*", phoenixtest.ChannelFuncs{
			OnJoin: func(_ *phoenixtest.Socket, p phoenixtest.Payload) (any, error) {
				params <- string(p.Bytes())
				return nil, nil
			},
		})}})
	})
	defer server.Close()
	r := &phxRun{stdin: `{"token":"secret"}`, env: map[string]string{"PHX_URI": server.URL}}
	r.run(t.Context(), "join", "a", "b", "--join-params", "-", "--trace", "-v")
	if r.code != exit.OK || strings.Contains(r.err.String(), "secret") || !strings.Contains(r.err.String(), "phx: > text ") {
		t.Errorf("exit code %d\n%s", r.code, r.err.String())
	}
	for range 2 {
		if got := <-params; got != `{"token":"secret"}` {
			t.Errorf("params %s", got)
		}
	}
}

func TestJoinLosesItsLink(t *testing.T) {
	server := phoenixtest.NewServer(quietSocket((*phoenixtest.Server).DropConns))
	defer server.Close()
	r := phx(t, "join", "a", "-u", server.URL, "--timeout", "5")
	if r.code != exit.LinkLost || !strings.Contains(r.err.String(), "lost the link to ") {
		t.Errorf("exit code %d\n%s", r.code, r.err.String())
	}
}

// slowToJoin starts a server that answers no join, and so holds up the whole socket.
func slowToJoin(t *testing.T) *phoenixtest.Server {
	t.Helper()
	release := make(chan struct{})
	server := phoenixtest.NewServer(quietSocket(func(*phoenixtest.Server) { <-release }))
	t.Cleanup(func() {
		close(release)
		server.Close()
	})
	return server
}

func TestJoinTimesOut(t *testing.T) {
	t.Parallel()
	phx(t, "join", "a", "-u", slowToJoin(t).URL, "--timeout", "0.05").want(t, exit.Timeout,
		"phx: cannot join \"a\": no answer in time\nphx: allow more with --timeout, or see what the server's join/3 is doing\n")
}

func TestJoinTakesLongerThanMaxTime(t *testing.T) {
	t.Parallel()
	phx(t, "join", "a", "-u", slowToJoin(t).URL, "--max-time", "0.05").want(t, exit.Timeout,
		"phx: not finished within --max-time 50ms\nphx: allow more time, or see with -v what took so long\n")
}

func TestInterruptedJoinDiesOfTheSignal(t *testing.T) {
	release := make(chan struct{})
	server := phoenixtest.NewServer(quietSocket(func(*phoenixtest.Server) {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM)
		<-release
	}))
	defer server.Close()
	defer close(release)
	r := phx(t, "join", "a", "-u", server.URL, "--timeout", "30")
	r.want(t, exit.Terminate, "")
	if r.diedOf != syscall.SIGTERM {
		t.Errorf("died of %v", r.diedOf)
	}
}

func TestDemo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // where nobody else leaves anything
	for _, args := range [][]string{{}, {"--tls"}} {
		var r phxRun
		var found string
		r.err.grown = func(text string) {
			if _, export, ok := strings.Cut(text, "export PHX_URI="); ok && found == "" && strings.Contains(text, "listen room:lobby") {
				found, _, _ = strings.Cut(export, "\n")
				if code := joinDemo(t, found); code != exit.OK {
					t.Errorf("%v: join: exit code %d", args, code)
				}
				_ = syscall.Kill(syscall.Getpid(), syscall.SIGINT)
			}
		}
		r.run(t.Context(), append([]string{"demo", "--listen", "127.0.0.1:0"}, args...)...)
		if r.diedOf != syscall.SIGINT || r.out.String() != "" || found == "" {
			t.Errorf("%v: died of %v, stdout %q, stderr %q", args, r.diedOf, r.out.String(), r.err.String())
		}
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "phx-demo-ca-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// joinDemo joins a room of the demo at what it said to export. Without TLS trust, which is the process's, a wss URI is only
// dialled.
func joinDemo(t *testing.T, export string) exit.Code {
	uri, file, isTLS := strings.Cut(export, " SSL_CERT_FILE=")
	if !isTLS {
		return phx(t, "join", "room:a", "-u", uri).code
	}
	if pem, err := os.ReadFile(file); err != nil || !strings.Contains(string(pem), "BEGIN CERTIFICATE") {
		t.Errorf("%s: %q, %v", file, pem, err)
	}
	if code := phx(t, "join", "room:a", "-u", uri).code; code != exit.Certificate {
		return code
	}
	return exit.OK
}

func TestDemoAddressInUse(t *testing.T) {
	server := startDemo(t)
	phx(t, "demo", "--listen", server.Addr()).want(t, exit.Failure,
		"phx: cannot listen on "+server.Addr()+": address already in use\nphx: is there another phx demo? --listen 127.0.0.1:0 takes a free port\n")
}

func TestDemoCannotListen(t *testing.T) {
	r := phx(t, "demo", "--listen", "203.0.113.1:1")
	if r.code != exit.Failure || !strings.Contains(r.err.String(), "check the address given with --listen") {
		t.Errorf("exit code %d\n%s", r.code, r.err.String())
	}
}

// An outage that begins while a connection has one socket, which is not numbered then, ends although it has several by then.
func TestOutageOfFirstSocket(t *testing.T) {
	var o outages
	lost := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o.note(&phoenix.Event{Time: lost, Detail: &phoenix.Disconnected{Reason: phoenix.ReasonEOF, Uptime: time.Minute}})
	if got := o.link(); got != lost {
		t.Fatalf("lost at %v, want %v", got, lost)
	}
	o.note(&phoenix.Event{Time: lost.Add(time.Second), Socket: 1, Detail: &phoenix.Connected{}})
	if got := o.link(); !got.IsZero() {
		t.Errorf("lost since %v, but it is connected", got)
	}
}
