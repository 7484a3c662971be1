package cmd

import (
	"context"
	"errors"
	"fmt"

	"phx/phoenix"
)

// A pusher is push at work. One goroutine reads the input and sends; the caller's reads events and prints how the pushes end,
// in input order.
type pusher struct {
	*pushOptions
	in      *pushInput
	link    *link
	printer *printer
	until   *untilPredicate

	feed feed
	// ended holds the ends that came before their turn; next is whose turn it is, done how many have come.
	ended      map[int]phoenix.Event
	next, done int
	// failed is the first failure.
	failed error
	// down is how the link ended, if it did.
	down *phoenix.Disconnected
}

// errFed ends a wait for events: there may be none to come.
var errFed = errors.New("the input is at its end")

func (p *pusher) run(ctx context.Context) error {
	if err := p.awaitJoin(ctx); err != nil {
		return err
	}
	p.ended = map[int]phoenix.Event{}
	p.feed.over = make(chan struct{})
	fed, endFed := context.WithCancelCause(ctx)
	defer endFed(nil)
	slots := make(chan struct{}, p.maxInflight)
	go func() {
		p.feed.err = p.send(fed, slots)
		close(p.feed.over)
		endFed(errFed)
	}()
	err := p.collect(ctx, fed, slots)
	if err == nil && p.failed == nil && p.until != nil {
		err = p.stay(ctx)
	}
	// The first failure decides; how the link ended says why.
	return errors.Join(p.failed, p.printer.flush(), err)
}

// awaitJoin waits for the answer to the join.
func (p *pusher) awaitJoin(ctx context.Context) error {
	for {
		ev, err := p.link.next(ctx)
		if err != nil {
			return err
		}
		switch d := ev.Detail.(type) {
		case *phoenix.Joined:
			return nil
		case *phoenix.JoinError:
			if !d.Will {
				return joinFailure(d)
			}
		}
	}
}

// collect reads events until every push has ended. fed ends when the input does.
func (p *pusher) collect(ctx, fed context.Context, slots chan struct{}) error {
	wait := fed
	for p.feed.outstanding(p.done) {
		if !p.link.events.Ready() {
			if err := p.printer.flush(); err != nil {
				return err
			}
		}
		ev, err := p.link.next(wait)
		switch {
		case errors.Is(err, errFed):
			wait = ctx
			continue
		case err != nil:
			p.feed.stop()
			return err
		}
		if err := p.handle(ctx, ev, slots); err != nil {
			p.feed.stop()
			return err
		}
	}
	select {
	case <-p.feed.over:
		return p.feed.err
	default: // stopped by a failure while it waits for input
		return nil
	}
}

// handle takes one event. Its error ends the collection at once; a push that failed only ends the sending.
func (p *pusher) handle(ctx context.Context, ev *phoenix.Event, slots chan struct{}) error {
	if index, failure, isEnd := pushEnd(ev); isEnd {
		if failure != nil && p.failed == nil {
			p.failed = p.explain(failure)
			p.feed.stop()
		}
		p.done++
		p.ended[index] = ev.Clone()
		<-slots
		return p.printEnds(ctx)
	}
	switch d := ev.Detail.(type) {
	case *phoenix.Disconnected:
		p.down = &phoenix.Disconnected{Reason: d.Reason, Text: d.Text}
	case phoenix.Message:
		if p.until != nil {
			return p.until.see(ctx, p.printer, ev)
		}
	case *phoenix.Errored:
		if !d.Will && d.Reason != phoenix.ErroredDisconnected {
			p.lost(channelLost(ev, "crashed"))
		}
	case *phoenix.Closed:
		if !d.Will {
			p.lost(channelLost(ev, "was closed by the server"))
		}
	case *phoenix.JoinError:
		if !d.Will {
			p.lost(joinFailure(d))
		}
	}
	return nil
}

// explain adds to a failure why the link was lost, which came first and took the push with it.
func (p *pusher) explain(f *failure) error {
	if p.down == nil {
		return f
	}
	f.message += fmt.Sprintf("; the link was lost: %s", p.down.Reason)
	if p.down.Text != "" {
		f.message += ", " + oneLine(p.down.Text)
	}
	return f
}

// lost takes the loss of the channel: the pushes that are out end by themselves, and no more are sent.
func (p *pusher) lost(err error) {
	if p.failed == nil {
		p.failed = err
	}
	p.feed.stop()
}

// pushEnd reports whether ev is the end of a push, of which one, and how it failed.
func pushEnd(ev *phoenix.Event) (index int, failed *failure, isEnd bool) {
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
		if err := p.printer.add(ctx, &ev); err != nil {
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
				_ = p.printer.flush()
			}
		}
	}
}
