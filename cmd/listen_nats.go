package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/natslink"
	"phx/cmd/internal/option"
	"phx/cmd/internal/serve"
	"phx/router"
	"phx/signal"
)

// natsListenOptions are those of listen that are for NATS alone.
type natsListenOptions struct {
	natsOptions
	durable, stream string
	since           since
}

// A since is from where a consumer begins: behind what is there, with all, or at a time.
type since struct {
	all bool
	age time.Duration
	at  time.Time
}

func (o *natsListenOptions) options() []option.Option {
	return slices.Concat(o.flags("`URL` of a NATS server: print the signals in a stream of JetStream, of SUBJECTs in place of TOPICs (repeat for further servers)"),
		option.Connecting.In([]option.Option{
			{Flag: "stream", Value: option.Text(&o.stream, ""), Example: "PHX",
				Usage: "`NAME` of the stream, with --nats (default the one that takes the first SUBJECT)"},
			{Flag: "durable", Value: option.Text(&o.durable, ""), Example: "audit",
				Usage: "go on where the durable consumer `NAME` has stopped, with --nats: what was written to stdout is acknowledged"},
			{Flag: "since", Value: option.Checked(&o.since, "", parseSince), Example: "10m",
				Usage: "begin with signals of this `TIME` ago, or all, with --nats (default with new ones)"},
		}...))
}

func parseSince(text string) (s since, err error) {
	if text == "all" {
		return since{all: true}, nil
	}
	if s.at, err = time.Parse(time.RFC3339, text); err == nil {
		return s, nil
	}
	if s.age, err = option.ParseDuration(text); err != nil || s.age == 0 {
		return s, errors.New("is neither all, nor a duration, nor a time such as 2026-02-07T12:00:00Z")
	}
	return s, nil
}

// forNATS are the flags of listen that mean something with --nats.
var forNATS = []string{
	"nats", "nats-creds", "nats-nkey", "nats-token-file", "stream", "durable", "since", "cacert", "cert", "key", "insecure", "server-name",
	"event", "exclude-event", "count", "until", "fail-on", "duration", "idle-timeout", "slurp", "ready-file", "ready-fd", "on-ready", "buffer", "when-full", "max-time",
	"output", "jq", "arg", "argjson", "raw-output", "exit-status", "pretty", "compact", "no-trim", "color", "verbose", "quiet", "log-format",
}

// byNATS reports whether listen is to read from NATS: the flag asks for it, or the variable, and nothing for a Phoenix server.
func (o *listenOptions) byNATS(command *cobra.Command) bool {
	if command.Flags().Changed("nats") {
		return true
	}
	lookup := o.factory.streams.LookupEnv
	for _, name := range []string{"PHX_URI", "PHX_CONNECTION"} {
		if text, _ := lookup(name); text != "" {
			return false
		}
	}
	url, _ := lookup("PHX_NATS")
	return url != "" && !slices.ContainsFunc([]string{"uri", "connection", "config"}, command.Flags().Changed)
}

// listenNATS is listen with --nats.
func (o *listenOptions) listenNATS(command *cobra.Command) error {
	if err := o.set.Resolve(o.factory.streams.LookupEnv); err != nil {
		return err
	}
	if err := errors.Join(o.logging.Check(), o.output.Check(), checkForNATS(command)); err != nil {
		return err
	}
	if len(o.topics) == 0 {
		return exit.Usagef("for example: phx listen --nats nats://127.0.0.1:4222 'jido.protocol.phoenix.backend.>'", "there is no SUBJECT")
	}
	o.logging.suit(o.output.Color, o.factory)
	o.log = o.factory.newLogger(o.logging, slog.LevelWarn)
	var err error
	if o.renderer, err = newRenderer(o.output, "default", o.factory.streams, o.log); err != nil {
		return err
	}
	o.nats.tls = &o.connection.TLS
	link, where, err := o.nats.link(o.log)
	if err != nil {
		return err
	}
	defer closeLink(link)
	s := &natsStream{options: &o.nats, subjects: o.topics, link: link, at: where.Addresses(), log: o.log, form: o.output.Output, skip: o.skip(), named: len(o.events) > 0}
	p := printing{renderer: o.renderer, log: o.log, buffer: o.buffer, whenFull: o.whenFull}
	if o.nats.durable != "" {
		s.written = router.NewProgress()
		p.progress = s.written
	}
	ctl := &ctlListenOptions{ctl: ctl{factory: o.factory, output: o.output, maxTime: o.maxTime, log: o.log, renderer: o.renderer},
		stop: o.stop, count: o.count, duration: o.duration, idle: o.idle, ready: &o.ready}
	err = o.factory.runBounded(command.Context(), o.maxTime, p, func(ctx context.Context, out *output) error {
		ctl.out = out
		return ctl.listen(ctx, s.open)
	})
	s.acknowledge(true)
	return err
}

// checkForNATS refuses flags that are about a Phoenix server.
func checkForNATS(command *cobra.Command) error {
	var wrong error
	command.Flags().Visit(func(f *pflag.Flag) {
		if wrong == nil && !slices.Contains(forNATS, f.Name) {
			wrong = exit.Usagef("leave one of them out", "--%s is about a Phoenix server, and --nats reads what a phx serve has published", f.Name)
		}
	})
	return wrong
}

// A natsStream is the lines of the messages in a stream of JetStream, read by one goroutine.
type natsStream struct {
	options  *natsListenOptions
	subjects []string
	link     *natslink.Link
	at       string
	log      *slog.Logger
	form     recordFormat
	// skip tells what the filters by event do not want, nil without one; named says that some are wanted by name.
	skip  func(topic, event []byte) bool
	named bool

	ctx       context.Context
	stream    jetstream.Stream
	consuming jetstream.ConsumeContext
	messages  chan jetstream.Msg
	failed    chan error
	// closed is closed when all messages of a durable consumer have been taken.
	closed chan struct{}

	rest []byte // of the message that is read
	// last is the number in the stream of the last message; looked is when the stream was last asked what it has lost.
	last   uint64
	looked time.Time
	// count numbers the lines. unacknowledged are the messages whose lines are not all written, each with the number of its last line;
	// written says up to which number they are. Only a durable consumer has them.
	count          uint64
	current        jetstream.Msg
	unacknowledged []natsMessage
	written        *router.Progress
}

type natsMessage struct {
	jetstream.Msg
	last uint64
}

// open begins to consume. From then on nothing is missed.
func (s *natsStream) open(ctx context.Context, _ serve.SubscribeRequest) (lineStream, error) {
	s.ctx = ctx
	conn, err := s.link.Conn(ctx)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	name := s.options.stream
	if name == "" {
		if name, err = js.StreamNameBySubject(ctx, s.subjects[0]); err != nil {
			return nil, s.explain(err)
		}
	}
	if s.stream, err = js.Stream(ctx, name); err != nil {
		return nil, s.explain(err)
	}
	consumer, err := s.consumer(ctx, js, name)
	if err != nil {
		return nil, s.explain(err)
	}
	s.messages, s.failed, s.closed = make(chan jetstream.Msg, 256), make(chan error, 1), make(chan struct{})
	over := ctx.Done()
	if s.written != nil {
		over = s.closed
	}
	s.consuming, err = consumer.Consume(func(m jetstream.Msg) {
		select {
		case s.messages <- m:
		case <-over:
		}
	}, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, jetstream.ErrConsumerNotFound) {
			select {
			case s.failed <- err:
			default:
			}
			return
		}
		s.log.Debug("reading the stream was interrupted", "error", err)
	}))
	if err != nil {
		return nil, s.explain(err)
	}
	return s, nil
}

// consumer returns the durable consumer, which it creates if there is none, or an ordered one for this run.
func (s *natsStream) consumer(ctx context.Context, js jetstream.JetStream, stream string) (jetstream.Consumer, error) {
	policy, at := jetstream.DeliverNewPolicy, (*time.Time)(nil)
	switch begin := s.options.since; {
	case begin.all:
		policy = jetstream.DeliverAllPolicy
	case begin.age > 0:
		begin.at = time.Now().Add(-begin.age)
		fallthrough
	case !begin.at.IsZero():
		policy, at = jetstream.DeliverByStartTimePolicy, &begin.at
	}
	if s.options.durable == "" {
		return js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: s.subjects, DeliverPolicy: policy, OptStartTime: at})
	}
	consumer, err := js.Consumer(ctx, stream, s.options.durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable: s.options.durable, FilterSubjects: s.subjects, DeliverPolicy: policy, OptStartTime: at,
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: natsAckWait,
		})
	}
	if err != nil {
		return nil, err
	}
	c := consumer.CachedInfo().Config
	has := c.FilterSubjects
	if c.FilterSubject != "" {
		has = []string{c.FilterSubject}
	}
	if !slices.Equal(slices.Sorted(slices.Values(has)), slices.Sorted(slices.Values(s.subjects))) {
		return nil, exit.Usagef("give these, or another --durable", "the durable consumer %s has other subjects: %s", s.options.durable, strings.Join(has, " "))
	}
	if floor := consumer.CachedInfo().AckFloor.Stream; floor > 0 {
		s.last = floor
		s.lookForLoss(ctx)
	}
	return consumer, nil
}

// natsAckWait is after what time a message that was not acknowledged is delivered again, to whoever reads then.
const natsAckWait = 30 * time.Second

// Next returns the next line with its line break; see [serve.Stream.Next].
func (s *natsStream) Next() ([]byte, error) {
	for !s.Ready() {
		tick := time.NewTimer(time.Second) // what is written meanwhile is acknowledged
		select {
		case m := <-s.messages:
			s.take(m)
		case err := <-s.failed:
			tick.Stop()
			return nil, s.explain(err)
		case <-s.ctx.Done():
			tick.Stop()
			return nil, context.Cause(s.ctx)
		case <-tick.C:
			s.acknowledge(false)
		}
		tick.Stop()
	}
	s.count++
	return s.inFormat(s.nextLine())
}

// nextLine takes the next line of the message that is read.
func (s *natsStream) nextLine() []byte {
	end := bytes.IndexByte(s.rest, '\n') + 1
	line := s.rest[:end]
	s.rest = s.rest[end:]
	return line
}

// skipLines takes the lines that are not wanted. A message without any other is done with, once those before it are.
func (s *natsStream) skipLines() {
	for len(s.rest) > 0 {
		if end := bytes.IndexByte(s.rest, '\n') + 1; s.wants(s.rest[:end]) {
			return
		}
		s.nextLine()
	}
	s.finishLine()
}

// finishLine notes the message whose last line Next has returned last. Whether that is written, written says.
func (s *natsStream) finishLine() {
	if s.written == nil {
		return
	}
	if len(s.rest) == 0 && s.current != nil {
		s.unacknowledged = append(s.unacknowledged, natsMessage{s.current, s.count})
		s.current = nil
	}
	if len(s.unacknowledged) >= 100 {
		s.acknowledge(false)
	}
}

// acknowledge acknowledges the messages that are written; at the end, the others are given back.
func (s *natsStream) acknowledge(atEnd bool) {
	if s.written == nil {
		return
	}
	if atEnd {
		s.finishLine()
	}
	done := s.written.Done()
	n := 0
	for n < len(s.unacknowledged) && s.unacknowledged[n].last <= done {
		if err := s.unacknowledged[n].Ack(); err != nil {
			s.log.Warn("a message could not be acknowledged, and will come again", "error", err)
		}
		n++
	}
	s.unacknowledged = s.unacknowledged[n:]
	if !atEnd {
		return
	}
	if s.consuming == nil {
		return
	}
	defer close(s.closed)
	// The server must not deliver to us again what is given back: that comes after the end of the subscription. The first of them
	// nats-server may deliver behind some of the others.
	left := make([]jetstream.Msg, 0, len(s.unacknowledged)+len(s.messages)+1)
	for _, m := range s.unacknowledged {
		left = append(left, m)
	}
	if s.current != nil {
		left = append(left, s.current)
	}
	s.consuming.Drain() // what has arrived still comes
	for closed, bound := false, time.After(lastServing); !closed; {
		select {
		case m := <-s.messages:
			left = append(left, m)
		case <-s.consuming.Closed():
			closed = true
		case <-bound:
			closed = true
		}
	}
	for len(s.messages) > 0 {
		left = append(left, <-s.messages)
	}
	for _, m := range left {
		_ = m.Nak() // else it comes again after natsAckWait
	}
}

// take begins to read a message.
func (s *natsStream) take(m jetstream.Msg) {
	s.rest = m.Data()
	if h := m.Headers(); h.Get("ce-specversion") != "" { // the binary content mode of the NATS binding of CloudEvents
		attributes := map[string]string{}
		for name := range h {
			if attribute, ok := strings.CutPrefix(name, "ce-"); ok {
				attributes[attribute] = unescapeHeader(h.Get(name))
			}
		}
		s.rest = signal.AppendCloudEvent(nil, attributes, m.Data())
	}
	if n := len(s.rest); n > 0 && s.rest[n-1] != '\n' {
		s.rest = append(slices.Clip(s.rest), '\n')
	}
	s.current = m
	meta, err := m.Metadata()
	if err != nil {
		return
	}
	if s.last > 0 && meta.Sequence.Stream > s.last+1 && time.Since(s.looked) > lossLook {
		s.lookForLoss(s.ctx)
	}
	s.last = max(s.last, meta.Sequence.Stream)
}

// unescapeHeader returns the attribute that a header has, percent-encoded.
func unescapeHeader(value string) string {
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}

// lossLook is the shortest time between two looks at what the stream has lost.
const lossLook = 5 * time.Second

// lookForLoss says what the stream has dropped, for its limits, that was not read yet. Not all of it may have been of the subjects.
func (s *natsStream) lookForLoss(ctx context.Context) {
	s.looked = time.Now()
	info, err := s.stream.Info(ctx)
	if err != nil || info.State.FirstSeq <= s.last+1 {
		return
	}
	s.log.Warn("signals may be missing: the stream has dropped messages before they were read", "stream", info.Config.Name,
		"first_seq", s.last+1, "last_seq", info.State.FirstSeq-1, "hint", "raise its limits (max_age, max_bytes, max_msgs), or read sooner")
}

// Ready reports whether Next has a line without waiting.
func (s *natsStream) Ready() bool {
	for s.skipLines(); len(s.rest) == 0; s.skipLines() {
		if s.ctx.Err() != nil { // what is left out may come without end
			return false
		}
		select {
		case m := <-s.messages:
			s.take(m)
		default:
			return false
		}
	}
	return true
}

// Close ends the stream. What was not acknowledged is given back with [natsStream.acknowledge], when stdout has been written.
func (s *natsStream) Close() {}

// inFormat returns a line in the format that --output wants.
func (s *natsStream) inFormat(line []byte) ([]byte, error) {
	text, err := signal.Convert(nil, line, newSignalView(s.form.Format).wire())
	switch {
	case errors.Is(err, signal.ErrNoSignal):
		return nil, &exit.Error{
			Code: exit.Failure, Err: err, Message: "a message of the stream is no signal of phx, in any format: " + oneLine(string(line)),
			Hint: "somebody else publishes there: name the subjects of phx serve, such as 'jido.protocol.phoenix.>', or read it with `nats sub`",
		}
	case err != nil:
		return nil, errStrangeSignal(err)
	}
	return text, nil
}

// wants reports whether --event and --exclude-event let a line through. What is of no event is of none that --event names.
func (s *natsStream) wants(line []byte) bool {
	if s.skip == nil {
		return true
	}
	event, has := signal.EventOf(line)
	if !has {
		return !s.named
	}
	return !s.skip(nil, []byte(event))
}

// explain makes an error of JetStream one for people.
func (s *natsStream) explain(err error) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if known := (*exit.Error)(nil); errors.As(err, &known) {
		return known
	}
	e := &exit.Error{Code: exit.Failure, Err: err, Message: fmt.Sprintf("cannot read from JetStream at %s: %v", s.at, strings.TrimPrefix(err.Error(), "nats: "))}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		e.Message = fmt.Sprintf("no stream of JetStream at %s has the subject %s", s.at, s.subjects[0])
		if s.options.stream != "" {
			e.Message = fmt.Sprintf("there is no stream %s at %s", s.options.stream, s.at)
		}
		e.Hint = "is it the right server and account, and does a phx serve publish there? `nats stream ls` shows the streams"
	case errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrConsumerNotFound):
		e.Code, e.Message, e.Hint = exit.LinkLost, "the consumer was deleted while it was read", "start again"
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		e.Hint = "is JetStream on there? nats-server -js"
	}
	return e
}
