package router

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"phx/phoenix"
)

// A window is the records that a drain has in hand, and says which of them may be sent next, in several requests at once. Records of
// one strand are sent in the order in which they came, and never in two requests at a time; records of different strands do not wait for
// each other. After a failure the strands of the request wait for a backoff of their own, and go in smaller and smaller batches, so that
// what is wrong with one of them holds up no other in the end; and as long as nothing succeeds there is one request at a time. It has
// no clock, no goroutine and no I/O.
type window struct {
	limits  windowLimits
	backoff phoenix.Backoff

	parts   []*part // in the order in which they were taken
	items   []*item // neither delivered nor lost, in the order in which they came
	strands map[string]*strand
	scan    uint64 // counts calls of next
	// sending is how many requests are out.
	sending int
	// failures is how many requests failed since one succeeded. Before until nothing is sent because of them, and before asked because
	// the receiver has said so.
	failures     int
	until, asked time.Time
}

// windowLimits bound the requests of a window.
type windowLimits struct {
	// Records and Bytes bound a batch, which has at least one record. A batch that is not full waits until its first record has been
	// here for Wait.
	Records int
	Bytes   int
	Wait    time.Duration
	// Requests is how many there are at once. With one, all records are in one strand.
	Requests int
	// Retries is how often the records of a failed request are sent again; 0: there is no limit. Negative: never.
	Retries int
}

// leastInHand is how many records a window takes at least. Of a receiver that is too slow, at least
// as many requests are signals for each one that announces a loss.
const leastInHand = 16

// mostInHand is how many records, at least, a window with several requests may have in hand, and mostStuck how many besides of strands
// that wait for another attempt: behind these there may be records of others.
const mostInHand, mostStuck = 64, 16384

// A part is a chunk in a window.
type part struct {
	chunk *Chunk
	fates []fate
	first int // how many of the records the chunk does not have any more
	open  int // how many are neither delivered nor lost
}

// An item is a record in a window.
type item struct {
	part   *part
	index  int
	size   int
	came   time.Time
	strand *strand
	// announcement: it is sent once.
	announcement bool
	// out: it is in a request.
	out bool
	// group is the half of a refused batch that the item belongs to; nil: none. Only items of one group are in one request.
	group *group
}

type group struct{ _ byte } // of a size, or all would have one address

// A strand is the records whose order counts.
type strand struct {
	key   string
	items int // in the window
	out   bool
	scan  uint64 // the last call of next that passed by a record of the strand
	// failures is how many requests with records of the strand failed in a row, and until when it waits because of the last one.
	failures int
	until    time.Time
	// head is the first record of the strand in the last request that failed, announcements aside, and tries how many requests of that
	// failed. counted is the last failure that was counted for it.
	head    recordName
	tries   int
	counted uint64
}

// A recordName tells a record from others of its strand.
type recordName struct {
	origin *Origin
	seq    uint64
}

func newWindow(limits windowLimits) *window {
	return &window{limits: limits, backoff: phoenix.DefaultReconnectAfter(), strands: map[string]*strand{}}
}

// room returns how many records should be taken now. It is 0 or many, because what is taken at once has one announcement of a loss at
// most. With several requests, records that wait for others of their strand do not count, up to mostInHand.
func (w *window) room() int {
	least := w.limits.Records * w.limits.Requests
	ready, stuck, most := len(w.items), 0, max(leastInHand, 2*least)
	if w.limits.Requests > 1 && ready >= least {
		ready = 0
		for _, it := range w.items {
			switch {
			case it.strand.failures > 0:
				stuck++
			case !it.strand.out:
				ready++
			}
		}
	}
	if ready >= least {
		return 0
	}
	return max(min(most-ready, max(mostInHand, 8*least)+min(stuck, mostStuck)-len(w.items)), 0)
}

// stale reports whether much of what the window has in hand is only there because of other records of the same chunks, which wait for
// another attempt. It counts for the queue, until all is given back to that.
func (w *window) stale() bool {
	kept := 0
	for _, p := range w.parts {
		kept += len(p.fates) - p.first - p.open
	}
	if kept < 4*w.limits.Records*w.limits.Requests || kept <= len(w.items) {
		return false
	}
	return slices.ContainsFunc(w.items, func(it *item) bool { return it.strand.failures > 0 })
}

// add adds the records of a chunk. keyOf returns the key of the strand of a record, valid until the next call, or an error if the record
// cannot be sent: it is lost then, and add returns the first such error with the record's number.
func (w *window) add(c *Chunk, now time.Time, keyOf func(line []byte) ([]byte, error)) (seq uint64, wrong error) {
	if len(w.strands) > mostIdleStrands+len(w.items) {
		maps.DeleteFunc(w.strands, func(_ string, l *strand) bool { return l.items == 0 })
	}
	p := &part{chunk: c, fates: make([]fate, c.Len()), open: c.Len()}
	w.parts = append(w.parts, p)
	items := make([]item, c.Len())
	for i := range items {
		line, number := c.Record(i)
		key, err := keyOf(line)
		if err != nil {
			if wrong == nil {
				wrong, seq = err, number
			}
			p.settle(i, recordLost)
			continue
		}
		l := w.strands[string(key)]
		if l == nil {
			l = &strand{key: string(key)}
			w.strands[l.key] = l
		}
		l.items++
		_, announcement := c.lossOf(i)
		items[i] = item{part: p, index: i, size: len(line), came: now, strand: l, announcement: announcement}
		w.items = append(w.items, &items[i])
	}
	return seq, wrong
}

// line returns the record of an item.
func (it *item) line() []byte {
	line, _ := it.part.chunk.Record(it.index - it.part.first)
	return bytes.TrimSuffix(line, []byte{'\n'})
}

// name returns which record it is.
func (it *item) name() recordName {
	c, i := it.part.chunk, it.index-it.part.first
	_, seq := c.Record(i)
	return recordName{c.OriginOf(i), seq}
}

func (p *part) settle(i int, f fate) {
	p.fates[i] = f
	p.open--
}

// next returns the records of the next request, which are out from now on. If there is none yet, it returns how long that may last
// when nothing else happens; 0 says that only something else can change it. ended: nothing more comes. While the window is stale, there is none.
func (w *window) next(now time.Time, ended bool) (batch []*item, delay time.Duration) {
	if w.sending >= w.limits.Requests || w.failures > 0 && w.sending > 0 || len(w.items) == 0 || w.stale() {
		return nil, 0
	}
	if d := w.paused(now); d > 0 {
		return nil, d
	}
	first, delay := w.first(now)
	if first < 0 {
		return nil, delay
	}
	batch, full := w.collect(first, now)
	head := w.items[first]
	waited := now.Sub(head.came)
	if !full && !ended && head.group == nil && head.strand.failures == 0 && w.room() > 0 && waited < w.limits.Wait {
		return nil, w.limits.Wait - waited
	}
	for _, it := range batch {
		it.out, it.strand.out = true, true
	}
	w.sending++
	return batch, 0
}

// first returns the index of the oldest record that may be sent, and while nothing succeeds that of the strand which has failed least.
// -1: there is none, and one may be in so much time; 0: not by itself.
func (w *window) first(now time.Time) (index int, delay time.Duration) {
	index = -1
	w.scan++
	for i, it := range w.items {
		l := it.strand
		if l.out || l.scan == w.scan {
			continue
		}
		l.scan = w.scan
		switch d := l.until.Sub(now); {
		case d > 0:
			if delay == 0 || d < delay {
				delay = d
			}
		case w.failures == 0:
			return i, 0
		case index < 0 || l.failures < w.items[index].strand.failures:
			index = i
		}
	}
	return index, delay
}

// collect returns the record with an index and others that may be in one request with it, and whether the request is full.
func (w *window) collect(first int, now time.Time) (batch []*item, full bool) {
	head := w.items[first]
	most, size := max(w.limits.Records>>min(head.strand.failures, 62), 1), 0
	w.scan++
	for _, it := range w.items[first:] {
		l := it.strand
		if l.out || l.scan == w.scan { // a record of the strand that comes before is not in the request
			continue
		}
		if it.group != head.group || l.failures != head.strand.failures || l.until.After(now) {
			l.scan = w.scan
			continue
		}
		if len(batch) > 0 && size+it.size > w.limits.Bytes {
			return batch, true
		}
		batch = append(batch, it)
		size += it.size + 1
		if len(batch) == most || size >= w.limits.Bytes {
			return batch, true
		}
	}
	return batch, false
}

// paused returns how long nothing at all is sent because of a failure; 0 or less: something may be.
func (w *window) paused(now time.Time) time.Duration { return max(w.until.Sub(now), w.asked.Sub(now)) }

// waits reports whether all that is in the window waits because of failures, and not for a batch to fill.
func (w *window) waits(now time.Time) bool {
	first, _ := w.first(now)
	return w.paused(now) > 0 || first < 0
}

// delivered says that a request has succeeded.
func (w *window) delivered(batch []*item) {
	w.back(batch)
	w.failures, w.until = 0, time.Time{}
	for _, it := range batch {
		it.strand.failures, it.strand.until, it.strand.head = 0, time.Time{}, recordName{}
		w.settle(it, recordDelivered)
	}
	w.sweep()
}

// refused says that the receiver does not want the records of a request. If that may be about one of several, the halves are sent
// each for itself; else they are lost, and refused returns how many that are. Announcements are not sent again.
func (w *window) refused(batch []*item, mayBeOne bool) (lost int) {
	w.back(batch)
	w.failures, w.until = 0, time.Time{}
	halves := [2]*group{{}, {}}
	for i, it := range batch {
		it.strand.failures, it.strand.until, it.strand.head = 0, time.Time{}, recordName{}
		switch {
		case it.announcement:
			w.settle(it, recordLost)
		case mayBeOne && len(batch) > 1:
			it.group = halves[2*i/len(batch)]
		default:
			lost++
			w.settle(it, recordLost)
		}
	}
	w.sweep()
	return lost
}

// failed says that a request has failed, and may succeed later, but not before the receiver asked for, if it did. It returns how many
// records are lost because they may not be sent again, and how long the strands of the request wait.
func (w *window) failed(batch []*item, now time.Time, asked time.Duration) (lost int, delay time.Duration) {
	w.back(batch)
	delay = max(w.backoff(w.failures), asked)
	before := w.failures
	w.failures++
	w.until = now.Add(delay)
	if asked > 0 {
		w.asked = now.Add(asked)
	}
	w.scan++
	for _, it := range batch {
		l := it.strand
		if l.scan != w.scan {
			l.scan = w.scan
			l.until = w.until
			if l.failures != before {
				l.until = now.Add(max(w.backoff(l.failures), asked))
			}
			l.failures++
		}
		if it.announcement {
			w.settle(it, recordLost)
			continue
		}
		if l.counted != w.scan {
			l.counted = w.scan
			if name := it.name(); l.head != name {
				l.head, l.tries = name, 0
			}
			l.tries++
		}
		if w.limits.Retries != 0 && l.tries > w.limits.Retries {
			lost++
			w.settle(it, recordLost)
		}
	}
	w.sweep()
	return lost, delay
}

// back takes the records of a request back.
func (w *window) back(batch []*item) {
	w.sending--
	for _, it := range batch {
		it.out, it.strand.out = false, false
	}
}

// settle says what became of a record. It leaves the window with sweep.
func (w *window) settle(it *item, f fate) {
	it.part.settle(it.index, f)
	it.strand.items--
	if it.strand.items == 0 && it.strand.failures == 0 {
		delete(w.strands, it.strand.key)
	}
}

// sweep takes off the records of which it is known what became of them.
func (w *window) sweep() {
	w.items = slices.DeleteFunc(w.items, func(it *item) bool { return it.part.fates[it.index] != recordOpen })
}

// giveBack gives to the queue what it has of chunks that are done with, or with all: everything, the open records to wait there again.
func (w *window) giveBack(q *Queue, all bool) {
	if all {
		for _, p := range slices.Backward(w.parts) {
			q.giveBackEach(p.chunk, p.fates[p.first:])
		}
		w.parts, w.items = nil, nil
		maps.DeleteFunc(w.strands, func(_ string, l *strand) bool {
			l.items = 0
			return l.failures == 0
		})
		return
	}
	w.parts = slices.DeleteFunc(w.parts, func(p *part) bool {
		if p.open == 0 {
			q.giveBackEach(p.chunk, p.fates[p.first:])
			return true
		}
		n := p.first
		for p.fates[n] == recordDelivered {
			n++
		}
		if n > p.first {
			q.Advance(p.chunk, n-p.first)
			p.first = n
		}
		return false
	})
}

// mostIdleStrands bounds the strands that are remembered for their failures without a record in hand.
const mostIdleStrands = 4096
