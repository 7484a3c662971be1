package cmd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/router"
	"phx/router/glob"
)

type listenOptions struct {
	*client
	topics []string

	events, excluded []glob.Glob
	conditions
	count          int
	duration, idle time.Duration
	lifecycle      bool
	presence       bool
	keepGoing      bool
	exitOnClose    bool
	ready          readiness
	buffer         int64
	whenFull       router.Policy
}

// listenRetries is how often listen tries again, once it has joined: before that a person is waiting to see it work.
const listenRetries = 10

// listenReadBuffer saves system calls on a fast stream.
const listenReadBuffer = 64 << 10

func newListenCmd(f *factory) *cobra.Command {
	o := &listenOptions{client: &client{
		factory:    f,
		connection: config.NewConnection(config.Retry{Max: listenRetries, FailFast: true}),
		normal:     slog.LevelInfo,
	}}
	c := &cobra.Command{
		Use:   "listen [TOPIC...]",
		Short: "Signals on stdout until told to stop",
		Long: `Joins every topic and prints what the server sends as signals, one a line, until told to stop. It connects
and joins again by itself; what happens to the link and the channels is logged on stderr, and with --lifecycle
printed as signals, too.

Without a TOPIC it joins the auto_join_channels of the connection in the config file (--config, --connection).`,
		Example: `  phx listen room:lobby -o payload
  phx listen room:lobby --event 'new_*' -c 3
  phx listen room:lobby --until '.data.payload.n >= 3' --max-time 10
  phx listen room:lobby --lifecycle -q .type -r
  phx listen room:lobby --presence --exclude-event 'presence_*'`,
		Args: topicArgs(&o.topics),
	}
	o.own = o.ownOptions()
	o.bind(c, func(ctx context.Context) error { return listenRun(ctx, o) })
	return c
}

func (o *listenOptions) ownOptions() []config.Option {
	return slices.Concat([]config.Option{
		{Flag: "event", Value: config.Repeated(&o.events, glob.Compile),
			Usage: "print only messages whose event matches the `GLOB` (repeat)", Example: "'new_*'"},
		{Flag: "exclude-event", Value: config.Repeated(&o.excluded, glob.Compile),
			Usage: "do not print messages whose event matches the `GLOB` (repeat)", Example: "presence_diff"},
		{Flag: "count", Shorthand: "c", Value: config.Count(&o.count, ""),
			Usage: "end after `N` records; signals of --lifecycle do not count", Example: "3"},
	}, o.conditions.flags(), []config.Option{
		{Flag: "duration", Value: config.Duration(&o.duration, ""),
			Usage: "end after this `TIME`, counted from when every topic is joined", Example: "1m"},
		{Flag: "idle-timeout", Value: config.Duration(&o.idle, ""),
			Usage: "end when no message has come for this `TIME`", Example: "30s"},
		{Flag: "lifecycle", Value: config.Switch(&o.lifecycle),
			Usage: "print the signals of connection and channels, too"},
		{Flag: "presence", Key: "presence", Value: config.Switch(&o.presence),
			Usage: "print who comes, who goes and who is there, too, behind the presence messages that say so"},
		{Flag: "keep-going", Value: config.Switch(&o.keepGoing),
			Usage: "go on with the other topics when one cannot be joined, or is lost for good"},
		{Flag: "exit-on-close", Value: config.Switch(&o.exitOnClose),
			Usage: "do not join again what the server closes; end with 0 when it has closed every topic"},
	}, o.ready.flags("every topic is joined"), []config.Option{
		{Flag: "buffer", Value: config.Size(&o.buffer, "64MiB"),
			Usage: "`SIZE` of what may wait for the reader of stdout", Example: "64MiB"},
		{Flag: "when-full", Value: config.Checked(&o.whenFull, router.Block.String(), router.ParsePolicy),
			Usage: "what then: `POLICY` is block, drop-newest, drop-oldest or fail", Example: "drop-oldest"},
	})
}

func listenRun(ctx context.Context, o *listenOptions) error {
	keepLittleGarbage()
	options, err := o.options()
	if err != nil {
		return err
	}
	if len(o.topics) == 0 {
		if o.topics = o.connection.AutoJoin(); len(o.topics) == 0 {
			return usageError("for example: phx listen room:lobby; or give the connection auto_join_channels in a config file", "there is no TOPIC to join")
		}
	}
	options.ReadBuffer = listenReadBuffer
	options.Skip = o.skip()
	options.Presence = o.presence
	if options.Channels, err = o.connection.Channels(ctx, o.topics...); err != nil {
		return err
	}
	ln, err := newListener(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out, err := startOutput(ctx, cancel, o)
	if err != nil {
		return err
	}
	ln.out, ln.end = out, cancel
	defer ln.limits.stop()

	ln.link, err = startLink(ctx, o.connection.Address(), options)
	if err != nil {
		return err
	}
	err = ln.run(ctx)
	ln.close(ctx, err)
	if errors.Is(err, errDone) {
		err = nil
	}
	return firstError(err, ln.failed, out.finish(ctx), ln.judge.result())
}

// firstError returns the first of errs that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// skip returns the filter by event, nil without one. It sees raw names, before anything is decoded.
func (o *listenOptions) skip() func(topic, event []byte) bool {
	if len(o.events)+len(o.excluded) == 0 {
		return nil
	}
	matches := func(globs []glob.Glob, event []byte) bool {
		for _, g := range globs {
			if g.Match(event) {
				return true
			}
		}
		return false
	}
	return func(_, event []byte) bool {
		return len(o.events) > 0 && !matches(o.events, event) || matches(o.excluded, event)
	}
}

// lastTopic reports whether topic is the last of those that are still listened to, and takes it off.
func (ln *listener) lastTopic(topic string) bool {
	delete(ln.open, topic)
	return len(ln.open) == 0
}
