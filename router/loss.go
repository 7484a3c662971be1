package router

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

func (l *Loss) add(seq uint64) {
	if l.Count == 0 {
		l.FirstSeq = seq
	}
	l.Count++
	l.LastSeq = seq
}

// lists is how many lists of losses a queue has.
const lists = 2
