package router

import (
	"context"
	"sync"

	"phx/phoenix"
	"phx/signal"
)

const (
	// mostPuts is after how many events a feed flushes by itself: a sink that gets few of the signals of a connection that never
	// rests should not wait for them until a chunk is full.
	mostPuts = 1024
	// encoderCache is what an encoder of a feed may remember, in bytes.
	encoderCache = 16 << 10
)

// A Feed takes the events of one run of one connection. It belongs to one goroutine, which calls [Feed.Flush] before it waits for
// the next event, and when it ends, however it ends.
type Feed struct {
	router     *Router
	connection string
	formats    []encoding // by signal.Format

	table     *table // in use since the first Put after a Flush; nil: none
	puts      int    // since then
	decisions decisions
	collected []*outlet // those with a chunk
	turn      uint64    // the number of the event that is being put
	scratch   *[]byte   // holds the line of an event that nobody wants yet; nil: none needed so far
}

// An encoding is the line of the current event in one format.
type encoding struct {
	encoder *signal.Encoder // nil: not needed so far
	line    []byte          // in a chunk or in the scratch
	turn    uint64          // of which event
}

// An outlet is what a feed has for each target: the chunk that it fills, if it has something for it.
type outlet struct {
	target target
	origin *Origin
	queue  *Queue // whose the chunk is
	chunk  *Chunk
	turn   uint64 // the last event it got
}

// Feed returns a feed for a connection of that name, which has to satisfy [signal.CheckName].
func (r *Router) Feed(connection string) *Feed {
	return &Feed{router: r, connection: connection, formats: make([]encoding, len(signal.Formats()))}
}

// Put leads an event to the sinks and subscriptions that want it. It waits for none of them.
func (f *Feed) Put(ev *phoenix.Event) {
	if f.table == nil || f.table != f.router.table.Load() {
		f.Flush()
		f.table = f.router.acquire()
	}
	d := f.decide(ev)
	f.turn++
	for _, o := range d.always {
		f.give(o, ev)
	}
	for _, a := range d.asks {
		if !f.reached(a.outlets) && a.rule.satisfies(f.defaultLine(ev), f.connection, f.router.log) {
			for _, o := range a.outlets {
				f.give(o, ev)
			}
		}
	}
	if f.puts++; f.puts == mostPuts {
		f.Flush()
	}
}

// reached reports whether all of the outlets have got the current event.
func (f *Feed) reached(outlets []*outlet) bool {
	for _, o := range outlets {
		if o.turn != f.turn {
			return false
		}
	}
	return true
}

// give appends the event's line to the outlet's chunk, unless it is there already. The chunk is put only at the outlet's next event:
// until the end of this one, others copy the line from there.
func (f *Feed) give(o *outlet, ev *phoenix.Event) {
	if o.turn == f.turn {
		return
	}
	o.turn = f.turn
	switch {
	case o.chunk == nil:
		o.queue = o.target.input()
		f.collected = append(f.collected, o)
		o.chunk = o.queue.ChunkOf(o.origin)
	case o.chunk.Full():
		o.put()
		o.chunk = o.queue.ChunkOf(o.origin)
	}
	o.chunk.Commit(f.appendLine(o.chunk.Buffer(), o.target.Format(), ev), ev.Seq)
}

// appendLine appends the event's line in a format, encoded if it is the first.
func (f *Feed) appendLine(dst []byte, format signal.Format, ev *phoenix.Event) []byte {
	e := &f.formats[format]
	if e.turn == f.turn {
		return append(dst, e.line...)
	}
	if e.encoder == nil {
		e.encoder = signal.NewEncoder(format, f.connection)
		e.encoder.CacheAtMost(encoderCache)
	}
	start := len(dst)
	dst = e.encoder.Append(dst, ev)
	e.line, e.turn = dst[start:], f.turn
	return dst
}

// defaultLine returns the event's line in the default format, without its line break.
func (f *Feed) defaultLine(ev *phoenix.Event) []byte {
	e := &f.formats[signal.FormatSignal]
	if e.turn != f.turn {
		if f.scratch == nil {
			f.scratch = scratches.Get().(*[]byte)
		}
		*f.scratch = f.appendLine((*f.scratch)[:0], signal.FormatSignal, ev)
	}
	return e.line[:len(e.line)-1]
}

// put hands over the outlet's chunk. The queue counts what it does not take, and announces it if there is still somebody to read.
func (o *outlet) put() {
	o.queue.Put(context.Background(), o.chunk)
	o.chunk = nil
}

// Flush hands over what Put has collected.
func (f *Feed) Flush() {
	if f.table == nil {
		return
	}
	for i, o := range f.collected {
		o.put()
		o.queue = nil
		f.collected[i] = nil
	}
	f.collected = f.collected[:0]
	for i := range f.formats {
		f.formats[i].line = nil // the chunk it is in is not ours any more
	}
	f.returnScratch()
	f.puts = 0
	f.table.release()
	f.table = nil
}

// scratches are shared by all feeds, as most of them are idle most of the time.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

// mostScratch is the capacity from which a scratch buffer, after a very large line, is left to the collector.
const mostScratch = 64 << 10

func (f *Feed) returnScratch() {
	if f.scratch != nil && cap(*f.scratch) <= mostScratch {
		scratches.Put(f.scratch)
	}
	f.scratch = nil
}
