package jq

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/cmd/internal/exit"
)

// run returns the results of expr on text, one a line, and the error.
func run(t *testing.T, expr, text string, o Options) (string, error) {
	t.Helper()
	f, err := Compile(expr, o)
	if err != nil {
		t.Fatal(err)
	}
	var results strings.Builder
	err = f.Run(t.Context(), Document{Text: []byte(text)}, func(result []byte) error {
		results.Write(append(result, '\n'))
		return nil
	})
	return results.String(), err
}

func TestRun(t *testing.T) {
	tests := []struct{ expr, text, want string }{
		{".", `{"a":1}`, "{\"a\":1}\n"},
		{".a", `{"a":12345678901234567890}`, "12345678901234567890\n"},
		{"empty", `1`, ""},
		{"1, 2", `null`, "1\n2\n"},
		{".a", `{"a":"<&>\u2028ä"}`, "\"<&>\u2028ä\"\n"},
		// What is not calculated with keeps its spelling.
		{".[]", `[1.0,1e2,0.1000,-0,1e400,-1E-400]`, "1.0\n1e2\n0.1000\n-0\n1e400\n-1E-400\n"},
		{"sort, unique, min, (to_entries | map(.value)), [limit(2; .[])], tojson", `[12345678901234567890,1.0]`,
			"[1.0,12345678901234567890]\n[1.0,12345678901234567890]\n1.0\n[12345678901234567890,1.0]\n[12345678901234567890,1.0]\n\"[12345678901234567890,1.0]\"\n"},
		{"map(select(. > 1)) | first", `[1e400]`, "1e400\n"},
		{".[] | . + 1", `[12345678901234567890,1.5]`, "12345678901234567891\n2.5\n"},
	}
	for _, tt := range tests {
		got, err := run(t, tt.expr, tt.text, Options{Source: "--jq"})
		if got != tt.want || err != nil {
			t.Errorf("%s on %s: %q, %v; want %q", tt.expr, tt.text, got, err, tt.want)
		}
	}
}

// TestReach decides about everything of jq that is not about its input alone.
func TestReach(t *testing.T) {
	const works = ""
	tests := []struct{ expr, compiles, want string }{
		{"$ENV", "env and $ENV are not available", ""},
		{"env.HOME", "env and $ENV are not available", ""},
		{"def env: 1; env", works, "1\n"},
		{". as $ENV | $ENV", works, "{\"a\":[1,2]}\n"},
		{"input", "input(s)/0 is not allowed", ""},
		{"inputs", "input(s)/0 is not allowed", ""},
		{"[., input] | .[0]", "input(s)/0 is not allowed", ""},
		{"input_filename", works, "null\n"},
		{"$__loc__", "variable not defined: $__loc__", ""},
		{"$__prog_args", "variable not defined: $__prog_args", ""},
		{`import "a" as a; .`, "cannot load module: \"a\"", ""},
		{`include "a"; .`, "cannot load module: \"a\"", ""},
		{"get_search_list", "function not defined: get_search_list/0", ""},
		{"debug | .a[0]", works, "1\n"},
		{`debug("seen")`, works, "{\"a\":[1,2]}\n"},
		{"stderr | .a[1]", works, "2\n"},
		{"now | type", works, "\"number\"\n"},
		{"0 | todate", works, "\"1970-01-01T00:00:00Z\"\n"},
		{`getpath(["a", 0]), [limit(1; .a[])], first(.a[])`, works, "1\n[1]\n1\n"},
		{"$ARGS.named", works, "{}\n"},
	}
	var debugged []string
	for _, tt := range tests {
		o := Options{Source: "--jq", Debug: func(text []byte) { debugged = append(debugged, string(text)) }}
		f, err := Compile(tt.expr, o)
		if tt.compiles != works {
			if err == nil || !strings.Contains(err.Error(), tt.compiles) {
				t.Errorf("%s: %v; want %s", tt.expr, err, tt.compiles)
			}
			continue
		}
		var got strings.Builder
		if err == nil {
			err = f.Run(t.Context(), Document{Text: []byte(`{"a":[1,2]}`)}, func(result []byte) error { got.Write(append(result, '\n')); return nil })
		}
		if got.String() != tt.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", tt.expr, &got, err, tt.want)
		}
	}
	if got, want := strings.Join(debugged, " "), `{"a":[1,2]} "seen" {"a":[1,2]}`; got != want {
		t.Errorf("debug and stderr: %s; want %s", got, want)
	}
	if _, err := Compile("debug", Options{}); err == nil {
		t.Error("debug without anybody to tell compiles")
	}
}

func TestHalt(t *testing.T) {
	tests := []struct {
		expr, results string
		want          Halt
	}{
		{"1, halt, 2", "1\n", Halt{}},
		{"try halt catch 3", "", Halt{}},
		{`1, ("over" | halt_error), 2`, "1\n", Halt{5, "over"}},
		{"{a:1} | halt_error(7)", "", Halt{7, `{"a":1}`}},
		{"null | halt_error", "", Halt{5, ""}},
		{`"fine" | halt_error(0)`, "", Halt{0, "fine"}},
	}
	for _, tt := range tests {
		results, err := run(t, tt.expr, "null", Options{})
		var halt *Halt
		if !errors.As(err, &halt) || *halt != tt.want || results != tt.results {
			t.Errorf("%s: %q, %v; want %q, %v", tt.expr, results, err, tt.results, &tt.want)
		}
	}
}

func TestRunErrors(t *testing.T) {
	tests := []struct{ expr, text, results, want string }{
		{".a.b", `{"a":1}`, "", "expected an object but got: number (1)"},
		{".a.b, 2", `{"a":1}`, "", "expected an object but got: number (1)"},
		{`error("no")`, `1`, "", "error: no"},
		{`1, error("later")`, `1`, "1\n", "error: later"},
		{".", `{`, "", "byte 1: the text ends too early"},
		{".a", `{"a":1} 2`, "", "byte 8: something follows the value"},
	}
	for _, tt := range tests {
		results, err := run(t, tt.expr, tt.text, Options{})
		if err == nil || err.Error() != tt.want || results != tt.results {
			t.Errorf("%s on %s: %q, %v; want %q, %s", tt.expr, tt.text, results, err, tt.results, tt.want)
		}
	}
}

func TestVariables(t *testing.T) {
	text, err := TextVariable("room", "a \"b\"")
	number, err2 := JSONVariable("most", " 1.0 ")
	list, err3 := JSONVariable("_list2", `[12345678901234567890]`)
	if err = errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	o := Options{Variables: []Variable{text, number, list}}
	for expr, want := range map[string]string{
		"$room":                   "\"a \\\"b\\\"\"\n",
		".room == $room":          "true\n",
		"select(.n < $most)":      "",
		"$most, $_list2, [$room]": "1.0\n[12345678901234567890]\n[\"a \\\"b\\\"\"]\n",
		"$ARGS":                   "{\"named\":{\"_list2\":[12345678901234567890],\"most\":1.0,\"room\":\"a \\\"b\\\"\"},\"positional\":[]}\n",
		"1 as $room | $room":      "1\n",
	} {
		if got, err := run(t, expr, `{"room":"a \"b\"","n":2}`, o); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", expr, got, err, want)
		}
		if strings.Contains(expr, "ARGS") {
			continue // they are definitions then
		}
		if got, err := run(t, Bind(expr, o.Variables), `{"room":"a \"b\"","n":2}`, Options{}); strings.ReplaceAll(got, "1\n", "1.0\n") != strings.ReplaceAll(want, "1\n", "1.0\n") || err != nil {
			t.Errorf("%s, bound: %q, %v; want %q", expr, got, err, want)
		}
	}
	for _, name := range []string{"", "1a", "a-b", "a.b", "ä", "$a", "a b", "a=b"} {
		if _, err := TextVariable(name, ""); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	for _, text := range []string{"", "{", "1 2", "nope", "01"} {
		if _, err := JSONVariable("a", text); err == nil {
			t.Errorf("%q is JSON", text)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	tests := []struct{ expr, want string }{
		{".a | | .b", "unexpected token \"|\"\n    .a | | .b\n         ^"},
		{"ä | ]", "unexpected token \"ä\"\n    ä | ]\n    ^"},
		{".a |\n .b }", "unexpected token \"}\"\n     .b }\n        ^"},
		{".a[", "unexpected EOF\n    .a[\n       ^"},
		{"nosuch", "function not defined: nosuch/0"},
		{".a | nosuch", "function not defined: nosuch/0"},
		{"$nosuch", "variable not defined: $nosuch"},
	}
	for _, tt := range tests {
		_, err := Compile(tt.expr, Options{Source: "--until"})
		if want := "the expression of --until does not compile: " + tt.want; err == nil || err.Error() != want {
			t.Errorf("%s: got\n%v\nwant\n%s", tt.expr, err, want)
		}
		var e *exit.Error
		if !errors.As(err, &e) || e.Code != exit.JQCompile || e.Hint == "" {
			t.Errorf("%s: %#v", tt.expr, e)
		}
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		expr string
		want bool
		ok   bool
	}{
		{".n == 1", true, true},
		{".n == 2", false, true},
		{".missing", false, true},
		{"empty", false, true},
		{"false, true", false, true},
		{"true, error(\"not reached\")", true, true},
		{"0", true, true},
		{"[.n] | length == 1", true, true},
		{".n.n", false, false},
	}
	for _, tt := range tests {
		f, err := Compile(tt.expr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Match(t.Context(), Document{Text: []byte("{\"n\":1}\n")})
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: %v, %v", tt.expr, got, err)
		}
	}
}

// TestRunaway: an expression that has no result within a second is stopped as soon as gojq can be, fails on its record alone, and
// cannot catch that. What yields results goes on for as long as emit lets it.
func TestRunaway(t *testing.T) {
	const step = 300 * time.Millisecond
	o := Options{Limit: time.Second, Debug: func([]byte) { time.Sleep(step) }}
	for _, expr := range []string{"until(false; debug)", "repeat(debug) | select(false)", "def f: debug | f; f", "try last(repeat(debug)) catch 1"} {
		synctest.Test(t, func(t *testing.T) {
			f, err := Compile("if .stop then 0 else "+expr+" end", o)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				start := time.Now()
				err := f.Run(t.Context(), Document{Text: []byte("{}")}, func([]byte) error { return nil })
				if took := time.Since(start); err != slowError(time.Second) || took != 4*step {
					t.Errorf("%s: %v after %v", expr, err, took)
				}
				if err := f.Run(t.Context(), Document{Text: []byte(`{"stop":true}`)}, func([]byte) error { return nil }); err != nil {
					t.Errorf("%s, the next record: %v", expr, err)
				}
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f, err := Compile("repeat(debug)", o)
		if err != nil {
			t.Fatal(err)
		}
		results := 0
		enough := errors.New("enough")
		err = f.Run(t.Context(), Document{Text: []byte("1")}, func([]byte) error {
			if results++; results == 100 {
				return enough
			}
			return nil
		})
		if err != enough {
			t.Errorf("%v after %d results", err, results)
		}
	})
}

// TestLimitOfLargeRecords: the time for the next result is longer by the limit for each MiB of the record, on which an expression has more to
// do. The time for decoding is none of it.
func TestLimitOfLargeRecords(t *testing.T) {
	const step = 100 * time.Millisecond
	o := Options{Limit: time.Second, Debug: func([]byte) { time.Sleep(step) }}
	for _, tt := range []struct {
		steps, size int
		want        error
	}{
		{9, 0, nil},
		{15, 0, slowError(time.Second)},
		{15, 1<<20 - 100, slowError(time.Second)},
		{19, 1 << 20, nil},
		{25, 1 << 20, slowError(2 * time.Second)},
		{35, 3 << 20, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			text := `[` + strings.Repeat("1,", tt.steps) + `"` + strings.Repeat("x", tt.size) + `"]`
			const expr = "reduce (.[] | numbers) as $n (0; . + ($n | debug))"
			f, err := Compile("try ("+expr+") catch 0", o) // it cannot be caught
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := f.Run(t.Context(), Document{Text: []byte(text)}, func([]byte) error { return nil }); err != tt.want {
					t.Errorf("%v on %d bytes: %v, want %v", time.Duration(tt.steps)*step, tt.size, err, tt.want)
				}
				if err := f.Run(t.Context(), Document{Text: []byte("[1]")}, func([]byte) error { return nil }); err != nil {
					t.Errorf("a small record behind it: %v", err)
				}
			}
		})
	}
}

// TestErrorsHaveNoValues: what the caller says is taken out of an error, whether the expression throws it or gojq shows it.
func TestErrorsHaveNoValues(t *testing.T) {
	v, err := TextVariable("key", "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Variables: []Variable{v}, Redact: func(text string) string { return strings.ReplaceAll(text, "s3cret", "...") }}
	for _, expr := range []string{"error($key)", "$key.x", "$key | tonumber", "{($key): 1} | .[0]", `"a\($key)" | error`} {
		_, err := run(t, expr, "1", o)
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "...") {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	f, err := Compile("def f: f; f", Options{Limit: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Run(ctx, Document{Text: []byte("1")}, func([]byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
