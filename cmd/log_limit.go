package cmd

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A logLimiter keeps a server, or whatever else fails a thousand times a second, from filling stderr: of each kind of line it
// writes one a second, the last one, with the number of those that it has left out. It writes the first one at once. The zero
// value is ready for use.
type logLimiter struct {
	mu    sync.Mutex
	kinds map[logKind]*limitedLines
}

// A logKind is what lines have in common that are one kind: what they say, and what they are about, which is what the logger was
// derived with: the connection, the sink, the topic of a channel. Attributes of a line alone are details; many are a server's to
// choose.
type logKind struct {
	level          slog.Level
	message, about string
}

// limitedLines are the lines of a kind since one was written.
type limitedLines struct {
	// last is the latest of them, and to what writes it; leftOut is how many came before it.
	last    slog.Record
	to      slog.Handler
	leftOut int
	// due writes last.
	due *time.Timer
}

// logInterval is the least time between two lines of a kind.
const logInterval = time.Second

// leftOutKey is the attribute of a line before which others of its kind were left out.
const leftOutKey = "left_out"

// handler returns a handler that passes on to next what the limiter lets through.
func (l *logLimiter) handler(next slog.Handler) slog.Handler {
	return &limitedHandler{Handler: next, limiter: l}
}

// take writes a line, or keeps it for later.
func (l *logLimiter) take(ctx context.Context, kind logKind, r slog.Record, to slog.Handler) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.kinds[kind]; k != nil {
		if k.to != nil {
			k.leftOut++
		}
		k.last, k.to = r.Clone(), to
		return nil
	}
	if l.kinds == nil {
		l.kinds = map[logKind]*limitedLines{}
	}
	l.kinds[kind] = &limitedLines{due: time.AfterFunc(logInterval, func() { l.release(kind) })}
	return to.Handle(ctx, r)
}

// release writes what has been kept of a kind, an interval after its last line.
func (l *logLimiter) release(kind logKind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch k := l.kinds[kind]; {
	case k == nil: // flushed meanwhile
	case k.to == nil:
		delete(l.kinds, kind)
	default:
		k.write()
		k.due.Reset(logInterval)
	}
}

// write writes the last line.
func (k *limitedLines) write() {
	if k.leftOut > 0 {
		k.last.AddAttrs(slog.Int(leftOutKey, k.leftOut))
	}
	// A log that cannot be written has nowhere to say so.
	_ = k.to.Handle(context.Background(), k.last)
	k.last, k.to, k.leftOut = slog.Record{}, nil, 0
}

// flush writes what has been kept, in the order in which it was logged.
func (l *logLimiter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var kept []*limitedLines
	for _, k := range l.kinds {
		k.due.Stop()
		if k.to != nil {
			kept = append(kept, k)
		}
	}
	clear(l.kinds)
	slices.SortFunc(kept, func(a, b *limitedLines) int {
		return cmp.Or(a.last.Time.Compare(b.last.Time), cmp.Compare(a.last.Message, b.last.Message))
	})
	for _, k := range kept {
		k.write()
	}
}

// A limitedHandler passes records on as its limiter lets it.
type limitedHandler struct {
	slog.Handler
	limiter *logLimiter
	about   string
}

// Handle implements [slog.Handler].
func (h *limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.limiter.take(ctx, logKind{r.Level, r.Message, h.about}, r, h.Handler)
}

// WithAttrs implements [slog.Handler].
func (h *limitedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *h
	derived.Handler = h.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		derived.about += "\x00" + a.String()
	}
	return &derived
}

// WithGroup implements [slog.Handler].
func (h *limitedHandler) WithGroup(name string) slog.Handler {
	derived := *h
	derived.Handler = h.Handler.WithGroup(name)
	derived.about += "\x00" + name
	return &derived
}
