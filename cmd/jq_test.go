package cmd

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/itchyny/gojq"

	"phx/cmd/internal/exit"
)

// runFilter returns the results of expr on text, one a line, and the error.
func runFilter(t *testing.T, expr, text string) (string, error) {
	t.Helper()
	f, err := compileFilter("--jq", expr)
	if err != nil {
		t.Fatal(err)
	}
	var results strings.Builder
	err = f.run(t.Context(), []byte(text), func(value any) error {
		result, err := gojq.Marshal(value)
		results.Write(append(result, '\n'))
		return err
	})
	return results.String(), err
}

func TestFilter(t *testing.T) {
	tests := []struct{ expr, text, want string }{
		{".", `{"a":1}`, "{\"a\":1}\n"},
		{".a", `{"a":12345678901234567890}`, "12345678901234567890\n"},
		{".[]", `[1.0,1e2,0.1000,-0]`, "1.0\n1e2\n0.1000\n-0\n"},
		{".[] | . + 1", `[12345678901234567890,1.5]`, "12345678901234567891\n2.5\n"},
		{"empty", `1`, ""},
		{"1, 2", `null`, "1\n2\n"},
		{"1, halt, 2", `null`, "1\n"},
		{".a", `{"a":"<&>\u2028ä"}`, "\"<&>\u2028ä\"\n"},
		// Neither environment nor files.
		{"$ENV, env", `null`, "{}\n{}\n"},
	}
	for _, tt := range tests {
		got, err := runFilter(t, tt.expr, tt.text)
		if got != tt.want || err != nil {
			t.Errorf("%s on %s: %q, %v; want %q", tt.expr, tt.text, got, err, tt.want)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for expr, text := range map[string]string{
		".a.b":              `{"a":1}`,
		`error("no")`:       `1`,
		`halt_error`:        `"stop"`,
		`1, error("later")`: `1`,
		".":                 `{`,
	} {
		if _, err := runFilter(t, expr, text); err == nil {
			t.Errorf("%s on %s: no error", expr, text)
		}
	}
}

func TestFilterEndsWithItsContext(t *testing.T) {
	f, err := compileFilter("--jq", "def f: f; f")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.run(ctx, []byte("1"), func(any) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestFilterThatDoesNotCompile(t *testing.T) {
	tests := []struct{ expr, want string }{
		{".a | | .b", "unexpected token \"|\"\n    .a | | .b\n         ^"},
		{"ä | ]", "unexpected token \"ä\"\n    ä | ]\n    ^"},
		{".a |\n .b }", "unexpected token \"}\"\n     .b }\n        ^"},
		{".a[", "unexpected EOF\n    .a[\n       ^"},
		{"nosuch", "function not defined: nosuch/0"},
		{"$nosuch", "variable not defined: $nosuch"},
		{`import "a" as a; .`, "cannot load module: \"a\""},
		{"input", "input(s)/0 is not allowed"},
	}
	for _, tt := range tests {
		_, err := compileFilter("--until", tt.expr)
		if want := "the expression of --until does not compile: " + tt.want; err == nil || err.Error() != want {
			t.Errorf("%s: got\n%v\nwant\n%s", tt.expr, err, want)
		}
		if codeOf(err) != exit.JQCompile || hintOf(err) == "" {
			t.Errorf("%s: exit code %d, hint %q", tt.expr, codeOf(err), hintOf(err))
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
		{".n.n", false, false},
	}
	for _, tt := range tests {
		f, err := compileFilter("--until", tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.match(t.Context(), []byte(`{"n":1}`))
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: %v, %v", tt.expr, got, err)
		}
	}
}
