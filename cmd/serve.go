package cmd

import (
	"context"
	"io"
	"log/slog"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/bridge"
	"phx/cmd/internal/ops"
	"phx/phoenix"
)

type serveOptions struct {
	factory   *factory
	selection config.Selection
	logging   config.Logging
	control   string
	ready     readiness

	log      *slog.Logger
	notifier *ops.Notifier
}

func newServeCmd(f *factory) *cobra.Command {
	o := &serveOptions{factory: f}
	c := &cobra.Command{
		Use:   "serve",
		Short: "Many named connections, supervised, routed",
		Long: `Keeps the connections of a config file up, and takes their signals to its sinks: stdout, files, programs,
webhooks. It runs until it is told to stop; HUP makes it read the config again and open its files anew. While it
runs, phx ctl shows and steers it.`,
		Example: `  phx serve -f phx.yaml
  phx serve -f phx.yaml --log-format json 2>> serve.log | jq -r .type
  kill -HUP $(pidof phx)    # or: phx ctl reload`,
		Args: cobra.NoArgs,
	}
	c.Flags().SortFlags = false
	f.bind(c, func(ctx context.Context) error {
		if err := o.logging.Check(); err != nil {
			return err
		}
		defer o.queueLog()()
		o.log = newLogger(f.streams.Err, o.logging, slog.LevelInfo)
		f.logJSON = o.logging.Format == config.LogJSON
		return serveRun(ctx, o)
	}, o.selection.FileOptions(), o.options(), o.logging.Options())
	return c
}

// lastLog is how long the end waits for a log that is not read.
const lastLog = 200 * time.Millisecond

// queueLog puts a queue before stderr, so that nothing waits for who reads that, or does not. end takes it back.
func (o *serveOptions) queueLog() (end func()) {
	streams := o.factory.streams
	w := streams.Err
	queue := newLogQueue(w, func(lost int) {
		newLogger(w, o.logging, slog.LevelInfo).Error("lines of this log were lost, because it was not read", "lines", lost)
	})
	streams.Err = queue
	return func() {
		streams.Err = w
		if !queue.flush(lastLog) {
			streams.Err = io.Discard // what is still to be said would wait for ever
		}
	}
}

func (o *serveOptions) options() []config.Option {
	return append([]config.Option{
		{Flag: "control", Env: "PHX_CONTROL", Value: config.Text(&o.control, ""),
			Usage: "Unix socket at `PATH` for phx ctl (default the config's control.socket, else $XDG_RUNTIME_DIR/phx/control.sock)", Example: "/run/phx/control.sock"},
	}, o.ready.flags("every required connection is connected and joined")...)
}

func serveRun(ctx context.Context, o *serveOptions) error {
	keepLittleGarbage()
	ctx, stop := interruptible(ctx, o.factory.die, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer surviveBrokenPipes()()
	hangups, stopHangups := catchHangups()
	defer stopHangups()
	o.notifier = ops.NewNotifier(o.log)
	if err := o.ready.clear(); err != nil {
		return err
	}
	b, err := bridge.New(o.bridgeOptions())
	if err != nil {
		return wrongConfig(err)
	}
	s := &server{serveOptions: o, bridge: b, hangups: hangups}
	if err := s.open(); err != nil {
		return err
	}
	err = s.run(ctx)
	s.close(ctx)
	return err
}

func (o *serveOptions) bridgeOptions() bridge.Options {
	options := bridge.Options{
		Load:      func() (*config.File, error) { return o.selection.Load(o.factory.streams.LookupEnv, o.factory.stdin) },
		Where:     compileWhere,
		LookupEnv: o.factory.streams.LookupEnv,
		Dir:       o.selection.Dir,
		Stdout:    o.factory.streams.Out,
		Build:     serveBuildInfo(),
		Logger:    o.log,
		LogEvent:  logLifecycle,
		Reloading: o.notifier.Reloading,
	}
	if o.logging.Trace {
		options.Trace = func(connection string) func(phoenix.TraceFrame) {
			return newTracer(o.factory.streams.Err, o.logging.Format, connection)
		}
	}
	return options
}
