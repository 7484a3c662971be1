package supabase

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix"
	"phx/phoenix/rawjson"
)

// decoded are frames that the serializer of Realtime made, and what the one of realtime-js makes of them.
var decoded = []struct {
	name, frame, topic, payload, binary, event, meta string
}{
	{name: "json", frame: "040e0700017265616c74696d653a726f6f6d316e65775f6d73677b22626f6479223a226869227d",
		topic: "realtime:room1", payload: `{"type":"broadcast","event":"new_msg","payload":{"body":"hi"}}`},
	{name: "json with an id", frame: "040e072d017265616c74696d653a726f6f6d316e65775f6d73677b226964223a2237623163336335652d326437612d346135382d396433392d316630623661316432653366227d7b22626f6479223a226869227d",
		topic: "realtime:room1", payload: `{"type":"broadcast","event":"new_msg","payload":{"body":"hi"},"meta":{"id":"7b1c3c5e-2d7a-4a58-9d39-1f0b6a1d2e3f"}}`},
	{name: "json with any meta", frame: "040e0711017265616c74696d653a726f6f6d316e65775f6d73677b227265706c61796564223a747275657d7b22626f6479223a226869227d",
		topic: "realtime:room1", payload: `{"type":"broadcast","event":"new_msg","payload":{"body":"hi"},"meta":{"replayed":true}}`},
	{name: "binary", frame: "040e0300007265616c74696d653a726f6f6d3172617700ff100a", topic: "realtime:room1", binary: "\x00\xff\x10\n", event: "raw"},
	{name: "no bytes", frame: "040e0300007265616c74696d653a726f6f6d31726177", topic: "realtime:room1", event: "raw"},
	{name: "binary, replayed", frame: "040e031a007265616c74696d653a726f6f6d317261777b226964223a2278222c227265706c61796564223a747275657d010203",
		topic: "realtime:room1", binary: "\x01\x02\x03", event: "raw", meta: `{"id":"x","replayed":true}`},
	{name: "null", frame: "040e0100017265616c74696d653a726f6f6d316e6e756c6c", topic: "realtime:room1", payload: `{"type":"broadcast","event":"n","payload":null}`},
	{name: "UTF-8 and a long number", frame: "04100600017265616c74696d653a6772c3b6c39f65c3a9f09f99827b226e223a312e302c226964223a31323334353637383930313233343536373839307d",
		topic: "realtime:größe", payload: `{"type":"broadcast","event":"é🙂","payload":{"n":1.0,"id":12345678901234567890}}`},
}

func TestDecodeBinary(t *testing.T) {
	d := New(Options{})
	for _, tt := range decoded {
		f, err := d.DecodeBinary(unhex(t, tt.frame))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want := phoenix.DialectFrame{Topic: []byte(tt.topic), Event: []byte("broadcast"), Payload: phoenix.Payload{Data: []byte(tt.payload)}}
		if tt.event != "" {
			want.Payload = phoenix.Binary([]byte(tt.binary))
			want.Broadcast = &phoenix.Broadcast{Event: tt.event}
			if tt.meta != "" {
				want.Broadcast.Meta = json.RawMessage(tt.meta)
			}
		}
		if diff := cmp.Diff(want, f); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestDecodeMalformed(t *testing.T) {
	for _, tt := range []struct{ name, frame, want string }{
		{"only the kind", "04", "ends too early"},
		{"a field beyond the end", "04ff0000017265", "ends too early"},
		{"a topic that is no UTF-8", "0401010001ff6e7b7d", "not valid UTF-8"},
		{"metadata that is no JSON", "04010103016162" + "7b7b7b" + "7b7d", "metadata: "},
		{"a payload that is no JSON", "04010100016162" + "7b", "payload: "},
		{"JSON without a payload", "04010100016162", "payload: "},
		{"what clients send", "0301010e07000131327265616c74696d653a726f6f6d316e65775f6d73677b7d", "unknown kind 3"},
		{"an unknown kind", "05", "unknown kind 5"},
	} {
		if _, err := New(Options{}).DecodeBinary(unhex(t, tt.frame)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// The frames are those that realtime-js makes of the pushes.
func TestEncodePush(t *testing.T) {
	broadcast := func(topic, payload string) phoenix.Push {
		return phoenix.Push{Topic: topic, Name: "broadcast", Payload: phoenix.JSON(payload)}
	}
	for _, tt := range []struct {
		name, joinRef, ref string
		push               phoenix.Push
		want               string
	}{
		{"json", "1", "2", broadcast("realtime:room1", `{"type":"broadcast","event":"new_msg","payload":{"body":"hi"}}`),
			"0301010e07000131327265616c74696d653a726f6f6d316e65775f6d73677b22626f6479223a226869227d"},
		{"as Broadcast makes it", "1", "2", Broadcast("realtime:room1", "new_msg", phoenix.JSON(`{"body":"hi"}`)),
			"0301010e07000131327265616c74696d653a726f6f6d316e65775f6d73677b22626f6479223a226869227d"},
		{"binary", "1", "3", Broadcast("realtime:room1", "raw", phoenix.Binary([]byte("\x00\xff\x10\n"))),
			"0301010e03000031337265616c74696d653a726f6f6d3172617700ff100a"},
		{"json with metadata", "12", "123", broadcast("realtime:room1", ` {"payload":{},"event":"new_msg","store":true} `),
			"0302030e070e0131323132337265616c74696d653a726f6f6d316e65775f6d73677b2273746f7265223a747275657d7b7d"},
		{"no payload", "1", "6", broadcast("realtime:room1", `{"type":"broadcast","event":"ping"}`),
			"0301010e04000131367265616c74696d653a726f6f6d3170696e677b7d"},
		{"UTF-8", "1", "5", broadcast("realtime:größe", `{"event":"\u00e9🙂","payload":{"n":1.5}}`),
			"0301011006000131357265616c74696d653a6772c3b6c39f65c3a9f09f99827b226e223a312e357d"},

		// As text, or as one of Phoenix's own.
		{"another event", "1", "2", phoenix.Push{Topic: "realtime:room1", Name: "presence", Payload: phoenix.JSON(`{"type":"presence","event":"track"}`)}, ""},
		{"no name", "1", "2", broadcast("realtime:room1", `{"payload":{}}`), ""},
		{"a name that is no string", "1", "2", broadcast("realtime:room1", `{"event":1}`), ""},
		{"another type", "1", "2", broadcast("realtime:room1", `{"type":"x","event":"e"}`), ""},
		{"no object", "1", "2", broadcast("realtime:room1", `[]`), ""},
		{"a long name", "1", "2", broadcast("realtime:room1", `{"event":"`+strings.Repeat("e", 256)+`"}`), ""},
		{"much metadata", "1", "2", broadcast("realtime:room1", `{"event":"e","m":"`+strings.Repeat("m", 256)+`"}`), ""},
		{"bytes without a name", "1", "2", phoenix.Push{Topic: "realtime:room1", Name: "broadcast", Payload: phoenix.Binary(nil)}, ""},
	} {
		frame, ok, err := New(Options{}).EncodePush([]byte("before"), tt.joinRef, tt.ref, &tt.push)
		if err != nil || ok != (tt.want != "") || string(frame) != "before"+string(unhex(t, tt.want)) {
			t.Errorf("%s: %x, %t, %v; want %s", tt.name, frame, ok, err, tt.want)
		}
	}
	for name, push := range map[string]phoenix.Push{
		"longer than a byte says": Broadcast("realtime:room1", strings.Repeat("e", 256), phoenix.Binary(nil)),
		"two names":               {Topic: "t", Name: "broadcast", Payload: phoenix.JSON(`{"event":"a"}`), BroadcastEvent: "b"},
	} {
		if _, ok, err := New(Options{}).EncodePush(nil, "1", "2", &push); ok || err == nil {
			t.Errorf("%s: %t, %v", name, ok, err)
		}
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzDecodeBinary: what is decoded is valid, and a JSON broadcast is again what it was made of.
func FuzzDecodeBinary(f *testing.F) {
	for _, tt := range decoded {
		data, err := hex.DecodeString(tt.frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	d := New(Options{})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := d.DecodeBinary(data)
		if err != nil {
			return
		}
		if got.Payload.Binary {
			if got.Broadcast == nil || len(got.Payload.Data) > len(data) {
				t.Errorf("%x: %+v", data, got)
			}
			return
		}
		if !json.Valid(got.Payload.Data) || got.Payload.Broken != rawjson.HasLineBreak(got.Payload.Data) {
			t.Fatalf("%x: %q, broken %t", data, got.Payload.Data, got.Payload.Broken)
		}
		var read struct {
			Event   string
			Payload json.RawMessage
			Meta    json.RawMessage
		}
		if err := json.Unmarshal(got.Payload.Data, &read); err != nil {
			t.Fatal(err)
		}
		topic, event := int(data[1]), int(data[2])
		if rest := data[5+topic:]; read.Event != string(rest[:event]) {
			t.Errorf("event %q of %x", read.Event, data)
		}
	})
}

// FuzzSplitWrapper: the parts of a payload are again the payload.
func FuzzSplitWrapper(f *testing.F) {
	for _, seed := range []string{`{"type":"broadcast","event":"e","payload":{"a":1.0}}`, `{"event":"\u00e9","store":true,"x":[1,{}]}`, `{"event":1}`, ` [] `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) { // checked before
			return
		}
		event, payload, metadata, ok := splitWrapper(text)
		if !ok {
			return
		}
		var whole, parts map[string]any
		if err := json.Unmarshal(text, &whole); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if metadata != "" {
			if err := json.Unmarshal([]byte(metadata), &parts); err != nil {
				t.Fatalf("%s: metadata %s: %v", text, metadata, err)
			}
		}
		if parts == nil {
			parts = map[string]any{}
		}
		var inner any
		if err := json.Unmarshal(payload, &inner); err != nil {
			t.Fatalf("%s: payload %s: %v", text, payload, err)
		}
		if _, has := whole["payload"]; !has {
			whole["payload"] = map[string]any{}
		}
		delete(whole, "type")
		parts["event"], parts["payload"] = event, inner
		if diff := cmp.Diff(whole, parts); diff != "" {
			t.Errorf("%s (-whole +parts):\n%s", text, diff)
		}
	})
}
