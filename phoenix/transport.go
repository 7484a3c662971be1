package phoenix

import (
	"io"
	"net"
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
	// receivedAt is when the last bytes came from the network.
	receivedAt() time.Time
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
func (t *wsTransport) flush() error          { return t.wire.flush() }

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

	// mu guards what follows: gorilla writes from the reading goroutine when it finds a protocol error.
	mu      sync.Mutex
	holding bool
	held    []byte
}

// maxHead is how much is kept of what a server begins with.
const maxHead = 64

// maxHeld is how many bytes are held back at most.
const maxHeld = 64 << 10

func (w *wire) Read(p []byte) (int, error) {
	if w.beforeRead != nil {
		w.beforeRead()
	}
	n, err := w.Conn.Read(p)
	w.readAt = time.Now()
	if len(w.head) < maxHead {
		w.head = append(w.head, p[:min(n, maxHead-len(w.head))]...)
	}
	return n, err
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
