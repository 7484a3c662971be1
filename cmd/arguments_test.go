package cmd

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
)

// stdinReaders are all ways to have phx push read the standard input, each with the arguments that do. No argument at all does, too.
var stdinReaders = [][]string{
	{"PAYLOAD"}, {"-"}, {"@-"}, {"--join-params", "-"}, {"--join-params", "@-"}, {"--param", "a=@-"}, {"--param", "b=@-"}, {"-H", "X-A: @-"},
	{"--auth-token-file", "-"}, {"-f", "-"}, {"--cacert", "-"}, {"--cert", "-"}, {"--key", "-"}, {"--on-join", "sync @-"},
}

// TestTwoReadersOfStdin has each pair of readers: nothing is read, nothing is dialed.
func TestTwoReadersOfStdin(t *testing.T) {
	isPayload := func(reader []string) bool { return len(reader) == 1 }
	arguments := func(reader []string) []string {
		if reader[0] == "PAYLOAD" {
			return nil
		}
		return reader
	}
	for i, one := range stdinReaders {
		for _, other := range stdinReaders[i+1:] {
			if isPayload(one) && isPayload(other) || one[0] == "--join-params" && other[0] == one[0] { // of this flag the last one counts
				continue
			}
			args := slices.Concat([]string{"push", "-u", "wss://127.0.0.1:1/socket", "t", "e"}, arguments(one), arguments(other))
			if !isPayload(one) && !isPayload(other) {
				args = append(args, "{}")
			}
			if slices.Contains(args, "--key") && !slices.Contains(args, "--cert") {
				args = append(args, "--cert", "client.pem")
			}
			r := (&phxRun{stdin: "{}"}).run(t.Context(), args...)
			if r.code != exit.Usage || r.out.String() != "" || !strings.Contains(r.err.String(), " both read standard input") {
				t.Errorf("phx %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.err.String())
			}
		}
	}
}

// TestWrongValuesAreAnsweredByARightOne gives each flag a value that is none, where there can be one: exit code 2, and a right value, which
// is right.
func TestWrongValuesAreAnsweredByARightOne(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	arguments := map[string][]string{
		"phx join": {"t"}, "phx push": {"t", "e", "{}"}, "phx ctl start": {"c"}, "phx ctl restart": {"c"}, "phx ctl join": {"c", "t"},
		"phx ctl push": {"c", "t", "e", "{}"}, "phx ctl status": {"c"}, "phx ctl stop": {"c"}, "phx ctl remove": {"c"}, "phx ctl leave": {"c", "t"},
	}
	env := map[string]string{"PHX_URI": "ws://127.0.0.1:1/socket", "PHX_CONTROL": t.TempDir() + "/none"}
	checked := 0
	eachCommand(newRootCmd(testFactory()), func(c *cobra.Command) {
		run := func(args ...string) *phxRun {
			return (&phxRun{env: env}).run(ended, slices.Concat(strings.Fields(c.CommandPath())[1:], args, arguments[c.CommandPath()])...)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			o, ok := option.OptionOf(f)
			name, _ := pflag.UnquoteUsage(f)
			if !ok || !slices.Contains([]string{"TIME", "SIZE", "LIST", "N", "N/s", "POLICY", "WHEN", "FORMAT", "VERSION", "STATE"}, name) {
				return
			}
			checked++
			wrong := run("--"+o.Flag, "nonsense!")
			want := "phx: a right one: --" + o.Flag + " " + o.Example + "\n"
			if wrong.code != exit.Usage || !strings.HasSuffix(wrong.err.String(), want) || o.Example == "" {
				t.Errorf("%s --%s nonsense!: exit code %d\n%s\nwant at the end\n%s", c.CommandPath(), o.Flag, wrong.code, wrong.err.String(), want)
			}
			if right := run("--"+o.Flag, strings.Trim(o.Example, "'")); strings.Contains(right.err.String(), "a right one") {
				t.Errorf("%s --%s %s is not right:\n%s", c.CommandPath(), o.Flag, o.Example, right.err.String())
			}
		})
	})
	if checked < 100 {
		t.Errorf("only %d flags were tried", checked)
	}
}

// TestRepeatedFlagsAreNotSplit makes sure that the script about flags that may be given again has all of them.
func TestRepeatedFlagsAreNotSplit(t *testing.T) {
	script, err := os.ReadFile("../testdata/script/repeated_flags.txtar")
	if err != nil {
		t.Fatal(err)
	}
	eachCommand(newRootCmd(testFactory()), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if strings.Contains(f.Usage, "(repeat)") && !strings.Contains(string(script), " --"+f.Name+" ") && !(f.Shorthand != "" && strings.Contains(string(script), " -"+f.Shorthand+" ")) {
				t.Errorf("repeated_flags.txtar does without --%s of %s", f.Name, c.CommandPath())
			}
		})
	})
}
