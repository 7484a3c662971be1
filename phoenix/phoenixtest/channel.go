package phoenixtest

import (
	"fmt"
	"strings"
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
