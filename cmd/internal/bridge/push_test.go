package bridge_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/control"
)

// Each push ends with the answer that it got.
func TestPush(t *testing.T) {
	for what, c := range map[string]struct {
		push   control.Push
		status int
		typ    string
		says   string
	}{
		"a reply": {echo("room:a"), http.StatusOK, "phoenix.push.reply", `"payload":{"n":1}`},
		"an error reply": {
			control.Push{Topic: "room:a", Event: "fail", Payload: json.RawMessage(`{}`)}, http.StatusOK, "phoenix.push.reply", `"status":"error"`,
		},
		"binary": {
			control.Push{Topic: "room:a", Event: "echo", Binary: []byte{1, 2, 3}}, http.StatusOK, "phoenix.push.reply", `"AQID"`,
		},
		"no binary at all": {
			control.Push{Topic: "room:a", Event: "echo", Binary: []byte{}}, http.StatusOK, "phoenix.push.reply", `base64":""`,
		},
		"a timeout": {
			control.Push{Topic: "room:a", Event: "silent", Payload: json.RawMessage(`{}`), Timeout: time.Millisecond},
			http.StatusGatewayTimeout, "phoenix.push.timeout", "",
		},
		"a crash": {
			control.Push{Topic: "room:a", Event: "crash", Payload: json.RawMessage(`{}`)}, http.StatusBadGateway, "phoenix.push.error", "",
		},
		"no channel": {
			echo("room:b"), http.StatusBadGateway, "phoenix.push.error", "not_joined",
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := joined(t)
			a, err := s.Push(t.Context(), "a", c.push)
			must(t, err)
			if got := signalOf(t, a.Line); a.HTTPStatus != c.status || got.Type != c.typ || !strings.Contains(string(a.Line), c.says) {
				t.Errorf("status %d, %s", a.HTTPStatus, a.Line)
			}
		})
	}
}

// Who wants no reply is told the ref of the push, which its reply will have.
func TestPushWithoutReply(t *testing.T) {
	s := joined(t)
	signals := s.subscribe(control.SubscribeRequest{Match: "phoenix.push.reply"})
	p := echo("room:a")
	p.NoReply = true
	a, err := s.Push(t.Context(), "a", p)
	must(t, err)
	var answer struct{ Ref string }
	must(t, json.Unmarshal(a.Line, &answer))
	if reply := signals.find("phoenix.push.reply"); a.HTTPStatus != http.StatusAccepted || answer.Ref == "" || reply.Metadata.Ref != answer.Ref {
		t.Errorf("status %d, %s; the reply is %+v", a.HTTPStatus, a.Line, reply)
	}
}

func TestPushWithoutReplyToNoChannel(t *testing.T) {
	s := joined(t)
	p := echo("room:b")
	p.NoReply = true
	a, err := s.Push(t.Context(), "a", p)
	must(t, err)
	if got := signalOf(t, a.Line); a.HTTPStatus != http.StatusBadGateway || got.Type != "phoenix.push.error" {
		t.Errorf("status %d, %s", a.HTTPStatus, a.Line)
	}
}

// What no server could take is the caller's mistake, and not ours.
func TestCallsThatAreWrong(t *testing.T) {
	for what, c := range map[string]struct {
		call func(s *stage) error
		says string
	}{
		"the protocol's event": {func(s *stage) error {
			_, err := s.Push(s.t.Context(), "a", control.Push{Topic: "room:a", Event: "phx_leave", Payload: json.RawMessage(`{}`)})
			return err
		}, "phx_leave"},
		"the protocol's event without reply": {func(s *stage) error {
			_, err := s.Push(s.t.Context(), "a", control.Push{Topic: "room:a", Event: "phx_leave", Payload: json.RawMessage(`{}`), NoReply: true})
			return err
		}, "phx_leave"},
		"binary by vsn 1.0.0": {func(s *stage) error {
			_, err := s.Push(s.t.Context(), "old", control.Push{Topic: "room:a", Event: "echo", Binary: []byte{1}})
			return err
		}, "vsn 1.0.0"},
		"the socket's topic": {func(s *stage) error { _, err := s.Join(s.t.Context(), "a", "phoenix", nil); return err }, `"phoenix"`},
	} {
		t.Run(what, func(t *testing.T) {
			s := started(t, `connections: {a: {uri: "${URI}"}, old: {uri: "${URI}", vsn: 1.0.0}}`)
			wantError(t, c.call(s), http.StatusBadRequest, 2, c.says)
		})
	}
}

// A caller who does not wait long enough is told so.
func TestPushGivenUp(t *testing.T) {
	s := joined(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := s.Push(ctx, "a", control.Push{Topic: "room:a", Event: "silent", Payload: json.RawMessage(`{}`)})
	wantError(t, err, http.StatusGatewayTimeout, 28, "not finished in time")
}

// What a caller gets is the signal that everybody gets: the same id, the same number.
func TestAnswersAreTheRoutedSignals(t *testing.T) {
	for typ, call := range map[string]func(s *stage) (control.Answer, error){
		"phoenix.channel.joined":     func(s *stage) (control.Answer, error) { return s.Join(s.t.Context(), "a", "room:b", nil) },
		"phoenix.channel.join_error": func(s *stage) (control.Answer, error) { return s.Join(s.t.Context(), "a", "room:private", nil) },
		"phoenix.channel.left":       func(s *stage) (control.Answer, error) { return s.Leave(s.t.Context(), "a", "room:a") },
		"phoenix.push.reply":         func(s *stage) (control.Answer, error) { return s.Push(s.t.Context(), "a", echo("room:a")) },
		"phoenix.push.error":         func(s *stage) (control.Answer, error) { return s.Push(s.t.Context(), "a", echo("room:b")) },
	} {
		t.Run(typ, func(t *testing.T) {
			s := joined(t)
			signals := s.subscribe(control.SubscribeRequest{})
			a, err := call(s)
			must(t, err)
			answer := signalOf(t, a.Line)
			seen := signals.until(func(sig said) bool { return sig.Metadata.Seq == answer.Metadata.Seq })
			if routed := seen[len(seen)-1]; answer.ID == "" || routed.ID != answer.ID || answer.Type != typ {
				t.Errorf("the answer is %s %v, the signal %s %v", answer.ID, answer, routed.ID, routed)
			}
		})
	}
}
