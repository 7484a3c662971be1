package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
)

// newRootCmd returns the command phx with everything under it.
func newRootCmd(f *factory) *cobra.Command {
	root := &cobra.Command{
		Use:   "phx",
		Short: "Phoenix Channels for the shell",
		Long: `phx brings Phoenix Channels to the shell: it connects to a Phoenix application, joins
channels, pushes events, and prints what the server sends as signals, one JSON object a line.

  phx demo                        a server to try it with
  export PHX_URI=ws://127.0.0.1:4000/socket
  phx connect                     is it up?
  phx listen room:lobby           what happens there?
  phx push room:lobby echo '{}'   say something`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noUnknownCommand,
		PersistentPreRun: func(*cobra.Command, []string) {
			f.running = true
		},
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	showVersion := false
	f.bind(root, func(context.Context) error {
		if showVersion {
			return printVersion(f, false)
		}
		return root.Help()
	}, []option.Option{
		{Flag: "version", Shorthand: "V", Value: option.Switch(&showVersion), Usage: "print the version"},
	})
	root.SetIn(f.streams.In)
	root.SetErr(f.streams.Err)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		newConnectCmd(f),
		newJoinCmd(f),
		newPushCmd(f),
		newListenCmd(f),
		newServeCmd(f),
		newCtlCmd(f),
		newConfigCmd(f),
		newDemoCmd(f),
		newCompletionCmd(f),
		newVersionCmd(f),
	)
	root.SetHelpCommand(newHelpCmd(f))
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		// An error is seen by the checkedWriter.
		_, _ = io.WriteString(c.OutOrStdout(), commandHelp(c, !slices.Contains(args, "--help")).text(f.streams.pageWidth()))
	})
	completeFlags(root)
	return root
}

// noUnknownCommand refuses what is not the name of a command.
func noUnknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "`" + c.CommandPath() + " --help` lists the commands"
	if similar := c.SuggestionsFor(args[0]); args[0] != "" && len(similar) > 0 {
		hint = fmt.Sprintf("did you mean `%s %s`?", c.CommandPath(), similar[0])
	}
	return exit.Usagef(hint, "there is no command %q", args[0])
}

// noArgs refuses arguments. The name of a file is meant for --config, perhaps.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see `" + c.CommandPath() + " --help`"
	if _, err := os.Stat(args[0]); err == nil && c.Flags().Lookup("config") != nil {
		hint = fmt.Sprintf("a config file goes with -f: %s -f %s", c.CommandPath(), args[0])
	}
	return exit.Usagef(hint, "%s takes no arguments, and %q is one", c.CommandPath(), args[0])
}

// flagError makes a usage error of what is wrong with flags. It repeats no more of the command line than names of flags.
func flagError(c *cobra.Command, err error) error {
	hint := "see `" + c.CommandPath() + " --help`"
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) {
		if letters := unknown.GetSpecifiedShortnames(); letters != "" && strings.Contains("0123456789.", letters[:1]) {
			hint = "an argument that begins with - goes behind --, for example: " + c.CommandPath() + " ... -- -5"
		}
		return exit.Usagef(hint, "there is no option %s", dashed(unknown.GetSpecifiedName()))
	}
	if missing := (*pflag.ValueRequiredError)(nil); errors.As(err, &missing) {
		return exit.Usagef(hint, "%s needs a value", dashed(missing.GetSpecifiedName()))
	}
	return exit.Usagef(hint, "%v", err)
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
