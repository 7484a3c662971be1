package router

import (
	"context"
	"errors"
	"io"
	"sync"
)

// ErrFull is what [Queue.Put] returns under the policy [Fail] once a record did not fit.
var ErrFull = errors.New("the output buffer is full")

// ErrClosed is what [Queue.Put] returns after the end of the input.
var ErrClosed = errors.New("the output queue is closed")

// A Queue is a bounded queue of records between producers and one consumer, and does what its [Policy] says when it is
// full. Any number of goroutines may put; one takes. It has no goroutine of its own.
//
// The limit counts what the records occupy, each with 24 bytes beside its own, from Put until Release. It yields for one
// record: when nothing waits, the next record is admitted whatever its size, and under Block the next chunk, so that a
// record larger than the limit reaches a reader that keeps up. The memory of a queue is therefore bounded by the limit and
// an eighth of it, plus 8 MiB, plus the largest record twice.
type Queue struct {
	limit    int64
	policy   Policy
	announce func(dst []byte, l Loss) []byte
	pool     pool

	ready  chan struct{} // holds a token when there may be something to take
	room   chan struct{} // holds a token when there may be room
	closed chan struct{} // closed at the end of the input
	dead   chan struct{} // closed when the consumer has given up

	mu         sync.Mutex
	head, tail *Chunk // waiting
	maxRecords int
	used       int64  // cost of what waits and of what is taken and not yet released
	slack      int64  // memory wasted by the waiting chunks before the tail
	lost       Loss   // not yet announced: under DropOldest the gap before head, else the gap after tail
	overrun    bool   // under Fail: a record has been lost
	inputErr   error  // why the input ended; io.EOF: it was complete
	abortErr   error  // why the consumer gave up
	scratch    []byte // announcement being weighed
}

// NewQueue returns an empty queue for limit bytes. A loss becomes one record, which announce appends to dst; nothing
// appended is no announcement. It is called with the queue locked, so it must not use the queue. Under Block there are no
// losses and announce may be nil.
func NewQueue(limit int64, p Policy, announce func(dst []byte, l Loss) []byte) *Queue {
	return &Queue{
		limit:    limit,
		policy:   p,
		announce: announce,
		pool:     pool{size: chunkSize(limit)},
		ready:    make(chan struct{}, 1),
		room:     make(chan struct{}, 1),
		closed:   make(chan struct{}),
		dead:     make(chan struct{}),
	}
}

// LimitRecords makes n records the most that wait or are taken and not yet given back, besides the limit of bytes, which
// yields in the same way: when nothing waits, the next record is admitted. It has to be called before anything else; 0 is
// no limit.
func (q *Queue) LimitRecords(n int) { q.maxRecords = n }

// Len returns how many records wait, and their bytes.
func (q *Queue) Len() (records int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for c := q.head; c != nil; c = c.next {
		records += c.Len()
		bytes += int64(len(c.Bytes()))
	}
	return records, bytes
}

// Chunk returns an empty chunk to fill with records that nobody counts. A producer that has nothing to put should hold none: an idle one costs memory.
func (q *Queue) Chunk() *Chunk {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pool.get()
}

// ChunkOf returns an empty chunk to fill with records of o.
func (q *Queue) ChunkOf(o *Origin) *Chunk {
	c := q.Chunk()
	c.origin = o
	return c
}

// Put appends the chunk's records to the queue and takes ownership of the chunk, also when it returns an error.
//
// Under Block it waits for room, and returns the cause of ctx's end, with the chunk lost, if that comes first. Under the
// other policies it never waits. Under Fail it returns ErrFull from the first loss on. After CloseInput it returns the
// error given there or ErrClosed, after Abort the error given there.
func (q *Queue) Put(ctx context.Context, c *Chunk) error {
	for waited := false; ; waited = true {
		if done, err := q.offer(c); done {
			if waited {
				poke(q.room) // there may be some left for another producer
			}
			return err
		}
		select {
		case <-q.room:
		case <-q.closed:
		case <-q.dead:
		case <-ctx.Done():
			q.Release(c)
			return context.Cause(ctx)
		}
	}
}

// offer puts the chunk unless it has to wait for room.
func (q *Queue) offer(c *Chunk) (done bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.abortErr != nil:
		q.pool.put(c)
		return true, q.abortErr
	case q.inputErr != nil:
		q.pool.put(c)
		if q.inputErr == io.EOF {
			return true, ErrClosed
		}
		return true, q.inputErr
	case c.Len() == 0:
		q.pool.put(c)
		return true, nil
	case q.policy == Block && q.head != nil && q.used+c.cost() > q.limit:
		return false, nil
	}
	q.admit(c)
	poke(q.ready)
	if q.overrun {
		return true, ErrFull
	}
	return true, nil
}

// Take returns the next records; the consumer gives the chunk back with [Queue.Release] once they are written. It waits for
// them until ctx ends, and then returns the cause. After CloseInput it returns what is left and then io.EOF, or the error
// given there; after Abort the error given there.
//
// The announcement of a loss is a chunk of its own, at the place in the stream where the records are missing.
func (q *Queue) Take(ctx context.Context) (*Chunk, error) {
	for {
		if c, err := q.poll(); c != nil || err != nil {
			return c, err
		}
		select {
		case <-q.ready:
		case <-q.closed:
		case <-q.dead:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// poll is Take without waiting: a nil chunk and a nil error mean that there is nothing yet.
func (q *Queue) poll() (*Chunk, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.abortErr != nil {
		return nil, q.abortErr
	}
	if q.announcementDue() {
		c := q.announcement()
		if c.Len() > 0 {
			return c, nil
		}
		q.pool.put(c)
	}
	if q.head != nil {
		return q.pop(), nil
	}
	return nil, q.inputErr
}

// Release gives back a chunk that was taken, which makes room for others, or one that is not going to be put.
func (q *Queue) Release(c *Chunk) {
	q.mu.Lock()
	q.used -= c.charged
	q.pool.put(c)
	q.mu.Unlock()
	poke(q.room)
}

// GiveBack gives back a chunk that was taken and delivered in part: its first delivered records were delivered, the next
// lost records were not and are not going to be, and the others wait again, as the first of all. The lost ones are counted
// as dropped and announced like other losses, so the next Take returns their announcement, and the one after that the rest.
//
// The chunk must be the last one taken of those that were not given back. An announcement that is among the lost ones is not
// repeated at once, or a consumer that gets rid of no announcement would get no further: its loss is announced together
// with the next one, or at the end of the input.
func (q *Queue) GiveBack(c *Chunk, delivered, lost int) { q.Release(c) }

// ReleaseFirst gives back a chunk of which the first n records were delivered and the others are lost: [Queue.GiveBack]
// with nothing left.
func (q *Queue) ReleaseFirst(c *Chunk, n int) { q.GiveBack(c, n, c.Len()-n) }

// CloseInput says that the input is at its end, because of err if it is not nil. Take returns what waits, and then err or
// io.EOF. Only the first call counts.
func (q *Queue) CloseInput(err error) {
	if err == nil {
		err = io.EOF
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inputErr == nil {
		q.inputErr = err
		close(q.closed)
	}
}

// Abort says that nobody is going to take any more: Put and Take return err, or ErrClosed for nil, at once, also those
// that wait, and what waits is gone. Only the first call counts.
func (q *Queue) Abort(err error) {
	if err == nil {
		err = ErrClosed
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.abortErr != nil {
		return
	}
	q.abortErr = err
	for q.head != nil {
		q.used -= q.head.charged
		q.pop()
	}
	close(q.dead)
}

// poke leaves a token in a channel with room for one, unless there is one already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
