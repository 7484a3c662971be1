package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/secret"
	"phx/phoenix"
)

// build makes phoenix.Options of a command line; --uri is given.
func build(t *testing.T, retry Retry, stdin string, args ...string) (*Connection, phoenix.Options, error) {
	t.Helper()
	c := NewConnection(retry)
	if err := resolve(c.Options(), append([]string{"--uri", "ws://localhost:4000/socket"}, args...), nil); err != nil {
		return c, phoenix.Options{}, err
	}
	o, err := c.Build(secret.NewStdin(strings.NewReader(stdin)))
	return c, o, err
}

// mustBuild is build for right command lines.
func mustBuild(t *testing.T, args ...string) (*Connection, phoenix.Options) {
	t.Helper()
	c, o, err := build(t, Retry{}, "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return c, o
}

// write writes a file and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBuildDefaults(t *testing.T) {
	c, o := mustBuild(t)
	if c.Name != "default" {
		t.Errorf("name %q", c.Name)
	}
	if o.URL != "ws://localhost:4000/socket" || o.VSN != "2.0.0" || o.ConnectTimeout != 10*time.Second ||
		o.ReplyTimeout != 10*time.Second || o.HeartbeatInterval != 30*time.Second || o.HeartbeatTimeout != 0 || o.MaxMessage != 64<<20 {
		t.Errorf("%+v", o)
	}
	channels, err := c.Channels(t.Context(), "room:lobby", "room:b")
	if err != nil || len(channels) != 2 || channels[0].Topic != "room:lobby" || channels[1].Topic != "room:b" || channels[0].Params != nil {
		t.Errorf("channels %+v, %v", channels, err)
	}
}

func TestBuildGiven(t *testing.T) {
	_, o := mustBuild(t, "--vsn", "1.0.0", "--connect-timeout", "1", "--timeout", "2s", "--heartbeat-interval", "20s",
		"--heartbeat-timeout", "3s", "--max-message", "1KiB")
	if o.VSN != "1.0.0" || o.ConnectTimeout != time.Second || o.ReplyTimeout != 2*time.Second ||
		o.HeartbeatInterval != 20*time.Second || o.HeartbeatTimeout != 3*time.Second || o.MaxMessage != 1024 {
		t.Errorf("%+v", o)
	}
}

func TestRetries(t *testing.T) {
	listen := Retry{Max: 10, FailFast: true}
	tests := []struct {
		retry    Retry
		args     string
		limit    int
		failFast bool
	}{
		{Retry{}, "", 0, false},
		{Retry{}, "--max-retries 3", 3, false},
		{listen, "", 10, true},
		{listen, "--max-retries 10", 10, false},
		{listen, "--max-retries -1", -1, false},
		{listen, "--no-reconnect", 0, false},
		{listen, "--no-reconnect --max-retries 0", 0, false},
	}
	for _, tt := range tests {
		_, o, err := build(t, tt.retry, "", strings.Fields(tt.args)...)
		if err != nil {
			t.Fatal(err)
		}
		if o.MaxRetries != tt.limit || o.FailFast != tt.failFast {
			t.Errorf("%+v %q: %d, %v; want %d, %v", tt.retry, tt.args, o.MaxRetries, o.FailFast, tt.limit, tt.failFast)
		}
	}
}

func TestBackoff(t *testing.T) {
	_, o := mustBuild(t, "--no-jitter")
	for attempt, want := range map[int]time.Duration{0: 100 * time.Millisecond, 4: 1600 * time.Millisecond, 9: 30 * time.Second, 99: 30 * time.Second} {
		if got := o.ReconnectAfter(attempt); got != want {
			t.Errorf("reconnect %d: %v, want %v", attempt, got, want)
		}
	}
	_, o = mustBuild(t, "--no-jitter", "--reconnect-after", "1, 2s", "--rejoin-after", "0")
	if o.ReconnectAfter(0) != time.Second || o.ReconnectAfter(5) != 2*time.Second || o.RejoinAfter(0) != 0 {
		t.Error("the lists given are not used")
	}
	_, o = mustBuild(t, "--reconnect-after", "10s")
	for range 100 {
		if d := o.ReconnectAfter(0); d < 5*time.Second || d > 10*time.Second {
			t.Fatalf("jitter %v", d)
		}
	}
}

// TestDelaysOfPhoenix: who says nothing waits as long as a user of package phoenix who says nothing.
func TestDelaysOfPhoenix(t *testing.T) {
	_, o := mustBuild(t, "--no-jitter")
	for name, tt := range map[string]struct{ ours, theirs phoenix.Backoff }{
		"reconnect": {o.ReconnectAfter, phoenix.DefaultReconnectAfter()}, "rejoin": {o.RejoinAfter, phoenix.DefaultRejoinAfter()},
	} {
		for attempt := range 12 {
			longest := time.Duration(0)
			for range 1000 {
				longest = max(longest, tt.theirs(attempt))
			}
			if ours := tt.ours(attempt); longest > ours || longest < ours*9/10 {
				t.Errorf("%s %d: %v here, at most %v there", name, attempt, ours, longest)
			}
		}
	}
}

func TestBuildErrors(t *testing.T) {
	tests := []struct{ args, want string }{
		{"--heartbeat-interval 5s --heartbeat-timeout 6s", "--heartbeat-timeout 6s is longer than --heartbeat-interval 5s"},
		{"--no-reconnect --max-retries 5", "--no-reconnect contradicts --max-retries 5"},
		{"--join-params - --auth-token-file -", "--join-params and --auth-token-file both read standard input"},
		{"--param a=@- --param b=@-", "--param a and --param b both read standard input"},
		{"--join-params @- --header a:@-", "--join-params and --header a both read standard input"},
	}
	for _, tt := range tests {
		_, _, err := build(t, Retry{}, "", strings.Fields(tt.args)...)
		var usage *exit.Error
		if !errors.As(err, &usage) || usage.Message != tt.want || usage.Hint == "" {
			t.Errorf("%s: error %v, want %s", tt.args, err, tt.want)
		}
	}
	_, err := NewConnection(Retry{}).Build(secret.NewStdin(nil))
	if err == nil || !strings.Contains(err.Error(), "no URI") {
		t.Errorf("without a URI: %v", err)
	}
}

func TestAddressHasNoSecrets(t *testing.T) {
	c := NewConnection(Retry{})
	if err := resolve(c.Options(), []string{"-u", "wss://user:secret@example.com:4001/soc%2Fket?token=secret"}, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Address(), "wss://example.com:4001/soc%2Fket"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c.URI = "\x00"
	if c.Address() != "" {
		t.Error("an address without a URI")
	}
}

func TestCredentials(t *testing.T) {
	file := write(t, "one\n")
	_, o := mustBuild(t, "--param", "a=1,2", "--param", "a=x=y", "--param", "f=@"+file,
		"-H", "X-One: 1", "-H", "x-one:2", "-H", "X-File: @"+file, "--auth-token-file", file)
	check := func(content string) {
		t.Helper()
		creds, err := o.Credentials(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := creds.Params["a"]; !reflect.DeepEqual(got, []string{"1,2", "x=y"}) {
			t.Errorf("param a: %q", got)
		}
		if got := creds.Header["X-One"]; !reflect.DeepEqual(got, []string{"1", "2"}) {
			t.Errorf("header X-One: %q", got)
		}
		if p, h := creds.Params.Get("f"), creds.Header.Get("X-File"); p != content || h != content {
			t.Errorf("from the file: %q, %q; want %q", p, h, content)
		}
		if creds.AuthToken != content || !creds.HasAuthToken {
			t.Errorf("token %q, %v", creds.AuthToken, creds.HasAuthToken)
		}
	}
	check("one")
	if err := os.WriteFile(file, []byte("two\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("two")
}

func TestAuthToken(t *testing.T) {
	file := write(t, "from file")
	tests := []struct {
		name string
		args []string
		env  string
		want string
	}{
		{"none", nil, "", ""},
		{"environment", nil, "from env", "from env"},
		{"file first", []string{"--auth-token-file", file}, "from env", "from file"},
	}
	for _, tt := range tests {
		c := NewConnection(Retry{})
		args := append([]string{"-u", "ws://localhost"}, tt.args...)
		if err := resolve(c.Options(), args, map[string]string{"PHX_AUTH_TOKEN": tt.env}); err != nil {
			t.Fatal(err)
		}
		o, err := c.Build(secret.NewStdin(nil))
		if err != nil {
			t.Fatal(err)
		}
		creds, err := o.Credentials(t.Context())
		if err != nil || creds.AuthToken != tt.want || creds.HasAuthToken != (tt.want != "") {
			t.Errorf("%s: %q, %v, %v", tt.name, creds.AuthToken, creds.HasAuthToken, err)
		}
	}
}

func TestCredentialErrors(t *testing.T) {
	broken, empty := write(t, "two\nlines"), write(t, "\n")
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		args []string
		want string
		code exit.Code
	}{
		{[]string{"--param", "a=@" + missing}, "cannot read " + missing + " for --param a: no such file or directory", 26},
		{[]string{"-H", "K: @" + missing}, "cannot read " + missing + " for --header K: no such file or directory", 26},
		{[]string{"--auth-token-file", missing}, "cannot read " + missing + " for --auth-token-file: no such file or directory", 26},
		{[]string{"--auth-token-file", t.TempDir()}, "is a directory", 26},
		{[]string{"--auth-token-file", empty}, "there is no token in " + empty, 2},
		{[]string{"-H", "K: @" + broken}, "the value of --header K has a control character or a line break", 2},
	}
	for _, tt := range tests {
		_, o := mustBuild(t, tt.args...)
		_, err := o.Credentials(t.Context())
		var coded *exit.Error
		if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &coded) || coded.Code != tt.code || coded.Hint == "" {
			t.Errorf("%v: %v, want %s", tt.args, err, tt.want)
		}
	}
}

func TestJoinParams(t *testing.T) {
	file := write(t, "{\n\"a\": 1}\n")
	tests := []struct{ arg, stdin, want string }{
		{`{"a":1}`, "", `{"a":1}`},
		{"@" + file, "", "{\n\"a\": 1}"},
		{"-", `{"in":true}`, `{"in":true}`},
		{"@-", `{"in":true}`, `{"in":true}`},
	}
	for _, tt := range tests {
		c, _, err := build(t, Retry{}, tt.stdin, "--join-params", tt.arg)
		if err != nil {
			t.Fatal(err)
		}
		channels, err := c.Channels(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the standard input is read once, and serves every join
			p, err := channels[0].Params(t.Context())
			if err != nil || string(p.Data) != tt.want || p.Binary {
				t.Errorf("%s: %q, %v", tt.arg, p.Data, err)
			}
		}
	}
}

func TestJoinParamsErrors(t *testing.T) {
	list := write(t, "[]")
	tests := []struct{ arg, stdin, want string }{
		{"@" + list, "", list + ", given with --join-params, does not hold one JSON object"},
		{"-", "secret", "standard input, given with --join-params, does not hold one JSON object"},
		{"@/nowhere", "", "cannot read /nowhere for --join-params: no such file or directory"},
	}
	for _, tt := range tests {
		c, _, err := build(t, Retry{}, tt.stdin, "--join-params", tt.arg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Channels(t.Context(), "t"); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.arg, err, tt.want)
		}
	}
}
