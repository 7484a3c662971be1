package phoenix

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A serverFrame is a frame before it is encoded, with what its payload means.
type serverFrame struct {
	at                         time.Time
	joinRef, ref, topic, event string
	status, payload            string
	binary, skipped, unmatched bool
	refusal                    JoinReason
}

func (f *serverFrame) String() string {
	if f == nil {
		return "none"
	}
	return fmt.Sprintf("[%q %q %q %q] %s %s binary:%t", f.joinRef, f.ref, f.topic, f.event, f.status, f.payload, f.binary)
}

// encode makes what a server puts on the wire (PROTOCOL.md, sections 2 and 3).
func (f *serverFrame) encode(v1 bool) []byte {
	null := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	payload := json.RawMessage(f.payload)
	switch {
	case f.binary && f.event == eventReply:
		return serverBinary(kindReply, payload, f.joinRef, f.ref, f.topic, f.status)
	case f.binary && f.joinRef == "":
		return serverBinary(kindBroadcast, payload, f.topic, f.event)
	case f.binary:
		return serverBinary(kindPush, payload, f.joinRef, f.topic, f.event)
	case f.event == eventReply:
		payload = mustJSON(map[string]any{"status": f.status, "response": payload})
	}
	if v1 {
		return mustJSON(map[string]any{"topic": f.topic, "event": f.event, "payload": payload, "ref": null(f.ref)})
	}
	return mustJSON([]any{null(f.joinRef), null(f.ref), f.topic, f.event, payload})
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// A modelServer answers what it reads, or makes something up. It remembers all that it has read on the connection.
type modelServer struct {
	rng     *rand.Rand
	v1      bool
	read    []*clientFrame
	waiting []*clientFrame // not answered in this session
	sent    int
	// helpful is how often, of 100, it answers what waits.
	helpful int
}

// take reads what the client wrote.
func (s *modelServer) take(frames ...*clientFrame) {
	s.read = append(s.read, frames...)
	s.waiting = append(s.waiting, frames...)
}

// next makes a frame.
func (s *modelServer) next(topics []string) *serverFrame {
	s.sent++
	f := &serverFrame{}
	if len(s.waiting) > 0 && s.rng.IntN(100) < s.helpful {
		i := 0
		if s.rng.IntN(3) == 0 { // answers need not come in order
			i = s.rng.IntN(len(s.waiting))
		}
		s.answer(f, s.waiting[i])
		s.waiting = slices.Delete(s.waiting, i, i+1)
	} else {
		s.makeUp(f, topics)
	}
	if s.v1 { // no join_ref from the server, and no bytes (PROTOCOL.md, section 2)
		f.joinRef, f.binary = "", false
	}
	if f.binary && f.event != eventReply {
		f.ref = "" // binary pushes and broadcasts have none
	}
	return f
}

// answer is a proper answer to m, of one kind or another.
func (s *modelServer) answer(f *serverFrame, m *clientFrame) {
	f.joinRef, f.ref, f.topic, f.event, f.status = m.joinRef, m.ref, m.topic, eventReply, "ok"
	f.payload = fmt.Sprintf(`{"answer":%d}`, s.sent)
	kind := s.rng.IntN(30)
	switch {
	case m.topic == topicPhoenix || m.event == eventLeave:
	case m.event == eventJoin:
		s.answerJoin(f, kind)
	case kind < 2:
		f.status = "error"
	case kind < 4:
		f.status = "odd"
	case kind < 6:
		s.unmatched(f)
	case kind < 9:
		f.binary = true
	}
}

func (s *modelServer) answerJoin(f *serverFrame, kind int) {
	if kind < 4 {
		f.status = "error"
	}
	f.refusal = JoinRefused
	switch kind {
	case 0:
		f.refusal, f.payload = JoinCrashed, `{"reason":"join crashed"}`
	case 1:
		f.refusal, f.payload = JoinTooManyChannels, `{"reason":"too many channels joined"}`
	case 2:
		s.unmatched(f)
		f.refusal = JoinUnmatchedTopic
	case 4:
		f.event, f.ref, f.payload = eventError, f.joinRef, `{"reason":"channel_crash"}`
	}
}

func (s *modelServer) unmatched(f *serverFrame) {
	f.joinRef, f.status, f.unmatched, f.payload = "", "error", true, `{"reason":"unmatched topic"}`
}

// makeUp is anything else: messages, losses of channels, and answers that nobody waits for.
func (s *modelServer) makeUp(f *serverFrame, topics []string) {
	f.topic = topics[s.rng.IntN(len(topics))]
	if n := len(s.read); n > 0 && s.rng.IntN(3) > 0 {
		f.topic = s.read[n-1-s.rng.IntN(min(n, 10))].topic
	}
	f.payload = fmt.Sprintf(`{"n":%d}`, s.sent)
	f.joinRef = s.joinRef(f.topic)
	switch s.rng.IntN(12) {
	case 0:
		f.event, f.ref = eventClose, f.joinRef
	case 1:
		f.event, f.ref = eventError, f.joinRef
	case 2, 3:
		s.oddReply(f)
	case 4:
		f.event, f.joinRef = eventJoin, "" // the server's own use of a word of the protocol
	default:
		f.event, f.skipped = "news", s.rng.IntN(6) == 0
		f.binary = s.rng.IntN(6) == 0
	}
}

// joinRef is that of the last join of a topic mostly, or none, or that of an earlier join, or one of another topic.
func (s *modelServer) joinRef(topic string) string {
	var own, all []string
	for _, m := range s.read {
		if m.event == eventJoin {
			all = append(all, m.ref)
			if m.topic == topic {
				own = append(own, m.ref)
			}
		}
	}
	switch kind := s.rng.IntN(10); {
	case kind < 3 || len(all) == 0:
		return ""
	case kind < 4:
		return all[s.rng.IntN(len(all))]
	case len(own) == 0:
		return "77"
	case kind < 6:
		return own[s.rng.IntN(len(own))]
	}
	return own[len(own)-1]
}

// oddReply is a reply to anything ever sent: a second one, a late one, one with the wrong topic or join_ref.
func (s *modelServer) oddReply(f *serverFrame) {
	f.event, f.status, f.refusal, f.ref = eventReply, "ok", JoinRefused, "4711"
	if len(s.read) == 0 {
		return
	}
	m := s.read[len(s.read)-1-s.rng.IntN(min(len(s.read), 20))]
	f.ref = m.ref
	switch s.rng.IntN(4) {
	case 0: // with the topic and the join_ref of somebody else
	case 1:
		f.joinRef = m.joinRef
	case 2:
		f.topic, f.joinRef = m.topic, m.joinRef
	case 3:
		f.topic = m.topic
	}
	if s.rng.IntN(4) == 0 && f.joinRef == "" {
		s.unmatched(f)
		f.refusal = JoinUnmatchedTopic
	}
}
