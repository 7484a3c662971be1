package phoenix

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendText(t *testing.T) {
	for _, test := range []struct {
		name   string
		m      message
		v2, v1 string
	}{
		{"push", message{"1", "2", "room:1", "msg", JSON(`{"a": 1.0}`)},
			`["1","2","room:1","msg",{"a": 1.0}]`,
			`{"topic":"room:1","event":"msg","payload":{"a": 1.0},"ref":"2","join_ref":"1"}`},
		{"heartbeat", message{"", "3", topicPhoenix, eventHeartbeat, Payload{}},
			`[null,"3","phoenix","heartbeat",{}]`,
			`{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"3","join_ref":null}`},
		{"escapes", message{"1", "2", "a\"\\\n\x00\x1f<&>ü\u2028\x7f", "", JSON("[1,\n2]")},
			"[\"1\",\"2\",\"a\\\"\\\\\\u000a\\u0000\\u001f<&>ü\u2028\x7f\",\"\",[1,\n2]]",
			"{\"topic\":\"a\\\"\\\\\\u000a\\u0000\\u001f<&>ü\u2028\x7f\",\"event\":\"\",\"payload\":[1,\n2],\"ref\":\"2\",\"join_ref\":\"1\"}"},
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
	m := message{"7", "12", "room:ü", "blob", Binary([]byte{0, 0xff})}
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
		{codecV1{}, message{"1", "2", "t", "e", binary}, errBinaryPayload},
		{codecV1{}, message{"1", "2", "t\xff", "e", Payload{}}, errTopicUTF8},
		{codecV2{}, message{"1", "2", "t", "\xc3", Payload{}}, errEventUTF8},
		{codecV2{}, message{"1", "2", "t\xff", "e", binary}, errTopicUTF8},
		{codecV2{}, message{"", "2", "t", "e", binary}, errBinaryJoinRef},
		{codecV2{}, message{"1", "2", long, "e", binary}, errBinaryLong},
		{codecV2{}, message{"1", "2", "t", long, binary}, errBinaryLong},
		{codecV2{}, message{"1", "2", long[1:], long[1:], binary}, nil},
		{codecV2{}, message{"1", "2", long, long, Payload{}}, nil},
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
		m := message{joinRef, ref, topic, event, Payload{Data: data, Binary: binary}}
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
