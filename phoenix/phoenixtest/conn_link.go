package phoenixtest

import (
	"io"
	"slices"
	"time"
)

// This file is how a transport writes to its link, and how it ends it.

const (
	// sendTimeout is Bandit's: a client that does not read for so long is cut off.
	sendTimeout = 30 * time.Second
	// lingerTimeout is how long a client has to answer our close frame by hanging up.
	// It only has to outlast what was on its way when we sent it.
	lingerTimeout = 250 * time.Millisecond
)

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
