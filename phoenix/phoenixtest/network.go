package phoenixtest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A network is where a server can be reached, also again after it was stopped.
type network interface {
	listen() (net.Listener, error)
	address() string
	dial(ctx context.Context) (net.Conn, error)
}

// tcpNetwork is one TCP address; a port 0 is settled by the first listen.
type tcpNetwork struct{ addr string }

func (n *tcpNetwork) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", n.addr)
	if err == nil {
		n.addr = l.Addr().String()
	}
	return l, err
}

func (n *tcpNetwork) address() string { return n.addr }

func (n *tcpNetwork) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", n.addr)
}

// pipeNetwork is in memory.
type pipeNetwork struct {
	mu       sync.Mutex
	listener *pipeListener
	lastPort int
}

func (n *pipeNetwork) listen() (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listener = newPipeListener()
	return n.listener, nil
}

// address is a name that is no address: a client that forgets to use DialContext shall not
// reach anything.
func (n *pipeNetwork) address() string { return "phoenix.test" }

func (n *pipeNetwork) dial(ctx context.Context) (net.Conn, error) {
	const firstClientPort = 40000
	n.mu.Lock()
	l, port := n.listener, firstClientPort+n.lastPort%20000
	n.lastPort++
	n.mu.Unlock()
	return l.dial(ctx, port)
}

// pipeBuffer is what fits between the two ends, as the kernel's buffers do on a loopback
// connection. Without one, two sides that write at the same time would block each other.
const pipeBuffer = 256 << 10

// A pipeListener accepts in-memory connections.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements [net.Listener].
func (l *pipeListener) Addr() net.Addr { return pipeAddr(80) }

// dial connects to the listener from the given client port.
func (l *pipeListener) dial(ctx context.Context, port int) (net.Conn, error) {
	client, server := newPipe(pipeAddr(port), l.Addr())
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, dialError(l.Addr(), syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, dialError(l.Addr(), ctx.Err())
	}
}

// dialError looks like that of the net package, so that clients classify it alike.
func dialError(addr net.Addr, err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError("connect", errno)
	}
	return &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: err}
}

// pipeAddr is a loopback address, because code under test may parse it.
func pipeAddr(port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }

// A pipeConn is one end of an in-memory connection that behaves like TCP: buffered, with
// half-close, reset and deadlines. It uses no real time, so that it works in a synctest
// bubble.
type pipeConn struct {
	in, out       *pipeHalf
	local, remote net.Addr
	linger        atomic.Bool // Close resets
}

func newPipe(client, server net.Addr) (*pipeConn, *pipeConn) {
	up, down := newPipeHalf(), newPipeHalf()
	return &pipeConn{in: down, out: up, local: client, remote: server},
		&pipeConn{in: up, out: down, local: server, remote: client}
}

// Read implements [net.Conn].
func (c *pipeConn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write implements [net.Conn].
func (c *pipeConn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

func (c *pipeConn) wrap(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Close implements [net.Conn]. The other side reads what is left, then EOF; or a reset, if
// this side asked for that.
func (c *pipeConn) Close() error {
	if c.linger.Load() {
		c.out.fail(syscall.ECONNRESET, syscall.ECONNRESET)
		c.in.fail(net.ErrClosed, syscall.ECONNRESET)
		return nil
	}
	c.out.finish(net.ErrClosed)
	c.in.fail(net.ErrClosed, syscall.EPIPE)
	return nil
}

// Buffered returns how much a read would get without waiting; the end of the stream, or an error, counts as one byte.
func (c *pipeConn) Buffered() int {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if len(c.in.buf) == 0 && (c.in.eof || c.in.rerr != nil) {
		return 1
	}
	return len(c.in.buf)
}

// CloseWrite lets the other side read EOF.
func (c *pipeConn) CloseWrite() error {
	c.out.finish(syscall.EPIPE)
	return nil
}

// SetLinger makes Close a reset, as with [net.TCPConn.SetLinger] and 0 seconds.
func (c *pipeConn) SetLinger(int) error {
	c.linger.Store(true)
	return nil
}

// LocalAddr implements [net.Conn].
func (c *pipeConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements [net.Conn].
func (c *pipeConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements [net.Conn].
func (c *pipeConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.reading.set(&c.in.mu, c.in.changed, t)
	return nil
}

// SetWriteDeadline implements [net.Conn].
func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.writing.set(&c.out.mu, c.out.changed, t)
	return nil
}

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
