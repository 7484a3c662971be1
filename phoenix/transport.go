package phoenix

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// A transport is one open link that carries messages. One goroutine reads and one writes; close may be called by a third.
type transport interface {
	// kind is TransportWebSocket or TransportLongPoll.
	kind() Transport
	// batch is how many frames are written at once at most; 0: any number. Of those behind them it is certain that they have not been
	// written.
	batch() int
	// next waits for the next message and returns a reader of it.
	next() (message io.Reader, binary bool, err error)
	// ended explains an error of next or of a read of its message, after which nothing may be read.
	ended(err error) error
	// beforeWait sets a function that is called by the reading goroutine before it waits for the network, in next or in
	// a read of its message. It must be set before the first next.
	beforeWait(func())
	// unread is how many bytes have been read of the network and not yet been asked for.
	unread() int
	// receivedAt is when the last bytes came from the network, and emptyAt when it had been read empty before they came; burstAt is
	// when so much was last read between two such times that the server may have had to wait with more.
	receivedAt() time.Time
	emptyAt() time.Time
	burstAt() time.Time
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
	// linger waits for the server to end the link, but not beyond the deadline. Nothing may read any more.
	linger(deadline time.Time)
	close()
}

// wsTransport is a WebSocket that gorilla reads, and that it writes itself: each message as one frame, and a close frame with
// the code that is right (RFC 6455, section 7.4.1).
type wsTransport struct {
	ws      *websocket.Conn
	wire    *wire
	upgrade *upgradeConn
	// onControl gets each control frame.
	onControl func(kind, data string)
	// conn is what frames are written to: the wire, or the TLS on it.
	conn net.Conn
	// compress says that messages are compressed.
	compress bool
	// out is what will be written at the next flush.
	out []byte
}

// newWSTransport makes a transport of an open WebSocket. onControl gets every control frame that is read: "ping", "pong" or,
// with its code in decimal, "close". Answers are up to whoever owns the write half.
func newWSTransport(ws *websocket.Conn, w *wire, u *upgradeConn, answer http.Header, onControl func(kind, data string)) *wsTransport {
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
	u.mute()
	extensions := strings.Join(answer.Values("Sec-Websocket-Extensions"), ",")
	return &wsTransport{ws: ws, wire: w, upgrade: u, onControl: onControl, conn: u.Conn, compress: strings.Contains(extensions, "permessage-deflate")}
}

func (t *wsTransport) kind() Transport { return TransportWebSocket }

func (t *wsTransport) batch() int { return 0 }

func (t *wsTransport) next() (io.Reader, bool, error) {
	kind, r, err := t.ws.NextReader()
	return r, kind == websocket.BinaryMessage, err
}

// closeBadGateway is a close code that gorilla does not know: a gateway has had no good answer of the server (IANA's registry of
// WebSocket close codes).
const closeBadGateway = 1014

// ended makes a close frame of the error that gorilla makes of one with closeBadGateway.
func (t *wsTransport) ended(err error) error {
	if !strings.HasSuffix(err.Error(), "websocket: bad close code 1014") {
		return err
	}
	t.onControl("close", strconv.Itoa(closeBadGateway))
	return &websocket.CloseError{Code: closeBadGateway, Text: t.upgrade.closeText(closeBadGateway)}
}

func (t *wsTransport) beforeWait(f func())   { t.wire.beforeRead = f }
func (t *wsTransport) receivedAt() time.Time { return t.wire.readAt }
func (t *wsTransport) unread() int           { return len(t.wire.ahead) }
func (t *wsTransport) emptyAt() time.Time    { return t.wire.emptyAt }
func (t *wsTransport) burstAt() time.Time    { return t.wire.burstAt }
func (t *wsTransport) drain()                { t.wire.drain() }

func (t *wsTransport) onDrained(f func(at time.Time)) { t.wire.drained = f }

// The first byte of a frame that is the only one of its message (RFC 6455, section 5.2).
const (
	frameText       = 0x80 | websocket.TextMessage
	frameBinary     = 0x80 | websocket.BinaryMessage
	frameClose      = 0x80 | websocket.CloseMessage
	framePong       = 0x80 | websocket.PongMessage
	frameCompressed = 0x40 // is added (RFC 7692, section 6)
)

func (t *wsTransport) write(f outFrame) error {
	first, data := byte(frameText), f.data
	if f.binary {
		first = frameBinary
	}
	if t.compress {
		var err error
		if data, err = deflated(data); err != nil {
			return err
		}
		first |= frameCompressed
	}
	return t.writeFrame(first, data)
}

func (t *wsTransport) pong(data []byte) error { return t.writeFrame(framePong, data) }

func (t *wsTransport) writeClose(code int, deadline time.Time) error {
	_ = t.wire.SetWriteDeadline(deadline)
	var body []byte
	if code != 0 {
		body = binary.BigEndian.AppendUint16(nil, uint16(code))
	}
	if err := t.writeFrame(frameClose, body); err != nil {
		return err
	}
	return t.flush()
}

// maxHeld is how many bytes are held back at most, until the next flush.
const maxHeld = 64 << 10

// writeFrame adds a frame to what is written at the next flush. Of a large one only the end is held back.
func (t *wsTransport) writeFrame(first byte, data []byte) error {
	const masked = 0x80
	t.out = append(t.out, first)
	switch n := len(data); {
	case n < 126:
		t.out = append(t.out, masked|byte(n))
	case n <= math.MaxUint16:
		t.out = binary.BigEndian.AppendUint16(append(t.out, masked|126), uint16(n))
	default:
		t.out = binary.BigEndian.AppendUint64(append(t.out, masked|127), uint64(n))
	}
	var key [4]byte
	_, _ = rand.Read(key[:]) // it never fails
	t.out = append(t.out, key[:]...)
	for {
		part := data[:min(len(data), maxHeld)]
		t.out = append(t.out, part...)
		mask(t.out[len(t.out)-len(part):], key)
		data = data[len(part):]
		if len(t.out) >= maxHeld {
			if err := t.flush(); err != nil {
				return err
			}
		}
		if len(data) == 0 {
			return nil
		}
	}
}

// mask masks the data of a frame, or a part of it that begins at a multiple of 4 (RFC 6455, section 5.3).
func mask(data []byte, key [4]byte) {
	word := uint64(binary.LittleEndian.Uint32(key[:]))
	word |= word << 32
	for ; len(data) >= 8; data = data[8:] {
		binary.LittleEndian.PutUint64(data, binary.LittleEndian.Uint64(data)^word)
	}
	for i := range data {
		data[i] ^= key[i%4]
	}
}

func (t *wsTransport) flush() error {
	if len(t.out) == 0 {
		return nil
	}
	_, err := t.conn.Write(t.out)
	t.out = t.out[:0]
	if cap(t.out) > 2*maxHeld {
		t.out = nil
	}
	return err
}

// deflaters are shared: each takes some hundred KiB.
var deflaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(nil, flate.BestSpeed) // the level is one that there is
	return w
}}

// deflated compresses a message (RFC 7692, section 7.2.1). Each is by itself: the server was told so.
func deflated(data []byte) ([]byte, error) {
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{0, 0, 0xff, 0xff}), nil
}

// linger reads what still comes, until the server ends the link or the deadline. A link that is closed with something unread is
// reset, and the server does not get what was written last.
func (t *wsTransport) linger(deadline time.Time) {
	if tcp, ok := t.wire.Conn.(*net.TCPConn); ok && t.conn == net.Conn(t.wire) {
		_ = tcp.CloseWrite()
	}
	_ = t.wire.SetReadDeadline(deadline)
	_, _ = io.Copy(io.Discard, t.wire.Conn)
}

func (t *wsTransport) endReads(deadline time.Time)  { _ = t.wire.SetReadDeadline(deadline) }
func (t *wsTransport) endWrites(deadline time.Time) { _ = t.wire.SetWriteDeadline(deadline) }
func (t *wsTransport) close()                       { _ = t.wire.Close() }

// A wire is the network connection under a WebSocket, and under its TLS. It knows when a read is about to wait, so that a
// batch can be handed over just then.
type wire struct {
	net.Conn
	// head is the first bytes that were read: they tell what else than a WebSocket server answers.
	head       []byte
	beforeRead func()
	readAt     time.Time
	// short is when a read that took all there was has ended, zero if the last one may have left something; emptyAt is when that
	// was the last time after which more has come.
	short, emptyAt time.Time
	// burst is how many bytes have been read since the network was empty, and burstAt when that was last more than maxBurst.
	burst   int
	burstAt time.Time
	drained func(at time.Time)
	// filled says that the last read of the network has filled its buffer; ahead is what of the last one nobody has asked for yet, in block.
	filled bool
	ahead  []byte
	block  *[readAhead]byte

	// reading guards the deadline of reads, which drain uses to wake a read that waits.
	reading  sync.Mutex
	deadline time.Time
	// draining is how many more reads may pass before what has arrived since drain counts as read; 0: nobody asks.
	draining int
}

// maxBurst is how many bytes may have arrived, while nothing was read, without filling the receive window of the system. When more
// have, the server may have had to wait, so that all that it has sent has not arrived when the network is empty: the rest comes as
// soon as there is room. Linux begins with a window of 64 KiB, of which small segments take more than their size.
const maxBurst = 16 << 10

// maxHead is how much is kept of what a server begins with.
const maxHead = 64

// maxDrainReads bounds the reads of a drain on a link that always has more: what had arrived when it began is far less.
const maxDrainReads = 1024

// readAhead is how much is read at once of a stream that fills smaller buffers. Between such reads the connection is without the memory, so
// that it may have small buffers and yet few system calls.
const readAhead = 64 << 10

var blocks = sync.Pool{New: func() any { return new([readAhead]byte) }}

// buffer returns what to read into: p, or a block if that would be filled. An idle connection has none.
func (w *wire) buffer(p []byte) []byte {
	if !w.filled || len(p) >= readAhead {
		return p
	}
	if empty, _ := w.empty(); empty {
		return p
	}
	w.block = blocks.Get().(*[readAhead]byte)
	return w.block[:]
}

// hand copies to p what has been read ahead, and gives the block back behind the last of it.
func (w *wire) hand(p []byte) int {
	n := copy(p, w.ahead)
	if w.ahead = w.ahead[n:]; len(w.ahead) == 0 {
		blocks.Put(w.block)
		w.ahead, w.block = nil, nil
	}
	return n
}

// Read reads, and serves drain.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.ahead) > 0 {
		return w.hand(p), nil
	}
	for {
		if w.beforeRead != nil {
			w.beforeRead()
		}
		probing := w.probe()
		buf := w.buffer(p)
		n, err := w.Conn.Read(buf)
		if w.block != nil {
			w.ahead = buf[:n]
			if n == 0 {
				w.hand(nil) // gives the block back
			}
		}
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && w.wokenByDrain(probing) {
			continue
		}
		w.readAt = time.Now()
		if n > 0 {
			if !w.short.IsZero() {
				w.emptyAt, w.burst = w.short, 0
			}
			if w.burst += n; w.burst > maxBurst {
				w.burstAt = w.readAt
			}
			w.short = time.Time{}
			if w.filled = n == len(buf); !w.filled {
				w.short = w.readAt
			}
		}
		if len(w.head) < maxHead {
			w.head = append(w.head, buf[:min(n, maxHead-len(w.head))]...)
		}
		if w.block != nil {
			return w.hand(p), nil // an error comes again at the next read
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
	empty, known := w.empty()
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

// empty reports whether there is nothing to read, not even the end, and whether that is known.
func (w *wire) empty() (empty, known bool) {
	if b, ok := w.Conn.(interface{ Buffered() int }); ok { // it is no socket of the system, and can say so itself
		return b.Buffered() == 0, true
	}
	return nothingArrived(w.Conn)
}

// wokenByDrain is called after a read has met a deadline, and reports whether that was set for a drain.
func (w *wire) wokenByDrain(probing bool) bool {
	w.reading.Lock()
	now := time.Now()
	if w.draining == 0 || !w.deadline.IsZero() && !w.deadline.After(now) {
		w.reading.Unlock()
		return false
	}
	if probing {
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

// SetDeadline sets the deadlines of reads and of writes. gorilla does that during the handshake.
func (w *wire) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.Conn.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of reads.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.reading.Lock()
	defer w.reading.Unlock()
	w.deadline = t
	return w.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is called by gorilla before each write, mostly to clear it. A deadline once set ends the wire's writes
// for good, so clearing it has no effect then.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	return w.Conn.SetWriteDeadline(t)
}

// errAnswerTooLong ends a dial whose answer has no end.
var errAnswerTooLong = fmt.Errorf("its answer is longer than %d KiB", maxAnswer>>10)

// maxAnswer bounds the answer to an upgrade, in bytes.
const maxAnswer = 64 << 10

// An upgradeConn is what gorilla opens a WebSocket on: the wire, or the TLS on it. Until the answer to the upgrade is there it
// bounds that, and leaves out what only announces it, answers with a status of 1xx.
type upgradeConn struct {
	net.Conn
	// pending is what has been read of the answer and not passed on; err, why there is no more.
	pending []byte
	err     error
	// read is how many bytes of the answer have been read.
	read int
	// passing says that what is read is passed on as it comes; open, that the answer was 101, so that nothing bounds it any more.
	passing, open bool
	muted         atomic.Bool
	// last is the end of what was read.
	last []byte
}

// maxControl is how large a frame is at most that is no message (RFC 6455, section 5.5): a header of two bytes and its data.
const maxControl = 2 + 125

// remember keeps the end of what was read, for closeText.
func (u *upgradeConn) remember(p []byte) {
	p = p[max(0, len(p)-maxControl):]
	if len(u.last)+len(p) > maxControl {
		u.last = append(u.last[:0], u.last[len(u.last)+len(p)-maxControl:]...)
	}
	u.last = append(u.last, p...)
}

// closeText returns the reason in a close frame with a code that was the last that was read.
func (u *upgradeConn) closeText(code uint16) string {
	for at := len(u.last) - 4; at >= 0; at-- {
		frame := u.last[at:]
		end := 2 + int(frame[1])
		if frame[0] == frameClose && binary.BigEndian.Uint16(frame[2:]) == code && end <= len(frame) {
			return string(frame[4:max(4, end)])
		}
	}
	return ""
}

// mute drops what is written from now on: gorilla closes by itself when it finds a fault, with a code that is not always right.
func (u *upgradeConn) mute() { u.muted.Store(true) }

// Write writes unless u is muted.
func (u *upgradeConn) Write(p []byte) (int, error) {
	if u.muted.Load() {
		return len(p), nil
	}
	return u.Conn.Write(p)
}

// Read reads the answer, and what comes behind it.
func (u *upgradeConn) Read(p []byte) (int, error) {
	for !u.passing {
		u.fill()
	}
	if len(u.pending) > 0 {
		n := copy(p, u.pending)
		u.remember(p[:n])
		if u.pending = u.pending[n:]; len(u.pending) == 0 {
			u.pending = nil
		}
		return n, nil
	}
	switch {
	case u.err != nil:
		return 0, u.err
	case u.open:
		n, err := u.Conn.Read(p)
		u.remember(p[:n])
		return n, err
	case u.read >= maxAnswer:
		return 0, errAnswerTooLong
	}
	n, err := u.Conn.Read(p[:min(len(p), maxAnswer-u.read)])
	u.read += n
	return n, err
}

// fill reads on until it is known what to pass on: the head of an answer, or all that is not HTTP.
func (u *upgradeConn) fill() {
	const version = "HTTP/1."
	if begin := u.pending[:min(len(u.pending), len(version))]; string(begin) != version[:len(begin)] {
		u.passing = true
		return
	}
	if end := endOfHead(u.pending); end > 0 {
		status := string(u.pending[len(version)+1 : min(end, len(version)+1+len(" 101"))])
		if strings.HasPrefix(status, " 1") && status != " 101" {
			u.pending = u.pending[end:]
			return
		}
		u.passing, u.open = true, status == " 101"
		return
	}
	if u.read >= maxAnswer {
		u.passing, u.pending, u.err = true, nil, errAnswerTooLong
		return
	}
	const more = 4 << 10
	u.pending = slices.Grow(u.pending, more)
	n, err := u.Conn.Read(u.pending[len(u.pending):][:min(more, maxAnswer-u.read)])
	u.pending = u.pending[:len(u.pending)+n]
	u.read += n
	if err != nil {
		u.passing, u.err = true, err
	}
}

// endOfHead returns the length of the head that data begins with, 0 if it is not complete.
func endOfHead(data []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		rest := data[at:]
		switch {
		case bytes.HasPrefix(rest, []byte("\n")):
			return at + 1
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return at + 2
		}
	}
}
