package cmd

import (
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"phx/router"
)

// natsAckWait is after what time a message that was neither acknowledged nor asked more time for is delivered again, to whoever reads then.
const natsAckWait = 30 * time.Second

// A natsMessage is a message of a stream. Whoever reads it reads the copy that came first; the rest is its durableHand's.
type natsMessage struct {
	jetstream.Msg
	// latest is the copy that came last, by which it is acknowledged.
	latest jetstream.Msg
	// taken says that all its lines are, of which last has the highest number.
	taken bool
	last  uint64
}

// number returns which message of the stream it is; 0: it does not say.
func (m *natsMessage) number() uint64 {
	meta, err := m.Metadata()
	if err != nil {
		return 0
	}
	return meta.Sequence.Stream
}

// A durableHand is the messages of a durable consumer that have arrived and are not acknowledged. Each is acknowledged when all its lines
// are written. However long that takes, it is this reader's: the server is asked for more time, and what it delivers again all the same
// is known. It may be used by several goroutines.
type durableHand struct {
	written *router.Progress // which lines are
	log     *slog.Logger

	mu       sync.Mutex
	messages []*natsMessage // in the order in which they arrived
	// done are the numbers of messages that were acknowledged lately: a copy of one may be on its way. When there are many, older is
	// forgotten and done becomes older.
	done, older map[uint64]bool
	count       int // of messages that were taken
	// failing: the last acknowledgement could not be sent.
	failing bool
}

// mostDone is how many numbers done has. A server has 1000 messages under way by default.
const mostDone = 16384

// ackWaitOf returns after what time the server of a consumer delivers a message again.
func ackWaitOf(c jetstream.Consumer) time.Duration {
	config := c.CachedInfo().Config
	wait := config.AckWait
	if len(config.BackOff) > 0 {
		wait = config.BackOff[0]
	}
	if wait <= 0 {
		return natsAckWait
	}
	return wait
}

// arrive takes a message, and reports whether it is a new one. A copy of one that is in hand takes its place for the acknowledgement.
func (h *durableHand) arrive(m *natsMessage) (fresh bool) {
	number := m.number()
	h.mu.Lock()
	defer h.mu.Unlock()
	if number > 0 && (h.done[number] || h.older[number]) {
		_ = m.Ack() // else it comes once more
		return false
	}
	if meta, err := m.Metadata(); err == nil && meta.NumDelivered > 1 {
		for _, held := range h.messages {
			if held.number() == number {
				held.latest = m.Msg
				return false
			}
		}
	}
	m.latest = m.Msg
	h.messages = append(h.messages, m)
	return true
}

// take notes that all lines of a message are taken, of which last has the highest number.
func (h *durableHand) take(m *natsMessage, last uint64) {
	h.mu.Lock()
	m.taken, m.last = true, last
	h.count++
	many := h.count%acknowledgeEach == 0
	h.mu.Unlock()
	if many {
		h.acknowledge()
	}
}

// acknowledgeEach is after how many messages those are acknowledged that are written: the server has a bound of those that are not.
const acknowledgeEach = 100

// tend acknowledges what is written, and asks for more time for the rest, until ended is closed. wait is that of the server.
func (h *durableHand) tend(ended <-chan struct{}, wait time.Duration) {
	every := min(wait/3, time.Second/10)
	tick := time.NewTicker(max(every, time.Millisecond))
	defer tick.Stop()
	asked := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ended:
			return
		}
		h.acknowledge()
		if now := time.Now(); now.Sub(asked) >= wait/3 {
			asked = now
			h.keep()
		}
	}
}

// acknowledge acknowledges the messages of which all lines are written.
func (h *durableHand) acknowledge() {
	done := h.written.Done()
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for ; n < len(h.messages) && h.messages[n].taken && h.messages[n].last <= done; n++ {
		m := h.messages[n]
		if err := m.latest.Ack(); err != nil {
			if !h.failing {
				h.failing = true
				h.log.Debug("a message could not be acknowledged; it is tried again", "error", err)
			}
			break
		}
		h.failing = false
		if len(h.done) >= mostDone {
			h.done, h.older = nil, h.done
		}
		if h.done == nil {
			h.done = map[uint64]bool{}
		}
		h.done[m.number()] = true
	}
	clear(h.messages[:n])
	h.messages = h.messages[n:]
}

// keep asks for more time for what is in hand.
func (h *durableHand) keep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.messages {
		if m.latest.InProgress() != nil { // it comes again, and is known then
			return
		}
	}
}

// giveBack acknowledges what is written, and gives back the rest in its order, for whoever reads next.
func (h *durableHand) giveBack() {
	h.acknowledge()
	h.mu.Lock()
	defer h.mu.Unlock()
	written := h.written.Done()
	twice := 0
	for _, m := range h.messages {
		if m.taken && m.last <= written {
			twice++
		}
		_ = m.latest.Nak() // else it comes again after the wait
	}
	if twice > 0 {
		h.log.Warn("messages that were written could not be acknowledged, and will come again", "messages", twice)
	}
	h.messages = nil
}
