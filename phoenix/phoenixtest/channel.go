package phoenixtest

import (
	"fmt"
	"strings"
	"time"
)

// A Channel is the code of a channel. Each joined topic of each client has its own
// Channel value, made by its [Route], whose methods are called by one goroutine only:
// state is kept in fields. A panic crashes the channel, and nothing else.
type Channel interface {
	// Join decides about a join. A nil error joins and response is the response of
	// the ok reply; a [RefuseJoin] error refuses with its response; any other error
	// is a crash in join. Until it returns, the whole socket waits.
	Join(s *Socket, params Payload) (response any, err error)
	// HandleIn handles a push of the client and says what happens then.
	HandleIn(s *Socket, event string, payload Payload) Result
}

// An InfoHandler is a [Channel] that also handles what [Socket.Send] and
// [Socket.SendAfter] send to the channel process.
type InfoHandler interface {
	HandleInfo(s *Socket, msg any) Result
}

// A Terminator is a [Channel] that is told when its process ends, if it had joined, whatever ends it.
type Terminator interface {
	Terminate(s *Socket)
}

// A Route says which channels serve a topic: an exact one, or a prefix and "*".
type Route struct {
	Topic string
	New   func() Channel
}

func (r Route) matches(topic string) bool {
	prefix, wildcard := strings.CutSuffix(r.Topic, "*")
	return topic == r.Topic || wildcard && strings.HasPrefix(topic, prefix)
}

// RouteFuncs is the route of channels that are only a few functions.
func RouteFuncs(topic string, funcs ChannelFuncs) Route {
	return Route{Topic: topic, New: func() Channel { return funcs }}
}

// ChannelFuncs is a [Channel] made of functions, for tests.
type ChannelFuncs struct {
	OnJoin func(s *Socket, params Payload) (any, error)          // nil: everyone may join
	OnIn   func(s *Socket, event string, payload Payload) Result // nil: every event crashes
	OnInfo func(s *Socket, msg any) Result                       // nil: every message crashes
}

// Join implements [Channel].
func (f ChannelFuncs) Join(s *Socket, params Payload) (any, error) {
	if f.OnJoin == nil {
		return nil, nil
	}
	return f.OnJoin(s, params)
}

// HandleIn implements [Channel].
func (f ChannelFuncs) HandleIn(s *Socket, event string, payload Payload) Result {
	if f.OnIn == nil {
		return NoClause(event)
	}
	return f.OnIn(s, event, payload)
}

// HandleInfo implements [InfoHandler].
func (f ChannelFuncs) HandleInfo(s *Socket, msg any) Result {
	if f.OnInfo == nil {
		return NoClause(msg)
	}
	return f.OnInfo(s, msg)
}

// RefuseJoin is the error with which [Channel.Join] refuses: the client gets an error
// reply with this response.
func RefuseJoin(response any) error { return joinRefusal{response} }

type joinRefusal struct{ response any }

func (r joinRefusal) Error() string { return fmt.Sprintf("join refused: %v", r.response) }

// A Result is what a callback of a channel wants to happen after it: a reply, a stop,
// both or neither.
type Result struct {
	reply      bool
	status     string
	response   any
	stop       bool
	stopReason string
}

// NoReply lets the client wait for a reply that never comes, or comes later by [Socket.Reply].
func NoReply() Result { return Result{} }

// OK replies with status ok. A nil response is the empty object.
func OK(response any) Result { return Reply("ok", response) }

// Error replies with status error. A nil response is the empty object.
func Error(response any) Result { return Reply("error", response) }

// Reply replies with any status.
func Reply(status string, response any) Result {
	return Result{reply: true, status: status, response: response}
}

// Stop ends the channel process without a reply: with reason "normal" or "shutdown" the
// client gets a phx_close, with any other a phx_error.
func Stop(reason string) Result { return NoReply().ThenStop(reason) }

// ThenStop is r, and then what [Stop] does.
func (r Result) ThenStop(reason string) Result {
	r.stop, r.stopReason = true, reason
	return r
}

// NoClause crashes the channel, as Elixir does when no function clause matches: the
// default of a switch over events.
func NoClause(event any) Result {
	panic(fmt.Sprintf("no function clause matching %v", event))
}

// A Socket is the handle of a channel process that the callbacks of its [Channel] get.
// Push, Deliver, Broadcast, BroadcastFrom, Send and Reply may be called from any goroutine, so that
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

// Deliver sends an event to this client as a broadcast does: without a join_ref.
func (s *Socket) Deliver(event string, payload any) {
	s.p.conn.box.put(envelope{frame: s.p.conn.ser.encode(message{
		joinRef:     null,
		ref:         null,
		topic:       s.p.topicRef,
		event:       stringTerm(event),
		payload:     payloadOf(payload),
		isBroadcast: true,
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

// Subscribe lets this client also have what is broadcast on another topic, until the channel
// ends: Phoenix.PubSub.subscribe with the fastlane of the transport. It is for callbacks.
func (s *Socket) Subscribe(topic string) {
	s.p.also = append(s.p.also, topic)
	s.Server().pubsub.subscribe(s.p, topic)
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
