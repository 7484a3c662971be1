package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"phx/cmd/internal/strictyaml"
)

const secretFile = `
defaults: {proxy: "user:SECRET@proxy:3128", headers: {X-Low: SECRET}}
connections:
  key:
    name: a
    uri: ${SCHEME:-wss}://user:SECRET@h/socket?token=SECRET&vsn=2.0.0&SECRET
    params: {one: SECRET, two: {file: secrets/two}, three: {command: [cat, "${SECRET}", 010]}, four: "", five: 123}
    headers: [[A, SECRET], [A, {env: SECRET}]]
    auth_token: "${SECRET}"
    heartbeat_interval_msec: 7000
    reconnect_after_msec: [1, "2"]
    required: "false"
    auto_join_channels:
      - cost:5$$
      - {topic: x, params: {a: SECRET, b: [1, null, {c: SECRET}]}, secret_params: {d: SECRET, e: {file: e}}}
sinks:
  hook: {webhook: {url: "https://user:SECRET@h/hook?key=SECRET", headers: {A: SECRET, B: {env: SECRET}}, secret: SECRET}}
  out: {stdout: }
  log: {file: {path: ./a.ndjson}, queue: 1MiB}
  run: {exec: {command: [./x, "$$HOME"], dir: d}}
routes:
  - {where: '.data."$$x" == 1', topic: [a, "b*"], to: [hook, log, run]}
  - {match: "**", to: out}
http: {listen: "127.0.0.1:1"}
sources: {control: {nats: {}}}
nats: {urls: ["nats://user:SECRET@h:4222", tls://i], token: SECRET, tls: {ca_file: ca.pem}}
control: {socket: c.sock}
`

const shownFile = `require_wss: false
connections:
  key:
    uri: wss://***:***@h/socket?token=***&vsn=2.0.0&***
    name: a
    params:
      one: '***'
      two:
        file: secrets/two
      three:
        command: [cat, '***', '***']
      four: ""
      five: '***'
    headers:
      - [A, '***']
      - - A
        - env: SECRET
      - [X-Low, '***']
    auth_token: '***'
    auto_join_channels:
      - cost:5$$
      - topic: x
        params:
          a: '***'
          b:
            - '***'
            - '***'
            - c: '***'
        secret_params:
          d: '***'
          e:
            file: e
    presence: false
    any_topic: false
    required: false
    transport: websocket
    vsn: 2.0.0
    tls:
      insecure_skip_verify: false
    proxy: http://***:***@proxy:3128
    connect_timeout_msec: 10000
    fallback_after_msec: 2500
    reply_timeout_msec: 10000
    heartbeat_interval_msec: 7000
    heartbeat_timeout_msec: 7000
    max_retries: 10
    reconnect_after_msec: [1, 2]
    rejoin_after_msec: [100, 500, 1000, 2000, 5000, 10000]
    reconnect: true
    jitter: true
    max_channels_per_socket: 100
    max_message: 64MiB
sinks:
  hook:
    webhook:
      url: https://***:***@h/hook?key=***
      mode: structured
      headers:
        A: '***'
        B:
          env: SECRET
      secret: '***'
      timeout_msec: 10000
      max_retries: -1
      batch: 1
      batch_bytes: 1MiB
      batch_wait_msec: 100
      max_in_flight: 1
    format: cloudevents
    queue: 10000
    when_full: drop-oldest
  out:
    stdout: {}
    format: signal
    queue: 10000
    when_full: drop-oldest
  log:
    file:
      path: ./a.ndjson
    format: signal
    queue: 1MiB
    when_full: drop-oldest
  run:
    exec:
      command: [./x, $$HOME]
      dir: d
    format: signal
    queue: 10000
    when_full: drop-oldest
routes:
  - topic: [a, b*]
    where: .data."$$x" == 1
    to: [hook, log, run]
  - match: '**'
    to: out
sources:
  control:
    nats:
      subject: phx.push
nats:
  urls: ['nats://***:***@h:4222', 'tls://i']
  token: '***'
  inbox_prefix: _INBOX
  tls:
    ca_file: ca.pem
    insecure_skip_verify: false
control:
  socket: c.sock
http:
  listen: 127.0.0.1:1
`

// show returns a file as it is shown.
func show(text, name string, vars map[string]string) (string, error) {
	f, err := ParseFile("phx.yaml", []byte(text), environment(vars))
	if err != nil {
		return "", err
	}
	shown, err := f.Show(name, compileAny)
	if err != nil {
		return "", err
	}
	out, err := strictyaml.FromJSON(shown)
	return string(out), err
}

func TestShow(t *testing.T) {
	vars := map[string]string{"SECRET": "SECRET"}
	got, err := show(secretFile, "", vars)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shownFile, got); diff != "" {
		t.Error(diff)
	}
	// What is shown is a right file, which is shown the same.
	again, err := show(got, "", vars)
	if diff := cmp.Diff(got, again); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestShowSmall(t *testing.T) {
	got, err := show("", "", nil)
	want := "require_wss: false\nconnections: {}\nsinks: {}\nroutes:\n  - to: [stdout]\n"
	if err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

// TestShowOne: a connection alone needs neither the variables of others nor right sinks.
func TestShowOne(t *testing.T) {
	const text = "require_wss: true\nconnections: {a: {uri: '${NONE}'}, b: {uri: ws://localhost, name: c}}\nsinks: {x: y}"
	got, err := show(text, "c", nil)
	if err != nil || !strings.HasPrefix(got, "require_wss: true\nconnections:\n  b:\n    uri: ws://localhost\n    name: c\n") || strings.Contains(got, "sinks") {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := show(text, "b", nil); err == nil || err.Error() != `there is no connection "b" in phx.yaml` {
		t.Errorf("error %v", err)
	}
	want := "phx.yaml:2:24: the variable NONE is not set\nphx.yaml:3:12: this is not a map"
	if _, err := show(text, "", nil); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestShowEveryKey: each key that can be set is shown as it is set, or as it is built in.
func TestShowEveryKey(t *testing.T) {
	for _, text := range []string{rightConnections, rightServe} {
		got, err := show(text, "", map[string]string{"KEY": "value"})
		if err != nil {
			t.Fatal(err)
		}
		again, err := show(got, "", map[string]string{"KEY": "value"})
		if diff := cmp.Diff(got, again); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if err := schemaAccepts(t, compiledSchema(t), toJSON(t, fromYAML(t, got))); err != nil {
			t.Error(err)
		}
	}
}

// TestShowIsJSON: what --json prints.
func TestShowIsJSON(t *testing.T) {
	f, err := ParseFile("phx.yaml", []byte(secretFile), environment(map[string]string{"SECRET": "x"}))
	if err != nil {
		t.Fatal(err)
	}
	shown, err := f.Show("", compileAny)
	if err != nil || !json.Valid(shown) || strings.Contains(string(shown), "\n") {
		t.Errorf("%s, %v", shown, err)
	}
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("open", 0o644)
	write("closed", 0o600)
	write("run", 0o700)
	const text = `connections:
  a:
    uri: ws://example.com
    auth_token: {file: open}
    params: {p: {file: closed}, q: {file: none}, r: {command: [./run]}, s: {command: [./none, SECRET]}, t: {command: [no-such-program]}}
    tls: {ca_file: none.pem}
    auto_join_channels: [{topic: x, secret_params: {v: {file: gone}}}]
sinks:
  f: {file: {path: nowhere/x}}
  g: {file: {path: open/x}}
  h: {file: {path: x}}
  e: {exec: {command: [./run], dir: none}}
  w: {webhook: {url: http://h, secret: {file: none}, headers: {A: {file: open}}}}
routes: [{to: [f, g, h, e]}, {to: [stdout]}]
`
	path := filepath.Join(dir, "phx.yaml")
	findings, err := Validate(path, []byte(text), environment(nil), compileAny)
	if err != nil {
		t.Fatal(err)
	}
	if findings.Connections != 1 || findings.Sinks != 5 || findings.Routes != 2 {
		t.Errorf("%+v", findings)
	}
	got := strings.ReplaceAll(strings.Join(findings.Warnings, "\n")+"\n", dir+"/", "")
	want := `phx.yaml:3:10: credentials are sent unencrypted to ws://example.com: use wss:// (require_wss: true makes sure of it)
phx.yaml:4:24: others can read the file of a secret: chmod o-r open
phx.yaml:5:43: there is no file none now: no such file or directory
phx.yaml:5:86: there is no program none now: no such file or directory
phx.yaml:5:118: there is no program no-such-program now: executable file not found in $PATH
phx.yaml:6:20: there is no file none.pem now: no such file or directory
phx.yaml:7:63: there is no file gone now: no such file or directory
phx.yaml:9:20: there is no directory nowhere now: no such file or directory
phx.yaml:10:20: there is no directory open now: not a directory
phx.yaml:12:37: there is no directory none now: no such file or directory
phx.yaml:13:3: no route leads to the sink w
phx.yaml:13:47: there is no file none now: no such file or directory
phx.yaml:13:74: others can read the file of a secret: chmod o-r open
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestValidateAll: what is wrong in one part keeps nothing from being said about the others.
func TestValidateAll(t *testing.T) {
	const text = `connections:
  a: {url: ws://h}
  push: {uri: ws://h}
  b: {uri: h, vsn: 3}
  c: {uri: ws://h, params: {a: [], b: {}}, headers: [[x], [y y, z]], auto_join_channels: ['', []]}
default: {}
sinks: {a: {}}
`
	_, err := Validate("phx.yaml", []byte(text), environment(nil), compileAny)
	want := `phx.yaml:2:3: the connection "a" has no uri
phx.yaml:2:7: the key "url" is not known here
phx.yaml:3:3: connection name "push" is reserved; so are: connection, channel, push, signal, presence
phx.yaml:4:12: the value of uri has no scheme
phx.yaml:4:20: vsn "3" is none of 2.0.0, 1.0.0
phx.yaml:5:32: this is a map or a list, and should be one value
phx.yaml:5:39: this has 0 keys, and should have one of env, file and command
phx.yaml:5:54: this is not a pair of name and value
phx.yaml:5:91: the topic is empty
phx.yaml:5:95: this is a map or a list, and should be one value
phx.yaml:6:1: the key "default" is not known here
phx.yaml:7:9: the sink a is of no kind: it needs one of file, exec, webhook, nats, stdout, discard`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v", err)
	}
	if _, err := Validate("phx.yaml", []byte("a: ["), environment(nil), compileAny); err == nil || !strings.HasPrefix(err.Error(), "phx.yaml:1: ") {
		t.Errorf("error %v", err)
	}
}
