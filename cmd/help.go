package cmd

import (
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// A helpTopic returns a page of `phx help` that is not about a command. As far as it can be, it is made of what root declares.
type helpTopic func(root *cobra.Command) string

var helpTopics = map[string]helpTopic{
	"config":      configHelp,
	"environment": environmentHelp,
	"exit-codes":  func(*cobra.Command) string { return exitCodesHelp() },
	"formatting":  func(*cobra.Command) string { return formattingHelp() },
	"signals":     func(*cobra.Command) string { return signalsHelp() },
}

func newHelpCmd(f *factory) *cobra.Command {
	topics := slices.Sorted(maps.Keys(helpTopics))
	return &cobra.Command{
		Use:   "help [COMMAND | TOPIC]",
		Short: "Help about a command, or about: " + strings.Join(topics, ", "),
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names := slices.Clone(topics)
			for _, sub := range c.Root().Commands() {
				if sub.IsAvailableCommand() && !slices.Contains(names, sub.Name()) {
					names = append(names, sub.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error { return helpRun(f.streams.Out, c.Root(), args) },
	}
}

func helpRun(w io.Writer, root *cobra.Command, args []string) error {
	if len(args) == 1 {
		if topic, ok := helpTopics[args[0]]; ok {
			_, err := io.WriteString(w, topic(root))
			return writeError(err)
		}
	}
	command, rest, err := root.Find(args)
	if err != nil || len(rest) > 0 {
		hint := "topics: " + strings.Join(slices.Sorted(maps.Keys(helpTopics)), ", ") + "; `phx --help` lists the commands"
		return usageError(hint, "there is no help on %q", strings.Join(args, " "))
	}
	command.InitDefaultHelpFlag()
	return command.Help()
}
