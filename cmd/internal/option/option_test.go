package option

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// environment is a lookup in fixed variables.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

// resolve parses args and vars into the options.
func resolve(options []Option, args []string, vars map[string]string) error {
	set := NewSet(options)
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	set.Bind(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	return set.Resolve(environment(vars))
}

func TestPrecedence(t *testing.T) {
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"default", nil, nil, "fallback"},
		{"environment", nil, map[string]string{"PLACE": "env"}, "env"},
		{"empty environment is unset", nil, map[string]string{"PLACE": ""}, "fallback"},
		{"flag", []string{"--place", "flag"}, nil, "flag"},
		{"flag before environment", []string{"--place=flag"}, map[string]string{"PLACE": "env"}, "flag"},
		{"empty flag before environment", []string{"--place="}, map[string]string{"PLACE": "env"}, ""},
		{"shorthand", []string{"-p", "flag"}, nil, "flag"},
		{"the last one", []string{"-p", "first", "-p", "last"}, nil, "last"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var place string
			options := []Option{{Flag: "place", Shorthand: "p", Env: "PLACE", Value: Checked(&place, "fallback", asIs)}}
			if err := resolve(options, tt.args, tt.env); err != nil {
				t.Fatal(err)
			}
			if place != tt.want {
				t.Errorf("got %q, want %q", place, tt.want)
			}
		})
	}
}

// TestTextIsNotEmpty: an empty text would be the same as none.
func TestTextIsNotEmpty(t *testing.T) {
	for _, text := range []string{"", " ", "\t\n"} {
		place := "unchanged"
		err := resolve([]Option{{Flag: "place", Value: Text(&place, ""), Example: "here"}}, []string{"--place", text}, nil)
		if want := fmt.Sprintf("--place %q is empty", text); err == nil || err.Error() != want || place != "unchanged" {
			t.Errorf("got %v and %q, want %s", err, place, want)
		}
	}
}

func TestOptionOf(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.Bool("other", false, "")
	var format string
	NewSet([]Option{{Flag: "format", Env: "FORMAT", Value: Choice(&format, "a", "b")}}).Bind(flags)
	if o, ok := OptionOf(flags.Lookup("format")); !ok || o.Env != "FORMAT" {
		t.Errorf("%+v, %v", o, ok)
	}
	if o, ok := OptionOf(flags.Lookup("other")); ok {
		t.Errorf("an option of somebody else: %+v", o)
	}
}

func TestWrongDefaultPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var d time.Duration
	Duration(&d, "soon")
}

func TestParseDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"10s", 10 * time.Second, true},
		{"1m30s", 90 * time.Second, true},
		{"250ms", 250 * time.Millisecond, true},
		{"10", 10 * time.Second, true},
		{"0.5", 500 * time.Millisecond, true},
		{".5", 500 * time.Millisecond, true},
		{"0", 0, true},
		{"", 0, false},
		{"abc", 0, false},
		{"10 s", 0, false},
		{"-1", 0, false},
		{"-1s", 0, false},
		{"1e3", 0, false},
		{"0x10", 0, false},
		{"1_000", 0, false},
		{"inf", 0, false},
		{"nan", 0, false},
		{"99999999999", 0, false},
	}
	for _, tt := range tests {
		got, err := ParseDuration(tt.text)
		if got != tt.want && tt.ok || (err == nil) != tt.ok {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v, ok %v", tt.text, got, err, tt.want, tt.ok)
		}
	}
}

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		want int64 // 0: an error
	}{
		{"1", 1},
		{"65536", 65536},
		{"64KiB", 64 << 10},
		{"64 KiB", 64 << 10},
		{"1MiB", 1 << 20},
		{"2GiB", 2 << 30},
		{"9223372036854775807", 1<<63 - 1},
		{"9223372036854775808", 0},
		{"9223372036854775807KiB", 0},
		{"0", 0},
		{"0KiB", 0},
		{"", 0},
		{"KiB", 0},
		{"-1", 0},
		{"+1", 0},
		{"1.5MiB", 0},
		{"1MB", 0},
		{"1kib", 0},
		{"1 ", 0},
	}
	for _, tt := range tests {
		got, err := ParseSize(tt.text)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", tt.text, got, err, tt.want)
		}
	}
}
