package router

import (
	"time"

	"phx/signal"
)

// gapReached reports whether there is a gap before the next record, so that its announcement comes next. The gap behind
// what waits is reached when nothing waits, not when the next record comes; under Fail none comes, and that gap is complete
// only at the end of the input. There, what was announced in vain is announced once more.
func (q *Queue) gapReached() bool {
	ended := q.inputErr != nil
	if q.head == nil && (q.policy != Fail || ended) {
		q.front.addAll(q.back.list)
		q.back.clear()
	}
	if q.head == nil && ended {
		q.front.addEarlier(&q.refused)
		q.front.addAll(q.refused.list)
		q.refused.clear()
	}
	return len(q.front.list) > 0
}

// announcement ends the episodes of loss at the gap before what waits, and returns their announcements in a chunk of their
// own, charged as taken.
func (q *Queue) announcement() *Chunk {
	c := q.pool.get()
	q.front.addEarlier(&q.refused)
	q.appendAnnouncements(c, &q.front)
	q.front.clear()
	c.charged = c.weight()
	q.used = q.used.plus(c.charged)
	return c
}

// placeAnnouncements enqueues the announcements of the gap behind what waits, if there is one, provided that a record of the
// given weight fits behind it, and reports whether it does. An announcement counts against the limits like a record:
// otherwise a stream of which each second record is lost would fill the memory with announcements.
func (q *Queue) placeAnnouncements(record weight) bool {
	if len(q.back.list) == 0 {
		return true
	}
	q.back.addEarlier(&q.refused)
	c := &q.scratch
	c.reset()
	q.appendAnnouncements(c, &q.back)
	w := c.weight()
	if !q.fits(w.plus(record)) {
		return false
	}
	q.back.clear()
	if w.records > 0 {
		q.makeTail(w)
		q.tail.appendAll(c)
		q.charge(q.tail, w)
	}
	return true
}

// appendAnnouncements appends those of a place to c.
func (q *Queue) appendAnnouncements(c *Chunk, place *losses) {
	if q.announce == nil {
		return
	}
	for _, l := range place.list {
		c.commitAnnouncement(q.announce(c.Buffer(), l), l)
	}
}

// appendDropped appends the signal of a loss: what a queue with that policy announces to whoever gets lines in that format. A loss
// without an origin is of no connection, and has no signal.
func appendDropped(dst []byte, format signal.Format, policy Policy, l Loss) []byte {
	if l.Origin == nil {
		return dst
	}
	return signal.NewEncoder(format, l.Origin.Connection).AppendDropped(dst, signal.Dropped{
		Count: l.Count, Policy: policy.String(), FirstSeq: l.FirstSeq, LastSeq: l.LastSeq,
	}, time.Now())
}
