package cmd

import (
	"sync/atomic"
	"time"
)

// timeLimits ends something after a time, or after a time in which nothing happened.
type timeLimits struct {
	duration, idle *time.Timer
	// last is when something happened, in nanoseconds since base.
	base time.Time
	last atomic.Int64
}

// start starts the limits that are not zero. end may be called by another goroutine, more than once.
func (t *timeLimits) start(duration, idle time.Duration, end func()) {
	if duration > 0 {
		t.duration = time.AfterFunc(duration, end)
	}
	if idle <= 0 {
		return
	}
	t.base = time.Now()
	ready := make(chan struct{})
	t.idle = time.AfterFunc(idle, func() {
		<-ready
		quiet := time.Since(t.base) - time.Duration(t.last.Load())
		if quiet >= idle {
			end()
			return
		}
		t.idle.Reset(idle - quiet)
	})
	close(ready)
}

// touch says that something happened.
func (t *timeLimits) touch() {
	if t.idle != nil {
		t.last.Store(int64(time.Since(t.base)))
	}
}

func (t *timeLimits) stop() {
	for _, timer := range []*time.Timer{t.duration, t.idle} {
		if timer != nil {
			timer.Stop()
		}
	}
}
