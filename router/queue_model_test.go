package router_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"phx/router"
)

// A model is the queue as its documentation has it, record by record and slow.
type model struct {
	limit, records int
	policy         router.Policy
	announce       func(dst []byte, l router.Loss) []byte
	waiting        []item
	taken          [][]item // and not given back
	// front and back are the losses at the gaps before and behind what waits, refused those
	// announced in vain.
	front, back, refused gap
	failed, ended        bool
	counts               map[*router.Origin]*counts
}

// counts are what became of the records of an origin.
type counts struct{ put, delivered, dropped uint64 }

// An item is a record, or an announcement of its loss.
type item struct {
	line      []byte
	loss      router.Loss // of the record itself, if it is lost
	announces bool
}

func (it item) cost() int {
	if it.announces {
		return len(it.line) + 48
	}
	return len(it.line) + 24
}

// A gap is the losses at one place.
type gap []router.Loss

func (g *gap) add(l router.Loss) {
	if i := g.find(l.Origin); i >= 0 {
		(*g)[i].Count += l.Count
		(*g)[i].LastSeq = l.LastSeq
		return
	}
	*g = append(*g, l)
}

func (g *gap) find(o *router.Origin) int {
	return slices.IndexFunc(*g, func(l router.Loss) bool { return l.Origin == o })
}

// addEarlier takes from refused what is of the same origins as g's losses.
func (g *gap) addEarlier(refused *gap) {
	for i, l := range *g {
		if at := refused.find(l.Origin); at >= 0 {
			whole := gap{(*refused)[at]}
			whole.add(l)
			(*g)[i] = whole[0]
			*refused = slices.Delete(*refused, at, at+1)
		}
	}
}

// announcements returns g as items.
func (m *model) announcements(g gap) (items []item) {
	for _, l := range g {
		if line := m.announce(nil, l); len(line) > 0 {
			items = append(items, item{line: line, loss: l, announces: true})
		}
	}
	return items
}

func (m *model) fits(items ...item) bool {
	if len(m.waiting) == 0 {
		return true
	}
	cost, records := 0, 0
	count := func(list []item) {
		for _, it := range list {
			cost += it.cost()
		}
		records += len(list)
	}
	count(m.waiting)
	count(items)
	for _, list := range m.taken {
		count(list)
	}
	return cost <= m.limit && (m.records == 0 || records <= m.records)
}

// lose adds an item to a gap.
func (m *model) lose(g *gap, it item) {
	g.add(it.loss)
	if !it.announces {
		m.counts[it.loss.Origin].dropped++
	}
}

// put reports what Put should return: 'y' for nil, 'w' for waiting, 'f' for ErrFull, 'c' for
// ErrClosed.
func (m *model) put(chunk []item) byte {
	for _, it := range chunk {
		m.counts[it.loss.Origin].put++
	}
	if m.ended || m.policy == router.Block && !m.fits(chunk...) {
		for _, it := range chunk {
			m.counts[it.loss.Origin].dropped++
		}
		return map[bool]byte{true: 'c', false: 'w'}[m.ended]
	}
	for _, it := range chunk {
		m.putRecord(it)
	}
	if m.failed {
		return 'f'
	}
	return 'y'
}

func (m *model) putRecord(it item) {
	switch m.policy {
	case router.DropOldest:
		for !m.fits(it) {
			m.lose(&m.front, m.waiting[0])
			m.waiting = m.waiting[1:]
		}
		m.joinGaps()
	case router.DropNewest, router.Fail:
		if m.failed || !m.fits(it) || !m.placeAnnouncements(it) {
			m.lose(&m.back, it)
			m.failed = m.policy == router.Fail
			return
		}
	}
	m.waiting = append(m.waiting, it)
}

// placeAnnouncements makes the gap behind what waits announcements if they and it fit.
func (m *model) placeAnnouncements(it item) bool {
	m.back.addEarlier(&m.refused)
	announcements := m.announcements(m.back)
	if !m.fits(append(slices.Clone(announcements), it)...) {
		return false
	}
	m.waiting = append(m.waiting, announcements...)
	m.back = nil
	return true
}

func (m *model) joinGaps() {
	for len(m.front) > 0 && len(m.waiting) > 0 && m.waiting[0].announces {
		m.front.add(m.waiting[0].loss)
		m.waiting = m.waiting[1:]
	}
}

// due returns the announcements that have to come out next, if any, and ends their episodes.
func (m *model) due() []item {
	if len(m.waiting) == 0 && (m.policy != router.Fail || m.ended) {
		for _, l := range m.back {
			m.front.add(l)
		}
		m.back = nil
	}
	m.front.addEarlier(&m.refused)
	if len(m.waiting) == 0 && m.ended {
		m.front = append(m.front, m.refused...)
		m.refused = nil
	}
	announcements := m.announcements(m.front)
	m.front = nil
	return announcements
}

// take accepts got as the next chunk, or says what is wrong with it.
func (m *model) take(got []byte) error {
	if due := m.due(); len(due) > 0 {
		if want := lines(due); !bytes.Equal(got, want) {
			return fmt.Errorf("took %q, want the announcement %q", got, want)
		}
		m.taken = append(m.taken, due)
		return nil
	}
	n := 0
	for left := got; len(left) > 0; n++ {
		if n == len(m.waiting) || !bytes.HasPrefix(left, m.waiting[n].line) {
			return fmt.Errorf("took %q where only %d other records wait", got, len(m.waiting))
		}
		left = left[len(m.waiting[n].line):]
	}
	if len(got) == 0 {
		return fmt.Errorf("took an empty chunk where %d records wait", len(m.waiting))
	}
	m.taken = append(m.taken, m.waiting[:n:n])
	m.waiting = m.waiting[n:]
	return nil
}

// deliver counts items as delivered.
func (m *model) deliver(items []item) {
	for _, it := range items {
		if !it.announces {
			m.counts[it.loss.Origin].delivered++
		}
	}
}

// giveBack does what GiveBack does with the items of the chunk taken last.
func (m *model) giveBack(delivered, lost int) {
	items := m.taken[len(m.taken)-1]
	m.taken = m.taken[:len(m.taken)-1]
	m.deliver(items[:delivered])
	gone, rest := items[delivered:delivered+lost], items[delivered+lost:]
	since := m.front
	m.front = nil
	isRecord := func(it item) bool { return !it.announces }
	for _, it := range gone {
		if slices.ContainsFunc(gone, isRecord) {
			m.lose(&m.front, it)
		} else if !m.ended || len(m.waiting)+len(rest) > 0 {
			m.refused.add(it.loss)
		}
	}
	if len(since) > 0 {
		n := len(rest)
		for n > 0 && rest[n-1].announces {
			n--
		}
		var behind gap
		for _, it := range rest[n:] {
			behind.add(it.loss)
		}
		for _, l := range since {
			behind.add(l)
		}
		rest = rest[:n]
		if n == 0 {
			for _, l := range behind {
				m.front.add(l)
			}
		} else {
			rest = append(slices.Clone(rest), m.announcements(behind)...)
		}
	}
	m.waiting = append(slices.Clone(rest), m.waiting...)
	m.joinGaps()
}

// lines returns the bytes of items.
func lines(items []item) (all []byte) {
	for _, it := range items {
		all = append(all, it.line...)
	}
	return all
}

// TestModel compares queues with the model under random puts, takes and releases, and then checks
// the promise itself: each record came out once, in the order of its origin, or one announcement
// counts it, where it is missing.
func TestModel(t *testing.T) {
	for _, policy := range []router.Policy{router.Block, router.DropNewest, router.DropOldest, router.Fail} {
		t.Run(policy.String(), func(t *testing.T) {
			for seed := range uint64(500) {
				g := newGame(seed, policy)
				if err := g.play(200); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// FuzzModel looks for seeds that TestModel does not try.
func FuzzModel(f *testing.F) {
	f.Add(uint64(1), byte(router.DropOldest))
	f.Fuzz(func(t *testing.T, seed uint64, policy byte) {
		p := router.Policy(policy % 4)
		if err := newGame(seed, p).play(200); err != nil {
			t.Fatalf("%v, seed %d: %v", p, seed, err)
		}
	})
}

// A game is a queue and a model that are treated alike.
type game struct {
	*rand.Rand
	q       *router.Queue
	m       model
	origins []*router.Origin
	seqs    map[*router.Origin]uint64
	put     map[string][]uint64 // of each connection, accepted by Put or counted as lost
	held    []*router.Chunk     // taken and not given back
	begin   []int               // where the lines of each of them begin in out
	last    *router.Chunk       // taken last, if it was not given back
	out     [][]byte
	// silent: losses are not announced. rude: the consumer also loses announcements.
	silent, rude bool
}

func newGame(seed uint64, p router.Policy) *game {
	r := rand.New(rand.NewPCG(seed, uint64(p)))
	g := &game{
		Rand: r, silent: r.IntN(10) == 0, rude: r.IntN(4) == 0,
		seqs: make(map[*router.Origin]uint64), put: make(map[string][]uint64),
	}
	limit := []int{0, 200, 2000, 40_000}[r.IntN(4)]
	records := []int{0, 0, 1, 5, 40}[r.IntN(5)]
	g.q = router.NewQueue(int64(limit), p, g.announce)
	g.q.LimitRecords(records)
	g.m = model{limit: limit, records: records, policy: p, announce: g.announce, counts: make(map[*router.Origin]*counts)}
	for i := range 1 + r.IntN(4) {
		o := router.NewOrigin(fmt.Sprint("origin", i))
		if i == 0 && r.IntN(2) == 0 {
			o = nil
		}
		g.origins = append(g.origins, o)
		g.m.counts[o] = new(counts)
	}
	return g
}

func (g *game) announce(dst []byte, l router.Loss) []byte {
	if g.silent {
		return dst
	}
	return fmt.Appendf(dst, "lost %s %d %d-%d\n", connection(l.Origin), l.Count, l.FirstSeq, l.LastSeq)
}

func connection(o *router.Origin) string {
	if o == nil {
		return "none"
	}
	return o.Connection
}

// play makes random moves, brings the queue to its end and checks what came of it.
func (g *game) play(moves int) error {
	hurry := g.IntN(10) // how often the consumer moves
	for range moves {
		if err := g.move(hurry); err != nil {
			return err
		}
		if err := g.compare(); err != nil {
			return err
		}
	}
	g.q.CloseInput(nil)
	g.m.ended = true
	if err := g.putChunk(); err != nil {
		return err
	}
	if g.IntN(4) == 0 {
		return g.abort()
	}
	if err := g.finish(); err != nil {
		return err
	}
	return g.checkStream()
}

func (g *game) move(hurry int) error {
	switch n := g.IntN(30); {
	case n <= hurry:
		_, err := g.takeChunk()
		return err
	case n <= 2*hurry:
		g.release()
		return nil
	case n <= 3*hurry:
		g.giveBack()
		return nil
	}
	return g.putChunk()
}

// finish takes what there is until the end of the input. The consumer goes on losing records.
func (g *game) finish() error {
	for moves := 0; ; moves++ {
		if g.IntN(2) == 0 {
			g.giveBack()
		}
		g.release()
		if more, err := g.takeChunk(); err != nil || !more {
			return err
		}
		if err := g.compare(); err != nil {
			return err
		}
		if moves > 100_000 {
			return errors.New("the end of the input does not come")
		}
	}
}

// padding is what follows the number in the longest record.
var padding = strings.Repeat(" ", 2000) + "\n"

func (g *game) putChunk() error {
	o := g.origins[g.IntN(len(g.origins))]
	c := g.q.ChunkOf(o)
	var records []item
	for range g.IntN(6) {
		g.seqs[o] += 1 + uint64(g.IntN(3))
		seq := g.seqs[o]
		line := fmt.Appendf(nil, "%s %d", connection(o), seq)
		line = append(line, padding[len(padding)-1-g.IntN([]int{10, 100, 2000}[g.IntN(3)]):]...)
		records = append(records, item{line: line, loss: router.Loss{Origin: o, Count: 1, FirstSeq: seq, LastSeq: seq}})
		c.Commit(append(c.Buffer(), line...), seq)
	}
	err := g.q.Put(canceled, c)
	if len(records) == 0 && !g.m.ended {
		return err
	}
	want := map[byte]error{'y': nil, 'w': canceled.Err(), 'f': router.ErrFull, 'c': router.ErrClosed}[g.m.put(records)]
	if err != want {
		return fmt.Errorf("Put: %v, want %v", err, want)
	}
	if err == nil || err == router.ErrFull {
		for _, r := range records {
			g.put[connection(o)] = append(g.put[connection(o)], r.loss.FirstSeq)
		}
	}
	return nil
}

func (g *game) takeChunk() (more bool, err error) {
	c, err := g.q.Take(canceled)
	if err != nil {
		if want := map[bool]error{true: io.EOF, false: canceled.Err()}[g.m.ended]; err != want {
			return false, fmt.Errorf("Take: %v, want %v", err, want)
		}
		if due, waiting := g.m.due(), g.m.waiting; len(due)+len(waiting) > 0 {
			return false, fmt.Errorf("Take: %v, with %q due and %d records waiting", err, lines(due), len(waiting))
		}
		return false, nil
	}
	g.held, g.begin, g.last = append(g.held, c), append(g.begin, len(g.out)), c
	if err := g.m.take(c.Bytes()); err != nil {
		return false, err
	}
	for i, it := range g.m.taken[len(g.m.taken)-1] {
		line, seq := c.Record(i)
		if !bytes.Equal(line, it.line) || seq != it.loss.LastSeq || c.OriginOf(i) != it.loss.Origin {
			return false, fmt.Errorf("record %d is %q, %d of %s; want %q", i, line, seq, connection(c.OriginOf(i)), it.line)
		}
		g.out = append(g.out, slices.Clone(line))
	}
	return true, nil
}

// release gives back all chunks as delivered, in any order.
func (g *game) release() {
	for len(g.held) > 0 {
		i := g.IntN(len(g.held))
		g.m.deliver(g.m.taken[i])
		g.m.taken = slices.Delete(g.m.taken, i, i+1)
		g.q.Release(g.held[i])
		g.forget(i)
	}
}

// forget removes the i-th chunk from those that are held.
func (g *game) forget(i int) {
	g.held, g.begin, g.last = slices.Delete(g.held, i, i+1), slices.Delete(g.begin, i, i+1), nil
}

// giveBack gives back the chunk that was taken last as delivered in part.
func (g *game) giveBack() {
	if g.last == nil {
		return
	}
	i := len(g.held) - 1
	items := g.m.taken[i]
	delivered := g.IntN(len(items) + 1)
	lost := g.IntN(len(items) - delivered + 1)
	onlyAnnouncements := true
	for _, it := range items[delivered : delivered+lost] {
		onlyAnnouncements = onlyAnnouncements && it.announces
	}
	if onlyAnnouncements && !g.rude {
		lost = 0
	}
	g.m.giveBack(delivered, lost)
	if lost > 0 && delivered+lost == len(items) {
		g.q.ReleaseFirst(g.last, delivered)
	} else {
		g.q.GiveBack(g.last, delivered, lost)
	}
	g.out = g.out[:g.begin[i]+delivered]
	g.forget(i)
}

// abort ends the queue with records in all states, and checks that they are counted.
func (g *game) abort() error {
	waiting := 0
	for _, it := range g.m.waiting {
		if !it.announces {
			waiting++
			g.m.counts[it.loss.Origin].dropped++
		}
	}
	if got := g.q.Abort(nil); got != waiting {
		return fmt.Errorf("Abort: %d records were lost, want %d", got, waiting)
	}
	g.m.waiting, g.m.front = nil, nil
	if len(g.held) > 0 && g.last != nil {
		items := g.m.taken[len(g.m.taken)-1]
		n := g.IntN(len(items) + 1)
		g.q.GiveBack(g.held[len(g.held)-1], n, g.IntN(len(items)-n+1))
		g.m.deliver(items[:n])
		for _, it := range items[n:] {
			if !it.announces {
				g.m.counts[it.loss.Origin].dropped++
			}
		}
		g.forget(len(g.held) - 1)
	}
	g.release()
	for o, c := range g.m.counts {
		if c.put != c.delivered+c.dropped {
			return fmt.Errorf("%s: %d put, %d delivered, %d dropped", connection(o), c.put, c.delivered, c.dropped)
		}
	}
	return g.compare()
}

// compare checks what can be asked at any time.
func (g *game) compare() error {
	for o, c := range g.m.counts {
		if o != nil && (o.Delivered.Load() != c.delivered || o.Dropped.Load() != c.dropped) {
			return fmt.Errorf("%s: delivered %d, dropped %d, want %d and %d",
				o.Connection, o.Delivered.Load(), o.Dropped.Load(), c.delivered, c.dropped)
		}
	}
	records, size := g.q.Len()
	var want int64
	for _, it := range g.m.waiting {
		want += int64(len(it.line))
	}
	if records != len(g.m.waiting) || size != want {
		return fmt.Errorf("Len: %d records, %d bytes, want %d and %d", records, size, len(g.m.waiting), want)
	}
	return nil
}

// checkStream reads what came out, and compares it with the numbers of the records that went in.
func (g *game) checkStream() error {
	if g.silent || g.rude {
		return nil
	}
	for _, line := range g.out {
		var name string
		l := router.Loss{Count: 1}
		if n, _ := fmt.Sscanf(string(line), "lost %s %d %d-%d", &name, &l.Count, &l.FirstSeq, &l.LastSeq); n != 4 {
			if n, err := fmt.Sscanf(string(line), "%s %d", &name, &l.FirstSeq); n != 2 {
				return fmt.Errorf("a line %q came out: %v", line, err)
			}
			l.LastSeq = l.FirstSeq
		}
		put, n := g.put[name], int(l.Count)
		if n == 0 || n > len(put) || put[0] != l.FirstSeq || put[n-1] != l.LastSeq {
			return fmt.Errorf("%q came out where %d was next", line, put[:min(len(put), 10)])
		}
		g.put[name] = put[n:]
	}
	for name, put := range g.put {
		if len(put) > 0 {
			return fmt.Errorf("%s: %d neither came out nor were announced", name, put)
		}
	}
	return nil
}
