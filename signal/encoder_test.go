package signal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
	"phx/signal"
)

var idMember = regexp.MustCompile(`"id":"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`)

// withoutID puts ID in the place of the line's id, which has to be a UUIDv7.
func withoutID(line []byte) string { return idMember.ReplaceAllString(string(line), `"id":"ID"`) }

func message(topic, event string, p phoenix.Payload) phoenix.Event {
	return phoenix.Event{Time: at, Seq: 6, Session: 1, Topic: topic, Name: event, Payload: p, Detail: &phoenix.Message{}}
}

// TestMessageLine compares whole lines, byte by byte.
func TestMessageLine(t *testing.T) {
	pushed := message("room:lobby", "new_msg", phoenix.JSON(`{"body":"hi"}`))
	pushed.Ref, pushed.JoinRef = "11", "3"
	broken := message("t", "e", phoenix.JSON("{\r\n  \"b\": [1,\n2],\r\"a\":\"\\n\"\n}"))
	broken.Payload.Broken = true

	const start = `{"specversion":"1.0","id":"ID","source":"/jidoka/phoenix/backend","type":"phoenix.backend.`
	const between = `"time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json","data":{`
	const short = start + `t.e","subject":"t",` + between
	const shortEnd = `},"metadata":{"connection_name":"backend","phoenix_topic":"t","phoenix_event":"e","session":1,"seq":6}}`
	tests := []struct {
		name string
		ev   phoenix.Event
		want string
	}{
		{"broadcast", message("room:lobby", "new_msg", phoenix.JSON(`{"body":"hi"}`)),
			start + `room_lobby.new_msg","subject":"room:lobby",` + between + `"payload":{"body":"hi"}},` +
				`"metadata":{"connection_name":"backend","phoenix_topic":"room:lobby","phoenix_event":"new_msg","session":1,"seq":6}}`},
		{"refs", pushed,
			start + `room_lobby.new_msg","subject":"room:lobby",` + between + `"payload":{"body":"hi"}},` +
				`"metadata":{"connection_name":"backend","phoenix_topic":"room:lobby","phoenix_event":"new_msg",` +
				`"phoenix_ref":"11","phoenix_join_ref":"3","session":1,"seq":6}}`},
		{"empty names", message("", "", phoenix.JSON(`{}`)),
			start + `_._",` + between + `"payload":{}},` +
				`"metadata":{"connection_name":"backend","phoenix_topic":"","phoenix_event":"","session":1,"seq":6}}`},
		{"strange names", message("a.b\"\\\x00\n\xff", "<é>\u2028", phoenix.JSON(`{}`)),
			start + `a_b_____.____","subject":"a.b\"\\\u0000\n` + "\uFFFD" + `",` + between + `"payload":{}},` +
				`"metadata":{"connection_name":"backend","phoenix_topic":"a.b\"\\\u0000\n` + "\uFFFD" + `","phoenix_event":"<é>` + "\u2028" + `","session":1,"seq":6}}`},
		{"as the server wrote it", message("t", "e", phoenix.JSON(`{"z":1.0,"a":12345678901234567890,"a":1E2,"s":"<&>\u0041\/"}`)),
			short + `"payload":{"z":1.0,"a":12345678901234567890,"a":1E2,"s":"<&>\u0041\/"}` + shortEnd},
		{"line breaks", broken, short + `"payload":{  "b": [1,2],"a":"\n"}` + shortEnd},
		{"binary", message("t", "e", phoenix.Binary([]byte{0xfb, 0xff, 0})), short + `"payload_base64":"+/8A"` + shortEnd},
		{"empty binary", message("t", "e", phoenix.Binary(nil)), short + `"payload_base64":""` + shortEnd},
		{"no payload", message("t", "e", phoenix.Payload{}), short + shortEnd},
	}
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
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

// TestSimilarNames: names that sanitise to the same type keep their own subject and metadata.
func TestSimilarNames(t *testing.T) {
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
	for range 2 {
		for _, names := range [][2]string{{"a:b", "c"}, {"a.b", "c"}, {"a", "b:c"}, {"a", "b.c"}} {
			ev := message(names[0], names[1], phoenix.JSON(`{}`))
			line := string(enc.Append(nil, &ev))
			if !strings.Contains(line, `"phoenix_topic":"`+names[0]+`","phoenix_event":"`+names[1]+`"`) {
				t.Errorf("%q: %s", names, line)
			}
		}
	}
}

// TestAppendDoesNotAllocate holds the project's bar for a message, once its topic and event were
// seen.
func TestAppendDoesNotAllocate(t *testing.T) {
	pushed := broadcast()
	pushed.JoinRef = "3"
	binary := broadcast()
	binary.Payload = phoenix.Binary([]byte("some bytes"))
	reply := onPush(&phoenix.PushReply{Status: "ok"}, phoenix.JSON(`{}`))
	strange := broadcast()
	strange.Topic, strange.Ref = "100%\n", "\u009f"
	for _, name := range signal.Formats() {
		format, err := signal.ParseFormat(name)
		if err != nil {
			t.Fatal(err)
		}
		events := map[string]*phoenix.Event{"broadcast": broadcast(), "pushed": pushed, "binary": binary, "reply": &reply, "strange": strange}
		for what, ev := range events {
			enc := signal.NewEncoder(format, "backend")
			buf := make([]byte, 0, 4096)
			if n := testing.AllocsPerRun(100, func() { buf = enc.Append(buf[:0], ev) }); n != 0 {
				t.Errorf("%s as %s: %v allocations", what, name, n)
			}
		}
	}
}

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

// FuzzAppend: whatever the server puts into a message or a reply, it is one line of valid JSON
// that gives back the raw names and the payload's bytes.
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

// broadcast returns the event of a frame of 110 bytes, the size that the project measures itself
// with.
func broadcast() *phoenix.Event {
	payload := `{"n":1234567,"body":"` + strings.Repeat("x", 110-len(`[null,null,"room:lobby","new_msg",{"n":1234567,"body":""}]`)) + `"}`
	return &phoenix.Event{
		Time:    time.Date(2026, 2, 7, 12, 0, 6, 123456789, time.UTC),
		Seq:     1234567,
		Session: 1,
		Topic:   "room:lobby",
		Name:    "new_msg",
		Payload: phoenix.JSON(payload),
		Detail:  &phoenix.Message{},
	}
}

// benchmarkAppend encodes a stream in which each message is a microsecond later.
func benchmarkAppend(b *testing.B, format signal.Format, ev *phoenix.Event) {
	enc := signal.NewEncoder(format, "backend")
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		ev.Seq++
		ev.Time = ev.Time.Add(time.Microsecond)
		buf = enc.Append(buf[:0], ev)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkAppendMessage(b *testing.B) {
	benchmarkAppend(b, signal.FormatSignal, broadcast())
}

// BenchmarkAppendPushedMessage is a message with a join_ref, as a channel's own push has.
func BenchmarkAppendPushedMessage(b *testing.B) {
	ev := broadcast()
	ev.JoinRef = "3"
	benchmarkAppend(b, signal.FormatSignal, ev)
}

func BenchmarkAppendPayload(b *testing.B) {
	benchmarkAppend(b, signal.FormatPayload, broadcast())
}

func BenchmarkAppendCloudEvent(b *testing.B) {
	benchmarkAppend(b, signal.FormatCloudEvents, broadcast())
}

func BenchmarkAppendPushReply(b *testing.B) {
	ev := broadcast()
	ev.Ref, ev.JoinRef = "1234", "3"
	ev.Detail = &phoenix.PushReply{Index: 1233, Status: "ok", Latency: 3 * time.Millisecond}
	benchmarkAppend(b, signal.FormatSignal, ev)
}

// BenchmarkAppendManyTopics changes the topic from message to message.
func BenchmarkAppendManyTopics(b *testing.B) {
	events := make([]*phoenix.Event, 100)
	for i := range events {
		events[i] = broadcast()
		events[i].Topic = "room:" + strings.Repeat("z", i%10) + string(rune('a'+i/10))
	}
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
	var buf []byte
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		buf = enc.Append(buf[:0], events[i])
		i = (i + 1) % len(events)
	}
	b.SetBytes(int64(len(buf)))
}

// BenchmarkEncodingJSON is what the benchmarks above are to be compared with: the same line by way
// of a struct.
func BenchmarkEncodingJSON(b *testing.B) {
	type data struct {
		Payload json.RawMessage `json:"payload"`
	}
	type metadata struct {
		Connection string `json:"connection_name"`
		Topic      string `json:"phoenix_topic"`
		Event      string `json:"phoenix_event"`
		Session    int    `json:"session"`
		Seq        uint64 `json:"seq"`
	}
	type line struct {
		SpecVersion string    `json:"specversion"`
		ID          string    `json:"id"`
		Source      string    `json:"source"`
		Type        string    `json:"type"`
		Subject     string    `json:"subject,omitempty"`
		Time        time.Time `json:"time"`
		ContentType string    `json:"datacontenttype"`
		Data        data      `json:"data"`
		Metadata    metadata  `json:"metadata"`
	}
	ev := broadcast()
	var buf strings.Builder
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	b.ReportAllocs()
	for b.Loop() {
		ev.Seq++
		buf.Reset()
		err := enc.Encode(line{
			"1.0", "01952f0e-8a00-7000-8000-000000000006", "/jidoka/phoenix/backend", signal.Type("backend", ev), ev.Topic, ev.Time,
			"application/json", data{ev.Payload.Data}, metadata{"backend", ev.Topic, ev.Name, ev.Session, ev.Seq},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(buf.Len()))
}
