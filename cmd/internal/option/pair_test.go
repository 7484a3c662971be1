package option

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestPairs: a flag of two arguments is one wherever it stands on the line, and what only looks like it is not.
func TestPairs(t *testing.T) {
	tests := []struct {
		line        string // arguments, with spaces between them
		pairs, rest string
	}{
		{"--arg a 1", "a=1", ""},
		{"push --arg a 1 topic --arg b 2 event", "a=1 b=2", "push topic event"},
		{"topic --arg a -x --arg b --arg", "a=-x b=--arg", "topic"},
		{"--arg a -- -- --arg c 1", "a=--", "--arg c 1"},
		{"--filter --arg a 1", "", "a 1"},
		{"-f --arg a 1", "", "a 1"},
		{"-sf --arg a 1", "", "a 1"},
		{"-sfx --arg a 1", "a=1", ""},
		{"-s --arg a 1", "a=1", ""},
		{"--switch --arg a 1", "a=1", ""},
		{"--switch=false --filter=x --arg a 1 -", "a=1", "-"},
		{"--arg a= b=c", "a==b=c", ""},
	}
	type pair struct{ name, value string }
	for _, tt := range tests {
		var pairs []pair
		var filter string
		var on bool
		set := NewSet([]Option{
			{Flag: "arg", Value: Pairs(&pairs, func(name, value string) (pair, error) { return pair{name, value}, nil })},
			{Flag: "filter", Shorthand: "f", Value: Text(&filter, "")},
			{Flag: "switch", Shorthand: "s", Value: Switch(&on)},
		})
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		set.Bind(fs)
		args := strings.Fields(tt.line)
		err := fs.Parse(JoinPairs(args, pflag.NewFlagSet("", pflag.ContinueOnError), fs))
		err = errors.Join(err, set.Resolve(func(string) (string, bool) { return "", false }))
		var got []string
		for _, p := range pairs {
			got = append(got, p.name+"="+p.value)
		}
		if pairs, rest := strings.Join(got, " "), strings.Join(fs.Args(), " "); err != nil || pairs != tt.pairs || rest != tt.rest {
			t.Errorf("%s: pairs %q, arguments %q, %v; want %q, %q", tt.line, pairs, rest, err, tt.pairs, tt.rest)
		}
	}
}

func TestPairsIncomplete(t *testing.T) {
	for _, line := range []string{"--arg a", "--arg=a 1", "--arg=a=1"} {
		var pairs []string
		set := NewSet([]Option{{Flag: "arg", Secret: true, Value: Pairs(&pairs, func(name, _ string) (string, error) { return name, nil })}})
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		set.Bind(fs)
		err := fs.Parse(JoinPairs(strings.Fields(line), fs))
		if err == nil {
			err = set.Resolve(func(string) (string, bool) { return "", false })
		}
		if err == nil || err.Error() != "the value of --arg is two arguments, NAME and VALUE" {
			t.Errorf("%s: %v", line, err)
		}
	}
	args := []string{"--arg"}
	if got := JoinPairs(args); !slices.Equal(got, args) {
		t.Errorf("%q became %q", args, got)
	}
}

// FuzzJoinPairs: nothing gets lost, and nothing comes out of its order.
func FuzzJoinPairs(f *testing.F) {
	f.Add("--arg a 1 -sf x -- --arg b 2")
	f.Add("-")
	f.Add("--arg --arg --arg --arg")
	f.Fuzz(func(t *testing.T, line string) {
		var pairs []string
		set := NewSet([]Option{{Flag: "arg", Shorthand: "a", Value: Pairs(&pairs, func(name, _ string) (string, error) { return name, nil })}})
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		set.Bind(fs)
		args := strings.Split(strings.ReplaceAll(line, pairSeparator, ""), " ")
		var apart []string
		for _, arg := range JoinPairs(args, fs) {
			first, second, isPair := strings.Cut(arg, pairSeparator)
			if !isPair {
				apart = append(apart, arg)
				continue
			}
			flag, first, _ := strings.Cut(first, "=")
			apart = append(apart, flag, first, second)
		}
		if !slices.Equal(apart, args) {
			t.Errorf("%q became %q", args, apart)
		}
	})
}
