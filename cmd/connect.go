package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"phx/phoenix"
)

type connectOptions struct {
	*client
}

func newConnectCmd(f *factory) *cobra.Command {
	o := &connectOptions{client: newOneShot(f)}
	c := &cobra.Command{
		Use:   "connect",
		Short: "Open the socket, one heartbeat, close: is it up?",
		Long: `Opens the socket, waits for the answer to one heartbeat, and closes. It prints one
phoenix.connection.connected signal with the time that each stage took: dns_ms, tcp_ms, tls_ms,
upgrade_ms, and rtt_us for the heartbeat. A failure says at which stage, and what to check.`,
		Example: `  phx connect --uri ws://localhost:4000/socket
  phx connect -u wss://example.com/socket --auth-token-file token.txt -q .data.rtt_us`,
		Args: cobra.NoArgs,
	}
	o.bind(c, func(ctx context.Context) error { return connectRun(ctx, o) })
	return c
}

func connectRun(ctx context.Context, o *connectOptions) error {
	options, err := o.options()
	if err != nil {
		return err
	}
	l, up, err := openLink(ctx, o.connection.Address(), options)
	if err != nil {
		return err
	}
	err = printConnected(ctx, o, l, up)
	l.close(ctx, nil, nil)
	return err
}

// printConnected prints the event of a session, with the round trip of a heartbeat. When the session ends before the answer
// comes, it takes the next session, if there is to be one.
func printConnected(ctx context.Context, o *connectOptions, l *link, up *phoenix.Event) error {
	for {
		rtt, err := l.conn.Heartbeat(ctx)
		if err == nil {
			measured := *up.Detail.(*phoenix.Connected)
			measured.RTT = rtt
			up.Detail = &measured
			return o.printer().print(ctx, up)
		}
		if up, err = l.awaitUp(ctx); err != nil {
			return err
		}
	}
}
