package router

// announcementDue reports whether the place of the loss in the stream has come. A gap at the end of what waits is
// announced as soon as it is reached, not when the next record comes; under Fail none comes, and the gap is complete only at
// the end of the input.
func (q *Queue) announcementDue() bool {
	switch {
	case q.lost.Count == 0:
		return false
	case q.policy == DropOldest:
		return true
	case q.policy == Fail:
		return q.head == nil && q.inputErr != nil
	}
	return q.head == nil
}

// announcement ends the episode of loss and returns its announcement in a chunk of its own, charged as taken.
func (q *Queue) announcement() *Chunk {
	c := q.pool.get()
	c.Commit(q.announce(c.Buffer(), q.lost), q.lost.LastSeq)
	q.lost = Loss{}
	c.charged = c.cost()
	q.used += c.charged
	return c
}

// placeAnnouncement enqueues the announcement of the gap at the end of the queue, if there is one, provided that a record
// of the given cost fits behind it, and reports whether it does. An announcement counts against the limit like a record:
// otherwise a stream of which each second record is lost would fill the memory with announcements.
func (q *Queue) placeAnnouncement(charge int64) bool {
	if q.lost.Count == 0 {
		return true
	}
	q.scratch = q.announce(q.scratch[:0], q.lost)
	if len(q.scratch) == 0 {
		q.lost = Loss{}
		return true
	}
	if !q.fits(charge + cost(len(q.scratch), 1)) {
		return false
	}
	q.enqueueRecord(q.scratch, q.lost.LastSeq)
	q.lost = Loss{}
	return true
}
