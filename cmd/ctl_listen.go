package cmd

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/internal/jq"
	"phx/cmd/internal/option"
	"phx/cmd/internal/serve"
	"phx/signal"
)

type ctlListenOptions struct {
	ctl
	request        serve.SubscribeRequest
	stop           stopConditions
	count          int
	duration, idle time.Duration
	ready          *readiness
}

func newCtlListenCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlListenOptions{ctl: ctl{factory: f, socket: s, prints: recordFormats()}, ready: &readiness{}}
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

func (o *ctlListenOptions) ownOptions() []option.Option {
	return slices.Concat([]option.Option{
		{Flag: "match", Value: option.Text(&o.request.Match, ""),
			Usage: "only signals whose type matches the `PATTERN`: * is one segment, ** any number", Example: "'phoenix.backend.**'"},
		{Flag: "subscribe", Value: option.Text(&o.request.Subscribe, ""),
			Usage: "only signals of which a bus topic matches the `PATTERN`", Example: "'jido.protocol.phoenix.backend.*'"},
		{Flag: "topic", Value: option.Repeated(&o.request.Topic, option.NotEmpty),
			Usage: "only signals whose topic matches the `GLOB` (repeat)", Example: "'room:*'"},
		{Flag: "event", Value: option.Repeated(&o.request.Event, option.NotEmpty),
			Usage: "only signals whose event matches the `GLOB` (repeat)", Example: "'new_*'"},
		{Flag: "where", Value: option.Text(&o.request.Where, ""),
			Usage: "only signals of which the jq `EXPR` is true; phx serve runs it", Example: "'.data.payload.total > 100'"},
		{Flag: "count", Group: option.Ending, Common: true, Shorthand: "c", Value: option.Count(&o.count, ""),
			Usage: "end after `N` signals; those about connections and channels do not count, unless --match is given", Example: "3"},
	}, o.stop.flags(), []option.Option{
		{Flag: "duration", Group: option.Ending, Common: true, Value: option.Duration(&o.duration, ""),
			Usage: "end after this `TIME`", Example: "1m"},
		{Flag: "idle-timeout", Group: option.Ending, Common: true, Value: option.Duration(&o.idle, ""),
			Usage: "end when no signal that --count counts has come for this `TIME`", Example: "30s"},
		o.output.slurpOption(),
	}, o.ready.flags("no signal is missed any more"))
}

func ctlListenRun(ctx context.Context, o *ctlListenOptions) error {
	return o.listen(ctx, func(ctx context.Context, r serve.SubscribeRequest) (lineStream, error) {
		return o.client.Signals(ctx, r)
	})
}

// A lineStream is signals, one a line, as they come: a [serve.Stream], or what is in a stream of JetStream.
type lineStream interface {
	Next() ([]byte, error)
	Ready() bool
	Close()
}

// listen prints the signals of the stream that open returns.
func (o *ctlListenOptions) listen(ctx context.Context, open func(context.Context, serve.SubscribeRequest) (lineStream, error)) error {
	if text := o.renderer.form; text != nil {
		text.names, text.sentences = true, false
	}
	warnOfCommas(o.log, "--topic", o.request.Topic...)
	warnOfCommas(o.log, "--event", o.request.Event...)
	if err := o.stop.compile("", &o.output, o.log); err != nil {
		return err
	}
	if where := o.request.Where; where != "" {
		if _, err := jq.Compile(where, jq.Options{Source: "--where", Variables: o.output.Variables}); err != nil {
			return err
		}
		o.request.Where = jq.Bind(where, o.output.Variables)
	}
	if o.output.Slurp {
		if !o.stop.none() || o.count > 0 || o.duration > 0 || o.idle > 0 || o.maxTime > 0 {
			o.out.slurp(defaultBuffer)
		} else {
			return errEndlessSlurp
		}
	}
	if err := o.ready.prepare(o.factory); err != nil {
		return err
	}
	defer o.ready.end(o.log)
	ln := &ctlListener{options: o, view: newSignalView(o.output.Output.Format), out: o.out, open: open}
	defer ln.limits.stop()
	o.out.watchReader()
	err := withoutDone(ln.run(ctx))
	return firstError(err, o.out.printSlurped(err == nil), o.stop.result())
}

// A ctlListener is `ctl listen` at work: it reads signals, prints them, and decides when it is enough.
type ctlListener struct {
	options *ctlListenOptions
	view    *signalView
	out     *output
	open    func(context.Context, serve.SubscribeRequest) (lineStream, error)
	limits  timeLimits
	// counted is how many signals --count has counted.
	counted int
	// seq numbers the lines, for a stream that wants to know which are written.
	seq uint64
}

// run subscribes, and prints until it is enough; errDone says that it ended as it should.
func (ln *ctlListener) run(ctx context.Context) error {
	request := ln.options.request
	request.Format = ln.view.wire()
	stream, err := ln.open(ctx, request)
	if err != nil {
		return err
	}
	defer stream.Close()
	ln.limits.start(ln.options.duration, ln.options.idle, func() { ln.out.end(errDone) })
	if err := ln.options.ready.notify(ln.options.log); err != nil {
		return err
	}
	return errors.Join(ln.read(ctx, stream), ln.out.flush())
}

// read prints what comes.
func (ln *ctlListener) read(ctx context.Context, stream lineStream) error {
	for {
		if !stream.Ready() {
			if err := ln.out.flush(); err != nil {
				return err
			}
		}
		line, err := stream.Next()
		if err != nil {
			return err
		}
		if err := ln.handle(ctx, line); err != nil {
			return err
		}
	}
}

// handle takes one signal. Its error ends read.
func (ln *ctlListener) handle(ctx context.Context, line []byte) error {
	counts := ln.counts(typeOfSignal(line))
	if counts {
		ln.limits.touch()
	}
	printed, err := ln.print(line)
	if err != nil {
		return err
	}
	if !ln.options.stop.none() {
		plain, seq, err := ln.view.plain(line)
		if err != nil {
			return err
		}
		if err := ln.options.stop.check(ctx, jq.Document{Text: plain}, seq); err != nil {
			return err
		}
	}
	if counts && printed {
		if ln.counted++; ln.counted == ln.options.count {
			return errDone
		}
	}
	return nil
}

// counts reports whether --count counts a signal of that type: one that says how connections and channels are, or that others were lost, only
// if somebody asked for types.
func (ln *ctlListener) counts(kind string) bool {
	if ln.options.request.Match != "" {
		return true
	}
	return !signal.IsLifecycle(kind) && !strings.HasPrefix(kind, "phoenix.signal.")
}

// print prints a signal, and reports whether there is anything to print of it.
func (ln *ctlListener) print(line []byte) (printed bool, err error) {
	shown, err := ln.view.shown(line)
	if err != nil {
		return false, err
	}
	ln.seq++
	if printed, err = ln.out.addLine(shown, ln.seq); err == nil {
		ln.out.complete.Store(ln.seq)
	}
	return printed, err
}

// typeOfSignal returns the type of a signal, whatever its format but payload. It stands before anything that a server has a say in.
func typeOfSignal(line []byte) string {
	_, rest, _ := bytes.Cut(line, []byte(`"type":"`))
	kind, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(kind)
}
