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
			{Flag: "stream", Value: option.Checked(&o.stream, "", natsName), Example: "PHX",
				Usage: "`NAME` of the stream, with --nats (default the one that takes the first SUBJECT)"},
			{Flag: "durable", Value: option.Checked(&o.durable, "", natsName), Example: "audit",
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
	if err := checkFilters(o.topics); err != nil {
		return err
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
	s := &natsStream{options: &o.nats, subjects: o.topics, link: link, at: where.Addresses(), log: o.log, form: o.output.Output, skip: o.skip(), named: len(o.events) > 0, buffer: o.buffer}
	p := printing{renderer: o.renderer, log: o.log, buffer: o.buffer, whenFull: o.whenFull}
	if o.nats.durable != "" {
		p.progress = router.NewProgress()
		s.hand = &durableHand{written: p.progress, log: o.log}
	}
	ctl := &ctlListenOptions{ctl: ctl{factory: o.factory, output: o.output, maxTime: o.maxTime, log: o.log, renderer: o.renderer},
		stop: o.stop, count: o.count, duration: o.duration, idle: o.idle, ready: &o.ready}
	err = o.factory.runBounded(command.Context(), o.maxTime, p, func(ctx context.Context, out *output) error {
		ctl.out = out
		return ctl.listen(ctx, s.open)
	})
	s.giveBack()
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
	// buffer is how many bytes of lines may wait for the reader.
	buffer int64

	ctx       context.Context
	stream    jetstream.Stream
	consuming jetstream.ConsumeContext
	messages  chan *natsMessage
	failed    chan error
	// ended is closed when nothing more is read.
	ended chan struct{}

	rest    []byte       // of the message that is read
	current *natsMessage // whose lines are not all taken; nil: there is none
	// last is the number in the stream of the last message; looked is when the stream was last asked what it has lost.
	last   uint64
	looked time.Time
	// count numbers the lines.
	count uint64
	// hand is nil without a durable consumer.
	hand *durableHand
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
	s.messages, s.failed, s.ended = make(chan *natsMessage, natsWaiting), make(chan error, 1), make(chan struct{})
	take := func(m jetstream.Msg) {
		held := &natsMessage{Msg: m}
		if s.hand != nil && !s.hand.arrive(held) {
			return
		}
		select {
		case s.messages <- held:
		case <-s.ended:
		}
	}
	// A message is asked for whole, of whatever size. Without a bound in bytes a slow reader would have the server end the connection.
	ahead := max(natsAhead, int(conn.MaxPayload())+natsEnvelope)
	held := s.buffer
	if s.hand != nil {
		held *= 2 // a message is in hand until its lines, which wait for the reader, are written
	}
	limitMemory(held+int64(ahead)+natsWaiting*conn.MaxPayload(), int(conn.MaxPayload()))
	s.consuming, err = consumer.Consume(take, jetstream.PullMaxMessagesWithBytesLimit(natsMessagesAhead, ahead),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, jetstream.ErrConsumerNotFound) {
				s.fail(err)
				return
			}
			s.log.Debug("reading the stream was interrupted", "error", err)
		}))
	if err != nil {
		return nil, s.explain(err)
	}
	if s.hand != nil {
		go s.hand.tend(s.ended, ackWaitOf(consumer))
	}
	go s.watch(conn, consumer)
	return s, nil
}

const (
	// natsMessagesAhead and natsAhead bound what the server sends before it is read, in messages and bytes. natsEnvelope is what a message
	// has beside what max_payload bounds: its subject, and that of its acknowledgement.
	natsMessagesAhead = 500
	natsAhead         = 8 << 20
	natsEnvelope      = 64 << 10
	// natsWaiting is how many messages wait to be read besides.
	natsWaiting = 16
)

// fail ends the reading. The first error counts.
func (s *natsStream) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// natsLook is how often the server is asked whether what is read is still there.
const natsLook = 10 * time.Second

var errStreamGone = errors.New("the stream is gone, or another one of its name is there")

// watch ends the reading when the stream, or its durable consumer, is not there any more: what was deleted while there was no connection
// nobody tells. It says once when JetStream does not answer.
func (s *natsStream) watch(conn *nats.Conn, consumer jetstream.Consumer) {
	tick := time.NewTicker(natsLook)
	defer tick.Stop()
	silent := false
	for {
		select {
		case <-tick.C:
		case <-s.ended:
			return
		}
		if !conn.IsConnected() { // which the link says
			continue
		}
		err := s.look(consumer)
		switch {
		case s.ctx.Err() != nil:
			return
		case errors.Is(err, errStreamGone), errors.Is(err, jetstream.ErrConsumerNotFound):
			s.fail(err)
			return
		case err != nil && !silent && conn.IsConnected():
			s.log.Warn("JetStream does not answer; signals come when it does", "error", err)
		case err == nil && silent:
			s.log.Info("JetStream answers again")
		}
		silent = err != nil
	}
}

// look asks whether the stream and its durable consumer are there.
func (s *natsStream) look(consumer jetstream.Consumer) error {
	ctx, cancel := context.WithTimeout(s.ctx, natsLook)
	defer cancel()
	created := s.stream.CachedInfo().Created
	info, err := s.stream.Info(ctx)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), err == nil && !info.Created.Equal(created):
		return errStreamGone
	case err != nil:
		return err
	case s.hand == nil: // an ordered consumer is made anew by nats.go
		return nil
	}
	_, err = consumer.Info(ctx)
	return err
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

// Next returns the next line with its line break; see [serve.Stream.Next].
func (s *natsStream) Next() ([]byte, error) {
	for !s.Ready() {
		select {
		case m := <-s.messages:
			s.take(m)
		case err := <-s.failed:
			return nil, s.explain(err)
		case <-s.ctx.Done():
			return nil, context.Cause(s.ctx)
		}
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

// finishLine notes that all lines of the message that is read are taken.
func (s *natsStream) finishLine() {
	if len(s.rest) > 0 || s.current == nil {
		return
	}
	if s.hand != nil {
		s.hand.take(s.current, s.count)
	}
	s.current = nil
}

// giveBack acknowledges what is written, and gives back the rest, when stdout has been written.
func (s *natsStream) giveBack() {
	if s.consuming == nil {
		return
	}
	if s.hand == nil {
		close(s.ended)
		return
	}
	s.finishLine()
	close(s.ended)
	// The server must not deliver to us again what is given back: that comes after the end of the subscription.
	s.consuming.Drain() // what has arrived still comes
	select {
	case <-s.consuming.Closed():
	case <-time.After(lastServing):
	}
	s.hand.giveBack()
}

// take begins to read a message.
func (s *natsStream) take(m *natsMessage) {
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

// Close does nothing: [natsStream.giveBack] ends the stream, when stdout has been written.
func (s *natsStream) Close() {}

// inFormat returns a line in the format that --output wants.
func (s *natsStream) inFormat(line []byte) ([]byte, error) {
	text, err := signal.Convert(nil, line, newSignalView(s.form.Format).wire())
	if err != nil {
		return nil, &exit.Error{
			Code: exit.Failure, Err: err, Message: "a message of the stream is no signal of phx, in any format: " + oneLine(string(line)),
			Hint: "somebody else publishes there: name the subjects of phx serve, such as 'jido.protocol.phoenix.>', or read it with `nats sub`",
		}
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
	case errors.Is(err, errStreamGone):
		e.Code, e.Message, e.Hint = exit.LinkLost, "the stream was deleted while it was read", "start again"
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		e.Hint = "is JetStream on there? nats-server -js"
	}
	return e
}
