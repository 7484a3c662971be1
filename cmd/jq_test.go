package cmd

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/jq"
	"phx/phoenix"
	"phx/signal"
)

// documentEvents are events whose lines differ in what is known of them.
func documentEvents() []phoenix.Event {
	at := time.Date(2026, 2, 7, 12, 0, 6, 123456000, time.UTC)
	message := func(payload phoenix.Payload) phoenix.Event {
		return phoenix.Event{Time: at, Seq: 6, Session: 1, Topic: "room:\"é\"", Name: "new_msg", Ref: "3", JoinRef: "1", Payload: payload, Detail: &phoenix.Message{}}
	}
	broken := phoenix.JSON("{\n\"body\":\r\n\"hi\"}")
	broken.Broken = true
	return []phoenix.Event{
		message(phoenix.JSON(`{"body":"hello","n":123,"n":1.0,"data":{"payload":2},"metadata":null}`)),
		message(phoenix.JSON(`{"data":1,"data":{"b":"x\u00e9"},"payload":[],"payload":"last"}`)),
		message(phoenix.JSON(`[1,{"phoenix_event":"kept"}]`)), message(phoenix.JSON(`null`)), message(phoenix.JSON(`"text"`)),
		message(phoenix.Payload{Data: []byte{0, 255}, Binary: true}), message(phoenix.Payload{}), message(broken),
		{Time: at, Seq: 1, Session: 1, Topic: "t", Name: "e", Payload: phoenix.JSON(`{"payload":{"n":1},"payload":{"n":2}}`), Detail: &phoenix.PushReply{Status: "ok"}},
		{Time: at, Seq: 2, Session: 1, Topic: "t", Payload: phoenix.JSON(`{"a":1,"a":2}`), Detail: &phoenix.Joined{}},
		{Time: at, Seq: 3, Detail: &phoenix.Disconnected{Reason: phoenix.ReasonEOF, Text: "text"}},
		{Time: at, Seq: 4, Detail: &phoenix.Heartbeat{RTT: time.Millisecond}},
	}
}

// TestDocument: what is known of a line changes no result.
func TestDocument(t *testing.T) {
	expressions := []string{
		".", ".data", ".data.payload", ".data.payload.n", ".data.payload.data.payload", ".data.payload[1].phoenix_event", ".data.payload.data.b", ".data.response.a",
		".data.payload_base64", ".data.status", ".data.missing", ".metadata", ".metadata.phoenix_event", ".metadata.seq", ".metadata.missing", ".subject", ".type", ".missing",
		".extensions.metadata.phoenix_event", ".phxevent", ".data[0]?", ".[0]?", ".data | .payload", ".data.payload | .data?", `.metadata.phoenix_event == "new_msg"`,
		"[.data, .metadata.seq]", "{data, seq: .metadata.seq}", `"\(.data.payload) \(.subject)"`, "keys", ".data | keys", ".data.payload.n.n",
	}
	for _, format := range []signal.Format{signal.FormatSignal, signal.FormatJido, signal.FormatCloudEvents} {
		encoder := signal.NewEncoder(format, "default")
		for i, ev := range documentEvents() {
			line := bytes.TrimSuffix(encoder.Append(nil, &ev), lineBreak)
			var r record
			if !r.set(encoder, &ev) {
				t.Errorf("%v, event %d: %s is no signal", format, i, line)
			}
			for _, expr := range expressions {
				f, err := jq.Compile(expr, jq.Options{})
				if err != nil {
					t.Fatal(err)
				}
				r.set(encoder, &ev)
				known := jq.Document{Source: &r}
				got, want := results(t, f, known), results(t, f, jq.Document{Text: line})
				if got != want {
					t.Errorf("%v, event %d, %s on %s: %s; want %s", format, i, expr, line, got, want)
				}
				r.set(encoder, &ev)
				_, atOnce := f.Plain(nil, known)
				if _, want := f.Plain(nil, jq.Document{Text: line}); atOnce != want {
					t.Errorf("%v, event %d, %s on %s: known at once: %t; want %t", format, i, expr, line, atOnce, want)
				}
			}
		}
	}
}

// results returns the results on a document, and the error.
func results(t *testing.T, f *jq.Filter, d jq.Document) string {
	t.Helper()
	var lines strings.Builder
	err := f.Run(t.Context(), d, func(result []byte) error { lines.Write(append(result, '\n')); return nil })
	if err != nil {
		lines.WriteString(err.Error())
	}
	return lines.String()
}

// BenchmarkRender has what of an event is printed, without printing it.
func BenchmarkRender(b *testing.B) {
	ev := &phoenix.Event{
		Time: time.Date(2026, 2, 7, 12, 0, 6, 123456000, time.UTC), Seq: 6, Session: 1,
		Topic: "room:lobby", Name: "new_msg", Payload: phoenix.JSON(`{"body":"hello, world, how are you today","n":123}`), Detail: &phoenix.Message{},
	}
	for _, expr := range []string{
		"", ".data.payload.body", `.metadata.phoenix_event == "kept"`, `select(.metadata.phoenix_event == "kept")`, `{at: .time, body: .data.payload.body}`,
		`.data.payload.body | length`, `to_entries | length`,
	} {
		b.Run(expr, func(b *testing.B) {
			streams := &Streams{LookupEnv: func(string) (string, bool) { return "", false }}
			r, err := newRenderer(outputOptions{Filter: expr}, "default", streams, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				d := r.document(ev)
				text, known := r.soon(d)
				if known && len(text) > 0 {
					out = r.appendText(out[:0], text)
				}
				if known {
					continue
				}
				if err := r.each(b.Context(), d, func(text []byte) error { out = r.appendText(out[:0], text); return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
