package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// whereLimit is how long a Where may look at one signal.
const whereLimit = time.Second

// failuresEvery is how often the failures of one rule's Where are logged at most.
const failuresEvery = time.Minute

// errOverrun is the error of a Where that took too long.
var errOverrun = errors.New("it took longer than a second")

// satisfies reports whether Where is true for the line of a signal of that connection, and logs if it cannot tell.
func (r *rule) satisfies(line []byte, connection string, log *slog.Logger) bool {
	matched, err := callWhere(r.Where, line)
	switch {
	case err == nil:
		return matched
	case r.subscriber == nil:
		r.failures.log(log, slog.LevelWarn, r.name, connection, err)
	case err == errOverrun:
		// It would hold up the connections again and again; and nobody else has asked for it.
		r.subscriber.end(fmt.Errorf("the expression of the subscription was given up: %w", err))
	default:
		r.failures.log(log, slog.LevelDebug, r.name, connection, err)
	}
	return false
}

// callWhere calls where and bounds it. What an expression makes of what a server sends is beyond foresight: if it panics, that is
// the expression's failure and not the connection's.
func callWhere(where func(context.Context, []byte) (bool, error), line []byte) (matched bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), whereLimit)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			matched, err = false, fmt.Errorf("it panicked: %v", value)
		}
	}()
	matched, err = where(ctx, line)
	if ctx.Err() != nil {
		return false, errOverrun
	}
	return matched, err
}

// failures logs some of many failures and counts the others.
type failures struct {
	mu     sync.Mutex
	logged time.Time
	others uint64 // since then
}

func (f *failures) log(log *slog.Logger, level slog.Level, rule, connection string, err error) {
	f.mu.Lock()
	now := time.Now()
	if !f.logged.IsZero() && now.Sub(f.logged) < failuresEvery {
		f.others++
		f.mu.Unlock()
		return
	}
	others := f.others
	f.logged, f.others = now, 0
	f.mu.Unlock()
	log.Log(context.Background(), level, "cannot tell whether a signal satisfies where, so it does not: correct the expression",
		"rule", rule, "connection", connection, "error", err, "others_since_last", others)
}
