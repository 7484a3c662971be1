package config

import (
	"context"
	"errors"
	"testing"
)

// compileAny takes any expression but "(".
func compileAny(expr string) (Where, error) {
	if expr == "(" {
		return nil, errors.New("unexpected end")
	}
	return func(context.Context, []byte) (bool, error) { return true, nil }, nil
}

func TestServeEveryKey(t *testing.T) {
	f, err := ParseFile("dir/phx.yaml", []byte(everyServeKey), environment(map[string]string{"KEY": "SECRET"}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Serve(compileAny)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", s)
	for _, e := range f.Entries {
		c, err := e.Resolve(nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := e.Raw()
		t.Logf("%+v %s %v", c, raw, err)
	}
}

const everyServeKey = `
defaults: {heartbeat_interval_msec: 30000}
connections:
  backend_service:
    name: phoenix_backend
    uri: ${PHOENIX_BACKEND_URL:-ws://localhost:4000/socket/websocket}
    headers: {X-API-Key: "${KEY}"}
    params: {token: {file: token}, user_id: "123"}
sinks:
  audit:   {file: {path: signals.ndjson}}
  handler: {exec: {command: [./handle.sh], dir: work}, queue: 64MiB, when_full: drop-newest}
  hook:    {webhook: {url: https://example.com/hook, mode: binary, headers: {X-Key: {env: KEY}}, secret: "${KEY}", timeout_msec: 500, max_retries: 0}, format: cloudevents}
routes:
  - match: "phoenix.phoenix_backend.**"
    topic: "room:*"
    event: [created, "refund_*"]
    where: .data.payload.total > 100
    to: [stdout, audit, hook]
control: {socket: control.sock}
http: {listen: 127.0.0.1:9464}
`
