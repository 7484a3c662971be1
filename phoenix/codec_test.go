package phoenix

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
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
	var syntax *syntaxError
	if !errors.As(err, &syntax) || syntax.fault != faultEndOfText {
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
