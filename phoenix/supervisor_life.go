package phoenix

import (
	"context"
	"errors"
	"time"
)

// The life of a connection between what is asked of it: runs begin, are stopped, or end by themselves.

// begin begins a run.
func (k *keeper) begin() error {
	conn, err := New(k.spec.Options)
	if err != nil {
		return err // it was checked: whoever gave it has changed it since
	}
	server := conn.endpoint.server()
	conn.hooks = hooks{
		seq: k.seq, session: k.session, changed: k.linkChanged,
		turn: func(ctx context.Context) error { return k.sup.turns.wait(ctx, server) },
	}
	k.sup.mu.Lock()
	if k.sup.shut {
		k.sup.mu.Unlock()
		return ErrShutdown
	}
	k.shown.conn, k.shown.err = conn, nil
	k.setLink(StatusConnecting)
	k.sup.mu.Unlock()
	r := newRun(conn)
	k.run = r
	r.start(k.spec.Consume, func() {
		k.happens(func() {
			if k.run == r { // else a stop has seen to it
				k.ended()
			}
		})
	})
	return nil
}

// halt ends the run, or the wait for the next one, and reports whether there was either.
func (k *keeper) halt() bool {
	if k.run == nil {
		waited := k.endWait()
		if waited {
			k.show(nil)
		}
		return waited
	}
	k.sup.mu.Lock()
	k.shown.stopping = true
	k.setLink(StatusDisconnecting)
	k.sup.mu.Unlock()
	k.run.stop(k.sup.life)
	if err := k.finish(); panicked(err) {
		k.log(err)
	}
	k.show(nil)
	return true
}

// finish takes leave of a run that is over, and returns how it ended.
func (k *keeper) finish() error {
	<-k.run.over
	err := k.run.err
	k.seq, k.session = k.run.conn.numbers()
	k.run = nil
	return err
}

// ended goes on after a run that ended by itself.
func (k *keeper) ended() {
	lasted := time.Since(k.run.begun)
	err := k.finish()
	if !panicked(err) {
		k.show(err)
		k.tellEnded(err)
		return
	}
	k.log(err)
	o := &k.spec.Options
	if lasted >= o.StableAfter {
		k.panics = 0
	}
	if o.MaxRetries < 0 || k.panics < o.MaxRetries {
		var delay time.Duration
		if failed := guard(inBackoff, func() { delay = o.ReconnectAfter(k.panics) }); failed == nil {
			k.panics++
			k.wait(delay)
		}
	}
	k.show(err)
	if k.again == nil {
		k.tellEnded(err)
	}
}

// wait waits for the next run.
func (k *keeper) wait(delay time.Duration) {
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		k.happens(func() {
			if k.again != timer {
				return // the wait was ended
			}
			k.again = nil
			if err := k.begin(); err != nil {
				k.show(err)
			}
		})
	})
	k.again = timer
}

// endWait ends the wait for the next run, and reports whether there was one.
func (k *keeper) endWait() bool {
	if k.again == nil {
		return false
	}
	k.again.Stop()
	k.again = nil
	return true
}

// tellEnded tells that the connection has ended for good; nil is the end of a Conn that somebody closed.
func (k *keeper) tellEnded(err error) {
	ended := k.sup.opts.Ended
	if ended == nil || err == nil {
		return
	}
	k.setCalling(true)
	defer k.setCalling(false)
	if failed := guard(inEnded, func() { ended(k.name, err) }); failed != nil {
		k.log(failed)
	}
}

func (k *keeper) setCalling(calling bool) {
	k.sup.mu.Lock()
	defer k.sup.mu.Unlock()
	k.calling = calling
}

// What else may panic.
const (
	inConsume = "Spec.Consume"
	inBackoff = "Options.ReconnectAfter"
	inEnded   = "SupervisorOptions.Ended"
)

// log tells of a panic.
func (k *keeper) log(err error) {
	var p *PanicError
	if errors.As(err, &p) {
		k.sup.opts.Logger.Error("a connection panicked", "connection", k.name, "error", err, "stack", string(p.Stack))
	}
}

func panicked(err error) bool {
	var p *PanicError
	return errors.As(err, &p)
}
