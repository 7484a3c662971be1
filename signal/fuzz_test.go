package signal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"phx/phoenix"
	"phx/signal"
)

// A decodedLine is what a reader gets back from a line.
type decodedLine struct {
	Type    string
	Subject *string
	Data    struct {
		Payload json.RawMessage
		Bytes   *string `json:"payload_base64"`
		Event   string
	}
	Metadata struct {
		Topic   string  `json:"phoenix_topic"`
		Event   string  `json:"phoenix_event"`
		Ref     *string `json:"phoenix_ref"`
		JoinRef *string `json:"phoenix_join_ref"`
		Seq     uint64
	}
}

// FuzzAppend: whatever the server puts into a message or a reply, it is one line of valid JSON that gives back the raw names and
// the payload's bytes.
func FuzzAppend(f *testing.F) {
	f.Add("room:lobby", "new_msg", "1", "", []byte(`{"a":[1.0, "\n"]}`), false, false)
	f.Add("", "", "", "3", []byte("{\n\"a\"\r\n:\n[1,\n2]}\n"), false, true)
	f.Add("\xff\"\\", "\x00\u2028<", "\n", "\x7f", []byte("\x00\n\xff"), true, false)
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
	payloads := signal.NewEncoder(signal.FormatPayload, "backend")
	f.Fuzz(func(t *testing.T, topic, event, ref, joinRef string, payload []byte, binary, reply bool) {
		if !binary && !json.Valid(payload) {
			return // the decoder of frames lets none through
		}
		p := phoenix.Payload{Data: payload, Broken: bytes.ContainsAny(payload, "\n\r")}
		if binary {
			p = phoenix.Binary(payload)
		}
		ev := message(topic, event, p)
		ev.Ref, ev.JoinRef = ref, joinRef
		if reply {
			ev.Detail = &phoenix.PushReply{Status: event}
		}

		line := enc.Append(nil, &ev)
		checkOneLine(t, line)
		var got decodedLine
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		checkNames(t, &got, &ev)
		checkRef(t, "ref", got.Metadata.Ref, ref)
		checkRef(t, "join_ref", got.Metadata.JoinRef, joinRef)

		value := onOneLine(payload)
		member := `"payload":` + string(value)
		if binary {
			value = []byte(`"` + base64.StdEncoding.EncodeToString(payload) + `"`)
			member = `"payload_base64":` + string(value)
		} else if !bytes.Equal(compact(t, got.Data.Payload), compact(t, payload)) {
			t.Errorf("another payload: %q", line)
		}
		if !bytes.Contains(line, []byte(member)) {
			t.Errorf("payload is not as it came: %q", line)
		}

		line = payloads.Append(nil, &ev)
		checkOneLine(t, line)
		if string(line) != string(value)+"\n" {
			t.Errorf("as payload: %q, want %q", line, value)
		}
	})
}

// checkOneLine checks that line is one valid line of JSON.
func checkOneLine(t *testing.T, line []byte) {
	t.Helper()
	if !json.Valid(line) || bytes.IndexByte(line, '\n') != len(line)-1 || bytes.IndexByte(line, '\r') >= 0 {
		t.Fatalf("not one line of JSON: %q", line)
	}
}

func checkNames(t *testing.T, got *decodedLine, ev *phoenix.Event) {
	t.Helper()
	topic, event := asUnicode(ev.Topic), asUnicode(ev.Name)
	if got.Metadata.Topic != topic || got.Metadata.Event != event {
		t.Errorf("names %q, %q came back as %q, %q", ev.Topic, ev.Name, got.Metadata.Topic, got.Metadata.Event)
	}
	switch {
	case topic == "" && got.Subject != nil, topic != "" && (got.Subject == nil || *got.Subject != topic):
		t.Errorf("topic %q has subject %v", topic, got.Subject)
	}
	want := "phoenix.backend." + signal.Sanitize(ev.Topic) + "." + signal.Sanitize(ev.Name)
	segments := 4
	if _, ok := ev.Detail.(*phoenix.PushReply); ok {
		want, segments = "phoenix.push.reply", 3
		if got.Data.Event != event {
			t.Errorf("data.event of %q is %q", event, got.Data.Event)
		}
	}
	if got.Type != want || strings.Count(want, ".") != segments-1 || signal.Type("backend", ev) != want {
		t.Errorf("type %q, want %q of %d segments", got.Type, want, segments)
	}
}

func checkRef(t *testing.T, what string, got *string, ref string) {
	t.Helper()
	switch {
	case ref == "" && got == nil:
	case got == nil || *got != asUnicode(ref):
		t.Errorf("%s %q came back as %v", what, ref, got)
	}
}

// asUnicode returns s with U+FFFD for every byte that is not UTF-8.
func asUnicode(s string) string { return string([]rune(s)) }

func onOneLine(text []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\n"), nil), []byte("\r"), nil)
}

func compact(t *testing.T, text []byte) []byte {
	var buf bytes.Buffer
	if err := json.Compact(&buf, text); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
