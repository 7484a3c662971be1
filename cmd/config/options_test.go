package config

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
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
			options := []Option{{Flag: "place", Shorthand: "p", Env: "PLACE", Value: Text(&place, "fallback")}}
			if err := resolve(options, tt.args, tt.env); err != nil {
				t.Fatal(err)
			}
			if place != tt.want {
				t.Errorf("got %q, want %q", place, tt.want)
			}
		})
	}
}

func TestWrongValues(t *testing.T) {
	tests := []struct {
		args    string
		env     map[string]string
		message string
		hint    string
	}{
		{"--timeout soon", nil, `--timeout "soon" is not a duration`, "a right one: --timeout 5s"},
		{"--timeout 0", nil, `--timeout "0" is no time at all`, "a right one: --timeout 5s"},
		{"--connect-timeout -3s", nil, `--connect-timeout "-3s" is negative`, "a right one: --connect-timeout 5s"},
		{"--reconnect-after 1s,soon", nil, `--reconnect-after "1s,soon" is not a list of durations`, "a right one: --reconnect-after 100ms,1s,10s"},
		{"--max-retries many", nil, `--max-retries "many" is not a number of retries: -1 or more`, "a right one: --max-retries 5"},
		{"--max-retries -2", nil, `--max-retries "-2" is not a number of retries: -1 or more`, "a right one: --max-retries 5"},
		{"--max-message 1MB", nil, `--max-message "1MB" is not a size: bytes, or a number with KiB, MiB or GiB`, "a right one: --max-message 64MiB"},
		{"--vsn 3.0.0", nil, `--vsn "3.0.0" is none of 2.0.0, 1.0.0`, "a right one: --vsn 2.0.0"},
		{"--no-jitter=perhaps", nil, `--no-jitter "perhaps" is neither true nor false`, ""},
		{"--auth-token-file=", nil, `--auth-token-file "" is not the name of a file`, "a right one: --auth-token-file token.txt"},
		// What may be secret is not repeated.
		{"--uri SECRET", nil, "the value of --uri has no scheme", "a right one: --uri ws://localhost:4000/socket"},
		{"--uri ws://user:SECRET/x@host:y/", nil, "the value of --uri is not a URI", "a right one: --uri ws://localhost:4000/socket"},
		{"--uri ftp://SECRET", nil, "the value of --uri has another scheme than ws, wss, http or https", "a right one: --uri ws://localhost:4000/socket"},
		{"--uri ws:///SECRET", nil, "the value of --uri has no host", "a right one: --uri ws://localhost:4000/socket"},
		{"--uri ws://host#SECRET", nil, "the value of --uri has a fragment (#...)", "a right one: --uri ws://localhost:4000/socket"},
		{"", map[string]string{"PHX_URI": "SECRET"}, "the value of PHX_URI has no scheme", "a right one: PHX_URI=ws://localhost:4000/socket"},
		{"--param SECRET", nil, "the value of --param is not NAME=VALUE", "a right one: --param user_id=123"},
		{"--param =SECRET", nil, "the value of --param is not NAME=VALUE", "a right one: --param user_id=123"},
		{"--param vsn=1.0.0", nil, "the value of --param sets vsn, which has an option of its own: --vsn", "a right one: --param user_id=123"},
		{"--header SECRET", nil, "the value of --header is not 'NAME: VALUE'", "a right one: --header 'X-Api-Key: @key.txt'"},
		{"--header a(b:SECRET", nil, "the value of --header is not 'NAME: VALUE'", "a right one: --header 'X-Api-Key: @key.txt'"},
		{"--header x:SEC\nRET", nil, "the value of --header has a control character or a line break", "a right one: --header 'X-Api-Key: @key.txt'"},
		{"--header upgrade:h2c", nil, "the value of --header sets upgrade, which belongs to the upgrade itself", "a right one: --header 'X-Api-Key: @key.txt'"},
		{"--join-params SECRET", nil, "the value of --join-params is not a JSON object", `a right one: --join-params '{"user_id":123}'`},
		{"--join-params [1]", nil, "the value of --join-params is not a JSON object", `a right one: --join-params '{"user_id":123}'`},
	}
	for _, tt := range tests {
		var args []string
		if tt.args != "" {
			args = strings.SplitN(tt.args, " ", 2)
		}
		err := resolve(NewConnection(Retry{}).Options(), args, tt.env)
		var usage *exit.Error
		if !errors.As(err, &usage) {
			t.Errorf("%s: error %v, want a usage error", tt.args, err)
			continue
		}
		if usage.Error() != tt.message || usage.Hint != tt.hint || usage.Code != exit.Usage {
			t.Errorf("%s:\n got %s\n     %s\nwant %s\n     %s", tt.args, usage.Error(), usage.Hint, tt.message, tt.hint)
		}
	}
}

func TestWrongName(t *testing.T) {
	for _, name := range []string{"", "push", "a b", "-x"} {
		c := NewConnection(Retry{})
		err := resolve(c.Options(), []string{"--name=" + name}, nil)
		if err == nil || !strings.Contains(err.Error(), "cannot be used") {
			t.Errorf("--name %q: error %v", name, err)
		}
	}
}

func TestHelpShowsDefaults(t *testing.T) {
	c := NewConnection(Retry{Max: 10})
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	NewSet(c.Options()).Bind(flags)
	help := flags.FlagUsages()
	for _, want := range []string{
		"-u, --uri URI", "[$PHX_URI]", "(default 10)", "(default 64MiB)", "(default 30s)", "--timeout TIME", "(default default)",
	} {
		if !strings.Contains(help, want) {
			t.Errorf("help lacks %q:\n%s", want, help)
		}
	}
	if strings.Contains(help, "--no-jitter value") || strings.Contains(help, "--no-jitter bool") {
		t.Errorf("a switch shows an argument:\n%s", help)
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
