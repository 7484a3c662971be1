package phoenixtest

import (
	"slices"
	"sync"
)

// A pubSub carries broadcasts from anyone to the transports of a topic's subscribers.
type pubSub struct {
	mu     sync.RWMutex
	topics map[string][]*process
}

func (ps *pubSub) subscribe(p *process, topic string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.topics == nil {
		ps.topics = map[string][]*process{}
	}
	ps.topics[topic] = append(ps.topics[topic], p)
}

func (ps *pubSub) unsubscribe(p *process, topic string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	rest := slices.DeleteFunc(ps.topics[topic], func(q *process) bool { return q == p })
	if len(rest) == 0 {
		delete(ps.topics, topic)
		return
	}
	ps.topics[topic] = rest
}

func (ps *pubSub) subscribers(topic string) int {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	return len(ps.topics[topic])
}

// broadcast sends to every subscriber of the topic but one. As Phoenix's fastlane does, it
// encodes once for each vsn and hands the frame to the transports, past the channels.
func (ps *pubSub) broadcast(topic, event string, payload Payload, except *process) {
	m := message{
		joinRef:     null,
		ref:         null,
		topic:       stringTerm(topic),
		event:       stringTerm(event),
		payload:     payload,
		isBroadcast: true,
	}
	encoded := map[serializer]wsFrame{}
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	for _, p := range ps.topics[topic] {
		if p == except {
			continue
		}
		frame, ok := encoded[p.conn.ser]
		if !ok {
			frame = p.conn.ser.encode(m)
			encoded[p.conn.ser] = frame
		}
		p.conn.box.put(envelope{frame: frame})
	}
}
