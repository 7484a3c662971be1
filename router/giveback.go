package router

// GiveBack gives back a chunk that was taken and delivered in part: its first delivered records were delivered, the next
// lost records were not and are not going to be, and the others wait again, as the first of all. The lost ones are counted
// as dropped and announced like other losses: the next Take returns their announcement, and the one after that the rest.
//
// It must be the chunk that was taken last. An announcement among the lost ones is not repeated at once, or a consumer that
// gets rid of no announcement would get no further. Its loss is announced together with the next one of that origin, else at
// the end of the input, and there only once.
func (q *Queue) GiveBack(c *Chunk, delivered, lost int) {
	c.tally(0, delivered, (*Origin).delivered)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used = q.used.minus(c.charged)
	c.charged = weight{}
	c.skip(delivered)
	if q.abortErr != nil {
		q.refuse(c)
		return
	}
	since := q.front.take()
	q.loseFirst(c, lost)
	q.waitAgain(c, since)
	q.joinGaps()
	poke(q.room)
	poke(q.ready)
}

// ReleaseFirst gives back a chunk of which the first n records were delivered and the others are lost: [Queue.GiveBack]
// with nothing left.
func (q *Queue) ReleaseFirst(c *Chunk, n int) { q.GiveBack(c, n, c.Len()-n) }

// loseFirst moves the first n records of a chunk to the gap before what waits. If they all are announcements, there is no new
// loss to announce, and at the very end no hope.
func (q *Queue) loseFirst(c *Chunk, n int) {
	place := &q.refused
	for i := range n {
		if _, announced := c.lossOf(i); !announced {
			place = &q.front
		}
	}
	atEnd := q.inputErr != nil && q.head == nil && c.Len() == n
	for range n {
		_, l, announced := c.drop()
		switch {
		case !announced:
			q.lose(place, l)
		case place == &q.front || !atEnd:
			place.add(l)
		}
	}
}

// waitAgain makes what is left of a chunk the first that waits. The losses since it was taken are at the gap behind it: they
// become announcements there, together with those that it ends with.
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
