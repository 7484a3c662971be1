package router

import (
	"slices"
	"sync"
)

// A Progress tells up to which of its events a connection is done with: each record of them was delivered, or was lost in a way
// that is announced, because of the policy of a full queue or because the receiver would not have it. What is lost because its
// queue or its drain has ended is not done with, until the sink is taken away for good. It is for a caller that can resume behind the
// last such event. Its methods may be called from any goroutine.
type Progress struct {
	mu sync.Mutex
	// shares are those of the queues, and late has the events for which a slow Where is still to be called.
	shares    []*share
	late      share
	published uint64
}

// A share is the part of a [Progress] that one queue has.
type share struct {
	of *Progress
	// The others are guarded by of.mu. open are the events with records that are not settled, in the order of their numbers, from first on.
	open  []openEvent
	first int
	// last is the index where the last record was found: the next one is near.
	last int
	// over says that nothing counts any more.
	over bool
}

// An openEvent is how many records of an event are not settled.
type openEvent struct {
	seq     uint64
	records int
}

// maxOpen bounds the events that are told apart. Those beyond count as one event with the last of them.
const maxOpen = 64 << 10

// NewProgress returns the progress of a connection that has published nothing.
func NewProgress() *Progress {
	p := &Progress{}
	p.late.of = p
	return p
}

// Origin returns an origin of records of the connection, for a queue without a [Router].
func (p *Progress) Origin(connection string) *Origin {
	o := NewOrigin(connection)
	o.follow(p)
	return o
}

// follow has the records of the origin count for p, which may be nil, from now on.
func (o *Origin) follow(p *Progress) {
	if known := o.share.Load(); p == nil || known != nil && known.of == p {
		return
	}
	s := &share{of: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shares = append(p.shares, s)
	o.share.Store(s)
}

// unfollow has the records of the origin count for nothing any more: what is not settled will not be.
func (o *Origin) unfollow() {
	s := o.share.Load()
	if s == nil {
		return
	}
	p := s.of
	p.mu.Lock()
	defer p.mu.Unlock()
	s.over, s.open, s.first, s.last = true, nil, 0, 0
	p.shares = slices.DeleteFunc(p.shares, func(other *share) bool { return other == s })
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
	done := p.late.done(p.published)
	for _, s := range p.shares {
		done = s.done(done)
	}
	return done
}

// done returns the number of the last event up to most that is done with.
func (s *share) done(most uint64) uint64 {
	if s.first == len(s.open) {
		return most
	}
	return min(most, s.open[s.first].seq-1)
}

// add counts a record of an event. It is called with of.mu held.
func (s *share) add(seq uint64) {
	n := len(s.open)
	switch {
	case n > s.first && s.open[n-1].seq == seq, n-s.first >= maxOpen && s.open[n-1].seq < seq:
		s.open[n-1].records++
		return
	case n > s.first && s.open[n-1].seq > seq: // a Where was slow
		i := s.find(seq)
		if i >= s.first && s.open[i].seq == seq {
			s.open[i].records++
			return
		}
		s.open = slices.Insert(s.open, max(i+1, s.first), openEvent{seq, 1})
		return
	case n == s.first:
		s.open, s.first = s.open[:0], 0
	case s.first > maxOpen:
		s.open = slices.Delete(s.open, 0, s.first)
		s.first = 0
	}
	s.open = append(s.open, openEvent{seq, 1})
}

// find returns the index of the last open event with a number up to seq, or one before first.
func (s *share) find(seq uint64) int {
	for _, i := range [...]int{s.last, s.last + 1} {
		if i >= s.first && i < len(s.open) && s.open[i].seq <= seq && (i+1 == len(s.open) || s.open[i+1].seq > seq) {
			return i
		}
	}
	i, found := slices.BinarySearchFunc(s.open[s.first:], seq, func(e openEvent, seq uint64) int {
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
	return s.first + i
}

// settle takes off a record of an event. A record that was put before there was a progress does not count. It is called with of.mu held.
func (s *share) settle(seq uint64) {
	i := s.find(seq)
	if i < s.first || s.open[i].records == 0 {
		return
	}
	s.last = i
	s.open[i].records--
	for s.first < len(s.open) && s.open[s.first].records == 0 {
		s.first++
	}
}

// addAll counts a record of each mark. The lock, which all publishers and sinks of the connection want, is taken once.
func (s *share) addAll(marks []mark) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.over {
		return
	}
	for _, m := range marks {
		s.add(m.seq)
	}
}

// settleAll takes off a record of each mark.
func (s *share) settleAll(marks []mark) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	for _, m := range marks {
		s.settle(m.seq)
	}
}

// settled says that the record with a number is done with.
func (o *Origin) settled(seq uint64) { o.settledAll([]mark{{seq: seq}}) }

// settledAll says that the records of the marks are done with, none of which is an announcement. A nil origin counts nothing.
func (o *Origin) settledAll(marks []mark) {
	if o == nil || len(marks) == 0 {
		return
	}
	if s := o.share.Load(); s != nil {
		s.settleAll(marks)
	}
	if o.spooled != nil {
		o.spooled.settle(marks)
	}
}

// track counts the chunk's records, none of which is an announcement, as not settled.
func (c *Chunk) track() {
	if c.origin == nil {
		return
	}
	if s := c.origin.share.Load(); s != nil {
		s.addAll(c.marks[c.first:])
	}
}

// settle counts the first n records of the chunk as settled, those that which selects; nil: all.
func (c *Chunk) settle(n int, which func(i int) bool) {
	if !c.mixed && (c.origin == nil || c.origin.share.Load() == nil && c.origin.spooled == nil) {
		return
	}
	notes := c.notes
	run := c.first // where the records begin that are settled together
	for i := c.first; i < c.first+n; i++ {
		announced := len(notes) > 0 && notes[0].mark == i
		if announced {
			notes = notes[1:]
		}
		skipped := announced || which != nil && !which(i-c.first)
		if run < i && (skipped || c.marks[i].origin != c.marks[run].origin) {
			c.marks[run].origin.settledAll(c.marks[run:i])
			run = i
		}
		if skipped {
			run = i + 1
		}
	}
	if end := c.first + n; run < end {
		c.marks[run].origin.settledAll(c.marks[run:end])
	}
}
