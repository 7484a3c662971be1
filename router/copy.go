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
			err = write(w, c.Bytes())
			q.Release(c)
		}
		if err != nil {
			q.Abort(err)
			return err
		}
	}
}

func write(w io.Writer, p []byte) error {
	n, err := w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &WriteError{Err: err}
	}
	return nil
}
