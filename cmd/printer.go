package cmd

import (
	"context"
	"io"

	"phx/phoenix"
)

// A printer writes records for commands that print few of them, or wait for what they print. Each write is of whole lines.
type printer struct {
	renderer *renderer
	out      io.Writer
	buffer   []byte
}

// maxPrinted is how much is collected before it is written.
const maxPrinted = 64 << 10

// print writes what is printed of ev, and what was added before. The error is that of [writeError].
func (p *printer) print(ctx context.Context, ev *phoenix.Event) error {
	if err := p.add(ctx, ev); err != nil {
		return err
	}
	return p.flush()
}

// add adds what is printed of ev to what the next flush writes.
func (p *printer) add(ctx context.Context, ev *phoenix.Event) error {
	p.buffer = p.renderer.append(ctx, p.buffer, ev)
	if len(p.buffer) >= maxPrinted {
		return p.flush()
	}
	return nil
}

// flush writes what was added.
func (p *printer) flush() error {
	if len(p.buffer) == 0 {
		return nil
	}
	_, err := p.out.Write(p.buffer)
	p.buffer = p.buffer[:0]
	return writeError(err)
}
