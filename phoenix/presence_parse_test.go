package phoenix

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// Metas pass through as the server wrote them: order of keys, spelling of numbers, escapes. Keys are any strings.
func TestPresenceBytes(t *testing.T) {
	text := `{"zoë\n\"":{"metas":[{"z":1.0,"phx_ref":"F\u0031","a":12345678901234567890, "h":"<&>"} , {"phx_ref":"2"}],` +
		`"user":{"b":1e2,"a":[]},"metadata":null},"":{"metas":[{"phx_ref":"3"}]},"constructor":{"metas":[{"phx_ref":"4"}]}}`
	want := `{"":{"metas":[{"phx_ref":"3"}]},"constructor":{"metas":[{"phx_ref":"4"}]},` +
		`"zoë\u000a\"":{"metas":[{"z":1.0,"phx_ref":"F\u0031","a":12345678901234567890, "h":"<&>"},{"phx_ref":"2"}],` +
		`"user":{"b":1e2,"a":[]},"metadata":null}}`
	s, err := parsePresenceState(JSON(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(s.AppendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var keys []string
	for key, metas := range s.All() {
		keys = append(keys, key)
		if key == "constructor" && string(metas[0]) != `{"phx_ref":"4"}` {
			t.Errorf("metas %s", metas)
		}
		if len(keys) == 2 {
			break
		}
	}
	if strings.Join(keys, "|") != "|constructor" {
		t.Errorf("keys %q", keys)
	}
}

// A payload in several lines becomes one line, and white space in strings stays.
func TestPresenceLineBreaks(t *testing.T) {
	text := "\r\n{\"a\":\n{\"metas\":\r\n[{\"phx_ref\" :\n\"1\", \"t\":\"x\\n y\"}\n]\n,\n\"u\" :[\n1 ,2]}}\n"
	s, err := parsePresenceState(Payload{Data: []byte(text), Broken: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(s.AppendJSON(nil)), `{"a":{"metas":[{"phx_ref" :"1", "t":"x\n y"}],"u":[1 ,2]}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPresenceMalformed(t *testing.T) {
	for _, text := range []string{
		`null`, `[]`, `1`, `{"a":null}`, `{"a":{}}`, `{"a":{"metas":{}}}`, `{"a":{"metas":null}}`, `{"a":{"metas":[1]}}`, `{"a":{"metas":[{}]}}`,
		`{"a":{"metas":[{"phx_ref":"1"},{"PHX_REF":"2"}]}}`, `{"a":{"metas":[{"phx_ref":"1"}]},"b":[]}`, ``, `{`, `{"a":{"metas":[`,
		`{"a":{"metas":[{"phx_ref":"1"} {"phx_ref":"2"}]}}`, `{"a":{"metas":[{"phx_ref":"1"},]}}`, `{"joins":{},"leaves":1}`,
	} {
		if s, err := parsePresenceState(JSON(text)); err == nil || s.root != nil {
			t.Errorf("%s: a state of %q", text, s.AppendJSON(nil))
		}
		if _, err := parsePresenceDiff(JSON(`{"joins":{},"leaves":` + text + `}`)); err == nil {
			t.Errorf("%s: taken for leaves", text)
		}
		if _, err := parsePresenceDiff(JSON(`{"joins":` + text + `,"leaves":{}}`)); err == nil {
			t.Errorf("%s: taken for joins", text)
		}
	}
	for _, text := range []string{`{}`, `{"joins":{}}`, `{"leaves":{}}`, `[]`} {
		if _, err := parsePresenceDiff(JSON(text)); err == nil {
			t.Errorf("%s: taken for a diff", text)
		}
	}
	for _, p := range []Payload{{}, Binary([]byte(`{}`))} {
		if _, err := parsePresenceState(p); err == nil {
			t.Errorf("%+v: taken for a state", p)
		}
	}
}

// Of what is there twice the last counts, and a key without metas is nobody.
func TestPresenceOdd(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":{"metas":[{"phx_ref":"1"}]},"a":{"metas":[{"phx_ref":"2","phx_ref":3}]}}`: `{"a":{"metas":[{"phx_ref":"2","phx_ref":3}]}}`,
		`{"a":{"metas":[{"phx_ref":"1"}]},"a":{"metas":[]}}`:                            `{}`,
		`{"a":{"metas":[]},"b":{"metas":[],"user":1}}`:                                  `{}`,
		` {  } `: `{}`,
	} {
		s, err := parsePresenceState(JSON(text))
		if got := string(s.AppendJSON(nil)); err != nil || got != want {
			t.Errorf("%s: %s, error %v; want %s", text, got, err, want)
		}
	}
}

// FuzzPresence: what is taken for a state is JSON on one line that says what encoding/json finds in the payload, and is
// the same when it is parsed again.
func FuzzPresence(f *testing.F) {
	f.Add([]byte(`{"a":{"metas":[{"phx_ref":"1","x":1.0},{"phx_ref":"2"}],"u":{}},"b":{"metas":[]}}`))
	f.Add([]byte("{\"\\u0061\":{\"metas\":[{\n\"phx_ref\":null}]}}"))
	f.Add([]byte(`{"a":{"metas":[{}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		broken, err := checkJSON(data)
		if err != nil {
			return // the codec lets none through
		}
		s, err := parsePresenceState(Payload{Data: data, Broken: broken})
		if err != nil {
			return
		}
		text := s.AppendJSON(nil)
		if bytes.ContainsAny(text, "\r\n") || !json.Valid(text) {
			t.Fatalf("%q", text)
		}
		again, err := parsePresenceState(JSON(string(text)))
		if err != nil || !bytes.Equal(again.AppendJSON(nil), text) || again.root.bytes() != s.root.bytes() {
			t.Fatalf("%q becomes %q, error %v", text, again.AppendJSON(nil), err)
		}
		var want map[string]map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		for key, metas := range s.All() {
			var wanted []json.RawMessage
			if err := json.Unmarshal(want[key]["metas"], &wanted); err != nil || len(metas) != len(wanted) {
				t.Fatalf("%q has %d metas, want %d (error %v)", key, len(metas), len(wanted), err)
			}
		}
	})
}
