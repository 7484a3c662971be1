package router

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// A Chunk is a run of whole records, the unit in which they travel through a [Queue]. It comes
// from [Queue.ChunkOf], and belongs to one goroutine at a time: the producer until [Queue.Put],
// the consumer from [Queue.Take] to [Queue.Release].
//
// A producer appends each record to the chunk's own buffer, so that it is written once:
//
//	buf := encoder.Append(c.Buffer(), event)
//	c.Commit(buf, event.Seq)
type Chunk struct {
	buf   []byte
	marks []mark
	notes []note // of the announcements among the records
	// stamps say when the records came, in the order of their marks.
	stamps []stamp
	// origin is that of all records, unless the chunk is mixed: some are of others or are
	// announcements.
	origin *Origin
	mixed  bool
	// first is the number of records, and start the number of bytes, at the front that are gone.
	first, start int
	full, most   int    // length of buf, and number of records, from which on the chunk is full
	charged      weight // what the queue counts for this chunk: nothing until it is put
	number       uint64 // of the chunk among those that were taken
	slack        int64  // what the queue counts as wasted by this chunk
	next         *Chunk
}

// A mark says where a record ends in its chunk's buffer, and what it is. An announcement has the
// origin and the last seq of what it announces.
type mark struct {
	end    int
	seq    uint64
	origin *Origin
}

// A note says that the record with a mark is an announcement, and has what the mark has not of the
// loss.
type note struct {
	mark            int
	count, firstSeq uint64
}

// A stamp says when the records from a mark on came, up to the mark of the next stamp.
type stamp struct {
	mark int
	at   time.Time
}

// Stamps are at least stampEvery apart, so a record may seem that much older than it is. A chunk
// has at most maxStamps, or those of records that came one by one would take as much memory as
// the records: when there are more, each second one goes.
const (
	stampEvery = 100 * time.Millisecond
	maxStamps  = 64
)

// stamp says when the records from a mark on came, which is behind all that have a stamp.
func (c *Chunk) stamp(mark int, at time.Time) {
	if n := len(c.stamps); n > 0 && at.Sub(c.stamps[n-1].at) < stampEvery {
		return
	}
	if len(c.stamps) == maxStamps { // those of records that are gone go first
		gone := 0
		for gone+1 < maxStamps && c.stamps[gone+1].mark <= c.first {
			gone++
		}
		c.stamps = slices.Delete(c.stamps, 0, gone)
	}
	if len(c.stamps) == maxStamps {
		for i := range maxStamps / 2 {
			c.stamps[i] = c.stamps[2*i]
		}
		c.stamps = c.stamps[:maxStamps/2]
	}
	c.stamps = append(c.stamps, stamp{mark, at})
}

// stampFrom gives the next n records of c the stamps of n records of o, from the i-th on.
func (c *Chunk) stampFrom(o *Chunk, i, n int) {
	i += o.first
	for at, s := range o.stamps {
		if s.mark >= i+n {
			return
		}
		if at+1 == len(o.stamps) || o.stamps[at+1].mark > i {
			c.stamp(len(c.marks)+max(s.mark-i, 0), s.at)
		}
	}
}

// came returns when the first record came that is no announcement; zero if there is none.
func (c *Chunk) came() (at time.Time) {
	first := c.first
	for _, n := range c.notes {
		if n.mark == first {
			first++
		}
	}
	if first == len(c.marks) {
		return time.Time{}
	}
	for _, s := range c.stamps {
		if s.mark > first {
			break
		}
		at = s.at
	}
	return at
}

// Buffer returns the buffer to append the next record to. What was appended becomes a record with
// [Chunk.Commit].
func (c *Chunk) Buffer() []byte { return c.buf }

// Commit takes back the buffer: what was appended to [Chunk.Buffer] since it was handed out is the
// record with the number seq. Nothing appended is no record.
func (c *Chunk) Commit(buf []byte, seq uint64) {
	if len(buf) == len(c.buf) {
		return
	}
	c.buf = buf
	c.marks = append(c.marks, mark{end: len(buf), seq: seq, origin: c.origin})
}

// commitOf is Commit for a record of an origin that may be another one than that of the chunk.
func (c *Chunk) commitOf(buf []byte, o *Origin, seq uint64) {
	if len(buf) == len(c.buf) {
		return
	}
	if len(c.marks) == 0 {
		c.origin = o
	}
	c.mixed = c.mixed || c.origin != o
	c.buf = buf
	c.marks = append(c.marks, mark{end: len(buf), seq: seq, origin: o})
}

// commitAnnouncement is Commit for the announcement of l.
func (c *Chunk) commitAnnouncement(buf []byte, l Loss) {
	if len(buf) == len(c.buf) {
		return
	}
	c.notes = append(c.notes, note{mark: len(c.marks), count: l.Count, firstSeq: l.FirstSeq})
	c.marks = append(c.marks, mark{end: len(buf), seq: l.LastSeq, origin: l.Origin})
	c.buf = buf
	c.mixed = true
}

// Bytes returns the records, one behind the other.
func (c *Chunk) Bytes() []byte { return c.buf[c.start:] }

// Len returns the number of records.
func (c *Chunk) Len() int { return len(c.marks) - c.first }

// Full reports whether the chunk is large enough for it to be put before more is appended.
func (c *Chunk) Full() bool { return len(c.buf) >= c.full || len(c.marks) >= c.most }

// Record returns the i-th record and its number. That of an announcement is the last one which it
// announces.
func (c *Chunk) Record(i int) (line []byte, seq uint64) {
	i += c.first
	start := c.start
	if i > c.first {
		start = c.marks[i-1].end
	}
	return c.buf[start:c.marks[i].end], c.marks[i].seq
}

// run returns n records from the i-th on, one behind the other.
func (c *Chunk) run(i, n int) []byte {
	first, _ := c.Record(i)
	start := c.marks[c.first+i].end - len(first)
	return c.buf[start:c.marks[c.first+i+n-1].end]
}

// OriginOf returns where the i-th record comes from. For an announcement it is where the lost
// records come from.
func (c *Chunk) OriginOf(i int) *Origin { return c.marks[c.first+i].origin }

// recordsIn returns how many records the first n bytes are, cut ones not counted.
func (c *Chunk) recordsIn(n int) int {
	live := c.marks[c.first:]
	i, _ := slices.BinarySearchFunc(live, c.start+n+1, func(m mark, end int) int { return cmp.Compare(m.end, end) })
	return i
}

// lossOf returns the loss that the i-th record announces, or that its own loss would be.
func (c *Chunk) lossOf(i int) (l Loss, announced bool) {
	m := c.marks[c.first+i]
	l = Loss{Origin: m.origin, Count: 1, FirstSeq: m.seq, LastSeq: m.seq}
	at, announced := slices.BinarySearchFunc(c.notes, c.first+i, func(n note, mark int) int { return cmp.Compare(n.mark, mark) })
	if announced {
		l.Count, l.FirstSeq = c.notes[at].count, c.notes[at].firstSeq
	}
	return l, announced
}

// tally calls count for each run of records of one origin among the i-th to before the j-th,
// announcements excepted. There may be several runs of an origin.
func (c *Chunk) tally(i, j int, count func(o *Origin, records int)) {
	if !c.mixed {
		count(c.origin, j-i)
		return
	}
	var last *Origin
	n := 0
	notes := c.notes
	for m := c.first + i; m < c.first+j; m++ {
		for len(notes) > 0 && notes[0].mark < m {
			notes = notes[1:]
		}
		if len(notes) > 0 && notes[0].mark == m {
			continue
		}
		if o := c.marks[m].origin; o != last {
			count(last, n)
			last, n = o, 0
		}
		n++
	}
	count(last, n)
}

// hasRoom reports whether so many more bytes and records fit in. A full chunk has none, although
// its buffer may have grown for a huge record: what followed in there would keep the memory of
// that record when it is dropped.
func (c *Chunk) hasRoom(w weight) bool {
	return !c.Full() && len(c.buf)+int(w.bytes) <= cap(c.buf) && len(c.marks)+w.records <= c.most
}

// append adds the i-th record of o, which is no announcement, by copying it.
func (c *Chunk) append(o *Chunk, i int) {
	line, seq := o.Record(i)
	c.takeOver(o)
	c.stampFrom(o, i, 1)
	c.buf = append(c.buf, line...)
	c.marks = append(c.marks, mark{end: len(c.buf), seq: seq, origin: o.OriginOf(i)})
}

// appendAny is append for any record.
func (c *Chunk) appendAny(o *Chunk, i int) {
	if l, announced := o.lossOf(i); announced {
		c.notes = append(c.notes, note{mark: len(c.marks), count: l.Count, firstSeq: l.FirstSeq})
	}
	c.append(o, i)
}

// reserve makes room for so much more at once.
func (c *Chunk) reserve(w weight) {
	c.buf, c.marks = slices.Grow(c.buf, int(w.bytes)), slices.Grow(c.marks, w.records)
}

// appendAll adds the records of o by copying them.
func (c *Chunk) appendAll(o *Chunk) {
	c.takeOver(o)
	c.stampFrom(o, 0, o.Len())
	shift := len(c.buf) - o.start
	shiftMarks := len(c.marks) - o.first
	c.buf = append(c.buf, o.Bytes()...)
	for _, m := range o.marks[o.first:] {
		c.marks = append(c.marks, mark{end: m.end + shift, seq: m.seq, origin: m.origin})
	}
	for _, n := range o.notes {
		c.notes = append(c.notes, note{mark: n.mark + shiftMarks, count: n.count, firstSeq: n.firstSeq})
	}
}

// runLength returns how many records there are before the second one of two announcements side by
// side, or before any announcement. The first record is none.
func (c *Chunk) runLength(beforeAny bool) int {
	for i, n := range c.notes {
		if beforeAny || i > 0 && c.notes[i-1].mark == n.mark-1 {
			return n.mark - c.first
		}
	}
	return c.Len()
}

// moveFrom moves the first n records of o to c, which is empty, and returns their weight.
func (c *Chunk) moveFrom(o *Chunk, n int) weight {
	end := o.marks[o.first+n-1].end
	c.origin, c.mixed = o.origin, o.mixed
	c.stampFrom(o, 0, n)
	c.buf = append(c.buf, o.buf[o.start:end]...)
	for _, m := range o.marks[o.first : o.first+n] {
		m.end -= o.start
		c.marks = append(c.marks, m)
	}
	for _, n := range o.notes {
		if n.mark -= o.first; n.mark < len(c.marks) {
			c.notes = append(c.notes, n)
		}
	}
	o.skip(n)
	return c.weight()
}

// takeOver makes origin and mixed right for records of o besides those that c has.
func (c *Chunk) takeOver(o *Chunk) {
	if len(c.marks) == 0 {
		c.origin, c.mixed = o.origin, o.mixed
	}
	c.mixed = c.mixed || o.mixed || c.origin != o.origin
}

// drop removes the first record and returns its weight and its loss. That of an announcement is
// the one it announces.
func (c *Chunk) drop() (w weight, l Loss, announced bool) {
	m := &c.marks[c.first]
	w = weight{bytes: int64(m.end - c.start), records: 1}
	l = Loss{Origin: m.origin, Count: 1, FirstSeq: m.seq, LastSeq: m.seq}
	if len(c.notes) > 0 && c.notes[0].mark == c.first {
		announced = true
		w.notes, l.Count, l.FirstSeq = 1, c.notes[0].count, c.notes[0].firstSeq
		c.notes = slices.Delete(c.notes, 0, 1)
	}
	c.first++
	c.start = m.end
	return w, l, announced
}

// skip removes the first n records.
func (c *Chunk) skip(n int) {
	if n == 0 {
		return
	}
	c.first += n
	c.start = c.marks[c.first-1].end
	gone := 0
	for gone < len(c.notes) && c.notes[gone].mark < c.first {
		gone++
	}
	c.notes = slices.Delete(c.notes, 0, gone)
}

// truncate removes the records from the n-th on.
func (c *Chunk) truncate(n int) {
	n += c.first
	end := c.start
	if n > c.first {
		end = c.marks[n-1].end
	}
	for len(c.notes) > 0 && c.notes[len(c.notes)-1].mark >= n {
		c.notes = c.notes[:len(c.notes)-1]
	}
	for len(c.stamps) > 0 && c.stamps[len(c.stamps)-1].mark >= n {
		c.stamps = c.stamps[:len(c.stamps)-1]
	}
	c.marks, c.buf = c.marks[:n], c.buf[:end]
}

// trim exchanges c's storage for one that fits, and returns a chunk with the old storage.
func (c *Chunk) trim() *Chunk {
	fitting := &Chunk{full: c.full, most: c.most, charged: c.charged, number: c.number}
	fitting.buf = make([]byte, 0, len(c.buf)-c.start)
	fitting.marks = make([]mark, 0, c.Len())
	fitting.appendAll(c)
	*c, *fitting = *fitting, *c
	return fitting
}

// reset empties the chunk and keeps its storage. It is written field by field because that is
// several times faster.
func (c *Chunk) reset() {
	c.buf, c.marks, c.notes, c.stamps = c.buf[:0], c.marks[:0], c.notes[:0], c.stamps[:0]
	c.origin, c.mixed = nil, false
	c.first, c.start = 0, 0
	c.charged = weight{}
	c.slack = 0
	c.next = nil
}

// A chunk is as large as the usual pipe, so that one write fills it. That of a small queue is
// smaller, or the limits would be a matter of two chunks.
const (
	maxChunkSize = 64 << 10
	minChunkSize = 512
	maxRecords   = 4096
)

// maxFree is how many chunks a pool keeps. More are in use only while there is a backlog, which
// should leave no memory behind for long.
const maxFree = 4

// spares are the chunks of full size that pools do not keep, until the collector takes them. A consumer that falls behind for some
// milliseconds, again and again, would otherwise have as many made anew.
var spares sync.Pool

// chunkSize returns the capacity of the chunks of a queue with the given limit.
func chunkSize(limit int64) int {
	return int(min(max(limit/16, minChunkSize), maxChunkSize))
}

// chunkRecords returns how many records a chunk has at most in a queue for so many. Short records
// would otherwise let the marks of a chunk outgrow the bytes.
func chunkRecords(limit int) int {
	if limit <= 0 {
		return maxRecords
	}
	return min(max(limit/16, 1), maxRecords)
}

// A pool keeps used chunks. Unlike those of spares they are few, and outlive garbage collections.
type pool struct {
	size  int // capacity of a chunk in bytes
	most  int // and in records
	free  *Chunk
	count int
}

func (p *pool) get() *Chunk {
	if c := p.free; c != nil {
		p.free = c.next
		p.count--
		c.next = nil
		return c
	}
	if p.size == maxChunkSize {
		if c, _ := spares.Get().(*Chunk); c != nil {
			c.most = p.most
			return c
		}
	}
	// The last eighth is for the record that makes the chunk full.
	return &Chunk{buf: make([]byte, 0, p.size), full: p.size - p.size/8, most: p.most}
}

// put takes back a chunk in any state. One that was trimmed or that held a very large record is
// left to the collector.
func (p *pool) put(c *Chunk) {
	if cap(c.buf) < p.size || cap(c.buf) > 2*p.size {
		return
	}
	c.reset()
	switch {
	case p.count < maxFree:
		c.next = p.free
		p.free = c
		p.count++
	case p.size == maxChunkSize:
		spares.Put(c)
	}
}

// recordOverhead is what a record occupies beside its bytes, its mark, and an announcement once
// more, its note.
const recordOverhead = 24

// A weight is what records count against the limits of a queue.
type weight struct {
	bytes   int64
	records int
	notes   int // how many of the records are announcements
}

// weight returns that of the chunk's records.
func (c *Chunk) weight() weight {
	return weight{bytes: int64(len(c.buf) - c.start), records: c.Len(), notes: len(c.notes)}
}

// weightOf returns that of a record which is no announcement.
func weightOf(line []byte) weight { return weight{bytes: int64(len(line)), records: 1} }

// cost is what counts against the limit of bytes.
func (w weight) cost() int64 { return w.bytes + int64(w.records+w.notes)*recordOverhead }

func (w weight) plus(o weight) weight {
	return weight{bytes: w.bytes + o.bytes, records: w.records + o.records, notes: w.notes + o.notes}
}

func (w weight) minus(o weight) weight {
	return weight{bytes: w.bytes - o.bytes, records: w.records - o.records, notes: w.notes - o.notes}
}

// footprint is the memory that the chunk occupies.
func (c *Chunk) footprint() int64 {
	return int64(cap(c.buf)) + int64(cap(c.marks)+cap(c.notes))*recordOverhead
}
