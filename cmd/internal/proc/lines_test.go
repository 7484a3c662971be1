//go:build unix

package proc

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
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

func newTestWriter(w io.Writer, writable bool) *LineWriter {
	l := NewLineWriter(w, func(w io.Writer, lost int) { fmt.Fprintf(w, "lost %d\n", lost) })
	l.writable = func() bool { return writable }
	return l
}

// TestLineWriterHoldsUpNobody: lines wait, then they are lost, and that is said once the writer goes on.
func TestLineWriterHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gated{open: make(chan struct{})}
		l := newTestWriter(w, false)
		l.limit = 20
		began := time.Now()
		io.WriteString(l, "first\n")
		synctest.Wait() // it is being written
		for i := range 9 {
			fmt.Fprintf(l, "line %d\n", i)
		}
		io.WriteString(l, "line 9\nline 10\n")
		if took := time.Since(began); took != 0 {
			t.Errorf("who wrote was held up for %v", took)
		}
		if l.Flush(); time.Since(began) != flushTime {
			t.Errorf("Flush took %v", time.Since(began))
		}
		close(w.open)
		l.Flush()
		io.WriteString(l, "last\n")
		l.Flush()
		if got, want := w.String(), "first\nline 0\nline 1\nlost 9\nlast\n"; got != want {
			t.Errorf("written is %q, want %q", got, want)
		}
	})
}

// TestLineWriterWaitsBriefly: a file that could be written to, and then takes nothing, is waited for a second, once it is known
// not at all, and at the end a little.
func TestLineWriterWaitsBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gated{open: make(chan struct{})}
		l := newTestWriter(w, true)
		began := time.Now()
		io.WriteString(l, "a\n")
		if took := time.Since(began); took != takingTime {
			t.Errorf("Write took %v", took)
		}
		l.writable = func() bool { return false }
		io.WriteString(l, "b\n")
		if took := time.Since(began); took != takingTime {
			t.Errorf("Write took %v, the second one included", took)
		}
		l.writable = func() bool { return true }
		l.Flush()
		if took := time.Since(began) - takingTime; took != flushTimes*flushTime {
			t.Errorf("Flush took %v", took)
		}
		close(w.open)
		l.Flush()
		if w.String() != "a\nb\n" {
			t.Errorf("written is %q", w.String())
		}
	})
}

// TestLineWriterIsInOrder: a line is written when Write returns, while the file takes lines; and each line is whole, whoever
// writes at the same time.
func TestLineWriterIsInOrder(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	l := NewLineWriter(w, func(w io.Writer, lost int) { t.Errorf("%d lines are lost", lost) })
	for i := range 10 {
		fmt.Fprintf(l, "log %d\n", i)
		fmt.Fprintf(w, "record %d\n", i)
	}
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 20 {
				io.WriteString(l, "a whole line\n")
			}
		})
	}
	writers.Wait()
	l.Flush()
	w.Close()
	text, _ := io.ReadAll(r)
	var want strings.Builder
	for i := range 10 {
		fmt.Fprintf(&want, "log %d\nrecord %d\n", i, i)
	}
	want.WriteString(strings.Repeat("a whole line\n", 160))
	if string(text) != want.String() {
		t.Errorf("written is %q", text)
	}
}

// TestLineWriterNoticesThatNobodyReads: one write finds out; what comes then is neither written nor counted as lost.
func TestLineWriterNoticesThatNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	l := NewLineWriter(w, func(_ io.Writer, lost int) { t.Errorf("%d lines are lost", lost) })
	io.WriteString(l, "read\n")
	select {
	case <-l.Gone():
		t.Fatal("a pipe with a reader has none")
	default:
	}
	r.Close()
	for range 3 {
		io.WriteString(l, strings.Repeat("unread\n", linesLimit/10))
		<-l.Gone()
	}
	l.Flush()
}

// TestCanWrite: a pipe that is full takes nothing.
func TestCanWrite(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if !canWrite(w) {
		t.Error("an empty pipe takes nothing")
	}
	conn, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Write(func(fd uintptr) bool {
		for err == nil {
			_, err = syscall.Write(int(fd), make([]byte, 4096))
		}
		return true
	})
	if err != syscall.EAGAIN {
		t.Fatal(err)
	}
	if canWrite(w) {
		t.Error("a full pipe takes something")
	}
}
