package config

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/strictyaml"
	"phx/router"
	"phx/signal"
)

// compileAny takes any expression but "(".
func compileAny(expr string) (Where, error) {
	if expr == "(" {
		return nil, errors.New("the expression does not compile: (")
	}
	return func(context.Context, router.Signal) (bool, error) { return true, nil }, nil
}

// serveOf reads what a server has besides connections.
func serveOf(text string) (*Serve, error) {
	f, err := ParseFile("dir/phx.yaml", []byte(text), environment(map[string]string{"KEY": "SECRET"}))
	if err != nil {
		return nil, err
	}
	return f.Serve(compileAny)
}

func mustServe(t *testing.T, text string) *Serve {
	t.Helper()
	s, err := serveOf(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const everySink = `
sinks:
  audit:   {file: {path: log/signals.ndjson}}
  handler: {exec: {command: [./handle.sh, -v], dir: work}, format: payload, queue: 1MiB, when_full: drop-newest, on_loss: audit}
  bare:    {exec: {command: [cat]}, queue: 5}
  hook:    {webhook: {url: "https://h/hook", mode: binary, headers: {X-Key: {env: KEY}}, secret: "${KEY}", timeout_msec: 500, max_retries: 3}}
  out:     {stdout: {}}
  never:   {discard: {}, format: jido}
routes:
  - {match: "phoenix.a.**", topic: "room:*", event: [created, "refund_*"], where: .a, to: [audit, hook, audit]}
  - {subscribe: "jido.protocol.phoenix.*", to: discard}
control: {socket: run/control.sock}
http: {listen: "0.0.0.0:9464"}
`

func TestServe(t *testing.T) {
	s := mustServe(t, everySink)
	names := make([]string, len(s.Sinks))
	for i := range s.Sinks {
		names[i] = s.Sinks[i].Name + " " + s.Sinks[i].kind
	}
	if want := []string{"audit file", "handler exec", "bare exec", "hook webhook", "out stdout", "never discard", "discard discard"}; !slices.Equal(names, want) {
		t.Fatalf("sinks %q, want %q", names, want)
	}
	audit, handler, bare, never := s.Sinks[0], s.Sinks[1], s.Sinks[2], s.Sinks[5]
	if audit.File.Path != "dir/log/signals.ndjson" || audit.Format != signal.FormatSignal || audit.Records != 10000 ||
		audit.Bytes < 1<<50 || audit.WhenFull != router.DropOldest || audit.Exec != nil || audit.Webhook != nil {
		t.Errorf("audit %+v", audit)
	}
	// From another directory, a relative program would not be found.
	script, _ := filepath.Abs("dir/handle.sh")
	if want := []string{script, "-v"}; !slices.Equal(handler.Exec.Command, want) || handler.Exec.Dir != "dir/work" ||
		handler.Records != 0 || handler.OnLoss != "audit" || handler.Bytes != 1<<20 || handler.WhenFull != router.DropNewest || handler.Format != signal.FormatPayload {
		t.Errorf("handler %+v %+v", handler, handler.Exec)
	}
	if !slices.Equal(bare.Exec.Command, []string{"cat"}) || bare.Exec.Dir != "" || bare.Records != 5 || bare.Bytes < 1<<50 {
		t.Errorf("bare %+v %+v", bare, bare.Exec)
	}
	if never.Format != signal.FormatJido || !never.Discard || never.Stdout {
		t.Errorf("never %+v", never)
	}
	if s.ControlSocket != "dir/run/control.sock" || s.HTTPListen != "0.0.0.0:9464" {
		t.Errorf("control %q, http %q", s.ControlSocket, s.HTTPListen)
	}
	want := []string{
		"dir/phx.yaml:4:3: no route leads to the sink handler", "dir/phx.yaml:5:3: no route leads to the sink bare",
		"dir/phx.yaml:7:3: no route leads to the sink out", "dir/phx.yaml:8:3: no route leads to the sink never",
	}
	if !slices.Equal(s.Warnings, want) {
		t.Errorf("warnings %q, want %q", s.Warnings, want)
	}
}

func TestServeRoutes(t *testing.T) {
	s := mustServe(t, everySink)
	if len(s.Routes) != 2 {
		t.Fatalf("routes %+v", s.Routes)
	}
	first, second := s.Routes[0], s.Routes[1]
	if first.Match.String() != "phoenix.a.**" || first.Subscribe != nil || first.Where == nil || len(first.Topic) != 1 || len(first.Event) != 2 ||
		first.Event[1].String() != "refund_*" || !slices.Equal(first.To, []string{"audit", "hook", "audit"}) {
		t.Errorf("first %+v", first)
	}
	if second.Match != nil || second.Subscribe.String() != "jido.protocol.phoenix.*" || second.Where != nil || !slices.Equal(second.To, []string{"discard"}) {
		t.Errorf("second %+v", second)
	}
}

// TestServeWithoutRoutes: everything goes to stdout, whatever the sink is called that writes to it.
func TestServeWithoutRoutes(t *testing.T) {
	for text, want := range map[string]string{
		"": "stdout", "routes: []": "stdout", "sinks: {a: {discard: {}}}": "stdout", "sinks: {out: {stdout: {}}}": "out",
		"sinks: {stdout: {stdout: {}, format: payload}}": "stdout",
	} {
		s := mustServe(t, text)
		isIt := func(s Sink) bool { return s.Name == want && s.Stdout }
		if len(s.Routes) != 1 || !reflect.DeepEqual(s.Routes[0], Route{To: []string{want}}) || !slices.ContainsFunc(s.Sinks, isIt) {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestServeWebhook(t *testing.T) {
	w := mustServe(t, everySink).Sinks[3].Webhook
	if w.URL != "https://h/hook" || !w.Binary || w.Timeout != 500*time.Millisecond || w.MaxRetries != 3 {
		t.Errorf("%+v", w)
	}
	header, err := w.Headers(t.Context())
	if err != nil || header.Get("X-Key") != "SECRET" {
		t.Errorf("headers %v, %v", header, err)
	}
	secret, err := w.Secret(t.Context())
	if err != nil || string(secret) != "SECRET" {
		t.Errorf("secret %q, %v", secret, err)
	}
	w = mustServe(t, "sinks: {hook: {webhook: {url: http://h, max_retries: 0}}}").Sinks[0].Webhook
	if w.Headers != nil || w.Secret != nil || w.MaxRetries >= 0 || w.Timeout != 10*time.Second || w.Binary {
		t.Errorf("%+v", w)
	}
	if w.Batch != 1 || w.MaxInFlight != 1 || w.BatchBytes != 1<<20 || w.BatchWait != 100*time.Millisecond || w.RetryOn != nil || w.DropOn != nil {
		t.Errorf("%+v", w)
	}
	w = mustServe(t, "sinks: {hook: {webhook: {url: http://h, batch: 100, batch_bytes: 2MiB, batch_wait_msec: 0, max_in_flight: 4, retry_on: 404, drop_on: [5xx]}}}").Sinks[0].Webhook
	if w.Batch != 100 || w.MaxInFlight != 4 || w.BatchBytes != 2<<20 || w.BatchWait != 0 || !slices.Equal(w.RetryOn, []router.StatusRange{{First: 404, Last: 404}}) ||
		!slices.Equal(w.DropOn, []router.StatusRange{{First: 500, Last: 599}}) {
		t.Errorf("%+v", w)
	}
	w = mustServe(t, "sinks: {hook: {webhook: {url: http://h, headers: {A: {file: none}}, secret: {file: none}}}}").Sinks[0].Webhook
	if w.MaxRetries != 0 { // no limit
		t.Errorf("retries %d", w.MaxRetries)
	}
	var read *exit.Error
	if _, err := w.Headers(t.Context()); !errors.As(err, &read) || !strings.HasPrefix(read.Message, "cannot read dir/none for ") {
		t.Errorf("error %v", err)
	}
	if _, err := w.Secret(t.Context()); !errors.As(err, &read) || !strings.HasPrefix(read.Message, "cannot read dir/none for ") {
		t.Errorf("error %v", err)
	}
}

// natsSink is a file with a sink.
func natsSink(text string) string { return "{nats: {urls: [nats://h]}, sinks: {a: " + text + "}}" }

// TestServeNATS reads the link to NATS; its fingerprint tells settings apart, and no secret.
func TestServeNATS(t *testing.T) {
	s := mustServe(t, "nats: {urls: ['nats://u:pw@h:4222', tls://i], token: {env: KEY}, inbox_prefix: _IN, tls: {ca_file: ca.pem}}")
	if want := []string{"nats://u:pw@h:4222", "tls://i"}; !slices.Equal(s.NATS.URLs, want) {
		t.Errorf("urls: %q, want %q", s.NATS.URLs, want)
	}
	if s.NATS.Token.Literal != "SECRET" || s.NATS.InboxPrefix != "_IN" || s.NATS.TLS.CA.Path != filepath.Join("dir", "ca.pem") {
		t.Errorf("%+v", s.NATS.Options)
	}
	if got, want := s.NATS.Addresses(), "nats://h:4222, tls://i"; got != want {
		t.Errorf("addresses: %q, want %q", got, want)
	}
	bus := mustServe(t, "nats: {urls: nats://h}\nsinks: {a: {nats: {}}, b: {nats: {stream: S, subject: type, window: 5, create: true, mode: binary}, format: cloudevents}, c: {nats: {batch: lines}}}").Sinks
	for i, want := range []NATSSink{{Window: 256}, {Stream: "S", ByType: true, Window: 5, Create: true, Binary: true}, {Window: 256, Lines: true}} {
		if *bus[i].NATS != want {
			t.Errorf("the sink %s: %+v, want %+v", bus[i].Name, *bus[i].NATS, want)
		}
	}
	if got := mustServe(t, "nats: {urls: nats://h}\nsources: {a: {nats: {}}, b: {nats: {subject: x}}}").Sources; !slices.Equal(got, []string{"phx.push", "x"}) {
		t.Errorf("sources: %q", got)
	}
	if mustServe(t, "{}").NATS != nil {
		t.Error("there is a link to NATS that nobody has configured")
	}
	prints := map[string]string{}
	for _, text := range []string{
		"{urls: nats://h}", "{urls: nats://i}", "{urls: nats://h, token: a}", "{urls: nats://h, nkey: a}", "{urls: nats://h, creds: a}",
		"{urls: nats://h, user: a, password: a}", "{urls: nats://h, user: a, password: b}", "{urls: nats://h, inbox_prefix: a}", "{urls: nats://h, tls: {cert_file: a}}",
	} {
		print := mustServe(t, "nats: "+text).NATS.Fingerprint
		if other, twice := prints[print]; twice {
			t.Errorf("these are equal:\n%s\n%s", text, other)
		}
		prints[print] = text
	}
}

// A spool is beside the others of state_dir, unless it says where it is.
func TestSpool(t *testing.T) {
	s := mustServe(t, "{state_dir: state, sinks: {a: {webhook: {url: http://h}, spool: {}}, b: {webhook: {url: http://h}, spool: {dir: own, max_bytes: 5MiB, sync: never}}, c: {webhook: {url: http://h}}}}")
	a, b := s.Sinks[0].Spool, s.Sinks[1].Spool
	if a.Path("a") != "dir/state/a.spool" || a.MaxBytes != 1<<30 || a.Sync != router.SyncBatch {
		t.Errorf("%+v", a)
	}
	if b.Path("b") != "dir/own/b.spool" || b.MaxBytes != 5<<20 || b.Sync != router.SyncNever {
		t.Errorf("%+v", b)
	}
	if s.Sinks[2].Spool != nil {
		t.Error("a sink without a spool has one")
	}
}

func TestServeErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"nats: {urls: [http://u:SECRET@h]}", "1:15: the URL has another scheme than nats, tls, ws or wss"},
		{"nats: {}", "1:7: nats has no urls"},
		{"sources: {a: {nats: {}}}", "1:11: the source a needs nats, which says where the servers are"},
		{"nats: {urls: nats://h}\nsources: {a: {}}", "2:11: the source a is of no kind: it needs nats"},
		{"nats: {urls: nats://h}\nsources: {a b: {nats: {}}}", `2:11: "a b" cannot be the name of a source: it is made of letters, digits, - and _`},
		{"nats: {urls: nats://h}\nsources: {a: {nats: {}}, b: {nats: {subject: phx.push}}}", "2:26: the source b has the subject of another one, phx.push"},
		{"nats: {urls: nats://h}\nsources: {a: {nats: {subject: 'phx.*'}}}", `2:31: nats.subject "phx.*" is not the beginning of a subject: letters, digits, - and _, divided by dots`},
		{"sinks: {a: {nats: {}}}", "1:9: the sink a needs nats, which says where the servers are"},
		{natsSink("{nats: {stream: a.b}}"), `1:55: nats.stream "a.b" is not the name of a stream: letters, digits, - and _`},
		{natsSink("{nats: {window: 0}}"), `1:55: nats.window "0" is not a number from 1 to 4096`},
		{natsSink("{nats: {window: 4097}}"), `1:55: nats.window "4097" is not a number from 1 to 4096`},
		{natsSink("{nats: {subject: topic}}"), `1:56: nats.subject "topic" is none of bus, type`},
		{natsSink("{nats: {}, format: payload}"), "1:58: a message in a stream needs the id of its signal, which the format payload has not"},
		{natsSink("{nats: {mode: binary}}"), "1:53: the mode binary is one of CloudEvents, and the sink a has the format signal"},
		{natsSink("{nats: {subject: type, batch: lines}}"), "1:56: a message of many lines has signals of several types"},
		{natsSink("{nats: {mode: binary, batch: lines}, format: cloudevents}"), "1:53: a message of many lines has no attributes of its own"},
		{"nats: {urls: nats://h, creds: {env: KEY}, token: SECRET}", "1:50: nats has creds and token, and can show one of them only"},
		{"nats: {urls: nats://h, user: a}", "1:7: nats has only one of user and password"},
		{"nats: {urls: nats://h, password: SECRET}", "1:34: nats has only one of user and password"},
		{"nats: {urls: nats://h, nkey: ''}", "1:30: the secret is empty"},
		{"nats: {urls: nats://h, inbox_prefix: a b}", `1:38: inbox_prefix "a b" is not the beginning of a subject: letters, digits, - and _, divided by dots`},
		{"nats: {urls: nats://h, tls: {key_file: SECRET}}", "1:40: tls has a key_file and no cert_file"},
		{"sinks: [a]", "1:8: this is not a map"},
		{"sinks: {a: b}", "1:12: this is not a map"},
		{"sinks: {a: {}}", "1:9: the sink a is of no kind: it needs one of file, exec, webhook, nats, stdout, discard"},
		{"sinks: {a: {format: signal}}", "1:9: the sink a is of no kind: it needs one of file, exec, webhook, nats, stdout, discard"},
		{"sinks: {a: {file: {path: x}, discard: {}}}", "1:30: the sink a is of two kinds, file and discard"},
		{"sinks: {a.b: {discard: {}}}", `1:9: "a.b" cannot be the name of a sink: it is made of letters, digits, - and _`},
		{"sinks: {a: {file: {}}}", "1:9: the sink a has no path"},
		{"sinks: {a: {file: x}}", "1:19: this is not a map"},
		{"sinks: {a: {file: {path: ''}}}", "1:26: this path is empty"},
		{"sinks: {a: {file: {path: x, mode: 1}}}", `1:29: the key "mode" is not known here`},
		{"sinks: {a: {exec: {}}}", "1:9: the sink a has no command"},
		{"sinks: {a: {exec: {command: cat}}}", "1:29: this is not a list"},
		{"sinks: {a: {exec: {command: []}}}", "1:29: there is no program in this list"},
		{"sinks: {a: {exec: {command: ['']}}}", "1:29: there is no program in this list"},
		{"sinks: {a: {webhook: {}}}", "1:9: the sink a has no url"},
		{"sinks: {a: {webhook: {url: 'ws://SECRET'}}}", "1:28: the value of webhook.url has another scheme than http or https"},
		{"sinks: {a: {webhook: {url: '${KEY}'}}}", "1:28: the value of webhook.url has another scheme than http or https"},
		{"sinks: {a: {webhook: {url: 'https://'}}}", "1:28: the value of webhook.url has no host"},
		{"sinks: {a: {webhook: {url: 'https://h', mode: batch}}}", `1:47: webhook.mode "batch" is none of structured, binary`},
		{"sinks: {a: {webhook: {url: 'https://h', max_retries: -2}}}", `1:54: webhook.max_retries "-2" is not a number of retries: -1 or more`},
		{"sinks: {a: {discard: {}, queue: 67108864}}", `1:33: queue "67108864" is more signals than memory can hold; a size has a unit: 64MiB`},
		{"sinks: {a: {webhook: {url: 'https://h', timeout_msec: 0}}}", `1:55: "0" is not a positive duration`},
		{"sinks: {a: {webhook: {url: 'https://h', headers: {Content-Type: SECRET}}}}", "1:51: the header Content-Type belongs to the request itself"},
		{"sinks: {a: {webhook: {url: 'https://h', headers: {ce-id: SECRET}}}}", "1:51: the header ce-id belongs to the request itself"},
		{"sinks: {a: {webhook: {url: 'https://h'}, spool: {}}}", "1:9: the spool of the sink a has no dir, and there is no state_dir"},
		{"sinks: {a: {file: {path: x}, spool: {dir: y}}}", "1:30: a sink of the kind file has no spool: only webhook and nats tell what was delivered"},
		{"sinks: {a: {webhook: {url: 'https://h'}, spool: {dir: x, sync: 2s}}}", `1:64: spool.sync "2s" is none of batch, 1s, never`},
		{"sinks: {a: {webhook: {url: 'https://h', batch: 0}}}", `1:48: webhook.batch "0" is not a number of at least 1`},
		{"sinks: {a: {webhook: {url: 'https://h', batch: 2, mode: binary}}}", "1:48: a batch of CloudEvents is one body, so it has no mode binary"},
		{"sinks: {a: {webhook: {url: 'https://h', retry_on: [404, 410]}}}", `1:57: "410" cannot be chosen: 410 stops the webhook until a reload`},
		{"sinks: {a: {webhook: {url: 'https://h', drop_on: 2xx}}}", `1:50: "2xx" is not the HTTP status of a failure: 300 to 599, 3xx, 4xx or 5xx`},
		{"sinks: {a: {webhook: {url: 'https://h', retry_on: [4xx, 404], drop_on: [404]}}}", "1:72: a status of drop_on is in retry_on, too: 404"},
		{"sinks: {a: {webhook: {url: 'https://h', secret: ''}}}", "1:49: the secret is empty"},
		{"sinks: {a: {webhook: {url: 'https://h', secret: whsec_SECR!T}}}", "1:49: what follows whsec_ is not base64"},
		{"sinks: {a: {webhook: {url: 'https://h', secret: {env: NONE}}}}", "1:55: the variable NONE is not set, or empty"},
		{"sinks: {a: {webhook: {url: 'https://h'}, format: jido}}", "1:50: a webhook is sent CloudEvents, and no other format"},
		{"sinks: {a: {discard: {}, format: xml}}", `1:34: format "xml" is none of signal, cloudevents, jido, payload`},
		{"sinks: {a: {discard: {x: 1}}}", `1:23: the key "x" is not known here: there is nothing to set`},
		{"sinks: {a: {discard: true}}", "1:22: this is not a map"},
		{"sinks: {a: {discard: {}, queue: 0}}", `1:33: queue "0" is neither a number of signals nor a size with KiB, MiB or GiB`},
		{"sinks: {a: {discard: {}, queue: many}}", `1:33: queue "many" is neither a number of signals nor a size with KiB, MiB or GiB`},
		{"sinks: {a: {discard: {}, when_full: block}}", `1:37: when_full "block" is not for sinks: a slow one would hold up all the others, and the connections; a full one can only lose signals, and tells which`},
		{"sinks: {a: {discard: {}, when_full: fail}}", `1:37: when_full "fail" is not for sinks: a slow one would end all the others; a full one can only lose signals, and tells which`},
		{"sinks: {a: {discard: {}, when_full: later}}", `1:37: when_full "later" is none of drop-oldest, drop-newest`},
		{"sinks: {a: {discard: {}, on_loss: b}}", `1:35: there is no sink "b"`},
		{"sinks: {a: {discard: {}, on_loss: a}}", "1:35: the sink a would have to tell itself what it loses"},
		{"sinks: {a: {discard: {}, on_loss: ''}}", `1:35: on_loss "" is not the name of a sink`},
		{"sinks: {a: {discard: {}, on_loss: [b]}}", "1:35: this is a map or a list, and should be one value"},
		{"sinks: {a: {discard: {}, on_loss: stdout}, out: {stdout: {}}}", "1:35: stdout is the sink out already"},
		{"sinks: {a: {discard: {}, on_loss: b}, b: {discard: {}, format: payload}}", "1:35: the sink b has the format payload, which has no announcements of losses"},
		{"sinks: {stdout: {discard: {}}}", "1:9: the sink stdout is of the kind discard, and its name stands for another"},
		{"sinks: {discard: {file: {path: x}}}", "1:9: the sink discard is of the kind file, and its name stands for another"},
		{"sinks:\n  a: {stdout: {}}\n  b: {stdout: {}}", "3:3: the sink b writes to stdout, as a does"},
		{"sinks:\n  a: {file: {path: x}}\n  b: {file: {path: ./y/../x}}", "3:3: the sink b writes to the same file as a"},
		{"sinks: {a: {stdout: {}}}\nroutes: [{to: stdout}]", "2:15: stdout is the sink a already"},
		{"routes: {}", "1:9: this is not a list"},
		{"routes: [a]", "1:10: this is not a map"},
		{"routes: [{}]", "1:10: the route leads nowhere"},
		{"routes: [{to: []}]", "1:15: there is nothing in this list"},
		{"routes: [{to: ['']}]", "1:16: this text is empty"},
		{"routes: [{to: {a: b}}]", "1:15: this is a map or a list, and should be one value"},
		{"routes: [{to: [stdout, nope]}]", `1:24: there is no sink "nope"`},
		{"routes: [{to: stdout, from: a}]", `1:23: the key "from" is not known here`},
		{"routes: [{to: stdout, match: a, subscribe: b}]", "1:44: a route has match or subscribe, not both"},
		{"routes: [{to: stdout, match: a..b}]", `1:30: match "a..b" cannot be used: segment 2 of the pattern "a..b" is empty: one dot stands between two segments, and none at the ends`},
		{"routes: [{to: stdout, topic: []}]", "1:30: there is nothing in this list"},
		{"routes: [{to: stdout, topic: ['a\\']}]", `1:31: a glob must not end in a single backslash: write \\ for the character`},
		{"routes: [{to: stdout, where: (}]", "1:30: the expression does not compile: ("},
		{"routes: [{to: stdout, where: ''}]", "1:30: the expression is empty"},
		{"control: {path: x}", `1:11: the key "path" is not known here`},
		{"control: {socket: ''}", "1:19: this path is empty"},
		{"http: {listen: here}", `1:16: listen "here" is not HOST:PORT`},
		{"http: {listen: 'here:70000'}", `1:16: listen "here:70000" has a port that is not a number up to 65535`},
		{"http: 9464", "1:7: this is not a map"},
		{"defaults: {vsn: 3}", `1:17: vsn "3" is none of 2.0.0, 1.0.0`},
		{"sinks: {a: {file: {path: '${NONE}'}}}", "1:26: the variable NONE is not set"},
	}
	for _, tt := range tests {
		_, err := serveOf(tt.text)
		var e *exit.Error
		if !errors.As(err, &e) || e.Error() != "dir/phx.yaml:"+tt.want || e.Hint == "" || len(strings.Split(err.Error(), "\n")) > 1 {
			t.Errorf("%q:\n got %v\nwant dir/phx.yaml:%s", tt.text, err, tt.want)
			continue
		}
		if strings.Contains(e.Error()+e.Hint, "SECRET") {
			t.Errorf("%q: the error holds a secret: %v", tt.text, err)
		}
	}
}

// TestServeErrorsTogether: all that is wrong is reported at once, in the order of the file.
func TestServeErrorsTogether(t *testing.T) {
	_, err := serveOf("http: {listen: x}\nroutes:\n  - {to: [a, nope], match: ''}\n  - {where: (}\nsinks: {b: {}, a: {file: {}}}\ndefaults: {vsn: x, jitter: 1}\n")
	want := `dir/phx.yaml:1:16: listen "x" is not HOST:PORT
dir/phx.yaml:3:14: there is no sink "nope"
dir/phx.yaml:3:28: match "" cannot be used: a pattern must not be empty: ** matches everything
dir/phx.yaml:4:5: the route leads nowhere
dir/phx.yaml:4:13: the expression does not compile: (
dir/phx.yaml:5:9: the sink b is of no kind: it needs one of file, exec, webhook, nats, stdout, discard
dir/phx.yaml:5:16: the sink a has no path
dir/phx.yaml:6:17: vsn "x" is none of 2.0.0, 1.0.0
dir/phx.yaml:6:28: "1" is neither true nor false`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// TestServeOnLoss: a sink that another one is told of is used, a built-in one, too; a cycle is named
// where it can be cut.
func TestServeOnLoss(t *testing.T) {
	s := mustServe(t, "sinks: {a: {discard: {}, on_loss: b}, b: {discard: {}, on_loss: stdout}}\nroutes: [{to: a}]")
	if len(s.Warnings) > 0 || len(s.Sinks) != 3 || s.Sinks[2].Name != "stdout" || !s.Sinks[2].Stdout {
		t.Errorf("warnings %q, sinks %+v", s.Warnings, s.Sinks)
	}
	_, err := serveOf("sinks: {a: {discard: {}, on_loss: b}, b: {discard: {}, on_loss: c}, c: {discard: {}, on_loss: b}}\nroutes: [{to: a}]")
	want := "dir/phx.yaml:1:65: the losses of the sink b come back to it: b, c, b\n" +
		"dir/phx.yaml:1:95: the losses of the sink c come back to it: c, b, c"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// TestWhereWithVariables: what stands for a variable is not in the error about the expression.
func TestWhereWithVariables(t *testing.T) {
	f, err := ParseFile("phx.yaml", []byte("routes: [{to: stdout, where: '${KEY}'}]"), environment(map[string]string{"KEY": "SECRET"}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Serve(func(expr string) (Where, error) { return nil, errors.New("wrong: " + expr) })
	if want := "phx.yaml:1:30: the expression of where does not compile once its variables are filled in"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestPatternWarnings(t *testing.T) {
	const a = "connections: {a: {uri: ws://h}}\nroutes: [{to: stdout, "
	tests := []struct{ text, want string }{
		{a + "match: '**'}]", ""},
		{a + "match: phoenix.a.**}]", ""},
		{a + "match: phoenix.connection.*}]", ""},
		{a + "match: '*.*.room.*'}]", ""},
		{a + "match: '**.nobody.x'}]", ""},
		{a + "match: a.**}]", "phx.yaml:2:30: the pattern matches nothing: every signal has phoenix in place of a"},
		{a + "match: phoenix.b.**}]", "phx.yaml:2:30: no connection of this file is called b: there are a"},
		{a + "subscribe: jido.protocol.phoenix.a}]", ""},
		{a + "subscribe: jido.protocol.*.b.**}]", "phx.yaml:2:34: no connection of this file is called b: there are a"},
		{a + "subscribe: jido.phoenix.**}]", "phx.yaml:2:34: the pattern matches nothing: every signal has protocol in place of phoenix"},
		// Without connections, all come by the control API.
		{"routes: [{to: stdout, match: phoenix.b.**}]", ""},
	}
	for _, tt := range tests {
		f, err := ParseFile("phx.yaml", []byte(tt.text), environment(nil))
		if err != nil {
			t.Fatal(err)
		}
		s, err := f.Serve(compileAny)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.Warnings, "\n"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.text, got, tt.want)
		}
	}
}

// positioned fails if one of the errors joined in err says not where it is.
func positioned(t *testing.T, data []byte, err error) {
	t.Helper()
	var all option.Problems
	all.Add(err)
	for _, one := range all.Found {
		var e *exit.Error
		if !errors.As(one, &e) || e.Line < 1 || !strings.HasPrefix(e.Message, "phx.yaml:") || e.Message == "" || e.Hint == "" {
			t.Fatalf("%q: %#v", data, one)
		}
	}
}

// FuzzServe reads whatever as a config for a server. What is wrong is said with its place; what is right can be shown, and is right
// again then; and an entry can be sent.
func FuzzServe(f *testing.F) {
	for _, seed := range []string{rightConnections, rightServe, secretFile, everySink, rawFile, "{}", `{"sinks":{"a":{"stdout":null}}}`,
		"a: &a {to: *a}\nroutes: [*a]", "sinks: &s {a: *s}", "connections: &c {a: *c}", "routes: [{to: [&x stdout, *x]}]"} {
		f.Add([]byte(seed))
	}
	vars := environment(map[string]string{"KEY": "value", "SECRET": "x"})
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile("phx.yaml", data, vars)
		if err != nil {
			positioned(t, data, err)
			return
		}
		var wrong option.Problems
		_, err = file.Serve(compileAny)
		wrong.Add(err)
		for _, e := range file.Entries {
			_, err := e.Resolve(nil)
			wrong.Add(err)
			raw, rawErr := e.Raw()
			positioned(t, data, rawErr)
			if rawErr == nil && !json.Valid(raw) {
				t.Fatalf("%q: %s is not JSON", data, raw)
			}
			if err == nil && rawErr == nil {
				sameEntry(t, data, e, raw)
			}
		}
		positioned(t, data, wrong.Err())
		shown, err := file.Show("", compileAny)
		if (err == nil) != (wrong.Err() == nil) {
			t.Fatalf("%q: %v, but shown: %v", data, wrong.Err(), err)
		}
		if err != nil {
			positioned(t, data, err)
			return
		}
		text, err := strictyaml.FromJSON(shown)
		if err != nil {
			t.Fatalf("%q: %s: %v", data, shown, err)
		}
		if _, err := Validate("phx.yaml", text, vars, compileAny); err != nil {
			t.Fatalf("%q is shown as\n%s\nwhich is wrong: %v", data, text, err)
		}
	})
}

// sameEntry sends an entry, which comes to the same.
func sameEntry(t *testing.T, data []byte, e *Entry, raw []byte) {
	t.Helper()
	sent, err := ParseEntry("phx.yaml", raw, environment(map[string]string{"KEY": "value", "SECRET": "x"}))
	if err != nil {
		t.Fatalf("%q is sent as %s: %v", data, raw, err)
	}
	want, err := fingerprint(e)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fingerprint(sent); err != nil || got != want {
		t.Fatalf("%q is sent as %s, which is another: %v", data, raw, err)
	}
}

// A number of signals is kept whatever their size, and what that may come to is told.
func TestQueueOfSignals(t *testing.T) {
	serve := mustServe(t, "sinks: {a: {discard: {}, queue: 300000}, b: {discard: {}, queue: 10000}, c: {discard: {}, queue: 1GiB}}\nroutes: [{to: [a, b, c]}]")
	if q := serve.Sinks[0].QueueBound; q.Records != 300_000 || q.Bytes < 1<<50 {
		t.Errorf("queue: 300000 is %+v", q)
	}
	if w := strings.Join(serve.Warnings, "\n"); strings.Count(w, "the queue of the sink") != 1 ||
		!strings.Contains(w, "the queue of the sink a holds 300000 signals, which needs about 292 MiB") {
		t.Errorf("the warnings are %s", w)
	}
}

// The key of a webhook may lack the padding, as in a file.
func TestSigningKeyWithoutPadding(t *testing.T) {
	for _, key := range []string{"whsec_c2VjcmV0IQ==", "whsec_c2VjcmV0IQ"} {
		w := mustServe(t, "sinks: {hook: {webhook: {url: http://h, secret: "+key+"}}}").Sinks[0].Webhook
		if got, err := w.Secret(t.Context()); err != nil || string(got) != key {
			t.Errorf("the secret %s is %q, %v", key, got, err)
		}
	}
}
