package phoenix

import (
	"encoding/json"
	"hash/maphash"
	"iter"
)

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
		dst = append(appendString(dst, p.key), `:{"metas":[`...)
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
