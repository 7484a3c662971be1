package signal_test

import (
	"encoding/json"
	"testing"

	"phx/phoenix"
	"phx/signal"
)

func presenceRows() []row {
	metas := []json.RawMessage{json.RawMessage(`{"phx_ref":"F1","n":1.0}`), json.RawMessage(`{"phx_ref":"F2"}`)}
	return []row{
		{"presence join", onChannel(&phoenix.PresenceJoin{Key: "zoë\n", Metas: metas}), "phoenix.presence.join",
			`{"key":"zoë\n","metas":[{"phx_ref":"F1","n":1.0},{"phx_ref":"F2"}]}`},
		{"presence leave", onChannel(&phoenix.PresenceLeave{Metas: metas[1:]}), "phoenix.presence.leave", `{"key":"","metas":[{"phx_ref":"F2"}]}`},
		{"presence sync", onChannel(&phoenix.PresenceSync{}), "phoenix.presence.sync", `{"state":{}}`},
	}
}

// Metas are in the line as the server wrote them, and the line is one.
func TestPresenceLine(t *testing.T) {
	metas := []json.RawMessage{json.RawMessage(`{"z":1.0, "phx_ref":"F\u0031","a":12345678901234567890}`)}
	ev := onChannel(&phoenix.PresenceJoin{Key: `a"b`, Metas: metas})
	const data = `"data":{"connection_name":"backend","topic":"room:lobby","key":"a\"b",` +
		`"metas":[{"z":1.0, "phx_ref":"F\u0031","a":12345678901234567890}]}`
	const head = `,"id":"ID","source":"/jidoka/phoenix/backend","type":"phoenix.presence.join","subject":"room:lobby",` +
		`"time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json",`
	for format, want := range map[signal.Format]string{
		signal.FormatSignal: `{"specversion":"1.0"` + head + data +
			`,"metadata":{"connection_name":"backend","phoenix_topic":"room:lobby","phoenix_join_ref":"3","session":1,"seq":6}}` + "\n",
		signal.FormatCloudEvents: `{"specversion":"1.0"` + head + data +
			`,"phxconnection":"backend","phxtopic":"room:lobby","phxjoinref":"3","phxsession":1,"sequence":"0000000006"}` + "\n",
		signal.FormatJido: `{"specversion":"1.0.2"` + head + data +
			`,"extensions":{"metadata":{"connection_name":"backend","phoenix_topic":"room:lobby","phoenix_join_ref":"3","session":1,"seq":6}}}` + "\n",
	} {
		if got := withoutID(signal.NewEncoder(format, "backend").Append(nil, &ev)); got != want {
			t.Errorf("%v: got  %s\nwant %s", format, got, want)
		}
	}
	for _, r := range presenceRows() {
		if got := signal.NewEncoder(signal.FormatPayload, "backend").Append(nil, &r.ev); len(got) != 0 {
			t.Errorf("%s: the payload format prints %q", r.name, got)
		}
	}
}
