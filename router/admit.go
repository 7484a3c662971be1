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
	case len(q.back.list) == 0 && q.within(c.weight()) && !q.overrun:
		q.enqueue(c)
	default:
		q.admitEach(c)
		q.pool.put(c)
	}
}

// makeRoom drops the oldest of the waiting records, and then of c's, until the rest fits or is a single record.
func (q *Queue) makeRoom(c *Chunk) {
	for q.head != nil && !q.within(c.weight()) {
		q.dropFirst()
	}
	q.joinGaps()
	for c.Len() > 1 && !q.within(c.weight()) {
		_, l, _ := c.drop()
		q.lose(&q.front, l)
	}
}

// dropFirst moves the first waiting record to the gap before it. An announcement was one of a gap that now is part of that.
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
	}
	if c.Len() == 0 {
		q.pool.put(q.pop())
	}
}

// joinGaps makes one gap of that before what waits and those that are announced at once behind it.
func (q *Queue) joinGaps() {
	for q.head != nil && len(q.front.list) > 0 {
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
	if q.onLoss != nil {
		q.onLoss()
	}
}

// admitEach copies those of c's records that fit, and the announcements of losses before the first of them. It is the way
// in when not everything fits, or when it fits again.
func (q *Queue) admitEach(c *Chunk) {
	for i := range c.Len() {
		line, _ := c.Record(i)
		w := weightOf(line)
		if q.overrun || !q.fits(w) || !q.placeAnnouncements(w) {
			l, _ := c.lossOf(i)
			q.lose(&q.back, l)
			q.overrun = q.policy == Fail
			continue
		}
		q.makeTail(w)
		q.tail.append(c, i)
		q.charge(q.tail, w)
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

// enqueue appends c to the queue: as it is, or copied into the last chunk if that has room for it. Many chunks with little
// in each would hold far more memory than they count for.
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

// settle counts what a chunk wastes to which nothing is going to be added, and trims it if it is too much.
func (q *Queue) settle(c *Chunk) {
	if waste := c.footprint() - c.charged.cost(); waste > c.footprint()/8 && q.slack+waste > maxSlack {
		q.pool.put(c.trim())
	}
	c.slack = c.footprint() - c.charged.cost()
	q.slack += c.slack
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
