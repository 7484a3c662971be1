package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/control"
)

func newCtlListCmd(f *factory, s *ctlSocket) *cobra.Command {
	c := &ctl{factory: f, socket: s}
	return c.bind(&cobra.Command{
		Use:     "list",
		Short:   "Print every connection, one line each",
		Example: "  phx ctl list -q '[.name, .status] | join(\" \")' -r",
		Args:    ctlArgs("", nil),
	}, c.list)
}

// list prints each connection.
func (c *ctl) list(ctx context.Context) error {
	all, err := c.client.Connections(ctx)
	if err != nil {
		return err
	}
	texts := make([][]byte, len(all))
	for i, text := range all {
		texts[i] = text
	}
	return c.print(ctx, texts...)
}

type ctlStatusOptions struct {
	ctl
	name, wait string
	timeout    time.Duration
}

func newCtlStatusCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlStatusOptions{ctl: ctl{factory: f, socket: s}}
	o.own = []config.Option{
		{Flag: "wait", Value: config.Checked(&o.wait, "", parseState),
			Usage: "wait until it is in the `STATE` connected or joined: connected, and all its channels joined", Example: "joined"},
		{Flag: "timeout", Value: config.Duration(&o.timeout, ""),
			Usage: "`TIME` that --wait may take; not there by then: exit 28", Example: "30s"},
	}
	return o.bind(&cobra.Command{
		Use:     "status [NAME]",
		Short:   "Print a connection, or every one; wait for it to be up",
		Example: "  phx ctl status backend --wait joined --timeout 30s",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return ctlArgs("backend", []string{"NAME"}, &o.name)(c, args)
		},
	}, func(ctx context.Context) error { return ctlStatusRun(ctx, o) })
}

var errNoState = errors.New("is neither connected nor joined")

func parseState(text string) (string, error) {
	if text != control.StateConnected && text != control.StateJoined {
		return "", errNoState
	}
	return text, nil
}

func ctlStatusRun(ctx context.Context, o *ctlStatusOptions) error {
	if o.timeout > 0 && o.wait == "" {
		return usageError("for example: --wait joined --timeout 30s", "--timeout needs --wait")
	}
	if o.name != "" {
		text, err := o.client.Connection(ctx, o.name, o.wait, o.timeout)
		return o.printAnswer(ctx, text, err)
	}
	if o.wait == "" {
		return o.list(ctx)
	}
	return o.waitForAll(ctx)
}

// waitForAll waits for one connection after the other, and prints each when it is there. All of them share the time.
func (o *ctlStatusOptions) waitForAll(ctx context.Context) error {
	names, err := o.names(ctx)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(o.timeout)
	for _, name := range names {
		var timeout time.Duration
		if o.timeout > 0 {
			timeout = max(time.Until(deadline), time.Nanosecond)
		}
		text, err := o.client.Connection(ctx, name, o.wait, timeout)
		if err := o.printAnswer(ctx, text, err); err != nil {
			return err
		}
	}
	return nil
}

// names returns the names of all connections.
func (o *ctlStatusOptions) names(ctx context.Context) ([]string, error) {
	all, err := o.client.Connections(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, text := range all {
		var c control.Connection
		if err := json.Unmarshal(text, &c); err != nil {
			return nil, err
		}
		names[i] = c.Name
	}
	return names, nil
}

func newCtlStopCmd(f *factory, s *ctlSocket) *cobra.Command {
	return newCtlNameCmd(f, s, "stop", "Leave a connection's channels and close it, until it is started again", (*control.Client).Stop)
}

func newCtlRestartCmd(f *factory, s *ctlSocket) *cobra.Command {
	return newCtlNameCmd(f, s, "restart", "Stop a connection and start it", (*control.Client).Restart)
}

func newCtlRemoveCmd(f *factory, s *ctlSocket) *cobra.Command {
	return newCtlNameCmd(f, s, "remove", "Stop a connection and forget it, until phx serve is started anew", (*control.Client).Remove)
}

// newCtlNameCmd returns a command that does one thing with one connection.
func newCtlNameCmd(f *factory, s *ctlSocket, verb, short string, call func(*control.Client, context.Context, string) ([]byte, error)) *cobra.Command {
	c, name := &ctl{factory: f, socket: s}, ""
	return c.bind(&cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: "  phx ctl " + verb + " backend",
		Args:    ctlArgs("backend", []string{"NAME"}, &name),
	}, func(ctx context.Context) error {
		text, err := call(c.client, ctx, name)
		return c.printAnswer(ctx, text, err)
	})
}

func newCtlReloadCmd(f *factory, s *ctlSocket) *cobra.Command {
	c := &ctl{factory: f, socket: s}
	return c.bind(&cobra.Command{
		Use:   "reload",
		Short: "Make phx serve read its config again, and wait until that has taken effect",
		Args:  ctlArgs("", nil),
	}, func(ctx context.Context) error {
		text, err := c.client.Reload(ctx)
		return c.printAnswer(ctx, text, err)
	})
}
