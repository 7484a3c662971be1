package signal_test

import (
	"slices"
	"strings"
	"testing"

	"phx/phoenix"
	"phx/signal"
)

func TestParseFormat(t *testing.T) {
	for _, name := range signal.Formats() {
		f, err := signal.ParseFormat(name)
		if err != nil || f.String() != name {
			t.Errorf("ParseFormat(%q) = %v, %v", name, f, err)
		}
	}
	if !slices.Contains(signal.Formats(), "payload") || signal.Formats()[0] != signal.FormatSignal.String() {
		t.Errorf("Formats() = %v", signal.Formats())
	}
	for _, name := range []string{"", "Signal", "yaml", "signal "} {
		_, err := signal.ParseFormat(name)
		if err == nil || !strings.Contains(err.Error(), "signal, cloudevents, jido, payload") {
			t.Errorf("ParseFormat(%q): %v", name, err)
		}
	}
	if got := signal.Format(200).String(); got != "Format(200)" {
		t.Errorf("String of no format: %q", got)
	}
}

func TestFormatsIsACopy(t *testing.T) {
	signal.Formats()[0] = "spoilt"
	if signal.Formats()[0] != "signal" {
		t.Error("the caller can change the names of formats")
	}
}

func TestFormatPayload(t *testing.T) {
	broken := message("t", "e", phoenix.JSON("\n{ \"a\":\r\n1.0}"))
	broken.Payload.Broken = true
	prints := map[string]struct {
		ev   phoenix.Event
		want string
	}{
		"message":            {message("t", "e", phoenix.JSON(`{"b":1.0, "b":"<\u0041>"}`)), `{"b":1.0, "b":"<\u0041>"}` + "\n"},
		"line breaks":        {broken, `{ "a":1.0}` + "\n"},
		"binary":             {message("t", "e", phoenix.Binary([]byte{0xfb, 0xff, 0})), `"+/8A"` + "\n"},
		"empty binary":       {message("t", "e", phoenix.Binary(nil)), `""` + "\n"},
		"no payload":         {message("t", "e", phoenix.Payload{}), ""},
		"reply":              {onPush(&phoenix.PushReply{Status: "error"}, phoenix.JSON(`null`)), "null\n"},
		"joined":             {answered(&phoenix.Joined{}, phoenix.JSON(`{"id":1}`)), `{"id":1}` + "\n"},
		"join error":         {answered(&phoenix.JoinError{}, phoenix.JSON(`{"reason":"no"}`)), `{"reason":"no"}` + "\n"},
		"join timeout":       {onChannel(&phoenix.JoinError{}), ""},
		"errored channel":    {answered(&phoenix.Errored{}, phoenix.JSON(`{"reason":"crash"}`)), ""},
		"connected":          {of(&phoenix.Connected{}), ""},
		"push without reply": {onPush(&phoenix.PushTimeout{}, phoenix.Payload{}), ""},
		"unknown":            {of(nil), ""},
	}
	enc := signal.NewEncoder(signal.FormatPayload, "backend")
	for name, tt := range prints {
		if got := string(enc.Append([]byte("before"), &tt.ev)); got != "before"+tt.want {
			t.Errorf("%s: got %q, want %q after before", name, got, tt.want)
		}
	}
	if got := string(enc.AppendDropped([]byte("before"), signal.Dropped{Count: 1}, at)); got != "before" {
		t.Errorf("dropped: got %q", got)
	}
}
