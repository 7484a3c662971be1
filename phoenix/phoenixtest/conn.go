package phoenixtest

import (
	"bufio"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// sendTimeout is Bandit's: a client that does not read for so long is cut off.
	sendTimeout = 30 * time.Second
	// lingerTimeout is how long a client has to answer our close frame by hanging up.
	lingerTimeout = time.Second
	// readBuffer is how much of what a client sends is taken in one read.
	readBuffer = 16 << 10
)

// A Conn is one client's WebSocket: Phoenix's transport process. Its methods may be called
// from any goroutine.
type Conn struct {
	srv   *Server
	sock  *UserSocket
	info  *ConnectInfo
	id    string
	ser   serializer
	nc    net.Conn
	fr    *frameReader
	out   *bufio.Writer
	defl  *deflater // nil: not negotiated
	box   *mailbox[envelope]
	in    chan inbound
	hole  flag // set: the link is a black hole
	stall flag // set: nothing is read any more

	ended   chan struct{} // closed when nobody is there, or nobody will be
	endOnce sync.Once

	// Owned by the transport goroutine.
	channels map[string]*process
	start    time.Time
	heard    time.Time // when the client last sent something
	err      error     // of writing
}

// inbound is what one read brought: the messages, and the error behind them.
type inbound struct {
	frames []wsFrame
	err    error
}

// An envelope is what a transport finds in its mailbox: one of its fields.
type envelope struct {
	frame   wsFrame
	leaving *process // frame is the answer to its leave, void if it was replaced meanwhile
	raw     []byte   // to be written as it is
	exited  *process
	reason  string
	order   order
	code    int // of orderClose
}

// An order tells a transport to do something to its link.
type order int

const (
	orderNone  order = iota
	orderClose       // send a close frame, then end
	orderCrash       // as an exception in the transport does
	orderReset       // end with a TCP reset
	orderDrop        // end the TCP connection without a close frame
	orderHole        // neither send nor end, ever
)

// serve runs the transport until the connection has ended, and all it started with it.
func (c *Conn) serve() {
	go c.readLoop()
	c.start = time.Now()
	c.heard = c.start
	verdict := c.loop()
	if verdict.order == orderHole {
		c.swallow()
	}
	for topic := range c.channels {
		c.removeChannel(topic).kill()
	}
	c.finish(verdict)
	c.end()
	c.nc.Close()
	for range c.in { // wait for the reader
	}
}

// readLoop hands over what the client sends, and waits for the transport to take it.
func (c *Conn) readLoop() {
	defer close(c.in)
	for {
		frames, err := c.fr.batch()
		if c.stall.isSet() {
			<-c.ended
			return
		}
		c.srv.tapIn(c, frames)
		if _, violation := err.(wireError); err != nil && !violation {
			defer c.end() // nobody is there: who sleeps, may wake up
		}
		select {
		case c.in <- inbound{frames, err}:
		case <-c.ended:
			return
		}
		if err != nil {
			return
		}
	}
}

// loop is the life of the transport; it returns how that life ends.
func (c *Conn) loop() (verdict envelope) {
	defer func() {
		if recover() != nil {
			verdict = envelope{order: orderCrash}
		}
	}()
	idle := time.NewTimer(c.idleIn())
	defer idle.Stop()
	for {
		select {
		case in := <-c.in:
			c.heard = time.Now()
			if end, ok := c.handleInbound(in); !ok {
				return end
			}
		case <-c.box.ready():
			for _, e := range c.box.take() {
				if end, ok := c.handleEnvelope(e); !ok {
					return end
				}
			}
		case <-idle.C:
			if c.idleIn() <= 0 {
				return envelope{order: orderClose, code: c.srv.flavor.idleClose()}
			}
		case <-c.ended:
			return envelope{order: orderDrop}
		}
		idle.Reset(c.idleIn())
		if c.flush(); c.err != nil {
			return envelope{order: orderDrop}
		}
	}
}

// idleIn is the time left until the client counts as idle.
func (c *Conn) idleIn() time.Duration {
	if c.sock.IdleTimeout < 0 {
		return time.Duration(1<<63 - 1)
	}
	return time.Until(c.srv.flavor.idleAfter(c.start, c.heard, c.sock.IdleTimeout))
}

// handleInbound handles all messages of one read; ok is false when the socket ends.
func (c *Conn) handleInbound(in inbound) (end envelope, ok bool) {
	for _, frame := range in.frames {
		switch frame.op {
		case opPing:
			c.write(wsFrame{op: opPong, data: frame.data})
		case opPong:
		case opClose:
			return c.answerClose(frame.data), false
		default:
			m, err := c.ser.decode(frame)
			if err != nil {
				return envelope{order: orderClose, code: closeInternalError}, false
			}
			c.dispatch(m)
		}
	}
	switch err := in.err.(type) {
	case nil:
		return envelope{}, true
	case wireError:
		return envelope{order: orderClose, code: err.code}, false
	default:
		return envelope{order: orderDrop}, false
	}
}

// answerClose answers the close frame of the client; after it there is nothing to wait for.
func (c *Conn) answerClose(data []byte) envelope {
	code, err := clientCloseCode(data)
	if err != nil {
		return envelope{order: orderClose, code: err.(wireError).code}
	}
	c.write(wsFrame{op: opClose, data: closePayload(c.srv.flavor.answerTo(code))})
	c.flush()
	return envelope{order: orderDrop}
}

// handleEnvelope handles one message of the mailbox; ok is false when the socket ends.
func (c *Conn) handleEnvelope(e envelope) (end envelope, ok bool) {
	switch {
	case e.order != orderNone:
		return e, false
	case e.raw != nil:
		c.writeBytes(e.raw)
	case e.exited != nil:
		c.channelExited(e.exited, e.reason)
	case e.leaving != nil && c.channels[e.leaving.topic] != e.leaving:
	default:
		c.write(e.frame)
	}
	return envelope{}, true
}

// finish carries out the verdict on the link.
func (c *Conn) finish(verdict envelope) {
	code, closing := verdict.code, verdict.order == orderClose
	switch verdict.order {
	case orderCrash:
		code, closing = c.srv.flavor.crashClose()
	case orderReset:
		reset(c.nc)
	}
	if !closing || c.err != nil {
		return
	}
	c.write(wsFrame{op: opClose, data: closePayload(code)})
	c.flush()
	if code == closeTooBig {
		return // what the client is still writing is not read: it may see a reset
	}
	c.linger()
}

// linger lets the client read our close frame before the connection is gone: what it sends
// is read and dropped until it answers or hangs up.
func (c *Conn) linger() {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it fails when the client is gone already
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTimeout))
	isClose := func(f wsFrame) bool { return f.op == opClose }
	for !c.stall.isSet() {
		select {
		case in, ok := <-c.in:
			if !ok { // the reader stops at a violation, and at the end
				_, _ = io.Copy(io.Discard, c.nc)
				return
			}
			if slices.ContainsFunc(in.frames, isClose) {
				return
			}
		case <-c.ended:
			return
		}
	}
}

// swallow is the black hole: the channels live on and know nothing, until the client hangs
// up or the connection is cut.
func (c *Conn) swallow() {
	for {
		select {
		case _, ok := <-c.in:
			if !ok {
				return
			}
		case <-c.box.ready():
			c.box.take()
		case <-c.ended:
			return
		}
	}
}

// write queues a frame for the next flush.
func (c *Conn) write(frame wsFrame) {
	c.srv.tapOut(c, frame)
	compressed := c.defl != nil && frame.op < opClose
	data := frame.data
	if compressed {
		data = c.defl.compress(data)
	}
	var header [10]byte
	c.writeBytes(appendFrameHeader(header[:0], frame.op, compressed, len(data)))
	c.writeBytes(data)
}

func (c *Conn) writeBytes(data []byte) {
	if c.err != nil || c.hole.isSet() {
		return
	}
	if len(data) > c.out.Available() {
		c.allowSend()
	}
	_, c.err = c.out.Write(data)
}

func (c *Conn) flush() {
	if c.err == nil && c.out.Buffered() > 0 && !c.hole.isSet() {
		c.allowSend()
		c.err = c.out.Flush()
	}
}

// allowSend gives the next send its time. A dead connection refuses, and fails the send.
func (c *Conn) allowSend() { _ = c.nc.SetWriteDeadline(time.Now().Add(sendTimeout)) }

// end marks that nobody is there.
func (c *Conn) end() { c.endOnce.Do(func() { close(c.ended) }) }
