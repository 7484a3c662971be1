package phoenix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"

	"phx/phoenix/rawjson"
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
		c.joined = append(c.joined, present{key: p.key, metas: came, fields: p.fields})
		c.memory += presencePath + sizeOf(came) + 2*len(p.fields)
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
		fields := p.fields
		if len(fields) == 0 {
			fields = now.fields
		}
		c.left = append(c.left, present{key: p.key, metas: went, fields: fields})
		c.memory += presencePath + presenceOverhead*len(rest) + 2*len(fields)
	}
	return s, c
}

// since returns what is different in s from what was before.
func (s PresenceState) since(before PresenceState) (c presenceChange) {
	c.memory = s.root.bytes()
	for p := range s.root.all {
		if came := minus(p.metas, before.root.get(p.key).metas); len(came) > 0 {
			c.joined = append(c.joined, present{key: p.key, metas: came, fields: p.fields})
		}
	}
	for p := range before.root.all {
		if went := minus(p.metas, s.root.get(p.key).metas); len(went) > 0 {
			c.left = append(c.left, present{key: p.key, metas: went, fields: p.fields})
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

// A PresenceState is who is present in a channel, as Phoenix.Presence says it: keys, each with the metas of one or more
// presences. It does not change, and stays valid. The zero PresenceState is empty.
//
// It is a search tree of which each state shares all but a path with the one before it: a state for every change of a
// channel with thousands of people costs little until it is looked at.
type PresenceState struct{ root *presenceNode }

// All returns the keys, sorted by their bytes, and their metas in the order in which the server listed or added them.
// The metas are JSON objects as the server wrote them, but for line breaks.
func (s PresenceState) All() iter.Seq2[string, []json.RawMessage] {
	return func(yield func(string, []json.RawMessage) bool) {
		for p := range s.root.all {
			if !yield(p.key, texts(p.metas)) {
				return
			}
		}
	}
}

// AppendJSON appends the state as the object that a presence_state would be, on one line: sorted keys, each with "metas"
// and then whatever else the server has told of it.
func (s PresenceState) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	first := len(dst)
	for p := range s.root.all {
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = append(rawjson.AppendString(dst, p.key), `:{"metas":[`...)
		for i, m := range p.metas {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, m.text...)
		}
		dst = append(dst, ']')
		dst = append(append(dst, p.fields...), '}')
	}
	return append(dst, '}')
}

// A presenceNode is a node of a treap that is never changed: keys are in order from left to right, and priorities, which
// are random, fall from the root down, which keeps it flat. Its methods work on nil, the empty tree.
type presenceNode struct {
	present
	priority    uint64
	left, right *presenceNode
	// total is the size of all presences here and below.
	total int
}

// presenceSeed keeps the priorities, hashes of the keys, out of a server's hands.
var presenceSeed = maphash.MakeSeed()

func newPresenceNode(p present, priority uint64, left, right *presenceNode) *presenceNode {
	return &presenceNode{p, priority, left, right, p.size() + left.bytes() + right.bytes()}
}

// bytes is about how much memory the presences of n take.
func (n *presenceNode) bytes() int {
	if n == nil {
		return 0
	}
	return n.total
}

// get returns the presence of key; one without metas if there is none.
func (n *presenceNode) get(key string) present {
	for n != nil && n.key != key {
		if key < n.key {
			n = n.left
		} else {
			n = n.right
		}
	}
	if n == nil {
		return present{key: key}
	}
	return n.present
}

// with returns n with p in place of what it has under p's key. A presence without metas is none.
func (n *presenceNode) with(p present) *presenceNode {
	if len(p.metas) == 0 {
		return n.without(p.key)
	}
	return n.put(p, maphash.String(presenceSeed, p.key))
}

func (n *presenceNode) put(p present, priority uint64) *presenceNode {
	switch {
	case n == nil || priority > n.priority: // then p's key is not below n
		left, right := n.split(p.key)
		return newPresenceNode(p, priority, left, right)
	case p.key < n.key:
		return newPresenceNode(n.present, n.priority, n.left.put(p, priority), n.right)
	case p.key > n.key:
		return newPresenceNode(n.present, n.priority, n.left, n.right.put(p, priority))
	}
	return newPresenceNode(p, priority, n.left, n.right)
}

// without returns n without what it has under key.
func (n *presenceNode) without(key string) *presenceNode {
	switch {
	case n == nil:
		return nil
	case key < n.key:
		return newPresenceNode(n.present, n.priority, n.left.without(key), n.right)
	case key > n.key:
		return newPresenceNode(n.present, n.priority, n.left, n.right.without(key))
	}
	return n.left.join(n.right)
}

// split returns what is below and what is above key, which n does not have.
func (n *presenceNode) split(key string) (below, above *presenceNode) {
	switch {
	case n == nil:
		return nil, nil
	case key < n.key:
		below, above = n.left.split(key)
		return below, newPresenceNode(n.present, n.priority, above, n.right)
	}
	below, above = n.right.split(key)
	return newPresenceNode(n.present, n.priority, n.left, below), above
}

// join returns n and o, whose keys are all above those of n, as one.
func (n *presenceNode) join(o *presenceNode) *presenceNode {
	switch {
	case n == nil:
		return o
	case o == nil:
		return n
	case n.priority >= o.priority:
		return newPresenceNode(n.present, n.priority, n.left, n.right.join(o))
	}
	return newPresenceNode(o.present, o.priority, n.join(o.left), o.right)
}

// all yields the presences in the order of their keys; it is an [iter.Seq].
func (n *presenceNode) all(yield func(present) bool) { n.each(yield) }

// each is all, and reports whether the loop goes on.
func (n *presenceNode) each(yield func(present) bool) bool {
	return n == nil || n.left.each(yield) && yield(n.present) && n.right.each(yield)
}

// The payloads of Phoenix.Presence (PROTOCOL.md, section 10), taken apart down to the phx_ref of each meta. Nothing of
// what is returned points into the payload.

var (
	errPresenceBinary = errors.New("the payload is no JSON")
	errPresenceDiff   = errors.New("a diff needs joins and leaves")
	errPresenceMetas  = errors.New("a presence needs metas")
	errPresenceRef    = errors.New("a meta needs a phx_ref")
)

// parsePresenceState parses the payload of a presence_state.
func parsePresenceState(p Payload) (PresenceState, error) {
	text, err := presenceText(p)
	if err != nil {
		return PresenceState{}, err
	}
	return parsePresences(text)
}

// parsePresenceDiff parses the payload of a presence_diff.
func parsePresenceDiff(p Payload) (d presenceDiff, err error) {
	text, err := presenceText(p)
	if err != nil {
		return d, err
	}
	var joins, leaves []byte
	_, err = rawjson.ReadObject(text, 0, func(key, value []byte) {
		switch string(key) {
		case "joins":
			joins = value
		case "leaves":
			leaves = value
		}
	})
	switch {
	case err != nil:
		return d, err
	case joins == nil || leaves == nil:
		return d, errPresenceDiff
	}
	if d.joins, err = parsePresences(joins); err == nil {
		d.leaves, err = parsePresences(leaves)
	}
	return d, err
}

// presenceText returns the JSON text of a payload, without line breaks, from its first token on.
func presenceText(p Payload) ([]byte, error) {
	if p.Binary {
		return nil, errPresenceBinary
	}
	text := p.Data
	if p.Broken {
		text = bytes.Map(func(r rune) rune {
			if r == '\n' || r == '\r' {
				return -1
			}
			return r
		}, text)
	}
	start, _ := rawjson.NextToken(text, 0)
	return text[start:], nil
}

// parsePresences parses an object of presences by key. Of a key that is there twice the last one counts.
func parsePresences(text []byte) (s PresenceState, err error) {
	_, syntax := rawjson.ReadObject(text, 0, func(key, value []byte) {
		if err != nil {
			return
		}
		var p present
		if p, err = parsePresent(string(key), value); err == nil {
			s.root = s.root.with(p)
		}
	})
	if syntax != nil {
		err = syntax
	}
	if err != nil {
		return PresenceState{}, err
	}
	return s, nil
}

func parsePresent(key string, text []byte) (p present, err error) {
	p.key = key
	var metas []byte
	_, err = rawjson.ReadObject(text, 0, func(name, value []byte) {
		if string(name) == "metas" {
			metas = value
			return
		}
		p.fields = append(rawjson.AppendString(append(p.fields, ','), string(name)), ':')
		p.fields = append(p.fields, value...)
	})
	if err != nil {
		return p, err
	}
	if rawjson.ByteAt(metas, 0) != '[' {
		return p, errPresenceMetas
	}
	p.metas, err = parseMetas(metas)
	p.metasSize = sizeOf(p.metas)
	return p, err
}

// parseMetas parses an array of metas.
func parseMetas(text []byte) (metas []presenceMeta, err error) {
	i, c := rawjson.NextToken(text, 1)
	for c != ']' {
		if len(metas) > 0 {
			if c != ',' {
				return nil, rawjson.FaultArrayEnd.At(text, i)
			}
			i, _ = rawjson.NextToken(text, i+1)
		}
		var value []byte
		if value, i, err = rawjson.ReadValue(text, i); err != nil {
			return nil, err
		}
		m, err := parseMeta(value)
		if err != nil {
			return nil, fmt.Errorf("meta %d: %w", len(metas), err)
		}
		metas = append(metas, m)
		i, c = rawjson.NextToken(text, i)
	}
	return metas, nil
}

func parseMeta(text []byte) (m presenceMeta, err error) {
	_, err = rawjson.ReadObject(text, 0, func(key, value []byte) {
		if string(key) == "phx_ref" {
			m.ref = string(value)
		}
	})
	if err == nil && m.ref == "" {
		err = errPresenceRef
	}
	// A copy: it is kept for as long as the presence lasts, and what it is cut from may be large.
	m.text = bytes.Clone(text)
	return m, err
}

// presenceFrame reports whether f is a message of Phoenix.Presence.
func presenceFrame(f *frame) bool {
	switch string(f.event) {
	case eventPresenceState, eventPresenceDiff:
		return true
	}
	return false
}

// receivedPresence takes a message of Phoenix.Presence for c (rule 26). What comes for no join is of no use: the state of
// the next one says it all.
func (m *machine) receivedPresence(c *channel, f *frame) {
	if c.joinRef == "" {
		return
	}
	change, err := m.trackPresence(c, f)
	if err != nil {
		m.note(slog.LevelWarn, "a presence message was not taken", "topic", c.Topic, "event", said(f.event), "error", err)
		return
	}
	// A state is always told of: it may be that nobody is there. A diff only when it is news.
	if string(f.event) == eventPresenceDiff && change.empty() {
		return
	}
	m.presenceBytes += change.memory
	joined, left := map[string]bool{}, map[string]bool{}
	for _, p := range change.joined {
		joined[p.key] = true
	}
	for _, p := range change.left {
		left[p.key] = true
	}
	of := func(p present) PresenceChange {
		d := PresenceChange{Key: p.key, Metas: texts(p.metas), Update: joined[p.key] && left[p.key]}
		d.Remaining = len(c.presence.state.root.get(p.key).metas)
		if len(p.fields) > 0 {
			d.Fields = append(append([]byte{'{'}, p.fields[1:]...), '}')
		}
		return d
	}
	for _, p := range change.joined {
		m.emitPresence(c, f, &PresenceJoin{of(p)})
	}
	for _, p := range change.left {
		m.emitPresence(c, f, &PresenceLeave{of(p)})
	}
	m.emitPresence(c, f, &PresenceSync{State: c.presence.state})
}

func (m *machine) trackPresence(c *channel, f *frame) (presenceChange, error) {
	if string(f.event) == eventPresenceState {
		s, err := parsePresenceState(f.payload)
		if err != nil {
			return presenceChange{}, err
		}
		return c.presence.sync(c.joinRef, s, m.presenceLimit)
	}
	d, err := parsePresenceDiff(f.payload)
	if err != nil {
		return presenceChange{}, err
	}
	return c.presence.diff(c.joinRef, d, m.presenceLimit)
}

func (m *machine) emitPresence(c *channel, f *frame, d Detail) {
	e := m.emit(f.at, c.Topic, d)
	e.JoinRef, e.Ref = m.internRef(f.joinRef, c), string(f.ref)
}
