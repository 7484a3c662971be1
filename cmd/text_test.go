package cmd

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"phx/phoenix"
	"phx/signal"
)

// textOf returns the line of an event without its time, in a form without colours.
func textOf(t *testing.T, width int, ev phoenix.Event) string {
	t.Helper()
	ev.Time = time.Date(2026, 2, 7, 12, 0, 6, 123456000, time.Local)
	line := signal.NewEncoder(signal.FormatSignal, "backend").Append(nil, &ev)
	return withoutClock(t, string((&textForm{width: func() int { return width }}).append(nil, bytes.TrimSuffix(line, []byte("\n")))))
}

func withoutClock(t *testing.T, line string) string {
	t.Helper()
	rest, ok := strings.CutPrefix(line, "12:00:06.123  ")
	if !ok || strings.Count(line, "\n") != 1 {
		t.Errorf("the line %q does not begin with the local time, or is not one", line)
	}
	return strings.TrimSuffix(rest, "\n")
}

// TestTextOfEvents has every type of events.
func TestTextOfEvents(t *testing.T) {
	const ms = time.Millisecond
	retry := phoenix.Retry{Will: true, In: 1500 * ms}
	obj := func(text string) phoenix.Payload { return phoenix.JSON(text) }
	tests := []struct {
		ev   phoenix.Event
		want string
	}{
		{phoenix.Event{Topic: "t", Name: "e", Payload: obj(`{"a" : [1.0, "x"]}`), Detail: &phoenix.Message{}}, `t  e  {"a":[1.0,"x"]}`},
		{phoenix.Event{Topic: "t", Name: "e", Payload: obj(`{}`), Detail: &phoenix.Message{}}, `t  e  {}`},
		{phoenix.Event{Topic: "t", Name: "e", Payload: phoenix.Binary([]byte{1, 2, 3, 4}), Detail: &phoenix.Message{}}, `t  e  4 bytes: "AQIDBA=="`},
		{phoenix.Event{Topic: "t", Name: "e", Payload: phoenix.Binary(nil), Detail: &phoenix.Message{}}, `t  e  ""`},
		{phoenix.Event{Topic: "t", Name: "broadcast", Broadcast: &phoenix.Broadcast{Event: "raw\x1b"}, Payload: phoenix.Binary([]byte{1, 2}), Detail: &phoenix.Message{}},
			`t  broadcast  raw  2 bytes: "AQI="`},
		{phoenix.Event{Detail: &phoenix.Connecting{URI: "ws://h/s", Attempt: 1}}, `* connecting to ws://h/s`},
		{phoenix.Event{Detail: &phoenix.Connecting{URI: "ws://h/s", Attempt: 3}}, `* connecting to ws://h/s; attempt 3`},
		{phoenix.Event{Detail: &phoenix.Connected{Took: 12 * ms}}, `* connected in 12 ms`},
		{phoenix.Event{Socket: 2, Detail: &phoenix.Connected{Took: 12 * ms}}, `* connected in 12 ms; socket 2`},
		{phoenix.Event{Socket: 2, Topic: "t", Detail: &phoenix.Left{}}, `t  * left`},
		{phoenix.Event{Detail: &phoenix.Connected{Reconnect: true, Outage: 61 * time.Second}}, `* connected again in <1 ms; away for 1m1s`},
		{phoenix.Event{Detail: &phoenix.Disconnected{Reason: phoenix.ReasonClosedByUs}}, `* disconnected: closed_by_us`},
		{phoenix.Event{Detail: &phoenix.Disconnected{Reason: phoenix.ReasonClosedByRemote, Code: 1012, Text: "away\nnow\x1b[2J"}},
			`! disconnected: closed_by_remote, code 1012, away now [2J`},
		{phoenix.Event{Detail: &phoenix.Disconnected{Reason: phoenix.ReasonRefused, HTTPStatus: 503}}, `! disconnected: refused, HTTP status 503`},
		{phoenix.Event{Detail: &phoenix.Reconnecting{Attempt: 2, MaxAttempts: 10, Delay: 1500 * ms}}, `* connecting again in 1.5 s; attempt 2 of 10`},
		{phoenix.Event{Detail: &phoenix.ReconnectExhausted{Attempts: 10, Reason: phoenix.ReasonEOF}}, `! no more attempts to connect; 10 failed; eof`},
		{phoenix.Event{Detail: &phoenix.Heartbeat{RTT: 412 * time.Microsecond}}, `* heartbeat 0.41 ms`},
		{phoenix.Event{Detail: &phoenix.HeartbeatTimeout{Timeout: 10 * time.Second}}, `! no answer to a heartbeat within 10 s`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.Joining{Attempt: 1}}, `t  * joining`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.Joined{Took: 2 * ms}, Payload: obj(`{"a":1}`)}, `t  * joined in 2 ms  {"a":1}`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.Joined{Rejoin: true, Took: 2 * ms, Gap: time.Second}, Payload: obj(`{}`)},
			`t  * joined again in 2 ms; messages of 1 s may be missing`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.Live{Took: 2 * ms}}, `t  * live after 2 ms`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.Gap{Reason: phoenix.GapReplay, Gap: time.Second}}, `t  ! messages of 1 s may be missing; replay_incomplete`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.JoinError{Reason: phoenix.JoinRefused, Retry: retry}, Payload: obj(`{"reason":"no"}`)},
			`t  ! not joined: refused; joins again in 1.5 s  {"reason":"no"}`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.JoinError{Reason: phoenix.JoinTimeout}}, `t  ! not joined: timeout`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.Left{}}, `t  * left`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.Closed{Retry: retry}}, `t  ! closed by the server; joins again in 1.5 s`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.Errored{Reason: phoenix.ErroredCrash, Retry: retry}}, `t  ! lost: phx_error; joins again in 1.5 s`},
		{phoenix.Event{Topic: "t", Name: "e", Detail: &phoenix.PushReply{Status: "ok", Latency: 3 * ms}, Payload: obj(`{}`)}, `t  e  ok in 3 ms  {}`},
		{phoenix.Event{Topic: "t", Name: "e", Detail: &phoenix.PushReply{Status: "error", Latency: 3 * ms}, Payload: obj(`1`)}, `t  e  ! error in 3 ms  1`},
		{phoenix.Event{Topic: "t", Name: "e", Detail: &phoenix.PushTimeout{Timeout: time.Second, Index: 4}}, `t  e  ! no reply within 1 s; index 4`},
		{phoenix.Event{Topic: "t", Name: "e", Detail: &phoenix.PushError{Reason: phoenix.PushDisconnected, Delivered: phoenix.DeliveredUnknown}},
			`t  e  ! disconnected; perhaps delivered`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.PresenceJoin{PresenceChange: phoenix.PresenceChange{
			Key: "ann", Metas: []json.RawMessage{json.RawMessage(`{"a":1}`), json.RawMessage(`{}`)}, Fields: json.RawMessage(`{"name":"A"}`)}}},
			`t  + ann  {"a":1}  {}  {"name":"A"}`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.PresenceLeave{PresenceChange: phoenix.PresenceChange{Key: "ann", Update: true}}}, `t  - ann (update)`},
		{phoenix.Event{Topic: "t", Detail: &phoenix.PresenceSync{}}, `t  = 0 present`},
	}
	kinds := map[string]bool{}
	for _, tt := range tests {
		kinds[signal.Type("backend", &tt.ev)] = true
		if got := textOf(t, 0, tt.ev); got != tt.want {
			t.Errorf("%T: got %q, want %q", tt.ev.Detail, got, tt.want)
		}
	}
	for _, typ := range signalTypes {
		if typ.name != messageType && typ.name != "phoenix.signal.dropped" && !kinds[typ.name] {
			t.Errorf("there is no event of the type %s", typ.name)
		}
	}
}

// TestTextOfLines: losses, types of a later phx, and what is no signal in the default format.
func TestTextOfLines(t *testing.T) {
	at := time.Date(2026, 2, 7, 12, 0, 6, 123456000, time.Local)
	dropped := signal.NewEncoder(signal.FormatSignal, "backend").AppendDropped(nil, signal.Dropped{Count: 3, Policy: "drop-oldest", FirstSeq: 17, LastSeq: 20}, at)
	form := &textForm{width: func() int { return 0 }}
	if got := withoutClock(t, string(form.append(nil, bytes.TrimSuffix(dropped, []byte("\n"))))); got != "! 3 lost, drop-oldest; seq 17 to 20" {
		t.Errorf("a loss: %q", got)
	}
	later := `{"type":"phoenix.connection.paused","time":"` + at.Format(time.RFC3339Nano) + `","data":{"connection_name":"backend","for_ms":3},"metadata":{"connection_name":"backend"}}`
	if got := withoutClock(t, string(form.append(nil, []byte(later)))); got != `* connection.paused  {"connection_name":"backend","for_ms":3}` {
		t.Errorf("a type of a later phx: %q", got)
	}
	for text, want := range map[string]string{
		`{"a": 1}`: `{"a": 1}`, `{"type":"phoenix.a.b.c","metadata":7}`: `{"type":"phoenix.a.b.c","metadata":7}`, `{"type":"x","metadata":{}}`: `{"type":"x","metadata":{}}`,
		"\"\u009b\u202e\"": `"\u009b\u202e"`, `[ ]`: `[ ]`,
	} {
		if got := string(form.append(nil, []byte(text))); got != want+"\n" {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestAppendCut: the widths are those that terminals give these characters.
func TestAppendCut(t *testing.T) {
	tests := []struct {
		line  string
		width int
		want  string
	}{
		{"abc", 0, "abc"}, {"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"ab", 1, "…"}, {"", 1, ""},
		{"世界", 4, "世界"}, {"世界!", 4, "世…"}, {"世界", 3, "世…"}, {"世界", 2, "…"}, {"世", 2, "世"},
		{"e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"}, {"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
		{"👩\u200d👩\u200d👧 x", 4, "👩\u200d👩\u200d👧 x"}, {"👩\u200d👩\u200d👧 xy", 4, "👩\u200d👩\u200d👧 …"},
		{"\x1b[31mabc\x1b[0m", 3, "\x1b[31mabc\x1b[0m"}, {"\x1b[31mabcd\x1b[0m", 3, "\x1b[31mab…\x1b[0m"},
		{"ab\x1b[31mcd\x1b[0m", 2, "a…"}, {"a\x1b[31mb\x1b[0mc", 2, "a\x1b[31m…\x1b[0m"},
	}
	for _, tt := range tests {
		if got := string(appendCut([]byte("> "), []byte(tt.line), tt.width)); got != "> "+tt.want {
			t.Errorf("%q at %d: got %q, want %q", tt.line, tt.width, got, tt.want)
		}
	}
}

// TestTextColumns: columns grow up to a width, and a long name leaves its line room for the rest.
func TestTextColumns(t *testing.T) {
	form := &textForm{names: true, width: func() int { return 90 }}
	reserve(&form.nameWidth, "backend")
	var got []byte
	for _, ev := range []phoenix.Event{
		{Topic: "a", Name: "b"}, {Topic: "room:lobby", Name: "new_msg"}, {Topic: "a", Name: "b"}, {Topic: strings.Repeat("x", 200), Name: strings.Repeat("世", 100)}, {Topic: "a", Name: "b"},
	} {
		ev.Detail, ev.Payload = &phoenix.Message{}, phoenix.JSON("1")
		line := signal.NewEncoder(signal.FormatSignal, "b").Append(nil, &ev)
		line = form.append(nil, bytes.TrimSuffix(line, []byte("\n")))
		got = append(got, line[len("00:00:00.000"):]...)
	}
	want := `  b        a  b  1
  b        room:lobby  new_msg  1
  b        a           b        1
  b        ` + strings.Repeat("x", 29) + "…  " + strings.Repeat("世", 14) + `…  1
  b        a                         b                         1
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

var colourCodes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// FuzzText: whatever a server sends becomes one line without anything in it that a terminal obeys but colours, not wider than it may be.
func FuzzText(f *testing.F) {
	f.Add("room:a", "new_msg", []byte(`{"a":[1,{"b":"\u0000\\"}],"c":{},"d":[ ]}`), 20)
	f.Add("\x1b[2J\u202e\xff", "", []byte("[\"\u009b\x7f\u2028\u202e\u2066\", -1.5e+10,true]"), 3)
	f.Add("世界", "e\u0301", []byte(`"👩‍👩‍👧 …"`), 40)
	f.Fuzz(func(t *testing.T, topic, event string, payload []byte, width int) {
		if !json.Valid(payload) || !utf8.Valid(payload) || bytes.ContainsAny(payload, "\r\n") {
			return // no event has it as it is
		}
		width = max(width%200, 0)
		ev := phoenix.Event{Topic: topic, Name: event, Payload: phoenix.Payload{Data: payload}, Detail: &phoenix.Message{}}
		line := bytes.TrimSuffix(signal.NewEncoder(signal.FormatSignal, "backend").Append(nil, &ev), []byte("\n"))
		plain := string((&textForm{width: func() int { return width }}).append(nil, line))
		whole := string((&textForm{width: func() int { return 0 }}).append(nil, line))
		coloured := string((&textForm{color: true, width: func() int { return width }}).append(nil, line))
		text, ended := strings.CutSuffix(plain, "\n")
		if !ended || strings.ContainsFunc(text, func(r rune) bool {
			return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
		}) || !utf8.ValidString(text) {
			t.Errorf("a terminal would obey %q", plain)
		}
		if got := colourCodes.ReplaceAllString(coloured, ""); strings.TrimRight(got, " \n") != strings.TrimRight(text, " ") {
			t.Errorf("with colours it is %q, without %q", got, text)
		}
		isASCII := !strings.ContainsFunc(strings.TrimSuffix(text, ellipsis), func(r rune) bool { return r >= utf8.RuneSelf })
		if isASCII && width > 0 && utf8.RuneCountInString(text) > width {
			t.Errorf("%q is wider than %d", text, width)
		}
		if width == 0 && plain != whole {
			t.Errorf("%q was cut", plain)
		}
	})
}

// BenchmarkText is what a line of text costs.
func BenchmarkText(b *testing.B) {
	ev := phoenix.Event{Topic: "room:lobby", Name: "new_msg", Payload: phoenix.JSON(`{"body":"hello","n":12345,"user":{"id":7,"name":"Ann"}}`), Detail: &phoenix.Message{}}
	line := bytes.TrimSuffix(signal.NewEncoder(signal.FormatSignal, "backend").Append(nil, &ev), []byte("\n"))
	form := &textForm{color: true, width: func() int { return 80 }}
	var dst []byte
	for b.Loop() {
		dst = form.append(dst[:0], line)
	}
}
