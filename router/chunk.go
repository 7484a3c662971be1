package router

// recordOverhead is what a record occupies beside its bytes: its mark.
const recordOverhead = 24

// maxRecords bounds the marks of a chunk, which very short records would otherwise let outgrow the bytes.
const maxRecords = 4096

// A Chunk is a run of whole records, the unit in which they travel through a [Queue]. It comes from [Queue.Chunk], and
// belongs to one goroutine at a time: the producer until [Queue.Put], the consumer from [Queue.Take] to
// [Queue.Release].
//
// A producer appends each record to the chunk's own buffer, so that it is written once:
//
//	buf := encoder.Append(c.Buffer(), event)
//	c.Commit(buf, event.Seq)
type Chunk struct {
	buf   []byte
	marks []mark
	// origin is that of the records that are committed.
	origin *Origin
	// first is the number of records, and start the number of bytes, at the front that have been dropped.
	first, start int
	full         int   // length of buf from which on the chunk is full
	charged      int64 // what the queue counts against its limit for this chunk
	slack        int64 // what the queue counts as wasted by this chunk
	next         *Chunk
}

// A mark says where a record ends in its chunk's buffer, and where it comes from.
type mark struct {
	end    int
	seq    uint64
	origin *Origin
}

// Buffer returns the buffer to append the next record to. What was appended becomes a record with [Chunk.Commit].
func (c *Chunk) Buffer() []byte { return c.buf }

// Commit takes back the buffer: what was appended to [Chunk.Buffer] since it was handed out is the record with the number
// seq. Nothing appended is no record.
func (c *Chunk) Commit(buf []byte, seq uint64) {
	if len(buf) == len(c.buf) {
		return
	}
	c.buf = buf
	c.marks = append(c.marks, mark{end: len(buf), seq: seq, origin: c.origin})
}

// Bytes returns the records, one behind the other.
func (c *Chunk) Bytes() []byte { return c.buf[c.start:] }

// Len returns the number of records.
func (c *Chunk) Len() int { return len(c.marks) - c.first }

// Full reports whether the chunk is large enough for it to be put before more is appended.
func (c *Chunk) Full() bool { return len(c.buf) >= c.full || len(c.marks) >= maxRecords }

// cost is what the chunk's records count against a limit.
func (c *Chunk) cost() int64 { return cost(len(c.buf)-c.start, c.Len()) }

// cost is what a number of records of so many bytes altogether count against a limit.
func cost(bytes, records int) int64 { return int64(bytes) + int64(records)*recordOverhead }

// footprint is the memory that the chunk occupies.
func (c *Chunk) footprint() int64 { return cost(cap(c.buf), cap(c.marks)) }

// hasRoom reports whether so many more bytes and records fit in. A full chunk has none, although its buffer may have grown
// for a huge record: what followed in there would keep the memory of that record when it is dropped.
func (c *Chunk) hasRoom(bytes, records int) bool {
	return !c.Full() && len(c.buf)+bytes <= cap(c.buf) && len(c.marks)+records <= maxRecords
}

// Record returns the i-th record and its number. An announcement has that of the last record which it announces.
func (c *Chunk) Record(i int) (line []byte, seq uint64) {
	i += c.first
	start := c.start
	if i > c.first {
		start = c.marks[i-1].end
	}
	return c.buf[start:c.marks[i].end], c.marks[i].seq
}

// OriginOf returns where the i-th record comes from, or the records which it announces as lost.
func (c *Chunk) OriginOf(i int) *Origin { return c.marks[c.first+i].origin }

// append adds a record by copying it.
func (c *Chunk) append(line []byte, seq uint64) {
	c.Commit(append(c.buf, line...), seq)
}

// appendAll adds the records of o by copying them.
func (c *Chunk) appendAll(o *Chunk) {
	shift := len(c.buf) - o.start
	c.buf = append(c.buf, o.Bytes()...)
	for _, m := range o.marks[o.first:] {
		c.marks = append(c.marks, mark{end: m.end + shift, seq: m.seq, origin: m.origin})
	}
}

// drop removes the first record and returns what it cost and its number.
func (c *Chunk) drop() (charge int64, seq uint64) {
	line, seq := c.Record(0)
	c.start += len(line)
	c.first++
	return cost(len(line), 1), seq
}

// trim exchanges c's storage for one that fits, and returns a chunk with the old storage.
func (c *Chunk) trim() *Chunk {
	fitting := &Chunk{full: c.full, charged: c.charged}
	fitting.buf = make([]byte, 0, len(c.buf)-c.start)
	fitting.marks = make([]mark, 0, c.Len())
	fitting.appendAll(c)
	*c, *fitting = *fitting, *c
	return fitting
}

// reset empties the chunk and keeps its storage.
func (c *Chunk) reset() {
	*c = Chunk{buf: c.buf[:0], marks: c.marks[:0], full: c.full}
}
