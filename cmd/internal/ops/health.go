package ops

import (
	"context"
	"errors"
	"sync"
)

// errStuck is what is wrong when nobody answers.
var errStuck = errors.New("the supervisor of the connections does not answer")

// Health asks a source whether it is alive. However many ask, and however stuck the source is, it waits in one goroutine.
type Health struct {
	source Source

	mu      sync.Mutex
	current *check // nil: none runs
}

// A check is one question to the source.
type check struct {
	done chan struct{}
	err  error // valid when done is closed
}

// NewHealth returns the health of a source.
func NewHealth(source Source) *Health { return &Health{source: source} }

// Check returns nil if the source answers within a second that it is alive.
func (h *Health) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c := h.ask()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return errStuck
	}
}

// ask joins the check that runs, or begins one.
func (h *Health) ask() *check {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil {
		return h.current
	}
	c := &check{done: make(chan struct{})}
	h.current = c
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		defer cancel()
		c.err = h.source.Alive(ctx)
		h.mu.Lock()
		h.current = nil
		h.mu.Unlock()
		close(c.done)
	}()
	return c
}
