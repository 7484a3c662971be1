package cmd

import (
	"context"

	"phx/phoenix"
	"phx/signal"
)

// stay prints the channel's messages until one matches. One that came before the replies counts: a broadcast comes before
// the reply to the push that caused it (PROTOCOL.md, section 5).
func (p *pusher) stay(ctx context.Context) error {
	for !p.until.matched {
		if !p.link.events.Ready() {
			if err := p.printer.flush(); err != nil {
				return err
			}
		}
		ev, err := p.link.next(ctx)
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

// An untilPredicate is push's --until at work.
type untilPredicate struct {
	predicate *predicate
	plain     *signal.Encoder
	line      []byte
	matched   bool
}

func newUntil(o *pushOptions) (*untilPredicate, error) {
	p, err := compilePredicate("--until", o.until)
	if err != nil {
		return nil, err
	}
	return &untilPredicate{predicate: p, plain: signal.NewEncoder(signal.FormatSignal, o.connection.Name)}, nil
}

// see prints a message and notices a match.
func (u *untilPredicate) see(ctx context.Context, out *printer, ev *phoenix.Event) error {
	if u.matched {
		return nil
	}
	if err := out.add(ctx, ev); err != nil {
		return err
	}
	u.line = u.plain.Append(u.line[:0], ev)
	matched, err := u.predicate.match(ctx, u.line)
	if err != nil && ctx.Err() == nil {
		return &failure{code: exitJQRun, message: "--until failed on a signal: " + oneLine(err.Error()), hint: "an expression may look before it leaps: .data.payload? // empty", err: err}
	}
	u.matched = matched
	return nil
}
