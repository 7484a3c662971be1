package phoenix

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"phx/phoenix/rawjson"
)

// The versions are those of the transcripts vsn.ndjson.
func TestCodecFor(t *testing.T) {
	for vsn, want := range map[string]codec{
		"2.0.0": codecV2{}, "2.0.9": codecV2{}, "1.0.0": codecV1{}, "1.0.5": codecV1{}, "2.0.10": codecV2{},
		"": nil, "2": nil, "2.0": nil, "2.0.": nil, "2.1.0": nil, "3.0.0": nil, "abc": nil, "2.0.0-rc.0": nil, "2.0.0.0": nil,
		"2.0.00": nil, "2.0.+1": nil, "2.0.0 ": nil, "1.1.0": nil,
	} {
		got, err := codecFor(vsn)
		if got != want || (err == nil) != (want != nil) {
			t.Errorf("codecFor(%q) = %T, %v; want %T", vsn, got, err, want)
		}
	}
}

func TestCheckPayload(t *testing.T) {
	for _, p := range []Payload{{}, JSON(`{}`), JSON(" [1]\n"), JSON(`null`), Binary(nil), Binary([]byte{0xff})} {
		if err := checkPayload(p); err != nil {
			t.Errorf("%q: %v", p.Data, err)
		}
	}
	for _, text := range []string{"", " ", "{", "{} {}", "\"\xff\""} {
		if err := checkPayload(JSON(text)); err == nil {
			t.Errorf("%q is taken for JSON", text)
		}
	}
}

func text(s string) Payload { return Payload{Data: []byte(s)} }

// A decodeTest is a text frame; without want it is to be refused.
type decodeTest struct {
	name, frame string
	want        *decoded
}

func (test decodeTest) run(t *testing.T, c codec, model func([]byte) (decoded, bool)) {
	t.Run(test.name, func(t *testing.T) {
		// The table and the model judge each other, too.
		modelled, ok := model([]byte(test.frame))
		if ok != (test.want != nil) {
			t.Fatalf("the model's verdict on %q is %t", test.frame, ok)
		}
		checkDecode(t, c, []byte(test.frame), false, modelled, ok)
		if ok {
			checkDecode(t, c, []byte(test.frame), false, *test.want, true)
		}
	})
}

func TestDecodeV2(t *testing.T) {
	for _, test := range []decodeTest{
		{"broadcast", `[null,null,"room:1","msg",{"a":1.0}]`, &decoded{Topic: "room:1", Event: "msg", Payload: text(`{"a":1.0}`)}},
		{"push", `["1",null,"room:1","msg",[]]`, &decoded{JoinRef: "1", Topic: "room:1", Event: "msg", Payload: text(`[]`)}},
		{"white space", " [ null , \"2\"\t,\"t\" , \"e\" , { \"a\" : 1 } ]\r\n",
			&decoded{Ref: "2", Topic: "t", Event: "e", Payload: text(`{ "a" : 1 }`)}},
		{"line breaks between tokens", "[null,null,\"t\",\"e\",{\n\"a\":1\r\n}]",
			&decoded{Topic: "t", Event: "e", Payload: Payload{Data: []byte("{\n\"a\":1\r\n}"), Broken: true}}},
		{"line breaks around the payload", "[null,null,\"t\",\"e\",\n{}\n]\n", &decoded{Topic: "t", Event: "e", Payload: text(`{}`)}},
		{"number as ref", `[-1.5,2,"t","e",0]`, &decoded{JoinRef: "-1.5", Ref: "2", Topic: "t", Event: "e", Payload: text(`0`)}},
		{"empty strings", `["","","","",""]`, &decoded{Payload: text(`""`)}},
		{"topic null", `[null,"2",null,"e",{}]`, &decoded{Ref: "2", Event: "e", Payload: text(`{}`)}},
		{"escapes in the header", `["\u0031",null,"r\u00f6m\"","a\/\n",{"k":"\u00f6"}]`,
			&decoded{JoinRef: "1", Topic: `röm"`, Event: "a/\n", Payload: text(`{"k":"\u00f6"}`)}},
		{"lone surrogates", `[null,null,"\ud83d","\ude00\ud83d\ude00","\ud83d"]`,
			&decoded{Topic: "\ufffd", Event: "\ufffd😀", Payload: text(`"\ud83d"`)}},
		{"more elements", `[null,null,"t","e",1, {"x":[]} ,2]`, &decoded{Topic: "t", Event: "e", Payload: text(`1`)}},
		{"reply", `["1","2","t","phx_reply",{"status":"ok","response":{"a":1}}]`,
			&decoded{JoinRef: "1", Ref: "2", Topic: "t", Event: "phx_reply", Status: "ok", HasStatus: true, Payload: text(`{"a":1}`)}},
		{"reply with other keys in another order", "[null,\"2\",\"t\",\"phx_reply\", {\"x\":[1], \"response\" :\n\"text\"\n, \"status\":\"custom\"}]",
			&decoded{Ref: "2", Topic: "t", Event: "phx_reply", Status: "custom", HasStatus: true, Payload: text(`"text"`)}},
		{"reply with keys twice", `[null,"2","t","phx_reply",{"status":1,"response":1,"status":"a","response":null}]`,
			&decoded{Ref: "2", Topic: "t", Event: "phx_reply", Status: "a", HasStatus: true, Payload: text(`null`)}},
		{"reply with escapes in keys and status", `[null,"2","t","phx_reply",{"st\u0061tus":"\u006fk","respons\u0065":[]}]`,
			&decoded{Ref: "2", Topic: "t", Event: "phx_reply", Status: "ok", HasStatus: true, Payload: text(`[]`)}},
		{"reply with escapes in the event", `[null,"2","t","phx\u005freply",{"status":"","response":1}]`,
			&decoded{Ref: "2", Topic: "t", Event: "phx_reply", HasStatus: true, Payload: text(`1`)}},
		{"reply without response", `[null,"2","t","phx_reply",{"status":"ok"}]`,
			&decoded{Ref: "2", Topic: "t", Event: "phx_reply", Status: "ok", HasStatus: true}},
		{"reply without status", `[null,"2","t","phx_reply",{"response":{}}]`, nil},
		{"reply with another status at last", `[null,"2","t","phx_reply",{"status":"ok","status":null}]`, nil},
		{"reply that is an array", `[null,"2","t","phx_reply",["status","ok"]]`, nil},
		{"reply with a comma too much", `[null,"2","t","phx_reply",{"status":"ok",}]`, nil},
		{"empty frame", ``, nil},
		{"object", `{"topic":"t","event":"e","payload":{},"ref":null}`, nil},
		{"four elements", `[null,null,"t","e"]`, nil},
		{"no payload", `[null,null,"t","e",]`, nil},
		{"cut off", `[null,null,"t","e",{"a":1}`, nil},
		{"object as ref", `[{},null,"t","e",{}]`, nil},
		{"true as ref", `[null,true,"t","e",{}]`, nil},
		{"event null", `[null,null,"t",null,{}]`, nil},
		{"event number", `[null,null,"t",1,{}]`, nil},
		{"trailing garbage", `[null,null,"t","e",{}]]`, nil},
		{"bad further element", `[null,null,"t","e",{},tru]`, nil},
		{"comma at the end", `[null,null,"t","e",{},]`, nil},
		{"bad payload", `[null,null,"t","e",{"a":01}]`, nil},
		{"bad UTF-8 in the topic", "[null,null,\"t\xff\",\"e\",{}]", nil},
		{"bad UTF-8 in the payload", "[null,null,\"t\",\"e\",\"\xc3\"]", nil},
		{"control character in the event", "[null,null,\"t\",\"e\x01\",{}]", nil},
	} {
		test.run(t, codecV2{}, modelV2)
	}
}

func TestDecodeV1(t *testing.T) {
	for _, test := range []decodeTest{
		{"push", `{"topic":"t","event":"e","payload":{"a":1},"ref":null}`, &decoded{Topic: "t", Event: "e", Payload: text(`{"a":1}`)}},
		{"keys in another order", `{"event":"phx_close","payload":{},"ref":"1","topic":"t"}`,
			&decoded{Ref: "1", Topic: "t", Event: "phx_close", Payload: text(`{}`)}},
		{"white space and line breaks", " {\r\n\"payload\" : [\n] ,\n\"event\":\"e\",\"topic\":\"t\"}\n",
			&decoded{Topic: "t", Event: "e", Payload: Payload{Data: []byte("[\n]"), Broken: true}}},
		{"no ref", `{"topic":"t","event":"e","payload":null}`, &decoded{Topic: "t", Event: "e", Payload: text(`null`)}},
		{"join_ref and number", `{"topic":"t","event":"e","payload":1,"ref":7,"join_ref":"3"}`,
			&decoded{JoinRef: "3", Ref: "7", Topic: "t", Event: "e", Payload: text(`1`)}},
		{"unknown keys", `{"x":{"topic":"no"},"topic":"t","event":"e","payload":1,"y":[]}`,
			&decoded{Topic: "t", Event: "e", Payload: text(`1`)}},
		{"keys twice", `{"topic":1,"event":null,"payload":1,"ref":{},"topic":"t","event":"e","payload":2,"ref":"9"}`,
			&decoded{Ref: "9", Topic: "t", Event: "e", Payload: text(`2`)}},
		{"escapes", `{"to\u0070ic":"r\u00f6m","event":"\"","payload":"\n"}`, &decoded{Topic: "röm", Event: `"`, Payload: text(`"\n"`)}},
		{"topic null", `{"topic":null,"event":"e","payload":{}}`, &decoded{Event: "e", Payload: text(`{}`)}},
		{"reply", `{"event":"phx_reply","payload":{"response":{"a":1} ,"status":"ok"},"ref":"1","topic":"t"}`,
			&decoded{Ref: "1", Topic: "t", Event: "phx_reply", Status: "ok", HasStatus: true, Payload: text(`{"a":1}`)}},
		{"reply without response", `{"event":"phx_reply","payload":{"status":"ok"},"ref":"1","topic":"t"}`,
			&decoded{Ref: "1", Topic: "t", Event: "phx_reply", Status: "ok", HasStatus: true}},
		{"reply that is a string", `{"event":"phx_reply","payload":"ok","ref":"1","topic":"t"}`, nil},
		{"no topic", `{"event":"e","payload":{}}`, nil},
		{"no event", `{"topic":"t","payload":{}}`, nil},
		{"no payload", `{"topic":"t","event":"e"}`, nil},
		{"event null", `{"topic":"t","event":null,"payload":{}}`, nil},
		{"bad ref", `{"topic":"t","event":"e","payload":{},"ref":[]}`, nil},
		{"bad join_ref", `{"topic":"t","event":"e","payload":{},"join_ref":false}`, nil},
		{"bad value of an unknown key", `{"topic":"t","event":"e","payload":{},"x":tru}`, nil},
		{"trailing garbage", `{"topic":"t","event":"e","payload":{}}}`, nil},
		{"array", `[null,null,"t","e",{}]`, nil},
		{"empty frame", ``, nil},
		{"empty object", `{}`, nil},
	} {
		test.run(t, codecV1{}, modelV1)
	}
}

// What a frame held before does not shine through, and the time at which it came stays.
func TestScanResets(t *testing.T) {
	at := time.Unix(1, 0)
	for _, c := range []codec{codecV1{}, codecV2{}} {
		for _, data := range []string{``, `[`, `{`, `[null,null,"t","e",{}]`, `{"topic":"t","event":"e","payload":1}`} {
			f := frame{at: at, joinRef: []byte("1"), ref: []byte("2"), status: []byte("ok"), skipped: true, payload: Binary(nil)}
			err := c.scan([]byte(data), false, &f)
			if f.at != at || f.joinRef != nil || f.ref != nil || f.status != nil || f.skipped || f.payload.Binary {
				t.Errorf("%T, %q (error %v): the frame is %+v", c, data, err, f)
			}
		}
	}
}

// The scan of vsn 2.0.0 leaves the payload to finish, so that a filter can look at the header first.
func TestScanV2LeavesPayload(t *testing.T) {
	var f frame
	if err := (codecV2{}).scan([]byte(`["1",null,"t","e", {"broken`), false, &f); err != nil || string(f.event) != "e" {
		t.Fatalf("scan: event %q, error %v", f.event, err)
	}
	err := codecV2{}.finish(&f)
	var syntax *rawjson.SyntaxError
	if !errors.As(err, &syntax) || syntax.Fault != rawjson.FaultEndOfText {
		t.Errorf("finish: %v", err)
	}
}

// Appending to a payload does not write into the buffer behind it.
func TestPayloadHasNoSpareCapacity(t *testing.T) {
	for _, test := range []struct {
		c     codec
		frame string
	}{
		{codecV2{}, `[null,null,"t","e",{"a":1}]`},
		{codecV2{}, `[null,"1","t","phx_reply",{"status":"ok","response":{"a":1}}]`},
		{codecV1{}, `{"payload":{"a":1},"topic":"t","event":"e"}`},
	} {
		got, err := decode(test.c, []byte(test.frame), false)
		if p := got.Payload.Data; err != nil || string(p) != `{"a":1}` || cap(p) != len(p) {
			t.Errorf("%s: payload %q, capacity %d, error %v", test.frame, p, cap(p), err)
		}
	}
}

// No error repeats what it is about: that may be secret.
func TestErrorsHoldNoText(t *testing.T) {
	for _, frame := range []string{
		`[null,null,"hunter2","hunter2",{"hunter2":hunter2}]`, `["hunter2`, `hunter2`, `{"topic":"hunter2","event":hunter2}`,
		`[null,null,"t","phx_reply",{"status":["hunter2"]}]`, `{"topic":["hunter2"],"event":"hunter2","payload":1}`,
	} {
		for _, c := range []codec{codecV1{}, codecV2{}} {
			if _, err := decode(c, []byte(frame), false); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%T, %s: %v", c, frame, err)
			}
		}
	}
	if err := checkPayload(JSON(`{"password":hunter2}`)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	for _, test := range []struct {
		c     codec
		frame string
	}{
		{codecV2{}, benchV2}, {codecV2{}, benchReplyV2}, {codecV1{}, benchV1},
		{codecV2{}, string(serverBinary(1, []byte("data"), "1", "2", "room:1", "ok"))},
	} {
		data := []byte(test.frame)
		binary := bytes.HasPrefix(data, []byte{1})
		var f frame
		n := testing.AllocsPerRun(100, func() {
			if test.c.scan(data, binary, &f) != nil || test.c.finish(&f) != nil {
				t.Fatalf("%q is not decoded", data)
			}
		})
		if n != 0 {
			t.Errorf("%q: %v allocations", data, n)
		}
	}
}

func TestAppendText(t *testing.T) {
	for _, test := range []struct {
		name   string
		m      message
		v2, v1 string
	}{
		{"push", message{"1", "2", "room:1", "msg", JSON(`{"a": 1.0}`), ""},
			`["1","2","room:1","msg",{"a": 1.0}]`,
			`{"topic":"room:1","event":"msg","payload":{"a": 1.0},"ref":"2","join_ref":"1"}`},
		{"heartbeat", message{"", "3", topicPhoenix, eventHeartbeat, Payload{}, ""},
			`[null,"3","phoenix","heartbeat",{}]`,
			`{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"3","join_ref":null}`},
		{"escapes", message{"1", "2", "a\"\\\n\x00\x1f<&>ü\u2028\x7f", "", JSON("[1,\n2]"), ""},
			"[\"1\",\"2\",\"a\\\"\\\\\\n\\u0000\\u001f<&>ü\u2028\x7f\",\"\",[1,\n2]]",
			"{\"topic\":\"a\\\"\\\\\\n\\u0000\\u001f<&>ü\u2028\x7f\",\"event\":\"\",\"payload\":[1,\n2],\"ref\":\"2\",\"join_ref\":\"1\"}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for c, want := range map[codec]string{codecV2{}: test.v2, codecV1{}: test.v1} {
				got, binary, err := c.append([]byte("before"), &test.m)
				if string(got) != "before"+want || binary || err != nil {
					t.Errorf("%T: %q, binary %t, error %v; want %q", c, got, binary, err, want)
				}
			}
		})
	}
}

// Frames written out by hand after PROTOCOL.md, section 3. "no data" and "data" are recorded (binary_push.ndjson).
func TestBinaryVectors(t *testing.T) {
	m := message{"7", "12", "room:ü", "blob", Binary([]byte{0, 0xff}), ""}
	got, binary, err := codecV2{}.append([]byte("before"), &m)
	if want := "before\x00\x01\x02\x07\x04712room:üblob\x00\xff"; string(got) != want || !binary || err != nil {
		t.Errorf("push: %q, binary %t, error %v; want %q", got, binary, err, want)
	}
	for _, test := range []struct {
		name, frame string
		want        decoded
	}{
		{"data", "\x00\x01\x06\x031room:1bin\x00\x01\x02\xff",
			decoded{JoinRef: "1", Topic: "room:1", Event: "bin", Payload: Binary([]byte{0, 1, 2, 0xff})}},
		{"no data", "\x00\x01\x06\x031room:1bin", decoded{JoinRef: "1", Topic: "room:1", Event: "bin", Payload: Binary(nil)}},
		{"reply", "\x01\x01\x02\x06\x05312room:1maybe{}", decoded{JoinRef: "3", Ref: "12", Topic: "room:1", Event: "phx_reply",
			Status: "maybe", HasStatus: true, Payload: Binary([]byte("{}"))}},
		{"broadcast", "\x02\x07\x02room:ü\xc3\xa9\xff",
			decoded{Topic: "room:ü", Event: "é", Payload: Binary([]byte{0xff})}},
		{"nothing at all", "\x02\x00\x00", decoded{Payload: Binary(nil)}},
		{"reply with an empty status", "\x01\x00\x00\x00\x00", decoded{Event: "phx_reply", HasStatus: true, Payload: Binary(nil)}},
	} {
		t.Run(test.name, func(t *testing.T) { checkDecode(t, codecV2{}, []byte(test.frame), true, test.want, true) })
	}
}

func TestBadBinaryFrames(t *testing.T) {
	for _, test := range []struct {
		frame string
		want  error
	}{
		{"", errBinaryShort},
		{"\x00", errBinaryShort},
		{"\x00\x00\x00", errBinaryShort},
		{"\x01\x00\x00\x00", errBinaryShort},
		{"\x02\x01\x01t", errBinaryShort},
		{"\x02\x02\x01\xc3\xbce", nil},
		{"\x02\x01\x02\xc3\xbce", errBinaryUTF8},
		{"\x01\x00\x00\x00\x01\xff", errBinaryUTF8},
		{"\x03\x00\x00", unknownKindError(3)},
		{"\x04\x01\x01\x00\x01te{}", unknownKindError(4)}, // a broadcast of Supabase
		{"[null,null,\"t\",\"e\",{}]", unknownKindError('[')},
	} {
		if _, err := decode(codecV2{}, []byte(test.frame), true); !errors.Is(err, test.want) {
			t.Errorf("%q: %v; want %v", test.frame, err, test.want)
		}
	}
	if _, err := decode(codecV1{}, []byte(`{"topic":"t","event":"e","payload":{}}`), true); !errors.Is(err, errBinaryFrame) {
		t.Errorf("a binary frame with vsn 1.0.0: %v", err)
	}
	if text := unknownKindError(4).Error(); !strings.Contains(text, "4") {
		t.Errorf("%q does not name the kind", text)
	}
}

func TestAppendRefuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	binary := Binary([]byte{1})
	for _, test := range []struct {
		c    codec
		m    message
		want error
	}{
		{codecV1{}, message{"1", "2", "t", "e", binary, ""}, errBinaryPayload},
		{codecV1{}, message{"1", "2", "t\xff", "e", Payload{}, ""}, errTopicUTF8},
		{codecV2{}, message{"1", "2", "t", "\xc3", Payload{}, ""}, errEventUTF8},
		{codecV2{}, message{"1", "2", "t\xff", "e", binary, ""}, errTopicUTF8},
		{codecV2{}, message{"", "2", "t", "e", binary, ""}, errBinaryJoinRef},
		{codecV2{}, message{"1", "2", long, "e", binary, ""}, errBinaryLong},
		{codecV2{}, message{"1", "2", "t", long, binary, ""}, errBinaryLong},
		{codecV2{}, message{"1", "2", long[1:], long[1:], binary, ""}, nil},
		{codecV2{}, message{"1", "2", long, long, Payload{}, ""}, nil},
	} {
		got, _, err := test.c.append([]byte("before"), &test.m)
		if !errors.Is(err, test.want) || !bytes.HasPrefix(got, []byte("before")) || err != nil && len(got) != len("before") {
			t.Errorf("%T, topic %.20q, event %.20q: %q, error %v; want %v", test.c, test.m.topic, test.m.event, got, err, test.want)
		}
	}
}

// What we send says the same to an independent decoder, and comes back the same from a server that echoes it.
func FuzzRoundTrip(f *testing.F) {
	f.Add("1", "2", "room:lobby", "new_msg", []byte(`{"a":[1,"ü"]}`), false)
	f.Add("", "2", "phoenix", "heartbeat", []byte(`{}`), false)
	f.Add("1", "2", "a\"\\\n\x00ü\u2028", "<&>\x7f", []byte("[\r\n]"), false)
	f.Add("10", "11", "röm", "", []byte{0, 0xff}, true)
	f.Add("0", "0", "\xc1", "", []byte{1}, true)
	f.Add("1", "2", "t", "phx_reply", []byte(`{"status":"ok","response":1}`), false)
	f.Fuzz(func(t *testing.T, joinRef, ref, topic, event string, data []byte, binary bool) {
		m := message{joinRef, ref, topic, event, Payload{Data: data, Binary: binary}, ""}
		if data == nil || checkPayload(m.payload) != nil || !utf8.ValidString(joinRef+"|"+ref) {
			return // never handed to a codec
		}
		if !binary {
			roundTripText(t, &m, codecV2{}, modelV2)
			roundTripText(t, &m, codecV1{}, modelV1)
			return
		}
		frame, isBinary, err := codecV2{}.append(nil, &m)
		fits := max(len(joinRef), len(ref), len(topic), len(event)) <= 255
		if ok := fits && joinRef != "" && utf8.ValidString(topic) && utf8.ValidString(event); (err == nil) != ok || ok && !isBinary {
			t.Fatalf("%+v: binary %t, error %v", m, isBinary, err)
		}
		if err != nil {
			return
		}
		if want := serverBinary(0, data, joinRef, ref, topic, event); !bytes.Equal(frame, want) {
			t.Fatalf("%+v is %q; want %q", m, frame, want)
		}
		d := decoded{Topic: topic, Event: event, Payload: m.payload}
		checkDecode(t, codecV2{}, serverBinary(2, data, topic, event), true, d, true)
		d.JoinRef = joinRef
		checkDecode(t, codecV2{}, serverBinary(0, data, joinRef, topic, event), true, d, true)
		d.Ref, d.Event, d.Status, d.HasStatus = ref, "phx_reply", event, true
		checkDecode(t, codecV2{}, serverBinary(1, data, joinRef, ref, topic, event), true, d, true)
	})
}

func roundTripText(t *testing.T, m *message, c codec, model func([]byte) (decoded, bool)) {
	t.Helper()
	frame, binary, err := c.append(nil, m)
	if ok := utf8.ValidString(m.topic) && utf8.ValidString(m.event); (err == nil) != ok || binary {
		t.Fatalf("%T, %+v: binary %t, error %v", c, m, binary, err)
	}
	if err != nil {
		return
	}
	if !json.Valid(frame) || !utf8.Valid(frame) {
		t.Fatalf("%T, %+v: %q is not JSON", c, m, frame)
	}
	got, ok := model(frame)
	checkDecode(t, c, frame, false, got, ok)
	if m.event == eventReply {
		return
	}
	want := decoded{JoinRef: m.joinRef, Ref: m.ref, Topic: m.topic, Event: m.event, Payload: modelPayload(m.payload.Data)}
	checkDecode(t, c, frame, false, want, true)

	// The same as a server's reply, with strings escaped in another way.
	reply := `{"response":` + string(m.payload.Data) + `,"status":` + quote(m.event) + `}`
	frame = []byte(`[` + quote(m.joinRef) + `,` + quote(m.ref) + `,` + quote(m.topic) + `,"phx_reply",` + reply + `]`)
	if _, v1 := c.(codecV1); v1 {
		frame = []byte(`{"event":"phx_reply","payload":` + reply + `,"ref":` + quote(m.ref) + `,"topic":` + quote(m.topic) + `}`)
		want.JoinRef = ""
	}
	want.Event, want.Status, want.HasStatus = eventReply, m.event, true
	checkDecode(t, c, frame, false, want, true)
}

// What a codec makes of any bytes is what the models of codec_model_test.go make of them.

func FuzzDecodeV2(f *testing.F) {
	for _, seed := range []string{
		benchV2, benchReplyV2, `["1","1","room:1","phx_close",{}]`, " [ 1 , null , \"\\u00fc\" , \"\\ud800\" ,\n[ ]\n, 2 ] ",
		`[null,"2","t","phx_reply",{"status":1,"x":{"status":"no"},"status":"a","response":"\n"}]`,
		"[null,null,\"\xff\",\"e\",{}]", `[null,null,"t","e",{}`, `[-0,1e5,null,"phx_reply",null]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, ok := modelV2(data)
		checkDecode(t, codecV2{}, data, false, want, ok)
	})
}

func FuzzDecodeV1(f *testing.F) {
	for _, seed := range []string{
		benchV1, `{"event":"phx_reply","payload":{"response":{},"status":"ok"},"ref":"1","topic":"phoenix"}`,
		"{\n\"to\\u0070ic\" : null , \"topic\":\"t\",\"event\":\"\\ud800\",\"payload\":\r[1 ,\n2],\"join_ref\":3,\"x\":[]}\n",
		`{"topic":"t","event":"e"}`, `{"topic":"t","event":"phx_reply","payload":{"status":""}}`, `{}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, ok := modelV1(data)
		checkDecode(t, codecV1{}, data, false, want, ok)
	})
}

func FuzzDecodeBinary(f *testing.F) {
	f.Add(serverBinary(0, []byte{1, 2, 0xff}, "1", "room:1", "bin"))
	f.Add(serverBinary(1, nil, "1", "2", "room:1", "ok"))
	f.Add(serverBinary(2, []byte("data"), "röm", ""))
	f.Add(serverBinary(4, []byte("{}"), "topic", "event", "meta", "\x01"))
	f.Add([]byte{1, 255, 255, 255, 255, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		want, ok := modelBinary(data)
		checkDecode(t, codecV2{}, data, true, want, ok)
	})
}

// recorded is a line of a transcript (PROTOCOL.md, part 2).
type recorded struct {
	Dir, Type string
	Data      json.RawMessage
	// Length is there when the recording holds only the beginning of a long frame.
	Length int
}

// serverFrames calls visit for every data frame that a server sent in the transcripts.
func serverFrames(t *testing.T, visit func(file string, r recorded, data []byte)) {
	t.Helper()
	for _, dir := range []string{"v1", "v2", "cowboy/v1", "cowboy/v2"} {
		files, err := filepath.Glob(filepath.Join("..", "testdata", "transcripts", filepath.FromSlash(dir), "*.ndjson"))
		if err != nil || len(files) < 80 {
			t.Fatalf("%d transcripts of %s in ../testdata/transcripts (error %v): they are part of the project", len(files), dir, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(text) {
				var r recorded
				if err := json.Unmarshal(line, &r); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if r.Dir != "server" || r.Type != "text" && r.Type != "binary" {
					continue
				}
				var data string
				if err := json.Unmarshal(r.Data, &data); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				visit(file, r, []byte(data))
			}
		}
	}
}

// Every frame that a real server was recorded to send is decoded, and as encoding/json would.
func TestTranscripts(t *testing.T) {
	var texts, binaries int
	serverFrames(t, func(file string, r recorded, data []byte) {
		var c codec = codecV2{}
		var want decoded
		var ok bool
		switch {
		case r.Length > 0:
			return // cut short by the recorder: no frame any more
		case r.Type == "binary":
			binaries++
			raw, err := base64.StdEncoding.DecodeString(string(data))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			data = raw
			want, ok = modelBinary(data)
		case data[0] == '{': // in the directories of v2, too: the scenario "vsn" connects with many
			texts++
			c = codecV1{}
			want, ok = modelV1(data)
		default:
			texts++
			want, ok = modelV2(data)
		}
		if !ok {
			t.Fatalf("%s: the model cannot decode %q", file, data)
		}
		checkDecode(t, c, data, r.Type == "binary", want, ok)
	})
	if texts < 1000 || binaries < 24 {
		t.Errorf("only %d text and %d binary frames in the transcripts", texts, binaries)
	}
}

// Frames of about 110 bytes, the commonest size.
const (
	benchV2      = `[null,null,"room:lobby","new_msg",{"body":"a message of the usual length","user":"alice","n":123456,"ok":true}]`
	benchReplyV2 = `["4","1234","room:lobby","phx_reply",{"response":{"body":"a message of usual length","n":123456},"status":"ok"}]`
	benchV1      = `{"event":"new_msg","payload":{"body":"a message of the length","n":123456},"ref":null,"topic":"room:lobby"}`
)

// benchmarkDecode measures c on text, and then encoding/json's validation alone of the same bytes for comparison.
func benchmarkDecode(b *testing.B, c codec, text string) {
	data := []byte(text)
	b.Run("codec", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		var f frame
		for b.Loop() {
			if c.scan(data, false, &f) != nil || c.finish(&f) != nil {
				b.Fatal("not decoded")
			}
		}
	})
	benchmarkStd(b, data)
}

func benchmarkStd(b *testing.B, data []byte) {
	b.Run("json.Valid", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if !json.Valid(data) || !utf8.Valid(data) {
				b.Fatal("not valid")
			}
		}
	})
}

func BenchmarkDecodeV2(b *testing.B) {
	b.Run("message", func(b *testing.B) { benchmarkDecode(b, codecV2{}, benchV2) })
	b.Run("reply", func(b *testing.B) { benchmarkDecode(b, codecV2{}, benchReplyV2) })
}

// BenchmarkScanV2 is what a message that a filter drops costs.
func BenchmarkScanV2(b *testing.B) {
	data := []byte(benchV2)
	var c codec = codecV2{}
	var f frame
	for b.Loop() {
		if c.scan(data, false, &f) != nil {
			b.Fatal("not scanned")
		}
	}
}

func BenchmarkDecodeV1(b *testing.B) { benchmarkDecode(b, codecV1{}, benchV1) }

func BenchmarkAppendV2(b *testing.B) {
	var c codec = codecV2{}
	m := message{joinRef: "4", ref: "1234", topic: "room:lobby", event: "new_msg", payload: JSON(`{"body":"hello"}`)}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _, _ = c.append(buf[:0], &m)
	}
}
