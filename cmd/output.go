package cmd

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/proc"
	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

// An output writes to stdout what is put in its queue, in a goroutine of its own, so that a slow reader holds up nothing
// but what it must.
type output struct {
	queue *router.Queue
	// chunk is what is collected before it is queued; nil: nothing.
	chunk   *router.Chunk
	written chan error
	stop    func()
	// drain ends when waiting for the reader has to end: some time after the command's context.
	drain context.Context
}

// startOutput starts the output of listen. It calls end as [startQueue] does.
func startOutput(ctx context.Context, end context.CancelCauseFunc, o *listenOptions) (*output, error) {
	// A loss is announced like any other signal, from whichever goroutine finds it, so by a renderer of its own.
	announcer, err := newRenderer(o.client.output, o.connection.Name, o.factory.streams, o.log)
	if err != nil {
		return nil, err
	}
	var line []byte
	return startQueue(ctx, end, o.factory.streams, func(drain context.Context) *router.Queue {
		return router.NewQueue(o.buffer, o.whenFull, func(dst []byte, l router.Loss) []byte {
			o.log.Warn("signals were lost: the reader of stdout is too slow", "count", l.Count, "policy", o.whenFull)
			line = announcer.encoder.AppendDropped(line[:0], signal.Dropped{
				Count: l.Count, Policy: o.whenFull.String(), FirstSeq: l.FirstSeq, LastSeq: l.LastSeq,
			}, time.Now())
			return announcer.appendLine(drain, dst, line)
		})
	}), nil
}

// startQueue starts an output with the queue that newQueue makes. drain ends when waiting for the reader has to end. It calls end
// when the reader has gone, or a write has failed.
func startQueue(ctx context.Context, end context.CancelCauseFunc, s *Streams, newQueue func(drain context.Context) *router.Queue) *output {
	drain, cancelDrain := context.WithCancelCause(context.WithoutCancel(ctx))
	out := &output{queue: newQueue(drain), written: make(chan error, 1), drain: drain}
	stopGrace := context.AfterFunc(ctx, func() {
		time.AfterFunc(drainGrace(ctx), func() { cancelDrain(context.Cause(ctx)) })
	})
	gone, unwatch := watchReader(s)
	finished := make(chan struct{})
	go func() {
		select {
		case <-gone:
			out.queue.Abort(errPipe)
			end(errPipe)
		case <-finished:
		}
	}()
	go func() {
		err := router.Copy(drain, s.Out, out.queue)
		if wrote := (*router.WriteError)(nil); errors.As(err, &wrote) {
			err = writeError(wrote.Err)
			end(err)
		}
		out.written <- err
	}()
	out.stop = func() {
		stopGrace()
		close(finished)
		unwatch()
		cancelDrain(nil)
	}
	return out
}

// drainGrace is how long the reader may take for what is queued once ctx has ended: the time to leave and close, or next
// to nothing when the time was up.
func drainGrace(ctx context.Context) time.Duration {
	if codeOf(context.Cause(ctx)) == exit.Timeout {
		return lateGrace
	}
	return closeGrace
}

// watchReader watches stdout for the end of its reader.
func watchReader(s *Streams) (gone <-chan struct{}, stop func()) {
	if file, ok := s.Out.(*os.File); ok {
		return proc.WatchReader(file)
	}
	return nil, func() {}
}

// buffer returns the buffer to append what is printed of the next signal to.
func (out *output) buffer() []byte {
	if out.chunk == nil {
		out.chunk = out.queue.Chunk()
	}
	return out.chunk.Buffer()
}

// commit takes back the buffer with what is printed of the signal with that seq, and reports whether that is anything. When
// enough is collected it passes it on as flush does.
func (out *output) commit(lines []byte, seq uint64) (printed bool, err error) {
	printed = len(lines) > len(out.chunk.Buffer())
	out.chunk.Commit(lines, seq)
	if out.chunk.Full() {
		err = out.flush()
	}
	return printed, err
}

// flush queues what was collected, and waits for room if that is the policy.
func (out *output) flush() error {
	if out.chunk == nil {
		return nil
	}
	chunk := out.chunk
	out.chunk = nil
	err := out.queue.Put(out.drain, chunk)
	if errors.Is(err, router.ErrFull) {
		return &exit.Error{
			Code: exit.Write, Message: "the reader of stdout is too slow: the output buffer is full", Err: err,
			Hint: "allow more with --buffer, or let --when-full block or drop",
		}
	}
	return err
}

// finish waits until everything is written.
func (out *output) finish(context.Context) error {
	out.queue.CloseInput(nil)
	err := <-out.written
	out.stop()
	return err
}

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
