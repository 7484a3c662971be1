package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull is what [Queue.Put] returns under the policy [Fail] once a record did not fit.
var ErrFull = errors.New("the output buffer is full")

// ErrClosed is what [Queue.Put] returns after the end of the input.
var ErrClosed = errors.New("the output queue is closed")

// A Queue is a bounded queue of records between producers and one consumer, and does what its
// [Policy] says when it is full. Any number of goroutines may put; one takes. It has no goroutine
// of its own. The records may be of several origins, each of which learns of its own losses.
//
// The limit counts what the records occupy, each with 24 bytes beside its own, and an announcement
// with 48, from Put until Release. It yields for one record: when nothing waits, the next record
// is admitted whatever its size, and under Block the next chunk once nothing is taken either, so
// that a record larger than the limit reaches a reader that keeps up. The memory of a queue is
// therefore bounded by the limit and an eighth of it, plus 8 MiB, plus the largest record: under
// Block once, else twice.
type Queue struct {
	limit      int64
	maxRecords int // 0: no limit
	policy     Policy
	announce   func(dst []byte, l Loss) []byte
	onLoss     func()
	pool       pool

	ready  chan struct{} // holds a token when there may be something to take
	room   chan struct{} // holds a token when there may be room
	closed chan struct{} // closed at the end of the input
	dead   chan struct{} // closed when the consumer has given up

	mu         sync.Mutex
	head, tail *Chunk // waiting
	waiting    weight // of what waits
	used       weight // of what waits and of what is taken and not yet given back
	slack      int64  // memory wasted by the waiting chunks before the tail
	front      losses // not yet announced, at the gap before head
	pending    losses // not yet announced, at a gap before the chunk that was taken last
	back       losses // not yet announced, at the gap after tail: under DropNewest and Fail
	refused    losses // announced, but the announcement was lost
	untaken    losses // since the last TakeLosses, announced or not
	overrun    bool   // under Fail: a record has been lost
	// accepted: the consumer has accepted a record since it was last given an announcement, or never
	// was given one. Otherwise no other announcement is due.
	accepted bool
	// taken counts the chunks that were taken, and announced is the number of the last one with an
	// announcement.
	taken, announced uint64
	held             []*Chunk // taken and not yet given back, in the order in which they were taken
	tried            *trials
	inputErr         error // why the input ended; io.EOF: it was complete
	abortErr         error // why the consumer gave up
	keeps            bool  // what a consumer leaves when it ends is not lost: somebody else has it
	scratch          Chunk // announcements being weighed
}

// NewQueue returns an empty queue for limit bytes. A loss becomes one record, which announce
// appends to dst; nothing appended is no announcement, and so is announce if it is nil. It is
// called with the queue locked, so it must not use the queue, and may be called again for a loss
// that has grown meanwhile. Under Block only the consumer can lose something.
func NewQueue(limit int64, p Policy, announce func(dst []byte, l Loss) []byte) *Queue {
	return &Queue{
		limit:    limit,
		policy:   p,
		announce: announce,
		pool:     pool{size: chunkSize(limit), most: maxRecords},
		front:    losses{name: front},
		pending:  losses{name: pending},
		back:     losses{name: back},
		refused:  losses{name: refused},
		untaken:  losses{name: untaken},
		accepted: true,
		tried:    &trials{},
		ready:    make(chan struct{}, 1),
		room:     make(chan struct{}, 1),
		closed:   make(chan struct{}),
		dead:     make(chan struct{}),
	}
}

// LimitRecords makes n the most records that wait or are taken and not yet given back, besides the
// limit of bytes and with the same exception: when nothing waits, the next record is admitted. It
// has to be called before the queue is used; 0 is no limit.
func (q *Queue) LimitRecords(n int) {
	q.maxRecords = n
	q.pool.most = chunkRecords(n)
}

// A Policy says what a full [Queue] does with the next record: the option --when-full and the key
// when_full.
type Policy uint8

const (
	// Block makes the producer wait for room, so that nothing is lost.
	Block Policy = iota
	// DropNewest loses the records that come while the queue is full.
	DropNewest
	// DropOldest loses the records that have waited longest, to make room for the newest.
	DropOldest
	// Fail loses the first record that does not fit and all that follow, and Put returns [ErrFull].
	Fail
)

var policyNames = [...]string{Block: "block", DropNewest: "drop-newest", DropOldest: "drop-oldest", Fail: "fail"}

// String returns the name that users write.
func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// ParsePolicy returns the policy with the given name; the error lists the names there are.
func ParsePolicy(name string) (Policy, error) {
	for p, n := range policyNames {
		if n == name {
			return Policy(p), nil
		}
	}
	return 0, fmt.Errorf("%q is none of block, drop-newest, drop-oldest, fail", name)
}

// Chunk returns an empty chunk for records without an origin, which are not counted. A producer
// that has nothing to put should hold no chunk: an idle one costs memory.
func (q *Queue) Chunk() *Chunk {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.pool.get()
	c.stamp(0, now)
	return c
}

// ChunkOf returns an empty chunk to fill with records of o.
func (q *Queue) ChunkOf(o *Origin) *Chunk {
	c := q.Chunk()
	c.origin = o
	return c
}

// Put appends the chunk's records to the queue and takes ownership of the chunk, also when it
// returns an error.
//
// Under Block it waits for room, and returns the cause of ctx's end, with the chunk lost, if that
// comes first. Under the other policies it never waits. Under Fail it returns ErrFull from the
// first loss on. After CloseInput it returns the error given there or ErrClosed, after Abort the
// error given there.
func (q *Queue) Put(ctx context.Context, c *Chunk) error {
	c.track()
	for waited := false; ; waited = true {
		if done, err := q.offer(c); done {
			if waited {
				wake(q.room) // there may be some left for another producer
			}
			return err
		}
		select {
		case <-q.room:
		case <-q.closed:
		case <-q.dead:
		case <-ctx.Done():
			q.mu.Lock()
			defer q.mu.Unlock()
			q.refuse(c)
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
		q.refuse(c)
		return true, q.abortErr
	case q.inputErr != nil:
		q.refuse(c)
		if q.inputErr == io.EOF {
			return true, ErrClosed
		}
		return true, q.inputErr
	case c.Len() == 0:
		q.pool.put(c)
		return true, nil
	case q.policy == Block && !q.mayPut(c.weight()):
		return false, nil
	}
	q.admit(c)
	wake(q.ready)
	if q.overrun {
		return true, ErrFull
	}
	return true, nil
}

// putSpare puts a chunk if there is room for all of it, so that nothing is lost for it, and reports
// whether it did. Otherwise the chunk is gone, and is not counted.
func (q *Queue) putSpare(c *Chunk) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.abortErr != nil || q.inputErr != nil || len(q.back.list) > 0 || !q.fits(c.weight()) {
		q.pool.put(c)
		return false
	}
	if c.Len() == 0 {
		q.pool.put(c)
		return true
	}
	q.enqueue(c)
	wake(q.ready)
	return true
}

// mayPut reports whether so much more may be added under Block. The bytes that the consumer has taken
// and not given back count also when nothing waits: a large record would take its size once more.
func (q *Queue) mayPut(w weight) bool {
	if q.head != nil {
		return q.within(w)
	}
	return q.used == (weight{}) || w.plus(q.used).cost() <= q.limit
}

// refuse counts a chunk as lost that does not get in.
func (q *Queue) refuse(c *Chunk) {
	q.loseAll(c)
	q.pool.put(c)
}

// loseAll counts the records of a chunk as lost, for which there is no announcement here any more.
func (q *Queue) loseAll(c *Chunk) {
	c.tally(0, c.Len(), (*Origin).dropped)
	for i := range c.Len() {
		if l, announced := c.lossOf(i); !announced {
			q.reportLoss(l)
		}
	}
}

// admit takes in the chunk's records as far as the policy lets it. The caller has made sure that
// under Block they fit.
func (q *Queue) admit(c *Chunk) {
	switch {
	case q.policy == Block:
		q.enqueue(c)
	case q.policy == DropOldest:
		q.makeRoom(c)
		q.enqueue(c)
	case len(q.back.list) == 0 && q.within(c.weight()) && !q.overrun:
		q.enqueue(c)
	default:
		q.admitEach(c)
		q.pool.put(c)
	}
}

// makeRoom drops the oldest of the waiting records, and then of c's, until the rest fits or is a
// single record.
func (q *Queue) makeRoom(c *Chunk) {
	for q.head != nil && !q.within(c.weight()) {
		q.dropFirst()
	}
	q.joinGaps()
	for c.Len() > 1 && !q.within(c.weight()) {
		_, l, _ := c.drop()
		q.lose(&q.front, l)
		l.Origin.settled(l.LastSeq)
	}
}

// dropFirst moves the first waiting record to the gap before it. An announcement was one of a gap
// that now is part of that.
func (q *Queue) dropFirst() {
	c := q.head
	w, l, announced := c.drop()
	c.charged = c.charged.minus(w)
	q.used = q.used.minus(w)
	q.waiting = q.waiting.minus(w)
	if announced {
		q.front.add(l)
	} else {
		q.lose(&q.front, l)
		l.Origin.settled(l.LastSeq)
	}
	if c.Len() == 0 {
		q.pool.put(q.pop())
	}
}

// joinGaps makes one gap of that before what waits and those that are announced at once behind it.
func (q *Queue) joinGaps() {
	for q.head != nil {
		if _, announced := q.head.lossOf(0); !announced {
			return
		}
		q.dropFirst()
	}
}

// lose counts the loss of a single record and adds it to those at a place.
func (q *Queue) lose(place *losses, l Loss) {
	l.Origin.dropped(1)
	place.add(l)
	q.reportLoss(l)
}

// reportLoss adds a loss to those for TakeLosses.
func (q *Queue) reportLoss(l Loss) {
	if q.onLoss == nil {
		return
	}
	if len(q.untaken.list) == 0 {
		q.onLoss()
	}
	q.untaken.add(l)
}

// admitEach copies those of c's records that fit, and the announcements of losses before the first
// of them. It is the way in when not everything fits, or when it fits again.
func (q *Queue) admitEach(c *Chunk) {
	for i := range c.Len() {
		line, _ := c.Record(i)
		w := weightOf(line)
		if q.overrun || !q.fits(w) || !q.placeAnnouncement(w, c.OriginOf(i)) {
			l, _ := c.lossOf(i)
			q.lose(&q.back, l)
			q.overrun = q.policy == Fail
			if !q.overrun { // the consumer ends behind what came before
				l.Origin.settled(l.LastSeq)
			}
			continue
		}
		q.makeTail(w)
		q.tail.append(c, i)
		q.charge(q.tail, w)
	}
}

// placeAnnouncement enqueues one announcement of the gap behind what waits, if there is one,
// provided that a record of the given weight fits behind it, and reports whether it does. It is
// that of the record's own origin if there is such a loss: those of other origins can stand behind
// the record. An announcement counts against the limits like a record: otherwise a stream of which
// each second record is lost would fill the memory with announcements.
func (q *Queue) placeAnnouncement(record weight, of *Origin) bool {
	c := &q.scratch
	for len(q.back.list) > 0 {
		q.back.addEarlier(&q.refused)
		i := q.back.choose(of)
		c.reset()
		q.appendAnnouncement(c, q.back.list[i])
		w := c.weight()
		if !q.fits(w.plus(record)) {
			return false
		}
		q.back.remove(i)
		if w.records > 0 {
			q.makeTail(w)
			q.tail.appendAll(c)
			q.charge(q.tail, w)
			break
		}
	}
	return true
}

// appendAnnouncement appends that of one loss to c, if it has one.
func (q *Queue) appendAnnouncement(c *Chunk, l Loss) {
	if q.announce != nil {
		c.commitAnnouncement(q.announce(c.Buffer(), l), l)
	}
}

// appendAnnouncements appends those of a place to c.
func (q *Queue) appendAnnouncements(c *Chunk, place *losses) {
	for _, l := range place.list {
		q.appendAnnouncement(c, l)
	}
}

// within reports whether the limits allow for so much more.
func (q *Queue) within(w weight) bool {
	w = w.plus(q.used)
	return w.cost() <= q.limit && (q.maxRecords <= 0 || w.records <= q.maxRecords)
}

// fits reports whether so much more may be added.
func (q *Queue) fits(w weight) bool { return q.head == nil || q.within(w) }

// makeTail makes sure that the last chunk has room for so much more.
func (q *Queue) makeTail(w weight) {
	if q.tail == nil || !q.tail.hasRoom(w) {
		q.link(q.pool.get())
	}
}

// enqueue appends c to the queue: as it is, or copied into the last chunk if that has room for it.
// Many chunks with little in each would hold far more memory than they count for.
func (q *Queue) enqueue(c *Chunk) {
	w := c.weight()
	if q.tail != nil && q.tail.hasRoom(w) {
		q.tail.appendAll(c)
		q.pool.put(c)
	} else {
		q.link(c)
	}
	q.charge(q.tail, w)
}

// charge counts what was added to a waiting chunk.
func (q *Queue) charge(c *Chunk, w weight) {
	c.charged = c.charged.plus(w)
	q.used = q.used.plus(w)
	q.waiting = q.waiting.plus(w)
}

// link makes c the last chunk.
func (q *Queue) link(c *Chunk) {
	if q.tail == nil {
		q.head = c
	} else {
		q.settle(q.tail)
		q.tail.next = c
	}
	q.tail = c
}

// maxSlack is the memory that the waiting chunks may waste together before one that wastes much is
// trimmed. It lets short backlogs be without copies.
const maxSlack = 4 << 20

// settle counts what a chunk wastes to which nothing is going to be added, and trims it if it is
// too much.
func (q *Queue) settle(c *Chunk) {
	if waste := c.footprint() - c.charged.cost(); waste > c.footprint()/8 && q.slack+waste > maxSlack {
		q.pool.put(c.trim())
	}
	c.slack = c.footprint() - c.charged.cost()
	q.slack += c.slack
}

// Take returns the next records; the consumer gives the chunk back with [Queue.Release] once they
// are written. It waits for them until ctx ends, and then returns the cause. After CloseInput it
// returns what is left and then io.EOF, or the error given there; after Abort the error given
// there.
//
// A loss is announced at the place in the stream where the records are missing, by one record for
// each origin, but data comes before announcements: a chunk begins with one announcement at most,
// and the next one follows only when a record that came after it was accepted. Until then losses
// add up. So what is announced may be missing before records that came out already. Only when
// nothing else waits do all origins have their announcements at once.
func (q *Queue) Take(ctx context.Context) (*Chunk, error) { return q.TakeSome(ctx, 0) }

// TakeSome is Take for a consumer that handles records one after the other and slowly. It returns as
// many records as wait, up to most: not more, so that the policy can drop what the consumer does not
// work on; and not fewer, so that most of what it handles is data. An announcement may come before
// them. 0 is Take.
func (q *Queue) TakeSome(ctx context.Context, most int) (*Chunk, error) {
	for {
		if c, err := q.poll(most); c != nil || err != nil {
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

// poll is TakeSome without waiting: a nil chunk and a nil error mean that there is nothing yet.
func (q *Queue) poll(most int) (*Chunk, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.abortErr != nil {
		return nil, q.abortErr
	}
	q.joinGaps()
	var c *Chunk
	if q.gapReached() {
		c = q.takeAnnounced(most)
	}
	if c == nil && q.head != nil {
		c = q.popSome(most)
	}
	if c == nil {
		return nil, q.inputErr
	}
	if most > 0 && q.head != nil && c.Len() < most {
		c.reserve(q.weightAhead(most - c.Len()))
	}
	for most > 0 && q.head != nil && c.Len() < most {
		if _, announced := q.head.lossOf(0); announced {
			break
		}
		q.addTaken(c, q.popSome(most-c.Len()))
	}
	q.number(c)
	return c, nil
}

// weightAhead returns that of the first n records that wait, or of all if they are fewer.
func (q *Queue) weightAhead(n int) (w weight) {
	for c := q.head; c != nil && n > 0; c = c.next {
		taken := min(n, c.Len())
		w = w.plus(weight{bytes: int64(c.marks[c.first+taken-1].end - c.start), records: taken})
		n -= taken
	}
	return w
}

// gapReached reports whether there is a gap before the next record whose announcement is due. The
// gap behind what waits is reached when nothing waits, not when the next record comes; under Fail
// none comes, and that gap is complete only at the end of the input. There, what was announced in
// vain is announced once more.
func (q *Queue) gapReached() bool {
	ended := q.inputErr != nil
	if q.head == nil && (q.policy != Fail || ended) {
		q.front.addAll(q.back.list)
		q.back.clear()
	}
	last := q.head == nil && ended
	if !q.accepted && !last {
		return false
	}
	q.arrive()
	q.pending.addEarlier(&q.refused)
	if last {
		q.pending.addAll(q.refused.list)
		q.refused.clear()
	}
	return len(q.pending.list) > 0
}

// arrive makes the losses at the gap before what waits pending.
func (q *Queue) arrive() {
	q.pending.addAll(q.front.list)
	q.front.clear()
}

// takeAnnounced takes what [Queue.popSome] takes with one announcement of the gap before it, which
// ends the episode of loss: that of the first record's origin, or the one that has waited longest.
// When nothing waits, it takes the announcements of all origins. It returns nil if none of the
// losses has an announcement.
func (q *Queue) takeAnnounced(most int) *Chunk {
	c := q.pool.get()
	if q.head == nil {
		q.appendAnnouncements(c, &q.pending)
		q.pending.clear()
	}
	for len(q.pending.list) > 0 && c.Len() == 0 {
		i := q.pending.choose(q.head.OriginOf(0))
		q.appendAnnouncement(c, q.pending.list[i])
		q.pending.remove(i)
	}
	if c.Len() == 0 {
		q.pool.put(c)
		return nil
	}
	c.charged = c.weight()
	q.used = q.used.plus(c.charged)
	if q.head != nil {
		q.addTaken(c, q.popSome(most))
	}
	return c
}

// addTaken adds records that were taken to c, and gives back their chunk.
func (q *Queue) addTaken(c, records *Chunk) {
	c.appendAll(records)
	c.charged = c.charged.plus(records.charged)
	q.pool.put(records)
}

// popSome takes the first chunk, or its beginning: not more than most records, 0 being no limit; no
// second one of announcements that stand side by side; and no announcement while an earlier loss is
// not announced. The records stay charged.
func (q *Queue) popSome(most int) *Chunk {
	first := q.head
	n := first.runLength(len(q.pending.list)+len(q.front.list) > 0)
	if most > 0 {
		n = min(n, most)
	}
	if n == first.Len() {
		first = q.pop()
	} else {
		first = q.pool.get()
		w := first.moveFrom(q.head, n)
		q.head.charged = q.head.charged.minus(w)
		q.waiting = q.waiting.minus(w)
		first.charged = w
	}
	return first
}

// number counts a chunk that is taken. The losses that are not announced are before it from now on.
func (q *Queue) number(c *Chunk) {
	q.arrive()
	q.taken++
	c.number = q.taken
	q.held = append(q.held, c)
	if len(c.notes) > 0 {
		q.announced, q.accepted = c.number, false
	}
}

// pop unlinks the first chunk; it stays charged.
func (q *Queue) pop() *Chunk {
	c := q.head
	q.head = c.next
	if q.head == nil {
		q.tail = nil
	}
	q.waiting = q.waiting.minus(c.charged)
	q.slack -= c.slack
	c.next, c.slack = nil, 0
	return c
}

// Release gives back a chunk that was taken, which counts its records as delivered and makes room
// for others, or one that is not going to be put. What was not delivered, or not as a whole, is
// given back with [Queue.GiveBack].
func (q *Queue) Release(c *Chunk) {
	taken := c.charged.records > 0
	if taken {
		c.tally(0, c.Len(), (*Origin).delivered)
	}
	q.mu.Lock()
	if taken {
		q.accept(c, c.Len())
		q.unhold(c)
	}
	q.used = q.used.minus(c.charged)
	q.pool.put(c)
	q.mu.Unlock()
	wake(q.room)
}

// accept counts the first n records of a chunk as settled.
func (q *Queue) accept(c *Chunk, n int) {
	c.settle(n, nil)
	if n > 0 {
		q.tried.succeeded()
	}
	q.mayAnnounce(c, n)
}

// mayAnnounce makes another announcement due if a record is the last of the first n that the
// consumer has accepted.
func (q *Queue) mayAnnounce(c *Chunk, n int) {
	if n == 0 || c.number < q.announced {
		return
	}
	_, announced := c.lossOf(n - 1)
	q.accepted = !announced
	if q.accepted && len(q.pending.list)+len(q.front.list)+len(q.back.list) > 0 {
		wake(q.ready)
	}
}

// unhold takes a chunk that is given back off those that are taken. It is the first one or the
// last, as a rule.
func (q *Queue) unhold(c *Chunk) {
	if n := len(q.held); n > 0 && q.held[n-1] == c {
		q.held = q.held[:n-1]
	} else if i := slices.Index(q.held, c); i >= 0 {
		q.held = slices.Delete(q.held, i, i+1)
	}
}

// Advance counts the first n records of a chunk that was taken as delivered. The chunk has the rest
// from now on, perhaps nothing, and still has to be given back, which makes room for others.
func (q *Queue) Advance(c *Chunk, n int) {
	c.tally(0, n, (*Origin).delivered)
	q.mu.Lock()
	q.accept(c, n)
	c.skip(n)
	q.mu.Unlock()
}

// trim makes a taken chunk that is held for long no larger than it has to be.
func (q *Queue) trim(c *Chunk) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.footprint() > 2*c.weight().cost()+minChunkSize {
		q.pool.put(c.trim())
	}
}

// GiveBack gives back a chunk that was taken and delivered in part: its first delivered records
// were delivered, the next lost records were not and are not going to be, and the others wait
// again, as the first of all. The lost ones are counted as dropped and announced like other
// losses, and the rest follows.
//
// It must be the chunk that was taken last. An announcement among the lost ones is not repeated at
// once, or a consumer that gets rid of no announcement would get no further. Its loss is announced
// together with the next one of that origin, else at the end of the input, and there only once.
func (q *Queue) GiveBack(c *Chunk, delivered, lost int) { q.giveBack(c, delivered, lost, true) }

// giveBack is GiveBack. judged says that the consumer has seen what is wrong with the lost ones, and has not just ended.
func (q *Queue) giveBack(c *Chunk, delivered, lost int, judged bool) {
	c.tally(0, delivered, (*Origin).delivered)
	q.mu.Lock()
	defer q.mu.Unlock()
	if !judged && q.keeps {
		lost = 0
	}
	q.unhold(c)
	q.used = q.used.minus(c.charged)
	c.charged = weight{}
	q.accept(c, delivered)
	c.skip(delivered)
	if q.abortErr != nil {
		q.refuse(c)
		return
	}
	since := q.front.take()
	q.loseFirst(c, lost, judged, c.Len() > lost)
	q.waitAgain(c, since)
	q.joinGaps()
	wake(q.room)
	wake(q.ready)
}

// A fate is what became of a record that was taken.
type fate uint8

const (
	recordOpen fate = iota // nothing yet: it waits again when it is given back
	recordDelivered
	recordLost
)

// giveBackEach is GiveBack for a chunk whose records were not handled in their order: fates has one for each. Of several chunks with
// open records the last one is given back first. A chunk without open records may be given back at any time.
func (q *Queue) giveBackEach(c *Chunk, fates []fate) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unhold(c)
	q.used = q.used.minus(c.charged)
	c.charged = weight{}
	kept, lost := q.pool.get(), q.pool.get()
	accepted := false
	for i, f := range fates {
		l, announced := c.lossOf(i)
		switch {
		case f == recordOpen:
			kept.appendAny(c, i)
		case f == recordLost:
			lost.appendAny(c, i)
		case !announced:
			l.Origin.delivered(1)
			accepted = true
		}
		if f == recordDelivered {
			q.tried.succeeded()
		}
	}
	c.settle(len(fates), func(i int) bool { return fates[i] == recordDelivered })
	if accepted && c.number >= q.announced {
		q.accepted = true
	}
	q.pool.put(c)
	if q.abortErr != nil {
		q.refuse(kept)
		q.refuse(lost)
		return
	}
	since := q.front.take()
	q.loseFirst(lost, lost.Len(), true, kept.Len() > 0)
	q.pool.put(lost)
	q.waitAgain(kept, since)
	q.joinGaps()
	wake(q.room)
	wake(q.ready)
}

// loseFirst moves the first n records of a chunk to the gap before what waits. If they all are
// announcements, there is no new loss to announce, and at the very end, when no others wait, no hope.
func (q *Queue) loseFirst(c *Chunk, n int, judged, others bool) {
	place := &q.refused
	for i := range n {
		if _, announced := c.lossOf(i); !announced {
			place = &q.front
		}
	}
	atEnd := q.inputErr != nil && q.head == nil && !others
	for range n {
		_, l, announced := c.drop()
		switch {
		case !announced:
			q.lose(place, l)
			if judged {
				l.Origin.settled(l.LastSeq)
			}
		case place == &q.front || !atEnd:
			place.add(l)
		}
	}
}

// waitAgain makes what is left of a chunk the first that waits. The losses since it was taken are
// at the gap behind it: they become announcements there, together with those that it ends with.
func (q *Queue) waitAgain(c *Chunk, since []Loss) {
	gap := losses{name: behind}
	if len(since) > 0 {
		n := c.Len()
		for n > 0 {
			if _, announced := c.lossOf(n - 1); !announced {
				break
			}
			n--
		}
		for i := n; i < c.Len(); i++ {
			l, _ := c.lossOf(i)
			gap.add(l)
		}
		gap.addAll(since)
		c.truncate(n)
	}
	if c.Len() == 0 {
		q.front.addAll(gap.list)
		q.pool.put(c)
		return
	}
	q.appendAnnouncements(c, &gap)
	q.linkFirst(c)
}

// linkFirst makes c, of which nothing is charged yet, the first chunk.
func (q *Queue) linkFirst(c *Chunk) {
	q.charge(c, c.weight())
	if q.head == nil {
		q.tail = c
	} else {
		q.settle(c)
		c.next = q.head
	}
	q.head = c
}

// ReleaseFirst gives back a chunk of which the first n records were delivered and the others are
// lost, because the consumer ends: [Queue.GiveBack] with nothing left.
func (q *Queue) ReleaseFirst(c *Chunk, n int) { q.giveBack(c, n, c.Len()-n, false) }

// CloseInput ends the input, because of err if that is not nil. Take returns what waits, and then
// err or io.EOF. Only the first call counts.
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

// Abort ends the queue for a consumer that has given up. Put and Take return err, or ErrClosed for
// nil, at once, also those that wait, and what waits is lost. Abort returns how many records that
// were, counted as dropped. A chunk that is taken is not among them and still has to be given
// back. Only the first call counts.
func (q *Queue) Abort(err error) (dropped int) {
	if err == nil {
		err = ErrClosed
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.abortErr != nil {
		return 0
	}
	q.abortErr = err
	dropped = q.waiting.records - q.waiting.notes
	for q.head != nil {
		c := q.pop()
		q.used = q.used.minus(c.charged)
		q.loseAll(c)
	}
	close(q.dead)
	return dropped
}

// OnLoss makes the queue call f when there is something to take with [Queue.TakeLosses], once
// until it is taken. f is called with the queue locked, so it must not use the queue. OnLoss has
// to be called before the queue is used.
func (q *Queue) OnLoss(f func()) { q.onLoss = f }

// TakeLosses returns what was lost since the last call, one [Loss] an origin, announced or not: a
// consumer that stands still gets no announcement, nor does one that has given up. Without
// [Queue.OnLoss] it returns nothing.
func (q *Queue) TakeLosses() []Loss {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.untaken.take()
}

// Len returns how many records wait, announcements included, and their bytes.
func (q *Queue) Len() (records int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.records, q.waiting.bytes
}

// Tried is what the consumer of a [Queue] has tried, so as to deliver records.
type Tried struct {
	// Attempts counts attempts by what came of each. The drains of this package have:
	//
	//	NATSDrain     "acknowledged", or the kind of the failure, such as "no stream"
	//	WebhookDrain  the HTTP status of the answer, or "no answer", or "not sent"
	//	ExecDrain     how the program ended, such as "exit status 1", or "not started"
	//	FileDrain     "written" or "failed"
	//	WriterDrain   "written" or "failed"
	Attempts map[string]uint64
	// LastError is what the last failed attempt said, empty if none failed, and LastErrorAt when.
	LastError   string
	LastErrorAt time.Time
	// Failing: nothing was delivered since then.
	Failing bool
}

// add adds the attempts of another sink, and takes over its last error if that is later.
func (t *Tried) add(other Tried) {
	if t.Attempts == nil {
		t.Attempts = map[string]uint64{}
	}
	for status, n := range other.Attempts {
		t.Attempts[status] += n
	}
	if other.LastErrorAt.After(t.LastErrorAt) {
		t.LastError, t.LastErrorAt = other.LastError, other.LastErrorAt
	}
}

// attempted counts an attempt of the consumer by what came of it. err is nil if it did not fail.
func (q *Queue) attempted(status string, err error) {
	q.tried.add(status, err)
}

// trials are a Tried that several queues may share: that of a sink, and the one behind its spool.
type trials struct {
	mu sync.Mutex
	Tried
	failing atomic.Bool // Failing, to be asked without the lock
}

func (t *trials) add(status string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Attempts == nil {
		t.Attempts = map[string]uint64{}
	}
	t.Attempts[status]++
	if err != nil {
		t.LastError, t.LastErrorAt = err.Error(), time.Now()
		t.failing.Store(true)
	}
}

// succeeded says that something was delivered.
func (t *trials) succeeded() {
	if t.failing.Load() {
		t.failing.Store(false)
	}
}

// backlog returns how many records, announcements not counted, wait or are taken and neither
// delivered nor lost, their bytes, and when the first of them came.
func (q *Queue) backlog() (records int, bytes int64, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	records, bytes = q.waiting.records-q.waiting.notes, q.waiting.bytes
	for _, c := range q.held {
		w := c.weight()
		records += w.records - w.notes
		bytes += w.bytes
		if oldest.IsZero() {
			oldest = c.came()
		}
	}
	for c := q.head; c != nil && oldest.IsZero(); c = c.next {
		oldest = c.came()
	}
	return records, bytes, oldest
}

// whatWasTried returns a copy of what the consumer has tried.
func (q *Queue) whatWasTried() Tried {
	q.tried.mu.Lock()
	defer q.tried.mu.Unlock()
	tried := q.tried.Tried
	tried.Attempts = maps.Clone(tried.Attempts)
	tried.Failing = q.tried.failing.Load()
	return tried
}

// deadErr returns why the consumer has given up.
func (q *Queue) deadErr() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.abortErr
}

// handOver gives back a chunk whose records somebody else has taken over, who counts what becomes of them. kept: they are settled.
func (q *Queue) handOver(c *Chunk, kept bool) {
	q.mu.Lock()
	if kept {
		c.settle(c.Len(), nil)
	}
	q.mayAnnounce(c, c.Len())
	q.unhold(c)
	q.used = q.used.minus(c.charged)
	q.pool.put(c)
	q.mu.Unlock()
	wake(q.room)
}

// announceBehind makes a loss, which somebody else has counted, part of the gap behind what waits.
func (q *Queue) announceBehind(l Loss) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.back.add(l)
	wake(q.ready)
}

// hasRoomFor reports whether so much more may be put within the limits, or is the only record.
func (q *Queue) hasRoomFor(w weight) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.within(w) || q.used == (weight{}) && w.records <= 1
}

// hasSpare reports whether an eighth of the limits is free.
func (q *Queue) hasSpare() bool {
	return q.hasRoomFor(weight{bytes: q.limit / 8, records: q.maxRecords / 8})
}

// putKept puts a chunk whatever room there is, behind the announcements of the gap before it.
func (q *Queue) putKept(c *Chunk) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.Len() == 0 {
		q.pool.put(c)
		return
	}
	if len(q.back.list) > 0 {
		q.back.addEarlier(&q.refused)
		gap := q.pool.get()
		q.appendAnnouncements(gap, &q.back)
		q.back.clear()
		if gap.Len() > 0 {
			q.enqueue(gap)
		} else {
			q.pool.put(gap)
		}
	}
	q.enqueue(c)
	wake(q.ready)
}

// reportLosses has losses, which somebody else has counted, reported as those of this queue.
func (q *Queue) reportLosses(losses []Loss) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range losses {
		q.reportLoss(l)
	}
}

// wake wakes one goroutine that receives from c, now or next, without blocking: c has room for one
// token, and one is enough.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
