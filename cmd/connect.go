package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/phoenix"
)

type connectOptions struct {
	*client
	count    int
	interval time.Duration
	hold     bool
}

// defaultInterval is the time between the heartbeats of --count, as with ping.
const defaultInterval = time.Second

func newConnectCmd(f *factory) *cobra.Command {
	o := &connectOptions{client: newOneShot(f)}
	c := &cobra.Command{
		Use:   "connect",
		Short: "Open the socket, one heartbeat, close: is it up?",
		Long: `Opens the socket, waits for the answer to one heartbeat, and closes. It prints one
phoenix.connection.connected signal with the time that each stage took: dns_ms, tcp_ms, tls_ms,
upgrade_ms, and rtt_us for the heartbeat. A failure says at which stage, and what to check; with -v
also how long each stage took.

With --count it goes on like ping: one phoenix.connection.heartbeat signal for each further heartbeat,
and a summary of them on stderr. With --hold it stays until it is stopped, and prints what happens to the link.`,
		Example: `  phx connect --uri ws://localhost:4000/socket
  phx connect -u wss://example.com/socket --auth-token-file token.txt -q .data.rtt_us
  phx connect --count 5 -q .data.rtt_us
  phx connect --hold --max-retries -1`,
		Args: noArgs,
	}
	o.own = []option.Option{
		{Flag: "count", Shorthand: "c", Value: option.Count(&o.count, ""),
			Usage: "measure `N` further heartbeats, and print a signal for each", Example: "5"},
		{Flag: "interval", Value: option.Duration(&o.interval, ""),
			Usage: "`TIME` between the heartbeats of --count (default 1s)", Example: "200ms"},
		{Flag: "hold", Value: option.Switch(&o.hold),
			Usage: "stay, and print the signals of the connection, until stopped"},
	}
	o.bind(c, func(ctx context.Context) error { return connectRun(ctx, o) })
	return c
}

func connectRun(ctx context.Context, o *connectOptions) error {
	switch {
	case o.interval > 0 && o.count == 0:
		return exit.Usagef("add --count N", "--interval is between the heartbeats of --count, which is not given")
	case o.interval == 0:
		o.interval = defaultInterval
	}
	options, err := o.options()
	if err != nil {
		return err
	}
	for _, said := range o.connection.Resumes("") { // of no use without a join; a mistake in it is one all the same
		if _, err := o.resumeParam(said); err != nil {
			return err
		}
	}
	options.HeartbeatEvents = o.count > 0
	s, up, err := openSession(ctx, o.connection, options)
	if err != nil {
		return err
	}
	w := &connectWatch{options: o, session: s, out: o.out, vsn: options.VSN}
	err = w.run(ctx, up)
	s.close(ctx, err, nil, w.closing)
	w.summarize()
	return firstError(err, w.failed, w.lost())
}

// printConnected prints the event of a session, with the round trip of a heartbeat. When the session ends before the answer
// comes, it takes the next session, if there is to be one.
func (w *connectWatch) printConnected(ctx context.Context, up *phoenix.Event) error {
	connected := up.Clone() // up is valid until the next event is read
	for {
		rtt, err := w.session.conn.Heartbeat(ctx)
		if err == nil {
			measured := *connected.Detail.(*phoenix.Connected)
			measured.RTT = rtt
			connected.Detail = &measured
			w.printed = true
			if text := w.out.renderer.form; text != nil {
				text.sentences = true
				return w.out.addLines(text.appendConnected(nil, &measured, w.session.settings.Address(), transportNames[measured.Transport]+", vsn "+w.vsn))
			}
			return w.out.print(&connected)
		}
		if odd := (*phoenix.HeartbeatError)(nil); errors.As(err, &odd) {
			return heartbeatFailure(w.session.settings.Address(), odd)
		}
		next, err := w.session.awaitUp(ctx)
		if err != nil {
			return notPhoenix(w.session.settings.Address(), err)
		}
		connected = next.Clone()
	}
}

// transportNames are the transports as people call them.
var transportNames = map[phoenix.Transport]string{phoenix.TransportWebSocket: "WebSocket", phoenix.TransportLongPoll: "long poll"}

// appendConnected appends what phx connect says of a connection: where it goes to, how long each stage took, and how long an answer takes.
func (f *textForm) appendConnected(dst []byte, d *phoenix.Connected, address, how string) []byte {
	f.line = f.paint(f.line[:0], colorGood, "connected")
	f.line = f.paint(append(f.line, ' '), "", "to "+address+", "+how)
	dst = append(appendCut(dst, f.line, f.width()), '\n')
	f.line = f.line[:0]
	for _, stage := range []struct {
		name string
		took time.Duration
	}{{"dns", d.Timings.DNS}, {"tcp", d.Timings.TCP}, {"tls", d.Timings.TLS}, {"upgrade", d.Timings.Upgrade}} {
		if stage.took == 0 {
			continue
		}
		f.line = f.paint(f.line, colorFaint, stage.name)
		f.line = append(append(f.line, ' '), shortDuration(stage.took.Round(10*time.Microsecond))+columnGap...)
	}
	dst = append(appendCut(dst, bytes.TrimRight(f.line, " "), f.width()), '\n')
	f.line = f.paint(f.line[:0], colorFaint, "round trip")
	f.line = append(append(f.line, ' '), shortDuration(d.RTT.Round(10*time.Microsecond))...)
	return append(appendCut(dst, f.line, f.width()), '\n')
}

// A connectWatch is connect at work once the socket is open: it measures heartbeats, and prints what it is to print.
type connectWatch struct {
	options *connectOptions
	session *session
	out     *output
	vsn     string
	// answered is how many heartbeats were, fastest, slowest and total their round trips.
	answered                int
	fastest, slowest, total time.Duration
	// printed says that the round trip of the first heartbeat is in what was printed of the session, so that its own event is not.
	printed bool
	// unanswered is how many heartbeats were lost with their session.
	unanswered int
	failed     error
}

// run prints the event of the first session, and then goes on for --count and --hold.
func (w *connectWatch) run(ctx context.Context, up *phoenix.Event) error {
	if err := w.printConnected(ctx, up); err != nil || w.options.count == 0 && !w.options.hold {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	losses := make(chan int, 1)
	go func() { losses <- w.measure(ctx, end) }()
	err := w.options.follow(ctx, w.session, w.handle)
	select {
	case <-w.session.conn.Done(): // which ends measure, too, and with what was on its way counted
	default:
		end(nil)
	}
	w.unanswered = <-losses
	end(nil)
	return err
}

// measure sends the heartbeats of --count, one an interval, or later if an answer takes longer than that. It returns how many
// were lost. The answers themselves are events of the link.
func (w *connectWatch) measure(ctx context.Context, end context.CancelCauseFunc) (lost int) {
	if w.options.count == 0 {
		return 0
	}
	ticker := time.NewTicker(w.options.interval)
	defer ticker.Stop()
	for range w.options.count {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return lost
		case <-w.session.conn.Done():
			return lost
		}
		_, err := w.session.conn.Heartbeat(ctx)
		switch {
		case err == nil, errors.As(err, new(*phoenix.HeartbeatError)): // whose status is not what is measured
		case ctx.Err() != nil:
			return lost // interrupted: the answer may have been on its way
		default:
			lost++
		}
	}
	if !w.options.hold {
		end(errDone)
	}
	return lost
}

// handle prints what is to be printed of ev.
func (w *connectWatch) handle(ctx context.Context, ev *phoenix.Event) error {
	beat, isBeat := ev.Detail.(*phoenix.Heartbeat)
	switch {
	case isBeat && !beat.Asked: // of the connection itself, by --heartbeat-interval
		return nil
	case isBeat && w.printed:
		w.printed = false
		return nil
	case isBeat:
		w.measured(beat.RTT)
	case !w.options.hold:
		return nil
	}
	return w.out.print(ev)
}

// closing takes what comes while the link is closed: the last answers, and its end.
func (w *connectWatch) closing(ctx context.Context, ev *phoenix.Event) {
	if err := w.handle(ctx, ev); err != nil && w.failed == nil {
		w.failed = err
	}
}

func (w *connectWatch) measured(rtt time.Duration) {
	if w.answered == 0 || rtt < w.fastest {
		w.fastest = rtt
	}
	w.answered++
	w.total += rtt
	w.slowest = max(w.slowest, rtt)
}

// summarize logs the round trips.
func (w *connectWatch) summarize() {
	if w.options.count == 0 || w.answered+w.unanswered == 0 {
		return
	}
	attrs := []any{"answered", w.answered, "lost", w.unanswered}
	if w.answered > 0 {
		average := w.total / time.Duration(w.answered)
		attrs = append(attrs, micros("min", w.fastest), micros("avg", average), micros("max", w.slowest))
	}
	w.options.factory.newLogger(w.options.logging, slog.LevelInfo).Info("heartbeats", attrs...)
}

// lost is the failure of heartbeats that were lost although the connection went on.
func (w *connectWatch) lost() error {
	if w.unanswered == 0 {
		return nil
	}
	return &exit.Error{
		Code:    exit.LinkLost,
		Message: fmt.Sprintf("%d of %d heartbeats were lost", w.unanswered, w.answered+w.unanswered),
		Hint:    "see with -v what happened to the link",
	}
}

// heartbeatFailure is the failure of a server that opened a socket, and answers a heartbeat as no Phoenix server does.
func heartbeatFailure(address string, err *phoenix.HeartbeatError) *exit.Error {
	return &exit.Error{
		Code:    exit.PushStatus,
		Message: fmt.Sprintf("connected to %s, but %v", address, err),
		Hint:    "Phoenix answers every heartbeat with ok: is this a socket of Phoenix? check the path in --uri",
		Err:     err,
	}
}

// notPhoenix makes of the failure of a link that ended before its first heartbeat was answered one that says so: the server
// may be one of another kind.
func notPhoenix(address string, err error) error {
	var f *exit.Error
	var link *phoenix.LinkError
	if !errors.As(err, &f) || !errors.As(err, &link) || link.Stage != phoenix.StageSession {
		return err
	}
	explained := *f
	if link.Reason != phoenix.ReasonMessageTooBig { // that has a hint of its own
		explained.Hint = "is it a socket of Phoenix at all? check the path in --uri and --vsn, and the server's log"
	}
	if link.Reason == phoenix.ReasonHeartbeatTimeout {
		explained.Message = "connected to " + address + ", but nothing answers a heartbeat"
		explained.Hint += "; --heartbeat-timeout allows more"
		return &explained
	}
	explained.Message = "connected to " + address + ", but before a heartbeat was answered: " + linkCauses[link.Reason].what
	if detail := oneLine(link.Detail()); detail != "" {
		explained.Message += ": " + detail
	}
	return &explained
}
