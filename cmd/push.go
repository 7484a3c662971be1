package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/phoenix"
)

type pushOptions struct {
	*client
	pushSource
	topic, event string

	maxInflight int
	// rate is how many pushes may be sent in a second; 0: no limit.
	rate       float64
	noReply    bool
	keepGoing  bool
	resend     bool
	failedPath string
	stop       stopConditions // --until alone

	progressLine *progressLine

	args []string
	// inflightFrom is where --max-inflight was set.
	inflightFrom option.Origin
}

// defaultInflight waits for each reply before the next push.
const defaultInflight = "1"

func newPushCmd(f *factory) *cobra.Command {
	o := &pushOptions{client: newOneShot(f), progressLine: &progressLine{w: f.streams.Err, width: f.streams.ErrWidth}}
	o.stderr = o.progressLine
	c := &cobra.Command{
		Use:   "push TOPIC EVENT [PAYLOAD]",
		Short: "Join, push, wait for the reply, leave; payloads from stdin",
		Long: `Joins the topic, pushes, prints each reply as a phoenix.push.reply signal, leaves and closes. PAYLOAD is JSON,
@FILE, or - for stdin; without it payloads come from stdin: a stream of JSON values, each sent as soon as it is
complete. It ends at the first push that fails; what came before a bad value is sent and reported.

With --envelope there is neither TOPIC nor EVENT nor PAYLOAD: stdin is a stream of objects with topic, event and payload
(or payload_base64), or of what phx listen prints. Each topic is joined at its first use; at most 64 stay joined.
Signals that are not of messages are left out. broadcast_event in an object is --broadcast-event for its payload.

With --failed, what was not acknowledged with ok is in FILE at the end, as it was in the input and in its order: failed
pushes, a bad value, and what was not sent any more. FILE may be the input itself; it is empty when all is done.`,
		Example: `  phx push room:lobby echo '{"hello":"world"}'
  seq 1000 | phx push room:lobby echo --lines n --max-inflight 32
  jq -c '.[]' events.json | phx push room:lobby import -o payload
  phx push room:lobby avatar @me.png --binary
  phx push room:lobby broadcast '{"n":1}' --until '.metadata.phoenix_event == "broadcast"'
  phx push --envelope --rate 50/s < captured.ndjson
  phx push room:lobby import --lines row --max-inflight 32 --failed todo < rows`,
		Args: func(_ *cobra.Command, args []string) error {
			o.args = args
			return nil
		},
	}
	o.own = []option.Option{
		{Flag: "lines", Value: option.Text(&o.lines, ""),
			Usage: "push each line of the input as the string {`KEY`: line}", Example: "text"},
		{Flag: "binary", Value: option.Switch(&o.binary),
			Usage: "push the whole input as one binary payload"},
		o.broadcastOption(),
		{Flag: "envelope", Value: option.Switch(&o.envelope),
			Usage: "push objects with topic, event and payload, or what phx listen printed; each topic is joined at its first use"},
		{Flag: "max-inflight", Value: option.Count(&o.maxInflight, defaultInflight), From: &o.inflightFrom,
			Usage: "`N` pushes may wait for their replies; output stays in input order", Example: "32"},
		{Flag: "rate", Value: option.Checked(&o.rate, "", parseRate),
			Usage: "push no faster than `N/s`; also N/m and N/h", Example: "50/s"},
		{Flag: "no-reply", Value: option.Switch(&o.noReply),
			Usage: "wait for no replies and print none; at the end the server has to confirm that it has handled all"},
		{Flag: "keep-going", Value: option.Switch(&o.keepGoing),
			Usage: "go on after a push that fails, and with --lines and --envelope after a bad line; the first failure is the exit code"},
		{Flag: "failed", Value: option.Checked(&o.failedPath, "", parseFailedPath),
			Usage: "collect the inputs that were not acknowledged in `FILE`, ready to be piped in again", Example: "todo.ndjson"},
		{Flag: "resend", Value: option.Switch(&o.resend),
			Usage: "connect again when the link is lost, and send again what is not acknowledged: it may arrive twice"},
		{Flag: "until", Group: option.Ending, Common: true, Value: option.Text(&o.stop.untilExpr, ""),
			Usage: "after the replies, stay and print the channel's messages until the jq `EXPR` is true of one; those that came earlier count", Example: "'.data.payload.done'"},
	}
	c.ValidArgsFunction = o.completeTopics(1)
	o.bind(c, func(ctx context.Context) error { return pushRun(ctx, o) })
	return c
}

// parseRate reads a rate as pushes a second. A bare number is that already.
func parseRate(text string) (float64, error) {
	number, unit, _ := strings.Cut(text, "/")
	seconds := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || seconds == 0 || !(n > 0) || math.IsInf(n, 0) || strings.HasSuffix(text, "/") {
		return 0, errors.New("is not a rate")
	}
	return n / seconds, nil
}

// parseFailedPath reads the name of a file.
func parseFailedPath(text string) (string, error) {
	if text == "-" {
		return "", errors.New("is not a file: stdout has the records")
	}
	return option.NotEmpty(text)
}

// takeArgs takes the arguments, which depend on --envelope, and refuses flags that contradict each other.
func (o *pushOptions) takeArgs() error {
	const example, leaveOut = `for example: phx push room:lobby echo '{"a":1}'`, "leave one of them out"
	switch {
	case o.envelope && len(o.args) > 0:
		return exit.Usagef("pipe the envelopes in: phx push --envelope < FILE", "--envelope takes topics, events and payloads from stdin, and no arguments")
	case o.envelope && len(o.connection.Resumes("")) > 0:
		return exit.Usagef(leaveOut, "--resume goes on behind the last message of a topic, and --envelope joins topics to push")
	case o.envelope:
	case len(o.args) < 2 || len(o.args) > 3:
		return exit.Usagef(example, "push needs TOPIC and EVENT, and at most one PAYLOAD")
	case o.args[0] == "" || o.args[1] == "":
		return exit.Usagef(example, "the topic or the event is empty")
	default:
		o.topic, o.event = o.args[0], o.args[1]
		if len(o.args) == 3 {
			o.payload, o.given = o.args[2], true
		}
	}
	if !o.envelope {
		if err := firstError(o.checkBroadcast(o.event), o.checkDropped()); err != nil {
			return err
		}
	}
	switch {
	case o.noReply && o.keepsFailed():
		return exit.Usagef(leaveOut, "--failed collects what is not acknowledged, and with --no-reply nothing is")
	case o.noReply && o.resend:
		return exit.Usagef(leaveOut, "--resend sends again what is not acknowledged, and with --no-reply nothing is")
	case o.noReply && o.inflightFrom != option.FromDefault:
		return exit.Usagef("bound it with --rate", "--max-inflight bounds what waits for a reply, and with --no-reply nothing does")
	}
	return nil
}

// checkDropped refuses what the server would drop, with or without --no-reply, and a broadcast that it does not have.
func (o *pushOptions) checkDropped() error {
	if err := o.connection.CheckPush(o.topic, o.event); err != nil {
		return exit.Usagef("send it as a broadcast: phx push "+o.topic+" broadcast PAYLOAD --broadcast-event "+o.event, "%v", err)
	}
	if err := phoenix.CheckEvent(o.event); err != nil {
		return exit.Usagef("give the name of an event of your application, for example new_msg", "%v", err)
	}
	_, err := o.pushOf(&pushItem{topic: o.topic, event: o.event, broadcast: o.broadcast}, phoenix.Payload{Data: []byte("{}"), Binary: o.binary})
	if err != nil {
		return exit.Usagef("see `phx push --help`", "%v", err)
	}
	return nil
}

// pushOf returns the push of an item.
func (o *pushOptions) pushOf(item *pushItem, payload phoenix.Payload) (phoenix.Push, error) {
	event := item.broadcast
	if event == "" && o.envelope && o.connection.Profile == config.Supabase && item.event == eventBroadcast && !payload.Binary {
		event, payload = withoutMeta(payload)
	}
	if event == "" {
		return phoenix.Push{Topic: item.topic, Name: item.event, Payload: payload}, nil
	}
	return o.connection.Broadcast(item.topic, event, payload)
}

// withoutMeta takes the meta out of a broadcast that phx listen printed, which the server has put in: a listener would take the copy for the
// stored broadcast of that id. The event is empty if there is none.
func withoutMeta(payload phoenix.Payload) (event string, _ phoenix.Payload) {
	var wrapper struct {
		Event         string
		Payload, Meta json.RawMessage
	}
	if payload.Decode(&wrapper) != nil || wrapper.Meta == nil || wrapper.Payload == nil {
		return "", payload
	}
	return wrapper.Event, phoenix.Payload{Data: wrapper.Payload}
}

// keepsFailed reports whether there is a --failed.
func (o *pushOptions) keepsFailed() bool { return o.failedPath != "" }

// resendOutage is how long --resend waits for a link to come back, unless it is told otherwise.
const resendOutage = 15 * time.Minute

func pushRun(ctx context.Context, o *pushOptions) error {
	if err := o.takeArgs(); err != nil {
		return err
	}
	o.pushSource.log = o.client.log
	var in *pushInput
	err := untilDone(ctx, func() (err error) {
		in, err = o.open(o.factory)
		return err
	})
	if err != nil {
		return err
	}
	defer in.close()
	streams := o.factory.streams
	o.progressLine.hidden = !streams.ErrTerminal || streams.OutTerminal || o.logging.Quiet
	in.skipBad = o.keepGoing && (o.lines != "" || o.envelope)
	if o.resend {
		o.connection.KeepTrying(resendOutage)
	}
	options, err := o.options()
	if err != nil {
		return err
	}
	if o.resend && options.MaxRetries == 0 {
		return exit.Usagef("leave one of them out", "--resend sends again after a reconnect, and --no-reconnect or --max-retries 0 allows none")
	}
	if !o.envelope {
		if options.Channels, err = o.channels(ctx, o.topic); err != nil {
			return err
		}
	}
	if err := o.stop.compile(o.connection.Name, &o.output, o.client.log); err != nil {
		return err
	}
	p := &pusher{options: o, in: in, out: o.out, sender: newSender(o, in), failedAt: math.MaxInt}
	if o.keepsFailed() {
		if p.failedInputs, err = createFailed(o.failedPath, in.stream != nil && o.lines == ""); err != nil {
			return err
		}
	}
	err = p.connectAndRun(ctx, options)
	return p.finishFailed(ctx, firstError(err, o.stop.result()))
}

// A pusher is push at work. The sender's goroutine reads the input and sends; the caller's reads events and prints how the pushes
// end, in input order.
type pusher struct {
	options *pushOptions
	in      *pushInput
	sender  *sender
	session *session
	out     *output
	// failedInputs is the file of --failed; nil: none.
	failedInputs *failedInputs
	// matched says that --until is true of a message.
	matched bool

	// stop ends the sender and waits for it.
	stop func()
	// stopped says that nothing more is sent, over that the input has ended or failed, with err.
	stopped bool
	over    chan struct{}
	err     error
	// next is the index of the input whose end is printed next.
	next int
	// failed is the failure of the first input that failed, failedAt its index.
	failed   error
	failedAt int
	// down is how the link ended last, if it did.
	down *phoenix.Disconnected
}

// errAllSent ends a wait for events: there may be none to come.
var errAllSent = errors.New("the input is at its end")

// connectAndRun joins before it reads, so that a refused join loses no input.
func (p *pusher) connectAndRun(ctx context.Context, options phoenix.Options) (err error) {
	if p.session, _, err = openSession(ctx, p.options.connection, options); err != nil {
		return err
	}
	p.sender.session = p.session
	err = p.run(ctx)
	p.session.close(ctx, err, p.sender.joined(), p.printRest())
	return err
}

func (p *pusher) run(ctx context.Context) error {
	if !p.options.envelope {
		p.sender.topics[p.options.topic] = &sentTopic{}
		if err := p.awaitJoin(ctx); err != nil {
			return err
		}
	}
	sending, allSent := p.startSending(ctx)
	defer p.stop()
	defer p.options.progressLine.start(p.sender)()
	err := p.collect(ctx, sending, allSent)
	if err == nil && p.failed == nil && !p.options.stop.none() {
		err = p.awaitMatch(ctx)
	}
	if err == nil && p.failed == nil && p.options.noReply {
		err = p.confirm(ctx)
	}
	// The first failure decides; how the link ended says why.
	return errors.Join(p.summary(), p.out.flush(), err)
}

// startSending starts the sender. sending is ended by allSent when the input is over.
func (p *pusher) startSending(ctx context.Context) (sending context.Context, allSent context.CancelCauseFunc) {
	sending, allSent = context.WithCancelCause(ctx)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	p.over = make(chan struct{})
	go func() {
		defer close(done)
		p.sender.run(ctx, func(err error) {
			p.err = err
			close(p.over)
			allSent(errAllSent)
		})
	}()
	p.stop = func() {
		p.stopped = true
		cancel()
		<-done
	}
	return sending, allSent
}

// awaitJoin waits for the answer to the join, and to the pushes of --on-join.
func (p *pusher) awaitJoin(ctx context.Context) error {
	for {
		ev, err := p.session.next(ctx)
		if err != nil {
			return err
		}
		if p.session.completesJoin(ev) {
			p.sender.setTopic(ev.Topic, topicJoined)
			return nil
		}
		if err := p.session.lostForGood(ev); err != nil {
			return err
		}
	}
}

// collect reads events until every push has ended.
func (p *pusher) collect(ctx, sending context.Context, allSent context.CancelCauseFunc) error {
	defer allSent(nil)
	for wait := sending; p.outstanding(); {
		if err := p.flushIfIdle(); err != nil {
			return err
		}
		ev, err := p.session.next(wait)
		if errors.Is(err, errAllSent) {
			wait = ctx
			continue
		}
		if err == nil {
			err = p.handle(ctx, ev)
		}
		if err != nil {
			return errors.Join(p.giveUp(), err)
		}
	}
	return firstError(p.printEnds(), p.err)
}

// flushIfIdle has what is printed written, and more sent, unless more events come at once.
func (p *pusher) flushIfIdle() error {
	if p.session.events.Ready() {
		return nil
	}
	p.sender.tellFreed()
	return p.out.flush()
}

// outstanding reports whether a push has no end, or one may still be sent.
func (p *pusher) outstanding() bool {
	select {
	case <-p.over:
		return p.sender.outstanding()
	default:
		return true
	}
}

// giveUp sends nothing more. What was to be sent again ends as it ended the first time.
func (p *pusher) giveUp() error {
	p.stop()
	for _, ev := range p.sender.takeLost() {
		if err := p.handleEnd(ev); err != nil {
			return err
		}
	}
	return nil
}

// handle takes one event. Its error ends the collection at once; a failed push only ends the sending.
func (p *pusher) handle(ctx context.Context, ev *phoenix.Event) error {
	if isEnd(ev) {
		return p.handleEnd(ev)
	}
	if p.session.completesJoin(ev) {
		p.sender.setTopic(ev.Topic, topicJoined)
		return nil
	}
	switch d := ev.Detail.(type) {
	case *phoenix.Message:
		return p.handleMessage(ctx, ev)
	case *phoenix.Disconnected:
		p.down = &phoenix.Disconnected{Reason: d.Reason, Text: d.Text, WillReconnect: d.WillReconnect}
		p.sender.linkLost()
		if sent := p.sender.progress.sent.Load(); p.options.noReply && sent > 0 {
			return p.lost(p.explain(&exit.Error{
				Code: exit.LinkLost, Message: fmt.Sprintf("of the %d pushes some may not have arrived", sent),
				Hint: "without --no-reply each is reported",
			}))
		}
	case *phoenix.Errored:
		return p.away(ev, d.Will, d.Reason != phoenix.ErroredDisconnected)
	case *phoenix.Closed:
		return p.away(ev, d.Will, true)
	case *phoenix.JoinError:
		return p.away(ev, d.Will, false)
	}
	return nil
}

// away takes a topic that is not joined any more; will says that it will be again. That is a failure if it is for good; the pushes
// that are out end by themselves. With --no-reply they have no end, and the loss of a channel is a failure in any case.
func (p *pusher) away(ev *phoenix.Event, will, isLoss bool) error {
	state := topicGone
	if will {
		state = topicAway
	}
	p.sender.setTopic(ev.Topic, state)
	if err := p.session.lostForGood(ev); err != nil {
		return p.lost(err)
	}
	if isLoss && p.options.noReply {
		return p.lost(&exit.Error{
			Code: exit.Channel, Message: "the channel " + strconv.Quote(ev.Topic) + " was lost: some of what was pushed may not have been handled",
			Hint: "see the server's log; without --no-reply each push is reported",
		})
	}
	return nil
}

// handleEnd takes the end of a push.
func (p *pusher) handleEnd(ev *phoenix.Event) error {
	index, failure := pushEnd(ev)
	failure = suited(failure, p.options.connection.Profile, ev)
	if p.isSentAgain(ev) {
		p.sender.lose(index, ev)
		return nil
	}
	if p.options.noReply { // it was not sent
		if _, err := p.out.add(ev); err != nil {
			return err
		}
		p.sender.progress.failed.Add(1)
		return p.fail(index, failure)
	}
	if failure != nil { // before its place is free: the next push is not to be sent
		p.sender.progress.failed.Add(1)
		if err := p.fail(index, p.explain(failure)); err != nil {
			return err
		}
	}
	p.sender.ended(index, ev, index == p.next, failure == nil)
	return p.printEnds()
}

// isSentAgain reports whether the end of a push is a loss that --resend makes good.
func (p *pusher) isSentAgain(ev *phoenix.Event) bool {
	d, isError := ev.Detail.(*phoenix.PushError)
	if !isError || !p.options.resend || p.stopped {
		return false
	}
	isBack := p.down != nil && p.down.WillReconnect
	return isBack && (d.Reason == phoenix.PushDisconnected || d.Reason == phoenix.PushNotJoined && p.sender.returns(ev.Topic))
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

// lost takes a failure that is not of one input. What comes before the input whose turn it is has not failed for it.
func (p *pusher) lost(err error) error { return p.fail(p.next, err) }

// fail takes the failure of an input. Unless it is to go on, nothing more is sent, and the pushes that are out end by themselves.
func (p *pusher) fail(index int, err error) error {
	if index < p.failedAt {
		p.failed, p.failedAt = err, index
	}
	if p.options.keepGoing || p.stopped {
		return nil
	}
	return p.giveUp()
}

// summary is the first failure, which says how many there were if --keep-going went on.
func (p *pusher) summary() error {
	var first *exit.Error
	if n := p.sender.progress.failed.Load(); n > 1 && p.options.keepGoing && errors.As(p.failed, &first) {
		first.Message += fmt.Sprintf("; that was the first of %d failures", n)
	}
	return p.failed
}

// isEnd reports whether ev is the end of a push of the input.
func isEnd(ev *phoenix.Event) bool {
	switch ev.Detail.(type) {
	case *phoenix.PushReply, *phoenix.PushTimeout, *phoenix.PushError:
		_, onJoin := onJoinEnd(ev)
		return !onJoin
	}
	return false
}

// pushEnd returns of which push ev is the end, and how it failed; nil: it did not.
func pushEnd(ev *phoenix.Event) (index int, failed *exit.Error) {
	switch d := ev.Detail.(type) {
	case *phoenix.PushReply:
		if d.Status != "ok" {
			failed = statusFailure(ev.Topic, ev.Name, d, ev.Payload)
		}
		return d.Index, failed
	case *phoenix.PushTimeout:
		return d.Index, pushTimeoutFailure(ev.Topic, ev.Name, d)
	}
	d := ev.Detail.(*phoenix.PushError)
	return d.Index, pushFailure(d)
}

// printEnds prints the ends whose turn has come.
func (p *pusher) printEnds() error {
	for {
		item, isOver := p.sender.take(p.next)
		if !isOver {
			return nil
		}
		index := p.next
		p.next++
		if item == nil {
			continue
		}
		if p.failedInputs != nil && !item.acknowledged {
			p.failedInputs.add(item.source)
		}
		if item.bad != nil {
			left := &exit.Error{Code: exit.Usage, Message: "bad input was left out, see above", Hint: "correct it, and push it again", Err: item.bad}
			if err := p.fail(index, left); err != nil {
				return err
			}
			continue
		}
		if _, err := p.out.add(item.end); err != nil {
			return err
		}
	}
}

// printRest returns what prints the ends that come while we close: after an interrupt, say.
func (p *pusher) printRest() func(context.Context, *phoenix.Event) {
	return func(_ context.Context, ev *phoenix.Event) {
		if isEnd(ev) && p.handleEnd(ev) == nil {
			_ = p.out.flush()
		}
	}
}

// finishFailed completes the file of --failed with what was not printed, and what was not read. err is how push ended so far.
func (p *pusher) finishFailed(ctx context.Context, err error) error {
	if p.failedInputs == nil {
		return err
	}
	for index := p.next; index < p.sender.count; index++ {
		if item := p.sender.items[index]; !item.acknowledged {
			p.failedInputs.add(item.source)
		}
	}
	p.failedInputs.add(p.sender.leftover)
	log := p.options.client.log
	failure := p.failedInputs.finish(ctx, p.in, log)
	if _, dies := killed(err); dies && failure != nil {
		log.Error(failure.Error()) // a death by a signal reports no error
	}
	var first *exit.Error
	if failure == nil && errors.As(err, &first) && first.Hint != "" && (p.failedInputs.count > 0 || p.failedInputs.rest) {
		first.Hint += "; what was not acknowledged is in " + p.options.failedPath
	}
	return errors.Join(err, failure)
}

// awaitMatch prints the channel's messages until --until is true of one.
func (p *pusher) awaitMatch(ctx context.Context) error {
	for !p.matched {
		if err := p.flushIfIdle(); err != nil {
			return err
		}
		ev, err := p.session.next(ctx)
		if err != nil {
			return err
		}
		if err := p.handle(ctx, ev); err != nil {
			return err
		}
		if p.failed != nil {
			return nil
		}
	}
	return nil
}

// confirm leaves the topics, so that the server confirms that what was pushed without a reply has been handled. The end of a socket
// takes its channels with it, and what they have not handled yet.
func (p *pusher) confirm(ctx context.Context) error {
	topics := p.sender.joined()
	confirming, confirmed := context.WithCancelCause(ctx)
	defer confirmed(nil)
	go func() {
		for _, topic := range topics {
			left, err := p.session.conn.LeaveEvent(confirming, topic)
			if errors.Is(err, phoenix.ErrNotJoined) { // it was lost meanwhile, and the stream has the failure, which ends the loop below
				select {
				case <-confirming.Done():
				case <-time.After(lateGrace):
				}
			}
			if err == nil {
				err = unconfirmed(&left)
			}
			if err != nil {
				confirmed(err)
				return
			}
			p.sender.setTopic(topic, topicGone)
		}
		confirmed(errDone)
	}()
	for p.failed == nil {
		ev, err := p.session.next(confirming)
		if err == nil {
			err = p.handle(ctx, ev)
		}
		if err != nil {
			return withoutDone(err)
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
