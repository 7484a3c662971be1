package phoenix

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Stream hands out the events of a connection, each once, in wire order. One goroutine at a time may use it. While its
// consumer does not call Next, a bounded amount of events waits; then reads pause, and the server is pushed back on.
type Stream struct {
	// mu guards the mailbox between the loop and the consumer, and nothing else.
	mu      sync.Mutex
	waiting eventBatch
	ended   bool
	closed  bool
	// more wakes the consumer, room the loop. The streams of a connection share room.
	more, room chan struct{}
	// taken counts the events that have been handed out.
	taken atomic.Uint64

	// current belongs to the consumer; next is the first of its events that has not been handed out.
	current eventBatch
	next    int
	usage   usage
}

// A topicStream is a stream of the events of one topic, and of the names if there are any.
type topicStream struct {
	*Stream
	topic string
	names []string
}

// add adds copies, which do not depend on a batch, of those of the events that are the stream's. presence is how much memory
// the presence events among all of them hold on to.
func (t *topicStream) add(events []Event, presence int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	w := &t.waiting
	before := len(w.events)
	for i := range events {
		e := &events[i]
		if e.Topic == t.topic && (len(t.names) == 0 || e.Name != "" && slices.Contains(t.names, e.Name)) {
			w.events = append(w.events, e.Clone())
			w.bytes += len(e.Payload.Data)
		}
	}
	if len(w.events) > before {
		w.memory += presence
		wake(t.more)
	}
}

// An eventBatch is a run of events and the batches whose buffers they point into.
type eventBatch struct {
	events []Event
	held   []*batch
	// bytes is what was received, memory the size of the buffers that it is in, as messages that come one by one fill only a
	// part of theirs, and of the presence states that were made of it.
	bytes, memory int
}

// The bounds of what waits in a mailbox before reads pause.
const (
	maxWaitingBytes  = 256 << 10
	maxWaitingMemory = 1 << 20
	maxWaitingEvents = 4096
)

// keptEvents is for how many events a quiet connection keeps room.
const keptEvents = 16

func newStream(room chan struct{}) *Stream {
	return &Stream{more: make(chan struct{}, 1), room: room}
}

// put adds events; b is what they point into, or nil. It takes both over and returns a slice for the next events.
func (s *Stream) put(events []Event, b *batch) []Event {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		if b != nil {
			b.release()
		}
		return events[:0]
	}
	w := &s.waiting
	if len(w.events) == 0 {
		w.events, events = events, w.events
	} else {
		w.events = append(w.events, events...)
		if b != nil && cap(b.buf) > maxKeptBuffer {
			clear(events)
		}
	}
	if b != nil {
		w.held = append(w.held, b)
		w.bytes += len(b.buf)
		w.memory += cap(b.buf) + b.presence
	}
	s.mu.Unlock()
	wake(s.more)
	return events[:0]
}

// full reports whether as much waits as may. When that is over, room is signalled.
func (s *Stream) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.waiting
	return w.bytes >= maxWaitingBytes || w.memory >= maxWaitingMemory || len(w.events) >= maxWaitingEvents
}

// Close ends the stream for its consumer, who calls it and then does not call Next any more, or gets io.EOF: what waits, and
// what would come, is dropped, and pauses no reads. It does not close the connection.
func (s *Stream) Close() {
	s.mu.Lock()
	dropped := s.waiting
	s.waiting, s.closed, s.ended = eventBatch{}, true, true
	s.mu.Unlock()
	for _, b := range slices.Concat(s.current.held, dropped.held) {
		b.release()
	}
	s.current, s.next = eventBatch{}, 0
	wake(s.more)
	wake(s.room)
}

func (s *Stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// end says that nothing more comes.
func (s *Stream) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	wake(s.more)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Next waits for the next event, which is valid until the next call. Its error is io.EOF after the last one, or that
// of ctx; then nothing is lost, and Next can be called again.
func (s *Stream) Next(ctx context.Context) (*Event, error) {
	for s.next == len(s.current.events) {
		if s.fetch() {
			break
		}
		s.mu.Lock()
		over := s.ended && len(s.waiting.events) == 0
		s.mu.Unlock()
		if over {
			return nil, io.EOF
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	e := &s.current.events[s.next]
	s.next++
	s.taken.Add(1)
	return e, nil
}

// Release gives back what the events in hand take, before the next call of Next: of those that Next has returned, the payloads are not
// valid any more. It is for a consumer that is about to wait, and does nothing while events are left that came together with them.
func (s *Stream) Release() {
	if s.next < len(s.current.events) {
		return
	}
	for _, b := range s.current.held {
		b.release()
	}
	clear(s.current.held)
	s.current.held = s.current.held[:0]
	for i := range s.current.events {
		s.current.events[i].Payload = Payload{}
	}
}

// Ready reports whether Next would return at once: time to write out what has been buffered, if not.
func (s *Stream) Ready() bool {
	if s.next < len(s.current.events) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended || len(s.waiting.events) > 0
}

// fetch makes the waiting events the current ones and reports whether there were any.
func (s *Stream) fetch() bool {
	for _, b := range s.current.held {
		b.release()
	}
	if s.current.memory > maxKeptBuffer {
		clear(s.current.events) // which point into what is not kept
	}
	spare := eventBatch{events: s.current.events[:0], held: s.current.held[:0]}
	if s.usage.outgrown(len(s.current.events), cap(s.current.events), keptEvents) {
		spare = eventBatch{}
	}
	s.mu.Lock()
	s.current, s.waiting = s.waiting, spare
	s.mu.Unlock()
	s.next = 0
	wake(s.room)
	return len(s.current.events) > 0
}

// All returns an iterator over the events to the end of the stream. It yields an error, and ends, when ctx does.
func (s *Stream) All(ctx context.Context) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for {
			e, err := s.Next(ctx)
			if errors.Is(err, io.EOF) || !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// A usage tells when a slice that is used again and again has become too large for what it is used for: a burst that is over
// must not take memory for ever.
type usage struct {
	// little counts the uses in a row that took little; since is when the first of them was.
	little uint8
	since  time.Time
}

// A slice is too large when so many uses in a row took an eighth of it at most, for so long: now and then is no reason to make it
// anew, and a stream at full speed uses it many times a second.
const (
	maxLittleUses = 16
	maxLittleTime = time.Second
)

// outgrown is asked after each use of a slice, and reports whether to drop it. One of up to enough elements is kept.
func (u *usage) outgrown(used, capacity, enough int) bool {
	switch {
	case capacity <= enough: // says nothing about the others that are used in turn with it
		return false
	case used > capacity/8:
		u.little = 0
		return false
	}
	if u.little == 0 {
		u.since = time.Now()
	}
	if u.little++; u.little < maxLittleUses {
		return false
	}
	u.little = maxLittleUses - 1
	if time.Since(u.since) < maxLittleTime {
		return false
	}
	u.little = 0
	return true
}
