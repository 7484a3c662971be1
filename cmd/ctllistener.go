package cmd

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"phx/cmd/internal/control"
	"phx/router"
	"phx/signal"
)

// A ctlListener is `ctl listen` at work: it reads signals, prints them, and decides when it is enough.
type ctlListener struct {
	*ctlListenOptions
	judge *judge
	view  *signalView
	out   *output
	// end ends run with a cause.
	end    context.CancelCauseFunc
	limits timeLimits
	// seen counts what --count counts.
	seen  int
	chunk *router.Chunk
}

// run subscribes, and prints until it is enough; errDone says that it ended as it should.
func (ln *ctlListener) run(ctx context.Context) error {
	request := ln.request
	request.Format = ln.view.wire()
	stream, err := ln.client.Signals(ctx, request)
	if err != nil {
		return err
	}
	defer stream.Close()
	ln.limits.start(ln.duration, ln.idle, func() { ln.end(errDone) })
	if err := ln.ready.tell(); err != nil {
		return err
	}
	return errors.Join(ln.read(ctx, stream), ln.flush())
}

// read prints what comes.
func (ln *ctlListener) read(ctx context.Context, stream *control.Stream) error {
	for {
		if !stream.Ready() {
			if err := ln.flush(); err != nil {
				return err
			}
		}
		line, err := stream.Next()
		if err != nil {
			return err
		}
		if err := ln.handle(ctx, line); err != nil {
			return err
		}
	}
}

// handle takes one signal. Its error ends read.
func (ln *ctlListener) handle(ctx context.Context, line []byte) error {
	counts := ln.counts(typeOfSignal(line))
	if counts {
		ln.limits.touch()
	}
	if err := ln.print(ctx, line); err != nil {
		return err
	}
	if !ln.judge.idle() {
		plain, seq, err := ln.view.plain(line)
		if err != nil {
			return err
		}
		if err := ln.judge.see(ctx, plain, seq); err != nil {
			return err
		}
	}
	if counts {
		if ln.seen++; ln.seen == ln.count {
			return errDone
		}
	}
	return nil
}

// counts reports whether --count counts a signal of that type: one that says how connections and channels are, or that others were lost, only
// if somebody asked for types.
func (ln *ctlListener) counts(kind string) bool {
	if ln.request.Match != "" {
		return true
	}
	return !signal.IsLifecycle(kind) && !strings.HasPrefix(kind, "phoenix.signal.")
}

// print puts what is printed of a signal into the current chunk.
func (ln *ctlListener) print(ctx context.Context, line []byte) error {
	shown, err := ln.view.shown(line)
	if err != nil || len(shown) == 0 {
		return err
	}
	if ln.chunk == nil {
		ln.chunk = ln.out.queue.Chunk()
	}
	ln.chunk.Commit(ln.renderer.appendLine(ctx, ln.chunk.Buffer(), shown), 0) // a queue that blocks loses nothing: no seq
	if ln.chunk.Full() {
		return ln.flush()
	}
	return nil
}

// flush passes the current chunk on to the output, and waits for room.
func (ln *ctlListener) flush() error {
	if ln.chunk == nil {
		return nil
	}
	chunk := ln.chunk
	ln.chunk = nil
	return ln.out.put(chunk)
}

// typeOfSignal returns the type of a signal, whatever its format but payload. It stands before anything that a server has a say in.
func typeOfSignal(line []byte) string {
	_, rest, _ := bytes.Cut(line, []byte(`"type":"`))
	kind, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(kind)
}
