package phoenixtest

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
