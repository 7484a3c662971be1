package strictyaml

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"phx/cmd/internal/exit"
)

// lookup finds the variables of the tests.
func lookup(name string) (string, bool) {
	value, ok := map[string]string{"A": "one", "B": "two", "EMPTY": "", "DOLLAR": "${A}"}[name]
	return value, ok
}

func TestInterpolate(t *testing.T) {
	tests := []struct{ text, want, problem string }{
		{"", "", ""},
		{"plain", "plain", ""},
		{"${A}", "one", ""},
		{"<${A}${B}>", "<onetwo>", ""},
		{"${EMPTY}", "", ""},
		{"${A:-x}", "one", ""},
		{"${EMPTY:-x}", "x", ""},
		{"${NONE:-}", "", ""},
		{"${NONE:-ws://localhost:4000/}", "ws://localhost:4000/", ""},
		{"${NONE:-${B}}/c", "two/c", ""},
		{"${NONE:-${NEITHER:-z}}", "z", ""},
		{"${A:-${NONE}}", "one", ""},
		{"${A:?needed}", "one", ""},
		{"${DOLLAR}", "${A}", ""}, // values are not interpolated again
		{"$$", "$", ""},
		{"$${A}", "${A}", ""},
		{"$$${A}", "$one", ""},
		{"a$b $ 5$", "a$b $ 5$", ""},
		{"${NONE:-$$}", "$", ""},
		{"${NONE}", "", "the variable NONE is not set"},
		{"${NONE:?where is it}", "", "the variable NONE: where is it"},
		{"${EMPTY:?}", "", "the variable EMPTY: it is not set"},
		{"${NONE:-${NEITHER}}", "", "the variable NEITHER is not set"},
		{"${A", "", "a ${ has no }"},
		{"${NONE:-${A}", "", "a ${ has no }"},
		{"${}", "", "what stands between ${ and } is not understood"},
		{"${1A}", "", "what stands between ${ and } is not understood"},
		{"${A-x}", "", "what stands between ${ and } is not understood"},
		{"${A:}", "", "what stands between ${ and } is not understood"},
		{"${A:+x}", "", "what stands between ${ and } is not understood"},
		{"${A B}", "", "what stands between ${ and } is not understood"},
	}
	for _, tt := range tests {
		got, p := interpolate(tt.text, lookup)
		if p == nil {
			p = &exit.Error{}
		}
		if got != tt.want || p.Message != tt.problem || (p.Message == "") != (p.Hint == "") {
			t.Errorf("%q: %q, %+v; want %q, %q", tt.text, got, p, tt.want, tt.problem)
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"twice", "a: 1\nb: 2\na: 3", "f.yaml:3:1: the key a is given twice, first in line 1"},
		{"twice below", "x:\n  - {k: 1, k: 2}", "f.yaml:2:12: the key k is given twice, first in line 2"},
		{"merge", "x: &x {a: 1}\ny:\n  <<: *x", "f.yaml:3:3: merging (<<) is not supported"},
		{"tag", "a: !SECRET b", "f.yaml:1:4: there is a tag (!name) that means nothing here"},
		{"tag of a key", "!x a: b", "f.yaml:1:1: there is a tag (!name) that means nothing here"},
		{"list as key", "[a]: b", "f.yaml:1:1: a key is a map, a list or an alias"},
		{"two documents", "a: 1\n---\nb: 1", "f.yaml:2:1: a second document begins here"},
		{"indentation", "a:\n  b: 1\n c: 2", "f.yaml:2: this is not YAML: did not find expected key"},
		{"tab", "a:\n\tb: 1", "f.yaml:2: this is not YAML: a tab indents the line"},
		{"unknown alias", "token: *SECRET", "f.yaml:1: this is not YAML: an alias (*name) without its anchor"},
	}
	for _, tt := range tests {
		_, err := Parse("f.yaml", []byte(tt.text), lookup)
		var e *exit.Error
		if !errors.As(err, &e) || e.Error() != tt.want || e.Hint == "" || e.Code != exit.Usage {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "null", "~", "{}"} {
		n, err := Parse("f.yaml", []byte(text), lookup)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if fields, err := n.Fields(); err != nil || len(fields) != 0 {
			t.Errorf("%q: %v, %v", text, fields, err)
		}
	}
}

// field parses text and returns the value of its key v.
func field(t *testing.T, text string) Node {
	t.Helper()
	n, err := Parse("f.yaml", []byte(text), lookup)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := n.Fields()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if f.Name == "v" {
			return f.Value
		}
	}
	t.Fatalf("%q has no v", text)
	return Node{}
}

func TestText(t *testing.T) {
	tests := []struct{ text, want, err string }{
		{"v: a", "a", ""},
		{"v: 2.0.0", "2.0.0", ""},
		{"v: 0x10", "0x10", ""},
		{"v: true", "true", ""},
		{"v: 2026-01-01", "2026-01-01", ""},
		{"v: ''", "", ""},
		{"v: '${A}'", "one", ""},
		{"v: ${NONE:-x}", "x", ""},
		{"v: |\n  a ${B}\n", "a two\n", ""},
		{"a: &a x\nv: *a", "x", ""},
		{"v:", "", "f.yaml:1:3: there is no value here"},
		{"v: null", "", "f.yaml:1:4: there is no value here"},
		{"v: [a]", "", "f.yaml:1:4: this is a map or a list, and should be one value"},
		{"\n\nv:   ${NONE}", "", "f.yaml:3:6: the variable NONE is not set"},
	}
	for _, tt := range tests {
		got, err := field(t, tt.text).Text()
		if got != tt.want || err == nil && tt.err != "" || err != nil && err.Error() != tt.err {
			t.Errorf("%q: %q, %v; want %q, %s", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func TestJSON(t *testing.T) {
	tests := []struct{ text, want, err string }{
		{"v: {b: 1, a: [x, '2', null, ~, True, 1.0, 1e3]}", `{"b":1,"a":["x","2",null,null,true,1.0,1e3]}`, ""},
		{"v: 12345678901234567890", "12345678901234567890", ""},
		{"v: [0x10, 1_000, +1, .5, 0o17]", "[16,1000,1,0.5,15]", ""},
		{"v: ${A} <&>", `"one <&>"`, ""},
		{"v: 2026-01-01", `"2026-01-01"`, ""},
		{"a: &a {n: 1}\nv: [*a, *a]", `[{"n":1},{"n":1}]`, ""},
		{"v: .inf", "", "f.yaml:1:4: this number cannot be written in JSON"},
		{"v: &v [*v]", "", "f.yaml:1:8: this alias refers to what it is part of"},
		{"v:\n- a: ${NONE}", "", "f.yaml:2:6: the variable NONE is not set"},
	}
	for _, tt := range tests {
		got, err := field(t, tt.text).JSON()
		if string(got) != tt.want || err == nil && tt.err != "" || err != nil && err.Error() != tt.err {
			t.Errorf("%q: %s, %v; want %s, %s", tt.text, got, err, tt.want, tt.err)
		}
	}
}

// TestAliasBomb: nine lists of nine of the one before.
func TestAliasBomb(t *testing.T) {
	var text strings.Builder
	text.WriteString("a: &a0 [lol]\n")
	names := "0123456789"
	for i := range 9 {
		text.WriteString("a" + names[i+1:i+2] + ": &a" + names[i+1:i+2] + " [" + strings.Repeat("*a"+names[i:i+1]+", ", 9) + "]\n")
	}
	_, err := field(t, text.String()+"v: *a9\n").JSON()
	if err == nil || !strings.HasSuffix(err.Error(), "the value is larger than 1 MiB") {
		t.Errorf("error %v", err)
	}
}

func TestWrongKinds(t *testing.T) {
	if _, err := field(t, "v: [a]").Fields(); err == nil || err.Error() != "f.yaml:1:4: this is not a map" {
		t.Errorf("error %v", err)
	}
	if _, err := field(t, "v: {a: b}").Items(); err == nil || err.Error() != "f.yaml:1:4: this is not a list" {
		t.Errorf("error %v", err)
	}
	if n := field(t, "v: {a: b}"); !n.Exists() || !n.IsMap() || n.IsList() || n.IsNull() || n.Position() != "f.yaml:1:4" {
		t.Errorf("%+v", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "v: 1", "a: &a [1, {b: *a}]", "a: [\n", "? [x]\n: y", "---\n---", "<<: {}", "v: !!binary x", "\"\\x", "%YAML 1.2\n---\na: |\n b",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Parse("f.yaml", data, lookup)
		if err != nil {
			var e *exit.Error
			if !errors.As(err, &e) || e.Line < 1 || e.Hint == "" {
				t.Fatalf("%q: %#v", data, err)
			}
			return
		}
		out, err := n.JSON()
		if err == nil && !json.Valid(out) {
			t.Fatalf("%q: %s is not JSON", data, out)
		}
	})
}

func FuzzInterpolate(f *testing.F) {
	for _, seed := range []string{"${A}", "$$", "${NONE:-${B}}", "${NONE:?why}", "${", "$", "${A:", "${:-}}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, p := interpolate(text, lookup)
		switch {
		case p != nil && (got != "" || p.Message == "" || p.Hint == ""):
			t.Fatalf("%q: %q, %+v", text, got, p)
		case !strings.Contains(text, "$") && got != text:
			t.Fatalf("%q became %q", text, got)
		}
		// Doubled dollar signs are what they stand for.
		if back, p := interpolate(strings.ReplaceAll(text, "$", "$$"), lookup); p != nil || back != text {
			t.Fatalf("%q, quoted, became %q, %+v", text, back, p)
		}
	})
}
