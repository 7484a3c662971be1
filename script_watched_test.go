package main_test

import (
	"context"
	"io"
	"regexp"
	"sync"
)

// A watched is an output that can be waited for.
type watched struct {
	mu      sync.Mutex
	text    []byte
	atEnd   bool
	changed chan struct{} // closed and replaced at every change; nil while nobody waits
}

// readAll takes what comes from a pipe until its end.
func (w *watched) readAll(pipe io.ReadCloser) {
	defer pipe.Close()
	_, _ = io.Copy(w, pipe) // a pipe has no other error than its end
	w.change(func() { w.atEnd = true })
}

// Write implements [io.Writer].
func (w *watched) Write(p []byte) (int, error) {
	w.change(func() { w.text = append(w.text, p...) })
	return len(p), nil
}

func (w *watched) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

// await waits for a match, and returns it with its groups. It gives up at the end of the output and at that of the context.
func (w *watched) await(ctx context.Context, re *regexp.Regexp) (match []string, ok bool) {
	for {
		match, changed := w.look(re)
		if match != nil || changed == nil {
			return match, match != nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// look returns the first match, and a channel that is closed when there is more to look at, nil if there never is.
func (w *watched) look(re *regexp.Regexp) (match []string, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	match = re.FindStringSubmatch(string(w.text))
	if w.atEnd {
		return match, nil
	}
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return match, w.changed
}
