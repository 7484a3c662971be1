package cmd

import (
	"context"
	"errors"

	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

// errDone ends listen with 0: its condition is met.
var errDone = errors.New("done")

// A listener is listen at work: it reads events, decides which are printed, and when it is enough.
type listener struct {
	*listenOptions
	link *link
	out  *output
	// end ends run with a cause.
	end context.CancelCauseFunc

	judge *judge
	// plain encodes what the judge sees.
	plain *signal.Encoder
	line  []byte

	// open is the topics that are joined or will be; waiting those without a first answer.
	open, waiting map[string]bool
	// failed is the first failure of a topic that --keep-going went on without.
	failed error
	// seen counts what --count counts.
	seen  int
	chunk *router.Chunk
	// limits ends run after --duration and --idle-timeout.
	limits timeLimits
}

func newListener(o *listenOptions) (*listener, error) {
	ln := &listener{listenOptions: o, open: map[string]bool{}, waiting: map[string]bool{}}
	for _, topic := range o.topics {
		ln.open[topic], ln.waiting[topic] = true, true
	}
	ln.plain = signal.NewEncoder(signal.FormatSignal, o.connection.Name)
	var err error
	if ln.judge, err = o.conditions.compile(o.log); err != nil {
		return nil, err
	}
	return ln, o.ready.clear()
}

// run listens until it is enough; errDone says that it ended as it should.
func (ln *listener) run(ctx context.Context) error {
	for {
		if !ln.link.events.Ready() {
			if err := ln.flush(); err != nil {
				return err
			}
		}
		ev, err := ln.link.next(ctx)
		if err != nil {
			return err
		}
		if err := ln.handle(ctx, ev); err != nil {
			return errors.Join(err, ln.flush())
		}
	}
}

// handle takes one event. Its error ends run.
func (ln *listener) handle(ctx context.Context, ev *phoenix.Event) error {
	counts := true
	switch ev.Detail.(type) {
	case phoenix.Message:
	case *phoenix.PresenceJoin, *phoenix.PresenceLeave, *phoenix.PresenceSync:
		counts = ln.client.output.Format != signal.FormatPayload // which prints nothing of them
	default:
		var printed error
		if ln.lifecycle {
			printed = ln.print(ctx, ev)
		}
		return firstError(printed, ln.follow(ev))
	}
	ln.limits.touch()
	if err := ln.print(ctx, ev); err != nil || !counts {
		return err
	}
	if ln.seen++; ln.seen == ln.count {
		return errDone
	}
	return nil
}

// print puts what is printed of ev into the current chunk, and checks --until and --fail-on.
func (ln *listener) print(ctx context.Context, ev *phoenix.Event) error {
	if ln.chunk == nil {
		ln.chunk = ln.out.queue.Chunk()
	}
	ln.chunk.Commit(ln.renderer.append(ctx, ln.chunk.Buffer(), ev), ev.Seq)
	if ln.chunk.Full() {
		if err := ln.flush(); err != nil {
			return err
		}
	}
	if ln.judge.idle() {
		return nil
	}
	ln.line = ln.plain.Append(ln.line[:0], ev)
	return ln.judge.see(ctx, ln.line, ev.Seq)
}

// flush passes the current chunk on to the output, and waits for room if that is the policy.
func (ln *listener) flush() error {
	if ln.chunk == nil {
		return nil
	}
	chunk := ln.chunk
	ln.chunk = nil
	return ln.out.put(chunk)
}

// follow keeps track of the channels.
func (ln *listener) follow(ev *phoenix.Event) error {
	switch d := ev.Detail.(type) {
	case *phoenix.Joined:
		return ln.answered(ev.Topic)
	case *phoenix.Closed:
		return ln.closed(ev, d)
	}
	if err := lostForGood(ev); err != nil {
		return ln.lost(ev.Topic, err)
	}
	return nil
}

// closed takes a channel that the server closed.
func (ln *listener) closed(ev *phoenix.Event, d *phoenix.Closed) error {
	switch {
	case ln.exitOnClose:
		if ln.lastTopic(ev.Topic) {
			return errDone
		}
		if d.Will {
			topic := ev.Topic
			// It waits for its next join, which the leave takes back without a word to the server.
			go func() { ln.link.logUnlessNil("leave failed", ln.link.conn.Leave(context.Background(), topic)) }()
		}
	case !d.Will:
		return ln.lost(ev.Topic, lostForGood(ev))
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
	ln.limits.start(ln.duration, ln.idle, func() { ln.end(errDone) })
	return ln.ready.tell()
}

// lost takes a topic that is out for good.
func (ln *listener) lost(topic string, err error) error {
	if !ln.keepGoing {
		return err
	}
	if ln.failed == nil {
		ln.failed = err
	}
	ln.log.Error(err.Error())
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
	ln.link.close(ctx, topics, handle)
	// An output that fails tells it by its own result.
	_ = ln.flush()
}
