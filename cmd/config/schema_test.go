package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"phx/cmd/internal/option"
)

// compiledSchema compiles the schema, which must be a right one.
func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("phx.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("phx.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// schemaAccepts reports what the schema says of a JSON text.
func schemaAccepts(t *testing.T, schema *jsonschema.Schema, text []byte) error {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(document)
}

// parserAccepts reports what the parser says of it.
func parserAccepts(text []byte) error {
	_, err := Validate("phx.yaml", text, environment(map[string]string{"KEY": "value", "EMPTY": ""}), compileAny)
	return err
}

// fromYAML returns what a YAML text means.
func fromYAML(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func toJSON(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rightConnections and rightServe have every key, and several ways to write a value.
const rightConnections = `
require_wss: false
defaults: {heartbeat_interval_msec: 30000, jitter: false, params: {a: b}}
connections:
  first:
    name: phoenix_backend
    uri: wss://user:password@localhost:4000/socket/websocket?token=x
    headers: {X-API-Key: key, X-File: {file: token}}
    params: {user_id: 123, token: {env: KEY}, on: true, half: 0.5}
    auth_token: {command: [pass, show, 1]}
    auto_join_channels:
      - room:lobby
      - 7
      - {topic: "user:123", params: {user_id: "123", n: [1.5, {x: null}]}, secret_params: {access_token: {file: jwt}}}
    reconnect: true
    max_retries: -1
    reconnect_after_msec: [100, 0, "500"]
    rejoin_after_msec: [20]
    heartbeat_timeout_msec: 5000
    connect_timeout_msec: "1500"
    reply_timeout_msec: 2500
    vsn: 1.0.0
    transport: websocket
    max_message: 1MiB
    tls: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, server_name: example.com, insecure_skip_verify: false}
    proxy: socks5://proxy:1080
    presence: true
    required: "false"
  second:
    uri: ws://localhost
    headers: [[A, b], [A, {env: KEY}]]
    max_message: 65536
    auto_join_channels: []
    tls: {}
`

const rightServe = `
sinks:
  audit: {file: {path: signals.ndjson}, format: jido, queue: 64 KiB, when_full: drop-newest, on_loss: out}
  handler: {exec: {command: [./handle.sh, -v], dir: work}, queue: 10}
  hook:
    webhook: {url: "https://example.com/hook", mode: binary, headers: {X-Key: {file: key}}, secret: {env: KEY}, timeout_msec: 500, max_retries: 0}
    format: cloudevents
  bulk: {webhook: {url: "http://h", batch: 100, batch_bytes: 64KiB, batch_wait_msec: 0, max_in_flight: 4, retry_on: [404, 3xx], drop_on: 501}, spool: {dir: /var/lib/phx, max_bytes: 2GiB, sync: 1s}}
  bus: {nats: {stream: PHX, subject: type, window: 64, create: true, batch: none, mode: binary}, format: cloudevents}
  lines: {nats: {batch: lines}}
  out: {stdout: {}}
  discard: {discard: {}}
routes:
  - {match: "phoenix.phoenix_backend.**", topic: "room:*", event: [created, "refund_*"], where: .a, to: [audit, hook, bulk, bus, lines, handler]}
  - {subscribe: "jido.protocol.phoenix.*", to: out}
  - {topic: [a, 5], to: discard}
sources: {control: {nats: {subject: phx.push}}, other: {nats: {subject: 5}}}
nats:
  urls: ["nats://user:password@127.0.0.1:4222", "tls://b"]
  user: phx
  password: {file: nats.password}
  inbox_prefix: _INBOX_phx.a
  tls: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, server_name: example.com, insecure_skip_verify: false}
state_dir: /var/lib/phx
control: {socket: /run/phx.sock}
http: {listen: ":9464"}
`

// TestSchemaAgrees changes a right config in every place in every way that somebody may get it wrong, and expects the schema and
// the parser to agree about what comes of it.
func TestSchemaAgrees(t *testing.T) {
	schema := compiledSchema(t)
	for _, config := range []string{rightConnections, rightServe} {
		root := fromYAML(t, config)
		if err := schemaAccepts(t, schema, toJSON(t, root)); err != nil {
			t.Fatalf("the schema refuses a right config: %v", err)
		}
		if err := parserAccepts([]byte(config)); err != nil {
			t.Fatalf("the parser refuses a right config: %v", err)
		}
		tried, refused := 0, 0
		mutate(root, "", func(path, how string) {
			text := toJSON(t, root)
			bySchema, byParser := schemaAccepts(t, schema, text), parserAccepts(text)
			tried++
			if bySchema != nil {
				refused++
			}
			if (bySchema == nil) != (byParser == nil) && !beyondSchema(byParser, strings.Contains(how, "${")) {
				t.Errorf("%s, %s:\nschema: %v\nparser: %v", path, how, bySchema, byParser)
			}
		})
		if tried < 1000 || refused < tried/3 || refused > tried*9/10 {
			t.Errorf("%d changes, %d of them refused: that is no test", tried, refused)
		}
	}
}

// onlyParser are the mistakes that a schema cannot see, as the parser tells of them.
var onlyParser = []string{
	// What a value means for another one, which may stand in the defaults.
	"has no uri", "is longer than heartbeat_interval_msec", "has a key_file and no cert_file", "only one of user and password",
	"needs nats, which says", "needs the id of its signal", "is one of CloudEvents, and the sink", "has signals of several types", "has the subject of another one", "the source", "has no attributes of its own",
	// Names.
	"is given twice", "a second connection is called", "there is no sink", "stdout is the sink",
	// The world outside.
	"is not set, or empty",
}

// beyondSchema reports whether a schema cannot see what the parser found wrong. A reference to a variable may come to anything.
func beyondSchema(byParser error, isReference bool) bool {
	if byParser == nil {
		return false
	}
	var all option.Problems
	all.Add(byParser)
	for _, err := range all.Found {
		known := slices.ContainsFunc(onlyParser, func(message string) bool { return strings.Contains(err.Error(), message) })
		if !known && !isReference {
			return false
		}
	}
	return true
}

// TestSchemaAgreesOn single documents.
func TestSchemaAgreesOn(t *testing.T) {
	schema := compiledSchema(t)
	tests := []struct {
		text  string
		right bool
	}{
		{"", true},
		{"{}", true},
		{"[]", false},
		{"connections: {}", true},
		{"connection: {}", false},
		{"routes: []", true},
		{"routes: [{}]", false},
		{"routes: [{to: stdout}]", true},
		{"routes: [{to: discard, match: '**', subscribe: '**'}]", false},
		{"routes: [{to: stdout, match: 'a..b'}]", false},
		{"routes: [{to: stdout, match: 'room*'}]", false},
		{"routes: [{to: stdout, match: 'a:b.*'}]", false},
		{`routes: [{to: stdout, topic: 'a\'}]`, false},
		{`routes: [{to: stdout, topic: 'a\*'}]`, true},
		{"sinks: {a: {}}", false},
		{"sinks: {a: {file: {path: x}, stdout: {}}}", false},
		{"sinks: {a b: {discard: {}}}", false},
		{"sinks: {stdout: {discard: {}}}", false},
		{"sinks: {discard: {stdout: {}}}", false},
		{"sinks: {a: {stdout: }}", true},
		{"sinks: {a: {stdout: {path: x}}}", false},
		{"sinks: {a: {discard: {}, when_full: block}}", false},
		{"sinks: {a: {discard: {}, when_full: fail}}", false},
		{"sinks: {a: {discard: {}, format: xml}}", false},
		{"sinks: {a: {discard: {}, queue: 0}}", false},
		{"sinks: {a: {discard: {}, queue: 1 GiB}}", true},
		{"sinks: {a: {webhook: {url: 'https://h'}}}", true},
		{"sinks: {a: {webhook: {url: 'https://h'}, format: signal}}", false},
		{"sinks: {a: {webhook: {url: 'ftp://h'}}}", false},
		{"sinks: {a: {webhook: {url: 'https://h#x'}}}", false},
		{"sinks: {a: {webhook: {url: 'https://h', headers: {content-type: x}}}}", false},
		{"sinks: {a: {webhook: {url: 'https://h', headers: {CE-Id: x}}}}", false},
		{"sinks: {a: {webhook: {url: 'https://h', headers: {Cecil: x}}}}", true},
		{"sinks: {a: {webhook: {url: 'https://h', retry_on: 410}}}", false},
		{"sinks: {a: {webhook: {url: 'https://h', retry_on: '410'}}}", false},
		{"sinks: {a: {webhook: {url: 'https://h', retry_on: '510'}}}", true},
		{"sinks: {a: {webhook: {url: 'https://h', retry_on: ['400', 421, 5xx]}}}", true},
		{"sinks: {a: {webhook: {url: 'https://h', retry_on: 2xx}}}", false},
		{"sinks: {a: {webhook: {url: 'https://h', drop_on: 299}}}", false},
		{"{state_dir: x, sinks: {a: {webhook: {url: 'https://h'}, spool: {}}}}", true},
		{"{state_dir: x, sinks: {a: {file: {path: y}, spool: {}}}}", false},
		{"{sinks: {a: {nats: {}, spool: {dir: x, sync: always}}}}", false},
		{"http: {listen: '127.0.0.1:http'}", false},
		{"http: {listen: '[::1]:0'}", true},
		{"http: {listen: '4000'}", false},
		{"nats: {urls: 'nats://h'}", true},
		{"nats: {urls: [ws://h, 'WSS://h:443']}", true},
		{"nats: {urls: [http://h]}", false},
		{"nats: {urls: []}", false},
		{"nats: {}", false},
		{"nats: {urls: nats://h, creds: ''}", false},
		{"nats: {urls: nats://h, creds: {file: a.creds}}", true},
		{"nats: {urls: nats://h, nkey: {command: [pass, nkey]}}", true},
		{"nats: {urls: nats://h, token: {env: KEY}}", true},
		{"nats: {urls: nats://h, inbox_prefix: a..b}", false},
		{"nats: {urls: nats://h, inbox_prefix: 'a.*'}", false},
		{"defaults: {vsn: 3.0.0}", false},
		{"defaults: {transport: longpoll}", true},
		{"defaults: {transport: carrier}", false},
		{"defaults: {params: {vsn: 2.0.0}}", false},
		{"defaults: {headers: {sec-websocket-key: x}}", false},
		{"defaults: {headers: [[Upgrade, x]]}", false},
		{"defaults: {headers: {X: \"a\\nb\"}}", false},
		{"defaults: {auto_join_channels: [phoenix]}", false},
		{"defaults: {auto_join_channels: [{params: {}}]}", false},
		{"defaults: {auto_join_channels: [{topic: a, on_join: [{event: sync}]}]}", true},
		{"defaults: {auto_join_channels: [{topic: a, on_join: [{event: phx_leave}]}]}", false},
		{"defaults: {tls: {server_name: 'a:1'}}", false},
		{"defaults: {proxy: 'https://h'}", false},
		{"defaults: {proxy: 'h:1'}", true},
		{"defaults: {proxy: 'http://h/path'}", false},
		{"defaults: {uri: 'WSS://h'}", true},
		{"defaults: {uri: 'ws://'}", false},
		{"defaults: {uri: 'ws:h'}", false},
		{"defaults: {uri: 'ws://h#f'}", false},
		{"defaults: {name: push}", false},
		{"defaults: {name: _a}", false},
	}
	for _, tt := range tests {
		bySchema := schemaAccepts(t, schema, toJSON(t, fromYAML(t, tt.text)))
		byParser := parserAccepts([]byte(tt.text))
		if (bySchema == nil) != tt.right || (byParser == nil) != tt.right {
			t.Errorf("%s: right %v\nschema: %v\nparser: %v", tt.text, tt.right, bySchema, byParser)
		}
	}
}

// TestAbout: everything that can be written is explained, named and described, and nothing else is.
func TestAbout(t *testing.T) {
	unused := maps.Clone(aboutMaps)
	var check func(prefix string, options []option.Option)
	check = func(prefix string, options []option.Option) {
		for _, b := range option.Branches(options, aboutMaps) {
			if b.About == "" || b.Value.Name == "" || b.Below == nil && len(b.Value.Schema) == 0 {
				t.Errorf("%s%s: %+v", prefix, b.Key, b)
			}
			if b.Below != nil {
				delete(unused, b.Key)
				check(prefix+b.Key+".", b.Below)
			}
		}
	}
	for name, options := range map[string][]option.Option{
		"": topKeys(), "connection ": connectionKeys(), "sink ": sinkKeys(), "route ": routeKeys(), "secret ": secretKeys,
	} {
		check(name, options)
	}
	if len(unused) > 0 {
		t.Errorf("%v are explained, and there are no such maps", unused)
	}
}

// replacements are put in place of every value.
var replacements = []any{
	nil, true, 0, -1, 1.5, "", "true", "5", "1MiB", "1MB", "a b", "ws://h", "https://h", "${KEY}", "${EMPTY:-5}",
	[]any{}, []any{1}, []any{"a", "b"}, []any{nil}, []any{[]any{}},
	map[string]any{}, map[string]any{"file": "a"}, map[string]any{"command": []any{"a"}}, map[string]any{"command": "a"},
	map[string]any{"file": "a", "env": "KEY"},
}

// mutate changes each value below v, one at a time, calls try, and puts it back. how says what the change is.
func mutate(v any, path string, try func(path, how string)) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			old, at := v[key], path+"/"+key
			delete(v, key)
			try(at, "without it")
			for _, replacement := range replacements {
				v[key] = replacement
				try(at, fmt.Sprint("as ", replacement))
			}
			v[key] = old
			mutate(old, at, try)
		}
		for _, value := range []any{1, map[string]any{}} {
			v["new_key"] = value
			try(path, fmt.Sprint("with a new key ", value))
			delete(v, "new_key")
		}
	case []any:
		for i, old := range v {
			for _, replacement := range replacements {
				v[i] = replacement
				try(path+"/*", fmt.Sprint("as ", replacement))
			}
			v[i] = old
			mutate(old, path+"/*", try)
		}
	}
}

// TestDescribeKeys has a key of each type, with what the schema says of it.
func TestDescribeKeys(t *testing.T) {
	keys := DescribeKeys()
	tests := []struct {
		in        []option.Key
		path, typ string
		def       string
		required  bool
	}{
		{keys.Top, "require_wss", "true or false", "false", false},
		{keys.Top, "connections", "map", "", false},
		{keys.Top, "routes", "list of maps", "", false},
		{keys.Top, "control", "map", "", false},
		{keys.Top, "control.socket", "text", "", false},
		{keys.Top, "http.listen", "HOST:PORT", "", false},
		{keys.Connection, "uri", "URL", "", false},
		{keys.Connection, "params", "map", "", false},
		{keys.Connection, "headers", "map or list of pairs", "", false},
		{keys.Connection, "auth_token", "secret", "", false},
		{keys.Connection, "auto_join_channels", "list", "", false},
		{keys.Connection, "vsn", "2.0.0 or 1.0.0", `"2.0.0"`, false},
		{keys.Connection, "tls.ca_file", "text", "", false},
		{keys.Connection, "max_retries", "number", "10", false},
		{keys.Connection, "max_message", "number or size", `"64MiB"`, false},
		{keys.Connection, "reconnect", "true or false", "true", false},
		{keys.Connection, "rejoin_after_msec", "list of numbers", "[100,500,1000,2000,5000,10000]", false},
		{keys.Sink, "file.path", "text", "", true},
		{keys.Sink, "exec.command", "list of texts", "", true},
		{keys.Sink, "stdout", "{}", "", false},
		{keys.Sink, "when_full", "drop-oldest or drop-newest", `"drop-oldest"`, false},
		{keys.Sink, "webhook.secret", "secret", "", false},
		{keys.Route, "match", "pattern", "", false},
		{keys.Route, "topic", "glob or list of globs", "", false},
		{keys.Route, "to", "text or list of texts", "", true},
		{keys.Source, "nats.subject", "text", `"phx.push"`, false},
		{keys.Secret, "command", "list of texts", "", false},
	}
	for _, tt := range tests {
		i := slices.IndexFunc(tt.in, func(k option.Key) bool { return k.Path == tt.path })
		if i < 0 {
			t.Errorf("%s is missing", tt.path)
			continue
		}
		if k := tt.in[i]; k.Type != tt.typ || string(k.Default) != tt.def || k.Required != tt.required || k.About == "" {
			t.Errorf("%s: %+v", tt.path, k)
		}
	}
}

// TestDescribeKeysIsWhole compares the keys with those of the schema.
func TestDescribeKeysIsWhole(t *testing.T) {
	var schema struct {
		Properties map[string]property `json:"properties"`
		Defs       map[string]property `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	keys := DescribeKeys()
	for name, tt := range map[string]struct {
		got        []option.Key
		properties map[string]property
	}{
		"top": {keys.Top, schema.Properties}, "connection": {keys.Connection, schema.Defs["connection"].Properties},
		"sink": {keys.Sink, schema.Defs["sink"].Properties}, "route": {keys.Route, schema.Defs["route"].Properties}, "source": {keys.Source, schema.Defs["source"].Properties},
	} {
		want := map[string]bool{}
		collectPaths("", tt.properties, want)
		for _, builtIn := range builtInSinks {
			delete(want, "sinks."+builtIn) // a sink that may have this name, and no key
		}
		for _, k := range tt.got {
			if !want[k.Path] {
				t.Errorf("%s: there is no key %s", name, k.Path)
			}
			delete(want, k.Path)
		}
		if len(want) > 0 {
			t.Errorf("%s: %v are missing", name, slices.Sorted(maps.Keys(want)))
		}
	}
}

// A property is what a JSON Schema says of nested maps.
type property struct {
	Properties map[string]property `json:"properties"`
}

func collectPaths(prefix string, properties map[string]property, into map[string]bool) {
	for name, p := range properties {
		into[prefix+name] = true
		collectPaths(prefix+name+".", p.Properties, into)
	}
}
