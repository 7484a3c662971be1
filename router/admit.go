package router

// maxSlack is the memory that the waiting chunks may waste together before one that wastes much is trimmed. It lets short
// backlogs be without copies.
const maxSlack = 4 << 20

// admit takes in the chunk's records as far as the policy lets it. The caller has made sure that under Block they fit.
func (q *Queue) admit(c *Chunk) {
	switch {
	case q.policy == Block:
		q.enqueue(c)
	case q.policy == DropOldest:
		q.makeRoom(c)
		q.enqueue(c)
	case q.lost.Count == 0 && q.used+c.cost() <= q.limit && !q.overrun:
		q.enqueue(c)
	default:
		q.admitEach(c)
		q.pool.put(c)
	}
}

// makeRoom drops the oldest of the waiting records, and then of c's, until the rest fits or is a single record.
func (q *Queue) makeRoom(c *Chunk) {
	for q.head != nil && q.used+c.cost() > q.limit {
		charge, seq := q.head.drop()
		q.lost.add(seq)
		q.used -= charge
		q.head.charged -= charge
		if q.head.Len() == 0 {
			q.pool.put(q.pop())
		}
	}
	for c.Len() > 1 && q.used+c.cost() > q.limit {
		_, seq := c.drop()
		q.lost.add(seq)
	}
}

// admitEach copies those of c's records that fit, and the announcement of a loss before the first of them. It is the way in
// when not everything fits, or when it fits again.
func (q *Queue) admitEach(c *Chunk) {
	for i := range c.Len() {
		line, seq := c.Record(i)
		if q.overrun || !q.fits(cost(len(line), 1)) || !q.placeAnnouncement(cost(len(line), 1)) {
			q.lost.add(seq)
			q.overrun = q.policy == Fail
			continue
		}
		q.enqueueRecord(line, seq)
	}
}

// fits reports whether records of that cost may be added.
func (q *Queue) fits(charge int64) bool { return q.head == nil || q.used+charge <= q.limit }

// enqueueRecord appends a copy of a record to the queue.
func (q *Queue) enqueueRecord(line []byte, seq uint64) {
	if q.tail == nil || !q.tail.hasRoom(len(line), 1) {
		q.link(q.pool.get())
	}
	q.tail.append(line, seq)
	q.charge(cost(len(line), 1))
}

// enqueue appends c to the queue: as it is, or copied into the last chunk if that has room for it. Many chunks with little
// in each would hold far more memory than they count for.
func (q *Queue) enqueue(c *Chunk) {
	charge := c.cost()
	if q.tail != nil && q.tail.hasRoom(len(c.Bytes()), c.Len()) {
		q.tail.appendAll(c)
		q.pool.put(c)
	} else {
		q.link(c)
	}
	q.charge(charge)
}

func (q *Queue) charge(charge int64) {
	q.tail.charged += charge
	q.used += charge
}

// link makes c the last chunk. Nothing is going to be added to the one before it, so what that wastes is settled now.
func (q *Queue) link(c *Chunk) {
	t := q.tail
	q.tail = c
	if t == nil {
		q.head = c
		return
	}
	if waste := t.footprint() - t.charged; waste > t.footprint()/8 && q.slack+waste > maxSlack {
		q.pool.put(t.trim())
	}
	t.next = c
	t.slack = t.footprint() - t.charged
	q.slack += t.slack
}

// pop unlinks the first chunk; it stays charged.
func (q *Queue) pop() *Chunk {
	c := q.head
	q.head = c.next
	if q.head == nil {
		q.tail = nil
	}
	q.slack -= c.slack
	c.next, c.slack = nil, 0
	return c
}
