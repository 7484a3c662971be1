package router

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"phx/signal"
)

// A Loss is one episode of lost records of one origin: a gap at one place in the stream.
type Loss struct {
	// Origin is where the records came from: nil for those of [Queue.Chunk].
	Origin *Origin
	// Count is how many records are missing.
	Count uint64
	// FirstSeq and LastSeq are the sequence numbers of the first and the last of them. Records
	// between them that were never put, because a filter took them, are not counted.
	FirstSeq, LastSeq uint64
}

// extend adds another loss of the same origin.
func (l *Loss) extend(other Loss) {
	l.Count += other.Count
	l.FirstSeq = min(l.FirstSeq, other.FirstSeq)
	l.LastSeq = max(l.LastSeq, other.LastSeq)
}

// An Origin is where records of a [Queue] come from: a connection, whose sequence numbers they
// have. It counts what becomes of them, and losses are announced for each origin apart. It belongs
// to one queue.
//
// Each record that was given to [Queue.Put] is counted once in the end: as delivered when the
// consumer gives it back as such, or as dropped when it is lost, whether by the policy, by the
// consumer, by [Queue.Abort] or because Put returned an error. Announcements are not counted.
type Origin struct {
	// Connection is the name of the connection.
	Connection string
	// Delivered is how many records the consumer has delivered, Dropped how many are lost.
	Delivered, Dropped atomic.Uint64
	// epoch is that of the connection, for announcements.
	epoch atomic.Uint64
	// share is what the records count for, besides; nil: nothing.
	share atomic.Pointer[share]
	// spooled is told of records of the queue behind a spool that are settled; nil: there is no spool.
	spooled *spoolOrigin
	// at is where the loss of this origin is in each of the queue's lists, if it is there. The
	// queue's lock guards it.
	at [lists]int
}

// NewOrigin returns an origin that has counted nothing.
func NewOrigin(connection string) *Origin { return &Origin{Connection: connection} }

// delivered counts n records as delivered. A nil origin does not count.
func (o *Origin) delivered(n int) {
	if o != nil {
		o.Delivered.Add(uint64(n))
		o.spooled.counter().delivered(n)
	}
}

// dropped counts n records as lost. A nil origin does not count.
func (o *Origin) dropped(n int) {
	if o != nil {
		o.Dropped.Add(uint64(n))
		o.spooled.counter().dropped(n)
	}
}

func (o *Origin) setEpoch(epoch uint64) {
	if o != nil {
		o.epoch.Store(epoch)
	}
}

// The lists of losses that a queue has.
const (
	front   = iota // at the gap before what waits
	pending        // at a gap before what was taken
	back           // at the gap behind what waits
	behind         // at the gap behind what is being given back
	refused        // announced in vain
	untaken        // for TakeLosses
	unsent         // to be announced at the sink of OnLoss, guarded by lossReporter.reporting
	lists
)

// losses are those at one place of the stream, one an origin, in the order of the first loss of
// each.
type losses struct {
	list []Loss
	name int // front, pending, back, behind, refused, untaken or unsent
}

// find returns the index of the loss of o, or -1.
func (ls *losses) find(o *Origin) int {
	if o == nil {
		return slices.IndexFunc(ls.list, func(l Loss) bool { return l.Origin == nil })
	}
	if i := o.at[ls.name]; i < len(ls.list) && ls.list[i].Origin == o {
		return i
	}
	return -1
}

// choose returns the index of the loss of o, or of the first one. The list is not empty.
func (ls *losses) choose(o *Origin) int { return max(ls.find(o), 0) }

// add adds a loss, behind those of other origins if it is the first of its own.
func (ls *losses) add(l Loss) {
	if i := ls.find(l.Origin); i >= 0 {
		ls.list[i].extend(l)
		return
	}
	if l.Origin != nil {
		l.Origin.at[ls.name] = len(ls.list)
	}
	ls.list = append(ls.list, l)
}

// addAll adds losses.
func (ls *losses) addAll(later []Loss) {
	for _, l := range later {
		ls.add(l)
	}
}

// addEarlier puts those of the earlier losses whose origin has one in the list in front of that,
// and takes them from there.
func (ls *losses) addEarlier(earlier *losses) {
	if len(earlier.list) == 0 {
		return
	}
	for i, l := range ls.list {
		if at := earlier.find(l.Origin); at >= 0 {
			whole := earlier.list[at]
			whole.extend(l)
			ls.list[i] = whole
			earlier.remove(at)
		}
	}
}

// remove removes the i-th loss.
func (ls *losses) remove(i int) {
	ls.list = slices.Delete(ls.list, i, i+1)
	for ; i < len(ls.list); i++ {
		if o := ls.list[i].Origin; o != nil {
			o.at[ls.name] = i
		}
	}
}

// take empties the list and returns what was in there.
func (ls *losses) take() []Loss {
	if len(ls.list) == 0 {
		return nil
	}
	list := ls.list
	ls.list = nil
	return list
}

// clear empties the list and keeps its storage.
func (ls *losses) clear() {
	clear(ls.list)
	ls.list = ls.list[:0]
}

// appendDropped appends the signal phoenix.signal.dropped for a loss in a queue with that policy.
// A loss without an origin belongs to no connection and has no signal. sink is the name of the sink
// that lost something, if another one is told.
func appendDropped(dst []byte, format signal.Format, policy Policy, l Loss, sink string) []byte {
	if l.Origin == nil {
		return dst
	}
	e := signal.NewEncoder(format, l.Origin.Connection)
	e.SetEpoch(l.Origin.epoch.Load())
	return e.AppendDropped(dst, signal.Dropped{
		Count: l.Count, Policy: policy.String(), FirstSeq: l.FirstSeq, LastSeq: l.LastSeq, Sink: sink,
	}, time.Now())
}

// lossReportInterval is the shortest time between two reports of a sink's losses: a sink that is
// too slow loses all the time.
const lossReportInterval = 10 * time.Second

// A lossReporter reports what the queue of a sink loses, to the log and to the sink of
// [SinkOptions.OnLoss]: the first loss at once, later ones together. It works on a goroutine of its
// own, because a loss happens with the queue locked, and a log can block.
type lossReporter struct {
	log     *slog.Logger
	options *SinkOptions
	queue   *Queue
	// onLoss is the sink that is told, too; nil: none.
	onLoss atomic.Pointer[Sink]

	// reporting holds a token while losses are reported, so that flush returns after the lines of
	// all earlier losses. It guards unsent and ended.
	reporting chan struct{}
	unsent    losses // for which the sink of OnLoss had no room
	ended     bool   // the end of the sink is logged, and tells what becomes of later records

	mu        sync.Mutex
	scheduled bool
	next      time.Time // the earliest time of the next report
}

func newLossReporter(s *Sink) *lossReporter {
	return &lossReporter{
		log: s.log, options: &s.options, queue: s.queue, reporting: make(chan struct{}, 1), unsent: losses{name: unsent},
	}
}

// schedule schedules a flush. The queue calls it with its lock held, before the loss can be taken.
func (r *lossReporter) schedule() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.scheduled {
		r.scheduled = true
		time.AfterFunc(time.Until(r.next), r.flush)
	}
}

// flush reports the losses that are not reported yet.
func (r *lossReporter) flush() { r.report(false) }

// flushLast is flush at the end of the sink.
func (r *lossReporter) flushLast() { r.report(true) }

func (r *lossReporter) report(last bool) {
	r.reporting <- struct{}{}
	defer func() { <-r.reporting }()
	// This is set before the losses are taken, because the first loss after that schedules the next
	// flush by it.
	r.mu.Lock()
	r.scheduled, r.next = false, time.Now().Add(lossReportInterval)
	r.mu.Unlock()
	lost := r.queue.TakeLosses()
	slices.SortStableFunc(lost, func(a, b Loss) int { return strings.Compare(a.connection(), b.connection()) })
	for _, loss := range lost {
		if !r.ended {
			r.logLoss(loss)
		}
	}
	r.tell(lost)
	r.ended = r.ended || last
	if len(r.unsent.list) > 0 && !last {
		r.schedule()
	}
}

func (l *Loss) connection() string {
	if l.Origin == nil {
		return ""
	}
	return l.Origin.Connection
}

func (r *lossReporter) logLoss(l Loss) {
	if l.Origin == nil {
		r.log.Warn("announcements of what other sinks have lost were lost", "count", l.Count)
		return
	}
	r.log.Warn("signals were lost", "connection", l.Origin.Connection, "count", l.Count, "policy", r.options.Policy.String(),
		"first_seq", l.FirstSeq, "last_seq", l.LastSeq)
}

// tell announces losses at the sink of OnLoss, as far as that has room: an announcement displaces no
// data there. What it has no room for is announced later, together with what is lost meanwhile. The
// announcements have no origin: they are none of the signals that are counted, and a loss of them is
// logged, and announced nowhere.
func (r *lossReporter) tell(lost []Loss) {
	s := r.onLoss.Load()
	if s == nil {
		r.unsent.clear()
		return
	}
	for _, l := range lost {
		if l.Origin != nil {
			r.unsent.add(l)
		}
	}
	for len(r.unsent.list) > 0 {
		l := r.unsent.list[0]
		c := s.queue.Chunk()
		c.Commit(appendDropped(c.Buffer(), s.options.Format, r.options.Policy, l, r.options.Name), l.LastSeq)
		if !s.queue.putSpare(c) {
			return
		}
		r.unsent.remove(0)
	}
}
