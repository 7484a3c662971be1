package cmd

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/phoenix"
)

// A client is what the commands that connect have in common: the options, and what is made of them. A command embeds it in
// its options and adds its own to set before bind.
type client struct {
	factory    *factory
	selection  config.Selection
	connection *config.Connection
	output     config.Output
	logging    config.Logging
	maxTime    time.Duration
	// own is the options of the command itself.
	own []config.Option
	// normal is the level from which on the command logs, unless it is told otherwise.
	normal slog.Level

	choice   *config.Set
	set      *config.Set
	log      *slog.Logger
	renderer *renderer
}

// newOneShot returns the client of a command that does one thing: it retries nothing and is silent when all went well.
func newOneShot(f *factory) *client {
	return &client{factory: f, connection: config.NewConnection(config.Retry{}), normal: slog.LevelWarn}
}

// bind adds the options to the command, and run as what it does. run is called with everything resolved, and with a
// context that ends at a process signal and at --max-time, its cause the error that the command then returns.
func (c *client) bind(command *cobra.Command, run func(ctx context.Context) error) {
	command.Flags().SortFlags = false
	c.set = config.NewSet(c.own, c.connection.Options(), c.output.Options(), c.logging.Options(), []config.Option{maxTimeOption(&c.maxTime)})
	c.choice = config.NewSet(c.selection.Options())
	c.choice.Bind(command.Flags())
	c.set.Bind(command.Flags())
	completeConnections(command, c.factory, c.choice, &c.selection)
	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := c.resolve(); err != nil {
			return err
		}
		return c.factory.runBounded(command.Context(), c.maxTime, c.renderer, run)
	}
}

// maxTimeOption declares --max-time.
func maxTimeOption(v *time.Duration) config.Option {
	return config.Option{Flag: "max-time", Value: config.Duration(v, ""), Example: "30s",
		Usage: "`TIME` for the whole command; not finished by then: exit 28"}
}

// resolve parses the options and makes the log and the renderer of them.
func (c *client) resolve() error {
	lookupEnv := c.factory.streams.LookupEnv
	if err := c.choice.Resolve(lookupEnv); err != nil {
		return err
	}
	entry, err := c.selection.Choose(lookupEnv, c.factory.stdin)
	if err != nil {
		return err
	}
	c.set.Use(entry)
	if err := c.set.Resolve(lookupEnv); err != nil {
		return err
	}
	if c.connection.URI == "" && entry == nil {
		if err := c.selection.Undecided(); err != nil {
			return err
		}
	}
	if err := errors.Join(c.logging.Check(), c.output.Check()); err != nil {
		return err
	}
	c.log = newLogger(c.factory.streams.Err, c.logging, c.normal)
	c.connection.Logger = c.log
	if warning := entry.Elsewhere(c.connection); warning != "" {
		c.log.Warn(warning)
	}
	c.factory.logJSON = c.logging.Format == config.LogJSON
	c.renderer, err = newRenderer(c.output, c.connection.Name, c.factory.streams, c.log)
	return err
}

// runBounded runs a command that prints with r, until a process signal ends it, or maxTime, unless that is zero.
func (f *factory) runBounded(ctx context.Context, maxTime time.Duration, r *renderer, run func(context.Context) error) error {
	ctx, stop := interruptible(ctx, f.die, endingSignals...)
	defer stop()
	if maxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, maxTime, maxTimeError(maxTime))
		defer cancel()
	}
	if err := run(ctx); err != nil {
		return err
	}
	// What ended the command while it was leaving and closing counts, too.
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.result()
}

// options returns what to make a connection of. The command may add to it.
func (c *client) options() (phoenix.Options, error) {
	o, err := c.connection.Build(c.factory.stdin)
	if err != nil {
		return o, err
	}
	if warning := c.connection.Warning(); warning != "" {
		c.log.Warn(warning)
	}
	o.Logger = c.log
	if c.logging.Trace {
		o.Trace = newTracer(c.factory.streams.Err, c.logging.Format, "")
	}
	return o, nil
}

// printer returns a printer of records to stdout.
func (c *client) printer() *printer {
	return &printer{renderer: c.renderer, out: c.factory.streams.Out}
}
