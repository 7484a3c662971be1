package phoenixtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecode(t *testing.T) {
	push := message{joinRef: `"1"`, ref: `"2"`, topic: `"room:1"`, event: `"ping"`, payload: RawJSON(`{"a": 1.0}`)}
	binary := push
	binary.payload = Binary([]byte{0, 255})
	noJoinRef := push
	noJoinRef.joinRef = null
	integers := push
	integers.joinRef, integers.ref = "1", "2"
	for name, test := range map[string]struct {
		ser  serializer
		op   byte
		data string
		want *message // nil: undecodable
	}{
		"v2":                    {serializerV2{}, opText, `["1","2","room:1","ping",{"a": 1.0}]`, &push},
		"v2 spaced":             {serializerV2{}, opText, " [ \"1\" ,\"2\",\n\"room:1\",\"ping\",{\"a\": 1.0} ] ", &push},
		"v2 escaped":            {serializerV2{}, opText, `["\u0031","2","room:\u0031","ping",{"a": 1.0}]`, &push},
		"v2 integers":           {serializerV2{}, opText, `[1,2,"room:1","ping",{"a": 1.0}]`, &integers},
		"v2 extra element":      {serializerV2{}, opText, `["1","2","room:1","ping",{"a": 1.0},9]`, &push},
		"v2 short":              {serializerV2{}, opText, `["1","2","room:1","ping"]`, nil},
		"v2 object":             {serializerV2{}, opText, `{}`, nil},
		"v2 trailing":           {serializerV2{}, opText, `["1","2","room:1","ping",{}]x`, nil},
		"v2 binary":             {serializerV2{}, opBinary, "\x00\x01\x01\x06\x0412room:1ping\x00\xff", &binary},
		"v2 binary of a reply":  {serializerV2{}, opBinary, "\x01\x01\x01\x06\x0412room:1ping", nil},
		"v2 binary without all": {serializerV2{}, opBinary, "\x00\x01\x01\x06\x0512room:1ping", nil},
		"v2 binary empty":       {serializerV2{}, opBinary, "", nil},
		"v1":                    {serializerV1{}, opText, `{"topic":"room:1","event":"ping","payload":{"a": 1.0},"ref":"2","join_ref":"1"}`, &push},
		"v1 in a binary frame":  {serializerV1{}, opBinary, `{"topic":"room:1","event":"ping","payload":{"a": 1.0},"ref":"2"}`, &noJoinRef},
		"v1 key given twice":    {serializerV1{}, opText, `{"topic":"room:1","topic":"x","event":"ping","payload":{"a": 1.0},"ref":"2"}`, &noJoinRef},
		"v1 without a ref":      {serializerV1{}, opText, `{"topic":"room:1","event":"ping","payload":{}}`, nil},
		"v1 array":              {serializerV1{}, opText, `["1","2","room:1","ping",{}]`, nil},
		"v1 empty":              {serializerV1{}, opText, ``, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.ser.decode(wsFrame{op: test.op, data: []byte(test.data)})
			switch {
			case test.want == nil && !errors.Is(err, errUndecodable):
				t.Errorf("got %v, %v", got, err)
			case test.want != nil && (err != nil || !same(got, *test.want)):
				t.Errorf("got %v, %v, want %v", got, err, *test.want)
			}
		})
	}
}

func same(a, b message) bool {
	return a.joinRef == b.joinRef && a.ref == b.ref && a.topic == b.topic && a.event == b.event &&
		a.payload.binary == b.payload.binary && bytes.Equal(a.payload.data, b.payload.data)
}

func TestEncode(t *testing.T) {
	push := message{joinRef: `"1"`, ref: null, topic: `"é"`, event: `"e"`, payload: RawJSON("[]")}
	reply := message{joinRef: `"1"`, ref: `"2"`, topic: `"t"`, isReply: true, status: "ok", payload: RawJSON("null")}
	broadcast := message{joinRef: null, ref: null, topic: `"t"`, event: `"e"`, isBroadcast: true, payload: RawJSON("{}")}
	binary := func(m message) message {
		m.payload = Binary([]byte("\xff"))
		return m
	}
	term := push
	term.payload = Term("a tuple")
	for name, test := range map[string]struct {
		ser  serializer
		m    message
		want string // "": it panics
	}{
		"v2 push":             {serializerV2{}, push, `["1",null,"é","e",[]]`},
		"v2 reply":            {serializerV2{}, reply, `["1","2","t","phx_reply",{"response":null,"status":"ok"}]`},
		"v2 broadcast":        {serializerV2{}, broadcast, `[null,null,"t","e",{}]`},
		"v2 binary push":      {serializerV2{}, binary(push), "\x00\x01\x02\x011ée\xff"},
		"v2 binary reply":     {serializerV2{}, binary(reply), "\x01\x01\x01\x01\x0212tok\xff"},
		"v2 binary broadcast": {serializerV2{}, binary(broadcast), "\x02\x01\x01te\xff"},
		"v2 binary integer":   {serializerV2{}, binary(message{joinRef: "1", ref: null, topic: `"t"`, event: `"e"`}), ""},
		"v2 binary too long":  {serializerV2{}, binary(message{joinRef: null, ref: null, topic: `"t"`, event: stringTerm(strings.Repeat("e", 256))}), ""},
		"v1 push":             {serializerV1{}, push, `{"event":"e","payload":[],"ref":null,"topic":"é"}`},
		"v1 reply":            {serializerV1{}, reply, `{"event":"phx_reply","payload":{"response":null,"status":"ok"},"ref":"2","topic":"t"}`},
		"v1 binary":           {serializerV1{}, binary(push), ""},
		"v1 term":             {serializerV1{}, term, ""},
		"v2 term":             {serializerV2{}, term, ""},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r := recover(); (r != nil) != (test.want == "") {
					t.Errorf("panic %v", r)
				}
			}()
			if got := string(test.ser.encode(test.m).data); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestAppendString(t *testing.T) {
	const s = "a\"\\/<é\u2028\n\r\t\x01\x1f\x7f"
	const want = `"a\"\\/<é` + "\u2028" + `\n\r\t\u0001\u001F` + "\x7f" + `"`
	if got := string(appendString(nil, s)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNewSerializer(t *testing.T) {
	for vsn, want := range map[string]string{
		"1.0.0": "V1", "1.0.5": "V1", "2.0.0": "V2", "2.0.9": "V2",
		"": "", "2": "", "2.0": "", "2.1.0": "", "3.0.0": "", "abc": "", "2.0.0-rc.0": "", "2.0.-1": "",
	} {
		ser := newSerializer(vsn, []string{"1.0.0", "2.0.0", "3.0.0"})
		if got := ser != nil; got != (want != "") || got && !strings.Contains(ser.name(), want) {
			t.Errorf("vsn %q: %v", vsn, ser)
		}
	}
	if newSerializer("1.0.0", []string{"2.0.0"}) != nil {
		t.Error("a vsn that the socket does not have")
	}
}

// FuzzDecode wants of the decoders that they never panic, and that what they accept can be
// sent back: as JSON that is valid and, in vsn 2, that decodes to the same message.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`["1","2","room:1","ping",{"a": 1.0}]`, `[1,null,5,null,"x",[]]`, `["\ud83d","\"","\u0001","",0]`,
		`{"topic":"room:1","event":"ping","payload":{},"ref":"2","join_ref":"1"}`, `{"topic":1}`,
		"\x00\x01\x01\x06\x0412room:1ping\x00\xff", "\x00\xff\xff\xff\xff", "",
	} {
		f.Add(true, []byte(seed))
		f.Add(false, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, text bool, data []byte) {
		frame := wsFrame{op: opBinary, data: data}
		if text {
			frame.op = opText
		}
		for _, ser := range []serializer{serializerV1{}, serializerV2{}} {
			m, err := ser.decode(frame)
			if err != nil || m.payload.binary {
				continue
			}
			sent := ser.encode(m)
			if !json.Valid(sent.data) {
				t.Fatalf("%T sends %q", ser, sent.data)
			}
			if again, err := (serializerV2{}).decode(sent); ser.name() == (serializerV2{}).name() && (err != nil || !same(again, m)) {
				t.Fatalf("%q came back as %q", data, sent.data)
			}
		}
	})
}

func TestPlugParams(t *testing.T) {
	for query, want := range map[string]Map{
		"":                        {},
		"a=1&b=&c":                {"a": "1", "b": "", "c": ""},
		"sp=a+b%20c":              {"sp": "a b c"},
		"a=1&a=2":                 {"a": "2"},
		"a=1&a%5B%5D=2":           {"a": []any{"2"}},
		"a[]=1&a[]=2":             {"a": []any{"1", "2"}},
		"list[0]=x&list[1]=y":     {"list": Map{"0": "x", "1": "y"}},
		"m[k]=v&m[l][]=w":         {"m": Map{"k": "v", "l": []any{"w"}}},
		"m[k]=v&m=flat":           {"m": "flat"},
		"[odd]=1&odd[=2&odd[x=3&": {"[odd]": "1", "odd[": "2", "odd[x": "3"},
	} {
		got, err := plugParams(query)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", query, err, diff)
		}
	}
	for _, query := range []string{"%zz=1", "a=%zz"} {
		if _, err := plugParams(query); err == nil {
			t.Errorf("%q is accepted", query)
		}
	}
}
