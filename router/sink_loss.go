package router

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// lossLogInterval is how often a sink logs its losses, at most: one that is too slow loses all the time.
const lossLogInterval = 10 * time.Second

// A lossLog logs what a sink loses: the first loss at once, later ones together. It does so on a goroutine of its own, because
// it is told while the queue is locked, and a log can block.
type lossLog struct {
	log    *slog.Logger
	policy Policy
	// unannounced returns what is lost and of which there is no announcement yet.
	unannounced func() []Loss

	mu        sync.Mutex
	seen      map[string]*seenLoss // by connection
	scheduled bool
	next      time.Time // when something may be logged again
}

// A seenLoss is what a lossLog knows of a connection.
type seenLoss struct {
	// first, last and count are those of the latest episode, which may still grow.
	first, last, count uint64
	// unlogged is what was lost since the last line.
	unlogged Loss
}

// note takes in a loss, or what it has grown to.
func (l *lossLog) note(loss Loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[loss.Origin.Connection]
	if s == nil {
		s = &seenLoss{}
		l.seen[loss.Origin.Connection] = s
	}
	news := loss
	if s.count > 0 && s.first == loss.FirstSeq && s.count <= loss.Count {
		news.Count -= s.count
		news.FirstSeq = s.last + 1
	}
	s.first, s.last, s.count = loss.FirstSeq, loss.LastSeq, loss.Count
	if news.Count == 0 {
		return
	}
	if s.unlogged.Count == 0 {
		s.unlogged.FirstSeq = news.FirstSeq
	}
	s.unlogged.Count += news.Count
	s.unlogged.LastSeq = news.LastSeq
	l.schedule()
}

// look sees to it that losses are logged which may not be announced for long, because the drain stands still.
func (l *lossLog) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.schedule()
}

// schedule is called with mu held.
func (l *lossLog) schedule() {
	if !l.scheduled {
		l.scheduled = true
		time.AfterFunc(time.Until(l.next), l.flush)
	}
}

// forget drops what is known of a connection.
func (l *lossLog) forget(connection string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.seen, connection)
}

// flush logs what was not logged yet.
func (l *lossLog) flush() {
	for _, loss := range l.unannounced() {
		if loss.Origin != nil {
			l.note(loss)
		}
	}
	l.mu.Lock()
	l.scheduled = false
	l.next = time.Now().Add(lossLogInterval)
	unlogged := make(map[string]Loss)
	for connection, s := range l.seen {
		if s.unlogged.Count > 0 {
			unlogged[connection] = s.unlogged
			s.unlogged = Loss{}
		}
	}
	l.mu.Unlock()
	for _, connection := range slices.Sorted(maps.Keys(unlogged)) {
		loss := unlogged[connection]
		l.log.Warn("signals were lost", "connection", connection, "count", loss.Count, "policy", l.policy.String(),
			"first_seq", loss.FirstSeq, "last_seq", loss.LastSeq)
	}
}
