package proc

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// A LineWriter writes lines to a file that may block: a pipe that is not read, a terminal that is stopped. Its callers do not block:
// lines wait, up to a bound, and those beyond it are lost and counted. While the file takes them, a line is
// written when Write returns, so that it stands in order with what is written to other files. Once the file has no reader,
// lines are discarded. It may be used by several goroutines at once.
type LineWriter struct {
	w        io.Writer
	writable func() bool
	limit    int
	// gone is closed when a write has found no reader.
	gone chan struct{}

	mu         sync.Mutex
	reportLost func(w io.Writer, lost int)
	waiting    []byte
	written    chan struct{} // closed when what waits now is written
	lost       int
	// idle is closed when nothing is left to do; nil: that is so.
	idle chan struct{}
}

const (
	// linesLimit is how much waits, in bytes.
	linesLimit = 1 << 20
	// takingTime bounds how long Write waits for a file that could be written to a moment ago.
	takingTime = time.Second
	// flushTime is how long Flush waits for a file that takes nothing, and flushTimes how often for one that can be written to.
	flushTime, flushTimes = 500 * time.Millisecond, 4
)

// NewLineWriter returns a writer of lines to w. reportLost writes to its w that so many lines were lost, once w takes lines again.
func NewLineWriter(w io.Writer, reportLost func(w io.Writer, lost int)) *LineWriter {
	writable := func() bool { return true }
	if f, ok := w.(*os.File); ok {
		writable = func() bool { return canWrite(f) }
	}
	return &LineWriter{w: w, writable: writable, limit: linesLimit, gone: make(chan struct{}), reportLost: reportLost}
}

// Gone returns a channel that is closed once a line was written to a pipe that has no reader. The process must not die of that.
func (l *LineWriter) Gone() <-chan struct{} { return l.gone }

// ReportLost replaces the function that NewLineWriter got.
func (l *LineWriter) ReportLost(report func(w io.Writer, lost int)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reportLost = report
}

// Write takes whole lines, or loses them. It does not fail.
func (l *LineWriter) Write(lines []byte) (int, error) {
	writable := l.writable()
	written := l.add(lines)
	if written == nil || !writable {
		return len(lines), nil
	}
	timer := time.NewTimer(takingTime)
	defer timer.Stop()
	select {
	case <-written:
	case <-timer.C:
	}
	return len(lines), nil
}

// add makes lines wait, and returns what is closed when they are written; nil: they are lost.
func (l *LineWriter) add(lines []byte) (written <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 || len(l.waiting)+len(lines) > l.limit {
		l.lost += max(bytes.Count(lines, []byte{'\n'}), 1) // and so is what follows until that is reported, which keeps the order
	} else {
		if l.written == nil {
			l.written = make(chan struct{})
		}
		l.waiting = append(l.waiting, lines...)
		written = l.written
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
		go l.work()
	}
	return written
}

// work writes what waits until there is nothing.
func (l *LineWriter) work() {
	var spare []byte
	write := func(lines []byte) {
		select {
		case <-l.gone:
			return
		default:
		}
		// There is nowhere to report any other error.
		if _, err := l.w.Write(lines); errors.Is(err, syscall.EPIPE) {
			close(l.gone)
		}
	}
	for {
		l.mu.Lock()
		lines, lost, written, report := l.waiting, l.lost, l.written, l.reportLost
		if len(lines) == 0 && lost == 0 {
			close(l.idle)
			l.idle = nil
			l.mu.Unlock()
			return
		}
		l.waiting, l.lost, l.written = spare[:0], 0, nil
		l.mu.Unlock()
		write(lines)
		if lost > 0 {
			report(l.w, lost)
		}
		if written != nil {
			close(written)
		}
		spare = lines
	}
}

// Flush waits until everything is written, or until it is clear that the file takes nothing. It is called at the end of the process.
func (l *LineWriter) Flush() {
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	if idle == nil {
		return
	}
	for range flushTimes {
		timer := time.NewTimer(flushTime)
		select {
		case <-idle:
			timer.Stop()
			return
		case <-timer.C:
		}
		if !l.writable() {
			return
		}
	}
}
