package router

import (
	"slices"
	"sync"
)

// A Progress tells up to which of its events a connection is done with: each record of them was delivered, or was lost in a way
// that is announced, because of the policy of a full queue or because the receiver would not have it. What is lost because its
// queue or its drain has ended is never done with. It is for a caller that can resume behind the last such event. Its methods may be
// called from any goroutine.
type Progress struct {
	mu sync.Mutex
	// open are the events with records that are not settled, in the order of their numbers, from first on.
	open  []openEvent
	first int
	// last is the index where the last record was found: the next one is near.
	last      int
	published uint64
}

// An openEvent is how many records of an event are not settled.
type openEvent struct {
	seq     uint64
	records int
}

// maxOpen bounds the events that are told apart. Those beyond count as one event with the last of them.
const maxOpen = 64 << 10

// NewProgress returns the progress of a connection that has published nothing.
func NewProgress() *Progress { return &Progress{} }

// Origin returns an origin of records of the connection, for a queue without a [Router].
func (p *Progress) Origin(connection string) *Origin {
	o := NewOrigin(connection)
	o.progress.Store(p)
	return o
}

// Published says that every record of the events up to a number has been put into its queue. The numbers grow.
func (p *Progress) Published(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.published = max(p.published, seq)
}

// Done returns the number of the last event that is done with, together with all before it.
func (p *Progress) Done() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == len(p.open) {
		return p.published
	}
	return min(p.published, p.open[p.first].seq-1)
}

// add counts a record of an event.
func (p *Progress) add(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.open)
	switch {
	case n > p.first && p.open[n-1].seq == seq, n-p.first >= maxOpen && p.open[n-1].seq < seq:
		p.open[n-1].records++
		return
	case n > p.first && p.open[n-1].seq > seq: // a Where was slow
		i := p.find(seq)
		if i >= p.first && p.open[i].seq == seq {
			p.open[i].records++
			return
		}
		p.open = slices.Insert(p.open, max(i+1, p.first), openEvent{seq, 1})
		return
	case n == p.first:
		p.open, p.first = p.open[:0], 0
	case p.first > maxOpen:
		p.open = slices.Delete(p.open, 0, p.first)
		p.first = 0
	}
	p.open = append(p.open, openEvent{seq, 1})
}

// find returns the index of the last open event with a number up to seq, or one before p.first.
func (p *Progress) find(seq uint64) int {
	for _, i := range [...]int{p.last, p.last + 1} {
		if i >= p.first && i < len(p.open) && p.open[i].seq <= seq && (i+1 == len(p.open) || p.open[i+1].seq > seq) {
			return i
		}
	}
	i, found := slices.BinarySearchFunc(p.open[p.first:], seq, func(e openEvent, seq uint64) int {
		switch {
		case e.seq < seq:
			return -1
		case e.seq > seq:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	return p.first + i
}

// settle takes off a record of an event. A record that was put before there was a progress does not count.
func (p *Progress) settle(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(seq)
	if i < p.first || p.open[i].records == 0 {
		return
	}
	p.last = i
	p.open[i].records--
	for p.first < len(p.open) && p.open[p.first].records == 0 {
		p.first++
	}
}

// settled says that the record with a number is done with. A nil origin counts nothing.
func (o *Origin) settled(seq uint64) {
	if o == nil {
		return
	}
	if p := o.progress.Load(); p != nil {
		p.settle(seq)
	}
}

// track counts the chunk's records, none of which is an announcement, as not settled.
func (c *Chunk) track() {
	if c.origin == nil {
		return
	}
	if p := c.origin.progress.Load(); p != nil {
		for _, m := range c.marks[c.first:] {
			p.add(m.seq)
		}
	}
}

// settle counts the first n records of the chunk as settled.
func (c *Chunk) settle(n int) {
	if !c.mixed && (c.origin == nil || c.origin.progress.Load() == nil) {
		return
	}
	notes := c.notes
	for i := c.first; i < c.first+n; i++ {
		if len(notes) > 0 && notes[0].mark == i {
			notes = notes[1:]
			continue
		}
		c.marks[i].origin.settled(c.marks[i].seq)
	}
}
