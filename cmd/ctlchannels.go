package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/control"
)

type ctlJoinOptions struct {
	ctl
	name, topic, params string
}

func newCtlJoinCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlJoinOptions{ctl: ctl{factory: f, socket: s}}
	o.own = []config.Option{
		{Flag: "params", Value: config.Checked(&o.params, "", notEmpty), Secret: true,
			Usage: "`JSON`, @FILE or - for the join's params (default those in the config of phx serve)", Example: `'{"user_id":123}'`},
		o.answerFormat(),
	}
	return o.bind(&cobra.Command{
		Use:   "join NAME TOPIC",
		Short: "Join a topic, and print the answer",
		Long: `Joins a topic on a connection of phx serve, which stays joined until it is left, and prints the
phoenix.channel.joined or phoenix.channel.join_error signal.`,
		Example: "  phx ctl join backend room:lobby --params @params.json",
		Args:    ctlArgs("backend room:lobby", []string{"NAME", "TOPIC"}, &o.name, &o.topic),
	}, func(ctx context.Context) error { return ctlJoinRun(ctx, o) })
}

func ctlJoinRun(ctx context.Context, o *ctlJoinOptions) error {
	params, err := o.readParams(o.params)
	if err != nil {
		return err
	}
	answer, err := o.client.Join(ctx, o.name, o.topic, params)
	return o.printSignal(ctx, answer, err)
}

// readParams returns the params of a join, nil for none.
func (c *ctl) readParams(text string) (json.RawMessage, error) {
	if text == "" {
		return nil, nil
	}
	params, name := []byte(text), "--params"
	path, isFile := strings.CutPrefix(text, "@")
	var err error
	switch {
	case text == "-" || isFile && path == "-":
		name = "standard input"
		params, err = c.readStdin("--params")
	case isFile:
		name = path
		params, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, readFailure(name, err)
	}
	params = bytes.TrimSpace(params)
	if !bytes.HasPrefix(params, []byte("{")) || !json.Valid(params) || !utf8.Valid(params) {
		return nil, usageError(`a right one: {"user_id":123}`, "the params in %s are not one JSON object", name)
	}
	return params, nil
}

// readStdin reads the whole of the standard input for an option.
func (c *ctl) readStdin(option string) ([]byte, error) {
	stdin, err := c.factory.stdin.Claim(option)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(stdin)
}

func newCtlLeaveCmd(f *factory, s *ctlSocket) *cobra.Command {
	c, name, topic := &ctl{factory: f, socket: s}, "", ""
	return c.bind(&cobra.Command{
		Use:     "leave NAME TOPIC",
		Short:   "Leave a topic, and print the phoenix.channel.left signal",
		Example: "  phx ctl leave backend room:lobby",
		Args:    ctlArgs("backend room:lobby", []string{"NAME", "TOPIC"}, &name, &topic),
	}, func(ctx context.Context) error {
		answer, err := c.client.Leave(ctx, name, topic)
		return c.printSignal(ctx, answer, err)
	})
}

type ctlPushOptions struct {
	ctl
	pushSource
	name, topic, event string
	timeout            time.Duration
	noReply            bool
}

func newCtlPushCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlPushOptions{ctl: ctl{factory: f, socket: s}}
	o.own = []config.Option{
		{Flag: "timeout", Value: config.Duration(&o.timeout, ""),
			Usage: "`TIME` to wait for the reply (default as configured for the connection)", Example: "5s"},
		{Flag: "no-reply", Value: config.Switch(&o.noReply),
			Usage: "wait for no reply, and print the ref of the push"},
		{Flag: "binary", Value: config.Switch(&o.binary),
			Usage: "push the whole input as one binary payload"},
		o.answerFormat(),
	}
	return o.bind(&cobra.Command{
		Use:   "push NAME TOPIC EVENT [PAYLOAD]",
		Short: "Push on a joined topic, and print the reply",
		Long: `Pushes once, on a topic that a connection of phx serve has joined, and prints the phoenix.push.reply,
phoenix.push.timeout or phoenix.push.error signal. PAYLOAD is JSON, @FILE, or - for stdin, which it also comes from
if there is none: one JSON value.`,
		Example: `  phx ctl push backend room:lobby new_msg '{"body":"hi"}'
  jq -n '{body:"hi"}' | phx ctl push backend room:lobby new_msg
  phx ctl push backend room:lobby avatar @me.png --binary`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 3 {
				o.payload, o.given = args[3], true
				args = append(args[:3:3], args[4:]...)
			}
			return ctlArgs("backend room:lobby echo '{}'", []string{"NAME", "TOPIC", "EVENT"}, &o.name, &o.topic, &o.event)(c, args)
		},
	}, func(ctx context.Context) error { return ctlPushRun(ctx, o) })
}

func ctlPushRun(ctx context.Context, o *ctlPushOptions) error {
	if o.noReply && o.timeout > 0 {
		return usageError("leave one of them out", "--timeout bounds the wait for a reply, and with --no-reply there is none")
	}
	payload, err := o.readPayload()
	if err != nil {
		return err
	}
	push := control.Push{Topic: o.topic, Event: o.event, Payload: payload, Timeout: o.timeout, NoReply: o.noReply}
	if o.binary {
		push.Payload, push.Binary = nil, payload
	}
	answer, err := o.client.Push(ctx, o.name, push)
	return o.printSignal(ctx, answer, err)
}

// readPayload returns the one payload that the input has.
func (o *ctlPushOptions) readPayload() ([]byte, error) {
	in, err := o.open(o.factory)
	if err != nil {
		return nil, err
	}
	defer in.close()
	payload, err := in.next()
	if errors.Is(err, io.EOF) {
		return nil, in.errNoInput()
	}
	if err == nil {
		_, err = in.next()
		if err == nil {
			return nil, usageError("push them one by one; `phx push` takes many", "%s has more than one JSON value", in.name)
		}
	}
	if bad := (*failure)(nil); errors.As(err, &bad) && bad.code == exitUsage {
		bad.hint = "nothing was sent: give one JSON value"
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return payload, nil
}
