package router

// A chunk is as large as the usual pipe, so that one write fills it. That of a small queue is smaller, or the limits would
// be a matter of two chunks.
const (
	maxChunkSize = 64 << 10
	minChunkSize = 512
	maxRecords   = 4096
)

// maxFree is how many chunks a pool keeps. More are in use only while there is a backlog, which should leave no memory
// behind.
const maxFree = 16

// chunkSize returns the capacity of the chunks of a queue with the given limit.
func chunkSize(limit int64) int {
	return int(min(max(limit/16, minChunkSize), maxChunkSize))
}

// chunkRecords returns how many records a chunk has at most in a queue for so many. Short records would otherwise let the
// marks of a chunk outgrow the bytes.
func chunkRecords(limit int) int {
	if limit <= 0 {
		return maxRecords
	}
	return min(max(limit/16, 1), maxRecords)
}

// A pool keeps used chunks. Unlike a sync.Pool it is bounded and outlives garbage collections.
type pool struct {
	size  int // capacity of a chunk in bytes
	most  int // and in records
	free  *Chunk
	count int
}

func (p *pool) get() *Chunk {
	c := p.free
	if c == nil {
		// The last eighth is for the record that makes the chunk full.
		return &Chunk{buf: make([]byte, 0, p.size), full: p.size - p.size/8, most: p.most}
	}
	p.free = c.next
	p.count--
	c.next = nil
	return c
}

// put takes back a chunk in any state. One that was trimmed or that held a very large record is left to the collector.
func (p *pool) put(c *Chunk) {
	if p.count == maxFree || cap(c.buf) < p.size || cap(c.buf) > 2*p.size {
		return
	}
	c.reset()
	c.next = p.free
	p.free = c
	p.count++
}
