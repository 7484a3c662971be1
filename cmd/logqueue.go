package cmd

import (
	"io"
	"sync"
	"time"
)

// A logQueue is a log on its way to a writer that may stand still: a pipe that nobody reads. It holds up nobody who logs. What does
// not fit is lost, and said to be once the writer goes on.
type logQueue struct {
	w io.Writer
	// tellLost writes to w that so many writes were lost.
	tellLost func(lost int)
	limit    int

	mu      sync.Mutex
	waiting []byte
	lost    int
	// idle is closed when nothing is left to do; nil: that is so.
	idle chan struct{}
}

// logLimit is how much of a log waits, in bytes.
const logLimit = 1 << 20

func newLogQueue(w io.Writer, tellLost func(lost int)) *logQueue {
	return &logQueue{w: w, tellLost: tellLost, limit: logLimit}
}

// Write takes a line, or drops it. It does not fail.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lost > 0 || len(q.waiting)+len(line) > q.limit {
		q.lost++ // and so is what follows until that is told, which keeps the order
	} else {
		q.waiting = append(q.waiting, line...)
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.write()
	}
	return len(line), nil
}

// write writes what waits until there is nothing.
func (q *logQueue) write() {
	var written []byte
	for {
		q.mu.Lock()
		lines, lost := q.waiting, q.lost
		if len(lines) == 0 && lost == 0 {
			close(q.idle)
			q.idle = nil
			q.mu.Unlock()
			return
		}
		q.waiting, q.lost = written[:0], 0
		q.mu.Unlock()
		// A log that cannot be written has nowhere to say so.
		_, _ = q.w.Write(lines)
		if lost > 0 {
			q.tellLost(lost)
		}
		written = lines
	}
}

// flush waits until everything is written, and reports whether it was within a time.
func (q *logQueue) flush(within time.Duration) bool {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle == nil {
		return true
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
		return false
	}
}
