package phoenixtest

import "sync"

// A mailbox is the unbounded queue of a process. Unbounded as in Erlang: a sender never
// waits for a receiver unless it asks to (waitBelow), so that processes cannot deadlock.
type mailbox[T any] struct {
	mu      sync.Mutex
	items   []T
	signal  chan struct{} // holds a token while items may be waiting
	drained chan struct{} // closed and replaced at every take
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{signal: make(chan struct{}, 1), drained: make(chan struct{})}
}

// put adds an item.
func (m *mailbox[T]) put(item T) {
	m.mu.Lock()
	m.items = append(m.items, item)
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// ready delivers when take may have something to give.
func (m *mailbox[T]) ready() <-chan struct{} { return m.signal }

// take removes and returns all items.
func (m *mailbox[T]) take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items = nil
	close(m.drained)
	m.drained = make(chan struct{})
	return items
}

// waitBelow returns when at most n items wait, or when stop is closed.
func (m *mailbox[T]) waitBelow(n int, stop <-chan struct{}) {
	for {
		m.mu.Lock()
		waiting, drained := len(m.items), m.drained
		m.mu.Unlock()
		if waiting <= n {
			return
		}
		select {
		case <-drained:
		case <-stop:
			return
		}
	}
}
