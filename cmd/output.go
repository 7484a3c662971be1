package cmd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/jq"
	"phx/cmd/internal/proc"
	"phx/phoenix"
	"phx/phoenix/rawjson"
	"phx/router"
	"phx/signal"
)

// A renderer turns events into what is printed of them: the encoder's line, what the jq filter makes of it, or a line of text for a terminal, in
// the style of the output. It remembers what decides about the exit code.
type renderer struct {
	encoder *signal.Encoder
	filter  *jq.Filter // nil: none
	raw     bool
	style   jsonStyle
	// form writes records as text; nil: they are JSON.
	form   *textForm
	errors recordErrors
	// halted says that the filter has ended the command: nothing is printed any more.
	halted bool

	exitStatus bool
	last       lastValue

	record     record
	line, text []byte // scratch
}

// lastValue is what -e knows of the last value printed.
type lastValue int

const (
	lastNone lastValue = iota
	lastFalsy
	lastTruthy
)

// newRenderer returns the renderer for a connection of that name. An expression that does not compile is its error.
func newRenderer(o outputOptions, name string, s *Streams, log *slog.Logger) (*renderer, error) {
	r := &renderer{
		encoder:    signal.NewEncoder(o.Output.Format, name),
		raw:        o.Raw,
		style:      newJSONStyle(o, s),
		errors:     recordErrors{log: log},
		exitStatus: o.ExitStatus,
	}
	if o.isText(s) {
		r.form = newTextForm(o, s)
	}
	if o.Filter == "" {
		return r, nil
	}
	var err error
	r.filter, err = o.compileFilter("--jq", o.Filter, log)
	return r, err
}

// encode returns the line of the encoder for ev, valid until the next call: nothing for what the format leaves out.
func (r *renderer) encode(ev *phoenix.Event) []byte {
	r.line = r.encoder.Append(r.line[:0], ev)
	return r.line
}

// plain reports whether the encoder's lines are printed as they are.
func (r *renderer) plain() bool {
	return r.filter == nil && !r.raw && r.form == nil && r.style == (jsonStyle{})
}

// document returns what is printed of ev before the filter, valid until the next call.
func (r *renderer) document(ev *phoenix.Event) jq.Document {
	if r.filter == nil || !r.record.set(r.encoder, ev) {
		return jq.Document{Text: bytes.TrimSuffix(r.encode(ev), lineBreak)}
	}
	return jq.Document{Source: &r.record}
}

// A record is the signal of an event, encoded when its text is needed: a [jq.Source].
type record struct {
	encoder   *signal.Encoder
	ev        *phoenix.Event
	line      []byte // without its line break, if isEncoded
	isEncoded bool
}

// set makes r the signal of ev. It is false if the encoder makes something else of ev.
func (r *record) set(e *signal.Encoder, ev *phoenix.Event) bool {
	r.encoder, r.ev, r.isEncoded = e, ev, false
	return e.Encodes(ev)
}

// Text implements [jq.Source].
func (r *record) Text() []byte {
	if !r.isEncoded {
		r.line, r.isEncoded = bytes.TrimSuffix(r.encoder.Append(r.line[:0], r.ev), lineBreak), true
	}
	return r.line
}

// Value implements [jq.Source].
func (r *record) Value(outer, inner string) (value []byte, known bool) {
	if inner != "" {
		return r.encoder.Value(r.ev, outer, inner)
	}
	line := r.Text()
	return r.encoder.Member(line, outer)
}

// soon returns what is printed of a document, if that is at most one text and known at once; nothing is printed if it is empty. It
// is valid until the next call.
func (r *renderer) soon(document jq.Document) (printed []byte, known bool) {
	if r.filter == nil {
		return document.Text, true
	}
	r.text, known = r.filter.Plain(r.text[:0], document)
	return r.text, known
}

// each gives each text that is printed of a document to emit, one after the other as they come: the text itself, or the results of
// the filter. emit's error ends it, and is returned, and so does a filter that halts. ctx ends a filter that does not end
// by itself. A filter that fails on the record is logged, and remembered for [renderer.result].
func (r *renderer) each(ctx context.Context, document jq.Document, emit func(text []byte) error) error {
	switch {
	case document.Source == nil && len(document.Text) == 0:
		return nil
	case r.filter == nil:
		return emit(document.Text)
	}
	var refused error
	err := r.filter.Run(ctx, document, func(result []byte) error {
		refused = emit(result)
		return refused
	})
	switch halt := halted(err); {
	case refused != nil:
		return refused
	case halt != nil:
		r.halted = true
		return halt
	case err != nil && ctx.Err() == nil: // its end is no fault of the record
		r.errors.add(r.filter, err)
	}
	return nil
}

// appendText appends one JSON text as one line, or as many as its style has.
func (r *renderer) appendText(dst, text []byte) []byte {
	r.note(text)
	if r.form != nil {
		return r.form.append(dst, text)
	}
	if r.raw && text[0] == '"' {
		if unquoted, _, err := rawjson.ReadString(text, 0); err == nil {
			return r.appendRaw(dst, unquoted)
		}
	}
	return r.style.append(dst, text)
}

// appendRaw appends a string without its quotes.
func (r *renderer) appendRaw(dst, text []byte) []byte {
	if r.style.escape {
		dst = appendVisible(dst, string(text), '\n', '\t')
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

// An output is the stdout of a command: what is printed goes through a queue to a goroutine that writes it, so that a slow reader
// holds up nothing but what it must, and one that does not read at all does not hold up the end.
type output struct {
	renderer *renderer
	log      *slog.Logger
	streams  *Streams
	queue    *router.Queue
	// progress tells what is written, and origin makes records count for it; nil: without --resume. complete is the number of the last
	// event of which everything has been added.
	progress *router.Progress
	origin   *router.Origin
	complete atomic.Uint64
	// ctx is the command's, and end ends it: when a write has failed, when the reader has gone, or with errDone.
	ctx context.Context
	end context.CancelCauseFunc
	// drain ends when waiting for the reader has to end: some time after ctx, or in [output.finish].
	drain       context.Context
	cancelDrain context.CancelFunc
	// filtering ends filters that do not end by themselves, soon after ctx.
	filtering context.Context

	// mu guards chunk while a filter runs: hand may then hand it over.
	mu sync.Mutex
	// chunk is what is collected before it is queued; nil: nothing.
	chunk *router.Chunk
	// onLarge, if set, is called with the event of a large line and the size of that, before the line is queued, which may wait.
	onLarge func(ev *phoenix.Event, size int)
	// hand hands over what a filter has yielded that takes long for its next result.
	hand *time.Timer
	// slurped collects the records of --slurp until the end; nil: each is printed as it comes.
	slurped *slurped

	// moved counts what was written, unwritten the records that are being written.
	moved, unwritten atomic.Int64
	// refused is how many records found no room until the end.
	refused  int
	written  chan error
	ending   chan struct{}
	finished chan struct{}
	stop     []func()
	// unwatch ends the watch of the reader; watching guards it.
	watching sync.Mutex
	unwatch  func()
}

// printing is what a command has to say about its output.
type printing struct {
	renderer *renderer
	log      *slog.Logger
	// buffer bounds what waits for the reader, in bytes; whenFull says what becomes of more.
	buffer   int64
	whenFull router.Policy
	// progress tells what is written; nil: without --resume.
	progress *router.Progress
	// announcer prints losses. It is needed for policies that lose something.
	announcer *renderer
}

// defaultBuffer is what may wait for the reader of stdout.
const defaultBuffer = 64 << 20

const (
	// drainGrace is how long a reader that takes nothing holds up an end. With what it takes to leave and close it is below five seconds.
	drainGrace = 3 * time.Second
	// lastWrite is how long a write that has been given up may take to return.
	lastWrite = 200 * time.Millisecond
	// handOver is how long a result waits for the next one of the same record.
	handOver = 20 * time.Millisecond
)

// startOutput starts the output of a command whose context is ctx, and returns it with a context that ends also by [output.end].
func startOutput(ctx context.Context, s *Streams, p printing) (context.Context, *output) {
	out := &output{
		renderer: p.renderer, log: p.log, streams: s,
		written: make(chan error, 1), ending: make(chan struct{}), finished: make(chan struct{}),
	}
	out.ctx, out.end = context.WithCancelCause(ctx)
	out.drain, out.cancelDrain = context.WithCancel(context.WithoutCancel(ctx))
	filtering, cancelFilters := context.WithCancel(context.WithoutCancel(ctx))
	out.filtering = filtering
	out.hand = time.AfterFunc(time.Hour, func() {
		out.watchReader()
		_ = out.flush() // whose error the next flush has, too
	})
	out.hand.Stop()
	out.queue = router.NewQueue(p.buffer, p.whenFull, p.announce)
	if p.progress != nil {
		out.progress, out.origin = p.progress, p.progress.Origin("")
	}
	stopFilters := context.AfterFunc(out.ctx, func() {
		if codeOf(context.Cause(out.ctx)) == exit.Pipe {
			cancelFilters()
			return
		}
		time.AfterFunc(lateGrace, cancelFilters)
	})
	out.stop = append(out.stop, func() { stopFilters() }, cancelFilters, out.cancelDrain, func() { out.hand.Stop() }, out.stopWatching)
	go out.awaitReader()
	go func() { out.written <- out.writeAll() }()
	return out.ctx, out
}

// announceTime bounds what the filter of the output may do with an announcement.
const announceTime = time.Second

// announce appends the announcement of a loss: what is printed of that signal.
func (p printing) announce(dst []byte, l router.Loss) []byte {
	if p.announcer == nil {
		return dst
	}
	p.log.Warn("signals were lost: the reader of stdout is too slow", "count", l.Count, "policy", p.whenFull)
	r := p.announcer
	r.line = r.encoder.AppendDropped(r.line[:0], signal.Dropped{
		Count: l.Count, Policy: p.whenFull.String(), FirstSeq: l.FirstSeq, LastSeq: l.LastSeq,
	}, time.Now())
	ctx, cancel := context.WithTimeout(context.Background(), announceTime)
	defer cancel()
	most := len(dst) + maxAnnouncement
	_ = r.each(ctx, jq.Document{Text: bytes.TrimSuffix(r.line, lineBreak)}, func(text []byte) error { // its only error is errDone, or that of a filter that halts
		dst = r.appendText(dst, text)
		if len(dst) > most {
			return errDone
		}
		return nil
	})
	return dst
}

// maxAnnouncement bounds what a filter makes of an announcement, which is made as a whole.
const maxAnnouncement = 64 << 10

// awaitReader ends drain when the command ends and the reader does not take what is queued. A process signal and --max-time set it a
// time; an end that is nobody's hurry waits for as long as the reader takes something.
func (out *output) awaitReader() {
	select {
	case <-out.ctx.Done():
	case <-out.ending:
	case <-out.finished:
		return
	}
	const look = 50 * time.Millisecond
	var hurried bool
	var limit time.Time
	last, since := out.moved.Load(), time.Now()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		if !hurried && out.ctx.Err() != nil {
			switch cause := context.Cause(out.ctx); {
			case codeOf(cause) == exit.Timeout:
				hurried, limit = true, time.Now().Add(lateGrace)
			case !errors.Is(cause, errDone):
				hurried, limit = true, time.Now().Add(drainGrace)
			}
		}
		now := time.Now()
		if moved := out.moved.Load(); moved != last {
			last, since = moved, now
		}
		if hurried && now.After(limit) || now.Sub(since) > drainGrace {
			out.cancelDrain()
			return
		}
		select {
		case <-ticker.C:
		case <-out.finished:
			return
		}
	}
}

// watchReader ends the command when the reader of stdout goes, which no write would notice while nothing comes.
func (out *output) watchReader() {
	file, ok := out.streams.Out.(*os.File)
	if !ok {
		return
	}
	out.watching.Lock()
	defer out.watching.Unlock()
	if out.unwatch != nil {
		return
	}
	var gone <-chan struct{}
	gone, out.unwatch = proc.WatchReader(file)
	go func() {
		select {
		case <-gone:
			out.queue.Abort(errPipe)
			out.end(errPipe)
		case <-out.finished:
		}
	}()
}

// stopWatching ends the watch, and lets no other begin.
func (out *output) stopWatching() {
	out.watching.Lock()
	defer out.watching.Unlock()
	if out.unwatch != nil {
		out.unwatch()
	}
	out.unwatch = func() {}
}

// writeAll writes what is queued until the end of that.
func (out *output) writeAll() error {
	piece := proc.Pieces(out.streams.Out)
	for {
		c, err := out.queue.Take(out.drain)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := out.writeChunk(c, piece); err != nil {
			out.queue.Abort(err)
			out.end(err)
			return err
		}
	}
}

// writeChunk writes whole records, in pieces that a pipe takes as a whole or not at all, as far as they are small enough: when the process
// ends during a write, no line is cut.
func (out *output) writeChunk(c *router.Chunk, piece func(size int) int) error {
	text := c.Bytes()
	out.unwritten.Store(int64(c.Len()))
	for done := 0; done < c.Len(); {
		size, records := len(text), c.Len()-done
		if most := piece(size); size > most {
			size, records = 0, 0
			for i := done; i < c.Len(); i++ {
				line, _ := c.Record(i)
				if records > 0 && size+len(line) > most {
					break
				}
				size, records = size+len(line), records+1
			}
		}
		n, err := out.streams.Out.Write(text[:size])
		if err == nil && n < size {
			err = io.ErrShortWrite
		}
		if err != nil {
			out.queue.ReleaseFirst(c, done)
			return writeError(err)
		}
		text, done = text[size:], done+records
		out.moved.Add(1)
		out.unwritten.Add(int64(-records))
	}
	out.queue.Release(c)
	return nil
}

// add adds what is printed of ev to what the next flush queues, and reports whether that is anything. When enough is collected, it
// flushes.
func (out *output) add(ev *phoenix.Event) (printed bool, err error) {
	r := out.renderer
	if out.slurped != nil {
		return out.addLine(r.encode(ev), ev.Seq)
	}
	if !r.plain() {
		printed, err = out.addDocument(r.document(ev), ev.Seq)
		if cap(r.line) > largeLine || cap(r.record.line) > largeLine {
			r.line, r.record.line = nil, nil
		}
		return printed, err
	}
	chunk := out.open()
	start := chunk.Buffer()
	lines := r.encoder.Append(start, ev)
	printed = len(lines) > len(start)
	r.note(lines[len(start):])
	chunk.Commit(lines, ev.Seq)
	if chunk.Full() {
		if size := len(lines) - len(start); size > largeLine && out.onLarge != nil {
			out.onLarge(ev, size)
		}
		err = out.flush()
	}
	return printed, err
}

// largeLine is the size of a line, in bytes, of which no copy is kept.
const largeLine = 1 << 20

var lineBreak = []byte("\n")

// addLine is add for a line that came encoded, of the signal with that seq.
func (out *output) addLine(line []byte, seq uint64) (printed bool, err error) {
	return out.addDocument(jq.Document{Text: bytes.TrimSuffix(line, lineBreak)}, seq)
}

// addDocument is add for a document, of the signal with that seq.
func (out *output) addDocument(document jq.Document, seq uint64) (printed bool, err error) {
	if document.Source == nil && len(document.Text) == 0 || out.renderer.halted {
		return false, nil
	}
	if out.slurped != nil {
		return true, out.slurped.add(document.Text)
	}
	if text, known := out.renderer.soon(document); known {
		if len(text) == 0 {
			return false, nil
		}
		return true, out.addText(text, seq)
	}
	return out.addResults(document, seq)
}

// addResults adds the results of a filter as they come.
func (out *output) addResults(document jq.Document, seq uint64) (printed bool, err error) {
	ctx, cancel := out.filterContext()
	defer cancel()
	err = out.renderer.each(ctx, document, func(text []byte) error {
		if !printed {
			out.hand.Reset(handOver)
		}
		printed = true
		return out.addText(text, seq)
	})
	out.hand.Stop()
	return printed, err
}

// addText adds one text that is printed of the signal with that seq.
func (out *output) addText(text []byte, seq uint64) error {
	out.mu.Lock()
	chunk := out.open()
	chunk.Commit(out.renderer.appendText(chunk.Buffer(), text), seq)
	full := chunk.Full()
	out.mu.Unlock()
	if full {
		return out.flush()
	}
	return nil
}

// addLines is add for a record that is made as text, of whatever lines.
func (out *output) addLines(text []byte) error {
	out.renderer.note(text)
	chunk := out.open()
	chunk.Commit(append(chunk.Buffer(), text...), 0)
	return out.flush()
}

// slurped is the beginning of the array that --slurp prints.
type slurped struct {
	array []byte
	limit int
}

// slurp has records collected, at most limit bytes of them, until [output.printSlurped].
func (out *output) slurp(limit int64) { out.slurped = &slurped{limit: int(limit)} }

// add adds a record.
func (s *slurped) add(record []byte) error {
	if len(s.array)+len(record) >= s.limit {
		return &exit.Error{
			Code: exit.Write, Message: "--slurp has collected as much as --buffer allows",
			Hint: "allow more with --buffer, or end earlier; what was collected is printed",
		}
	}
	if s.array == nil {
		s.array = make([]byte, 0, 4<<10)
		s.array = append(s.array, '[')
	} else {
		s.array = append(s.array, ',')
	}
	s.array = append(s.array, record...)
	return nil
}

// printSlurped prints the array that was collected, if there is one. One without records is printed only of a command that has succeeded. Its
// error is that of a filter that halts, or of the output.
func (out *output) printSlurped(succeeded bool) error {
	s := out.slurped
	if s == nil || s.array == nil && !succeeded {
		return nil
	}
	out.slurped = nil
	if s.array == nil {
		s.array = []byte{'['}
	}
	_, err := out.addDocument(jq.Document{Text: append(s.array, ']')}, out.complete.Load())
	return firstError(err, out.flush())
}

// filterContext returns what bounds a filter. What was received is still printed when the command is ending, each record in its own
// time.
func (out *output) filterContext() (context.Context, context.CancelFunc) {
	if out.filtering.Err() == nil {
		return out.filtering, func() {}
	}
	return context.WithTimeout(out.drain, lateGrace)
}

// open returns the chunk to append to.
func (out *output) open() *router.Chunk {
	if out.chunk == nil {
		out.chunk = out.queue.ChunkOf(out.origin)
	}
	return out.chunk
}

// print is add and flush.
func (out *output) print(ev *phoenix.Event) error {
	if _, err := out.add(ev); err != nil {
		return err
	}
	return out.flush()
}

// flush queues what was collected, and waits for room if that is the policy. Its error is errDone, or the cause of the command's
// context, when that has ended and the reader takes nothing.
func (out *output) flush() error {
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.chunk == nil {
		out.publish()
		return nil
	}
	chunk := out.chunk
	out.chunk = nil
	records := chunk.Len()
	err := out.queue.Put(out.drain, chunk)
	switch {
	case errors.Is(err, router.ErrFull):
		return &exit.Error{
			Code: exit.Write, Message: "the reader of stdout is too slow: the output buffer is full", Err: err,
			Hint: "allow more with --buffer, or let --when-full block or drop",
		}
	case errors.Is(err, context.Canceled):
		out.refused += records
		return firstError(context.Cause(out.ctx), errDone)
	case err == nil:
		out.publish()
	}
	return err
}

// publish says that all that is printed of the events so far is queued, and the event under way not.
func (out *output) publish() {
	if out.progress != nil && out.slurped == nil {
		out.progress.Published(out.complete.Load())
	}
}

// finish waits until everything is written, or the reader is given up. Its error is that of the writes.
func (out *output) finish() error {
	_ = out.flush() // what it says is known: the end of the command, or what the writes say
	out.queue.CloseInput(nil)
	close(out.ending)
	defer func() {
		close(out.finished)
		for _, stop := range out.stop {
			stop()
		}
	}()
	select {
	case err := <-out.written:
		out.sayUnwritten(0)
		return withoutDone(err)
	case <-out.drain.Done():
	}
	left := out.queue.Abort(errDone)
	select {
	case err := <-out.written:
		out.sayUnwritten(left)
		return withoutDone(err)
	case <-time.After(lastWrite):
		out.sayUnwritten(left + int(out.unwritten.Load()))
		return nil
	}
}

// sayUnwritten says how many records nobody will read.
func (out *output) sayUnwritten(records int) {
	if records += out.refused; records > 0 {
		out.log.Error("records were not written, because nobody reads stdout", "records", records)
	}
}
