package cmd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"phx/phoenix"
)

// A link is a connection at work for a command: its events are read here, its lifecycle logged, its end explained.
type link struct {
	conn    *phoenix.Conn
	events  *phoenix.Stream
	address string
	log     *slog.Logger
	// wasUp says that there was a session.
	wasUp bool

	cancel context.CancelFunc
	served chan error
}

// openLink starts the connection and returns once it is up, with the event of that, which is valid until the next one.
func openLink(ctx context.Context, address string, o phoenix.Options) (*link, *phoenix.Event, error) {
	l, err := startLink(ctx, address, o)
	if err != nil {
		return nil, nil, err
	}
	ev, err := l.awaitUp(ctx)
	if err != nil {
		l.abort()
		return nil, nil, err
	}
	return l, ev, nil
}

// awaitUp reads events up to that of the next session.
func (l *link) awaitUp(ctx context.Context) (*phoenix.Event, error) {
	for {
		ev, err := l.next(ctx)
		if err != nil {
			return nil, err
		}
		if _, up := ev.Detail.(*phoenix.Connected); up {
			return ev, nil
		}
	}
}

// startLink starts the connection and returns at once.
func startLink(ctx context.Context, address string, o phoenix.Options) (*link, error) {
	conn, err := phoenix.New(o)
	if err != nil {
		return nil, usageError("phx help shows the options", "these options do not make a connection: %v", err)
	}
	// The end of ctx must not cut the connection: there is leaving and closing to do.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &link{conn: conn, events: conn.Events(), address: address, log: o.Logger, cancel: cancel, served: make(chan error, 1)}
	go func() { l.served <- conn.Serve(life) }()
	return l, nil
}

// next returns the next event, valid until the next call. Its error is the cause of ctx, also when there are events, or how
// the connection ended, which is io.EOF if it was closed by us.
func (l *link) next(ctx context.Context) (*phoenix.Event, error) {
	// On a fast stream there is always an event, and a person who interrupts would wait for ever.
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	ev, err := l.events.Next(ctx)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		return nil, l.ended()
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		return nil, err
	}
	if _, isMessage := ev.Detail.(phoenix.Message); isMessage {
		return ev, nil
	}
	if _, up := ev.Detail.(*phoenix.Connected); up {
		l.wasUp = true
	}
	logLifecycle(l.log, ev)
	return ev, nil
}

// ended returns how the connection ended.
func (l *link) ended() error {
	err := <-l.served
	l.served <- err
	if err == nil {
		return io.EOF
	}
	return l.explain(err)
}

// explain makes an error of the connection one for people.
func (l *link) explain(err error) error {
	var linkErr *phoenix.LinkError
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(err, &coded):
		// Credentials that could not be read say so themselves.
		return coded.(error)
	case errors.As(err, &linkErr):
		return linkFailure(l.address, linkErr, l.wasUp)
	}
	return err
}

const (
	// closeGrace bounds leaving and closing.
	closeGrace = 5 * time.Second
	// lateGrace is what is left of it when --max-time has passed already.
	lateGrace = 500 * time.Millisecond
)

// close leaves the topics, closes the connection and waits for its end, bounded by closeGrace. Events that come until then
// go to handle, which may be nil, with a context that ends with that time. ctx is that of the command; it may have ended.
func (l *link) close(ctx context.Context, topics []string, handle func(context.Context, *phoenix.Event)) {
	grace := closeGrace
	if exitCodeOf(context.Cause(ctx)) == exitTimeout {
		grace, topics = lateGrace, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	defer l.abort()

	var closing sync.WaitGroup
	closing.Go(func() {
		var leaving sync.WaitGroup
		for _, topic := range topics {
			leaving.Go(func() { l.logUnlessNil("leave failed", l.conn.Leave(ctx, topic)) })
		}
		leaving.Wait()
		l.logUnlessNil("close failed", l.conn.Close(ctx))
	})
	for {
		ev, err := l.next(ctx)
		if err != nil {
			break
		}
		if handle != nil {
			handle(ctx, ev)
		}
	}
	closing.Wait()
}

// logUnlessNil logs what no longer matters to the outcome.
func (l *link) logUnlessNil(message string, err error) {
	if err != nil && !errors.Is(err, phoenix.ErrNotJoined) && !errors.Is(err, phoenix.ErrClosed) {
		l.log.Debug(message, "error", err)
	}
}

// abort ends the connection without ceremony.
func (l *link) abort() {
	l.cancel()
	select {
	case err := <-l.served:
		l.served <- err
	case <-time.After(lateGrace):
	}
}
