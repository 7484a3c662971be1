package phoenix

import (
	"encoding/json"
	"errors"
)

// A present is one key and its presences.
type present struct {
	key   string
	metas []presenceMeta
	// fields is what else the server tells of the key: members of a JSON object, a comma before each.
	fields []byte
	// metasSize is the sum of the metas' sizes.
	metasSize int
}

// size is about how much memory p takes.
func (p present) size() int { return presenceOverhead + len(p.key) + len(p.fields) + p.metasSize }

// A presenceMeta is one presence under a key.
type presenceMeta struct {
	// ref is its phx_ref as it is spelled: what it is told apart by.
	ref string
	// text is the JSON object, on one line.
	text json.RawMessage
}

const (
	// presenceOverhead is what a key or a meta takes beyond its text.
	presenceOverhead = 64
	// presencePath is what the nodes of a tree take that are not shared, when one of them changes: some ten of them.
	presencePath = 1 << 10
)

func (m presenceMeta) size() int { return presenceOverhead + len(m.ref) + len(m.text) }

func sizeOf(metas []presenceMeta) (size int) {
	for _, m := range metas {
		size += m.size()
	}
	return size
}

func texts(metas []presenceMeta) []json.RawMessage {
	ts := make([]json.RawMessage, len(metas))
	for i, m := range metas {
		ts[i] = m.text
	}
	return ts
}

// minus returns those of metas that are not among others.
func minus(metas, others []presenceMeta) (rest []presenceMeta) {
	refs := make(map[string]bool, len(metas))
	for _, m := range metas {
		refs[m.ref] = true
	}
	for _, o := range others {
		delete(refs, o.ref)
	}
	for _, m := range metas {
		if refs[m.ref] {
			rest = append(rest, m)
		}
	}
	return rest
}

// A presenceDiff is a presence_diff.
type presenceDiff struct{ joins, leaves PresenceState }

func (d presenceDiff) bytes() int { return d.joins.root.bytes() + d.leaves.root.bytes() }

// A presenceChange is what became different: under each key the metas that came, and those that went.
type presenceChange struct {
	joined, left []present
	// memory is about what it, and the state after it, do not share with the state before.
	memory int
}

func (c presenceChange) empty() bool { return len(c.joined)+len(c.left) == 0 }

// apply returns s after d, and what that changed: what d says again changes nothing. As in phoenix.js, joins come first.
func (s PresenceState) apply(d presenceDiff) (PresenceState, presenceChange) {
	var c presenceChange
	for p := range d.joins.root.all {
		now := s.root.get(p.key)
		came := minus(p.metas, now.metas)
		if len(came) == 0 {
			continue
		}
		// This may write behind the end of s's own metas, which s does not see, and no other state: of those made of s one is kept.
		now.metas, now.metasSize = append(now.metas, came...), now.metasSize+sizeOf(came)
		now.fields = p.fields
		s.root = s.root.with(now)
		c.joined = append(c.joined, present{key: p.key, metas: came})
		c.memory += presencePath + sizeOf(came)
	}
	for p := range d.leaves.root.all {
		now := s.root.get(p.key)
		rest := minus(now.metas, p.metas)
		if len(rest) == len(now.metas) {
			continue
		}
		went := minus(now.metas, rest)
		now.metas, now.metasSize = rest, now.metasSize-sizeOf(went)
		s.root = s.root.with(now)
		c.left = append(c.left, present{key: p.key, metas: went})
		c.memory += presencePath + presenceOverhead*len(rest)
	}
	return s, c
}

// since returns what is different in s from what was before.
func (s PresenceState) since(before PresenceState) (c presenceChange) {
	c.memory = s.root.bytes()
	for p := range s.root.all {
		if came := minus(p.metas, before.root.get(p.key).metas); len(came) > 0 {
			c.joined = append(c.joined, present{key: p.key, metas: came})
		}
	}
	for p := range before.root.all {
		if went := minus(p.metas, s.root.get(p.key).metas); len(went) > 0 {
			c.left = append(c.left, present{key: p.key, metas: went})
		}
	}
	return c
}

// A presenceTracker keeps the state of one channel (rule 26). It outlives joins, so that the state of the next one tells
// who came and went meanwhile.
type presenceTracker struct {
	state PresenceState
	// joinRef is the join that synced and held are about.
	joinRef string
	// synced says that its state has come.
	synced bool
	// held are the diffs that came before that, the latest of them.
	held      []presenceDiff
	heldBytes int
	// forgot says that there were more.
	forgot bool
}

// maxHeldPresence bounds what is held: a server may send diffs and never a state. The latest matter: what the state was
// made from is older than it.
const maxHeldPresence = 1 << 20

var (
	errPresenceLarge = errors.New("it makes the state larger than the largest message accepted")
	errPresenceHeld  = errors.New("too many of them wait for a presence_state: the oldest are forgotten")
)

// begin turns to a join; what was held for another one is of no use.
func (t *presenceTracker) begin(joinRef string) {
	if t.joinRef != joinRef {
		*t = presenceTracker{state: t.state, joinRef: joinRef}
	}
}

// sync takes the state of a join. What the diffs that were held undo has never been.
func (t *presenceTracker) sync(joinRef string, s PresenceState, limit int) (presenceChange, error) {
	t.begin(joinRef)
	for _, d := range t.held {
		s, _ = s.apply(d)
	}
	if s.root.bytes() > limit {
		return presenceChange{}, errPresenceLarge
	}
	c := s.since(t.state)
	t.state, t.synced, t.held, t.heldBytes = s, true, nil, 0
	return c, nil
}

// diff takes a diff, which changes nothing before the state of its join.
func (t *presenceTracker) diff(joinRef string, d presenceDiff, limit int) (presenceChange, error) {
	t.begin(joinRef)
	if !t.synced {
		return presenceChange{}, t.hold(d)
	}
	s, c := t.state.apply(d)
	if s.root.bytes() > limit {
		return presenceChange{}, errPresenceLarge
	}
	t.state = s
	return c, nil
}

func (t *presenceTracker) hold(d presenceDiff) (err error) {
	if d.bytes() == 0 {
		return nil
	}
	t.held = append(t.held, d)
	t.heldBytes += d.bytes()
	if t.heldBytes <= maxHeldPresence {
		return nil
	}
	if !t.forgot {
		t.forgot, err = true, errPresenceHeld
	}
	for t.heldBytes > maxHeldPresence && len(t.held) > 1 {
		t.heldBytes -= t.held[0].bytes()
		t.held[0] = presenceDiff{} // the array lives on
		t.held = t.held[1:]
	}
	return err
}
