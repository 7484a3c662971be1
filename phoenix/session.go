package phoenix

import (
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// A session is one open transport with its reader and its writer. The loop owns it.
type session struct {
	transport transport
	out       *outbox
	// secrets may be in what the server says.
	secrets *shownSecrets
	began   time.Time
	// batches carries what was read; the last one has the error that ended the session. In band, so that what came
	// before the end is delivered before it (rule 22). It is closed when the reader has returned.
	batches chan *batch
	// wrote is closed when the writer has returned, with writeErr if a write failed.
	wrote    chan struct{}
	writeErr error
}

// readLinger is how long a session whose writes have failed is still read from: the server's last words may be on the way.
const readLinger = time.Second

// echoTimeout bounds the answer to a server's close frame.
const echoTimeout = 500 * time.Millisecond

// startSession begins a session. arrived, unless it is nil, is signalled when there is something in batches.
func (c *Conn) startSession(t transport, out *outbox, arrived chan struct{}) *session {
	s := &session{transport: t, out: out, secrets: &c.secrets, began: time.Now(), batches: make(chan *batch, 1), wrote: make(chan struct{})}
	r := &reader{
		transport: t, codec: c.endpoint.codec, skip: c.opts.Skip, presence: c.opts.Presence, dialect: c.opts.Dialect, trace: c.tracer(), log: c.opts.Logger,
		scratch: make([]byte, c.opts.ReadBuffer), maxMessage: c.opts.MaxMessage, batches: s.batches, arrived: arrived,
	}
	go func() {
		defer wake(arrived)
		defer close(s.batches)
		defer c.recoverPanic(inReader)
		r.run()
	}()
	go func() {
		defer close(s.wrote)
		defer c.recoverPanic(inWriter)
		if s.writeErr = s.write(c.tracer()); s.writeErr != nil {
			c.opts.Logger.Debug("writing failed", "error", s.writeErr)
			t.endReads(time.Now().Add(readLinger))
		}
	}()
	return s
}

// write is the writer: it owns the write half until the outbox ends or a write fails.
func (s *session) write(trace func(TraceFrame)) error {
	for {
		job, ok := s.out.take(s.transport.batch())
		if !ok {
			return nil
		}
		for _, data := range job.pongs {
			traceOut(trace, "pong", []byte(data))
			if err := s.transport.pong([]byte(data)); err != nil {
				return err
			}
		}
		for _, f := range job.frames {
			traceOut(trace, frameKind(f.binary), f.data)
			if err := s.transport.write(f); err != nil {
				return err
			}
		}
		if err := s.transport.flush(); err != nil {
			return err
		}
		if job.close {
			if s.transport.kind() == TransportWebSocket {
				traceOut(trace, "close", strconv.AppendInt(nil, int64(job.code), 10))
			}
			return s.transport.writeClose(job.code, time.Now().Add(closeTimeout))
		}
	}
}

func traceOut(trace func(TraceFrame), kind string, data []byte) {
	if trace != nil {
		trace(TraceFrame{Out: true, Kind: kind, Data: data})
	}
}

// end ends the session after its reader has, and returns how and how many frames may have reached the server. heartbeat is the
// interval of heartbeats.
func (s *session) end(err error, heartbeat time.Duration) (*LinkError, uint64) {
	code, answered := closeAnswer(err)
	if answered {
		s.out.close(code)
	}
	s.out.end()
	s.transport.endWrites(time.Now().Add(echoTimeout))
	<-s.wrote
	if _, isClose := asClose(err); answered && !isClose {
		s.transport.linger(time.Now().Add(echoTimeout))
	}
	s.transport.close()
	link := classify(StageSession, err)
	if link.Reason == ReasonTimeout && s.writeErr != nil {
		link = classify(StageSession, s.writeErr) // it is why reads had a deadline
	}
	// A heartbeat is written in each interval, unless we were stopped.
	silence := min(s.transport.receivedAt().Sub(s.out.wroteAt()), s.transport.receivedAt().Sub(s.began))
	if s.transport.kind() == TransportWebSocket && link.endsIdle() && silence >= minSilence && (heartbeat == NoHeartbeat || silence < heartbeat) {
		link.Silence = silence
	}
	link.redact(s.secrets.all())
	return link, s.out.attempted()
}

// abort ends the session at once. Nothing that it has read counts any more.
func (s *session) abort() {
	s.out.end()
	s.transport.close()
	for b := range s.batches {
		b.release()
	}
	<-s.wrote
}

// A batch is what the reader hands to the loop at once: decoded frames, whose bytes lie in buf, and at the end of the
// session its error.
type batch struct {
	buf    []byte
	frames []frame
	err    error
	// emptyAt is when the network had been read empty before what the frames lie in came, zero if that is not known; burstAt is
	// when the last burst was read, zero if there was none.
	emptyAt, burstAt time.Time
	// drainedAt is when, after all frames, the network was found empty, if the loop has asked for that; underWay is the message of
	// which a part has been read by then.
	drainedAt time.Time
	underWay  underWay
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

// A batch counts for its whole buffer while it waits for its consumer, so one with little in it must not have a large one: there is a pool
// of buffers up to smallBatch, and one of larger ones.
var smallBatches, largeBatches = sync.Pool{New: makeBatch}, sync.Pool{New: makeBatch}

const smallBatch = 8 << 10

func makeBatch() any { return new(batch) }

func batchesOf(size int) *sync.Pool {
	if size <= smallBatch {
		return &smallBatches
	}
	return &largeBatches
}

// newBatch returns an empty batch with room for size bytes or more.
func newBatch(size int) *batch {
	b := batchesOf(size).Get().(*batch)
	if cap(b.buf) < size {
		b.buf = make([]byte, 0, size)
	}
	b.size = size
	return b
}

// release gives b back. Nothing may point into its buffer any more.
func (b *batch) release() {
	b.reset()
	batchesOf(cap(b.buf)).Put(b)
}

// reset makes b empty.
func (b *batch) reset() {
	if cap(b.buf) > maxKeptBuffer || b.bufUsage.outgrown(len(b.buf), cap(b.buf), 2*b.size) {
		b.buf = nil
		clear(b.frames) // which point into it
	}
	if b.frameUsage.outgrown(len(b.frames), cap(b.frames), keptFrames) {
		b.frames = nil
	}
	b.buf, b.frames, b.err, b.presence = b.buf[:0], b.frames[:0], nil, 0
	b.emptyAt, b.burstAt, b.drainedAt, b.underWay = time.Time{}, time.Time{}, time.Time{}, underWay{}
}

// A reader owns the read half of a session: it decodes and validates, and passes frames on in batches.
type reader struct {
	transport  transport
	codec      codec
	skip       func(topic, event []byte) bool
	presence   bool // is tracked
	dialect    Dialect
	trace      func(TraceFrame)
	log        *slog.Logger
	maxMessage int64
	batches    chan<- *batch
	arrived    chan struct{}

	// current is the batch being filled. The message being read is its buf from start on.
	current *batch
	start   int
	// expected is the size of the last large message, in bytes.
	expected int
	// since is when the message being read began to come, zero between two messages.
	since time.Time
	// skipping says that skip is being asked.
	skipping bool
	// scratch takes what the network gives. It is not the batch's buffer, because the batch may be handed over during a
	// read that waits in the middle of a message.
	scratch []byte
}

// run reads until the session ends, and sends its error behind the last frame.
func (r *reader) run() {
	defer r.namePanic()
	r.current = newBatch(cap(r.scratch))
	r.transport.beforeWait(r.handOver)
	r.transport.onDrained(r.drained)
	for {
		binary, err := r.readMessage()
		if err != nil {
			r.current.err, r.current.emptyAt, r.current.burstAt = r.transport.ended(err), r.transport.emptyAt(), r.transport.burstAt()
			r.send(r.current)
			return
		}
		r.decode(binary)
	}
}

// namePanic names skip, if it panicked. It is deferred once for the reader, because a defer for each message costs time.
func (r *reader) namePanic() {
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
	r.since = r.transport.receivedAt()
	for {
		n, err := message.Read(r.scratch)
		if len(r.current.buf)+n > cap(r.current.buf) {
			r.handOver()
		}
		if len(r.current.buf)+n > cap(r.current.buf) {
			r.grow(n)
		}
		r.current.buf = append(r.current.buf, r.scratch[:n]...)
		if int64(len(r.current.buf)-r.start) > r.maxMessage {
			return false, errTooBig
		}
		if err == io.EOF { // as it is: this is once a message
			r.since = time.Time{}
			if size := len(r.current.buf) - r.start; size > largeBatch {
				r.expected = size
			}
			return binary, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// grow makes room for n more bytes of a message that is larger than a batch. A buffer that grows step by step is copied as often,
// and takes its size twice meanwhile, so a large message is expected to be as large as the last one.
func (r *reader) grow(n int) {
	size := len(r.current.buf) + n
	if size > largeBatch && r.expected > size {
		r.current.buf = append(make([]byte, 0, r.expected+len(r.scratch)), r.current.buf...)
	}
}

// handOver passes the current batch on, if there is a frame in it: before the reader waits for the network, and when the
// batch is full. It waits while the loop does not take batches, which is how reads are paused. A message that is still
// being read moves along to the next batch.
func (r *reader) handOver() {
	if len(r.current.frames) > 0 {
		r.pass()
	}
}

// drained passes on that the network has been read empty.
func (r *reader) drained(at time.Time) {
	b := r.current
	if len(b.frames) == 0 { // it stays here: what there is of a message may be large
		b = newBatch(0)
	}
	b.drainedAt = at
	if !r.since.IsZero() {
		b.underWay = underWay{since: r.since, last: r.transport.receivedAt()}
	}
	if b == r.current {
		r.pass()
		return
	}
	b.emptyAt, b.burstAt = r.transport.emptyAt(), r.transport.burstAt()
	r.send(b)
}

// send hands a batch to the loop.
func (r *reader) send(b *batch) {
	r.batches <- b
	wake(r.arrived)
}

func (r *reader) pass() {
	partial := r.current.buf[r.start:]
	next := newBatch(max(cap(r.scratch), len(partial), r.transport.unread()))
	next.buf = append(next.buf, partial...)
	r.current.emptyAt, r.current.burstAt = r.transport.emptyAt(), r.transport.burstAt()
	large := cap(r.current.buf) > largeBatch
	r.send(r.current)
	r.current, r.start = next, 0
	if large {
		r.await()
	}
}

// largeBatch is the size of a batch, in bytes, of which there is one at a time: the next is read once the consumer has it.
const largeBatch = maxWaitingMemory

// await waits until the consumer has fetched the last batch: before that, the loop takes no other.
func (r *reader) await() {
	const batches = 2 // the channel holds one: the second is taken once the loop has the first
	for range batches {
		r.send(newBatch(0))
	}
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
	return !f.skipped || r.presence && presenceFrame(f) ||
		r.dialect != nil && r.dialect.Observes(f.topic, f.event)
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

// An outbox stands between the loop and a session's writer. The loop puts frames in and never waits; the writer takes all
// there are at once, so that they go out in one system call.
type outbox struct {
	mu    sync.Mutex
	job   writeJob
	bytes int
	// taken counts the frames that the writer has taken, and takenAt is when it has last taken something to write.
	taken   uint64
	takenAt time.Time
	closed  bool
	ended   bool
	// more has room for one wake-up of the writer, room for one of the loop: the writer has taken what there was. The outboxes of a
	// connection share room.
	more, room chan struct{}
}

// A writeJob is what there is to write, in this order.
type writeJob struct {
	pongs  []string
	frames []outFrame
	// close asks for a close frame with code, the last thing written.
	close bool
	code  int
}

func newOutbox(room chan struct{}) *outbox { return &outbox{more: make(chan struct{}, 1), room: room} }

// put adds frames. After close they are dropped: they were never written.
func (o *outbox) put(frames []outFrame) {
	o.change(func() {
		if o.closed {
			return
		}
		o.job.frames = append(o.job.frames, frames...)
		for _, f := range frames {
			o.bytes += len(f.data)
		}
	})
}

// maxPongs bounds the pongs that wait: a newer one answers for the older (RFC 6455, section 5.5.3).
const maxPongs = 16

// pong adds the answer to a ping.
func (o *outbox) pong(data string) {
	o.change(func() {
		if len(o.job.pongs) == maxPongs {
			o.job.pongs = o.job.pongs[1:]
		}
		o.job.pongs = append(o.job.pongs, data)
	})
}

// close adds a close frame behind everything else; only the first call counts.
func (o *outbox) close(code int) {
	o.change(func() {
		if !o.closed {
			o.closed, o.job.close, o.job.code = true, true, code
		}
	})
}

// end lets the writer return as soon as it has written a close frame, if one was asked for. Nothing else is written.
func (o *outbox) end() {
	o.change(func() {
		o.ended, o.closed = true, true
		o.job.frames, o.job.pongs, o.bytes = nil, nil, 0
	})
}

func (o *outbox) change(f func()) {
	o.mu.Lock()
	f()
	o.mu.Unlock()
	wake(o.more)
}

// take waits for something to write, and takes up to so many frames of it; 0: all. False: there is no more.
func (o *outbox) take(limit int) (writeJob, bool) {
	for {
		o.mu.Lock()
		job := o.job
		if len(job.frames) > 0 || len(job.pongs) > 0 || job.close {
			wasFull := o.bytes > maxBacklog
			o.job, o.bytes = writeJob{}, 0
			if limit > 0 && len(job.frames) > limit {
				o.job.frames, o.job.close, o.job.code = job.frames[limit:], job.close, job.code
				job.frames, job.close = job.frames[:limit:limit], false
				for _, f := range o.job.frames {
					o.bytes += len(f.data)
				}
				wasFull = wasFull && o.bytes <= maxBacklog
			}
			o.taken += uint64(len(job.frames))
			if !job.close {
				o.takenAt = time.Now()
			}
			o.mu.Unlock()
			if wasFull {
				wake(o.room)
			}
			return job, true
		}
		ended := o.ended
		o.mu.Unlock()
		if ended {
			return writeJob{}, false
		}
		<-o.more
	}
}

// backlog is how many bytes wait to be written.
func (o *outbox) backlog() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

// wroteAt is when the writer has last taken a frame or a pong, zero if it has taken none.
func (o *outbox) wroteAt() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.takenAt
}

// attempted is the number of frames taken by the writer: of the rest it is certain that the server has not seen them.
func (o *outbox) attempted() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.taken
}
