package phoenixtest

import (
	"io"
	"os"
	"sync"
	"time"
)

// A pipeHalf is one direction of an in-memory connection.
type pipeHalf struct {
	mu      sync.Mutex
	changed *sync.Cond
	buf     []byte
	eof     bool  // nothing will be written any more
	rerr    error // of every read from now on, whatever is in buf
	werr    error // of every write from now on

	reading, writing deadline
}

func newPipeHalf() *pipeHalf {
	h := &pipeHalf{}
	h.changed = sync.NewCond(&h.mu)
	return h
}

func (h *pipeHalf) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.rerr != nil:
			return 0, h.rerr
		case h.reading.passed:
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) > 0 || len(p) == 0:
			n := copy(p, h.buf)
			h.buf = h.buf[n:]
			h.changed.Broadcast()
			return n, nil
		case h.eof:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *pipeHalf) write(p []byte) (written int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.werr != nil:
			return written, h.werr
		case h.writing.passed:
			return written, os.ErrDeadlineExceeded
		case len(p) == 0:
			return written, nil
		}
		if n := min(len(p), pipeBuffer-len(h.buf)); n > 0 {
			h.buf = append(h.buf, p[:n]...)
			p, written = p[n:], written+n
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}

// finish ends the direction in order: what was written can be read, then comes EOF.
func (h *pipeHalf) finish(werr error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eof = true
	h.stopTimers()
	if h.werr == nil {
		h.werr = werr
	}
	h.changed.Broadcast()
}

// fail ends the direction at once.
func (h *pipeHalf) fail(rerr, werr error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf, h.rerr, h.werr = nil, rerr, werr
	h.stopTimers()
	h.changed.Broadcast()
}

func (h *pipeHalf) stopTimers() {
	h.writing.stop()
	if h.rerr != nil {
		h.reading.stop()
	}
}

// A deadline is one of the two of a direction; it is guarded by the direction's lock.
type deadline struct {
	passed bool
	timer  *time.Timer
	serial int // of the last set, so that a timer that fired too late does nothing
}

func (d *deadline) set(mu *sync.Mutex, changed *sync.Cond, t time.Time) {
	mu.Lock()
	defer mu.Unlock()
	d.stop()
	d.serial++
	d.passed = !t.IsZero() && !t.After(time.Now())
	changed.Broadcast()
	if t.IsZero() || d.passed {
		return
	}
	serial := d.serial
	d.timer = time.AfterFunc(time.Until(t), func() {
		mu.Lock()
		defer mu.Unlock()
		if d.serial == serial {
			d.passed = true
			changed.Broadcast()
		}
	})
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
