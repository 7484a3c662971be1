package signal_test

import (
	"math"
	"net/url"
	"strings"
	"testing"

	"phx/phoenix"
	"phx/signal"
)

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

// TestStrangeRefIsOfOneLine: the lines before and after the one that had to be encoded are as they were.
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

// FuzzCloudEvent: whatever the names and refs, the line is one of JSON whose attributes are CloudEvents Strings and give the names
// back.
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
