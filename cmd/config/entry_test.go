package config

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/strictyaml"
)

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
		{"connections: {a: {uri: ws://h, auto_join_channels: [phoenix]}}", "1:53: the topic phoenix is the socket's own"},
		{"connections: {a: {uri: SECRET, vsn: 3, headers: {b c: SECRET, Upgrade: x}}}",
			"1:24: the value of uri has no scheme\nphx.yaml:1:37: vsn \"3\" is none of 2.0.0, 1.0.0\n" +
				"phx.yaml:1:50: \"b c\" cannot be the name of a header\nphx.yaml:1:63: the header Upgrade belongs to the upgrade itself"},
	}
	for _, tt := range tests {
		_, err := entryOf(t, tt.text, nil).Resolve(nil)
		var e *strictyaml.Error
		if !errors.As(err, &e) || err.Error() != "phx.yaml:"+tt.want || e.Hint() == "" {
			t.Errorf("%q:\n got %v\nwant phx.yaml:%s", tt.text, err, tt.want)
			continue
		}
		if text := err.Error() + e.Hint(); strings.Contains(text, "SECRET") || strings.Contains(text, "--") {
			t.Errorf("%q: the error holds a secret, or speaks of flags: %s", tt.text, text)
		}
		if _, again := entryOf(t, tt.text, nil).Fingerprint(); again == nil || again.Error() != err.Error() {
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
		if c.Name != "a" || e.Name != "a" || c.URI != "ws://h/value" || c.tls.ca.path != "dir/ca.pem" {
			t.Errorf("%+v", c)
		}
		if len(c.params) > 0 && c.params[0].value.literal != "😀" {
			t.Errorf("param %q", c.params[0].value.literal)
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
	got, err := sent.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if own, err := entryOf(t, rawFile, vars).Fingerprint(); err != nil || got != own {
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
	i := slices.IndexFunc(NewConnection(Retry{Max: ServeRetries}).Options(), func(o Option) bool { return o.Key == "max_retries" })
	if def := NewConnection(Retry{Max: ServeRetries}).Options()[i].Value.def; def != 10 {
		t.Errorf("default %v", def)
	}
}
