package cmd

import (
	"context"
	"errors"
	"io"
	"sync"

	"phx/phoenix"
)

// A feed is what the reading goroutine and the printing one share.
type feed struct {
	mu      sync.Mutex
	sent    int
	stopped bool
	// over is closed when nothing more is sent; err is valid then.
	over chan struct{}
	err  error
}

// send reads the input and sends, with no more pushes in flight than there are slots. It returns when the input has ended or
// failed, or when nothing more is to be sent.
func (p *pusher) send(ctx context.Context, slots chan struct{}) error {
	for index := 0; ; index++ {
		payload, err := p.in.next()
		switch {
		case errors.Is(err, io.EOF) && index == 0:
			return p.in.errNoInput()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if !p.feed.take() {
			return nil
		}
		push := phoenix.Push{Topic: p.topic, Name: p.event, Payload: phoenix.Payload{Data: payload, Binary: p.in.binary}, Index: index}
		if err := p.link.conn.Send(ctx, push); err != nil {
			p.feed.giveBack()
			return p.sendFailure(err)
		}
	}
}

// sendFailure explains a push that was not accepted. That of a connection that has ended is explained by the end.
func (p *pusher) sendFailure(err error) error {
	var linkErr *phoenix.LinkError
	if errors.As(err, &linkErr) || errors.Is(err, phoenix.ErrClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return usageError("see `phx push --help`", "%v", err)
}

// take counts a push that is about to be sent, if one still may be.
func (f *feed) take() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return false
	}
	f.sent++
	return true
}

func (f *feed) giveBack() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent--
}

// stop lets no further push be sent.
func (f *feed) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}

// outstanding reports whether there is a push without an end among those sent, or one may still be sent.
func (f *feed) outstanding(done int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.over:
		return f.sent > done
	default:
		return f.sent > done || !f.stopped
	}
}
