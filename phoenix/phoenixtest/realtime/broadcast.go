package realtime

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"phx/phoenix/phoenixtest"
)

// A place is where broadcasts and presences meet: a private topic is another one than the public one of the same name.
type place struct {
	name    string // without realtime:
	private bool
}

// A broadcast is one of: a userBroadcast, or text as a client has sent it, or the bytes of a frame of kind 0.
type broadcast struct {
	user *userBroadcast
	text phoenixtest.Payload
}

// broadcast sends to all in a place but one, on the goroutine of the sender (lib/realtime_web/channels/realtime_channel/message_dispatcher.ex). What has no
// form for a listener panics, as it raises in the process of the sender there.
func (p *Project) broadcast(to place, b broadcast, except *channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ch := range p.places[to] {
		if ch == except || b.user != nil && ch.replayed[b.user.id] {
			continue
		}
		ch.deliver(b)
	}
}

func (ch *channel) deliver(b broadcast) {
	switch {
	case b.user == nil:
		if text := b.text; !text.IsBinary() && !strings.HasPrefix(string(text.Bytes()), "{") {
			panic(fmt.Sprintf("expected broadcasted payload to be a map, got: %s", text.Bytes()))
		}
		ch.sock.Deliver("broadcast", b.text)
	case ch.v1:
		if b.user.isJSON { // else the client never hears of it
			ch.sock.Deliver("broadcast", b.user.text())
		}
	case ch.sock.Conn().Transport() == "longpoll":
		panic("Phoenix.Socket.V2.JSONSerializer.fastlane!/1 has no clause for a user broadcast")
	default:
		ch.sock.Conn().SendBinary(b.user.frame(ch.sock.Topic()))
	}
}

// handleBroadcast handles the event broadcast of a client (lib/realtime_web/channels/realtime_channel/broadcast_handler.ex).
func (ch *channel) handleBroadcast(payload phoenixtest.Payload) phoenixtest.Result {
	if ch.place.private && !ch.policy.Write {
		return phoenixtest.NoReply() // whether there is an ack or not
	}
	b, size := broadcast{text: payload}, len(payload.Bytes())
	if push, ok := payload.Term().(userBroadcast); ok {
		b, size = broadcast{user: &push}, len(push.payload)
	}
	tooLarge := size > ch.project.cfg.MaxPayload
	if !tooLarge {
		except := ch
		if ch.params.self {
			except = nil
		}
		ch.project.broadcast(ch.place, b, except)
	}
	switch {
	case !ch.params.ack:
		return phoenixtest.NoReply()
	case tooLarge:
		return phoenixtest.Error("payload_size_exceeded")
	}
	return phoenixtest.OK(nil)
}

// Broadcast sends a broadcast from outside, as a POST of a single one does: as kind 4, without an id. A payload is JSON unless it is
// [phoenixtest.Binary].
func (p *Project) Broadcast(name, event string, payload phoenixtest.Payload, private bool) {
	p.broadcast(place{name, private}, broadcast{user: newUserBroadcast(event, payload)}, nil)
}

// BroadcastText sends a broadcast from outside, as a POST of a batch does: as text.
func (p *Project) BroadcastText(name, event string, payload phoenixtest.Payload, private bool) {
	p.broadcast(place{name, private}, broadcast{text: newUserBroadcast(event, payload).text()}, nil)
}

func newUserBroadcast(event string, payload phoenixtest.Payload) *userBroadcast {
	return &userBroadcast{event: event, isJSON: !payload.IsBinary(), payload: payload.Bytes()}
}

// A stored broadcast is one of the database.
type stored struct {
	userBroadcast
	at time.Time
}

// keepStored is how long the database keeps broadcasts.
const keepStored = 72 * time.Hour

// Send sends a broadcast from the database, as its function realtime.send does, and returns its id: it is sent as kind 4 with the id, after
// [Config.ReplicationDelay], and it can be replayed if it is private.
func (p *Project) Send(name, event string, payload phoenixtest.Payload, private bool) (id string) {
	p.mu.Lock()
	p.lastID++
	id = fmt.Sprintf("00000000-0000-4000-8000-%012d", p.lastID)
	b, to := *newUserBroadcast(event, payload), place{name, private}
	if private {
		now := time.Now()
		old := func(s stored) bool { return now.Sub(s.at) > keepStored }
		b.id = id
		p.stored[name] = append(slices.DeleteFunc(p.stored[name], old), stored{b, now})
	}
	p.mu.Unlock()
	live := b.withMeta(id, false)
	deliver := func() { p.broadcast(to, broadcast{user: &live}, nil) }
	if p.cfg.ReplicationDelay > 0 {
		time.AfterFunc(p.cfg.ReplicationDelay, deliver)
	} else {
		deliver()
	}
	return id
}

// replayOf is what a join has replayed: the last ones of its place that are not older than asked, the oldest first (lib/realtime/messages.ex).
func (p *Project) replayOf(name string, asked replayParams) []stored {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := time.UnixMilli(asked.since)
	var found []stored
	for _, s := range p.stored[name] {
		if !s.at.Before(since) && time.Since(s.at) <= keepStored {
			found = append(found, s)
		}
	}
	return found[max(0, len(found)-int(asked.limit)):]
}

// replay sends what a join has replayed: JSON as text, bytes as kind 4, and these to no client of vsn 1.0.0.
func (ch *channel) replay(messages []stored) {
	for _, s := range messages {
		b := s.withMeta(s.id, true)
		switch {
		case b.isJSON:
			ch.sock.Push("broadcast", b.text())
		case !ch.v1:
			ch.sock.Conn().SendBinary(b.frame(ch.sock.Topic()))
		}
	}
}
