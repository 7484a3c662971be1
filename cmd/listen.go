package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/jq"
	"phx/cmd/internal/option"
	"phx/phoenix"
	"phx/router"
	"phx/router/glob"
)

type listenOptions struct {
	*client
	topics []string

	events, excluded []glob.Glob
	stop             stopConditions
	count            int
	duration, idle   time.Duration
	lifecycle        bool
	presence         bool
	keepGoing        bool
	exitOnClose      bool
	ready            readiness
	readyWhen        string
	nats             natsListenOptions
	// seesAll says that all messages become events, also those that --event does not name.
	seesAll atomic.Bool
}

// listenOutage is how long listen tries again, once it has joined: before that a person is waiting to see it work.
const listenOutage = 15 * time.Minute

// listenReadBuffer saves system calls on a fast stream.
const listenReadBuffer = 64 << 10

func newListenCmd(f *factory) *cobra.Command {
	o := &listenOptions{client: &client{
		factory:    f,
		connection: config.NewConnection(config.Retry{Max: -1, MaxOutage: listenOutage, FailFast: true}),
		normal:     slog.LevelInfo,
	}}
	c := &cobra.Command{
		Use:   "listen [TOPIC...]",
		Short: "Signals on stdout until told to stop",
		Long: `Joins every topic and prints what the server sends as signals, one a line, until told to stop. It connects
and joins again by itself; what happens to the link and the channels is logged on stderr, unless it ends by itself
(--count, --until, --duration, --idle-timeout) and there is no -v; with --lifecycle it is printed as signals, too.

Without a TOPIC it joins the auto_join_channels of the connection in the config file (--config, --connection).

With --nats it prints the signals that a phx serve, on another machine perhaps, has published into a stream of
NATS JetStream, of the subjects given in place of topics: new ones, or those since --since, in whatever format the stream has them,
in that of --output. With --event it leaves out what is of no event, too. With --durable it goes on where it has
stopped, and acknowledges what was written.`,
		Example: `  phx listen room:lobby -o payload
  phx listen room:lobby --event 'new_*' -c 3
  phx listen room:lobby --until '.data.payload.n >= 3' --max-time 10
  phx listen room:lobby --lifecycle -q .type -r
  phx listen room:lobby --presence --exclude-event 'presence_*'
  phx listen --nats nats://10.0.0.5 'jido.protocol.phoenix.backend.>' --durable audit`,
		Args: topicArgs(&o.topics),
	}
	o.own = append(o.ownOptions(), o.nats.options()...)
	o.printsLifecycle = func() bool { return o.lifecycle }
	o.bounded = func() bool { return o.count > 0 || o.stop.untilExpr != "" || o.duration > 0 || o.idle > 0 }
	c.ValidArgsFunction = o.completeTopics(math.MaxInt)
	o.bind(c, func(ctx context.Context) error {
		if err := checkUnused(c.Flags(), append([]string{"stream", "durable", "since"}, onlyNATS...)...); err != nil {
			return err
		}
		return listenRun(ctx, o)
	})
	ofPhoenix := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if o.byNATS(c) {
			return o.listenNATS(c)
		}
		return ofPhoenix(c, args)
	}
	return c
}

func (o *listenOptions) ownOptions() []option.Option {
	return slices.Concat([]option.Option{
		{Flag: "event", Value: option.Repeated(&o.events, compileEvents),
			Usage: "print only messages whose event matches the `GLOB` (repeat)", Example: "'new_*'"},
		{Flag: "exclude-event", Value: option.Repeated(&o.excluded, compileEvents),
			Usage: "do not print messages whose event matches the `GLOB` (repeat)", Example: "presence_diff"},
		{Flag: "count", Group: option.Ending, Common: true, Shorthand: "c", Value: option.Count(&o.count, ""),
			Usage: "end after `N` records; signals of --lifecycle do not count", Example: "3"},
	}, o.stop.flags(), []option.Option{
		{Flag: "duration", Group: option.Ending, Common: true, Value: option.Duration(&o.duration, ""),
			Usage: "end after this `TIME`, counted from when every topic is joined", Example: "1m"},
		{Flag: "idle-timeout", Group: option.Ending, Common: true, Value: option.Duration(&o.idle, ""),
			Usage: "end when no message has come for this `TIME`", Example: "30s"},
		{Flag: "lifecycle", Value: option.Switch(&o.lifecycle),
			Usage: "print the signals of connection and channels, too"},
		{Flag: "presence", Key: "presence", Value: option.Switch(&o.presence),
			Usage: "print who comes, who goes and who is there, too, behind the presence messages that say so"},
		{Flag: "keep-going", Value: option.Switch(&o.keepGoing),
			Usage: "go on with the other topics when one cannot be joined, or is lost for good"},
		{Flag: "exit-on-close", Group: option.Ending, Common: true, Value: option.Switch(&o.exitOnClose),
			Usage: "do not join again what the server closes; end with 0 when it has closed every topic"},
		o.output.slurpOption(),
	}, o.ready.flags("every topic is joined"), []option.Option{
		{Flag: "ready-when", Value: option.Text(&o.readyWhen, ""),
			Usage: "be ready only once the jq `EXPR` is true of a signal that comes after every topic is joined, printed or not", Example: "'.data.payload.status == \"ok\"'"},
		{Flag: "buffer", Value: option.Size(&o.buffer, "64MiB"),
			Usage: "`SIZE` of what may wait for the reader of stdout", Example: "64MiB"},
		{Flag: "when-full", Value: whenFullKind.To(&o.whenFull, router.Block.String()),
			Usage: "what then: `POLICY` is block, drop-newest, drop-oldest or fail", Example: "drop-oldest"},
	})
}

// whenFullKind is what becomes of records for which there is no room.
var whenFullKind = option.ChoiceKind(router.ParsePolicy,
	router.Block.String(), router.DropNewest.String(), router.DropOldest.String(), router.Fail.String())

// compileEvents compiles a glob of events, none of which is empty.
func compileEvents(pattern string) (glob.Glob, error) {
	if _, err := option.NotEmpty(pattern); err != nil {
		return glob.Glob{}, err
	}
	g, err := glob.Compile(pattern)
	if err != nil {
		err = fmt.Errorf("cannot be used: %w", err)
	}
	return g, err
}

// warnOfWildcards says that a topic with an asterisk is one topic.
func (o *listenOptions) warnOfWildcards() {
	for _, topic := range o.topics {
		if strings.Contains(topic, "*") {
			o.log.Warn("Phoenix has no wildcards: this joins the topic of that very name; name each topic, or use phx ctl listen --topic", "topic", topic)
			return
		}
	}
}

// warnOfCommas says that a glob with a comma is one glob. One that is quoted with a backslash is meant.
func warnOfCommas(log *slog.Logger, flag string, patterns ...string) {
	for _, pattern := range patterns {
		if parts := strings.Split(strings.ReplaceAll(pattern, `\,`, ""), ","); len(parts) > 1 {
			log.Warn("a glob has no commas: this matches names with one; give the flag again for each glob, or write \\, for a comma that is meant",
				"flag", flag, "glob", pattern)
		}
	}
}

func listenRun(ctx context.Context, o *listenOptions) error {
	keepLittleGarbage()
	limitMemory(o.buffer, 0)
	if o.readyWhen != "" && o.ready.nobodyAsks() {
		return exit.Usagef("give --ready-file, --ready-fd or --on-ready as well", "--ready-when says when listen is ready, and nobody is told")
	}
	if err := o.ready.prepare(o.factory); err != nil {
		return err
	}
	defer o.ready.end(o.log)
	o.connection.Presence = o.presence
	options, err := o.options()
	if err != nil {
		return err
	}
	if len(o.topics) == 0 {
		if o.topics = o.connection.AutoJoin(); len(o.topics) == 0 {
			return exit.Usagef("for example: phx listen room:lobby; or give the connection auto_join_channels in a config file", "there is no TOPIC to join")
		}
	}
	o.warnOfWildcards()
	if warning := o.connection.MessageWarning(); warning != "" {
		o.log.Warn(warning)
	}
	for _, g := range o.events {
		warnOfCommas(o.log, "--event", g.String())
	}
	for _, g := range o.excluded {
		warnOfCommas(o.log, "--exclude-event", g.String())
	}
	if text := o.renderer.form; text != nil {
		reserve(&text.topicWidth, o.topics...)
	}
	options.ReadBuffer = listenReadBuffer
	if skip := o.skip(); skip != nil && o.resume == nil { // which has to see what is not printed, too
		options.Skip = func(topic, event []byte) bool { return !o.seesAll.Load() && skip(topic, event) }
	}
	o.seesAll.Store(o.resume != nil || o.readyWhen != "")
	options.Presence = o.presence
	if options.Channels, err = o.channels(ctx, o.topics...); err != nil {
		return err
	}
	ln, err := newListener(o)
	if err != nil {
		return err
	}
	o.out.watchReader()
	if o.output.Slurp {
		if !o.stop.none() || o.count > 0 || o.duration > 0 || o.idle > 0 || o.maxTime > 0 || o.exitOnClose {
			o.out.slurp(o.buffer)
		} else {
			return errEndlessSlurp
		}
	}
	defer ln.limits.stop()
	ln.session, err = startSession(ctx, o.connection, options)
	if err != nil {
		return err
	}
	o.out.onLarge = ln.printedLarge
	err = ln.run(ctx)
	ln.close(ctx, err)
	err = firstError(withoutDone(err), ln.failed)
	return firstError(err, o.out.printSlurped(err == nil), o.stop.result(), ln.readyErrors.failure("--ready-when failed on %s"))
}

// firstError returns the first of errs that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// skip returns the filter by event, nil without one. It sees raw names, before anything is decoded.
func (o *listenOptions) skip() func(topic, event []byte) bool {
	if len(o.events)+len(o.excluded) == 0 {
		return nil
	}
	matches := func(globs []glob.Glob, event []byte) bool {
		for _, g := range globs {
			if g.Match(event) {
				return true
			}
		}
		return false
	}
	return func(_, event []byte) bool {
		return len(o.events) > 0 && !matches(o.events, event) || matches(o.excluded, event)
	}
}

// lastTopic reports whether topic is the last of those that are still listened to, and takes it off.
func (ln *listener) lastTopic(topic string) bool {
	delete(ln.open, topic)
	return len(ln.open) == 0
}

// A listener is listen at work: it reads events, decides which are printed, and when it is enough.
type listener struct {
	options *listenOptions
	session *session
	out     *output

	// open is the topics that are joined or will be; waiting those without a first answer.
	open, waiting map[string]bool
	// failed is the first failure of a topic that --keep-going went on without.
	failed error
	// largest is the size of the largest line, in bytes, of the large ones.
	largest int
	// counted is how many records --count has counted.
	counted int
	// limits ends run after --duration and --idle-timeout.
	limits timeLimits
	// skips reports whether an event is not wanted; nil: all are.
	skips func(topic, event []byte) bool
	// mustSkip says that there are events that are not wanted.
	mustSkip bool
	// readyWhen is --ready-when as long as it is awaited; nil: it is not given, or was true.
	readyWhen   *jq.Filter
	readyErrors recordErrors
}

func newListener(o *listenOptions) (*listener, error) {
	ln := &listener{options: o, out: o.out, open: map[string]bool{}, waiting: map[string]bool{}, skips: o.skip()}
	for _, topic := range o.topics {
		ln.open[topic], ln.waiting[topic] = true, true
	}
	ln.mustSkip = ln.skips != nil && o.seesAll.Load()
	err := o.stop.compile(o.connection.Name, &o.output, o.log)
	if err == nil && o.readyWhen != "" {
		ln.readyErrors.log = o.log
		ln.readyWhen, err = o.output.compileFilter("--ready-when", o.readyWhen, o.log)
	}
	return ln, err
}

// run listens until it is enough; errDone says that it ended as it should.
func (ln *listener) run(ctx context.Context) error {
	for {
		if !ln.session.events.Ready() {
			if err := ln.out.flush(); err != nil {
				return err
			}
		}
		ev, err := ln.session.next(ctx)
		if err != nil {
			return err
		}
		joined := len(ln.waiting) == 0
		err = ln.handle(ctx, ev)
		if joined && ln.readyWhen != nil {
			err = firstError(err, ln.awaitReady(ctx, ev))
		}
		if err != nil {
			return errors.Join(err, ln.out.flush())
		}
	}
}

// awaitReady takes an event that came after every topic was joined: if --ready-when is true of its signal, listen is ready.
func (ln *listener) awaitReady(ctx context.Context, ev *phoenix.Event) error {
	matched, err := ln.readyWhen.Match(ctx, ln.options.stop.document(ev))
	if halt := halted(err); halt != nil {
		return halt
	}
	if err != nil && ctx.Err() == nil {
		ln.readyErrors.add(ln.readyWhen, err)
	}
	if !matched {
		return nil
	}
	ln.readyWhen = nil
	ln.options.seesAll.Store(ln.options.resume != nil)
	return ln.options.ready.notify(ln.options.log)
}

// handle takes one event. Its error ends run.
func (ln *listener) handle(ctx context.Context, ev *phoenix.Event) error {
	switch d := ev.Detail.(type) {
	case *phoenix.Message, *phoenix.PresenceJoin, *phoenix.PresenceLeave, *phoenix.PresenceSync:
		if _, isMessage := d.(*phoenix.Message); isMessage && ln.mustSkip && ln.skips([]byte(ev.Topic), []byte(ev.Name)) {
			ln.options.resume.printed(ctx, ln.out, ev)
			return nil
		}
		ln.limits.touch()
		return ln.record(ctx, ev)
	case *phoenix.PushReply:
		// That of --on-join, the only pushes of listen: the server's words, like a message.
		if d.OnJoin && (ln.skips == nil || !ln.skips([]byte(ev.Topic), []byte(ev.Name))) {
			return firstError(ln.follow(ev), ln.record(ctx, ev))
		}
	}
	var err error
	if ln.options.lifecycle {
		_, err = ln.print(ctx, ev)
	} else {
		ln.options.resume.printed(ctx, ln.out, ev)
	}
	return firstError(err, ln.follow(ev))
}

// record prints ev, and counts it.
func (ln *listener) record(ctx context.Context, ev *phoenix.Event) error {
	printed, err := ln.print(ctx, ev)
	if err != nil || !printed {
		return err
	}
	if ln.counted++; ln.counted == ln.options.count {
		return errDone
	}
	return nil
}

// print prints ev, reports whether there is anything to print of it, and checks --until and --fail-on.
func (ln *listener) print(ctx context.Context, ev *phoenix.Event) (printed bool, err error) {
	printed, err = ln.out.add(ev)
	if err != nil {
		return printed, err
	}
	ln.options.resume.printed(ctx, ln.out, ev)
	return printed, ln.options.stop.checkEvent(ctx, ev)
}

// printedLarge keeps the memory that large messages take small while their reader is waited for: of one that is not needed any more
// only the line is kept.
func (ln *listener) printedLarge(ev *phoenix.Event, size int) {
	if size > ln.largest {
		ln.largest = size
		limitMemory(ln.options.buffer, size)
	}
	_, isMessage := ev.Detail.(*phoenix.Message)
	if isMessage && ln.options.stop.none() && ln.readyWhen == nil && ln.options.resume == nil {
		ln.session.events.Release()
	}
	if size > hugeLine {
		runtime.GC()
	}
}

// hugeLine is the size of a line, in bytes, from which on what has been released is collected at once: it is as much as is in use, and
// the next message takes as much again.
const hugeLine = 8 << 20

// follow keeps track of the channels.
func (ln *listener) follow(ev *phoenix.Event) error {
	if ln.session.completesJoin(ev) {
		return ln.answered(ev.Topic)
	}
	if d, closed := ev.Detail.(*phoenix.Closed); closed {
		return ln.closed(ev, d)
	}
	if err := ln.session.lostForGood(ev); err != nil {
		return ln.lost(ev.Topic, err)
	}
	return nil
}

// closed takes a channel that the server closed.
func (ln *listener) closed(ev *phoenix.Event, d *phoenix.Closed) error {
	switch {
	case ln.options.exitOnClose:
		if ln.lastTopic(ev.Topic) {
			return errDone
		}
		if d.Will {
			topic := ev.Topic
			// It waits for its next join, which the leave takes back without a word to the server.
			go func() { ln.session.logUnlessNil("leave failed", ln.session.conn.Leave(context.Background(), topic)) }()
		}
	case !d.Will:
		return ln.lost(ev.Topic, ln.session.lostForGood(ev))
	}
	return nil
}

// answered takes the first answer to the join of a topic; the last one makes listen ready.
func (ln *listener) answered(topic string) error {
	if !ln.waiting[topic] {
		return nil
	}
	delete(ln.waiting, topic)
	if len(ln.waiting) > 0 || len(ln.open) == 0 {
		return nil
	}
	ln.limits.start(ln.options.duration, ln.options.idle, func() { ln.out.end(errDone) })
	if ln.readyWhen != nil {
		return nil
	}
	return ln.options.ready.notify(ln.options.log)
}

// lost takes a topic that is out for good.
func (ln *listener) lost(topic string, err error) error {
	if !ln.options.keepGoing {
		return err
	}
	if ln.failed == nil {
		ln.failed = err
	}
	ln.options.log.Error(err.Error())
	if ln.lastTopic(topic) {
		return errDone // with the first failure's exit code
	}
	return ln.answered(topic)
}

// close leaves and closes. A person who interrupts still gets what had been received, the story's end included; whoever had
// enough does not get more.
func (ln *listener) close(ctx context.Context, cause error) {
	var handle func(context.Context, *phoenix.Event)
	if _, interrupted := killed(cause); interrupted {
		handle = func(ctx context.Context, ev *phoenix.Event) { _ = ln.handle(ctx, ev) }
	}
	topics := make([]string, 0, len(ln.open))
	for topic := range ln.open {
		topics = append(topics, topic)
	}
	ln.session.close(ctx, cause, topics, handle)
	// An output that fails says so by its own result.
	_ = ln.out.flush()
}

// timeLimits ends something after a time, or after a time in which nothing happened.
type timeLimits struct {
	duration, idle *time.Timer
	// last is when something happened, in nanoseconds since base.
	base time.Time
	last atomic.Int64
}

// secondLook is how long what seems idle is given to show otherwise. When the process has been stopped, the timer fires first, and
// what came meanwhile is still in the socket.
const secondLook = 100 * time.Millisecond

// start starts the limits that are not zero. end may be called by another goroutine, more than once.
func (t *timeLimits) start(duration, idle time.Duration, end func()) {
	if duration > 0 {
		t.duration = time.AfterFunc(duration, end)
	}
	if idle <= 0 {
		return
	}
	t.base = time.Now()
	ready := make(chan struct{})
	looked := false
	t.idle = time.AfterFunc(idle, func() {
		<-ready
		quiet := time.Since(t.base) - time.Duration(t.last.Load())
		switch {
		case quiet < idle:
			looked = false
			t.idle.Reset(idle - quiet)
		case !looked:
			looked = true
			t.idle.Reset(secondLook)
		default:
			end()
		}
	})
	close(ready)
}

// touch says that something happened.
func (t *timeLimits) touch() {
	if t.idle != nil {
		t.last.Store(int64(time.Since(t.base)))
	}
}

func (t *timeLimits) stop() {
	for _, timer := range []*time.Timer{t.duration, t.idle} {
		if timer != nil {
			timer.Stop()
		}
	}
}
