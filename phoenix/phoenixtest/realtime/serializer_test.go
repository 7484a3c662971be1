package realtime

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix/phoenixtest"
)

// The vectors were made by the serializer of Realtime, those to clients, and by that of its JavaScript client, those from clients; each was decoded by
// the other.
func TestFrame(t *testing.T) {
	for name, test := range map[string]struct {
		topic string
		b     userBroadcast
		want  string
	}{
		"json": {"realtime:room1", asJSON("new_msg", `{"body":"hi"}`),
			"040e0700017265616c74696d653a726f6f6d316e65775f6d73677b22626f6479223a226869227d"},
		"json with an id": {"realtime:room1", asJSON("new_msg", `{"body":"hi"}`).withMeta("7b1c3c5e-2d7a-4a58-9d39-1f0b6a1d2e3f", false),
			"040e072d017265616c74696d653a726f6f6d316e65775f6d73677b226964223a2237623163336335652d326437612d346135382d396433392d3166306236613164326533" +
				"66227d7b22626f6479223a226869227d"},
		"json with other metadata": {"realtime:room1", userBroadcast{event: "new_msg", isJSON: true, payload: []byte(`{"body":"hi"}`), meta: []byte(`{"replayed":true}`)},
			"040e0711017265616c74696d653a726f6f6d316e65775f6d73677b227265706c61796564223a747275657d7b22626f6479223a226869227d"},
		"binary": {"realtime:room1", userBroadcast{event: "raw", payload: []byte{0, 0xff, 16, 10}},
			"040e0300007265616c74696d653a726f6f6d3172617700ff100a"},
		"binary, empty": {"realtime:room1", userBroadcast{event: "raw"},
			"040e0300007265616c74696d653a726f6f6d31726177"},
		"binary, replayed": {"realtime:room1", userBroadcast{event: "raw", payload: []byte{1, 2, 3}}.withMeta("x", true),
			"040e031a007265616c74696d653a726f6f6d317261777b226964223a2278222c227265706c61796564223a747275657d010203"},
		"json null": {"realtime:room1", asJSON("n", "null"),
			"040e0100017265616c74696d653a726f6f6d316e6e756c6c"},
		"UTF-8": {"realtime:größe", asJSON("é🙂", `{"n":1.0,"id":12345678901234567890}`),
			"04100600017265616c74696d653a6772c3b6c39f65c3a9f09f99827b226e223a312e302c226964223a31323334353637383930313233343536373839307d"},
	} {
		if got := hex.EncodeToString(test.b.frame(test.topic)); got != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, test.want)
		}
	}
}

func asJSON(event, payload string) userBroadcast {
	return userBroadcast{event: event, isJSON: true, payload: []byte(payload)}
}

func TestDecodePush(t *testing.T) {
	for name, test := range map[string]struct {
		frame                      string
		joinRef, ref, topic, event string // "": it is malformed
		isJSON                     bool
		payload                    string
	}{
		"json":           {"0301010e07000131327265616c74696d653a726f6f6d316e65775f6d73677b22626f6479223a226869227d", "1", "2", "realtime:room1", "new_msg", true, `{"body":"hi"}`},
		"binary":         {"0301010e03000031337265616c74696d653a726f6f6d3172617700ff100a", "1", "3", "realtime:room1", "raw", false, "\x00\xff\x10\n"},
		"metadata":       {"0302030e070e0131323132337265616c74696d653a726f6f6d316e65775f6d73677b2273746f7265223a747275657d7b7d", "12", "123", "realtime:room1", "new_msg", true, "{}"},
		"no payload":     {"0301010e04000131367265616c74696d653a726f6f6d3170696e677b7d", "1", "6", "realtime:room1", "ping", true, "{}"},
		"UTF-8":          {"0301011006000131357265616c74696d653a6772c3b6c39f65c3a9f09f99827b226e223a312e357d", "1", "5", "realtime:größe", "é🙂", true, `{"n":1.5}`},
		"encoding 2":     {"0301010e03000231337265616c74696d653a726f6f6d31726177aa", "1", "3", "realtime:room1", "raw", true, "\xaa"},
		"empty":          {frame: ""},
		"cut":            {frame: "0301010e"},
		"past the end":   {frame: "030101c801000131326162"},
		"of a server":    {frame: "040101000174657b7d"},
		"metadata wrong": {frame: "0301010e01010131327265616c74696d653a726f6f6d31657b7b7d"},
	} {
		data, err := hex.DecodeString(test.frame)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodePush(data)
		if test.topic == "" {
			if err == nil {
				t.Errorf("%s: decoded: %v", name, got)
			}
			continue
		}
		push, _ := got.Payload.Term().(userBroadcast)
		want := []any{test.joinRef, test.ref, test.topic, "broadcast", test.event, test.isJSON, test.payload}
		if diff := cmp.Diff(want, []any{got.JoinRef, got.Ref, got.Topic, got.Event, push.event, push.isJSON, string(push.payload)}); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestLengthsOver255(t *testing.T) {
	for name, b := range map[string]userBroadcast{
		"event":    asJSON(strings.Repeat("e", 256), "{}"),
		"metadata": asJSON("e", "{}").withMeta(strings.Repeat("i", 250), false),
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			b.frame("realtime:room1")
		}()
	}
	longest := asJSON(strings.Repeat("e", 255), "{}")
	if got := longest.frame(strings.Repeat("t", 255)); len(got) != 5+255+255+2 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestText(t *testing.T) {
	for want, b := range map[string]userBroadcast{
		`{"event":"e","payload":{"n": 1.0},"type":"broadcast"}`:                          asJSON("e", `{"n": 1.0}`),
		`{"event":"\"","meta":{"id":"x"},"payload":[],"type":"broadcast"}`:               asJSON(`"`, `[]`).withMeta("x", false),
		`{"event":"e","meta":{"id":"x","replayed":true},"payload":1,"type":"broadcast"}`: asJSON("e", `1`).withMeta("x", true),
	} {
		if got := string(b.text().Bytes()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// FuzzDecodePush wants that no frame panics, and that what was decoded can be sent on.
func FuzzDecodePush(f *testing.F) {
	f.Add([]byte("\x03\x01\x01\x01\x01\x02\x0112te{}{}"))
	f.Add([]byte("\x03\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodePush(data)
		if err != nil {
			return
		}
		push := m.Payload.Term().(userBroadcast)
		frame := push.frame(m.Topic)
		if got, want := len(frame), 5+len(m.Topic)+len(push.event)+len(push.payload); got != want {
			t.Errorf("%q becomes %d bytes, want %d", data, got, want)
		}
	})
}

// FuzzJoin wants that no payload of a join panics, and that the replies about its subscriptions are JSON.
func FuzzJoin(f *testing.F) {
	for _, seed := range []string{
		`{"config":{"broadcast":{"ack":true,"replay":{"since":1,"limit":2}},"presence":{"enabled":"True","key":"k"},"private":1,` +
			`"postgres_changes":[{"event":"*","schema":"public","filter":"a=not.in.(1,2),b=like.x%"},null]}}`,
		`{"config":[]}`, `{"config":{"postgres_changes":[1]}}`, `[]`, `{}`, `{"config":null,"access_token":"x"}`,
	} {
		f.Add(seed, "public:todos:id=eq.1")
	}
	f.Fuzz(func(t *testing.T, payload, name string) {
		params, err := parseJoin(phoenixtest.RawJSON(payload))
		if err != nil {
			return
		}
		all := newSubscriptions(params, name)
		for i := range all {
			all[i].wants(Change{Type: "INSERT", Schema: "public", Table: "todos", Record: phoenixtest.Map{"a": 1, "b": "x"}})
		}
		phoenixtest.JSON(subscriptionsReply(all))
	})
}
