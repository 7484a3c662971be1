package phoenix

import (
	"io"
	"log/slog"
	"sync"
)

// A batch is what the reader hands to the loop at once: decoded frames, whose bytes lie in buf, and at the end of the
// session its error.
type batch struct {
	buf    []byte
	frames []frame
	err    error
	// presence is how much memory what the loop made of its presence messages takes.
	presence int

	// size is that of buf as it was asked for.
	size                 int
	bufUsage, frameUsage usage
}

// The bounds of a batch, and what is kept for reuse: the largest buffer, and room for so many frames however few there are.
const (
	maxBatchFrames = 1024
	maxKeptBuffer  = 256 << 10
	keptFrames     = 16
)

var batches = sync.Pool{New: func() any { return new(batch) }}

// newBatch returns an empty batch with room for size bytes or more.
func newBatch(size int) *batch {
	b := batches.Get().(*batch)
	if cap(b.buf) < size {
		b.buf = make([]byte, 0, size)
	}
	b.size = size
	return b
}

// release gives b back. Nothing may point into its buffer any more.
func (b *batch) release() {
	b.reset()
	batches.Put(b)
}

// reset makes b empty.
func (b *batch) reset() {
	if cap(b.buf) > maxKeptBuffer || b.bufUsage.outgrown(len(b.buf), cap(b.buf), 2*b.size) {
		b.buf = nil
	}
	if b.frameUsage.outgrown(len(b.frames), cap(b.frames), keptFrames) {
		b.frames = nil
	}
	b.buf, b.frames, b.err, b.presence = b.buf[:0], b.frames[:0], nil, 0
}

// A reader owns the read half of a session: it decodes and validates, and passes frames on in batches.
type reader struct {
	transport  transport
	codec      codec
	skip       func(topic, event []byte) bool
	presence   bool // is tracked
	trace      func(TraceFrame)
	log        *slog.Logger
	maxMessage int64
	batches    chan<- *batch

	// current is the batch being filled. The message being read is its buf from start on.
	current *batch
	start   int
	// skipping says that skip is being asked.
	skipping bool
	// scratch takes what the network gives. It is not the batch's buffer, because the batch may be handed over during a
	// read that waits in the middle of a message.
	scratch []byte
}

// run reads until the session ends, and sends its error behind the last frame.
func (r *reader) run() {
	defer r.blame()
	r.current = newBatch(cap(r.scratch))
	r.transport.beforeWait(r.handOver)
	for {
		binary, err := r.readMessage()
		if err != nil {
			r.current.err = err
			r.batches <- r.current
			return
		}
		r.decode(binary)
	}
}

// blame says whether it was skip that panicked. It does so once for the reader: a defer for each message would have its cost.
func (r *reader) blame() {
	if v := recover(); v != nil {
		what := inReader
		if r.skipping {
			what = inSkip
		}
		panic(newPanicError(what, v))
	}
}

// readMessage appends the next message to the current batch's buffer.
func (r *reader) readMessage() (binary bool, err error) {
	if len(r.current.frames) >= maxBatchFrames {
		r.handOver()
	}
	message, binary, err := r.transport.next()
	if err != nil {
		return false, err
	}
	for {
		n, err := message.Read(r.scratch)
		if len(r.current.buf)+n > cap(r.current.buf) {
			r.handOver()
		}
		r.current.buf = append(r.current.buf, r.scratch[:n]...)
		if int64(len(r.current.buf)-r.start) > r.maxMessage {
			return false, errTooBig
		}
		if err == io.EOF { // as it is: this is once a message
			return binary, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// handOver passes the current batch on, if there is a frame in it: before the reader waits for the network, and when the
// batch is full. It waits while the loop does not take batches, which is how reads are paused. A message that is still
// being read moves along to the next batch.
func (r *reader) handOver() {
	if len(r.current.frames) == 0 {
		return
	}
	partial := r.current.buf[r.start:]
	next := newBatch(max(cap(r.scratch), len(partial)))
	next.buf = append(next.buf, partial...)
	r.batches <- r.current
	r.current, r.start = next, 0
}

// decode makes a frame of the message that was read. One that cannot be read is reported and never fatal.
func (r *reader) decode(binary bool) {
	data := r.current.buf[r.start:]
	if r.trace != nil {
		r.trace(TraceFrame{Kind: frameKind(binary), Data: data})
	}
	// The frame is decoded where it stays: one of its own would be allocated for each message.
	b := r.current
	b.frames = append(b.frames, frame{at: r.transport.receivedAt()})
	f := &b.frames[len(b.frames)-1]
	err := r.codec.scan(data, binary, f)
	if err == nil && r.wants(f) {
		err = r.codec.finish(f)
	}
	if err != nil {
		r.log.Warn("a frame of the server could not be read and was dropped", "error", err, "kind", frameKind(binary), "bytes", len(data))
		b.frames = b.frames[:len(b.frames)-1]
		b.buf = b.buf[:r.start]
		return
	}
	r.start = len(b.buf)
}

// wants asks the filter about a message of a channel, and reports whether somebody looks at its payload.
func (r *reader) wants(f *frame) bool {
	if r.skip == nil || protocolFrame(f) {
		return true
	}
	r.skipping = true
	f.skipped = r.skip(f.topic, f.event)
	r.skipping = false
	return !f.skipped || r.presence && presenceFrame(f)
}

// protocolFrame reports whether f is of the protocol's own, and no message.
func protocolFrame(f *frame) bool {
	switch string(f.event) {
	case eventReply, eventClose, eventError:
		return true
	}
	return false
}

func frameKind(binary bool) string {
	if binary {
		return "binary"
	}
	return "text"
}
