package peer

import (
	"strings"
	"time"

	"phx/phoenix/phoenixtest"
)

// streams are events that the server sends without being asked each time.
var streams = map[string]handler{
	"flood":           startFlood(false),
	"flood_broadcast": startFlood(true),
	"tick": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Send(tick{i: 1, n: phoenixtest.Field(p, "n", 5), every: millis(phoenixtest.Field(p, "ms", 100))})
		return phoenixtest.OK(nil)
	},
	"push_event": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		payload := phoenixtest.Field(p, "payload", rawPayload("{}"))
		s.Push(phoenixtest.Field(p, "event", "pushed"), phoenixtest.RawJSON(string(payload)))
		return phoenixtest.OK(nil)
	},
}

// rawPayload is JSON that is kept as it is.
type rawPayload string

// UnmarshalJSON implements [json.Unmarshaler].
func (r *rawPayload) UnmarshalJSON(data []byte) error {
	*r = rawPayload(data)
	return nil
}

// flood is many pushes or broadcasts in a row, as fast as the client reads them; or, raw,
// as fast as they can be made.
type flood struct {
	n, size   int
	raw       bool
	broadcast bool
}

func startFlood(broadcast bool) handler {
	return func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Send(flood{
			n:         phoenixtest.Field(p, "n", 1000),
			size:      phoenixtest.Field(p, "size", 100),
			raw:       phoenixtest.Field(p, "raw", false),
			broadcast: broadcast,
		})
		return phoenixtest.OK(nil)
	}
}

func (f flood) run(s *phoenixtest.Socket) {
	const backlog, checkEvery = 150, 50
	send := s.Push
	if f.broadcast {
		send = s.Broadcast
	}
	data := strings.Repeat("x", f.size)
	for seq := 1; seq <= f.n; seq++ {
		send("flood_msg", phoenixtest.Map{"seq": seq, "data": data})
		if !f.raw && seq%checkEvery == 0 {
			s.Pace(backlog)
		}
	}
	send("flood_done", phoenixtest.Map{"n": f.n})
}

// tick is n pushes at an interval.
type tick struct {
	i, n  int
	every time.Duration
}

func (t tick) run(s *phoenixtest.Socket) {
	if t.i > t.n {
		return
	}
	s.Push("tick", phoenixtest.Map{"i": t.i, "n": t.n})
	// An Erlang timer fires in the millisecond after the one it is set for: the
	// recordings show 501 for 500. Idle timeouts that tie with a tick depend on it.
	s.SendAfter(t.every+time.Millisecond, tick{t.i + 1, t.n, t.every})
}
