package peer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"phx/phoenix/phoenixtest"
)

// room is the channel room:*.
type room struct {
	state  *counters
	params phoenixtest.Payload // of the join
}

// Join implements [phoenixtest.Channel].
func (r *room) Join(s *phoenixtest.Socket, params phoenixtest.Payload) (any, error) {
	r.params = params
	name := strings.TrimPrefix(s.Topic(), "room:")
	switch {
	case name == "private":
		return nil, refuse("unauthorized")
	case name == "echo":
		return phoenixtest.Map{"params": params}, nil
	case name == "crashjoin":
		panic("crash in join")
	case name == "listreply":
		return []int{1, 2, 3}, nil
	case strings.HasPrefix(name, "slowjoin"):
		ms := phoenixtest.Field(params, "ms", 1000)
		s.Sleep(millis(ms))
		return phoenixtest.Map{"slept": ms}, nil
	case strings.HasPrefix(name, "flaky"):
		return r.flaky(params)
	case strings.HasPrefix(name, "token"):
		if phoenixtest.Field(params, "token", "") != "good" {
			return nil, refuse("bad token")
		}
	case strings.HasPrefix(name, "greet"):
		s.Send(greet{params})
	}
	return nil, nil
}

// flaky refuses the first params.fail joins with the same params.key.
func (r *room) flaky(params phoenixtest.Payload) (any, error) {
	n := r.state.bump("join:" + phoenixtest.Field(params, "key", ""))
	if n <= phoenixtest.Field(params, "fail", 1) {
		return nil, phoenixtest.RefuseJoin(phoenixtest.Map{"reason": "flaky", "attempt": n})
	}
	return phoenixtest.Map{"attempt": n}, nil
}

func refuse(reason string) error {
	return phoenixtest.RefuseJoin(phoenixtest.Map{"reason": reason})
}

func millis(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// HandleIn implements [phoenixtest.Channel]. The events are in tables, by what they do.
func (r *room) HandleIn(s *phoenixtest.Socket, event string, p phoenixtest.Payload) phoenixtest.Result {
	for _, events := range []map[string]handler{messages, replies, endings, streams, binaries} {
		if handle, ok := events[event]; ok {
			return handle(s, p)
		}
	}
	if event == "whoami" {
		return r.whoami(s)
	}
	return phoenixtest.NoClause(event)
}

type handler func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result

// messages are broadcast to the others in the room.
var messages = map[string]handler{
	"new_msg": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Broadcast("new_msg", p)
		if p.IsBinary() {
			return phoenixtest.NoReply()
		}
		return phoenixtest.OK(nil)
	},
	"new_msg_noreply": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Broadcast("new_msg", p)
		return phoenixtest.NoReply()
	},
	"new_msg_from": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.BroadcastFrom("new_msg", p)
		return phoenixtest.OK(nil)
	},
}

// replies answer, in all ways there are.
var replies = map[string]handler{
	"ping":          func(_ *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result { return phoenixtest.OK(p) },
	"fail":          always(phoenixtest.Error(phoenixtest.Map{"reason": "nope"})),
	"noreply":       always(phoenixtest.NoReply()),
	"string_reply":  always(phoenixtest.OK(nil)),
	"custom_status": always(phoenixtest.Reply("custom_status", nil)),
	"list_payload":  always(phoenixtest.OK([]int{1, 2, 3})),
	"text_payload":  always(phoenixtest.OK("text")),
	"null_payload":  always(phoenixtest.OK(json.RawMessage("null"))),
	"custom_status_payload": func(_ *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		return phoenixtest.Reply("custom_status", p)
	},
	"reply_twice": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Reply(s.Ref(), "ok", phoenixtest.Map{"first": true})
		return phoenixtest.OK(p)
	},
	"whatis": func(_ *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		return phoenixtest.OK(phoenixtest.Map{"inspect": inspect(p)})
	},
	"slow": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Sleep(millis(phoenixtest.Field(p, "ms", 1000)))
		return phoenixtest.OK(p)
	},
	"delayed": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.SendAfter(millis(phoenixtest.Field(p, "ms", 1000)), delayed{s.Ref(), p})
		return phoenixtest.NoReply()
	},
}

func always(r phoenixtest.Result) handler {
	return func(*phoenixtest.Socket, phoenixtest.Payload) phoenixtest.Result { return r }
}

// inspect prints JSON without objects as Elixir does.
func inspect(p phoenixtest.Payload) string {
	if text := string(p.Bytes()); text != "null" {
		return text
	}
	return "nil"
}

// endings end the channel, or the whole socket.
var endings = map[string]handler{
	"crash": func(*phoenixtest.Socket, phoenixtest.Payload) phoenixtest.Result {
		panic("crash in handle_in")
	},
	"stop":          always(phoenixtest.Stop("normal")),
	"stop_shutdown": always(phoenixtest.Stop("shutdown")),
	"stop_reply":    always(phoenixtest.OK(nil).ThenStop("shutdown")),
	"stop_error":    always(phoenixtest.Stop("boom")),
	"kick": func(s *phoenixtest.Socket, _ phoenixtest.Payload) phoenixtest.Result {
		s.Server().Disconnect(s.Conn().ID())
		return phoenixtest.OK(phoenixtest.Map{"id": orNull(s.Conn().ID())})
	},
	"kill_transport": func(s *phoenixtest.Socket, _ phoenixtest.Payload) phoenixtest.Result {
		s.Conn().Drop()
		return phoenixtest.NoReply()
	},
	"raise_transport": func(s *phoenixtest.Socket, _ phoenixtest.Payload) phoenixtest.Result {
		s.Conn().Crash()
		return phoenixtest.NoReply()
	},
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// whoami tells the client what the server knows about it.
func (r *room) whoami(s *phoenixtest.Socket) phoenixtest.Result {
	info := s.Conn().Info()
	return phoenixtest.OK(phoenixtest.Map{
		"params":      info.Params,
		"headers":     info.Headers,
		"auth_token":  info.AuthToken,
		"uri":         info.URI,
		"user_agent":  info.UserAgent,
		"peer":        info.Peer,
		"transport":   s.Conn().Transport(),
		"serializer":  s.Conn().Serializer(),
		"id":          orNull(s.Conn().ID()),
		"topic":       s.Topic(),
		"join_ref":    json.RawMessage(s.JoinRef()),
		"ref":         json.RawMessage(s.MessageRef()),
		"join_params": r.params,
	})
}

// What a room sends itself.
type (
	greet   struct{ params phoenixtest.Payload }
	delayed struct {
		ref     phoenixtest.Ref
		payload phoenixtest.Payload
	}
)

// HandleInfo implements [phoenixtest.InfoHandler].
func (r *room) HandleInfo(s *phoenixtest.Socket, msg any) phoenixtest.Result {
	switch msg := msg.(type) {
	case greet:
		s.Push("hello", phoenixtest.Map{"params": msg.params})
	case delayed:
		s.Reply(msg.ref, "ok", msg.payload)
	case flood:
		msg.run(s)
	case tick:
		msg.run(s)
	default:
		return phoenixtest.NoClause(fmt.Sprintf("%T", msg))
	}
	return phoenixtest.NoReply()
}

// binaries are the events about binary payloads.
var binaries = map[string]handler{
	"binary_echo": onBinary(func(data []byte) phoenixtest.Result {
		return phoenixtest.OK(phoenixtest.Binary(data))
	}),
	"binary_error": onBinary(func(data []byte) phoenixtest.Result {
		return phoenixtest.Error(phoenixtest.Binary(data))
	}),
	"binary_len": onBinary(func(data []byte) phoenixtest.Result {
		return phoenixtest.OK(phoenixtest.Map{"len": len(data)})
	}),
	"binary_push": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Push("bin", phoenixtest.Binary(bin(p)))
		return phoenixtest.OK(nil)
	},
	"binary_broadcast": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Broadcast("bin", phoenixtest.Binary(bin(p)))
		return phoenixtest.OK(nil)
	},
}

// onBinary has a clause for binary payloads only.
func onBinary(f func(data []byte) phoenixtest.Result) handler {
	return func(_ *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		if !p.IsBinary() {
			return phoenixtest.NoClause(string(p.Bytes()))
		}
		return f(p.Bytes())
	}
}

// bin is the data that the payload asks for: {"base64"}, {"size"}, itself, or a default.
func bin(p phoenixtest.Payload) []byte {
	if p.IsBinary() {
		return p.Bytes()
	}
	if data := phoenixtest.Field[[]byte](p, "base64", nil); data != nil {
		return data
	}
	if size := phoenixtest.Field(p, "size", -1); size >= 0 {
		return bytes.Repeat([]byte{0xAB}, size)
	}
	return []byte{0, 1, 2, 255}
}

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
