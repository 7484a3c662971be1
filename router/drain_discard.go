package router

import (
	"context"
	"io"
)

// Discard returns a [Drain] that counts each record as delivered and puts it nowhere.
func Discard() Drain { return discard{} }

type discard struct{}

func (discard) Run(ctx context.Context, q *Queue) error {
	for {
		c, err := q.Take(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		q.Release(c)
	}
}
