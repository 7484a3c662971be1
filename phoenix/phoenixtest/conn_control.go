package phoenixtest

import (
	"net"
	"sync/atomic"
)

// Info is what the client said when it connected.
func (c *Conn) Info() *ConnectInfo { return c.info }

// ID is the socket's id, "" if it has none.
func (c *Conn) ID() string { return c.id }

// Serializer is the name of the Elixir module for the vsn that the client speaks.
func (c *Conn) Serializer() string { return c.ser.name() }

// Close sends a close frame and ends the connection.
func (c *Conn) Close(code int) { c.box.put(envelope{order: orderClose, code: code}) }

// Crash does what an exception in the transport process does: close 1011 with Bandit, no
// close frame with Cowboy.
func (c *Conn) Crash() { c.box.put(envelope{order: orderCrash}) }

// Drop ends the TCP connection at once, without a close frame.
func (c *Conn) Drop() { c.cut(orderDrop) }

// Reset ends the TCP connection at once with a reset.
func (c *Conn) Reset() { c.cut(orderReset) }

// BlackHole makes the link half-open: what the client sends disappears, nothing is sent,
// and nothing ends, until the client hangs up or the server is closed.
func (c *Conn) BlackHole() {
	c.hole.set()
	c.box.put(envelope{order: orderHole})
}

// Stall stops reading, so that the writes of the client block once the buffers between are
// full. The data of one read that was already waiting is lost.
func (c *Conn) Stall() { c.stall.set() }

// SendText sends a text frame as it is, whether it is a message or not.
func (c *Conn) SendText(text string) {
	c.box.put(envelope{frame: wsFrame{op: opText, data: []byte(text)}})
}

// SendBinary sends a binary frame as it is, whether it is a message or not.
func (c *Conn) SendBinary(data []byte) {
	c.box.put(envelope{frame: wsFrame{op: opBinary, data: data}})
}

// SendPing sends a WebSocket ping.
func (c *Conn) SendPing(data string) {
	c.box.put(envelope{frame: wsFrame{op: opPing, data: []byte(data)}})
}

// SendRaw writes bytes to the TCP connection, whether they are a frame or not.
func (c *Conn) SendRaw(data []byte) { c.box.put(envelope{raw: data}) }

// cut posts the order and makes sure that a transport that is busy writing obeys, too.
func (c *Conn) cut(o order) {
	c.box.put(envelope{order: o})
	if o == orderReset {
		reset(c.nc)
	}
	c.end()
	c.nc.Close()
}

// reset makes the end of a connection a reset, where the connection can do that.
func reset(nc net.Conn) {
	if wrapped, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		nc = wrapped.NetConn()
	}
	if tcp, ok := nc.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0) // it fails when the connection is gone already
	}
}

// A flag is set once.
type flag struct{ v atomic.Bool }

func (f *flag) set()        { f.v.Store(true) }
func (f *flag) isSet() bool { return f.v.Load() }
