package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/phoenix"
)

type pushOptions struct {
	*client
	pushSource
	topic, event string

	maxInflight int
	stop        stopConditions // --until alone
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
	o.own = []option.Option{
		{Flag: "lines", Value: option.Checked(&o.lines, "", notEmpty),
			Usage: "push each line of the input as the string {`KEY`: line}", Example: "text"},
		{Flag: "binary", Value: option.Switch(&o.binary),
			Usage: "push the whole input as one binary payload"},
		{Flag: "max-inflight", Value: option.Count(&o.maxInflight, defaultInflight),
			Usage: "`N` pushes may wait for their replies; output stays in input order", Example: "32"},
		{Flag: "until", Group: option.Ending, Common: true, Value: option.Text(&o.stop.untilExpr, ""),
			Usage: "after the replies, stay and print the channel's messages until the jq `EXPR` is true of one; those that came earlier count", Example: "'.data.payload.done'"},
	}
	c.ValidArgsFunction = o.completeTopics(1)
	o.bind(c, func(ctx context.Context) error { return pushRun(ctx, o) })
	return c
}

func (o *pushOptions) takeArgs(args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return exit.Usagef(`for example: phx push room:lobby echo '{"a":1}'`, "push needs TOPIC and EVENT, and at most one PAYLOAD")
	}
	o.topic, o.event = args[0], args[1]
	if o.topic == "" || o.event == "" {
		return exit.Usagef(`for example: phx push room:lobby echo '{"a":1}'`, "the topic or the event is empty")
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
	if options.Channels, err = o.channels(ctx, o.topic); err != nil {
		return err
	}
	if err := o.stop.compile(o.connection.Name, &o.output, o.log); err != nil {
		return err
	}
	p := &pusher{options: o, in: in, out: o.out}
	if p.session, _, err = openSession(ctx, o.connection.Address(), options); err != nil {
		return err
	}
	err = p.run(ctx)
	p.session.close(ctx, err, []string{o.topic}, p.printRest())
	return firstError(err, o.stop.result())
}

// notEmpty is a text of at least one character.
func notEmpty(text string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "", errEmpty
	}
	return text, nil
}

// A pusher is push at work. One goroutine reads the input and sends; the caller's reads events and prints how the pushes end,
// in input order.
type pusher struct {
	options *pushOptions
	in      *pushInput
	session *session
	out     *output
	// matched says that --until is true of a message.
	matched bool

	progress pushProgress
	// ended holds the ends that came before their turn; next is whose turn it is, done how many have come.
	ended      map[int]phoenix.Event
	next, done int
	// failed is the first failure.
	failed error
	// down is how the link ended, if it did.
	down *phoenix.Disconnected
}

// errAllSent ends a wait for events: there may be none to come.
var errAllSent = errors.New("the input is at its end")

func (p *pusher) run(ctx context.Context) error {
	if err := p.awaitJoin(ctx); err != nil {
		return err
	}
	p.ended = map[int]phoenix.Event{}
	p.progress.over = make(chan struct{})
	sending, allSent := context.WithCancelCause(ctx)
	defer allSent(nil)
	slots := make(chan struct{}, p.options.maxInflight)
	go func() {
		p.progress.err = p.send(sending, slots)
		close(p.progress.over)
		allSent(errAllSent)
	}()
	err := p.collect(ctx, sending, slots)
	if err == nil && p.failed == nil && !p.options.stop.none() {
		err = p.awaitMatch(ctx)
	}
	// The first failure decides; how the link ended says why.
	return errors.Join(p.failed, p.out.flush(), err)
}

// awaitJoin waits for the answer to the join, and to the pushes of --on-join.
func (p *pusher) awaitJoin(ctx context.Context) error {
	for {
		ev, err := p.session.next(ctx)
		if err != nil {
			return err
		}
		if p.session.completesJoin(ev) {
			return nil
		}
		if err := p.session.lostForGood(ev); err != nil {
			return err
		}
	}
}

// collect reads events until every push has ended. sending ends when all are sent.
func (p *pusher) collect(ctx, sending context.Context, slots chan struct{}) error {
	wait := sending
	for p.progress.outstanding(p.done) {
		if !p.session.events.Ready() {
			if err := p.out.flush(); err != nil {
				return err
			}
		}
		ev, err := p.session.next(wait)
		switch {
		case errors.Is(err, errAllSent):
			wait = ctx
			continue
		case err != nil:
			p.progress.stop()
			return err
		}
		if err := p.handle(ctx, ev, slots); err != nil {
			p.progress.stop()
			return err
		}
	}
	select {
	case <-p.progress.over:
		return p.progress.err
	default: // stopped by a failure while it waits for input
		return nil
	}
}

// handle takes one event. Its error ends the collection at once; a push that failed only ends the sending.
func (p *pusher) handle(ctx context.Context, ev *phoenix.Event, slots chan struct{}) error {
	if index, failure, isEnd := pushEnd(ev); isEnd {
		if failure != nil && p.failed == nil {
			p.failed = p.explain(failure)
			p.progress.stop()
		}
		p.done++
		p.ended[index] = ev.Clone()
		<-slots
		return p.printEnds(ctx)
	}
	switch d := ev.Detail.(type) {
	case *phoenix.Disconnected:
		p.down = &phoenix.Disconnected{Reason: d.Reason, Text: d.Text}
	case *phoenix.Message:
		return p.handleMessage(ctx, ev)
	default:
		if err := p.session.lostForGood(ev); err != nil {
			p.lost(err)
		}
	}
	return nil
}

// explain adds to a failure why the link was lost, which came first and took the push with it.
func (p *pusher) explain(f *exit.Error) error {
	if p.down == nil {
		return f
	}
	f.Message += fmt.Sprintf("; the link was lost: %s", p.down.Reason)
	if p.down.Text != "" {
		f.Message += ", " + oneLine(p.down.Text)
	}
	return f
}

// lost takes the loss of the channel: the pushes that are out end by themselves, and no more are sent.
func (p *pusher) lost(err error) {
	if p.failed == nil {
		p.failed = err
	}
	p.progress.stop()
}

// pushEnd reports whether ev is the end of a push of the input, of which one, and how it failed.
func pushEnd(ev *phoenix.Event) (index int, failed *exit.Error, isEnd bool) {
	if _, onJoin := onJoinEnd(ev); onJoin {
		return 0, nil, false
	}
	switch d := ev.Detail.(type) {
	case *phoenix.PushReply:
		if d.Status != "ok" {
			failed = statusFailure(ev.Topic, ev.Name, d, ev.Payload)
		}
		return d.Index, failed, true
	case *phoenix.PushTimeout:
		return d.Index, pushTimeoutFailure(ev.Topic, ev.Name, d), true
	case *phoenix.PushError:
		return d.Index, pushFailure(d), true
	}
	return 0, nil, false
}

// printEnds prints the ends whose turn has come.
func (p *pusher) printEnds(ctx context.Context) error {
	for {
		ev, ok := p.ended[p.next]
		if !ok {
			return nil
		}
		delete(p.ended, p.next)
		p.next++
		if _, err := p.out.add(&ev); err != nil {
			return err
		}
	}
}

// printRest returns what prints the ends that come while we close: after an interrupt, say.
func (p *pusher) printRest() func(context.Context, *phoenix.Event) {
	return func(ctx context.Context, ev *phoenix.Event) {
		if index, _, isEnd := pushEnd(ev); isEnd && p.ended != nil {
			p.ended[index] = ev.Clone()
			if p.printEnds(ctx) == nil {
				_ = p.out.flush()
			}
		}
	}
}

// pushProgress is what the reading goroutine and the printing one share.
type pushProgress struct {
	mu      sync.Mutex
	sent    int
	stopped bool
	// over is closed when nothing more is sent; err is valid then.
	over chan struct{}
	err  error
}

// send reads the input and sends, with no more pushes in flight than there are slots. It returns when the input has ended or
// failed, or when nothing more is to be sent.
func (p *pusher) send(ctx context.Context, slots chan struct{}) error {
	for index := 0; ; index++ {
		payload, err := p.in.next()
		switch {
		case errors.Is(err, io.EOF) && index == 0:
			return p.in.errNoInput()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if !p.progress.take() {
			return nil
		}
		push := phoenix.Push{Topic: p.options.topic, Name: p.options.event, Payload: phoenix.Payload{Data: payload, Binary: p.in.binary}, Index: index}
		if err := p.session.conn.Send(ctx, push); err != nil {
			p.progress.giveBack()
			return p.sendFailure(err)
		}
	}
}

// sendFailure explains a push that was not accepted. That of a connection that has ended is explained by the end.
func (p *pusher) sendFailure(err error) error {
	var linkErr *phoenix.LinkError
	if errors.As(err, &linkErr) || errors.Is(err, phoenix.ErrClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return exit.Usagef("see `phx push --help`", "%v", err)
}

// take counts a push that is about to be sent, if one still may be.
func (s *pushProgress) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.sent++
	return true
}

func (s *pushProgress) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent--
}

// stop lets no further push be sent.
func (s *pushProgress) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// outstanding reports whether there is a push without an end among those sent, or one may still be sent.
func (s *pushProgress) outstanding(done int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.over:
		return s.sent > done
	default:
		return s.sent > done || !s.stopped
	}
}

// awaitMatch prints the channel's messages until --until is true of one.
func (p *pusher) awaitMatch(ctx context.Context) error {
	for !p.matched {
		if !p.session.events.Ready() {
			if err := p.out.flush(); err != nil {
				return err
			}
		}
		ev, err := p.session.next(ctx)
		if err != nil {
			return err
		}
		if err := p.handle(ctx, ev, nil); err != nil {
			return err
		}
		if p.failed != nil {
			return p.failed
		}
	}
	return nil
}

// handleMessage prints a message up to the one that --until is true of. One that came before the replies counts: a broadcast comes
// before the reply to the push that caused it (PROTOCOL.md, section 5).
func (p *pusher) handleMessage(ctx context.Context, ev *phoenix.Event) error {
	if p.options.stop.none() || p.matched {
		return nil
	}
	if _, err := p.out.add(ev); err != nil {
		return err
	}
	err := p.options.stop.checkEvent(ctx, ev)
	if errors.Is(err, errDone) {
		p.matched = true
		return nil
	}
	return err
}
