package router

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"phx/phoenix"
)

// retryAfter is the backoff of drains: 100 ms doubling to 30 s, jittered.
func retryAfter() phoenix.Backoff { return phoenix.DefaultReconnectAfter() }

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

// orDiscard returns log, or one that drops everything.
func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// wholeLines returns how many bytes at the beginning of p are whole lines.
func wholeLines(p []byte) int { return bytes.LastIndexByte(p, '\n') + 1 }
