package cmd

import (
	"cmp"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// pushProgress counts what the progress line shows.
type pushProgress struct{ sent, failed atomic.Int64 }

// progressAfter is how long a push takes before its progress is shown.
const progressAfter = time.Second

// A progressLine is stderr with, while a long push runs, its progress as the last line of a terminal. What is written goes above that
// line. It may be used by several goroutines.
type progressLine struct {
	w io.Writer
	// width returns how many columns the terminal has, 0 if it does not say.
	width func() int
	// hidden says that there is no progress to be seen: stderr is no terminal, or is not alone on it.
	hidden bool

	mu    sync.Mutex
	lines *mpb.Progress // nil while there is no line
}

// Write implements [io.Writer].
func (l *progressLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines != nil {
		return l.lines.Write(p)
	}
	return l.w.Write(p)
}

// start shows the progress of s from a while later on, and returns what removes the line.
func (l *progressLine) start(s *sender) (remove func()) {
	if l.hidden {
		return func() {}
	}
	begun := time.Now()
	var bar *mpb.Bar
	removed := false
	timer := time.AfterFunc(progressAfter, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if removed {
			return
		}
		l.lines = mpb.New(mpb.WithConsoleWriter(screen{cupwriter.New(l.w, true), l.width}))
		bar = l.lines.New(0, mpb.NopStyle(), mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			return s.progressText(time.Since(begun))
		})))
	})
	return func() {
		timer.Stop()
		l.mu.Lock()
		defer l.mu.Unlock()
		removed = true
		if l.lines == nil {
			return
		}
		bar.Abort(true)
		l.lines.Wait()
		l.lines = nil
	}
}

// A screen is the terminal behind stderr, which is not written directly.
type screen struct {
	*cupwriter.Writer
	width func() int
}

// IsTerminal implements [mpb.ConsoleWriter].
func (screen) IsTerminal() bool { return true }

// GetTermSize implements [mpb.ConsoleWriter]. A terminal may have no size.
func (s screen) GetTermSize() (width, height int, err error) { return cmp.Or(s.width(), 80), 24, nil }

// progressText is the line after a push has run for a time.
func (s *sender) progressText(elapsed time.Duration) string {
	sent := s.progress.sent.Load()
	s.mu.Lock()
	inflight := s.inflight
	s.mu.Unlock()
	return fmt.Sprintf("%spushed %d, %.1f/s, %d in flight, %d failed", linePrefix, sent, float64(sent)/elapsed.Seconds(), inflight, s.progress.failed.Load())
}
