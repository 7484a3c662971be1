package peer

import (
	"encoding/json"
	"maps"

	"phx/phoenix/phoenixtest"
)

// present is the channel presence:*: params user and meta say as what one is present.
type present struct{ user string }

// trackMe is what a present sends itself after its join.
type trackMe struct{ meta map[string]json.RawMessage }

// Join implements [phoenixtest.Channel].
func (p *present) Join(s *phoenixtest.Socket, params phoenixtest.Payload) (any, error) {
	p.user = phoenixtest.Field(params, "user", "anon")
	s.Send(trackMe{phoenixtest.Field[map[string]json.RawMessage](params, "meta", nil)})
	return nil, nil
}

// HandleInfo implements [phoenixtest.InfoHandler].
func (p *present) HandleInfo(s *phoenixtest.Socket, msg any) phoenixtest.Result {
	track, ok := msg.(trackMe)
	if !ok {
		return phoenixtest.NoClause(msg)
	}
	s.Track(p.user, merge(phoenixtest.Map{"status": "online"}, track.meta))
	s.Push("presence_state", s.Presences())
	return phoenixtest.NoReply()
}

// HandleIn implements [phoenixtest.Channel].
func (p *present) HandleIn(s *phoenixtest.Socket, event string, payload phoenixtest.Payload) phoenixtest.Result {
	switch event {
	case "update_meta":
		var changes map[string]json.RawMessage
		if err := json.Unmarshal(payload.Bytes(), &changes); err != nil {
			return phoenixtest.NoClause(event)
		}
		s.UpdatePresence(p.user, func(meta phoenixtest.Map) phoenixtest.Map { return merge(meta, changes) })
		return phoenixtest.OK(nil)
	case "untrack":
		s.Untrack(p.user)
		return phoenixtest.OK(nil)
	case "ping":
		return phoenixtest.OK(payload)
	default:
		return phoenixtest.NoClause(event)
	}
}

func merge(meta phoenixtest.Map, changes map[string]json.RawMessage) phoenixtest.Map {
	merged := maps.Clone(meta)
	for key, value := range changes {
		merged[key] = value
	}
	return merged
}
