package strictyaml

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"phx/cmd/internal/exit"
)

// TestJSONFile: JSON that YAML's parser would not take, and JSON that it would take for something else.
func TestJSONFile(t *testing.T) {
	tests := []struct{ text, want string }{
		{"{\"v\":\t1}", "1"},
		{"\n{\n\t\"v\": [\n\t\t1.0, 2e3, -0, 12345678901234567890\n\t]\n}\n", "[1.0,2e3,-0,12345678901234567890]"},
		{`{"v":"\ud83d\ude00 \u00e9\/"}`, `"😀 é/"`},
		{`{"v":["true",true,false,null,"null","1","${A}","$$"]}`, `["true",true,false,null,"null","1","one","$"]`},
		{`{"v":{"<<":{},"":[]}}`, ""},
		{`{"v":{"b":1,"a":{},"c":[[]]}}`, `{"b":1,"a":{},"c":[[]]}`},
	}
	for _, tt := range tests {
		n, err := Parse("f.json", []byte(tt.text), lookup)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		fields, err := n.Fields()
		if err != nil || len(fields) != 1 {
			t.Fatalf("%s: %v, %v", tt.text, fields, err)
		}
		got, err := fields[0].Value.JSON()
		if tt.want == "" {
			tt.want = `{"<<":{},"":[]}` // a key like others: JSON has no merging
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.text, got, err, tt.want)
		}
	}
}

func TestJSONFilePositions(t *testing.T) {
	n, err := Parse("f.json", []byte("{\n  \"a\": 1,\n  \"é\": {\"b\" : [true, \"x\"]}\n}"), lookup)
	if err != nil {
		t.Fatal(err)
	}
	var places []string
	var visit func(n Node)
	visit = func(n Node) {
		places = append(places, strings.TrimPrefix(n.Position(), "f.json:"))
		if n.IsMap() {
			fields, _ := n.Fields()
			for _, f := range fields {
				visit(f.Key)
				visit(f.Value)
			}
		}
		if n.IsList() {
			items, _ := n.Items()
			for _, item := range items {
				visit(item)
			}
		}
	}
	visit(n)
	if got, want := strings.Join(places, " "), "1:1 2:3 2:8 3:3 3:8 3:9 3:15 3:16 3:22"; got != want {
		t.Errorf("places %s, want %s", got, want)
	}
	_, err = Parse("f.json", []byte("{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 2},\n \"a\": 3}"), lookup)
	want := "f.json:3:2: the key a is given twice, first in line 1\nf.json:2:16: the key c is given twice, first in line 2"
	var e *exit.Error
	if !errors.As(err, &e) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestRawForms(t *testing.T) {
	n := field(t, "v: [0x10, 010, 1.5, True, false, ~, '1', '${A}', 2026-01-01, {a: [.inf]}]")
	raw, err := n.RawTexts()
	if want := `["0x10","010",1.5,"True",false,null,"1","${A}","2026-01-01",{"a":[".inf"]}]`; err != nil || string(raw) != want {
		t.Errorf("%s, %v; want %s", raw, err, want)
	}
	masked, err := n.Write(func(Node) (json.RawMessage, error) { return json.RawMessage(`"*"`), nil })
	if want := `["*","*","*","*","*","*","*","*","*",{"a":["*"]}]`; err != nil || string(masked) != want {
		t.Errorf("%s, %v; want %s", masked, err, want)
	}
	raw, err = field(t, "v: [0x10, True, '${A}']").RawJSON()
	if want := `[16,true,"${A}"]`; err != nil || string(raw) != want {
		t.Errorf("%s, %v; want %s", raw, err, want)
	}
}

// TestFromJSON: what is written is read as it was.
func TestFromJSON(t *testing.T) {
	const object = `{"text":"a","true":"true","n":"1","number":1.0,"null":null,"none":"null","date":"2026-01-01","old":"yes","e":"","lines":"a\nb\n",` +
		`"tab":"\t","odd":"- a: #b","list":[1,"2",[]],"map":{"b":{},"a":[{"x":1}]},"tag":"!x","anchor":"&a","ref":"$${A}","esc":"\u001b","*":"*a"}`
	text, err := FromJSON([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	n, err := Parse("f.yaml", text, lookup)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	got, err := n.RawJSON()
	if err != nil || string(got) != object {
		t.Errorf("got  %s, %v\nwant %s\nby\n%s", got, err, object, text)
	}
	if got := Quote("a$b${c}"); got != "a$$b$${c}" {
		t.Errorf("quoted %q", got)
	}
}

// FuzzFromJSON: a JSON object is read, and read again from the YAML that is written of it, as the same.
func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"a":"\ud83d\ude00","b":[1,{"c":null}],"~":"~"}`))
	f.Add([]byte(`{"":"","x":"a\u0085b\u2028c\ufeff"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if parseJSON(data) == nil {
			return
		}
		n, err := Parse("f.json", data, lookup)
		if err != nil {
			return // keys given twice
		}
		first, err := n.RawJSON()
		if err != nil || !json.Valid(first) {
			t.Fatalf("%q: %s, %v", data, first, err)
		}
		text, err := FromJSON(first)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		n, err = Parse("f.yaml", text, lookup)
		if err != nil {
			t.Fatalf("%q: %v in %q", data, err, text)
		}
		if second, err := n.RawJSON(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%q: %s became %s, %v", data, first, second, err)
		}
	})
}
