package cmd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/control"
)

func newCtlCmd(f *factory) *cobra.Command {
	s := &ctlSocket{}
	c := &cobra.Command{
		Use:   "ctl",
		Short: "Talk to a running phx serve",
		Long: `Asks a running phx serve for its connections, changes them, and joins, pushes and listens through them. It
talks HTTP over a Unix socket, and prints the answers; so does curl --unix-socket PATH http://phx/v1/connections.`,
		Example: `  phx ctl list
  phx ctl status backend --wait joined --timeout 30s
  phx ctl push backend room:lobby new_msg '{"body":"hi"}'
  phx ctl listen --match 'phoenix.backend.**' -c 3
  phx ctl reload`,
		Args:                       noUnknownCommand,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
		SuggestionsMinimumDistance: 2,
	}
	s.set = config.NewSet([]config.Option{{
		Flag: "control", Env: "PHX_CONTROL", Value: config.Checked(&s.path, "", notEmpty), Example: "/run/phx/control.sock",
		Usage: "`PATH` of the socket of phx serve (default $XDG_RUNTIME_DIR/phx/control.sock, or phx-UID/control.sock in the temp dir)",
	}})
	s.set.Bind(c.PersistentFlags())
	c.AddCommand(
		newCtlListCmd(f, s), newCtlStatusCmd(f, s),
		newCtlStartCmd(f, s), newCtlStopCmd(f, s), newCtlRestartCmd(f, s), newCtlRemoveCmd(f, s),
		newCtlJoinCmd(f, s), newCtlLeaveCmd(f, s), newCtlPushCmd(f, s),
		newCtlListenCmd(f, s), newCtlReloadCmd(f, s),
	)
	return c
}

// A ctlSocket is the option that says whom all subcommands of ctl talk to.
type ctlSocket struct {
	set  *config.Set
	path string
}

// resolve parses the option, whose default is where the socket is when nobody says otherwise.
func (s *ctlSocket) resolve(lookupEnv func(string) (string, bool)) error {
	if err := s.set.Resolve(lookupEnv); err != nil {
		return err
	}
	if s.path == "" {
		s.path = control.DefaultPath(lookupEnv)
	}
	return nil
}

// A ctl is what the subcommands of ctl have in common: the options, and what is made of them.
type ctl struct {
	factory *factory
	socket  *ctlSocket
	output  config.Output
	logging config.Logging
	maxTime time.Duration
	// own is the options of the subcommand itself; choosesFormat says that --output is one of its options.
	own           []config.Option
	choosesFormat bool
	// payloadOnly prints only the payload of a signal that answers a call.
	payloadOnly bool

	log      *slog.Logger
	renderer *renderer
	client   *control.Client
}

// bind adds the options to the command, and run as what it does, as [client.bind] does.
func (c *ctl) bind(command *cobra.Command, run func(ctx context.Context) error) *cobra.Command {
	command.Flags().SortFlags = false
	command.ValidArgsFunction = c.socket.completeArgs(c.factory)
	output := c.output.Options()
	if !c.choosesFormat {
		output = only(output, func(flag string) bool { return flag != "output" })
	}
	logging := only(c.logging.Options(), func(flag string) bool { return flag == "log-format" })
	set := config.NewSet(c.own, output, logging, []config.Option{maxTimeOption(&c.maxTime)})
	set.Bind(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := c.resolve(set); err != nil {
			return err
		}
		defer c.client.Close()
		return c.factory.runBounded(command.Context(), c.maxTime, c.renderer, run)
	}
	return command
}

// only returns the options whose flags are kept.
func only(options []config.Option, keep func(flag string) bool) []config.Option {
	return slices.DeleteFunc(options, func(o config.Option) bool { return !keep(o.Flag) })
}

func (c *ctl) resolve(set *config.Set) error {
	lookupEnv := c.factory.streams.LookupEnv
	if err := errors.Join(c.socket.resolve(lookupEnv), set.Resolve(lookupEnv)); err != nil {
		return err
	}
	if err := c.output.Check(); err != nil {
		return err
	}
	c.log = newLogger(c.factory.streams.Err, c.logging, slog.LevelWarn)
	c.factory.logJSON = c.logging.Format == config.LogJSON
	c.client = control.NewClient(c.socket.path)
	// The name does not matter: what is printed comes encoded.
	var err error
	c.renderer, err = newRenderer(c.output, "ctl", c.factory.streams, c.log)
	return err
}

// print prints what a call has answered, JSON texts without line breaks, one record each.
func (c *ctl) print(ctx context.Context, texts ...[]byte) error {
	p := &printer{renderer: c.renderer, out: c.factory.streams.Out}
	for _, text := range texts {
		p.buffer = c.renderer.appendLine(ctx, p.buffer, text)
	}
	return p.flush()
}

// printAnswer is print for the results of a call.
func (c *ctl) printAnswer(ctx context.Context, text []byte, err error) error {
	if err != nil {
		return err
	}
	return c.print(ctx, text)
}

// ctlArgs takes exactly the named arguments, none of which may be empty.
func ctlArgs(example string, names []string, values ...*string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		hint := "for example: " + c.CommandPath() + " " + example
		switch {
		case len(args) < len(names):
			return usageError(hint, "there is no %s", names[len(args)])
		case len(args) > len(names):
			return usageError(hint, "there is an argument too many: %q", args[len(names)])
		}
		for i, arg := range args {
			if arg == "" {
				return usageError(hint, "the %s is empty", names[i])
			}
			*values[i] = arg
		}
		return nil
	}
}
