package cmd

import (
	"errors"
	"slices"
	"testing"

	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
)

func TestWrongOptions(t *testing.T) {
	tests := []struct{ flag, value, message, hint string }{
		{"--log-format", "yaml", `--log-format "yaml" is none of text, json`, "a right one: --log-format json"},
		{"--color", "blue", `--color "blue" is none of auto, always, never`, "a right one: --color never"},
	}
	for _, tt := range tests {
		set := option.NewSet(slices.Concat((&outputOptions{}).Options(), (&loggingOptions{}).Options()))
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		set.Bind(flags)
		if err := flags.Parse([]string{tt.flag, tt.value}); err != nil {
			t.Fatal(err)
		}
		var usage *exit.Error
		err := set.Resolve(func(string) (string, bool) { return "", false })
		if !errors.As(err, &usage) || usage.Error() != tt.message || usage.Hint != tt.hint || usage.Code != exit.Usage {
			t.Errorf("%s %s: %v", tt.flag, tt.value, err)
		}
	}
}

func TestChecksOfOptions(t *testing.T) {
	if err := (&loggingOptions{Verbose: true, Quiet: true}).Check(); err == nil {
		t.Error("--verbose --quiet passed")
	}
	if err := (&outputOptions{Pretty: true, Compact: true}).Check(); err == nil {
		t.Error("--pretty --compact passed")
	}
	if err := errors.Join((&loggingOptions{}).Check(), (&outputOptions{}).Check()); err != nil {
		t.Error(err)
	}
}
