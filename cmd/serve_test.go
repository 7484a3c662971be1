package cmd

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// gated is a writer that stands still until it is opened.
type gated struct {
	open chan struct{}
	bytes.Buffer
}

func (g *gated) Write(p []byte) (int, error) {
	<-g.open
	return g.Buffer.Write(p)
}

func TestLogQueueHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gated{open: make(chan struct{})}
		q := newLogQueue(w, func(lost int) { fmt.Fprintf(w, "lost %d\n", lost) })
		q.limit = 20
		io.WriteString(q, "first\n")
		synctest.Wait() // it is being written
		for i := range 10 {
			fmt.Fprintf(q, "line %d\n", i)
		}
		if began := time.Now(); q.flush(time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("flush of a log that is not read: it says it was written, or took %v, not a minute", time.Since(began))
		}
		close(w.open)
		if !q.flush(time.Minute) {
			t.Error("not flushed although the log is read again")
		}
		io.WriteString(q, "last\n")
		if !q.flush(time.Minute) {
			t.Error("the last line is not flushed")
		}
		if got, want := w.String(), "first\nline 0\nline 1\nlost 8\nlast\n"; got != want {
			t.Errorf("written is %q, want %q", got, want)
		}
	})
}

func TestLogQueueKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gated{open: make(chan struct{})}
		close(w.open)
		q := newLogQueue(w, func(lost int) { t.Errorf("%d lines are lost", lost) })
		var want strings.Builder
		for i := range 1000 {
			fmt.Fprintf(q, "line %d\n", i)
			fmt.Fprintf(&want, "line %d\n", i)
		}
		if !q.flush(time.Minute) || w.String() != want.String() {
			t.Errorf("written is not what was logged, in order: %q", w.String())
		}
	})
}
