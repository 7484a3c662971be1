package router

import "testing"

// noted returns a chunk with the records 1, an announcement of 2 to 4, 5, and an announcement of 6 to 8, all of o.
func noted(o *Origin) *Chunk {
	c := &Chunk{full: 1000, most: 100, origin: o}
	c.Commit(append(c.Buffer(), "1\n"...), 1)
	c.commitAnnouncement(append(c.Buffer(), "2-4\n"...), Loss{Origin: o, Count: 3, FirstSeq: 2, LastSeq: 4})
	c.Commit(append(c.Buffer(), "5\n"...), 5)
	c.commitAnnouncement(append(c.Buffer(), "6-8\n"...), Loss{Origin: o, Count: 3, FirstSeq: 6, LastSeq: 8})
	return c
}

func wantLoss(t *testing.T, c *Chunk, i int, want Loss, announced bool) {
	t.Helper()
	if got, ok := c.lossOf(i); got != want || ok != announced {
		t.Errorf("the loss of record %d: %v, %v, want %v, %v", i, got, ok, want, announced)
	}
}

// Announcements stay what they are when their chunk is cut and copied.
func TestAnnouncementsInChunks(t *testing.T) {
	o := NewOrigin("aaa")
	c := noted(o)
	c.skip(1)
	old := c.trim()
	if &old.buf[0] == &c.buf[0] || len(c.buf) != cap(c.buf) {
		t.Error("a trimmed chunk has its old storage, or more than it needs")
	}
	wantLoss(t, c, 0, Loss{o, 3, 2, 4}, true)
	wantLoss(t, c, 1, Loss{o, 1, 5, 5}, false)
	wantLoss(t, c, 2, Loss{o, 3, 6, 8}, true)

	c.truncate(2)
	c.commitAnnouncement(append(c.Buffer(), "6-9\n"...), Loss{o, 4, 6, 9})
	wantLoss(t, c, 2, Loss{o, 4, 6, 9}, true)
	if got, want := string(c.Bytes()), "2-4\n5\n6-9\n"; got != want {
		t.Errorf("the chunk is %q, want %q", got, want)
	}
	if got, want := c.weight(), (weight{bytes: 10, records: 3, notes: 2}); got != want {
		t.Errorf("it weighs %v, want %v", got, want)
	}

	d := noted(o)
	d.appendAll(c)
	wantLoss(t, d, 4, Loss{o, 3, 2, 4}, true)
	wantLoss(t, d, 5, Loss{o, 1, 5, 5}, false)
	wantLoss(t, d, 6, Loss{o, 4, 6, 9}, true)
	d.tally(0, d.Len(), (*Origin).delivered)
	if got := o.Delivered.Load(); got != 3 {
		t.Errorf("%d of three records were counted", got)
	}
}

// A used chunk is like a new one.
func TestResetChunk(t *testing.T) {
	c := noted(NewOrigin("aaa"))
	c.charged, c.slack, c.next = c.weight(), 1, &Chunk{}
	c.skip(2)
	c.reset()
	if c.Len() != 0 || len(c.Bytes()) != 0 || len(c.notes) != 0 || c.start != 0 || c.origin != nil || c.mixed ||
		c.charged != (weight{}) || c.slack != 0 || c.next != nil || c.full != 1000 || c.most != 100 {
		t.Errorf("a chunk that was reset is %+v", c)
	}
}
