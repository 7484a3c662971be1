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
	passed         [][]item // of each of them, what was delivered before it is given back
	numbers        []int    // of each of them, among all that were taken
	total          int      // of all that were taken
	announced      int      // the number of the last one with an announcement
	// front and back are the losses at the gaps before and behind what waits, refused those
	// announced in vain.
	front, back, refused gap
	// pending are those before the chunk that was taken last.
	pending       gap
	failed, ended bool
	// accepted: the last thing that the consumer was given and accepted is a record.
	accepted bool
	counts   map[*router.Origin]*counts
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
		(*g)[i].FirstSeq = min((*g)[i].FirstSeq, l.FirstSeq)
		(*g)[i].LastSeq = max((*g)[i].LastSeq, l.LastSeq)
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
	if len(m.waiting) == 0 && (m.policy != router.Block || len(m.taken) == 0) {
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
	for i := range m.taken {
		count(m.taken[i])
		count(m.passed[i])
	}
	return cost <= m.limit && (m.records == 0 || records <= m.records || len(m.waiting) == 0)
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
		if m.failed || !m.fits(it) || !m.placeAnnouncement(it) {
			m.lose(&m.back, it)
			m.failed = m.policy == router.Fail
			return
		}
	}
	m.waiting = append(m.waiting, it)
}

// choose takes the loss of o out of g, or the first one.
func (g *gap) choose(o *router.Origin) router.Loss {
	i := max(g.find(o), 0)
	l := (*g)[i]
	*g = slices.Delete(*g, i, i+1)
	return l
}

// placeAnnouncement makes a loss of the gap behind what waits an announcement if that and it fit:
// the loss of its own origin if there is one.
func (m *model) placeAnnouncement(it item) bool {
	for len(m.back) > 0 {
		m.back.addEarlier(&m.refused)
		rest := slices.Clone(m.back)
		announcements := m.announcements(gap{rest.choose(it.loss.Origin)})
		if !m.fits(append(slices.Clone(announcements), it)...) {
			return false
		}
		m.waiting, m.back = append(m.waiting, announcements...), rest
		if len(announcements) > 0 {
			break
		}
	}
	return true
}

func (m *model) joinGaps() {
	for len(m.waiting) > 0 && m.waiting[0].announces {
		m.front.add(m.waiting[0].loss)
		m.waiting = m.waiting[1:]
	}
}

// due returns the announcements that have to come out next, if any, and ends their episodes.
func (m *model) due() (announcements []item) {
	m.joinGaps()
	none := len(m.waiting) == 0
	if none && (m.policy != router.Fail || m.ended) {
		for _, l := range m.back {
			m.front.add(l)
		}
		m.back = nil
	}
	if !m.accepted && !(none && m.ended) {
		return nil
	}
	m.arrive()
	m.pending.addEarlier(&m.refused)
	if none && m.ended {
		m.pending = append(m.pending, m.refused...)
		m.refused = nil
	}
	if none {
		announcements = m.announcements(m.pending)
		m.pending = nil
	}
	for len(m.pending) > 0 && len(announcements) == 0 {
		announcements = m.announcements(gap{m.pending.choose(m.waiting[0].loss.Origin)})
	}
	return announcements
}

// arrive makes the losses before what waits pending.
func (m *model) arrive() {
	for _, l := range m.front {
		m.pending.add(l)
	}
	m.front = nil
}

// take accepts got as the next chunk, of most records at most, or says what is wrong with it.
func (m *model) take(got []byte, most int) error {
	due := m.due()
	left, ok := bytes.CutPrefix(got, lines(due))
	if !ok {
		return fmt.Errorf("took %q, want first the announcement %q", got, lines(due))
	}
	n := 0
	for ; len(left) > 0; n++ {
		if n == len(m.waiting) || !bytes.HasPrefix(left, m.waiting[n].line) {
			return fmt.Errorf("took %q where only %d other records wait", got, len(m.waiting))
		}
		if m.waiting[n].announces && (len(m.pending)+len(m.front) > 0 || m.waiting[n-1].announces) {
			return fmt.Errorf("took %q, in which an announcement comes too early", got)
		}
		left = left[len(m.waiting[n].line):]
	}
	if n == 0 && len(m.waiting) > 0 {
		return fmt.Errorf("took %q where %d records wait", got, len(m.waiting))
	}
	if most > 0 && n > most {
		return fmt.Errorf("took %d records, more than %d: %q", n, most, got)
	}
	items := append(due, m.waiting[:n]...)
	m.total++
	if slices.ContainsFunc(items, func(it item) bool { return it.announces }) {
		m.accepted, m.announced = false, m.total
	}
	m.taken, m.passed, m.numbers = append(m.taken, items), append(m.passed, nil), append(m.numbers, m.total)
	m.waiting = m.waiting[n:]
	m.arrive()
	return nil
}

// deliver counts the first n items of the i-th chunk taken as delivered.
func (m *model) deliver(i, n int) {
	items := m.taken[i][:n]
	if n > 0 && m.numbers[i] >= m.announced {
		m.accepted = !items[n-1].announces
	}
	for _, it := range items {
		if !it.announces {
			m.counts[it.loss.Origin].delivered++
		}
	}
}

// giveBack does what GiveBack does with the items of the chunk taken last.
func (m *model) giveBack(delivered, lost int) {
	m.deliver(len(m.taken)-1, delivered)
	items := m.taken[len(m.taken)-1]
	m.drop(len(m.taken) - 1)
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

// drop forgets the i-th chunk taken.
func (m *model) drop(i int) {
	m.taken, m.passed = slices.Delete(m.taken, i, i+1), slices.Delete(m.passed, i, i+1)
	m.numbers = slices.Delete(m.numbers, i, i+1)
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
	seeds := uint64(500)
	if testing.Short() {
		seeds = 150
	}
	for _, policy := range []router.Policy{router.Block, router.DropNewest, router.DropOldest, router.Fail} {
		t.Run(policy.String(), func(t *testing.T) {
			for seed := range seeds {
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
	g.m = model{limit: limit, records: records, policy: p, accepted: true, announce: g.announce, counts: make(map[*router.Origin]*counts)}
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
		g.advance()
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
	most := max(0, g.IntN(6)-2)
	c, err := g.q.TakeSome(canceled, most)
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
	if err := g.m.take(c.Bytes(), most); err != nil {
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
		g.m.deliver(i, len(g.m.taken[i]))
		g.m.drop(i)
		g.q.Release(g.held[i])
		g.forget(i)
	}
}

// forget removes the i-th chunk from those that are held.
func (g *game) forget(i int) {
	g.held, g.begin, g.last = slices.Delete(g.held, i, i+1), slices.Delete(g.begin, i, i+1), nil
}

// advance counts some of a chunk as delivered.
func (g *game) advance() {
	if len(g.held) == 0 || g.IntN(2) == 0 {
		return
	}
	i := g.IntN(len(g.held))
	n := g.IntN(len(g.m.taken[i]) + 1)
	g.m.deliver(i, n)
	g.m.passed[i] = append(slices.Clone(g.m.passed[i]), g.m.taken[i][:n]...)
	g.m.taken[i] = g.m.taken[i][n:]
	g.begin[i] += n
	g.q.Advance(g.held[i], n)
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
	g.m.waiting, g.m.front, g.m.pending = nil, nil, nil
	if len(g.held) > 0 && g.last != nil {
		items := g.m.taken[len(g.m.taken)-1]
		n := g.IntN(len(items) + 1)
		g.q.GiveBack(g.held[len(g.held)-1], n, g.IntN(len(items)-n+1))
		g.m.deliver(len(g.m.taken)-1, n)
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

// checkStream reads what came out, and compares it with the numbers of the records that went in: an
// announcement tells of all records of its origin that are missing up to there, and between two
// announcements of an origin that is not at its end there is a record of any.
func (g *game) checkStream() error {
	if g.silent || g.rude {
		return nil
	}
	last := map[string]uint64{}
	for _, line := range g.out {
		var name string
		l := router.Loss{Count: 1}
		if n, _ := fmt.Sscanf(string(line), "lost %s %d %d-%d", &name, &l.Count, &l.FirstSeq, &l.LastSeq); n == 4 {
			put := g.put[name]
			n, _ := slices.BinarySearch(put, l.LastSeq+1)
			if n != int(l.Count) || put[0] != l.FirstSeq || put[n-1] != l.LastSeq {
				return fmt.Errorf("%q came out where %d were missing", line, put[:min(len(put), 10)])
			}
			g.put[name] = put[n:]
			continue
		}
		if n, err := fmt.Sscanf(string(line), "%s %d", &name, &l.FirstSeq); n != 2 {
			return fmt.Errorf("a line %q came out: %v", line, err)
		}
		i, found := slices.BinarySearch(g.put[name], l.FirstSeq)
		if !found || l.FirstSeq <= last[name] {
			return fmt.Errorf("%q came out where %d was next", line, g.put[name][:min(len(g.put[name]), 10)])
		}
		last[name] = l.FirstSeq
		g.put[name] = slices.Delete(slices.Clone(g.put[name]), i, i+1)
	}
	for name, put := range g.put {
		if len(put) > 0 {
			return fmt.Errorf("%s: %d neither came out nor were announced", name, put)
		}
	}
	return g.checkTurns()
}

// checkTurns checks that data comes between announcements. When nothing else waits, several origins
// may have theirs side by side, and behind the last record an origin may have more than one.
func (g *game) checkTurns() error {
	announced := map[string]bool{} // since the last record
	var again error
	for _, line := range g.out {
		var name string
		if n, _ := fmt.Sscanf(string(line), "lost %s", &name); n == 0 {
			if again != nil {
				return again
			}
			clear(announced)
			continue
		}
		if announced[name] {
			again = fmt.Errorf("%q came out, the second announcement without a record before it", line)
		}
		announced[name] = true
	}
	return nil
}
