package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/itchyny/gojq"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/proc"
	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

// A renderer turns events into what is printed of them: the encoder's line, or what the jq filter makes of it, in the
// style of the output. It remembers what decides about the exit code.
type renderer struct {
	encoder *signal.Encoder
	filter  *filter // nil: none
	raw     bool
	style   jsonStyle
	errors  recordErrors

	exitStatus bool
	last       lastValue

	line   []byte // scratch
	filled []byte // what the filter's results are appended to
}

// lastValue is what -e knows of the last value printed.
type lastValue int

const (
	lastNone lastValue = iota
	lastFalsy
	lastTruthy
)

// newRenderer returns the renderer for a connection of that name. An expression that does not compile is its error.
func newRenderer(o config.Output, name string, s *Streams, log *slog.Logger) (*renderer, error) {
	r := &renderer{
		encoder:    signal.NewEncoder(o.Format, name),
		raw:        o.Raw,
		style:      newJSONStyle(o, s),
		errors:     recordErrors{log: log},
		exitStatus: o.ExitStatus,
	}
	if o.Filter == "" {
		return r, nil
	}
	var err error
	r.filter, err = compileFilter("--jq", o.Filter)
	return r, err
}

// append appends what is printed of ev: nothing, or one or more whole lines. A filter that fails on the record is logged, and
// remembered for [renderer.result]. ctx ends a filter that does not end by itself.
func (r *renderer) append(ctx context.Context, dst []byte, ev *phoenix.Event) []byte {
	if r.filter == nil && !r.raw && r.style == (jsonStyle{}) {
		start := len(dst)
		dst = r.encoder.Append(dst, ev)
		r.note(dst[start:])
		return dst
	}
	r.line = r.encoder.Append(r.line[:0], ev)
	return r.appendLine(ctx, dst, r.line)
}

// appendLine is append for a line of the encoder.
func (r *renderer) appendLine(ctx context.Context, dst, line []byte) []byte {
	text := bytes.TrimSuffix(line, []byte("\n"))
	if len(text) == 0 {
		return dst
	}
	if r.filter == nil {
		return r.appendText(dst, text)
	}
	start := len(dst)
	dst, err := r.appendFiltered(ctx, dst, text)
	if err != nil && ctx.Err() != nil {
		// The command is ending. What it has received is still printed; only a filter that does not end is cut short.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateGrace)
		defer cancel()
		if dst, err = r.appendFiltered(grace, dst[:start], text); grace.Err() != nil {
			return dst // that is no fault of the record
		}
	}
	if err != nil {
		r.errors.add(r.filter, err)
	}
	return dst
}

// appendFiltered appends what the filter makes of one JSON text.
func (r *renderer) appendFiltered(ctx context.Context, dst, text []byte) ([]byte, error) {
	r.filled = dst
	err := r.filter.run(ctx, text, func(value any) error {
		result, err := gojq.Marshal(value)
		if err == nil {
			r.filled = r.appendText(r.filled, result)
		}
		return err
	})
	dst, r.filled = r.filled, nil
	return dst, err
}

// appendText appends one JSON text as one line, or as many as its style has.
func (r *renderer) appendText(dst, text []byte) []byte {
	r.note(text)
	if r.raw && text[0] == '"' {
		var unquoted string
		if json.Unmarshal(text, &unquoted) == nil {
			return r.appendRaw(dst, unquoted)
		}
	}
	return r.style.append(dst, text)
}

// appendRaw appends a string without its quotes.
func (r *renderer) appendRaw(dst []byte, text string) []byte {
	if r.style.escape {
		dst = appendVisible(dst, text, '\n', '\t')
	} else {
		dst = append(dst, text...)
	}
	return append(dst, '\n')
}

// note remembers the last value for -e.
func (r *renderer) note(text []byte) {
	if !r.exitStatus || len(text) == 0 {
		return
	}
	switch string(bytes.TrimSpace(text[:min(len(text), len("false\n"))])) {
	case "null", "false":
		r.last = lastFalsy
	default:
		r.last = lastTruthy
	}
}

// result returns the failure of the command by what was printed: a filter failed on a record, or -e applies.
func (r *renderer) result() error {
	if err := r.errors.failure("--jq failed on %s; all others were printed"); err != nil {
		return err
	}
	switch {
	case r.exitStatus && r.last == lastNone:
		return &exit.Error{Code: exit.NoOutput}
	case r.exitStatus && r.last == lastFalsy:
		return &exit.Error{Code: exit.Failure}
	}
	return nil
}

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
