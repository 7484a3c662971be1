package phoenix

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// A transport is one open link that carries messages. One goroutine reads and one writes; close may be called by a third.
type transport interface {
	// next waits for the next message and returns a reader of it.
	next() (message io.Reader, binary bool, err error)
	// beforeWait sets a function that is called by the reading goroutine before it waits for the network, in next or in
	// a read of its message. It must be set before the first next.
	beforeWait(func())
	// receivedAt is when the last bytes came from the network, and emptyAt when it had been read empty before they came.
	receivedAt() time.Time
	emptyAt() time.Time
	// drain asks the reading goroutine to call what onDrained has set, once it has read all that has arrived. onDrained must be
	// called before the first next.
	drain()
	onDrained(func(at time.Time))
	// write writes a frame, sent at the latest at the next flush.
	write(f outFrame) error
	pong(data []byte) error
	// writeClose writes a close frame with a code, or an empty one for 0, and flushes.
	writeClose(code int, deadline time.Time) error
	flush() error
	// endReads makes a waiting read fail at the deadline, endWrites a waiting write.
	endReads(deadline time.Time)
	endWrites(deadline time.Time)
	close()
}

// wsTransport is a gorilla WebSocket on a wire.
type wsTransport struct {
	ws   *websocket.Conn
	wire *wire
}

// newWSTransport makes a transport of an open WebSocket. onControl gets every control frame that is read: "ping", "pong" or,
// with its code in decimal, "close". Answers are up to whoever owns the write half.
func newWSTransport(ws *websocket.Conn, w *wire, onControl func(kind, data string)) *wsTransport {
	w.hold()
	ws.SetPingHandler(func(data string) error {
		onControl("ping", data)
		return nil
	})
	ws.SetPongHandler(func(data string) error {
		onControl("pong", data)
		return nil
	})
	ws.SetCloseHandler(func(code int, _ string) error {
		onControl("close", strconv.Itoa(code))
		return nil
	})
	return &wsTransport{ws: ws, wire: w}
}

func (t *wsTransport) next() (io.Reader, bool, error) {
	kind, r, err := t.ws.NextReader()
	return r, kind == websocket.BinaryMessage, err
}

func (t *wsTransport) beforeWait(f func())   { t.wire.beforeRead = f }
func (t *wsTransport) receivedAt() time.Time { return t.wire.readAt }
func (t *wsTransport) emptyAt() time.Time    { return t.wire.emptyAt }
func (t *wsTransport) drain()                { t.wire.drain() }

func (t *wsTransport) onDrained(f func(at time.Time)) { t.wire.drained = f }

func (t *wsTransport) flush() error { return t.wire.flush() }

func (t *wsTransport) write(f outFrame) error {
	kind := websocket.TextMessage
	if f.binary {
		kind = websocket.BinaryMessage
	}
	return t.ws.WriteMessage(kind, f.data)
}

func (t *wsTransport) pong(data []byte) error {
	return t.ws.WriteControl(websocket.PongMessage, data, time.Time{})
}

func (t *wsTransport) writeClose(code int, deadline time.Time) error {
	var body []byte
	if code != 0 {
		body = websocket.FormatCloseMessage(code, "")
	}
	if err := t.ws.WriteControl(websocket.CloseMessage, body, deadline); err != nil {
		return err
	}
	return t.wire.flush()
}

func (t *wsTransport) endReads(deadline time.Time)  { _ = t.wire.SetReadDeadline(deadline) }
func (t *wsTransport) endWrites(deadline time.Time) { _ = t.wire.SetWriteDeadline(deadline) }
func (t *wsTransport) close()                       { _ = t.wire.Close() }

// A wire is the network connection under a WebSocket, and under its TLS. It knows when a read is about to wait, so that a
// batch can be handed over just then, and holds writes back so that many frames go out in one system call.
type wire struct {
	net.Conn
	// head is the first bytes that were read: they tell what else than a WebSocket server answers.
	head       []byte
	beforeRead func()
	readAt     time.Time
	// short is when a read that took all there was has ended, zero if the last one may have left something; emptyAt is when that
	// was the last time after which more has come.
	short, emptyAt time.Time
	drained        func(at time.Time)

	// reading guards the deadline of reads, which drain uses to wake a read that waits.
	reading  sync.Mutex
	deadline time.Time
	// draining is how many more reads may pass before what has arrived since drain counts as read; 0: nobody asks.
	draining int

	// mu guards what follows: gorilla writes from the reading goroutine when it finds a protocol error.
	mu      sync.Mutex
	holding bool
	held    []byte
}

// maxHead is how much is kept of what a server begins with.
const maxHead = 64

// maxHeld is how many bytes are held back at most.
const maxHeld = 64 << 10

// maxDrainReads bounds the reads of a drain on a link that always has more: what had arrived when it began is far less.
const maxDrainReads = 1024

// Read reads, and serves drain.
func (w *wire) Read(p []byte) (int, error) {
	for {
		if w.beforeRead != nil {
			w.beforeRead()
		}
		probing := w.probe()
		n, err := w.Conn.Read(p)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && w.wokenByDrain(probing) {
			continue
		}
		w.readAt = time.Now()
		if n > 0 {
			if !w.short.IsZero() {
				w.emptyAt = w.short
			}
			w.short = time.Time{}
			if n < len(p) {
				w.short = w.readAt
			}
		}
		if len(w.head) < maxHead {
			w.head = append(w.head, p[:min(n, maxHead-len(w.head))]...)
		}
		return n, err
	}
}

// probeTime is how long a read may wait for what has arrived, where the system cannot be asked.
const probeTime = 10 * time.Millisecond

// probe is called before a read. If a drain is under way, it finds out whether there is anything to read, and reports whether
// that is left to the read, with a deadline.
func (w *wire) probe() bool {
	w.reading.Lock()
	if w.draining == 0 {
		w.reading.Unlock()
		return false
	}
	w.draining--
	now := time.Now()
	empty, known := nothingArrived(w.Conn)
	if b, ok := w.Conn.(interface{ Buffered() int }); ok { // it is no socket of the system, and can say so itself
		empty, known = b.Buffered() == 0, true
	}
	if empty || w.draining == 0 {
		w.endDrain(now, empty)
		return false
	}
	defer w.reading.Unlock()
	until := w.deadline
	if !known && (until.IsZero() || until.After(now.Add(probeTime))) {
		until = now.Add(probeTime)
	}
	_ = w.Conn.SetReadDeadline(until)
	return !known
}

// wokenByDrain is called after a read has met a deadline, and reports whether that was set for a drain.
func (w *wire) wokenByDrain(probing bool) bool {
	w.reading.Lock()
	now := time.Now()
	if !w.deadline.IsZero() && !w.deadline.After(now) {
		w.reading.Unlock()
		return false
	}
	if probing && w.draining > 0 {
		w.endDrain(now, true)
		return true
	}
	w.reading.Unlock()
	return true
}

// endDrain ends a drain at a time, and unlocks reading before it says so: that may wait.
func (w *wire) endDrain(now time.Time, empty bool) {
	w.draining = 0
	_ = w.Conn.SetReadDeadline(w.deadline)
	w.reading.Unlock()
	if empty {
		w.short = now
	}
	w.drained(now)
}

// drain begins a drain, and wakes a read that waits.
func (w *wire) drain() {
	w.reading.Lock()
	defer w.reading.Unlock()
	if w.draining == 0 {
		w.draining = maxDrainReads
		_ = w.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// SetReadDeadline sets the deadline of reads.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.reading.Lock()
	defer w.reading.Unlock()
	w.deadline = t
	return w.Conn.SetReadDeadline(t)
}

// hold holds writes back from now on, until flush.
func (w *wire) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding = true
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.holding {
		return w.Conn.Write(p)
	}
	w.held = append(w.held, p...)
	if len(w.held) < maxHeld {
		return len(p), nil
	}
	return len(p), w.flushLocked()
}

func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flushLocked()
}

func (w *wire) flushLocked() error {
	if len(w.held) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.held)
	w.held = w.held[:0]
	if cap(w.held) > maxHeld {
		w.held = nil
	}
	return err
}

// SetWriteDeadline is called by gorilla before each write, mostly to clear it. A deadline once set ends the wire's writes
// for good, so clearing it has no effect then.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	return w.Conn.SetWriteDeadline(t)
}
