package phoenix

import (
	"fmt"
	"testing"
)

func oneFrame(s string) []outFrame { return []outFrame{{data: []byte(s)}} }

// tellJob is a job as one line.
func tellJob(j writeJob) string {
	s := fmt.Sprint(j.pongs)
	for _, f := range j.frames {
		s += " " + string(f.data)
	}
	if j.close {
		s += fmt.Sprint(" close ", j.code)
	}
	return s
}

// wantJob takes what there is to write, which must not have to be waited for.
func wantJob(t *testing.T, o *outbox, want string) {
	t.Helper()
	job, ok := o.take()
	if got := tellJob(job); !ok || got != want {
		t.Errorf("took %q (%v), want %q", got, ok, want)
	}
}

// All that waits is taken at once, pongs first and the close frame last.
func TestOutboxTakesAll(t *testing.T) {
	o := newOutbox()
	o.put(oneFrame("a"))
	o.pong("p")
	o.put(oneFrame("b"))
	o.close(1000)
	o.close(1009)
	o.put(oneFrame("too late"))
	wantJob(t, o, "[p] a b close 1000")
	if n := o.attempted(); n != 2 {
		t.Errorf("%d frames attempted, want 2", n)
	}
	o.end()
	if job, ok := o.take(); ok {
		t.Errorf("took %q after the end", tellJob(job))
	}
}

// After the end only a close frame is still written: frames that were not taken never reach the server (rule 19).
func TestOutboxEnd(t *testing.T) {
	o := newOutbox()
	o.put(oneFrame("a"))
	wantJob(t, o, "[] a")
	o.put(oneFrame("b"))
	o.pong("p")
	o.close(0)
	o.end()
	wantJob(t, o, "[] close 0")
	if n, waiting := o.attempted(), o.backlog(); n != 1 || waiting != 0 {
		t.Errorf("%d frames attempted and %d bytes waiting, want 1 and none", n, waiting)
	}
	if _, ok := o.take(); ok {
		t.Error("something was left")
	}
}

// The pongs that wait are bounded, and the newest are kept (RFC 6455, section 5.5.3).
func TestOutboxBoundsPongs(t *testing.T) {
	o := newOutbox()
	for i := range 100 {
		o.pong(fmt.Sprint(i))
	}
	job, _ := o.take()
	if n := len(job.pongs); n != maxPongs || job.pongs[0] != "84" || job.pongs[n-1] != "99" {
		t.Errorf("pongs %v", job.pongs)
	}
}

// Who has put in too much is told when there is room again.
func TestOutboxRoom(t *testing.T) {
	o := newOutbox()
	o.put(oneFrame("small"))
	wantJob(t, o, "[] small")
	select {
	case <-o.room:
		t.Error("room was signalled although there always was some")
	default:
	}
	o.put([]outFrame{{data: make([]byte, maxBacklog)}, {data: []byte("x")}})
	if n := o.backlog(); n != maxBacklog+1 {
		t.Errorf("backlog of %d bytes", n)
	}
	_, _ = o.take()
	select {
	case <-o.room:
	default:
		t.Error("room was not signalled")
	}
}

// A writer that waits is woken by each of the things that there are to write, and by the end.
func TestOutboxWakesWriter(t *testing.T) {
	for name, change := range map[string]func(*outbox){
		"put":   func(o *outbox) { o.put(oneFrame("a")) },
		"pong":  func(o *outbox) { o.pong("a") },
		"close": func(o *outbox) { o.close(1000) },
		"end":   func(o *outbox) { o.end() },
	} {
		o := newOutbox()
		took := make(chan bool)
		go func() {
			_, ok := o.take()
			took <- ok
		}()
		change(o)
		if ok := <-took; ok != (name != "end") {
			t.Errorf("%s: took something: %v", name, ok)
		}
	}
}
