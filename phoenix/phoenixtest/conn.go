package phoenixtest

import (
	"bufio"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// readBuffer is how much of what a client sends is taken in one read.
const readBuffer = 16 << 10

// A Conn is one client's WebSocket, or its long poll session: Phoenix's transport process. Its
// methods may be called from any goroutine.
type Conn struct {
	srv   *Server
	sock  *UserSocket
	info  *ConnectInfo
	id    string
	ser   serializer
	poll  *pollSession // nil: a WebSocket
	nc    net.Conn     // of a WebSocket, as the next three
	fr    *frameReader
	out   *bufio.Writer
	defl  *deflater // nil: not negotiated
	box   *mailbox[envelope]
	in    chan inbound
	hole  atomic.Bool // the link is a black hole
	stall atomic.Bool // nothing is read any more

	ended   chan struct{} // closed when nobody is there, or nobody will be
	endOnce sync.Once
	cutOff  chan struct{} // of a long poll session, closed to end the connections of its requests
	cutOnce sync.Once
	resets  atomic.Bool // they end with a TCP reset

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
	poll    *pollRequest
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
	c.in = make(chan inbound)
	c.initProcess()
}

// initProcess makes what a transport process has, whatever its link.
func (c *Conn) initProcess() {
	c.box, c.ended, c.cutOff = newMailbox[envelope](), make(chan struct{}), make(chan struct{})
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
		if c.stall.Load() {
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

func (s *Server) tapIn(c *Conn, frames []wsFrame) {
	if s.tap == nil {
		return
	}
	for _, f := range frames {
		s.tap(Frame{Conn: c, FromClient: true, Opcode: int(f.op), Data: f.data})
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
			switch m, err := c.decode(frame); {
			case err == nil:
				c.dispatch(m)
			case !c.sock.DropMalformed:
				return envelope{order: orderClose, code: closeInternalError}, false
			}
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

// decode reads a message. In vsn 2.0.0 the application may have kinds of binary frames of its own, but only over WebSocket.
func (c *Conn) decode(frame wsFrame) (message, error) {
	m, err := c.ser.decode(frame)
	if _, v2 := c.ser.(serializerV2); err == nil || !v2 || frame.op != opBinary || c.poll != nil || c.sock.DecodeBinary == nil {
		return m, err
	}
	b, err := c.sock.DecodeBinary(frame.data)
	return message{
		joinRef: stringTerm(b.JoinRef),
		ref:     stringTerm(b.Ref),
		topic:   stringTerm(b.Topic),
		event:   stringTerm(b.Event),
		payload: b.Payload,
	}, err
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

// dispatch routes one message of the client as Phoenix.Socket does.
func (c *Conn) dispatch(m message) {
	topic, _ := m.topic.text()
	event, _ := m.event.text()
	if topic == "phoenix" && event == "heartbeat" {
		c.srv.count(func(s *Stats) { s.Heartbeats++ })
		c.reply(null, m, "ok", nil)
		return
	}
	p := c.channels[topic]
	switch {
	case event == "phx_join":
		c.join(p, topic, m)
	case p == nil && event == "phx_leave":
		c.reply(m.joinRef, m, "ok", nil)
	case p == nil:
		c.reply(null, m, "error", Map{"reason": "unmatched topic"})
	case m.joinRef != null && m.joinRef != p.known:
		// Stale: meant for an earlier join. Phoenix drops it without any answer. After a
		// join with a null join_ref it drops all but null, even the channel's own join_ref.
	default:
		p.box.put(m)
	}
}

// join joins a topic. A channel that is there already is killed first, but closed after the
// new one's reply: Phoenix puts that close into its own mailbox.
func (c *Conn) join(old *process, topic string, m message) {
	c.srv.count(func(s *Stats) { s.Joins++ })
	if old != nil {
		c.removeChannel(topic).kill()
		c.box.put(envelope{frame: c.exitFrame(old, exitLeft)})
	}
	if limit := c.sock.MaxChannels; limit > 0 && len(c.channels) >= limit {
		c.reply(m.joinRef, m, "error", Map{"reason": "too many channels joined"})
		return
	}
	route, ok := c.sock.channel(topic)
	if !ok {
		c.reply(null, m, "error", Map{"reason": "unmatched topic"})
		return
	}
	p := newProcess(c, route.New(), m, topic)
	joined := make(chan message, 1)
	go p.run(m.payload, joined)
	c.flush()
	reply := <-joined // the whole socket waits
	if reply.status == "ok" {
		c.channels[topic] = p
		c.srv.count(func(s *Stats) { s.Joined++ })
	}
	c.reply(m.joinRef, m, reply.status, reply.payload)
}

// reply answers a message in the name of the socket.
func (c *Conn) reply(joinRef term, to message, status string, response any) {
	c.write(c.ser.encode(message{
		joinRef: joinRef,
		ref:     to.ref,
		topic:   to.topic,
		isReply: true,
		status:  status,
		payload: payloadOf(response),
	}))
}

// channelExited tells the client that a channel ended, unless it was replaced meanwhile.
func (c *Conn) channelExited(p *process, reason string) {
	if c.channels[p.topic] != p {
		return
	}
	c.removeChannel(p.topic)
	c.write(c.exitFrame(p, reason))
}

func (c *Conn) removeChannel(topic string) *process {
	p := c.channels[topic]
	delete(c.channels, topic)
	return p
}

// exitFrame is the phx_close or phx_error of a channel; its ref is the join_ref, too.
func (c *Conn) exitFrame(p *process, reason string) wsFrame {
	event, payload := "phx_error", RawJSON(`{"reason":"channel_crash"}`)
	if closesQuietly(reason) {
		event, payload = "phx_close", RawJSON("{}")
	}
	return c.ser.encode(message{
		joinRef: p.known,
		ref:     p.known,
		topic:   p.topicRef,
		event:   stringTerm(event),
		payload: payload,
	})
}

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
	for !c.stall.Load() {
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
	if c.poll != nil {
		if frame.op == opText || frame.op == opBinary {
			c.poll.publish(string(frame.data))
		}
		return
	}
	compressed := c.defl != nil && frame.op < opClose
	data := frame.data
	if compressed {
		data = c.defl.compress(data)
	}
	var header [10]byte
	c.writeBytes(appendFrameHeader(header[:0], frame.op, compressed, len(data)))
	c.writeBytes(data)
}

func (s *Server) tapOut(c *Conn, f wsFrame) {
	if s.tap != nil {
		s.tap(Frame{Conn: c, Opcode: int(f.op), Data: f.data})
	}
}

func (c *Conn) writeBytes(data []byte) {
	if c.err != nil || c.hole.Load() || c.poll != nil {
		return
	}
	if len(data) > c.out.Available() {
		c.allowSend()
	}
	_, c.err = c.out.Write(data)
}

func (c *Conn) flush() {
	if c.poll == nil && c.err == nil && c.out.Buffered() > 0 && !c.hole.Load() {
		c.allowSend()
		c.err = c.out.Flush()
	}
}

// allowSend gives the next send its time. A dead connection refuses, and fails the send.
func (c *Conn) allowSend() { _ = c.nc.SetWriteDeadline(time.Now().Add(sendTimeout)) }

// end marks that nobody is there.
func (c *Conn) end() { c.endOnce.Do(func() { close(c.ended) }) }

// Info is what the client said when it connected.
func (c *Conn) Info() *ConnectInfo { return c.info }

// ID is the socket's id, "" if it has none.
func (c *Conn) ID() string { return c.id }

// Serializer is the name of the Elixir module for the vsn that the client speaks.
func (c *Conn) Serializer() string { return c.ser.name() }

// Close sends a close frame and ends the connection. A long poll session has no way to say so: it is gone.
func (c *Conn) Close(code int) { c.box.put(envelope{order: orderClose, code: code}) }

// Crash does what an exception in the transport process does: close 1011 with Bandit, no
// close frame with Cowboy.
func (c *Conn) Crash() { c.box.put(envelope{order: orderCrash}) }

// Drop ends the TCP connection at once, without a close frame; of a long poll session those of its requests, and the session.
func (c *Conn) Drop() { c.cut(orderDrop) }

// Reset ends the TCP connection at once with a reset.
func (c *Conn) Reset() { c.cut(orderReset) }

// BlackHole makes the link half-open: what the client sends disappears, nothing is sent,
// and nothing ends, until the client hangs up or the server is closed.
func (c *Conn) BlackHole() {
	c.hole.Store(true)
	c.box.put(envelope{order: orderHole})
}

// Stall stops reading, so that the writes of the client block once the buffers between are
// full. The data of one read that was already waiting is lost.
func (c *Conn) Stall() { c.stall.Store(true) }

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
	if c.poll != nil {
		c.resets.Store(o == orderReset)
		c.cutOnce.Do(func() { close(c.cutOff) })
		c.end()
		return
	}
	if o == orderReset {
		reset(c.nc)
	}
	// The connection goes before c.ended: a callback that c.ended wakes answers once more, and the answer must find no one.
	c.nc.Close()
	c.end()
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
