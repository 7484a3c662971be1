package signal_test

import (
	"strings"
	"testing"

	"phx/phoenix"
	"phx/signal"
)

// TestJidoLines: each line is that of FormatSignal but for the version and the place of metadata.
func TestJidoLines(t *testing.T) {
	jido := signal.NewEncoder(signal.FormatJido, "backend")
	plain := signal.NewEncoder(signal.FormatSignal, "backend")
	rows := allRows()
	rows = append(rows, row{name: "message", ev: *broadcast()}, row{name: "strange names", ev: message("%\n", "\x00", phoenix.JSON(`{"metadata":{}}`))})
	for _, r := range rows {
		got := withoutID(jido.Append(nil, &r.ev))
		if want := asJido(t, withoutID(plain.Append(nil, &r.ev))); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", r.name, got, want)
		}
	}
	dropped := signal.Dropped{Count: 5, Policy: "drop-oldest", FirstSeq: 17, LastSeq: 30}
	got := withoutID(jido.AppendDropped(nil, dropped, at))
	if want := asJido(t, withoutID(plain.AppendDropped(nil, dropped, at))); got != want {
		t.Errorf("dropped:\ngot  %s\nwant %s", got, want)
	}
}

// asJido rewrites a line of FormatSignal.
func asJido(t *testing.T, line string) string {
	t.Helper()
	const metadata = `,"metadata":`
	rest, ok := strings.CutPrefix(line, `{"specversion":"1.0",`)
	i := strings.LastIndex(rest, metadata)
	if !ok || i < 0 {
		t.Fatalf("not a signal: %s", line)
	}
	object := strings.TrimSuffix(rest[i+len(metadata):], "}\n")
	return `{"specversion":"1.0.2",` + rest[:i] + `,"extensions":{"metadata":` + object + "}}\n"
}

// TestJidoLine is one line as Jido.Signal.deserialize/2 reads it.
func TestJidoLine(t *testing.T) {
	enc := signal.NewEncoder(signal.FormatJido, "backend")
	ev := message("room:lobby", "new_msg", phoenix.JSON(`{"body":"hi"}`))
	got := withoutID(enc.Append(nil, &ev))
	want := `{"specversion":"1.0.2","id":"ID","source":"/jidoka/phoenix/backend","type":"phoenix.backend.room_lobby.new_msg",` +
		`"subject":"room:lobby","time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json",` +
		`"data":{"payload":{"body":"hi"}},"extensions":{"metadata":{"connection_name":"backend","phoenix_topic":"room:lobby",` +
		`"phoenix_event":"new_msg","session":1,"seq":6}}}` + "\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
