package router

// recordOverhead is what a record occupies beside its bytes, its mark, and an announcement once more, its note.
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
