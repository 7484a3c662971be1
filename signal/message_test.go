package signal_test

import (
	"regexp"
	"strings"
	"testing"

	"phx/phoenix"
	"phx/signal"
)

var idMember = regexp.MustCompile(`"id":"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`)

// withoutID puts ID in the place of the line's id, which has to be a UUIDv7.
func withoutID(line []byte) string { return idMember.ReplaceAllString(string(line), `"id":"ID"`) }

func message(topic, event string, p phoenix.Payload) phoenix.Event {
	return phoenix.Event{Time: at, Seq: 6, Session: 1, Topic: topic, Name: event, Payload: p, Detail: phoenix.Message{}}
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

// TestAppendDoesNotAllocate holds the project's bar for a message, once its topic and event were seen.
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
