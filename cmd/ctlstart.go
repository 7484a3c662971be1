package cmd

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"phx/cmd/config"
)

type ctlStartOptions struct {
	ctl
	name, file string
}

func newCtlStartCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlStartOptions{ctl: ctl{factory: f, socket: s}}
	o.own = []config.Option{
		{Flag: "config", Shorthand: "f", Value: config.Checked(&o.file, "", notEmpty),
			Usage: "config `FILE` with the connection, which phx serve does not know yet; - for stdin", Example: "phx.yaml"},
	}
	return o.bind(&cobra.Command{
		Use:   "start NAME",
		Short: "Start a connection, with -f a new one",
		Long: `Starts a connection that phx serve knows, because it is in its config and was stopped, or has given up. With -f it
starts a new one, from a config file: with the defaults of that file, and variables as phx serve has them.`,
		Example: `  phx ctl start backend
  phx ctl start staging -f staging.yaml`,
		Args: ctlArgs("backend", []string{"NAME"}, &o.name),
	}, func(ctx context.Context) error { return ctlStartRun(ctx, o) })
}

func ctlStartRun(ctx context.Context, o *ctlStartOptions) error {
	if o.file == "" {
		text, err := o.client.Start(ctx, o.name)
		return o.printAnswer(ctx, text, err)
	}
	entry, dir, err := o.entry()
	if err != nil {
		return err
	}
	text, err := o.client.Add(ctx, entry, dir)
	return o.printAnswer(ctx, text, err)
}

// entry returns the connection in the file as JSON, and where its relative paths start.
func (o *ctlStartOptions) entry() (entry []byte, dir string, err error) {
	name, data := o.file, []byte(nil)
	if o.file == "-" {
		name = "standard input"
		data, err = o.readStdin("--config")
		dir = "."
	} else {
		data, err = os.ReadFile(o.file)
		dir = filepath.Dir(o.file)
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, "", readFailure(name, err)
	}
	file, err := config.ParseFile(name, data, o.factory.streams.LookupEnv)
	if err != nil {
		return nil, "", err
	}
	found, err := file.Entry(o.name)
	if err != nil {
		return nil, "", err
	}
	entry, err = found.Raw()
	return entry, dir, err
}
