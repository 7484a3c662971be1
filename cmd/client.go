package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/resume"
	"phx/phoenix"
	"phx/router"
)

// A client is what the commands that connect have in common: the options, and what is made of them. A command embeds it in
// its options and adds its own to set before bind.
type client struct {
	factory    *factory
	selection  config.Selection
	connection *config.Connection
	output     outputOptions
	logging    loggingOptions
	maxTime    time.Duration
	// own is the options of the command itself.
	own []option.Option
	// normal is the level from which on the command logs by default.
	normal slog.Level
	// printsLifecycle reports whether the command prints what it logs by default; nil: it does not.
	printsLifecycle func() bool
	// bounded reports whether the command ends by itself, and so is silent by default when all goes well; nil: it is as normal says.
	bounded func() bool

	// stderr is where the log and the trace go; nil: the stream.
	stderr   io.Writer
	choice   *option.Set
	set      *option.Set
	log      *slog.Logger
	renderer *renderer
	// buffer and whenFull are those of the output.
	buffer   int64
	whenFull router.Policy
	out      *output
	// resume is --resume; nil: it is not given.
	resume *resumer
}

// newOneShot returns the client of a command that does one thing: it retries nothing and is silent when all went well.
func newOneShot(f *factory) *client {
	return &client{factory: f, connection: config.NewConnection(config.Retry{}), normal: slog.LevelWarn}
}

// bind adds the options to the command, and run as what it does. run is called with everything resolved, and with a
// context that ends at a process signal and at --max-time, its cause the error that the command then returns.
func (c *client) bind(command *cobra.Command, run func(ctx context.Context) error) {
	command.Flags().SortFlags = false
	c.set = option.NewSet(c.own, c.connection.Options(), c.output.Options(), c.logging.Options(), []option.Option{maxTimeOption(&c.maxTime)})
	c.choice = option.NewSet(c.selection.Options())
	c.set.Bind(command.Flags())
	c.choice.Bind(command.Flags())
	completeConnections(command, c.factory, c.choice, &c.selection)
	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := c.resolve(); err != nil {
			return err
		}
		if command.Flags().Changed("cert") && isCleartext(c.connection.URI) {
			return exit.Usagef("use wss://, or leave out --cert", "--cert is for TLS, and the URI is one of ws, which goes without")
		}
		p, err := c.printing()
		if err != nil {
			return err
		}
		err = c.factory.runBounded(command.Context(), c.maxTime, p, func(ctx context.Context, out *output) error {
			c.out = out
			return run(ctx)
		})
		return firstError(err, c.resume.end())
	}
}

// isCleartext reports whether a URI is one without TLS.
func isCleartext(uri string) bool {
	scheme, _, _ := strings.Cut(strings.ToLower(uri), ":")
	return scheme == "ws" || scheme == "http"
}

// printing returns what there is to say about the output.
func (c *client) printing() (p printing, err error) {
	p = printing{renderer: c.renderer, log: c.log, buffer: c.buffer, whenFull: c.whenFull}
	if p.buffer == 0 {
		p.buffer = defaultBuffer
	}
	if p.whenFull != router.Block {
		// A loss is announced like any other signal, from whichever goroutine finds it, so by a renderer of its own.
		p.announcer, err = newRenderer(c.output, c.connection.Name, c.factory.streams, c.log)
	}
	if c.connection.HasResume() {
		c.resume = &resumer{progress: router.NewProgress(), params: map[string][]resume.Param{}}
		p.progress = c.resume.progress
	}
	return p, err
}

// maxTimeOption declares --max-time.
func maxTimeOption(v *time.Duration) option.Option {
	return option.Option{Flag: "max-time", Group: option.Ending, Common: true, Value: option.Duration(v, ""), Example: "30s",
		Usage: "`TIME` for the whole command; not finished by then: exit 28"}
}

// resolve parses the options and makes the log and the renderer of them.
func (c *client) resolve() error {
	lookupEnv := c.factory.streams.LookupEnv
	if err := c.choice.Resolve(lookupEnv); err != nil {
		return err
	}
	entry, err := c.selection.Choose(lookupEnv, c.factory.stdin)
	if err != nil {
		return err
	}
	c.set.Use(entry)
	if err := c.set.Resolve(lookupEnv); err != nil {
		return err
	}
	c.connection.ApplyProfile()
	if c.connection.URI == "" && entry == nil {
		if err := c.selection.NoChoice(); err != nil {
			return err
		}
	}
	if err := errors.Join(c.logging.Check(), c.output.Check()); err != nil {
		return err
	}
	if c.stderr != nil {
		c.factory.streams.Err = c.stderr
	}
	c.logging.suit(c.output.Color, c.factory)
	streams, normal := c.factory.streams, c.normal
	if streams.ErrTerminal && streams.OutTerminal && c.output.isText(streams) && c.printsLifecycle != nil && c.printsLifecycle() {
		normal = slog.LevelWarn // who sees both need not read all of it twice
	}
	if c.bounded != nil && c.bounded() {
		normal = slog.LevelWarn
	}
	c.log = c.factory.newLogger(c.logging, normal)
	c.connection.Logger = c.log
	if warning := entry.WarnOtherServer(c.connection); warning != "" {
		c.log.Warn(warning)
	}
	c.renderer, err = newRenderer(c.output, c.connection.Name, c.factory.streams, c.log)
	return err
}

// runBounded runs a command that prints, until a process signal ends it, or maxTime, unless that is zero.
func (f *factory) runBounded(ctx context.Context, maxTime time.Duration, p printing, run func(context.Context, *output) error) error {
	ctx, stop := interruptible(ctx, f.die, f.stderr.Gone(), endingSignals...)
	defer stop()
	if maxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, maxTime, maxTimeError(maxTime))
		defer cancel()
	}
	ctx, out := startOutput(ctx, f.streams, p)
	defer out.end(nil)
	err := withoutDone(run(ctx, out))
	if ended := out.finish(); err == nil {
		err = ended
	}
	// What ended the command while it was leaving and closing counts, too.
	if err == nil && ctx.Err() != nil {
		err = withoutDone(context.Cause(ctx))
	}
	return firstError(err, p.renderer.result())
}

// maxTimeError says that --max-time has passed.
func maxTimeError(d time.Duration) error {
	return &exit.Error{
		Code:    exit.Timeout,
		Message: fmt.Sprintf("not finished within --max-time %v", d),
		Hint:    "allow more time, or see with -v what took so long",
	}
}

// options returns what to make a connection of. The command may add to it.
func (c *client) options() (phoenix.Options, error) {
	o, err := c.connection.Build(c.factory.stdin)
	if err != nil {
		return o, err
	}
	if warning := c.connection.Warning(); warning != "" {
		c.log.Warn(warning)
	}
	o.Logger = c.log
	if c.logging.Trace {
		o.Trace = newTracer(c.factory.streams.Err, c.logging, "")
	}
	return o, nil
}

// A session is the connection of a running command: its events are read here, its lifecycle logged, its end explained.
type session struct {
	conn   *phoenix.Conn
	events *phoenix.Stream
	// settings are what the options say about it.
	settings *config.Connection
	log      *slog.Logger
	// wasUp says that there was a session.
	wasUp bool
	// closing says that what ends from now on is ended by us.
	closing bool
	// away is since when the link is lost, if it is, and each channel that was joined.
	away outages
	// joins are the joins in their last stage: those accepted whose pushes of --on-join are not all answered.
	joins map[string]*lastStage

	cancel context.CancelFunc
	served chan error
}

// openSession starts the connection and returns once it is up, with the event of that, which is valid until the next one.
func openSession(ctx context.Context, settings *config.Connection, o phoenix.Options) (*session, *phoenix.Event, error) {
	s, err := startSession(ctx, settings, o)
	if err != nil {
		return nil, nil, err
	}
	ev, err := s.awaitUp(ctx)
	if err != nil {
		s.abort()
		return nil, nil, err
	}
	return s, ev, nil
}

// awaitUp reads events up to that of the next session.
func (s *session) awaitUp(ctx context.Context) (*phoenix.Event, error) {
	for {
		ev, err := s.next(ctx)
		if err != nil {
			return nil, err
		}
		if _, up := ev.Detail.(*phoenix.Connected); up {
			return ev, nil
		}
	}
}

// startSession starts the connection and returns at once.
func startSession(ctx context.Context, settings *config.Connection, o phoenix.Options) (*session, error) {
	conn, err := phoenix.New(o)
	if err != nil {
		return nil, exit.Usagef("check what --uri says", "these options do not make a connection: %v", err)
	}
	// The end of ctx must not cut the connection: there is leaving and closing to do.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &session{conn: conn, events: conn.Events(), settings: settings, log: o.Logger, cancel: cancel, served: make(chan error, 1)}
	go func() { s.served <- conn.Serve(life) }()
	return s, nil
}

// next returns the next event, valid until the next call. Its error is the cause of ctx, also when there are events, or how
// the connection ended, which is io.EOF if it was closed by us.
func (s *session) next(ctx context.Context) (*phoenix.Event, error) {
	// On a fast stream there is always an event, and a person who interrupts would wait for ever.
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	ev, err := s.events.Next(ctx)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		return nil, s.ended()
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		return nil, err
	}
	if _, isMessage := ev.Detail.(*phoenix.Message); isMessage {
		return ev, nil
	}
	if _, up := ev.Detail.(*phoenix.Connected); up {
		s.wasUp = true
	}
	s.away.note(ev)
	s.noteJoin(ev)
	if errored, ok := ev.Detail.(*phoenix.Errored); !ok || !s.closing || errored.Reason != phoenix.ErroredDisconnected {
		logLifecycle(s.log, ev, intervalFlag)
	}
	return ev, nil
}

// A lastStage is a join that was accepted: how many pushes of --on-join have no answer, whether more is waited for, and the first push that
// failed.
type lastStage struct {
	unanswered int
	held       bool
	failed     *exit.Error
}

// noteJoin follows the joins to their ends.
func (s *session) noteJoin(ev *phoenix.Event) {
	switch d := ev.Detail.(type) {
	case *phoenix.Joined:
		if s.joins == nil {
			s.joins = map[string]*lastStage{}
		}
		s.joins[ev.Topic] = &lastStage{unanswered: d.OnJoin, held: d.Held}
	case *phoenix.Live:
		if stage := s.joins[ev.Topic]; stage != nil {
			stage.held = false
		}
	default:
		stage := s.joins[ev.Topic]
		if failed, isEnd := onJoinEnd(ev); isEnd && stage != nil {
			stage.unanswered--
			if stage.failed == nil {
				stage.failed = suited(failed, s.settings.Profile, ev)
			}
		}
	}
}

// onJoinEnd reports whether ev is the end of a push of --on-join, and how that failed.
func onJoinEnd(ev *phoenix.Event) (failed *exit.Error, isEnd bool) {
	switch d := ev.Detail.(type) {
	case *phoenix.PushReply:
		if d.OnJoin && d.Status != "ok" {
			failed = statusFailure(ev.Topic, ev.Name, d, ev.Payload)
		}
		return failed, d.OnJoin
	case *phoenix.PushTimeout:
		return pushTimeoutFailure(ev.Topic, ev.Name, d), d.OnJoin
	case *phoenix.PushError:
		return pushFailure(d), d.OnJoin
	}
	return nil, false
}

// completesJoin reports whether ev, the last one, completes a join: it was accepted, so was each push of --on-join, and it is not held.
func (s *session) completesJoin(ev *phoenix.Event) bool {
	_, isJoined := ev.Detail.(*phoenix.Joined)
	_, isEnd := onJoinEnd(ev)
	_, isLive := ev.Detail.(*phoenix.Live)
	stage := s.joins[ev.Topic]
	return (isJoined || isEnd || isLive) && stage != nil && stage.unanswered == 0 && !stage.held && stage.failed == nil
}

// ended returns how the connection ended.
func (s *session) ended() error {
	err := <-s.served
	s.served <- err
	if err == nil {
		return io.EOF
	}
	return s.explain(err)
}

// explain makes an error of the connection one for people.
func (s *session) explain(err error) error {
	var linkErr *phoenix.LinkError
	var explained *exit.Error
	switch {
	case errors.As(err, &explained):
		// Credentials that could not be read have a message of their own.
		return explained
	case errors.As(err, &linkErr):
		failure := linkFailure(s.settings.Address(), linkErr, s.wasUp)
		if hint := supabaseLinkHint(s.settings, linkErr); hint != "" {
			failure.Hint = hint
		}
		if s.wasUp {
			s.away.explain(failure, s.away.link())
		}
		return failure
	}
	return err
}

// outages are when what was there was lost.
type outages struct {
	links map[int]time.Time // by socket
	// channels has those that were joined, the zero time for one that is.
	channels map[string]time.Time
}

// note takes an event.
func (o *outages) note(ev *phoenix.Event) {
	socket := max(1, ev.Socket) // 0 is the only one
	switch d := ev.Detail.(type) {
	case *phoenix.Connected:
		delete(o.links, socket)
	case *phoenix.Disconnected:
		if _, lost := o.links[socket]; d.Uptime > 0 && !lost && d.Reason != phoenix.ReasonClosedByUs {
			if o.links == nil {
				o.links = map[int]time.Time{}
			}
			o.links[socket] = ev.Time
		}
	case *phoenix.Joined:
		if o.channels == nil {
			o.channels = map[string]time.Time{}
		}
		o.channels[ev.Topic] = time.Time{}
	case *phoenix.Errored, *phoenix.Closed:
		if since, joined := o.channels[ev.Topic]; joined && since.IsZero() {
			o.channels[ev.Topic] = ev.Time
		}
	}
}

// link is since when a link is lost: of several sockets, the first; zero if none is.
func (o *outages) link() (since time.Time) {
	for _, lost := range o.links {
		if since.IsZero() || lost.Before(since) {
			since = lost
		}
	}
	return since
}

// explain makes of the last failure the end of an outage that began then: a first refusal and a later one are different facts.
func (o *outages) explain(last *exit.Error, since time.Time) {
	if since.IsZero() {
		return
	}
	lasted := time.Since(since)
	if lasted < time.Second { // it ended at once: there was no other failure
		return
	}
	last.Message += fmt.Sprintf("; it was away for %v, and that was the last failure", lasted.Round(time.Second))
	last.Hint += "; --max-outage and --max-retries allow more"
}

const (
	// closeGrace bounds the end of serve.
	closeGrace = 5 * time.Second
	// answerGrace bounds how long a server may take to answer that we leave and close.
	answerGrace = time.Second
	// lateGrace is what is left of it when --max-time has passed already.
	lateGrace = 500 * time.Millisecond
)

// close ends the session as its command ends, because of err, nil if all went well: it leaves the topics, closes the connection and waits
// for its end, bounded by answerGrace. When nobody is there any more who reads the output, it waits for nothing. Events that come
// until then go to handle, which may be nil, with a context that ends a little later: what has been received takes its time to be printed.
// ctx is that of the command; it may have ended.
func (s *session) close(ctx context.Context, err error, topics []string, handle func(context.Context, *phoenix.Event)) {
	defer s.abort()
	s.closing = true
	grace := answerGrace
	switch codeOf(firstError(context.Cause(ctx), err)) {
	case exit.Pipe:
		return
	case exit.Timeout:
		if ctx.Err() != nil {
			grace, topics = lateGrace, nil
		}
	}
	ctx = context.WithoutCancel(ctx)
	answering, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	handling := answering
	if handle != nil {
		var cancel context.CancelFunc
		handling, cancel = context.WithTimeout(ctx, drainGrace)
		defer cancel()
	}

	var closing sync.WaitGroup
	closing.Go(func() {
		var leaving sync.WaitGroup
		for _, topic := range topics {
			leaving.Go(func() { s.logUnlessNil("leave failed", s.conn.Leave(answering, topic)) })
		}
		leaving.Wait()
		s.logUnlessNil("close failed", s.conn.Close(answering))
	})
	// It goes on closing when that is not answered, and then the stream ends when we cut the link.
	stop := context.AfterFunc(answering, s.cancel)
	defer stop()
	for {
		ev, err := s.next(handling)
		if err != nil {
			break
		}
		if handle != nil {
			handle(handling, ev)
		}
	}
	closing.Wait()
}

// logUnlessNil logs what no longer matters to the outcome.
func (s *session) logUnlessNil(message string, err error) {
	if err != nil && !errors.Is(err, phoenix.ErrNotJoined) && !errors.Is(err, phoenix.ErrClosed) {
		s.log.Debug(message, "error", err)
	}
}

// abort ends the connection without ceremony.
func (s *session) abort() {
	s.cancel()
	select {
	case err := <-s.served:
		s.served <- err
	case <-time.After(lateGrace):
	}
}

// logLifecycle logs an event, if it is of the connection's life. Messages, the ends of pushes and who is present are output, and not
// logged. interval is that of [idleHint].
func logLifecycle(log *slog.Logger, ev *phoenix.Event, interval func(time.Duration) string) {
	switch ev.Detail.(type) {
	case *phoenix.PushReply, *phoenix.PushTimeout, *phoenix.PushError:
		switch failed, isEnd := onJoinEnd(ev); {
		case !isEnd:
		case failed != nil:
			log.Info("a push of on_join failed", "topic", ev.Topic, "event", ev.Name, "error", failed.Message)
		default:
			log.Debug("a push of on_join was answered", "topic", ev.Topic, "event", ev.Name)
		}
	case *phoenix.Message,
		*phoenix.PresenceJoin, *phoenix.PresenceLeave, *phoenix.PresenceSync:
	default:
		if ev.Socket > 0 {
			log = log.With("socket", ev.Socket)
		}
		logLife(log, ev, interval)
	}
}

// logLife logs an event of the connection or of a channel.
func logLife(log *slog.Logger, ev *phoenix.Event, interval func(time.Duration) string) {
	switch d := ev.Detail.(type) {
	case *phoenix.Connecting:
		log.Info("connecting", "uri", d.URI, "attempt", d.Attempt)
	case *phoenix.Connected:
		if d.Transport == phoenix.TransportLongPoll {
			log = log.With("transport", string(d.Transport))
		}
		log.Info("connected", "connect", d.Took, "session", ev.Session)
	case *phoenix.Disconnected:
		logDisconnected(log, d, interval)
	case *phoenix.Reconnecting:
		log.Info("waiting to connect again", "delay", d.Delay, "attempt", d.Attempt, "max_attempts", d.MaxAttempts)
	case *phoenix.ReconnectExhausted:
		log.Info("no more attempts to connect", "attempts", d.Attempts)
	case *phoenix.Heartbeat:
		log.Debug("heartbeat", micros("rtt", d.RTT))
	case *phoenix.HeartbeatTimeout:
		log.Info("no answer to a heartbeat", "timeout", d.Timeout)
	default:
		logChannel(log.With("topic", ev.Topic), ev)
	}
}

func logDisconnected(log *slog.Logger, d *phoenix.Disconnected, interval func(time.Duration) string) {
	attrs := []any{"reason", string(d.Reason)}
	if d.Text != "" {
		attrs = append(attrs, "detail", oneLine(d.Text))
	}
	attrs = append(attrs, "will_reconnect", d.WillReconnect)
	if d.Silence > 0 {
		attrs = append(attrs, "hint", idleHint(d.Code, d.Silence, interval))
	}
	log.Info("disconnected", attrs...)
}

func logChannel(log *slog.Logger, ev *phoenix.Event) {
	switch d := ev.Detail.(type) {
	case *phoenix.Joining:
		log.Debug("joining", "attempt", d.Attempt)
	case *phoenix.Joined:
		if d.Rejoin {
			log.Info("joined again", "gap", d.Gap)
			return
		}
		log.Info("joined", "join", d.Took)
	case *phoenix.Live:
		log.Info("live", "took", d.Took)
	case *phoenix.Gap:
		log.Warn("messages may be missing", "gap", d.Gap, "reason", string(d.Reason))
	case *phoenix.JoinError:
		attrs := []any{"reason", string(d.Reason)}
		if said := d.Said(); said != "" && d.Reason == phoenix.JoinRefused {
			attrs = append(attrs, "response", oneLine(said))
		}
		log.Info("join failed", retryAttrs(d.Retry, attrs...)...)
	case *phoenix.Left:
		log.Info("left")
	case *phoenix.Closed:
		log.Info("the server closed the channel", retryAttrs(d.Retry)...)
	case *phoenix.Errored:
		log.Info("the channel was lost", retryAttrs(d.Retry, "reason", string(d.Reason))...)
	}
}

func retryAttrs(r phoenix.Retry, attrs ...any) []any {
	if r.Will && r.In > 0 {
		attrs = append(attrs, "retry_in", r.In)
	}
	return attrs
}

// errDone ends a command with 0: what it waited for is there. It is the cause of contexts, too, and no user ever sees it.
var errDone = errors.New("done")

// withoutDone returns err without errDone, which is no failure.
func withoutDone(err error) error {
	if !errors.Is(err, errDone) {
		return err
	}
	var failures []error
	for _, e := range exit.Flatten(err) {
		if !errors.Is(e, errDone) {
			failures = append(failures, e)
		}
	}
	return errors.Join(failures...)
}

// follow passes the events of s to handle until ctx ends, whose cause it returns, or the session does, or handle fails. It ends
// also when the reader of stdout goes.
func (c *client) follow(ctx context.Context, s *session, handle func(context.Context, *phoenix.Event) error) error {
	c.out.watchReader()
	for {
		ev, err := s.next(ctx)
		if err == nil {
			err = handle(ctx, ev)
		}
		if err != nil {
			return withoutDone(err)
		}
	}
}

// lostForGood is the failure of a channel that ev says is lost and not joined again, else nil. A channel that is lost with its
// connection is not: the end of that is explained instead.
func (s *session) lostForGood(ev *phoenix.Event) error {
	switch d := ev.Detail.(type) {
	case *phoenix.JoinError:
		if d.Will {
			return nil
		}
		failure := suited(joinFailure(d), s.settings.Profile, ev)
		if since, joined := s.away.channels[ev.Topic]; joined && d.Err == nil {
			failure.Code = exit.LinkLost
			failure.Message = "cannot join again: " + failure.Message
			s.away.explain(failure, since)
		}
		return failure
	case *phoenix.Errored:
		if !d.Will && d.Reason == phoenix.ErroredOnJoin {
			return s.onJoinFailure(ev.Topic)
		}
		if !d.Will && d.Reason != phoenix.ErroredDisconnected {
			return channelLost(ev, "crashed")
		}
	case *phoenix.Closed:
		if !d.Will {
			return channelLost(ev, "was closed by the server")
		}
	}
	return nil
}

// onJoinFailure is the failure of a channel that was joined, and left because of a push of --on-join.
func (s *session) onJoinFailure(topic string) error {
	failure := *s.joins[topic].failed
	failure.Message = "the topic was joined, and left: on join, " + failure.Message
	failure.Hint = "check --on-join (on_join in a config file), or see the server's log"
	if since := s.away.channels[topic]; !since.IsZero() {
		s.away.explain(&failure, since)
	}
	return &failure
}

// channelLost says that a channel was lost and is not joined again.
func channelLost(ev *phoenix.Event, what string) *exit.Error {
	return &exit.Error{
		Code:    exit.Channel,
		Message: "the channel " + strconv.Quote(ev.Topic) + " " + what + ", and is not joined again",
		Hint:    "see the server's log; more attempts with --max-retries",
	}
}
