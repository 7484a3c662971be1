package signal_test

import (
	"math"
	"net/url"
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

// TestCloudEventLine compares whole lines, byte by byte.
func TestCloudEventLine(t *testing.T) {
	pushed := message("room:lobby", "new_msg", phoenix.JSON(`{"body":1.0}`))
	pushed.Ref, pushed.JoinRef = "11", "3"
	strangeRef := message("50%", "e", phoenix.JSON(`{}`))
	strangeRef.JoinRef, strangeRef.Ref = "\n", "%"
	beforeConnect := of(&phoenix.HeartbeatTimeout{})
	beforeConnect.Session, beforeConnect.Seq = 0, 10_000_000_000
	lateSession := of(&phoenix.HeartbeatTimeout{})
	lateSession.Session = math.MaxInt32
	lateSession.Session++

	const start = `{"specversion":"1.0","id":"ID","source":"/jidoka/phoenix/backend","type":"phoenix.`
	const between = `"time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json","data":{`
	const end = `,"phxsession":1,"sequence":"0000000006"}`
	tests := []struct {
		name string
		ev   phoenix.Event
		want string
	}{
		{"broadcast", message("room:lobby", "new_msg", phoenix.JSON(`{"body":"\u0000%"}`)),
			start + `backend.room_lobby.new_msg","subject":"room:lobby",` + between + `"payload":{"body":"\u0000%"}},` +
				`"phxconnection":"backend","phxtopic":"room:lobby","phxevent":"new_msg"` + end},
		{"refs", pushed,
			start + `backend.room_lobby.new_msg","subject":"room:lobby",` + between + `"payload":{"body":1.0}},` +
				`"phxconnection":"backend","phxtopic":"room:lobby","phxevent":"new_msg","phxref":"11","phxjoinref":"3"` + end},
		{"empty names", message("", "", phoenix.JSON(`{}`)),
			start + `backend._._",` + between + `"payload":{}},"phxconnection":"backend"` + end},
		{"percent", message("50%", "%41", phoenix.JSON(`{}`)),
			start + `backend.50_._41","subject":"50%",` + between + `"payload":{}},` +
				`"phxconnection":"backend","phxtopic":"50%","phxevent":"%41"` + end},
		{"control characters", message("50%", "a\nb", phoenix.JSON(`{}`)),
			start + `backend.50_.a_b","subject":"50%25",` + between + `"payload":{}},` +
				`"phxconnection":"backend","phxtopic":"50%25","phxevent":"a%0Ab","phxenc":"pct"` + end},
		{"blank", message(" ", "e", phoenix.JSON(`{}`)),
			start + `backend._.e","subject":"%20",` + between + `"payload":{}},` +
				`"phxconnection":"backend","phxtopic":"%20","phxevent":"e","phxenc":"pct"` + end},
		{"strange refs", strangeRef,
			start + `backend.50_.e","subject":"50%25",` + between + `"payload":{}},` +
				`"phxconnection":"backend","phxtopic":"50%25","phxevent":"e","phxenc":"pct","phxref":"%25","phxjoinref":"%0A"` + end},
		{"the data of an encoded line", onPushOf("a\n", &phoenix.PushTimeout{}),
			start + `push.timeout","subject":"a%0A",` + between + `"connection_name":"backend","topic":"a\n","event":"new msg",` +
				`"timeout_ms":0,"index":0},"phxconnection":"backend","phxtopic":"a%0A","phxevent":"new msg","phxenc":"pct",` +
				`"phxref":"9","phxjoinref":"3"` + end},
		{"before the first session, after ten digits", beforeConnect,
			start + `connection.heartbeat_timeout",` + between + `"connection_name":"backend","timeout_ms":0},` +
				`"phxconnection":"backend","phxsession":0,"sequence":"10000000000"}`},
		{"more sessions than an Integer", lateSession,
			start + `connection.heartbeat_timeout",` + between + `"connection_name":"backend","timeout_ms":0},` +
				`"phxconnection":"backend","phxsession":"2147483648","sequence":"0000000006"}`},
	}
	enc := signal.NewEncoder(signal.FormatCloudEvents, "backend")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // the second time from the kept template
				got := withoutID(enc.Append([]byte("before"), &tt.ev))
				if got != "before"+tt.want+"\n" {
					t.Errorf("got  %s\nwant before%s", got, tt.want)
				}
			}
		})
	}
}

// TestEpoch compares the end of whole lines: the epoch is in each line, from the next one on that it was set, in every format.
func TestEpoch(t *testing.T) {
	const names = `"phoenix_topic":"t","phoenix_event":"e","session":1,"seq":6}`
	const attributes = `,"phxtopic":"t","phxevent":"e","phxsession":1,"sequence":"0000000006"}`
	ends := map[signal.Format][3]string{
		signal.FormatSignal: {
			`"metadata":{"connection_name":"backend",` + names + "}",
			`"metadata":{"connection_name":"backend","epoch":7,` + names + "}",
			`"metadata":{"connection_name":"backend","epoch":2147483648,` + names + "}",
		},
		signal.FormatJido: {
			`"extensions":{"metadata":{"connection_name":"backend",` + names + "}}",
			`"extensions":{"metadata":{"connection_name":"backend","epoch":7,` + names + "}}",
			`"extensions":{"metadata":{"connection_name":"backend","epoch":2147483648,` + names + "}}",
		},
		signal.FormatCloudEvents: {
			`"phxconnection":"backend"` + attributes, `"phxconnection":"backend","phxepoch":7` + attributes,
			`"phxconnection":"backend","phxepoch":"2147483648"` + attributes,
		},
		signal.FormatPayload: {`{}`, `{}`, `{}`},
	}
	ev := message("t", "e", phoenix.JSON(`{}`))
	for format, want := range ends {
		enc := signal.NewEncoder(format, "backend")
		for range 2 {
			for i, epoch := range []uint64{0, 7, 1 << 31} {
				enc.SetEpoch(epoch)
				if got := string(enc.Append(nil, &ev)); !strings.HasSuffix(got, want[i]+"\n") {
					t.Errorf("%v, epoch %d: got  %swant ...%s", format, epoch, got, want[i])
				}
				if epoch != 0 && format != signal.FormatPayload {
					if got := string(enc.AppendDropped(nil, signal.Dropped{Count: 1}, at)); !strings.Contains(got, "epoch\":") {
						t.Errorf("%v, epoch %d: a loss has none: %s", format, epoch, got)
					}
				}
			}
		}
	}
}

// TestStrangeRefIsOfOneLine: the lines before and after the one that had to be encoded are as they
// were.
func TestStrangeRefIsOfOneLine(t *testing.T) {
	enc := signal.NewEncoder(signal.FormatCloudEvents, "backend")
	ev := message("50%", "e", phoenix.JSON(`{}`))
	for range 2 {
		for ref, want := range map[string]string{"1": `"50%"`, "\x00": `"50%25"`} {
			ev.Ref = ref
			line := string(enc.Append(nil, &ev))
			if !strings.Contains(line, `"phxtopic":`+want) || strings.Contains(line, "phxenc") != (ref == "\x00") {
				t.Errorf("ref %q: %s", ref, line)
			}
		}
	}
}

func TestDroppedCloudEvent(t *testing.T) {
	enc := signal.NewEncoder(signal.FormatCloudEvents, "backend")
	got := withoutID(enc.AppendDropped(nil, signal.Dropped{Count: 5, Policy: "drop-oldest", FirstSeq: 17, LastSeq: 30}, at))
	want := `{"specversion":"1.0","id":"ID","source":"/jidoka/phoenix/backend","type":"phoenix.signal.dropped",` +
		`"time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json",` +
		`"data":{"connection_name":"backend","count":5,"policy":"drop-oldest","first_seq":17,"last_seq":30},` +
		`"phxconnection":"backend"}` + "\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// onPushOf is onPush on another topic.
func onPushOf(topic string, d phoenix.Detail) phoenix.Event {
	ev := onPush(d, phoenix.Payload{})
	ev.Topic = topic
	return ev
}

// FuzzCloudEvent: whatever the names and refs, the line is one of JSON whose attributes are
// CloudEvents Strings and give the names back.
func FuzzCloudEvent(f *testing.F) {
	f.Add("room:lobby", "new_msg", "1", "")
	f.Add("", "%", "", "\x00")
	f.Add("\xff\"\\", "\u0085\u2028<", "\uffff", " ")
	enc := signal.NewEncoder(signal.FormatCloudEvents, "backend")
	f.Fuzz(func(t *testing.T, topic, event, ref, joinRef string) {
		ev := message(topic, event, phoenix.JSON(`{}`))
		ev.Ref, ev.JoinRef = ref, joinRef
		line := enc.Append(nil, &ev)
		checkOneLine(t, line)
		got := parse(t, line)
		attributes := map[string]string{"subject": topic, "phxtopic": topic, "phxevent": event, "phxref": ref, "phxjoinref": joinRef}
		for name, raw := range attributes {
			value, present := got[name].(string)
			if present != (raw != "") || present && strings.TrimSpace(value) == "" || strings.ContainsFunc(value, forbidden) {
				t.Errorf("%s of %q: %q", name, raw, line)
			}
			if got["phxenc"] == "pct" {
				decoded, err := url.PathUnescape(value)
				if err != nil {
					t.Errorf("%s of %q: %v", name, raw, err)
				}
				value = decoded
			}
			if value != asUnicode(raw) {
				t.Errorf("%s of %q came back as %q", name, raw, value)
			}
		}
	})
}

// forbidden says whether the specification of CloudEvents keeps r out of a String.
func forbidden(r rune) bool {
	return r <= 0x1f || 0x7f <= r && r <= 0x9f || 0xfdd0 <= r && r <= 0xfdef || r%0x10000 >= 0xfffe
}

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
