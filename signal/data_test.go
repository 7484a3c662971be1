package signal_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"phx/phoenix"
	"phx/signal"
)

// at is the time of every event in the tests.
var at = time.Date(2026, 2, 7, 12, 0, 6, 123456789, time.UTC)

// A row is an event and what its signal has to hold. The data that every signal of its class has
// (connection_name, topic, event) is left out of data and checked for all rows alike.
type row struct {
	name string
	ev   phoenix.Event
	typ  string
	data string
}

func lifecycleRows() []row {
	answer := phoenix.JSON(`{"reason":"unauthorized","n":1.0}`)
	return []row{
		{"connecting", of(&phoenix.Connecting{URI: "wss://h/socket/websocket", Attempt: 2}), "phoenix.connection.connecting",
			`{"status":"connecting","uri":"wss://h/socket/websocket","attempt":2}`},
		{"connected", of(&phoenix.Connected{Transport: phoenix.TransportWebSocket, Took: 1500 * time.Microsecond, Outage: time.Second}), "phoenix.connection.connected",
			`{"status":"connected","timestamp":"2026-02-07T12:00:06.123456Z","transport":"websocket","reconnect":false,"connect_ms":2}`},
		{"connected again", of(&phoenix.Connected{Transport: phoenix.TransportWebSocket, Reconnect: true, Took: time.Millisecond, Outage: time.Minute}), "phoenix.connection.connected",
			`{"status":"connected","timestamp":"2026-02-07T12:00:06.123456Z","transport":"websocket","reconnect":true,"connect_ms":1,"outage_ms":60000}`},
		{"connected and measured", of(&phoenix.Connected{Transport: phoenix.TransportWebSocket, Took: 40 * time.Millisecond, RTT: 1234567 * time.Nanosecond, Timings: phoenix.Timings{
			DNS: 3 * time.Millisecond, TCP: 4 * time.Millisecond, TLS: 20 * time.Millisecond, Upgrade: 10 * time.Millisecond}}),
			"phoenix.connection.connected",
			`{"status":"connected","timestamp":"2026-02-07T12:00:06.123456Z","transport":"websocket","reconnect":false,"connect_ms":40,
			  "dns_ms":3,"tcp_ms":4,"tls_ms":20,"upgrade_ms":10,"rtt_us":1235}`},
		{"connected and measured without TLS", of(&phoenix.Connected{Transport: phoenix.TransportWebSocket, RTT: time.Microsecond}), "phoenix.connection.connected",
			`{"status":"connected","timestamp":"2026-02-07T12:00:06.123456Z","transport":"websocket","reconnect":false,"connect_ms":0,
			  "dns_ms":0,"tcp_ms":0,"upgrade_ms":0,"rtt_us":1}`},
		{"disconnected", of(&phoenix.Disconnected{Reason: phoenix.ReasonClosedByRemote, Code: 1012, Text: "bye", Uptime: time.Hour, WillReconnect: true}),
			"phoenix.connection.disconnected",
			`{"status":"disconnected","reason":"closed_by_remote","code":1012,"detail":"bye","uptime_ms":3600000,"will_reconnect":true}`},
		{"refused", of(&phoenix.Disconnected{Reason: phoenix.ReasonRefused, HTTPStatus: 403}), "phoenix.connection.disconnected",
			`{"status":"disconnected","reason":"refused","http_status":403,"detail":"","uptime_ms":0,"will_reconnect":false}`},
		{"reconnecting", of(&phoenix.Reconnecting{Attempt: 3, MaxAttempts: -1, Delay: 1999600 * time.Microsecond, Reason: phoenix.ReasonEOF}),
			"phoenix.connection.reconnecting",
			`{"status":"connecting","attempt":3,"max_attempts":-1,"delay_ms":2000,"reason":"eof"}`},
		{"exhausted", of(&phoenix.ReconnectExhausted{Attempts: 10, MaxAttempts: 10, Reason: phoenix.ReasonDNS}),
			"phoenix.connection.reconnect_exhausted", `{"status":"disconnected","attempts":10,"max_attempts":10,"reason":"dns"}`},
		{"heartbeat", of(&phoenix.Heartbeat{RTT: 1500*time.Microsecond + 499}), "phoenix.connection.heartbeat", `{"rtt_us":1500}`},
		{"of one of several sockets", phoenix.Event{Time: at, Seq: 6, Session: 1, Socket: 2, Detail: &phoenix.Heartbeat{RTT: time.Second}}, "phoenix.connection.heartbeat",
			`{"socket":2,"rtt_us":1000000}`},
		{"of a channel on one of several sockets", phoenix.Event{Time: at, Seq: 6, Session: 1, Socket: 2, Topic: "t", Detail: &phoenix.Left{}}, "phoenix.channel.left",
			`{"socket":2,"reason":"requested"}`},
		{"heartbeat timeout", of(&phoenix.HeartbeatTimeout{Timeout: 10 * time.Second}), "phoenix.connection.heartbeat_timeout",
			`{"timeout_ms":10000}`},
		{"a clock that was set back", of(&phoenix.Heartbeat{RTT: -time.Second}), "phoenix.connection.heartbeat", `{"rtt_us":0}`},

		{"joining", onChannel(&phoenix.Joining{Rejoin: true, Attempt: 2}), "phoenix.channel.joining", `{"rejoin":true,"attempt":2}`},
		{"joined", answered(&phoenix.Joined{Took: 12 * time.Millisecond, Gap: time.Second}, phoenix.JSON(`{}`)), "phoenix.channel.joined",
			`{"response":{},"rejoin":false,"join_ms":12}`},
		{"live", onChannel(&phoenix.Live{Took: 12 * time.Millisecond}), "phoenix.channel.live", `{"live_ms":12}`},
		{"gap", onChannel(&phoenix.Gap{Reason: phoenix.GapReplay, Gap: time.Second}), "phoenix.channel.gap", `{"reason":"replay_incomplete","gap_ms":1000}`},
		{"joined again", answered(&phoenix.Joined{Rejoin: true, Gap: 1200 * time.Millisecond}, phoenix.Binary([]byte("\x00\xff"))),
			"phoenix.channel.joined", `{"response_base64":"AP8=","rejoin":true,"join_ms":0,"gap_ms":1200}`},
		{"join refused", answered(&phoenix.JoinError{Reason: phoenix.JoinRefused, Attempt: 1}, answer), "phoenix.channel.join_error",
			`{"reason":"error","response":{"reason":"unauthorized","n":1.0},"attempt":1}`},
		{"join timed out", onChannel(&phoenix.JoinError{Reason: phoenix.JoinTimeout, Attempt: 4, Retry: phoenix.Retry{Will: true, In: 5 * time.Second}}),
			"phoenix.channel.join_error", `{"reason":"timeout","attempt":4,"retry_in_ms":5000}`},
		{"left", onChannel(&phoenix.Left{}), "phoenix.channel.left", `{"reason":"requested"}`},
		{"closed", onChannel(&phoenix.Closed{}), "phoenix.channel.closed", `{"reason":"phx_close"}`},
		{"closed, rejoins", onChannel(&phoenix.Closed{Retry: phoenix.Retry{Will: true, In: time.Second}}), "phoenix.channel.closed",
			`{"reason":"phx_close","retry_in_ms":1000}`},
		{"errored", answered(&phoenix.Errored{Reason: phoenix.ErroredCrash, Retry: phoenix.Retry{Will: true, In: 1}}, answer),
			"phoenix.channel.errored", `{"reason":"phx_error","response":{"reason":"unauthorized","n":1.0},"retry_in_ms":0}`},
		{"lost with its link", onChannel(&phoenix.Errored{Reason: phoenix.ErroredDisconnected, Retry: phoenix.Retry{Will: true}}),
			"phoenix.channel.errored", `{"reason":"disconnected"}`},
	}
}

func pushRows() []row {
	return []row{
		{"reply", onPush(&phoenix.PushReply{Index: 7, Status: "ok", Latency: 3_456 * time.Microsecond}, phoenix.JSON(`{"a":1}`)), "phoenix.push.reply",
			`{"status":"ok","payload":{"a":1},"latency_ms":3,"latency_us":3456,"index":7}`},
		{"strange reply", onPush(&phoenix.PushReply{Status: "maybe\n"}, phoenix.JSON(`[1]`)), "phoenix.push.reply",
			`{"status":"maybe\n","payload":[1],"latency_ms":0,"latency_us":0,"index":0}`},
		{"binary reply", onPush(&phoenix.PushReply{Status: "error"}, phoenix.Binary(nil)), "phoenix.push.reply",
			`{"status":"error","payload_base64":"","latency_ms":0,"latency_us":0,"index":0}`},
		{"timeout", onPush(&phoenix.PushTimeout{Index: 1, Timeout: 10 * time.Second}, phoenix.Payload{}), "phoenix.push.timeout",
			`{"timeout_ms":10000,"index":1}`},
		{"error", onPush(&phoenix.PushError{Index: 2, Reason: phoenix.PushChannelCrashed, Delivered: phoenix.DeliveredUnknown}, phoenix.Payload{}),
			"phoenix.push.error", `{"reason":"channel_crashed","delivered":"unknown","index":2}`},
	}
}

func allRows() []row { return slices.Concat(lifecycleRows(), pushRows(), presenceRows()) }

// of returns an event of the connection as a whole.
func of(d phoenix.Detail) phoenix.Event {
	return phoenix.Event{Time: at, Seq: 6, Session: 1, Detail: d}
}

// onChannel returns an event of a channel.
func onChannel(d phoenix.Detail) phoenix.Event {
	ev := of(d)
	ev.Topic, ev.JoinRef = "room:lobby", "3"
	return ev
}

// answered returns an event of a channel that holds an answer of the server.
func answered(d phoenix.Detail, p phoenix.Payload) phoenix.Event {
	ev := onChannel(d)
	ev.Ref, ev.Payload = "3", p
	return ev
}

// onPush returns an event of a push.
func onPush(d phoenix.Detail, p phoenix.Payload) phoenix.Event {
	ev := answered(d, p)
	ev.Name, ev.Ref = "new msg", "9"
	return ev
}

type object = map[string]any

func TestSignalOfEachRow(t *testing.T) {
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
	for _, r := range allRows() {
		t.Run(r.name, func(t *testing.T) {
			want := object{
				"specversion":     "1.0",
				"source":          "/jidoka/phoenix/backend",
				"type":            r.typ,
				"time":            "2026-02-07T12:00:06.123456Z",
				"datacontenttype": "application/json",
			}
			metadata := object{"connection_name": "backend", "session": 1.0, "seq": 6.0}
			data := parse(t, []byte(r.data))
			data["connection_name"] = "backend"
			if r.ev.Topic != "" {
				want["subject"], data["topic"], metadata["phoenix_topic"] = r.ev.Topic, r.ev.Topic, r.ev.Topic
			}
			if r.ev.Name != "" {
				data["event"], metadata["phoenix_event"] = r.ev.Name, r.ev.Name
			}
			if r.ev.Ref != "" {
				metadata["phoenix_ref"] = r.ev.Ref
			}
			if r.ev.JoinRef != "" {
				metadata["phoenix_join_ref"] = r.ev.JoinRef
			}
			want["data"], want["metadata"] = data, metadata

			got := parse(t, enc.Append(nil, &r.ev))
			delete(got, "id")
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			if typ := signal.Type("backend", &r.ev); typ != r.typ {
				t.Errorf("Type = %q, want %q", typ, r.typ)
			}
		})
	}
}

// TestLifecycleLine compares one whole line of each class, byte by byte: the order of members, and
// none twice.
func TestLifecycleLine(t *testing.T) {
	const start = `{"specversion":"1.0","id":"ID","source":"/jidoka/phoenix/backend","type":"phoenix.`
	const between = `"time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json","data":{"connection_name":"backend",`
	tests := []struct {
		ev   phoenix.Event
		want string
	}{
		{of(&phoenix.HeartbeatTimeout{Timeout: time.Second}), start + `connection.heartbeat_timeout",` + between +
			`"timeout_ms":1000},"metadata":{"connection_name":"backend","session":1,"seq":6}}`},
		{answered(&phoenix.Joined{}, phoenix.JSON(`{"a":1.0}`)), start + `channel.joined","subject":"room:lobby",` + between +
			`"topic":"room:lobby","response":{"a":1.0},"rejoin":false,"join_ms":0},"metadata":{"connection_name":"backend",` +
			`"phoenix_topic":"room:lobby","phoenix_ref":"3","phoenix_join_ref":"3","session":1,"seq":6}}`},
		{onPush(&phoenix.PushReply{Status: "ok"}, phoenix.JSON(`{"a":1.0}`)), start + `push.reply","subject":"room:lobby",` + between +
			`"topic":"room:lobby","event":"new msg","status":"ok","payload":{"a":1.0},"latency_ms":0,"latency_us":0,"index":0},` +
			`"metadata":{"connection_name":"backend","phoenix_topic":"room:lobby","phoenix_event":"new msg",` +
			`"phoenix_ref":"9","phoenix_join_ref":"3","session":1,"seq":6}}`},
	}
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
	for _, tt := range tests {
		if got := withoutID(enc.Append(nil, &tt.ev)); got != tt.want+"\n" {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

func TestIsLifecycle(t *testing.T) {
	for _, r := range lifecycleRows() {
		if !signal.IsLifecycle(signal.Type("backend", &r.ev)) {
			t.Errorf("%s is not lifecycle", r.name)
		}
	}
	for _, r := range slices.Concat(pushRows(), presenceRows(), []row{{name: "message", ev: *broadcast()}}) {
		if signal.IsLifecycle(signal.Type("backend", &r.ev)) {
			t.Errorf("%s is lifecycle", r.name)
		}
	}
}

// TestEveryDetailHasARow reads package phoenix, so that an event which is added there is not
// forgotten here.
func TestEveryDetailHasARow(t *testing.T) {
	covered := map[string]bool{"Message": true} // see message_test.go
	for _, r := range allRows() {
		covered[reflect.TypeOf(r.ev.Detail).Elem().Name()] = true
	}
	files, err := filepath.Glob("../phoenix/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "detail" {
				continue
			}
			found++
			receiver := f.Recv.List[0].Type
			if star, ok := receiver.(*ast.StarExpr); ok {
				receiver = star.X
			}
			if detail := receiver.(*ast.Ident).Name; !covered[detail] {
				t.Errorf("no row tests the signal of phoenix.%s", detail)
			}
		}
	}
	if found < len(covered) {
		t.Errorf("found %d details in package phoenix, expected at least %d", found, len(covered))
	}
}

func TestDroppedSignal(t *testing.T) {
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
	got := parse(t, enc.AppendDropped(nil, signal.Dropped{Count: 5, Policy: "drop-oldest", FirstSeq: 17, LastSeq: 30}, at))
	delete(got, "id")
	want := parse(t, []byte(`{"specversion":"1.0","source":"/jidoka/phoenix/backend","type":"phoenix.signal.dropped",
		"time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json",
		"data":{"connection_name":"backend","count":5,"policy":"drop-oldest","first_seq":17,"last_seq":30},
		"metadata":{"connection_name":"backend"}}`))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestNoSignal: an event of a kind that this package does not know yet prints nothing.
func TestNoSignal(t *testing.T) {
	ev := of(nil)
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
	if got := enc.Append([]byte("before"), &ev); string(got) != "before" {
		t.Errorf("got %q", got)
	}
	if got := signal.Type("backend", &ev); got != "" {
		t.Errorf("Type = %q", got)
	}
	if signal.IsLifecycle(signal.Type("backend", &ev)) {
		t.Error("it is lifecycle")
	}
}

// parse parses a line, or any JSON object.
func parse(t *testing.T, line []byte) object {
	t.Helper()
	var o object
	if err := json.Unmarshal(line, &o); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	return o
}

func presenceRows() []row {
	metas := []json.RawMessage{json.RawMessage(`{"phx_ref":"F1","n":1.0}`), json.RawMessage(`{"phx_ref":"F2"}`)}
	return []row{
		{"presence join", onChannel(&phoenix.PresenceJoin{PresenceChange: phoenix.PresenceChange{
			Key: "zoë\n", Metas: metas, Fields: json.RawMessage(`{"user":{"id":1.0}}`), Remaining: 2, Update: true,
		}}), "phoenix.presence.join",
			`{"key":"zoë\n","metas":[{"phx_ref":"F1","n":1.0},{"phx_ref":"F2"}],"fields":{"user":{"id":1.0}},"remaining":2,"update":true}`},
		{"presence leave", onChannel(&phoenix.PresenceLeave{PresenceChange: phoenix.PresenceChange{Metas: metas[1:]}}), "phoenix.presence.leave",
			`{"key":"","metas":[{"phx_ref":"F2"}],"remaining":0}`},
		{"presence sync", onChannel(&phoenix.PresenceSync{}), "phoenix.presence.sync", `{"state":{}}`},
	}
}

// Metas are in the line as the server wrote them, and the line is one.
func TestPresenceLine(t *testing.T) {
	metas := []json.RawMessage{json.RawMessage(`{"z":1.0, "phx_ref":"F\u0031","a":12345678901234567890}`)}
	ev := onChannel(&phoenix.PresenceJoin{PresenceChange: phoenix.PresenceChange{Key: `a"b`, Metas: metas, Remaining: 1}})
	const data = `"data":{"connection_name":"backend","topic":"room:lobby","key":"a\"b",` +
		`"metas":[{"z":1.0, "phx_ref":"F\u0031","a":12345678901234567890}],"remaining":1}`
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
