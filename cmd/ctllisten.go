package cmd

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/control"
	"phx/router"
)

type ctlListenOptions struct {
	ctl
	request control.SubscribeRequest
	conditions
	count          int
	duration, idle time.Duration
	ready          readiness
}

// ctlListenBuffer is what may wait for the reader of stdout. While it is full, nothing is read from phx serve, which then loses
// signals of this subscription, and says so in it.
const ctlListenBuffer = 64 << 20

func newCtlListenCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlListenOptions{ctl: ctl{factory: f, socket: s, choosesFormat: true}}
	o.own = o.ownOptions()
	return o.bind(&cobra.Command{
		Use:   "listen",
		Short: "Print the signals of all connections, or some of them, as they come",
		Long: `Prints the signals of a running phx serve as they come, from all its connections, until told to stop: those that
pass --match, --subscribe, --topic, --event and --where, all that are given. It ends with exit code 56 when phx
serve does.`,
		Example: `  phx ctl listen --match 'phoenix.backend.**'
  phx ctl listen --topic 'room:*' --event 'new_*' -o payload -c 3
  phx ctl listen --match phoenix.connection.disconnected -q .data.reason -r
  phx ctl listen --until '.data.payload.n >= 3' --max-time 10`,
		Args: ctlArgs("--match 'phoenix.backend.**'", nil),
	}, func(ctx context.Context) error { return ctlListenRun(ctx, o) })
}

func (o *ctlListenOptions) ownOptions() []config.Option {
	return slices.Concat([]config.Option{
		{Flag: "match", Value: config.Checked(&o.request.Match, "", notEmpty),
			Usage: "only signals whose type matches the `PATTERN`: * is one segment, ** any number", Example: "'phoenix.backend.**'"},
		{Flag: "subscribe", Value: config.Checked(&o.request.Subscribe, "", notEmpty),
			Usage: "only signals of which a bus topic matches the `PATTERN`", Example: "'jido.protocol.phoenix.backend.*'"},
		{Flag: "topic", Value: config.Repeated(&o.request.Topic, notEmpty),
			Usage: "only signals whose topic matches the `GLOB` (repeat)", Example: "'room:*'"},
		{Flag: "event", Value: config.Repeated(&o.request.Event, notEmpty),
			Usage: "only signals whose event matches the `GLOB` (repeat)", Example: "'new_*'"},
		{Flag: "where", Value: config.Checked(&o.request.Where, "", notEmpty),
			Usage: "only signals of which the jq `EXPR` is true; phx serve runs it", Example: "'.data.payload.total > 100'"},
		{Flag: "count", Shorthand: "c", Value: config.Count(&o.count, ""),
			Usage: "end after `N` signals; those about connections and channels do not count, unless --match is given", Example: "3"},
	}, o.conditions.flags(), []config.Option{
		{Flag: "duration", Value: config.Duration(&o.duration, ""),
			Usage: "end after this `TIME`", Example: "1m"},
		{Flag: "idle-timeout", Value: config.Duration(&o.idle, ""),
			Usage: "end when no signal that --count counts has come for this `TIME`", Example: "30s"},
	}, o.ready.flags("no signal is missed any more"))
}

func ctlListenRun(ctx context.Context, o *ctlListenOptions) error {
	judge, err := o.conditions.compile(o.log)
	if err != nil {
		return err
	}
	if err := o.ready.clear(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ln := &ctlListener{ctlListenOptions: o, judge: judge, view: newSignalView(o.output.Format), end: cancel}
	defer ln.limits.stop()
	ln.out = startQueue(ctx, cancel, o.factory.streams, func(context.Context) *router.Queue {
		return router.NewQueue(ctlListenBuffer, router.Block, nil)
	})
	err = ln.run(ctx)
	if errors.Is(err, errDone) {
		err = nil
	}
	return firstError(err, ln.out.finish(ctx), judge.result())
}
