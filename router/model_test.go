package router_test

import (
	"bytes"
	"fmt"
	"slices"

	"phx/router"
)

// A model is the queue as its documentation has it, record by record and slow.
type model struct {
	limit, records int
	policy         router.Policy
	announce       func(dst []byte, l router.Loss) []byte
	waiting        []item
	taken          [][]item // and not given back
	// front and back are the losses at the gaps before and behind what waits, refused those announced in vain.
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

// put reports what Put should return: 'y' for nil, 'w' for waiting, 'f' for ErrFull, 'c' for ErrClosed.
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
