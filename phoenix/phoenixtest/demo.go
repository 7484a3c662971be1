package phoenixtest

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Demo is the application of `phx demo`, mounted at /socket.
//
// Topics: room:lobby broadcasts an event tick with {"n":1}, {"n":2} and so on each second;
// room:private refuses with {"reason":"unauthorized"}; any other room:* is quiet; in
// presence:* everyone is present under params.user ("anon" if there is none).
//
// There is one tick counter a server. It starts with the first join of room:lobby and never
// stops; who joins later sees the ticks from then on.
//
// Events, on every topic: echo replies ok with the payload; broadcast replies ok and sends
// the payload to everyone; fail replies with an error; crash crashes the channel; close
// closes it; silent never replies; slow replies ok with the payload after payload.ms
// milliseconds (1000), and holds up nothing meanwhile. Any other event crashes.
//
// Any token but "bad" is accepted, as the parameter token or as auth token.
//
// Each of the watchers is told of every join and push, by the goroutine that handles it.
func Demo(watchers ...func(DemoActivity)) App {
	watched := func(newChannel func() Channel) func() Channel {
		return func() Channel { return &watchedChannel{newChannel(), watchers} }
	}
	return func(s *Server) {
		var ticking sync.Once
		startTicks := func() { s.Go(func(ctx context.Context) { tick(ctx, s) }) }
		newRoom := func() Channel {
			return &demoRoom{startTicks: func() { ticking.Do(startTicks) }}
		}
		s.Mount("/socket", UserSocket{
			AuthToken: true,
			Connect:   demoConnect,
			Channels: []Route{
				{Topic: "room:*", New: watched(newRoom)},
				{Topic: "presence:*", New: watched(func() Channel { return &demoPresence{} })},
			},
		})
	}
}

// A DemoActivity is a join of a client of the demo, or a push.
type DemoActivity struct {
	// Peer is the address of the client, HOST:PORT.
	Peer, Topic string
	// Event is empty for a join; Refused says that it was refused.
	Event   string
	Refused bool
	// Payload is that of a push. It must not be changed.
	Payload Payload
}

// A watchedChannel is a channel whose joins and pushes are told to watchers.
type watchedChannel struct {
	Channel
	watchers []func(DemoActivity)
}

func (c *watchedChannel) tell(a DemoActivity) {
	for _, watch := range c.watchers {
		watch(a)
	}
}

// Join implements [Channel].
func (c *watchedChannel) Join(s *Socket, params Payload) (any, error) {
	response, err := c.Channel.Join(s, params)
	c.tell(DemoActivity{Peer: s.Conn().info.Peer, Topic: s.Topic(), Refused: err != nil})
	return response, err
}

// HandleIn implements [Channel].
func (c *watchedChannel) HandleIn(s *Socket, event string, payload Payload) Result {
	c.tell(DemoActivity{Peer: s.Conn().info.Peer, Topic: s.Topic(), Event: event, Payload: payload})
	return c.Channel.HandleIn(s, event, payload)
}

// HandleInfo implements [InfoHandler].
func (c *watchedChannel) HandleInfo(s *Socket, msg any) Result {
	return c.Channel.(InfoHandler).HandleInfo(s, msg)
}

const demoLobby = "room:lobby"

// tick is the process behind room:lobby.
func tick(ctx context.Context, s *Server) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
			s.Broadcast(demoLobby, "tick", Map{"n": n})
		case <-ctx.Done():
			return
		}
	}
}

func demoConnect(info *ConnectInfo) error {
	if info.Params["token"] == "bad" || info.AuthToken != nil && *info.AuthToken == "bad" {
		return errors.New("bad token")
	}
	return nil
}

// demoRoom is a channel room:*.
type demoRoom struct {
	demoEvents
	startTicks func()
}

// Join implements [Channel].
func (d *demoRoom) Join(s *Socket, _ Payload) (any, error) {
	switch s.Topic() {
	case "room:private":
		return nil, RefuseJoin(Map{"reason": "unauthorized"})
	case demoLobby:
		d.startTicks()
	}
	return nil, nil
}

// demoPresence is a channel presence:*.
type demoPresence struct{ demoEvents }

// Join implements [Channel].
func (d *demoPresence) Join(s *Socket, params Payload) (any, error) {
	s.Send(demoTrack{user: Field(params, "user", "anon")})
	return nil, nil
}

// demoEvents is what all channels of the demo have in common.
type demoEvents struct{}

// What a channel of the demo sends itself.
type (
	demoTrack struct{ user string }
	demoReply struct {
		ref     Ref
		payload Payload
	}
)

// HandleIn implements [Channel].
func (demoEvents) HandleIn(s *Socket, event string, payload Payload) Result {
	switch event {
	case "echo":
		return OK(payload)
	case "broadcast":
		s.Broadcast("broadcast", payload)
		return OK(nil)
	case "fail":
		return Error(Map{"reason": "failed"})
	case "crash":
		panic("crash, as asked for")
	case "close":
		return Stop("normal")
	case "silent":
		return NoReply()
	case "slow":
		delay := time.Duration(Field(payload, "ms", 1000)) * time.Millisecond
		s.SendAfter(delay, demoReply{s.Ref(), payload})
		return NoReply()
	default:
		return NoClause(event)
	}
}

// HandleInfo implements [InfoHandler].
func (demoEvents) HandleInfo(s *Socket, msg any) Result {
	switch msg := msg.(type) {
	case demoTrack:
		s.Track(msg.user, Map{"status": "online"})
		s.Push("presence_state", s.Presences())
	case demoReply:
		s.Reply(msg.ref, "ok", msg.payload)
	}
	return NoReply()
}
