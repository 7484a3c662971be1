package cmd

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"phx/cmd/config"
)

type pushOptions struct {
	*client
	pushSource
	topic, event string

	maxInflight int
	until       string
}

// defaultInflight waits for each reply before the next push.
const defaultInflight = "1"

func newPushCmd(f *factory) *cobra.Command {
	o := &pushOptions{client: newOneShot(f)}
	c := &cobra.Command{
		Use:   "push TOPIC EVENT [PAYLOAD]",
		Short: "Join, push, wait for the reply, leave; payloads from stdin",
		Long: `Joins the topic, pushes, prints each reply as a phoenix.push.reply signal, leaves and closes. PAYLOAD is JSON,
@FILE, or - for stdin; without it payloads come from stdin: a stream of JSON values, each sent as soon as it is
complete. It ends at the first push that fails; what came before a bad value is sent and reported.`,
		Example: `  phx push room:lobby echo '{"hello":"world"}'
  seq 1000 | phx push room:lobby echo --lines n --max-inflight 32
  jq -c '.[]' events.json | phx push room:lobby import -o payload
  phx push room:lobby avatar @me.png --binary
  phx push room:lobby broadcast '{"n":1}' --until '.metadata.phoenix_event == "broadcast"'`,
		Args: func(_ *cobra.Command, args []string) error { return o.takeArgs(args) },
	}
	o.own = []config.Option{
		{Flag: "lines", Value: config.Checked(&o.lines, "", notEmpty),
			Usage: "push each line of the input as the string {`KEY`: line}", Example: "text"},
		{Flag: "binary", Value: config.Switch(&o.binary),
			Usage: "push the whole input as one binary payload"},
		{Flag: "max-inflight", Value: config.Count(&o.maxInflight, defaultInflight),
			Usage: "`N` pushes may wait for their replies; output stays in input order", Example: "32"},
		{Flag: "until", Value: config.Text(&o.until, ""),
			Usage: "after the replies, stay and print the channel's messages until the jq `EXPR` is true of one; those that came earlier count", Example: "'.data.payload.done'"},
	}
	o.bind(c, func(ctx context.Context) error { return pushRun(ctx, o) })
	return c
}

func (o *pushOptions) takeArgs(args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return usageError(`for example: phx push room:lobby echo '{"a":1}'`, "push needs TOPIC and EVENT, and at most one PAYLOAD")
	}
	o.topic, o.event = args[0], args[1]
	if o.topic == "" || o.event == "" {
		return usageError(`for example: phx push room:lobby echo '{"a":1}'`, "the topic or the event is empty")
	}
	if len(args) == 3 {
		o.payload, o.given = args[2], true
	}
	return nil
}

// pushRun joins before it reads: who is not let in has lost no input.
func pushRun(ctx context.Context, o *pushOptions) error {
	in, err := o.open(o.factory)
	if err != nil {
		return err
	}
	defer in.close()
	options, err := o.options()
	if err != nil {
		return err
	}
	if options.Channels, err = o.connection.Channels(ctx, o.topic); err != nil {
		return err
	}
	p := &pusher{pushOptions: o, in: in, printer: o.printer()}
	if o.until != "" {
		if p.until, err = newUntil(o); err != nil {
			return err
		}
	}
	if p.link, _, err = openLink(ctx, o.connection.Address(), options); err != nil {
		return err
	}
	err = p.run(ctx)
	p.link.close(ctx, []string{o.topic}, p.printRest())
	return err
}

// notEmpty is a text of at least one character.
func notEmpty(text string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "", errEmpty
	}
	return text, nil
}
