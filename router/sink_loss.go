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
	ended     bool      // the drain is
	next      time.Time // when something may be logged again
}

// A seenLoss is what a lossLog knows of a connection.
type seenLoss struct {
	origin *Origin
	// logged is how many of the origin's losses have been logged.
	logged uint64
	// first and last are the range of the gaps that have been seen since the last look, first 0 if there was none.
	first, last uint64
}

// note takes in a loss, or what it has grown to.
func (l *lossLog) note(loss Loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.see(loss)
	l.schedule()
}

// see is called with mu held.
func (l *lossLog) see(loss Loss) {
	if loss.Origin == nil {
		return
	}
	s := l.seen[loss.Origin.Connection]
	if s == nil || s.origin != loss.Origin {
		s = &seenLoss{origin: loss.Origin}
		l.seen[loss.Origin.Connection] = s
	}
	if s.first == 0 || loss.FirstSeq < s.first {
		s.first = loss.FirstSeq
	}
	s.last = max(s.last, loss.LastSeq)
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

// end logs what was not logged yet, and then no more.
func (l *lossLog) end() {
	l.flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// flush logs what was not logged yet.
func (l *lossLog) flush() {
	l.mu.Lock()
	l.scheduled = false // What is lost from here on has another look.
	l.next = time.Now().Add(lossLogInterval)
	ended := l.ended
	l.mu.Unlock()
	if ended {
		return
	}
	unannounced := l.unannounced()
	unlogged := make(map[string]Loss)
	l.mu.Lock()
	for _, loss := range unannounced {
		l.see(loss)
	}
	for connection, s := range l.seen {
		count := s.origin.Dropped.Load() - s.logged
		if count > 0 && s.first > 0 {
			unlogged[connection] = Loss{Count: count, FirstSeq: s.first, LastSeq: s.last}
			s.logged += count
		}
		s.first, s.last = 0, 0
	}
	l.mu.Unlock()
	for _, connection := range slices.Sorted(maps.Keys(unlogged)) {
		loss := unlogged[connection]
		l.log.Warn("signals were lost", "connection", connection, "count", loss.Count, "policy", l.policy.String(),
			"first_seq", loss.FirstSeq, "last_seq", loss.LastSeq)
	}
}
