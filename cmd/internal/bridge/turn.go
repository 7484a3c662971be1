package bridge

import (
	"context"
	"net/http"

	"phx/cmd/internal/control"
)

// A turn is a lock for which one waits no longer than a context lasts.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the turn. Who gets it gives it back.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (t turn) giveBack() { <-t }

// takeTurn waits until the configuration may be changed. What the change waits for is to end with the context that it gets, which
// ends with the bridge, too. done is called at its end.
func (b *Bridge) takeTurn(parent context.Context) (ctx context.Context, done func(), err error) {
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(b.closing, cancel)
	end := func() {
		stop()
		cancel()
	}
	err = b.changing.take(ctx)
	if b.closing.Err() != nil {
		if err == nil { // both at once
			b.changing.giveBack()
		}
		err = control.ErrClosing
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return ctx, func() {
		b.changing.giveBack()
		end()
	}, nil
}

// change is takeTurn once everything is started.
func (b *Bridge) change(parent context.Context) (ctx context.Context, done func(), err error) {
	ctx, done, err = b.takeTurn(parent)
	if err == nil && b.file == nil {
		done()
		return nil, nil, errStarting
	}
	return ctx, done, err
}

// errStarting is the answer to who is too early to change something; who is too late gets [control.ErrClosing].
var errStarting = &control.Error{
	Status: http.StatusServiceUnavailable, Code: exitFailure, Message: "serve is still starting", Advice: "try again",
}
