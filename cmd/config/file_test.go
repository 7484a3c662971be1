package config

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/phoenix"
)

// resolveFile resolves the options of a connection by a command line, variables and a config file. named is what -n says.
func resolveFile(text, named string, args []string, vars map[string]string) (*Connection, error) {
	f, err := ParseFile("phx.yaml", []byte(text), environment(vars))
	if err != nil {
		return nil, err
	}
	entry := f.Default()
	if named != "" {
		if entry, err = f.Entry(named); err != nil {
			return nil, err
		}
	}
	c := NewConnection(Retry{})
	set := option.NewSet(c.Options())
	set.Use(entry)
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	set.Bind(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return c, set.Resolve(environment(vars))
}

// fromFile builds the only connection of a file.
func fromFile(t *testing.T, text string, vars map[string]string) (*Connection, phoenix.Options) {
	t.Helper()
	c, err := resolveFile(text, "", nil, vars)
	if err != nil {
		t.Fatal(err)
	}
	o, err := c.Build(secret.NewStdin(strings.NewReader("")))
	if err != nil {
		t.Fatal(err)
	}
	return c, o
}

// TestPrecedenceMatrix says the same setting in every subset of the places where it can be said, and expects the first place
// that says it to win.
func TestPrecedenceMatrix(t *testing.T) {
	const flag, own, env, defaults = 1, 2, 4, 8
	uri := func(host string) string { return "ws://" + host + "/socket" }
	for said := range 16 {
		for _, named := range []bool{false, true} {
			var text strings.Builder
			var args []string
			vars := map[string]string{}
			if said&flag != 0 {
				args = []string{"--uri", uri("flag")}
			}
			if said&env != 0 {
				vars["PHX_URI"] = uri("env")
			}
			if said&defaults != 0 {
				text.WriteString("defaults: {uri: " + uri("defaults") + "}\n")
			}
			text.WriteString("connections:\n  only:\n    vsn: 1.0.0\n")
			if said&own != 0 {
				text.WriteString("    uri: " + uri("own") + "\n")
			}
			order, name := []string{"flag", "env", "own", "defaults"}, ""
			if named {
				order, name = []string{"flag", "own", "env", "defaults"}, "only"
			}
			want := ""
			bits := map[string]int{"flag": flag, "own": own, "env": env, "defaults": defaults}
			for _, place := range order {
				if said&bits[place] != 0 {
					want = uri(place)
					break
				}
			}
			c, err := resolveFile(text.String(), name, args, vars)
			if err != nil {
				t.Fatal(err)
			}
			if c.URI != want || c.Name != "only" || c.vsn != "1.0.0" {
				t.Errorf("said %04b, named %v: %q, want %q", said, named, c.URI, want)
			}
		}
	}
}

const everyKey = `
# A config of a server of connections carries over.
require_wss: false
sinks: {audit: {file: {path: signals.ndjson}}}
routes: [{match: "**", to: [audit]}]
control: {socket: /run/phx.sock}
http: {listen: "127.0.0.1:9464"}
defaults: {heartbeat_interval_msec: 30000, jitter: false}
connections:
  backend_service:
    name: phoenix_backend
    uri: ${URL:-wss://localhost:4000/socket/websocket}
    headers: {X-API-Key: "${KEY}"}
    params: {user_id: 123, token: {env: KEY}}
    auth_token: {env: KEY}
    auto_join_channels:
      - room:lobby
      - {topic: "user:123", params: {user_id: "123", n: 1.0}, secret_params: {access_token: {env: KEY}}}
    reconnect: true
    max_retries: ${RETRIES:-7}
    reconnect_after_msec: [100, 500]
    rejoin_after_msec: [20]
    heartbeat_timeout_msec: 5000
    connect_timeout_msec: 1500
    reply_timeout_msec: 2500
    vsn: 1.0.0
    transport: websocket
    max_message: 1MiB
    tls: {server_name: example.com, insecure_skip_verify: true}
    presence: true
    required: false
`

func TestEveryKey(t *testing.T) {
	c, o := fromFile(t, everyKey, map[string]string{"KEY": "SECRET"})
	if c.Name != "phoenix_backend" || c.Required || o.URL != "wss://localhost:4000/socket/websocket" || o.VSN != "1.0.0" ||
		o.HeartbeatInterval != 30*time.Second || o.HeartbeatTimeout != 5*time.Second || o.ConnectTimeout != 1500*time.Millisecond ||
		o.ReplyTimeout != 2500*time.Millisecond || o.MaxRetries != 7 || !c.Presence || o.FailFast || o.MaxMessage != 1<<20 ||
		o.ReconnectAfter(0) != 100*time.Millisecond || o.ReconnectAfter(9) != 500*time.Millisecond || o.RejoinAfter(0) != 20*time.Millisecond {
		t.Errorf("%+v", o)
	}
	creds, err := o.Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if creds.Header.Get("X-Api-Key") != "SECRET" || creds.Params.Get("user_id") != "123" || creds.Params.Get("token") != "SECRET" ||
		creds.AuthToken != "SECRET" || creds.TLS == nil || creds.TLS.ServerName != "example.com" || !creds.TLS.InsecureSkipVerify {
		t.Errorf("%+v", creds)
	}
	channels, err := c.Channels(t.Context(), c.AutoJoin()...)
	if err != nil || len(channels) != 2 || channels[0].Topic != "room:lobby" || channels[0].Params != nil || channels[1].Topic != "user:123" {
		t.Fatalf("%+v, %v", channels, err)
	}
	params, err := channels[1].Params(t.Context())
	if got, want := string(params.Data), `{"user_id":"123","n":1.0,"access_token":"SECRET"}`; err != nil || got != want {
		t.Errorf("params %s, %v; want %s", got, err, want)
	}
}

func TestRetryKeys(t *testing.T) {
	listen := Retry{Max: 10, FailFast: true}
	tests := []struct {
		keys, args string
		limit      int
		failFast   bool
	}{
		{"{uri: ws://h}", "", 10, true},
		{"{reconnect: true}", "", 10, true},
		{"{max_retries: 3}", "", 3, false},
		{"{max_retries: -1}", "", -1, false},
		{"{reconnect: false, max_retries: 3}", "", 0, false},
		{"{reconnect: false}", "--max-retries=2", 2, false},
		{"{max_retries: 3}", "--no-reconnect", 0, false},
	}
	for _, tt := range tests {
		c, err := resolveFile("connections: {a: "+tt.keys+"}", "", strings.Fields(tt.args), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.retry = listen
		if limit, failFast := c.retries(); limit != tt.limit || failFast != tt.failFast {
			t.Errorf("%s %s: %d, %v; want %d, %v", tt.keys, tt.args, limit, failFast, tt.limit, tt.failFast)
		}
	}
}

// TestPairsByName: params and headers add up; the same name is taken from the place that counts for more, all its values.
func TestPairsByName(t *testing.T) {
	c, err := resolveFile(`
defaults: {params: {a: low, b: low, c: low}, headers: [[X-One, low], [X-Two, low]]}
connections:
  only: {params: {a: own, b: own}, headers: [[x-one, 1], [X-ONE, 2]]}
`, "", []string{"--param", "a=flag", "--param", "a=again"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := c.credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := creds.Params.Encode(); got != "a=flag&a=again&b=own&c=low" {
		t.Errorf("params %s", got)
	}
	if got := strings.Join(creds.Header["X-One"], ",") + " " + strings.Join(creds.Header["X-Two"], ","); got != "1,2 low" {
		t.Errorf("headers %s", got)
	}
}

func TestFileErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"connection: {}", `phx.yaml:1:1: the key "connection" is not known here`},
		{"[a]", "phx.yaml:1:1: this is not a map"},
		{"connections: [a]", "phx.yaml:1:14: this is not a map"},
		{"connections:\n  a:\n    url: x", `phx.yaml:3:5: the key "url" is not known here`},
		{"defaults: {nope: 1}", `phx.yaml:1:12: the key "nope" is not known here`},
		{"connections:\n  a: {tls: {ca: x}}", `phx.yaml:2:13: the key "ca" is not known here`},
		{"connections:\n  a: {tls: true}", "phx.yaml:2:12: this is not a map"},
		{"connections:\n  a: {require_wss: true}", `phx.yaml:2:7: the key "require_wss" is not known here`},
		{"connections:\n  a: {uri: ws://h}\n  a: {uri: ws://h}", "phx.yaml:3:3: the key a is given twice, first in line 2"},
		{"connections:\n  a: {}\n  b: {name: a}", `phx.yaml:3:13: a second connection is called "a"`},
		{"connections:\n  push: {}", `phx.yaml:2:3: connection name "push" is reserved; so are: connection, channel, push, signal, presence`},
		{"connections:\n  a: {name: x y}", `phx.yaml:2:13: the name cannot be used: connection name "x y" does not match [A-Za-z0-9][A-Za-z0-9_-]*`},
		{"sinks: {a: 1, a: 2}", "phx.yaml:1:15: the key a is given twice, first in line 1"},
		{only("uri: '${NONE}'"), "phx.yaml:2:12: the variable NONE is not set"},
		{only("uri: SECRET"), "phx.yaml:2:12: the value of uri has no scheme"},
		{only("uri: [SECRET]"), "phx.yaml:2:12: this is a map or a list, and should be one value"},
		{only("vsn: 3.0.0"), `phx.yaml:2:12: vsn "3.0.0" is none of 2.0.0, 1.0.0`},
		{only("vsn: '${KEY}'"), `phx.yaml:2:12: vsn "${KEY}" is none of 2.0.0, 1.0.0`},
		{only("transport: carrier"), `phx.yaml:2:18: transport "carrier" is none of websocket, longpoll, auto`},
		{only("jitter: perhaps"), `phx.yaml:2:15: "perhaps" is neither true nor false`},
		{only("required: 1"), `phx.yaml:2:17: "1" is neither true nor false`},
		{only("max_retries: many"), `phx.yaml:2:20: max_retries "many" is not a number of retries: -1 or more`},
		{only("max_message: 1MB"), `phx.yaml:2:20: max_message "1MB" is not a size: bytes, or a number with KiB, MiB or GiB`},
		{only("reply_timeout_msec: 5s"), `phx.yaml:2:27: "5s" is not a number of milliseconds`},
		{only("reply_timeout_msec: 0"), `phx.yaml:2:27: "0" is not a positive duration`},
		{only("reply_timeout_msec: 9223372036854775807"), `phx.yaml:2:27: "9223372036854775807" is not a number of milliseconds`},
		{only("reconnect_after_msec: 100"), "phx.yaml:2:29: this is not a list"},
		{only("reconnect_after_msec: []"), "phx.yaml:2:29: there is no delay in this list"},
		{only("reconnect_after_msec: [1, x]"), `phx.yaml:2:33: "x" is not a number of milliseconds`},
		{only("params: [SECRET]"), "phx.yaml:2:15: this is not a map"},
		{only("params: {vsn: 1.0.0}"), "phx.yaml:2:15: vsn has a key of its own"},
		{only("params: {a: [SECRET]}"), "phx.yaml:2:19: this is a map or a list, and should be one value"},
		{only("params: {a: {file: x, env: KEY}}"), "phx.yaml:2:19: this has 2 keys, and should have one of env, file and command"},
		{only("params: {a: {shell: SECRET}}"), `phx.yaml:2:20: the key "shell" is not known here`},
		{only("params: {a: {env: NONE}}"), "phx.yaml:2:25: the variable NONE is not set, or empty"},
		{only("auth_token: {file: ''}"), "phx.yaml:2:26: auth_token.file is empty"},
		{only("auth_token: {command: []}"), "phx.yaml:2:29: there is no program in this list"},
		{only("auth_token: {command: SECRET}"), "phx.yaml:2:29: this is not a list"},
		{only("headers: SECRET"), "phx.yaml:2:16: headers are a map or a list"},
		{only("headers: [[a]]"), "phx.yaml:2:17: this is not a pair of name and value"},
		{only("headers: {a b: SECRET}"), `phx.yaml:2:17: "a b" cannot be the name of a header`},
		{only("headers: {upgrade: SECRET}"), "phx.yaml:2:17: the header upgrade belongs to the upgrade itself"},
		{only(`headers: {a: "SECRET\n"}`), "phx.yaml:2:20: the value of the header a has a control character or a line break"},
		{only("auto_join_channels: room:lobby"), "phx.yaml:2:27: this is not a list"},
		{only("auto_join_channels: ['']"), "phx.yaml:2:28: the topic is empty"},
		{only("auto_join_channels: [a, a]"), `phx.yaml:2:31: the topic "a" is given twice`},
		{only("auto_join_channels: [{params: {}}]"), "phx.yaml:2:28: the topic is missing"},
		{only("auto_join_channels: [{topic: a, param: {}}]"), `phx.yaml:2:39: the key "param" is not known here`},
		{only("auto_join_channels: [{topic: a, params: SECRET}]"), "phx.yaml:2:47: params are a map"},
		{only("auto_join_channels: [{topic: a, params: {x: 1}, secret_params: {x: SECRET}}]"), `phx.yaml:2:28: "x" is in params and in secret_params`},
	}
	for _, tt := range tests {
		_, err := resolveFile(tt.text, "", nil, map[string]string{"KEY": "SECRET"})
		var e *exit.Error
		if !errors.As(err, &e) || e.Error() != tt.want || e.Hint == "" {
			t.Errorf("%q:\n got %v\nwant %s", tt.text, err, tt.want)
		}
		if err != nil && e != nil && strings.Contains(e.Error()+e.Hint, "SECRET") {
			t.Errorf("%q: the error holds a secret: %v", tt.text, err)
		}
	}
}

// only is a file with one connection.
func only(key string) string { return "connections:\n  a: {" + key + "}" }

// TestVariablesOfOthers: a connection need not have the variables of the others.
func TestVariablesOfOthers(t *testing.T) {
	c, err := resolveFile("connections:\n  a: {uri: '${NONE}'}\n  b: {uri: ws://b}", "b", nil, nil)
	if err != nil || c.URI != "ws://b" || c.Name != "b" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestWarnOtherServer(t *testing.T) {
	const secret = ", auth_token: SECRET"
	tests := []struct {
		name, keys, named, uri string
		warns                  bool
	}{
		{"its own", "uri: ws://own/a" + secret, "", "", false},
		{"another path", "uri: ws://own/a" + secret, "", "ws://own/b", false},
		{"another server", "uri: ws://own/a" + secret, "", "ws://other/a", true},
		{"another port", "uri: ws://own/a" + secret, "", "ws://own:1/a", true},
		{"named", "uri: ws://own/a" + secret, "a", "ws://other/a", false},
		{"nothing secret", "uri: ws://own/a", "", "ws://other/a", false},
		{"no uri", "params: {k: SECRET}", "", "ws://other/a", false},
	}
	for _, tt := range tests {
		f, err := ParseFile("phx.yaml", []byte(only(tt.keys)), environment(nil))
		if err != nil {
			t.Fatal(err)
		}
		entry := f.Default()
		if tt.named != "" {
			if entry, err = f.Entry(tt.named); err != nil {
				t.Fatal(err)
			}
		}
		c := NewConnection(Retry{})
		c.URI = tt.uri
		if tt.uri == "" {
			c.URI = "ws://own/a"
		}
		if got := entry.WarnOtherServer(c); (got != "") != tt.warns || strings.Contains(got, "SECRET") {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	if (*Entry)(nil).WarnOtherServer(NewConnection(Retry{})) != "" {
		t.Error("no connection warns")
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(everyKey))
	f.Add([]byte("connections: {a: {params: {x: {command: [true]}}, headers: [[a, b]]}}"))
	f.Add([]byte("defaults: &a {tls: *a}\nconnections: {a: *a}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := resolveFile(string(data), "", nil, map[string]string{"KEY": "value"})
		if err != nil {
			var coded *exit.Error
			if !errors.As(err, &coded) || coded.Code != exit.Usage {
				t.Fatalf("%q: %#v", data, err)
			}
			return
		}
		if _, err := c.Build(secret.NewStdin(strings.NewReader(""))); err == nil && c.Name == "" {
			t.Fatalf("%q makes a connection without a name", data)
		}
	})
}

// TestREADME: the example of a config file works.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(readme), "```yaml\n")
	example, _, ended := strings.Cut(example, "```")
	if !found || !ended {
		t.Fatal("the README has no block of YAML")
	}
	c, o := fromFile(t, example, nil)
	if c.Name != "backend" || o.URL != "ws://localhost:4000/socket" || len(c.AutoJoin()) != 2 {
		t.Errorf("%+v", c)
	}
}

// entryOf returns the only connection of a file.
func entryOf(t *testing.T, text string, vars map[string]string) *Entry {
	t.Helper()
	f, err := ParseFile("phx.yaml", []byte(text), environment(vars))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Entries) != 1 {
		t.Fatalf("%d connections", len(f.Entries))
	}
	return f.Entries[0]
}

func TestResolve(t *testing.T) {
	// Nobody asks for variables that the file does not name.
	e := entryOf(t, "defaults: {heartbeat_interval_msec: 5000, params: {a: low, b: low}}\nconnections: {only: {uri: ws://h, params: {a: own}}}",
		map[string]string{"PHX_URI": "ws://other", "PHX_AUTH_TOKEN": "SECRET"})
	c, err := e.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	o, err := c.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := o.Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o.URL != "ws://h" || o.MaxRetries != 10 || o.FailFast || o.HeartbeatInterval != 5*time.Second || creds.HasAuthToken ||
		creds.Params.Encode() != "a=own&b=low" || c.Name != "only" || !c.Required {
		t.Errorf("%+v %+v %+v", c, o, creds)
	}
}

func TestResolveErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"connections: {a: {}}", `1:15: the connection "a" has no uri`},
		{"connections: {key: {name: a}}", `1:15: the connection "a" has no uri`},
		{"connections:\n  a: {uri: ws://h, heartbeat_interval_msec: 100, heartbeat_timeout_msec: 200}",
			"2:74: heartbeat_timeout_msec 200 is longer than heartbeat_interval_msec 100"},
		{"defaults: {heartbeat_timeout_msec: 40000}\nconnections: {a: {uri: ws://h}}", "1:36: heartbeat_timeout_msec 40000 is longer than heartbeat_interval_msec 30000"},
		{"require_wss: true\nconnections: {a: {uri: ws://SECRET}}", "2:24: the uri is one of ws, which is not encrypted, and require_wss is true"},
		{"require_wss: true\ndefaults: {uri: http://SECRET}\nconnections: {a: {}}", "2:17: the uri is one of ws, which is not encrypted, and require_wss is true"},
		{"require_wss: 1\nconnections: {a: {uri: ws://h}}", `1:14: "1" is neither true nor false`},
		{"connections: {a: {uri: ws://h, tls: {key_file: SECRET}}}", "1:48: tls has a key_file and no cert_file"},
		{"connections: {a: {uri: 'ws://h/?vsn=SECRET'}}", `1:15: the connection "a" cannot be made: the vsn is not one of 2.0.0 and 1.0.0`},
		{"connections: {a: {uri: ws://h, auto_join_channels: [phoenix]}}", "1:53: the topic \"phoenix\" is the socket's own, and cannot be joined"},
		{"connections: {a: {uri: ws://h, auto_join_channels: [{topics: a, param: {}}]}}",
			"1:54: the key \"topics\" is not known here\nphx.yaml:1:65: the key \"param\" is not known here"},
		{"connections: {a: {uri: SECRET, vsn: 3, headers: {b c: SECRET, Upgrade: x}}}",
			"1:24: the value of uri has no scheme\nphx.yaml:1:37: vsn \"3\" is none of 2.0.0, 1.0.0\n" +
				"phx.yaml:1:50: \"b c\" cannot be the name of a header\nphx.yaml:1:63: the header Upgrade belongs to the upgrade itself"},
	}
	for _, tt := range tests {
		_, err := entryOf(t, tt.text, nil).Resolve(nil)
		var e *exit.Error
		if !errors.As(err, &e) || err.Error() != "phx.yaml:"+tt.want || e.Hint == "" {
			t.Errorf("%q:\n got %v\nwant phx.yaml:%s", tt.text, err, tt.want)
			continue
		}
		if text := err.Error() + e.Hint; strings.Contains(text, "SECRET") || strings.Contains(text, "--") {
			t.Errorf("%q: the error holds a secret, or speaks of flags: %s", tt.text, text)
		}
		if _, again := fingerprint(entryOf(t, tt.text, nil)); again == nil || again.Error() != err.Error() {
			t.Errorf("%q: the fingerprint has another error: %v", tt.text, again)
		}
	}
}

func TestEntryWarnings(t *testing.T) {
	for text, want := range map[string]string{
		"connections: {a: {uri: ws://example.com, params: {k: SECRET}}}": "phx.yaml:1:24: credentials are sent unencrypted to ws://example.com: use wss:// (require_wss: true makes sure of it)",
		"connections: {a: {uri: ws://localhost, params: {k: SECRET}}}":   "",
		"connections: {a: {uri: ws://example.com}}":                      "",
	} {
		e := entryOf(t, text, nil)
		c, err := e.Resolve(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(e.Warnings(c), "\n"); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestParseEntry(t *testing.T) {
	for _, text := range []string{
		"name: a\nuri: ws://h/${KEY}\ntls: {ca_file: ca.pem}",
		"{\n\t\"name\": \"a\",\n\t\"uri\": \"ws://h/${KEY}\", \"tls\": {\"ca_file\": \"ca.pem\"},\n\t\"params\": {\"smile\": \"\\ud83d\\ude00\"}\n}",
	} {
		e, err := ParseEntry("dir/entry", []byte(text), environment(map[string]string{"KEY": "value"}))
		if err != nil {
			t.Fatal(err)
		}
		c, err := e.Resolve(nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Name != "a" || e.Name != "a" || c.URI != "ws://h/value" || c.TLS.CA.Path != "dir/ca.pem" {
			t.Errorf("%+v", c)
		}
		if len(c.Params) > 0 && c.Params[0].Value.Literal != "😀" {
			t.Errorf("param %q", c.Params[0].Value.Literal)
		}
	}
	for text, want := range map[string]string{
		"":                 "entry:1:1: the connection has no name",
		"uri: ws://h":      "entry:1:1: the connection has no name",
		"[]":               "entry:1:1: this is not a map",
		`{"name": "push"}`: `entry:1:10: the name cannot be used: connection name "push" is reserved; so are: connection, channel, push, signal, presence`,
		"{\n \"name\": \"a\",\n \"é\": 1,\n \"name\": 2}": "entry:4:2: the key name is given twice, first in line 2",
		`{"name": "a", "url": 1, "require_wss": true}`:    "entry:1:15: the key \"url\" is not known here\nentry:1:25: the key \"require_wss\" is not known here",
		`{"name": `: "entry:1: this is not YAML: did not find expected node content",
	} {
		if _, err := ParseEntry("entry", []byte(text), environment(nil)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestUnder: what a file demands of all connections holds for one that comes later.
func TestUnder(t *testing.T) {
	f, err := ParseFile("phx.yaml", []byte("require_wss: true"), environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseEntry("entry", []byte(`{"name": "a", "uri": "ws://example.com"}`), environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Resolve(nil); err != nil {
		t.Fatal(err)
	}
	e.Under(f)
	if _, err := e.Resolve(nil); err == nil || err.Error() != "entry:1:22: the uri is one of ws, which is not encrypted, and require_wss is true" {
		t.Errorf("error %v", err)
	}
	if raw, err := e.Raw(); err != nil || string(raw) != `{"uri":"ws://example.com","name":"a"}` {
		t.Errorf("%s, %v", raw, err)
	}
}

const rawFile = `
defaults: {params: {a: low, b: 010}, headers: [[X-A, low], [X-B, low]], jitter: false, tls: {ca_file: ca.pem}}
connections:
  key:
    name: only
    uri: ${URI:-ws://h}
    params: {a: "$$own", c: {command: [cat, 0x10]}}
    headers: {x-a: own}
    vsn: 2.0.0
    tls: {cert_file: ../c.pem}
    auth_token: {file: "${DIR}/token"}
    auto_join_channels: [0x10, {topic: room, params: {n: 0x10, v: "${V}"}, secret_params: {t: 0x10}}]
`

func TestRaw(t *testing.T) {
	raw, err := entryOf(t, rawFile, nil).Raw()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"uri":"${URI:-ws://h}","name":"only","params":{"a":"$$own","c":{"command":["cat","0x10"]},"b":"010"},` +
		`"headers":{"x-a":"own","X-B":"low"},"auth_token":{"file":"${DIR}/token"},` +
		`"auto_join_channels":["0x10",{"topic":"room","params":{"n":16,"v":"${V}"},"secret_params":{"t":"0x10"}}],` +
		`"vsn":"2.0.0","tls":{"ca_file":"ca.pem","cert_file":"../c.pem"},"jitter":false}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
	// What is sent comes to the same.
	vars := map[string]string{"DIR": "d", "V": "v"}
	sent, err := ParseEntry("phx.yaml", raw, environment(vars))
	if err != nil {
		t.Fatal(err)
	}
	got, err := fingerprint(sent)
	if err != nil {
		t.Fatal(err)
	}
	if own, err := fingerprint(entryOf(t, rawFile, vars)); err != nil || got != own {
		t.Errorf("fingerprints differ: %s, %s, %v", got, own, err)
	}
}

func TestRawHeadersGivenTwice(t *testing.T) {
	raw, err := entryOf(t, "connections: {a: {headers: [[A, 1], [B, 2], [a, 3]]}}", nil).Raw()
	if want := `{"name":"a","headers":[["A",1],["B",2],["a",3]]}`; err != nil || string(raw) != want {
		t.Errorf("%s, %v; want %s", raw, err, want)
	}
	if _, err := entryOf(t, "connections: {a: {headers: [[A]], params: 1}}", nil).Raw(); err == nil ||
		err.Error() != "phx.yaml:1:29: this is not a pair of name and value\nphx.yaml:1:43: this is not a map" {
		t.Errorf("error %v", err)
	}
}

// TestRawIsJSON: a file that cannot be resolved can be sent, or says where it cannot.
func TestRawIsJSON(t *testing.T) {
	for _, keys := range []string{"uri: 5", "uri: null", "vsn: .inf", "params: {a: null}", "auto_join_channels: [{topic: [x], nope: 1}]", "tls: {}"} {
		raw, err := entryOf(t, "connections: {a: {"+keys+"}}", nil).Raw()
		if err != nil || !json.Valid(raw) {
			t.Errorf("%s: %s, %v", keys, raw, err)
		}
	}
	_, err := entryOf(t, "connections: {a: {auto_join_channels: [{topic: x, params: {n: .inf}}]}}", nil).Raw()
	if err == nil || err.Error() != "phx.yaml:1:63: this number cannot be written in JSON" {
		t.Errorf("error %v", err)
	}
}

func TestServeRetriesAreTheDefault(t *testing.T) {
	i := slices.IndexFunc(NewConnection(Retry{Max: ServeRetries}).Options(), func(o option.Option) bool { return o.Key == "max_retries" })
	if def := NewConnection(Retry{Max: ServeRetries}).Options()[i].Value.DefJSON; string(def) != "10" {
		t.Errorf("default %s", def)
	}
}
