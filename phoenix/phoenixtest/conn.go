package phoenixtest

import (
	"bufio"
	"io"
	"net"
	"sync"
	"time"
)

// readBuffer is how much of what a client sends is taken in one read.
const readBuffer = 16 << 10

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

// init makes a Conn of what the handshake knows and the connection. What the client sent
// right behind its handshake is in the reader.
func (c *Conn) init(nc net.Conn, r io.Reader) {
	const writeBuffer = 32 << 10
	c.nc, c.out = nc, bufio.NewWriterSize(nc, writeBuffer)
	c.fr = &frameReader{br: bufio.NewReaderSize(r, readBuffer), limit: c.sock.MaxFrameSize}
	c.box, c.in, c.ended = newMailbox[envelope](), make(chan inbound), make(chan struct{})
	c.channels = map[string]*process{}
	if c.sock.ID != nil {
		c.id = c.sock.ID(c.info)
	}
}

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
