package cmd

import (
	"context"
	"errors"
	"strconv"

	"phx/phoenix"
)

// stay hands the events of l to handle until ctx ends, whose cause it returns, or the link does, or handle fails. It ends also
// when the reader of stdout goes, which on a quiet link no write would tell.
func (c *client) stay(ctx context.Context, l *link, handle func(context.Context, *phoenix.Event) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	gone, unwatch := watchReader(c.factory.streams)
	defer unwatch()
	go func() {
		select {
		case <-gone:
			end(errPipe)
		case <-ctx.Done():
		}
	}()
	for {
		ev, err := l.next(ctx)
		if err == nil {
			err = handle(ctx, ev)
		}
		switch {
		case errors.Is(err, errDone):
			return nil
		case err != nil:
			return err
		}
	}
}

// lostForGood is the failure of a channel that ev says is lost and not joined again, else nil. A channel that is lost with its
// link is the link's to explain.
func lostForGood(ev *phoenix.Event) error {
	switch d := ev.Detail.(type) {
	case *phoenix.JoinError:
		if !d.Will {
			return joinFailure(d)
		}
	case *phoenix.Errored:
		if !d.Will && d.Reason != phoenix.ErroredDisconnected {
			return channelLost(ev, "crashed")
		}
	case *phoenix.Closed:
		if !d.Will {
			return channelLost(ev, "was closed by the server")
		}
	}
	return nil
}

// channelLost says that a channel was lost and is not joined again.
func channelLost(ev *phoenix.Event, what string) *failure {
	return &failure{
		code:    exitChannel,
		message: "the channel " + strconv.Quote(ev.Topic) + " " + what + ", and is not joined again",
		hint:    "see the server's log; more attempts with --max-retries",
	}
}
