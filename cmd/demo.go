package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/phoenix/phoenixtest"
)

type demoOptions struct {
	factory *factory
	listen  string
	tls     bool
}

func newDemoCmd(f *factory) *cobra.Command {
	o := &demoOptions{factory: f}
	c := &cobra.Command{
		Use:   "demo",
		Short: "A Phoenix-speaking server on loopback, to try phx and to test scripts",
		Long: `Runs a server that speaks Phoenix Channels, until it is interrupted. It says on stderr what to type next.

Topics: room:lobby ticks each second (event tick, payload {"n":1}, ...); room:private refuses; any
other room:* is quiet; in presence:* everyone is present under the join param user.

Events it takes: echo (replies with the payload), broadcast (sends the payload to everyone), fail
(an error reply), crash, close, silent (no reply), slow (replies after payload.ms milliseconds).

Any token but "bad" is accepted, as --param token=... or --auth-token-file.`,
		Example: `  phx demo
  phx demo --listen 127.0.0.1:0 --tls`,
		Args: cobra.NoArgs,
	}
	f.bind(c, func(ctx context.Context) error { return demoRun(ctx, o) }, []config.Option{
		{Flag: "listen", Value: config.Checked(&o.listen, "127.0.0.1:4000", parseListen),
			Usage: "`ADDRESS` to listen on; port 0 takes a free one", Example: "127.0.0.1:4000"},
		{Flag: "tls", Value: config.Switch(&o.tls),
			Usage: "speak TLS; the certificate of its CA is written to a file, and removed at the end"},
	})
	return c
}

func parseListen(text string) (string, error) {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", errors.New("is not HOST:PORT")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", errors.New("has no port from 0 to 65535")
	}
	return text, nil
}

func demoRun(ctx context.Context, o *demoOptions) error {
	ctx, stop := interruptible(ctx, o.factory.die, endingSignals...)
	defer stop()
	options := []phoenixtest.Option{phoenixtest.WithAddr(o.listen)}
	export := ""
	if o.tls {
		ca, err := newDemoCA(o.listen)
		if err != nil {
			return err
		}
		defer ca.remove()
		options = append(options, phoenixtest.WithTLS(&tls.Config{Certificates: []tls.Certificate{ca.server}}))
		export = " SSL_CERT_FILE=" + ca.path
	}
	server, err := phoenixtest.Listen(phoenixtest.Demo(), options...)
	if err != nil {
		return listenError(o.listen, err)
	}
	defer server.Close()
	o.say("in another terminal, type: export PHX_URI=" + server.URL + export)
	o.say("then for example: phx listen room:lobby")
	<-ctx.Done()
	return context.Cause(ctx)
}

// say writes a line for people.
func (o *demoOptions) say(text string) {
	fmt.Fprintln(o.factory.streams.Err, linePrefix+text)
}

func listenError(address string, err error) error {
	f := &failure{
		code:    exitFailure,
		message: "cannot listen on " + address + ": " + err.Error(),
		hint:    "check the address given with --listen",
		err:     err,
	}
	var syscallErr *os.SyscallError
	if errors.As(err, &syscallErr) {
		f.message = "cannot listen on " + address + ": " + syscallErr.Err.Error()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		f.hint = "is there another phx demo? --listen 127.0.0.1:0 takes a free port"
	}
	return f
}
