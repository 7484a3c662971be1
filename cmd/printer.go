package cmd

import (
	"context"
	"io"

	"phx/phoenix"
)

// A printer writes records at once, for commands that print few of them. Each record is one write of whole lines.
type printer struct {
	renderer *renderer
	out      io.Writer
	buffer   []byte
}

// print writes what is printed of ev. The error is that of [writeError].
func (p *printer) print(ctx context.Context, ev *phoenix.Event) error {
	p.buffer = p.renderer.append(ctx, p.buffer[:0], ev)
	if len(p.buffer) == 0 {
		return nil
	}
	_, err := p.out.Write(p.buffer)
	return writeError(err)
}
