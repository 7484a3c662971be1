package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"phx/phoenix"
)

// A SpoolDrain is a [Drain] in front of another one, which keeps records in a file until that has delivered them. What waits is written
// in one transaction before it is sent, and deleted once it is delivered or lost. So nothing that was committed is lost when the process
// ends, however that happens; what was delivered and not yet deleted is delivered again. The order is that in which records came.
//
// When the file holds too much, the oldest records that are not in hand are lost, and announced in their place. When it cannot be
// written, what comes stays in the queue of the sink, with its policy, and goes to the other drain from there, behind what is in the
// file. A drain behind a spool that ends with an error gets nothing more; what comes is still kept.
type SpoolDrain struct {
	options SpoolOptions
	log     *slog.Logger
	sink    *Sink // nil in tests without one
	file    *spoolFile

	// out is the queue of the drain behind, and ended gets how that ended.
	out   *Queue
	ended chan error
	// wake holds a token when something was settled or lost behind.
	wake chan struct{}

	// What follows belongs to the goroutine that runs the drain.

	fed        uint64   // the key of the last record that was given to out
	unreadable bool     // the last reading has failed
	fedAll     bool     // out gets nothing more
	inMemory   bool     // the file could not be written
	doubtful   []*Chunk // of q, which are in the file, and perhaps not on the disk
	attempts   int      // to write it, since it could
	tryAgain   time.Time
	unsynced   time.Time // when the first transaction was written that is not on the disk; zero: all are
	ackedFrom  time.Time // when the first record of acked was settled
	over       bool      // the drain behind has ended
	lost       sampler

	mu      sync.Mutex
	origins map[string]*spoolOrigin // by connection, the latest of each
	inHand  []*spoolOrigin          // those with records in hand
	acked   []spooledRecord         // settled, and still in the file
	stats   SpoolStats
	nextAt  time.Time // when the first record came that is in the file and not in hand
}

// SpoolOptions are the settings of a [SpoolDrain].
type SpoolOptions struct {
	// Path is the file, which is made if there is none.
	Path string
	// MaxBytes bounds what is kept, in bytes of records. The file may be larger by a third, and never gets smaller.
	MaxBytes int64
	Sync     SyncPolicy
	// Behind is the drain that the records go to. It has to settle what it takes: records that it gives back as delivered or lost are
	// deleted, those that are left when it ends are kept.
	Behind Drain
	// Later: another drain of this process may still have the file open, so it is opened when the drain runs.
	Later bool
	// Logger logs what goes wrong. It should have the name of the sink among its attributes. It may be nil.
	Logger *slog.Logger
}

// A SyncPolicy says when a spool waits for the disk. It matters when the machine fails, not when the process does.
type SyncPolicy uint8

const (
	// SyncBatch waits at each transaction.
	SyncBatch SyncPolicy = iota
	// SyncSecond brings to the disk what was written, once a second.
	SyncSecond
	// SyncNever leaves it to the system.
	SyncNever
)

var syncNames = [...]string{SyncBatch: "batch", SyncSecond: "1s", SyncNever: "never"}

// String returns the name that users write.
func (p SyncPolicy) String() string { return syncNames[p] }

// ParseSyncPolicy returns the policy with the given name.
func ParseSyncPolicy(name string) (SyncPolicy, error) {
	i := slices.Index(syncNames[:], name)
	if i < 0 {
		return 0, fmt.Errorf("%q is none of batch, 1s, never", name)
	}
	return SyncPolicy(i), nil
}

// SpoolStats is what there is to know about a spool.
type SpoolStats struct {
	// Records is how many signals are kept in the file that are neither delivered nor lost, and Bytes their size there.
	Records int
	Bytes   int64
	// InMemory is how many signals are on their way without being in the file, because it could not be written.
	InMemory int
	// Oldest is when the first of them came; zero if there is none.
	Oldest time.Time
	// Fault is why the file cannot be written or read; nil: it can.
	Fault error
	// Over is why the drain behind has ended; nil: it has not.
	Over error
}

const (
	// mostInTransaction is how much one transaction appends, in bytes, and mostBehind how much the drain behind has in hand: both a quarter
	// of what is kept at most, so that there is always something else to lose.
	mostInTransaction = 4 << 20
	mostBehind        = 4 << 20
	// deleteAfter is how long what was delivered stays in the file when nothing is appended.
	deleteAfter = time.Second
	// mostAcked is how many settled records stay in the file.
	mostAcked = 4096
)

// NewSpoolDrain returns a drain that keeps records in o.Path until o.Behind has delivered them.
func NewSpoolDrain(o SpoolOptions) *SpoolDrain {
	d := &SpoolDrain{
		options: o, log: orDiscard(o.Logger).With("spool", o.Path), ended: make(chan error, 1), wake: make(chan struct{}, 1),
		origins: map[string]*spoolOrigin{},
	}
	// It is never given more than it has room for; what it is told of as lost is announced before what comes next.
	d.out = NewQueue(d.share(mostBehind), DropNewest, d.announce)
	d.out.keeps = true
	d.out.OnLoss(func() { wake(d.wake) })
	return d
}

// share returns so many bytes, or a quarter of what is kept if that is less.
func (d *SpoolDrain) share(bytes int64) int64 {
	if d.options.MaxBytes > 0 {
		bytes = min(bytes, max(d.options.MaxBytes/4, 1))
	}
	return bytes
}

// attach tells the drain whose it is.
func (d *SpoolDrain) attach(s *Sink) { d.sink = s }

// Open implements [Opener]: it opens the file, and what is behind.
func (d *SpoolDrain) Open() error {
	if opener, ok := d.options.Behind.(Opener); ok {
		if err := opener.Open(); err != nil {
			return err
		}
	}
	if d.options.Later || d.file != nil {
		return nil
	}
	return d.openFile()
}

func (d *SpoolDrain) openFile() (err error) {
	if d.file, err = openSpoolFile(d.options.Path, d.options.Sync, d.log); err != nil {
		return err
	}
	if d.file.records > 0 {
		d.log.Info("signals are in the spool from before, and go out first", "signals", d.file.records, "bytes", d.file.bytes)
	}
	return nil
}

// Close implements [io.Closer] for a drain that is not going to run.
func (d *SpoolDrain) Close() error {
	err := error(nil)
	if d.file != nil {
		err = d.file.close()
	}
	if closer, ok := d.options.Behind.(io.Closer); ok {
		err = errors.Join(err, closer.Close())
	}
	return err
}

// Reopen implements [Reopener].
func (d *SpoolDrain) Reopen() {
	if r, ok := d.options.Behind.(Reopener); ok {
		r.Reopen()
	}
}

// A spoolOrigin is where records come from that a spool has given to the drain behind it. The records of a connection have a new one
// when their numbers begin anew, so that a number tells which record it is, and when the sink has forgotten the connection.
type spoolOrigin struct {
	*Origin
	d      *SpoolDrain
	counts *Origin // whose counters count; nil: none
	list   []spooledRecord
	listed bool // in d.inHand
}

// A spooledRecord is a record in hand, or a settled one. Its key is 0 if it is not in the file.
type spooledRecord struct {
	key, seq uint64
	size     int64
	came     int64
	signal   bool     // and not a loss
	losses   []uint64 // keys of losses before it
}

// counter returns the origin whose counters count, too.
func (o *spoolOrigin) counter() *Origin {
	if o == nil {
		return nil
	}
	return o.counts
}

// settle takes records off those in hand. The queue behind is locked.
func (o *spoolOrigin) settle(marks []mark) {
	d := o.d
	d.mu.Lock()
	before := len(d.acked)
	memory := marks[:0:0]
	for _, m := range marks {
		i, found := slices.BinarySearchFunc(o.list, m.seq, func(r spooledRecord, seq uint64) int { return cmp.Compare(r.seq, seq) })
		if !found {
			continue
		}
		r := o.list[i]
		if i == 0 {
			o.list = o.list[1:]
		} else {
			o.list = slices.Delete(o.list, i, i+1)
		}
		if r.key == 0 {
			d.stats.InMemory--
			memory = append(memory, m)
			continue
		}
		d.acked = append(d.acked, r)
		d.stats.Records--
		d.stats.Bytes -= r.size
	}
	after := len(d.acked)
	d.mu.Unlock()
	o.counts.settledAll(memory)
	if before == 0 && after > 0 || before < mostAcked && after >= mostAcked {
		wake(d.wake)
	}
}

// origin returns the origin of a record that is about to be given to the drain behind.
func (d *SpoolDrain) origin(connection string, seq uint64) *spoolOrigin {
	o, counts := d.origins[connection], d.outer(connection)
	if o != nil && o.counts == counts { // else it was forgotten, and has come back
		if n := len(o.list); n == 0 || o.list[n-1].seq < seq {
			return o
		}
	}
	o = &spoolOrigin{Origin: NewOrigin(connection), d: d, counts: counts}
	o.Origin.spooled = o
	d.origins[connection] = o
	return o
}

// outer returns the origin that counts the records of a connection at the sink; nil: nobody counts them.
func (d *SpoolDrain) outer(connection string) *Origin {
	if d.sink == nil || connection == "" {
		return nil
	}
	return d.sink.origin(connection)
}

// announce appends the signal of a loss.
func (d *SpoolDrain) announce(dst []byte, l Loss) []byte {
	if d.sink == nil || l.connection() == "" {
		return dst
	}
	return appendDropped(dst, d.sink.Format(), DropOldest, l, "")
}

// Run implements [Drain].
func (d *SpoolDrain) Run(ctx context.Context, q *Queue) error {
	if d.file == nil {
		if err := d.openFile(); err != nil {
			return err
		}
	}
	d.out.tried = q.tried
	d.mu.Lock()
	d.stats.Records, d.stats.Bytes = d.file.records, d.file.bytes
	d.mu.Unlock()
	behind, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { d.ended <- d.runBehind(behind) }()
	err := d.run(ctx, q, cancel)
	return errors.Join(err, d.finish(q))
}

// runBehind runs the drain behind. A panic in it is an error of that.
func (d *SpoolDrain) runBehind(ctx context.Context) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("the sink panicked: %v", value)
		}
	}()
	return d.options.Behind.Run(ctx, d.out)
}

// errEnough ends the drain behind when nothing is lost by that.
var errEnough = errors.New("the rest stays in the spool")

// run works until the drain behind has ended and the input as well.
func (d *SpoolDrain) run(ctx context.Context, q *Queue, cancel context.CancelCauseFunc) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	inputEnded, stopping := false, false
	for {
		d.collect(q)
		d.feed(q)
		d.forwardLosses(q)
		d.tidy(q)
		waiting, _ := q.Len()
		if inputEnded && waiting == 0 {
			// What cannot be read now stays in the file.
			if !d.fedAll && (d.fed+1 == d.file.next || d.unreadable) {
				d.fedAll = true
				d.out.CloseInput(nil)
			}
			if d.over {
				return nil
			}
			// What is in the file is safe there: a receiver that is away does not hold up the end.
			if !stopping && !d.hasInMemory() && q.tried.failing.Load() {
				stopping = true
				cancel(errEnough)
			}
		}
		now := time.Now()
		delay := d.untilNext(now)
		timer.Reset(delay)
		ready, closed, ended := q.ready, q.closed, d.ended
		if d.inMemory {
			ready = nil
			if d.fed+1 == d.file.next && d.out.hasRoomFor(weight{}) && !d.over {
				ready = q.ready
			}
		}
		if inputEnded {
			closed = nil
		}
		select {
		case <-ready:
		case <-d.out.room:
		case <-d.wake:
		case <-timer.C:
		case <-closed:
			inputEnded = true
		case err := <-ended:
			d.over = true
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil && !errors.Is(err, errEnough):
				d.log.Error("the receiver gets nothing more until a reload; what comes stays in the spool", "error", err)
				d.mu.Lock()
				d.stats.Over = err
				d.mu.Unlock()
			}
		case <-q.dead:
			return q.deadErr()
		case <-ctx.Done():
			if !d.over {
				<-d.ended
				d.over = true
			}
			return nil
		}
	}
}

// untilNext returns how long it is until there is something to do without an event.
func (d *SpoolDrain) untilNext(now time.Time) time.Duration {
	delay := time.Hour
	sooner := func(at time.Time) {
		if !at.IsZero() {
			delay = min(delay, max(at.Sub(now), 0))
		}
	}
	switch {
	case d.inMemory:
		sooner(d.tryAgain)
	case d.stats.Fault != nil: // it cannot be read
		sooner(now.Add(time.Second))
	case !d.ackedFrom.IsZero():
		sooner(d.ackedFrom.Add(deleteAfter))
	}
	if d.options.Sync == SyncSecond && !d.unsynced.IsZero() {
		sooner(d.unsynced.Add(time.Second))
	}
	return delay
}

// collect writes what waits in the queue.
func (d *SpoolDrain) collect(q *Queue) {
	if d.inMemory && time.Now().Before(d.tryAgain) {
		return
	}
	if len(d.doubtful) > 0 && !d.write(q, nil) {
		return
	}
	most := d.share(mostInTransaction)
	for {
		var chunks []*Chunk
		size := int64(0)
		for size < most {
			c, _ := q.poll(0)
			if c == nil {
				break
			}
			chunks = append(chunks, c)
			size += int64(len(c.Bytes()))
		}
		if len(chunks) == 0 {
			if d.inMemory { // perhaps it can be written
				d.write(q, nil)
			}
			return
		}
		if !d.write(q, chunks) {
			return
		}
		if size < most {
			return
		}
		d.feed(q)
	}
}

// write appends the records of chunks to the file, deletes what was settled, and makes room. It reports whether that is certain. What is
// not in the file waits in the queue again.
func (d *SpoolDrain) write(q *Queue, chunks []*Chunk) bool {
	change := &spoolChange{}
	size := int64(0)
	for _, c := range chunks {
		came := c.came()
		if came.IsZero() {
			came = time.Now()
		}
		for i := range c.Len() {
			line, seq := c.Record(i)
			l, announced := c.lossOf(i)
			r := spoolRecord{kind: spoolSignal, seq: seq, came: came.UnixNano(), connection: []byte(l.connection()), line: line}
			if announced {
				r.kind, r.line, r.count, r.firstSeq = spoolLoss, nil, l.Count, l.FirstSeq
			} else {
				size += r.size()
			}
			change.append = append(change.append, r)
		}
	}
	d.mu.Lock()
	acked := d.acked
	d.mu.Unlock()
	for _, r := range acked {
		change.delete = append(append(change.delete, r.key), r.losses...)
		if r.signal {
			change.records++
			change.bytes += r.size
		}
	}
	lost, err := d.makeRoom(change, size)
	done := false
	if err == nil {
		done, err = d.file.commit(change)
	}
	if err != nil {
		d.failed(err)
	}
	if !done {
		for _, c := range slices.Backward(chunks) {
			q.giveBackEach(c, make([]fate, c.Len()))
		}
		return false
	}
	d.doubtful = append(d.doubtful, chunks...)
	if err == nil {
		d.works()
		d.handOverDoubtful(q, true)
	}
	if d.unsynced.IsZero() {
		d.unsynced = time.Now()
	}
	d.ackedFrom = time.Time{}
	d.mu.Lock()
	d.acked = slices.Clone(d.acked[len(acked):])
	live := 0
	for _, r := range d.acked {
		if r.signal {
			live++
		}
	}
	d.stats.Records, d.stats.Bytes = d.file.records-live, d.file.bytes
	for _, r := range d.acked {
		d.stats.Bytes -= r.size
	}
	d.mu.Unlock()
	for _, l := range lost {
		l.Origin.dropped(int(l.Count))
	}
	q.reportLosses(lost)
	return err == nil
}

// handOverDoubtful gives back to the queue what the file has. kept: it is certain that it keeps that.
func (d *SpoolDrain) handOverDoubtful(q *Queue, kept bool) {
	for _, c := range d.doubtful {
		q.handOver(c, kept)
	}
	d.doubtful = nil
}

// makeRoom has a change delete the oldest records that are not in hand, so that so many bytes more fit, and puts what is lost in their
// place.
func (d *SpoolDrain) makeRoom(change *spoolChange, more int64) (lost []Loss, err error) {
	excess := d.file.bytes - change.bytes + more - d.options.MaxBytes
	if d.options.MaxBytes <= 0 || excess <= 0 || d.fed+1 == d.file.next {
		return nil, nil
	}
	// Somewhat more, or each transaction would do it anew.
	excess += min(d.options.MaxBytes/64, 1<<20)
	var keys []uint64
	var all []spoolRecord // one a connection, in the order of the first loss of each
	err = d.file.each(d.fed+1, func(key uint64, r spoolRecord, size int64, headOK bool, err error) bool {
		if excess <= 0 && (err != nil || r.kind == spoolSignal) {
			return false
		}
		keys = append(keys, key)
		loss := r
		if !headOK {
			loss = spoolRecord{kind: spoolSignal}
		}
		if loss.kind == spoolSignal {
			change.records++
			change.bytes += size
			excess -= size
			loss.kind, loss.line, loss.count, loss.firstSeq = spoolLoss, nil, 1, loss.seq
			lost = append(lost, Loss{Origin: d.outer(string(loss.connection)), Count: 1, FirstSeq: loss.seq, LastSeq: loss.seq})
		}
		loss.connection = slices.Clone(loss.connection)
		for i := range all {
			if string(all[i].connection) == string(loss.connection) {
				all[i].count += loss.count
				all[i].firstSeq, all[i].seq = min(all[i].firstSeq, loss.firstSeq), max(all[i].seq, loss.seq)
				return true
			}
		}
		loss.line = nil
		all = append(all, loss)
		return true
	})
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	change.delete = append(change.delete, keys...)
	change.losses, change.at = all, keys[len(keys)-len(all):]
	var sums []Loss
	for _, l := range lost {
		if i := slices.IndexFunc(sums, func(s Loss) bool { return s.Origin == l.Origin }); i >= 0 {
			sums[i].extend(l)
		} else {
			sums = append(sums, l)
		}
	}
	return sums, nil
}

// failed takes note of a transaction that was not written.
func (d *SpoolDrain) failed(err error) {
	delay := max(phoenix.DefaultReconnectAfter()(d.attempts), time.Second)
	d.attempts++
	d.tryAgain = time.Now().Add(delay)
	if !d.inMemory {
		d.inMemory = true
		d.log.Error("the spool cannot be written; signals stay in memory, in the queue of the sink, until it can", "error", err)
	}
	d.mu.Lock()
	d.stats.Fault = err
	d.mu.Unlock()
}

// works takes note of a transaction that was written.
func (d *SpoolDrain) works() {
	d.attempts = 0
	if d.inMemory {
		d.inMemory = false
		d.log.Info("the spool can be written again")
		d.mu.Lock()
		d.stats.Fault = nil
		d.mu.Unlock()
	}
}

// feed gives to the drain behind what it has room for: what is in the file, and then, while that cannot be written, what waits in the
// queue.
func (d *SpoolDrain) feed(q *Queue) {
	if d.over || d.fedAll {
		return
	}
	for d.fed+1 < d.file.next && d.out.hasRoomFor(weight{bytes: 1}) {
		if !d.feedFromFile() {
			return
		}
	}
	for d.inMemory && d.fed+1 == d.file.next && d.out.hasRoomFor(weight{bytes: 1}) {
		c, _ := q.poll(0)
		if c == nil {
			return
		}
		d.feedFromMemory(c)
		q.handOver(c, false)
	}
}

// feedFromFile gives a chunk of records from the file to the drain behind. It reports whether it got on. A loss goes with the record
// behind it, so that it stays in the file as long as that.
func (d *SpoolDrain) feedFromFile() bool {
	c := d.out.Chunk()
	from := d.fed
	var nextAt time.Time
	var losses []keyedLoss
	whole := true
	err := d.file.each(d.fed+1, func(key uint64, r spoolRecord, size int64, headOK bool, err error) bool {
		if err == nil && r.kind == spoolLoss {
			losses = append(losses, keyedLoss{key, string(r.connection), Loss{Count: r.count, FirstSeq: r.firstSeq, LastSeq: r.seq}})
			return true
		}
		if c.Full() || !d.out.hasRoomFor(c.weight().plus(weightOf(r.line))) {
			nextAt, whole = time.Unix(0, r.came), false
			return false
		}
		line := spooledRecord{key: key, seq: r.seq, size: size, came: r.came, signal: true}
		for _, l := range losses {
			c = d.announceLoss(c, l)
			line.losses = append(line.losses, l.key)
		}
		losses = nil
		if err != nil {
			c = d.putOut(c)
			d.bad(r, line, headOK)
		} else {
			d.mu.Lock()
			o := d.origin(string(r.connection), r.seq)
			o.hold(line)
			d.mu.Unlock()
			c.commitOf(append(c.Buffer(), r.line...), o.Origin, r.seq)
		}
		d.fed = key
		return true
	})
	if whole && err == nil {
		for _, l := range losses {
			c = d.announceLoss(c, l)
			d.mu.Lock()
			d.acked = append(d.acked, spooledRecord{key: l.key})
			d.mu.Unlock()
			d.fed = l.key
		}
	}
	d.out.putKept(c)
	before := d.stats.Fault
	d.unreadable = err != nil
	d.mu.Lock()
	d.nextAt = nextAt
	if err != nil || !d.inMemory {
		d.stats.Fault = err
	}
	d.mu.Unlock()
	switch {
	case err != nil && before == nil:
		d.log.Error("the spool cannot be read; what is in there stays there, and is tried again each second", "error", err)
	case err == nil && before != nil && !d.inMemory:
		d.log.Info("the spool can be read again")
	}
	return err == nil && d.fed > from
}

// A keyedLoss is a loss in the file.
type keyedLoss struct {
	key        uint64
	connection string
	loss       Loss
}

// announceLoss has a loss announced behind the records of a chunk, which goes out for that, and returns another one.
func (d *SpoolDrain) announceLoss(c *Chunk, l keyedLoss) *Chunk {
	c = d.putOut(c)
	d.mu.Lock()
	l.loss.Origin = d.origin(l.connection, l.loss.LastSeq).Origin
	d.mu.Unlock()
	d.out.announceBehind(l.loss)
	return c
}

// hold adds a record to those in hand.
func (o *spoolOrigin) hold(r spooledRecord) {
	o.list = append(o.list, r)
	if !o.listed {
		o.listed = true
		o.d.inHand = append(o.d.inHand, o)
	}
}

// putOut gives a chunk to the drain behind, and returns another one.
func (d *SpoolDrain) putOut(c *Chunk) *Chunk {
	d.out.putKept(c)
	return d.out.Chunk()
}

// bad counts a record as lost that is not as it was written. What it was is told as far as that is sure.
func (d *SpoolDrain) bad(r spoolRecord, line spooledRecord, headOK bool) {
	line.signal = !headOK || r.kind == spoolSignal
	connection, l := "", Loss{Count: 1}
	if headOK {
		connection, l.FirstSeq, l.LastSeq = string(r.connection), r.seq, r.seq
	} else {
		d.mu.Lock()
		for _, o := range d.inHand { // that of a neighbour
			connection = o.Connection
		}
		d.mu.Unlock()
	}
	if n, ok := d.lost.pick(1, lossReportInterval); ok {
		d.log.Error("a record of the spool is damaged, and lost", "record", line.key, "connection", connection, "seq", l.LastSeq, "lost", n)
	}
	d.mu.Lock()
	o := d.origin(connection, l.LastSeq)
	d.acked = append(d.acked, line)
	d.stats.Records--
	d.stats.Bytes -= line.size
	d.mu.Unlock()
	o.dropped(1)
	l.Origin = o.Origin
	d.out.announceBehind(l)
	d.out.reportLosses([]Loss{l})
}

// feedFromMemory gives the records of a chunk to the drain behind, which are not in the file.
func (d *SpoolDrain) feedFromMemory(c *Chunk) {
	out := d.out.Chunk()
	for i := range c.Len() {
		line, seq := c.Record(i)
		l, announced := c.lossOf(i)
		d.mu.Lock()
		o := d.origin(l.connection(), seq)
		if !announced {
			o.hold(spooledRecord{seq: seq, came: c.came().UnixNano(), signal: true})
			d.stats.InMemory++
		}
		d.mu.Unlock()
		if announced {
			out = d.putOut(out)
			l.Origin = o.Origin
			d.out.announceBehind(l)
			continue
		}
		out.commitOf(append(out.Buffer(), line...), o.Origin, seq)
	}
	d.out.putKept(out)
}

// forwardLosses has what the drain behind has lost reported as losses of the sink.
func (d *SpoolDrain) forwardLosses(q *Queue) {
	lost := d.out.TakeLosses()
	for i := range lost {
		if o := lost[i].Origin; o != nil {
			lost[i].Origin = o.spooled.counter()
		}
	}
	if len(lost) > 0 {
		q.reportLosses(lost)
	}
}

// tidy deletes what was settled a while ago, brings transactions to the disk, and forgets origins without records in hand.
func (d *SpoolDrain) tidy(q *Queue) {
	now := time.Now()
	d.mu.Lock()
	n := len(d.acked)
	d.inHand = slices.DeleteFunc(d.inHand, func(o *spoolOrigin) bool {
		o.listed = len(o.list) > 0
		return !o.listed
	})
	d.mu.Unlock()
	switch {
	case n == 0:
		d.ackedFrom = time.Time{}
	case d.ackedFrom.IsZero():
		d.ackedFrom = now
	}
	if !d.inMemory && n > 0 && (n >= mostAcked || now.Sub(d.ackedFrom) >= deleteAfter) {
		d.write(q, nil)
	}
	if d.options.Sync == SyncSecond && !d.unsynced.IsZero() && now.Sub(d.unsynced) >= time.Second {
		if err := d.file.sync(); err != nil {
			d.failed(err)
		}
		d.unsynced = time.Time{}
	}
}

// hasInMemory reports whether the drain behind has something that is lost with the process.
func (d *SpoolDrain) hasInMemory() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats.InMemory > 0
}

// finish writes what is left, and closes the file. It returns an error if something is lost.
func (d *SpoolDrain) finish(q *Queue) error {
	d.tryAgain = time.Time{}
	d.collect(q)
	if !d.inMemory {
		d.write(q, nil)
	}
	if d.options.Sync == SyncSecond {
		_ = d.file.sync() // the process ends, and not the machine
	}
	d.handOverDoubtful(q, false)
	d.loseInMemory(q)
	d.forwardLosses(q)
	var err error
	if fault := d.Spooled().Fault; d.inMemory {
		err = fmt.Errorf("the spool cannot be written: %w", fault)
	}
	switch left := d.file.records; {
	case left == 0:
	case !d.file.there():
		d.log.Error("signals are lost with the file of the spool, which was removed or replaced", "signals", left)
	default:
		d.log.Warn("signals stay in the spool, and go out when a sink of this name runs again with it", "signals", left, "bytes", d.file.bytes)
	}
	return errors.Join(err, d.file.close())
}

// loseInMemory counts what the drain behind had in hand, and what is in no file, as lost.
func (d *SpoolDrain) loseInMemory(q *Queue) {
	d.mu.Lock()
	var lost []Loss
	for _, o := range d.inHand {
		for _, r := range o.list {
			if r.key == 0 {
				o.dropped(1)
				lost = append(lost, Loss{Origin: o.counts, Count: 1, FirstSeq: r.seq, LastSeq: r.seq})
			}
		}
	}
	d.stats.InMemory = 0
	d.mu.Unlock()
	if len(lost) > 0 {
		q.reportLosses(lost)
	}
}

// Spooled returns what there is to know about the spool.
func (d *SpoolDrain) Spooled() SpoolStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	if s.Records == 0 && s.InMemory == 0 {
		return s
	}
	s.Oldest = d.nextAt
	for _, o := range d.inHand {
		if len(o.list) > 0 {
			if came := time.Unix(0, o.list[0].came); s.Oldest.IsZero() || came.Before(s.Oldest) {
				s.Oldest = came
			}
		}
	}
	return s
}
