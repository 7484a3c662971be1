package router

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"phx/phoenix"
)

// A failure is what came of an attempt of a drain that failed.
type failure struct {
	err error
	// final: another attempt would fail, too.
	final bool
	// gone: so would that of any other record.
	gone bool
	// whole: a final failure is about all that was sent, and not about one record.
	whole bool
	// progress: the attempt did some of its work, so the backoff begins anew.
	progress bool
	// atLeast is the shortest delay before the next attempt, as the other side asked for.
	atLeast time.Duration
}

// retry calls attempt until it returns nil, and returns nil then. After a failure it calls wait,
// which logs the failure and waits for about delay: 100 ms, doubled each time up to 30 s, and
// jittered. It ends early, with an error, when a failure is final, when wait fails, and with the
// cause when ctx has ended.
func retry(ctx context.Context, attempt func() *failure, wait func(err error, delay time.Duration) error) error {
	var backoff phoenix.Backoff // made when it is needed: most first attempts succeed
	for failures := 0; ; failures++ {
		f := attempt()
		switch {
		case f == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case f.final:
			return f.err
		case f.progress:
			failures = 0
		}
		if backoff == nil {
			backoff = phoenix.DefaultReconnectAfter()
		}
		if err := wait(f.err, max(backoff(failures), f.atLeast)); err != nil {
			return err
		}
	}
}

// pause waits, or returns the cause of ctx's end if that comes first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// An outage logs the first of several failures in a row and their end; what is between them is for
// debugging.
type outage struct {
	log   *slog.Logger
	level slog.Level // of the first failure
	on    bool
}

func (o *outage) failed(message string, attributes ...any) {
	level := slog.LevelDebug
	if !o.on {
		level = o.level
	}
	o.on = true
	o.log.Log(context.Background(), level, message, attributes...)
}

func (o *outage) over(message string) {
	if o.on {
		o.on = false
		o.log.Info(message)
	}
}

// A sampler picks one of many occurrences for the log, and counts the others.
type sampler struct {
	mu     sync.Mutex
	picked time.Time // when one was picked
	count  uint64    // since then
}

// pick counts occurrences and reports whether to log one: the first one, and then one after each
// interval. n is how many there were since the last one that was logged, these included.
func (s *sampler) pick(count uint64, interval time.Duration) (n uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count += count
	now := time.Now()
	if !s.picked.IsZero() && now.Sub(s.picked) < interval {
		return 0, false
	}
	n = s.count
	s.picked, s.count = now, 0
	return n, true
}
