package router

import "slices"

// A Loss is one episode of lost records of one origin: a gap at one place in the stream.
type Loss struct {
	// Origin is where the records came from: nil for those of [Queue.Chunk].
	Origin *Origin
	// Count is how many records are missing.
	Count uint64
	// FirstSeq and LastSeq are the sequence numbers of the first and the last of them. Records between them that were
	// never put, because a filter took them, are not counted.
	FirstSeq, LastSeq uint64
}

// extend adds a later loss of the same origin.
func (l *Loss) extend(later Loss) {
	l.Count += later.Count
	l.LastSeq = later.LastSeq
}

// The lists of losses that a queue has.
const (
	front   = iota // at the gap before what waits
	back           // at the gap behind what waits
	behind         // at the gap behind what is being given back
	refused        // announced in vain
	lists
)

// losses are those at one place of the stream, one an origin, in the order of the first loss of each.
type losses struct {
	list []Loss
	name int // front, back, behind or refused
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

// add adds a loss that is later than those in the list.
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

// addAll adds losses that are later than those in the list.
func (ls *losses) addAll(later []Loss) {
	for _, l := range later {
		ls.add(l)
	}
}

// addEarlier puts those of the earlier losses whose origin has one in the list in front of that, and takes them from there.
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
