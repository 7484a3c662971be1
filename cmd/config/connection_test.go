package config

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
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
	c.ApplyProfile()
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

// environment is a lookup in fixed variables.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

// resolve parses args and vars into the options.
func resolve(options []option.Option, args []string, vars map[string]string) error {
	set := option.NewSet(options)
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	set.Bind(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	return set.Resolve(environment(vars))
}

func TestWrongValues(t *testing.T) {
	tests := []struct {
		args    string
		env     map[string]string
		message string
		hint    string
	}{
		{"--timeout soon", nil, `--timeout "soon" is not a duration`, "a right one: --timeout 5s"},
		{"--timeout 0", nil, `--timeout "0" is not a positive duration`, "a right one: --timeout 5s"},
		{"--connect-timeout -3s", nil, `--connect-timeout "-3s" is negative`, "a right one: --connect-timeout 5s"},
		{"--reconnect-after 1s,soon", nil, `--reconnect-after "1s,soon" is not a list of durations`, "a right one: --reconnect-after 100ms,1s,10s"},
		{"--max-retries many", nil, `--max-retries "many" is not a number of retries: -1 or more`, "a right one: --max-retries 5"},
		{"--max-retries -2", nil, `--max-retries "-2" is not a number of retries: -1 or more`, "a right one: --max-retries 5"},
		{"--max-message 1MB", nil, `--max-message "1MB" is not a size: bytes, or a number with KiB, MiB or GiB`, "a right one: --max-message 64MiB"},
		{"--vsn 3.0.0", nil, `--vsn "3.0.0" is none of 2.0.0, 1.0.0`, "a right one: --vsn 2.0.0"},
		{"--no-jitter=perhaps", nil, `--no-jitter "perhaps" is neither true nor false`, ""},
		{"--auth-token-file=", nil, `--auth-token-file "" is not the name of a file`, "a right one: --auth-token-file token.txt"},
		// What may be secret is not repeated.
		{"--uri SECRET", nil, "the value of --uri has no scheme", "a right one: --uri ws://localhost:4000/socket"},
		{"--uri ws://user:SECRET/x@host:y/", nil, "the value of --uri is not a URI", "a right one: --uri ws://localhost:4000/socket"},
		{"--uri ftp://SECRET", nil, "the value of --uri has another scheme than ws, wss, http or https", "a right one: --uri ws://localhost:4000/socket"},
		{"--uri ws:///SECRET", nil, "the value of --uri has no host", "a right one: --uri ws://localhost:4000/socket"},
		{"--uri ws://host#SECRET", nil, "the value of --uri has a fragment (#...)", "a right one: --uri ws://localhost:4000/socket"},
		{"", map[string]string{"PHX_URI": "SECRET"}, "the value of PHX_URI has no scheme", "a right one: PHX_URI=ws://localhost:4000/socket"},
		{"--param SECRET", nil, "the value of --param is not NAME=VALUE", "a right one: --param user_id=123"},
		{"--param =SECRET", nil, "the value of --param is not NAME=VALUE", "a right one: --param user_id=123"},
		{"--param vsn=1.0.0", nil, "the value of --param sets vsn, which has an option of its own: --vsn", "a right one: --param user_id=123"},
		{"--header SECRET", nil, "the value of --header is not 'NAME: VALUE'", "a right one: --header 'X-Api-Key: @key.txt'"},
		{"--header a(b:SECRET", nil, "the value of --header is not 'NAME: VALUE'", "a right one: --header 'X-Api-Key: @key.txt'"},
		{"--header x:SEC\nRET", nil, "the value of --header has a control character or a line break", "a right one: --header 'X-Api-Key: @key.txt'"},
		{"--header upgrade:h2c", nil, "the value of --header sets upgrade, which belongs to the upgrade itself", "a right one: --header 'X-Api-Key: @key.txt'"},
		{"--join-params SECRET", nil, "the value of --join-params is not a JSON object", `a right one: --join-params '{"user_id":123}'`},
		{"--join-params [1]", nil, "the value of --join-params is not a JSON object", `a right one: --join-params '{"user_id":123}'`},
	}
	for _, tt := range tests {
		var args []string
		if tt.args != "" {
			args = strings.SplitN(tt.args, " ", 2)
		}
		err := resolve(NewConnection(Retry{}).Options(), args, tt.env)
		var usage *exit.Error
		if !errors.As(err, &usage) {
			t.Errorf("%s: error %v, want a usage error", tt.args, err)
			continue
		}
		if usage.Error() != tt.message || usage.Hint != tt.hint || usage.Code != exit.Usage {
			t.Errorf("%s:\n got %s\n     %s\nwant %s\n     %s", tt.args, usage.Error(), usage.Hint, tt.message, tt.hint)
		}
	}
}

func TestWrongName(t *testing.T) {
	for _, name := range []string{"", "push", "a b", "-x"} {
		c := NewConnection(Retry{})
		err := resolve(c.Options(), []string{"--name=" + name}, nil)
		if err == nil || !strings.Contains(err.Error(), "cannot be used") {
			t.Errorf("--name %q: error %v", name, err)
		}
	}
}

func TestHelpShowsDefaults(t *testing.T) {
	c := NewConnection(Retry{Max: 10})
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	option.NewSet(c.Options()).Bind(flags)
	help := flags.FlagUsages()
	for _, want := range []string{
		"-u, --uri URI", "[$PHX_URI]", "(default 10)", "(default 64MiB)", "(default 30s)", "--timeout TIME", "(default default)",
	} {
		if !strings.Contains(help, want) {
			t.Errorf("help lacks %q:\n%s", want, help)
		}
	}
	if strings.Contains(help, "--no-jitter value") || strings.Contains(help, "--no-jitter bool") {
		t.Errorf("a switch shows an argument:\n%s", help)
	}
}
