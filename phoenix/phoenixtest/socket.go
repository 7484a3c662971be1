package phoenixtest

import "time"

// A Socket is the handle of a channel process that the callbacks of its [Channel] get.
// Push, Broadcast, BroadcastFrom, Send and Reply may be called from any goroutine, so that
// a test can keep a Socket and speak through it; the rest is for callbacks.
type Socket struct {
	p   *process
	ref Ref
}

// A Ref remembers a push, so that it can be replied to later.
type Ref struct{ ref term }

// Topic is the topic that was joined.
func (s *Socket) Topic() string { return s.p.topic }

// JoinRef is the join_ref of the channel as JSON: "1" with its quotes, or a number.
func (s *Socket) JoinRef() string { return string(s.p.joinRef) }

// MessageRef is the ref of the push being handled, as JSON.
func (s *Socket) MessageRef() string { return string(s.ref.ref) }

// Conn is the client's connection.
func (s *Socket) Conn() *Conn { return s.p.conn }

// Server is the server.
func (s *Socket) Server() *Server { return s.p.conn.srv }

// Push sends an event to this client.
func (s *Socket) Push(event string, payload any) {
	if !s.p.joined {
		panic("phoenixtest: a channel cannot push before it has joined; Send to yourself in Join")
	}
	s.p.conn.box.put(envelope{frame: s.p.conn.ser.encode(message{
		joinRef: s.p.joinRef,
		ref:     null,
		topic:   s.p.topicRef,
		event:   stringTerm(event),
		payload: payloadOf(payload),
	})})
}

// Broadcast sends an event to everyone who joined this topic.
func (s *Socket) Broadcast(event string, payload any) {
	s.Server().pubsub.broadcast(s.p.topic, event, payloadOf(payload), nil)
}

// BroadcastFrom sends an event to everyone else who joined this topic.
func (s *Socket) BroadcastFrom(event string, payload any) {
	s.Server().pubsub.broadcast(s.p.topic, event, payloadOf(payload), s.p)
}

// Ref is the push being handled, for a later [Socket.Reply].
func (s *Socket) Ref() Ref { return s.ref }

// Reply answers a push, now or after its callback has returned [NoReply], and as often as
// one likes. A nil response is the empty object.
func (s *Socket) Reply(ref Ref, status string, response any) {
	s.p.conn.box.put(envelope{frame: s.p.encodeReply(ref.ref, Reply(status, response))})
}

// Send sends msg to this channel's HandleInfo.
func (s *Socket) Send(msg any) { s.p.box.put(infoMsg{msg}) }

// SendAfter sends msg to this channel's HandleInfo after d, unless the channel has ended.
func (s *Socket) SendAfter(d time.Duration, msg any) {
	armed := make(chan *time.Timer, 1) // the timer's message names the timer
	timer := time.AfterFunc(d, func() { s.p.box.put(timerMsg{<-armed, msg}) })
	armed <- timer
	s.p.timers[timer] = struct{}{}
}

// Sleep blocks the channel, or in Join the whole socket, for d. It ends early, and the
// callback with it, when the channel is killed.
func (s *Socket) Sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	wait(s.p, timer.C)
}

// Wait blocks like Sleep until release delivers or is closed.
func (s *Socket) Wait(release <-chan struct{}) { wait(s.p, release) }

func wait[T any](p *process, c <-chan T) {
	select {
	case <-c:
	case <-p.stop:
		panic(killed{})
	case <-p.conn.ended:
		panic(killed{})
	}
}

// Pace blocks while more than n frames wait to be written to this client, so that a flood
// is as fast as the client and no faster.
func (s *Socket) Pace(n int) { s.p.conn.box.waitBelow(n, s.p.stop) }

// Track makes this client present in its topic and broadcasts the presence_diff.
func (s *Socket) Track(key string, meta Map) {
	s.Broadcast("presence_diff", s.Server().presence.track(s.p, key, meta))
}

// UpdatePresence changes the meta of this client. The presence_diff follows the reply of
// the callback that calls it.
func (s *Socket) UpdatePresence(key string, change func(meta Map) Map) {
	diff := JSON(s.Server().presence.update(s.p, key, change))
	s.p.after = append(s.p.after, func() { s.Broadcast("presence_diff", diff) })
}

// Untrack removes this client from its topic. The presence_diff follows the reply of the
// callback that calls it.
func (s *Socket) Untrack(key string) {
	if diff := s.Server().presence.untrack(s.p, &key); diff != nil {
		payload := JSON(diff)
		s.p.after = append(s.p.after, func() { s.Broadcast("presence_diff", payload) })
	}
}

// Presences is the state of the topic, as in presence_state.
func (s *Socket) Presences() Map { return s.Server().presence.list(s.p.topic) }
