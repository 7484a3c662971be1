package cmd

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/phoenix"
)

type connectOptions struct {
	*client
	count    int
	interval time.Duration
	hold     bool
}

// defaultInterval is the time between the heartbeats of --count, as with ping.
const defaultInterval = time.Second

func newConnectCmd(f *factory) *cobra.Command {
	o := &connectOptions{client: newOneShot(f)}
	c := &cobra.Command{
		Use:   "connect",
		Short: "Open the socket, one heartbeat, close: is it up?",
		Long: `Opens the socket, waits for the answer to one heartbeat, and closes. It prints one
phoenix.connection.connected signal with the time that each stage took: dns_ms, tcp_ms, tls_ms,
upgrade_ms, and rtt_us for the heartbeat. A failure says at which stage, and what to check; with -v
also how long each stage took.

With --count it goes on like ping: one phoenix.connection.heartbeat signal for each heartbeat, and a
summary on stderr. With --hold it stays until it is stopped, and prints what happens to the link.`,
		Example: `  phx connect --uri ws://localhost:4000/socket
  phx connect -u wss://example.com/socket --auth-token-file token.txt -q .data.rtt_us
  phx connect --count 5 -q .data.rtt_us
  phx connect --hold --max-retries -1`,
		Args: cobra.NoArgs,
	}
	o.own = []config.Option{
		{Flag: "count", Shorthand: "c", Value: config.Count(&o.count, ""),
			Usage: "measure `N` heartbeats, the first one included, and print a signal for each", Example: "5"},
		{Flag: "interval", Value: config.Duration(&o.interval, ""),
			Usage: "`TIME` between the heartbeats of --count (default 1s)", Example: "200ms"},
		{Flag: "hold", Value: config.Switch(&o.hold),
			Usage: "stay, and print the signals of the connection, until stopped"},
	}
	o.bind(c, func(ctx context.Context) error { return connectRun(ctx, o) })
	return c
}

func connectRun(ctx context.Context, o *connectOptions) error {
	switch {
	case o.interval > 0 && o.count == 0:
		return usageError("add --count N", "--interval is between the heartbeats of --count, which is not given")
	case o.interval == 0:
		o.interval = defaultInterval
	}
	options, err := o.options()
	if err != nil {
		return err
	}
	options.HeartbeatEvents = o.count > 0
	l, up, err := openLink(ctx, o.connection.Address(), options)
	if err != nil {
		return err
	}
	w := &connectWatch{connectOptions: o, link: l, printer: o.printer()}
	err = w.run(ctx, up)
	l.close(ctx, nil, w.closing)
	w.summarize()
	return firstError(err, w.failed, w.lost())
}

// printConnected prints the event of a session, with the round trip of a heartbeat. When the session ends before the answer
// comes, it takes the next session, if there is to be one.
func (w *connectWatch) printConnected(ctx context.Context, up *phoenix.Event) error {
	connected := up.Clone() // up is valid until the next event is read
	for {
		rtt, err := w.link.conn.Heartbeat(ctx)
		if err == nil {
			measured := *connected.Detail.(*phoenix.Connected)
			measured.RTT = rtt
			connected.Detail = &measured
			return w.printer.print(ctx, &connected)
		}
		if odd := (*phoenix.HeartbeatError)(nil); errors.As(err, &odd) {
			return heartbeatFailure(w.link.address, odd)
		}
		next, err := w.link.awaitUp(ctx)
		if err != nil {
			return notPhoenix(w.link.address, err)
		}
		connected = next.Clone()
	}
}
