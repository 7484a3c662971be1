package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/cmd/internal/serve"
)

// shells are those there is a completion for.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func newCompletionCmd(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script for bash, zsh, fish or powershell",
		Example: `  source <(phx completion bash)
  phx completion zsh > "${fpath[1]}/_phx"
  phx completion fish > ~/.config/fish/completions/phx.fish`,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return exit.Usagef("for example: phx completion bash", "completion wants one shell: %s", strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return completionRun(f.streams.Out, c.Root(), args[0]) },
	}
}

func completionRun(w io.Writer, root *cobra.Command, shell string) error {
	var script bytes.Buffer
	var err error
	switch shell {
	case "bash":
		err = root.GenBashCompletionV2(&script, true)
	case "zsh":
		err = root.GenZshCompletion(&script)
	case "fish":
		err = root.GenFishCompletion(&script, true)
	case "powershell":
		err = root.GenPowerShellCompletionWithDesc(&script)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(script.Bytes())
	return writeError(err)
}

// completionTime is how long a shell waits at most for what a running phx serve has.
const completionTime = 500 * time.Millisecond

// completeArgs completes the arguments of a subcommand of ctl, by what its usage line calls them: a NAME by the connections of the
// running phx serve, a SINK by its sinks, a TOPIC by the channels of the connection. Where nobody answers, nothing is completed, and
// nothing is said.
func (s *ctlSocket) completeArgs(f *factory) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) (words []string, _ cobra.ShellCompDirective) {
		placeholders := strings.Fields(c.Use)[1:]
		if len(args) >= len(placeholders) || s.resolve(f.streams.LookupEnv) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		switch strings.Trim(placeholders[len(args)], "[]") {
		case "NAME":
			if file := c.Flag("config"); file != nil && file.Changed {
				break // it is a name that phx serve does not know yet
			}
			for _, connection := range s.connections(c.Context()) {
				words = append(words, cobra.CompletionWithDesc(connection.Name, connection.Status))
			}
		case "SINK":
			for _, sink := range s.sinks(c.Context()) {
				words = append(words, cobra.CompletionWithDesc(sink.Name, sink.Status))
			}
		case "TOPIC":
			for _, connection := range s.connections(c.Context()) {
				if connection.Name != args[0] {
					continue
				}
				for _, channel := range connection.Channels {
					words = append(words, cobra.CompletionWithDesc(channel.Topic, channel.State))
				}
			}
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// connections returns those of the running phx serve, none if it does not answer soon.
func (s *ctlSocket) connections(ctx context.Context) []serve.Connection {
	return known[serve.Connection](ctx, s, (*serve.Client).Connections)
}

// sinks returns those of the running phx serve, none if it does not answer soon.
func (s *ctlSocket) sinks(ctx context.Context) []serve.Sink {
	return known[serve.Sink](ctx, s, (*serve.Client).Sinks)
}

// known returns what a call of the control API lists.
func known[T any](ctx context.Context, s *ctlSocket, call func(*serve.Client, context.Context) ([]json.RawMessage, error)) []T {
	client, end, err := s.client(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	texts, err := call(client, ctx)
	if err != nil {
		return nil
	}
	list := make([]T, len(texts))
	for i, text := range texts {
		if json.Unmarshal(text, &list[i]) != nil {
			return nil
		}
	}
	return list
}

// completeConnections completes --connection by the names in the config file that the command line, or the environment, has chosen.
// The standard input is left alone.
func completeConnections(c *cobra.Command, f *factory, set *option.Set, selection *config.Selection) {
	complete := func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
		if set.Resolve(f.streams.LookupEnv) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		file, err := selection.Load(f.streams.LookupEnv, secret.NewStdin(strings.NewReader("")))
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, entry := range file.Entries {
			names = append(names, entry.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	if err := c.RegisterFlagCompletionFunc("connection", complete); err != nil {
		panic("cmd: " + c.CommandPath() + ": " + err.Error())
	}
}

// completeTopics completes topics by the auto_join_channels of the connection in the config file, without those that are there: up to
// most of them.
func (c *client) completeTopics(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) (topics []string, _ cobra.ShellCompDirective) {
		lookupEnv := c.factory.streams.LookupEnv
		if len(args) >= most || c.choice.Resolve(lookupEnv) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		entry, err := c.selection.Choose(lookupEnv, secret.NewStdin(strings.NewReader("")))
		if err != nil || entry == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c.set.Use(entry)
		if c.set.Resolve(lookupEnv) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, topic := range c.connection.AutoJoin() {
			if !slices.Contains(args, topic) {
				topics = append(topics, topic)
			}
		}
		return topics, cobra.ShellCompDirectiveNoFileComp
	}
}

// fileArguments are the names of arguments, in usages, that are those of files.
var fileArguments = []string{"FILE", "PATH"}

// completeFlags completes the values of the flags of c, and of all below it, unless that is done already: those that can be listed, and
// names of files. Other values are not completed.
func completeFlags(c *cobra.Command) {
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		o, ok := option.OptionOf(f)
		if !ok || f.NoOptDefVal != "" {
			return
		}
		if _, done := c.GetFlagCompletionFunc(f.Name); done {
			return
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if argument, _ := pflag.UnquoteUsage(f); slices.Contains(fileArguments, argument) {
			directive = cobra.ShellCompDirectiveDefault
		}
		if err := c.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(o.Value.Choices, directive)); err != nil {
			panic("cmd: " + c.CommandPath() + ": " + err.Error())
		}
	})
	for _, sub := range c.Commands() {
		completeFlags(sub)
	}
}
