package phoenix

import (
	"context"
	"sync"
	"time"
)

// A loop is the shell around a connection's machine: one goroutine that takes every input there is, one at a time, and
// carries out what the machine wants done. It alone touches the machine.
type loop struct {
	conn *Conn
	m    *machine
	seq  uint64

	session *session
	// dials answers the dial under way, if cancelDial is set; out is the outbox of the session it may become.
	dials      chan dialResult
	cancelDial context.CancelFunc
	out        *outbox
	// dropped says that the session's transport has been closed: its last batches are taken whatever waits.
	dropped bool

	prepared chan preparedParams
	helpers  sync.WaitGroup
	ctx      context.Context
	wakeUp   *time.Timer

	waiters waiters
	// panicked is why the loop has stopped, if it was a panic.
	panicked *PanicError
}

type dialResult struct {
	transport transport
	timings   Timings
	// waited is how long the dial waited for its turn.
	waited time.Duration
	err    *LinkError
}

type preparedParams struct {
	id     uint64
	params Payload
	err    error
}

// A command is a call of one of Conn's methods, run by the loop.
type command func(l *loop, now time.Time)

// maxBacklog is how many bytes may wait for the writer before commands do.
const maxBacklog = 1 << 20

func newLoop(c *Conn) *loop {
	l := &loop{
		conn: c, dials: make(chan dialResult, 1), prepared: make(chan preparedParams), out: newOutbox(),
		wakeUp: time.NewTimer(time.Hour), waiters: newWaiters(),
	}
	l.seq = c.hooks.seq
	l.m = newMachine(c.machineConfig(), &l.seq)
	return l
}

// run runs the connection from its first dial to its end, and returns how it ended.
func (l *loop) run(ctx context.Context) error {
	var cancel context.CancelFunc
	// What helpers do for us, reading credentials and dialing, does not outlive the connection; but a graceful close
	// outlives ctx.
	l.ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.serve(ctx)
	cancel()
	l.wakeUp.Stop()
	if err := l.cleanUp(); err != nil {
		return err
	}
	l.waiters.fail(l.m.link.err)
	if l.m.link.err == nil {
		return nil
	}
	return l.m.link.err
}

// serve takes inputs until the machine is done, or something panics.
func (l *loop) serve(ctx context.Context) {
	defer l.conn.contain(inLoop)
	for _, want := range l.conn.opts.Channels {
		if err := l.m.join(time.Now(), want); err != nil {
			l.conn.opts.Logger.Warn("a topic is named twice; it is joined once", "topic", want.Topic)
		}
	}
	l.m.start(time.Now())
	l.carryOut(nil)
	closing := l.conn.closing
	stop := ctx.Done()
	for l.m.phase != done {
		batches := l.batches()
		l.setTimer() // now that it is known whether reads are paused, and with them some deadlines
		select {
		case r := <-l.dials:
			l.dialEnded(time.Now(), r)
		case b, ok := <-batches:
			if !ok { // the reader panicked
				return
			}
			l.receive(time.Now(), b)
			continue
		case run := <-l.conn.urgent:
			run(l, time.Now())
		case run := <-l.commands():
			run(l, time.Now())
		case p := <-l.prepared:
			l.m.prepared(time.Now(), p.id, p.params, p.err)
		case <-l.wakeUp.C:
			l.m.wake(time.Now())
		case <-l.conn.stream.room: // looked at again in batches
		case <-l.out.room: // looked at again in commands
		case l.panicked = <-l.conn.panicked:
			return
		case <-stop:
			stop = nil
			l.m.close(time.Now())
		case <-closing:
			closing = nil
			l.m.close(time.Now())
		}
		l.carryOut(nil)
	}
}

// cleanUp waits for all that runs for the connection. If something has panicked, it ends what that has left, and returns
// the panic.
func (l *loop) cleanUp() error {
	if l.session != nil {
		l.session.abort()
	}
	l.helpers.Wait()
	select {
	case r := <-l.dials:
		if r.transport != nil {
			r.transport.close()
		}
	default:
	}
	if l.panicked == nil {
		select {
		case l.panicked = <-l.conn.panicked:
		default:
			return nil
		}
	}
	l.lastWords()
	return l.panicked
}

// lastWords tells what a panic has ended. It may panic itself, if the machine did.
func (l *loop) lastWords() {
	defer l.conn.contain(inLoop)
	l.m.out = output{events: l.m.out.events}
	l.m.abort(time.Now(), errPanicked, l.out.attempted())
	l.carryOut(nil)
}

// batches is what the session has read, or nil while reads are paused.
func (l *loop) batches() <-chan *batch {
	if l.session == nil {
		return nil
	}
	if l.conn.streaming.Load() && !l.dropped && l.conn.stream.full() {
		l.m.pause(time.Now())
		return nil
	}
	l.m.resume(time.Now())
	return l.session.batches
}

// commands is nil while too much waits to be written: then callers wait.
func (l *loop) commands() <-chan command {
	if l.out.backlog() > maxBacklog {
		return nil
	}
	return l.conn.commands
}

func (l *loop) receive(now time.Time, b *batch) {
	for i := range b.frames {
		l.m.received(now, &b.frames[i])
	}
	if b.err == nil {
		l.carryOut(b)
		return
	}
	err, attempted := l.session.end(b.err)
	l.session = nil
	l.m.linkLost(time.Now(), err, attempted)
	l.carryOut(b)
}

func (l *loop) dialEnded(now time.Time, r dialResult) {
	l.cancelDial = nil
	switch {
	case r.err != nil:
		l.m.dialFailed(now, r.err)
	case l.m.dialed(now, r.waited, r.timings):
		l.session = l.conn.startSession(r.transport, l.out)
		l.dropped = false
	default:
		r.transport.close()
		l.m.dialFailed(now, nil)
	}
}

func (l *loop) setTimer() {
	next := l.m.next()
	if next.IsZero() {
		l.wakeUp.Stop()
		return
	}
	l.wakeUp.Reset(time.Until(next))
}
