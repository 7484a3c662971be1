package phoenix

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A presenceBook is the reference: who is present, by key and ref, in plain maps.
type presenceBook map[string]map[string]bool

func (b presenceBook) add(key, ref string) {
	if b[key] == nil {
		b[key] = map[string]bool{}
	}
	b[key][ref] = true
}

func (b presenceBook) remove(key, ref string) {
	delete(b[key], ref)
	if len(b[key]) == 0 {
		delete(b, key)
	}
}

func (b presenceBook) clone() presenceBook {
	c := presenceBook{}
	for key, refs := range b {
		c[key] = maps.Clone(refs)
	}
	return c
}

// text is the form that presencesJSON reads, sorted.
func (b presenceBook) text() string {
	var entries []string
	for _, key := range slices.Sorted(maps.Keys(b)) {
		entries = append(entries, key+": "+strings.Join(slices.Sorted(maps.Keys(b[key])), " "))
	}
	return strings.Join(entries, ", ")
}

func bookOf(s PresenceState) presenceBook {
	b := presenceBook{}
	for p := range s.root.all {
		for _, m := range p.metas {
			b.add(p.key, strings.Trim(m.ref, `"`))
		}
	}
	return b
}

// A presenceServer makes up what happens in a channel, and what of it the client is sent.
type presenceServer struct {
	t        *testing.T
	rng      *rand.Rand
	there    presenceBook
	refs     int
	joinRef  int
	tracker  presenceTracker
	believed presenceBook // by who hears of changes only
}

// Whatever comes and goes, in any order with joins and states, at the end of it the state is the server's, and so is what
// somebody believes who only adds joins and takes away leaves.
func TestPresenceModel(t *testing.T) {
	for seed := range uint64(300) {
		s := &presenceServer{t: t, rng: rand.New(rand.NewPCG(seed, 1)), there: presenceBook{}, believed: presenceBook{}}
		s.rejoin()
		for range 200 {
			s.step()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (s *presenceServer) step() {
	switch n := s.rng.IntN(40); {
	case n == 0:
		s.rejoin()
	case n == 1: // a state out of turn
		s.sync(s.there.clone())
	default:
		s.diff()
	}
	if !s.tracker.synced {
		s.t.Fatal("there is no state")
	}
	for what, got := range map[string]presenceBook{"state": bookOf(s.tracker.state), "sum of the changes": s.believed} {
		if got.text() != s.there.text() {
			s.t.Fatalf("the %s is %q, want %q", what, got.text(), s.there.text())
		}
	}
	size := 0
	for p := range s.tracker.state.root.all {
		size += p.size()
		if sizeOf(p.metas) != p.metasSize {
			s.t.Fatalf("%q has metas of %d bytes, and counts %d", p.key, sizeOf(p.metas), p.metasSize)
		}
	}
	if size != s.tracker.state.root.bytes() {
		s.t.Fatalf("a state of %d bytes counts %d", size, s.tracker.state.root.bytes())
	}
}

// rejoin is a new join: people come and go unheard; of what comes before the state some is in it, and some is not.
func (s *presenceServer) rejoin() {
	for range s.rng.IntN(5) {
		s.change()
	}
	s.joinRef++
	for range s.rng.IntN(3) {
		s.diff()
	}
	state := s.there.clone()
	for range s.rng.IntN(3) {
		s.diff()
	}
	s.sync(state)
}

func (s *presenceServer) diff() {
	joins, leaves := presenceBook{}, presenceBook{}
	for range s.rng.IntN(4) {
		key, came, went := s.change()
		if came != "" {
			joins.add(key, came)
		}
		if went != "" && joins[key][went] {
			joins.remove(key, went)
		} else if went != "" {
			leaves.add(key, went)
		}
	}
	s.hear(s.tracker.diff(fmt.Sprint(s.joinRef), presenceDiff{presences(s.t, joins.text()), presences(s.t, leaves.text())}, 1<<20))
}

func (s *presenceServer) sync(state presenceBook) {
	s.hear(s.tracker.sync(fmt.Sprint(s.joinRef), presences(s.t, state.text()), 1<<20))
}

// change is one presence that comes, goes, or is updated, which is both.
func (s *presenceServer) change() (key, came, went string) {
	key = fmt.Sprintf("u%d", s.rng.IntN(12))
	kind := s.rng.IntN(3)
	if refs := slices.Sorted(maps.Keys(s.there[key])); kind > 0 && len(refs) > 0 {
		went = refs[s.rng.IntN(len(refs))]
		s.there.remove(key, went)
	}
	if kind < 2 {
		s.refs++
		came = fmt.Sprint(s.refs)
		s.there.add(key, came)
	}
	return key, came, went
}

// hear takes a change into what is believed, where each has to make a difference.
func (s *presenceServer) hear(c presenceChange, err error) {
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range c.joined {
		for _, m := range p.metas {
			ref := strings.Trim(m.ref, `"`)
			if s.believed[p.key][ref] {
				s.t.Errorf("%s %s joins again", p.key, ref)
			}
			s.believed.add(p.key, ref)
		}
	}
	for _, p := range c.left {
		for _, m := range p.metas {
			ref := strings.Trim(m.ref, `"`)
			if !s.believed[p.key][ref] {
				s.t.Errorf("%s %s leaves, and was not there", p.key, ref)
			}
			s.believed.remove(p.key, ref)
		}
	}
}

// A state is what it was, however many came after it, and the tree stays flat with keys in any order.
func TestPresenceStatesDoNotChange(t *testing.T) {
	var s PresenceState
	var states []PresenceState
	var texts []string
	for i := range 600 {
		d := presenceDiff{joins: presences(t, fmt.Sprintf("u%03d: %d", i%200, i))}
		if i%5 == 4 {
			d.leaves = presences(t, fmt.Sprintf("u%03d: %d", (i-2)%200, i-2))
		}
		s, _ = s.apply(d)
		states, texts = append(states, s), append(texts, string(s.AppendJSON(nil)))
	}
	for i, before := range states {
		if got := string(before.AppendJSON(nil)); got != texts[i] {
			t.Fatalf("state %d has become %s", i, got)
		}
	}
	if depth := depthOf(s.root); depth > 50 {
		t.Errorf("200 keys are %d deep", depth)
	}
}

func depthOf(n *presenceNode) int {
	if n == nil {
		return 0
	}
	return 1 + max(depthOf(n.left), depthOf(n.right))
}
