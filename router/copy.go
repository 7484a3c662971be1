package router

import (
	"context"
	"io"
)

// A WriteError is the failure of a write to an output.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "cannot write the output: " + e.Err.Error() }

// Unwrap returns what the writer returned.
func (e *WriteError) Unwrap() error { return e.Err }

// Copy writes the records of q to w, with one call of Write for each chunk, until the input ends, and returns nil if it
// was complete. A failed write is returned as a [*WriteError]; other errors are those of [Queue.Take]. In each case but nil
// it has aborted the queue with the error, so that no producer waits for a consumer that is gone.
func Copy(ctx context.Context, w io.Writer, q *Queue) error {
	for {
		c, err := q.Take(ctx)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = write(w, q, c)
		}
		if err != nil {
			q.Abort(err)
			return err
		}
	}
}

// write writes a chunk and gives it back. Of a failed write, what is there as a whole is delivered.
func write(w io.Writer, q *Queue, c *Chunk) error {
	n, err := w.Write(c.Bytes())
	if err == nil && n < len(c.Bytes()) {
		err = io.ErrShortWrite
	}
	if err != nil {
		q.ReleaseFirst(c, c.recordsIn(n))
		return &WriteError{Err: err}
	}
	q.Release(c)
	return nil
}
