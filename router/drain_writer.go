package router

import (
	"context"
	"io"
)

// WriterDrain returns a [Drain] that writes records to w, many with one call of Write. A failed write ends it, as a [*WriteError].
func WriterDrain(w io.Writer) Drain { return writerDrain{w} }

type writerDrain struct{ w io.Writer }

func (d writerDrain) Run(ctx context.Context, q *Queue) error { return Copy(ctx, d.w, q) }
