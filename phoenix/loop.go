package phoenix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"phx/phoenix/boottime"
)

// A loop is the shell around a connection's machines, one a socket: one goroutine that takes every input there is, one at a time,
// and carries out what the machines want done. It alone touches them.
type loop struct {
	conn   *Conn
	dealer *dealer

	dials chan dialResult
	// prepared has what the functions of channels returned.
	prepared chan func(now time.Time)
	// arrived has room for one wake-up by the readers of all sockets but the first, room for one by the writers: see outbox.
	arrived, room chan struct{}
	helpers       sync.WaitGroup
	ctx           context.Context
	wakeUp        *time.Timer
	// looked is when the clock was last read; suspension, that of the system at the start.
	looked     time.Time
	suspension time.Duration

	waiters waiters
	// panicked is why the loop has stopped, if it was a panic.
	panicked *PanicError
}

// A socket is one of the sockets of a connection: its machine, and what the loop keeps of its session or its dial.
type socket struct {
	m       *machine
	session *session
	// cancelDial is set while a dial is under way; out is the outbox of the session that it may become.
	cancelDial context.CancelFunc
	out        *outbox
	// dropped says that the session's transport has been closed: its last batches are taken whatever waits.
	dropped bool
	// emptyUntil is until when the socket stays open without channels, zero while it has some; retiring says that it is being closed
	// because it had none for that long. The dealer owns both.
	emptyUntil time.Time
	retiring   bool
}

type dialResult struct {
	socket    *socket
	transport transport
	timings   Timings
	// waited is how long the dial waited for its turn.
	waited time.Duration
	err    *LinkError
}

// A command is a call of one of Conn's methods, run by the loop.
type command func(l *loop, now time.Time)

// maxBacklog is how many bytes may wait for the writer before commands do.
const maxBacklog = 1 << 20

func newLoop(c *Conn) *loop {
	config := c.machineConfig()
	if c.opts.MissedSince != nil {
		config.missed = c.opts.MissedSince()
	}
	limit := c.opts.MaxChannelsPerSocket
	if c.hooks.limit > 0 {
		limit = min(limit, c.hooks.limit)
	}
	l := &loop{
		conn: c, dealer: newDealer(config, limit, c.hooks.seq),
		dials: make(chan dialResult), prepared: make(chan func(time.Time)), arrived: make(chan struct{}, 1), room: make(chan struct{}, 1),
		wakeUp: time.NewTimer(time.Hour), waiters: newWaiters(),
	}
	l.looked = time.Now()
	l.suspension, _ = boottime.Suspended()
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
	err := l.dealer.err()
	l.waiters.fail(err)
	if err == nil {
		return nil
	}
	return err
}

// serve takes inputs until the machines are done, or something panics.
func (l *loop) serve(ctx context.Context) {
	defer l.conn.recoverPanic(inLoop)
	for _, want := range l.conn.opts.Channels {
		if err := l.dealer.join(l.now(), want); err != nil {
			l.conn.opts.Logger.Warn("a topic is named twice; it is joined once", "topic", want.Topic)
		}
	}
	l.dealer.config.missed = time.Time{} // of what is joined later nobody has missed anything
	first := l.dealer.sockets[0]
	first.m.start(l.now())
	l.carryOut(nil)
	closing := l.conn.closing
	stop := ctx.Done()
	for ; !l.dealer.over(); l.settle() {
		batches := l.batches()
		l.setTimer() // now that it is known whether reads are paused, and with them some deadlines
		select {
		case r := <-l.dials:
			l.dialEnded(l.now(), r)
		case b, ok := <-batches:
			if !ok { // the reader panicked
				return
			}
			l.receive(first, b)
			continue
		case <-l.arrived:
			if !l.receiveFurther() {
				return
			}
			continue
		case run := <-l.conn.urgent:
			run(l, l.now())
		case run := <-l.commands():
			run(l, l.now())
		case take := <-l.prepared:
			take(l.now())
		case <-l.wakeUp.C:
			l.dealer.wake(l.now())
		case <-l.conn.stream.room: // looked at again in batches
		case <-l.room: // looked at again in commands
		case l.panicked = <-l.conn.panicked:
			return
		case <-stop:
			stop = nil
			l.dealer.close(l.now())
		case <-closing:
			closing = nil
			l.dealer.close(l.now())
		}
		l.carryOut(nil)
	}
}

// settle lets the dealer do what follows from the last input, until nothing does.
func (l *loop) settle() {
	for !l.dealer.idle() && l.dealer.settle(l.now()) {
		l.carryOut(nil)
	}
}

// clockJump is how far the time of day may drift from Go's clock, which stands still while the system is suspended, before that
// is taken for a suspension.
const clockJump = 50 * time.Millisecond

// now reads the clock, and notices that the system was suspended.
func (l *loop) now() time.Time {
	now := time.Now()
	jump := now.Round(0).Sub(l.looked.Round(0)) - now.Sub(l.looked)
	l.looked = now
	if jump.Abs() > clockJump {
		if total, ok := boottime.Suspended(); ok {
			l.dealer.suspended(now, total-l.suspension)
		} else { // or the time of day was set: then a gap is told too large rather than too small
			l.dealer.suspended(now, l.dealer.sockets[0].m.slept+max(0, jump))
		}
	}
	return now
}

// cleanUp waits for all that runs for the connection. If something has panicked, it ends what that has left, and returns
// the panic.
func (l *loop) cleanUp() error {
	for _, s := range l.dealer.sockets {
		if s.session != nil {
			s.session.abort()
		}
	}
	l.helpers.Wait()
	if l.panicked == nil {
		select {
		case l.panicked = <-l.conn.panicked:
		default:
			return nil
		}
	}
	l.emitFinalEvents()
	return l.panicked
}

// emitFinalEvents emits the ends of the links, the channels and the pushes after a panic. It may panic itself, if a machine did.
func (l *loop) emitFinalEvents() {
	defer l.conn.recoverPanic(inLoop)
	for _, s := range l.dealer.sockets {
		s.m.out = output{}
		s.m.abort(time.Now(), errPanicked, s.attempted())
	}
	l.carryOut(nil)
}

// attempted is the number of frames of the session that may have reached the server.
func (s *socket) attempted() uint64 {
	if s.out == nil {
		return 0
	}
	return s.out.attempted()
}

// batches is what the session of the first socket has read, or nil while there is none or reads are paused. They are paused on all sockets
// or on none: their events wait in one stream. Of what the others have read, arrived tells.
func (l *loop) batches() (first <-chan *batch) {
	now, unread := time.Now(), l.conn.unread() != nil
	for i, s := range l.dealer.sockets {
		switch {
		case s.session == nil:
		case unread && !s.dropped:
			s.m.pause(now)
		case i == 0:
			s.m.resume(now)
			first = s.session.batches
		case s.m.paused:
			s.m.resume(now)
			wake(l.arrived) // nobody has looked since
		}
	}
	return first
}

// commands is nil while too much waits to be written: then callers wait.
func (l *loop) commands() <-chan command {
	backlog := 0
	for _, s := range l.dealer.sockets {
		if s.out != nil {
			backlog += s.out.backlog()
		}
	}
	if backlog > maxBacklog {
		return nil
	}
	return l.conn.commands
}

// receiveFurther takes a batch of each socket but the first that has one, and reports false when a reader has panicked. It is called again
// until none has.
func (l *loop) receiveFurther() bool {
	for _, s := range l.dealer.sockets[1:] {
		if s.session == nil || s.m.paused {
			continue
		}
		select {
		case b, ok := <-s.session.batches:
			if !ok {
				return false
			}
			wake(l.arrived)
			l.receive(s, b)
		default:
		}
	}
	return true
}

// receive takes what the reader of a socket has read.
func (l *loop) receive(s *socket, b *batch) {
	s.m.arrived(b.emptyAt, b.burstAt) // before the clock is read: it may have been suspended since
	now := l.now()
	for i := range b.frames {
		s.m.received(now, &b.frames[i])
	}
	if b.err == nil {
		if !b.drainedAt.IsZero() {
			s.m.drained(b.drainedAt, b.underWay)
		}
		l.carryOut(b)
		return
	}
	err, attempted := s.session.end(b.err, l.conn.current().HeartbeatInterval)
	s.session = nil
	s.m.linkLost(l.now(), err, attempted)
	l.carryOut(b)
}

func (l *loop) dialEnded(now time.Time, r dialResult) {
	s := r.socket
	s.cancelDial = nil
	switch {
	case r.err != nil:
		s.m.dialFailed(now, r.err)
	case s.m.dialed(now, r.waited, r.timings, r.transport.kind()):
		arrived := l.arrived
		if s == l.dealer.sockets[0] {
			arrived = nil
		}
		s.session = l.conn.startSession(r.transport, s.out, arrived)
		s.dropped = false
	default:
		r.transport.close()
		s.m.dialFailed(now, nil)
	}
}

func (l *loop) setTimer() {
	next := l.dealer.next()
	if next.IsZero() {
		l.wakeUp.Stop()
		return
	}
	l.wakeUp.Reset(time.Until(next))
}

// log logs a note, without the secrets that a server may have said.
func (l *loop) log(n note) {
	if !l.conn.opts.Logger.Enabled(l.ctx, n.level) {
		return
	}
	for i, arg := range n.args {
		if text, ok := arg.(said); ok {
			n.args[i] = words(l.conn.secrets.all(), string(text))
		}
	}
	l.conn.opts.Logger.Log(l.ctx, n.level, n.msg, n.args...)
}

// carryOut does what the machines want done. b is the batch that the new events point into, if any.
func (l *loop) carryOut(b *batch) {
	for _, s := range l.dealer.sockets {
		for _, n := range s.m.out.notes {
			l.log(n)
		}
	}
	l.emit(b)
	changed := false
	for _, s := range l.dealer.sockets {
		changed = changed || s.m.out.changed
		l.act(s)
	}
	if changed && l.conn.hooks.changed != nil {
		defer namePanic(inHooks)
		l.conn.hooks.changed(l.dealer.linkStatus())
	}
}

// act does what one machine wants done, once its events have been passed on.
func (l *loop) act(s *socket) {
	out := &s.m.out
	if len(out.frames) > 0 {
		s.out.put(out.frames)
	}
	for _, p := range out.sent {
		l.waiters.sent(p)
	}
	for _, p := range out.prepares {
		l.prepare(s, p)
	}
	if out.dial {
		l.dial(s)
	}
	if out.drain {
		s.session.transport.drain()
	}
	switch out.hangUp {
	case hangUpClose:
		s.out.close(closeNormal)
	case hangUpDrop:
		s.drop()
	}
	clear(out.notes)
	clear(out.frames)
	beats := out.beats
	*out = output{notes: out.notes[:0], frames: out.frames[:0], prepares: out.prepares[:0], beats: out.beats[:0], sent: out.sent[:0]}
	// Last, so that a panic in it cannot repeat output.
	if len(beats) > 0 && l.conn.opts.OnHeartbeat != nil {
		l.callOnHeartbeat(beats)
	}
}

// closeNormal is the WebSocket close code of an end that is meant.
const closeNormal = 1000

func (l *loop) callOnHeartbeat(beats []beatAnswer) {
	defer namePanic(inOnHeartbeat)
	for _, beat := range beats {
		l.conn.opts.OnHeartbeat(beat.rtt)
	}
}

// emit passes the events on: to the calls that wait for them, and to the stream.
func (l *loop) emit(b *batch) {
	out := &l.dealer.shared
	for i := range out.events {
		l.hideSecrets(&out.events[i])
		l.waiters.event(&out.events[i])
	}
	for _, s := range l.dealer.sockets {
		for _, beat := range s.m.out.beats {
			if beat.err != nil {
				beat.err.secrets = l.conn.secrets.all()
			}
			l.waiters.beat(beat)
		}
	}
	if b != nil {
		b.presence = out.presenceBytes
	}
	for _, t := range l.conn.topicStreams() {
		t.add(out.events, out.presenceBytes)
	}
	switch {
	case len(out.events) > 0 && l.conn.streaming.Load():
		out.events = l.conn.stream.put(out.events, b)
	case b != nil:
		if cap(b.buf) > maxKeptBuffer {
			clear(out.events)
		}
		b.release()
		fallthrough
	default:
		out.events = out.events[:0]
	}
	out.presenceBytes = 0
}

// hideSecrets keeps secrets out of what an event says of a failure, and forgets those of a topic that is not wanted any more.
func (l *loop) hideSecrets(e *Event) {
	over := false
	switch d := e.Detail.(type) {
	case *JoinError:
		d.secrets = l.conn.secrets.of(e.Topic)
		d.Response = d.secrets.payload(d.Response)
		e.Payload = d.secrets.payload(e.Payload)
		over = !d.Will
	case *Errored:
		e.Payload = l.conn.secrets.of(e.Topic).payload(e.Payload)
		over = !d.Will
	case *Closed:
		over = !d.Will
	case *PushReply:
		if d.Status != "ok" {
			d.secrets = l.conn.secrets.of(e.Topic)
			d.Status = d.secrets.Redact(d.Status)
		}
	case *Left:
		over = true
	}
	if over {
		l.conn.secrets.left(e.Topic)
	}
}

// payload returns what a server sent with a failure, without secrets.
func (r *Redactor) payload(p Payload) Payload {
	if p.Binary {
		p.Data = []byte(r.Redact(string(p.Data)))
	} else {
		p.Data = r.RedactJSON(p.Data)
	}
	return p
}

func (l *loop) dial(s *socket) {
	ctx, cancel := context.WithCancel(l.ctx)
	s.cancelDial = cancel
	s.out = newOutbox(l.room)
	out := s.out
	l.helpers.Go(func() {
		defer l.conn.recoverPanic(inDial)
		defer cancel()
		waited, err := l.conn.waitTurn(ctx)
		if err != nil {
			l.dialAnswered(dialResult{socket: s, err: err})
			return
		}
		t, timings, err := l.conn.dial(ctx, func(kind, data string) {
			if l.conn.opts.Trace != nil {
				l.conn.trace(TraceFrame{Kind: kind, Data: []byte(data)})
			}
			if kind == "ping" {
				out.pong(data)
			}
		})
		l.dialAnswered(dialResult{s, t, timings, waited, err})
	})
}

// dialAnswered tells the loop how a dial has ended, unless the loop has.
func (l *loop) dialAnswered(r dialResult) {
	select {
	case l.dials <- r:
	case <-l.ctx.Done():
		if r.transport != nil {
			r.transport.close()
		}
	}
}

// drop ends the session, or the dial, at once; its end arrives like any other.
func (s *socket) drop() {
	if s.cancelDial != nil {
		s.cancelDial()
	}
	if s.session != nil {
		s.dropped = true
		s.session.transport.close()
	}
}

// prepare calls the functions of a channel that is about to be joined, or has been, which may block, in a goroutine of its own.
func (l *loop) prepare(s *socket, p prepare) {
	l.helpers.Go(func() {
		defer l.conn.recoverPanic(inParams)
		ctx, cancel := context.WithTimeout(l.ctx, l.conn.current().ReplyTimeout)
		defer cancel()
		var take func(now time.Time)
		if p.renew {
			push, next, err := l.conn.renewal(ctx, &p.channel)
			take = func(now time.Time) { s.m.renewed(now, p.id, push, next, err) }
		} else {
			in, err := l.conn.joinInput(ctx, &p.channel)
			take = func(now time.Time) { s.m.prepared(now, p.id, in, err) }
		}
		select {
		case l.prepared <- take:
		case <-l.ctx.Done():
		}
	})
}

// joinInput calls the functions of a channel, and checks what they return.
func (c *Conn) joinInput(ctx context.Context, channel *Channel) (in joinInput, err error) {
	if channel.Params != nil {
		if in.params, err = channel.Params(ctx); err != nil {
			return in, err
		}
	}
	if err = checkParams(&in.params); err != nil {
		return in, err
	}
	// Before they are joined by what Resume returns, which is no secret.
	in.onJoin, err = c.pushesOnJoin(ctx, channel)
	c.secrets.joining(channel.Topic, in.params, in.onJoin)
	if err != nil {
		return in, err
	}
	in.resumed, err = resumeFrom(ctx, channel, &in.params)
	return in, err
}

// pushesOnJoin calls OnJoin of a channel.
func (c *Conn) pushesOnJoin(ctx context.Context, channel *Channel) ([]Push, error) {
	if channel.OnJoin == nil {
		return nil, nil
	}
	defer namePanic(inOnJoin)
	pushes, err := channel.OnJoin(ctx)
	for i := 0; i < len(pushes) && err == nil; i++ {
		pushes[i].Topic = channel.Topic
		err = pushes[i].check(c.endpoint.codec)
	}
	return pushes, err
}

// renewal calls Renew of a channel, and checks what it returns.
func (c *Conn) renewal(ctx context.Context, channel *Channel) (*Push, time.Time, error) {
	defer namePanic(inRenew)
	p, next, err := channel.Renew(ctx)
	if err != nil || p == nil {
		return nil, next, err
	}
	p.Topic = channel.Topic
	if err := p.check(c.endpoint.codec); err != nil {
		return nil, next, err
	}
	c.secrets.renewing(channel.Topic, p.Payload)
	return p, next, nil
}

// resumeFrom calls Resume of a channel, and puts what it returns into the params.
func resumeFrom(ctx context.Context, channel *Channel, params *Payload) (json.RawMessage, error) {
	if channel.Resume == nil {
		return nil, nil
	}
	defer namePanic(inResume)
	members, err := channel.Resume(ctx)
	if err != nil || members == nil {
		return nil, err
	}
	var own, resumed map[string]json.RawMessage
	if err := json.Unmarshal(members, &resumed); err != nil {
		return nil, fmt.Errorf("what the join resumes from is not a JSON object: %w", err)
	}
	if params.Binary || json.Unmarshal(params.Data, &own) != nil {
		return nil, errors.New("join params that are bytes cannot say where to resume")
	}
	maps.Copy(own, resumed)
	params.Data, err = json.Marshal(own)
	return members, err
}

// checkParams: join params are an object, never null (rule 12).
func checkParams(p *Payload) error {
	if p.Data == nil {
		p.Data = []byte("{}")
	}
	if p.Binary {
		return nil
	}
	if err := checkPayload(*p); err != nil {
		return err
	}
	if !bytes.HasPrefix(bytes.TrimLeft(p.Data, " \t\r\n"), []byte("{")) {
		return errors.New("join params are a JSON object")
	}
	return nil
}

// A PanicError is what Serve returns when something that runs for the connection, a callback of Options above all, has
// panicked. That ends this connection and nothing else.
type PanicError struct {
	// Value is what panic was called with.
	Value any
	// Stack is that of the goroutine that panicked.
	Stack []byte

	// what is what panicked.
	what string
}

// What may panic.
const (
	inLoop        = "the connection"
	inDial        = "the dial"
	inReader      = "the reader"
	inWriter      = "the writer"
	inCredentials = "Options.Credentials"
	inParams      = "Channel.Params"
	inOnJoin      = "Channel.OnJoin"
	inResume      = "Channel.Resume"
	inRenew       = "Channel.Renew"
	inSkip        = "Options.Skip"
	inTrace       = "Options.Trace"
	inOnHeartbeat = "Options.OnHeartbeat"
	inHooks       = "the supervisor"
)

// Error says in one line what panicked, with the value and nothing else that the connection knows.
func (e *PanicError) Error() string {
	text := strings.Join(strings.Fields(fmt.Sprint(e.Value)), " ")
	if e.what == "" {
		return "panic: " + text
	}
	return e.what + " panicked: " + text
}

// Unwrap returns the value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// errPanicked is the cause in the stream. It does not quote the value, which may hold secrets.
var errPanicked = errors.New("something that runs for the connection panicked")

// newPanicError returns v as an error, if namePanic has not made one of it already. It is called while the goroutine panics.
func newPanicError(what string, v any) *PanicError {
	if e, ok := v.(*PanicError); ok && e.what != "" {
		return e
	}
	return &PanicError{Value: v, Stack: debug.Stack(), what: what}
}

// recoverPanic is deferred by every goroutine that runs for the connection, so that a panic ends the connection and not the
// process. The first one counts.
func (c *Conn) recoverPanic(what string) {
	if v := recover(); v != nil {
		select {
		case c.panicked <- newPanicError(what, v):
		default:
		}
	}
}

// namePanic is deferred around a call of a callback, so that recoverPanic knows what panicked.
func namePanic(what string) {
	if v := recover(); v != nil {
		panic(newPanicError(what, v))
	}
}

// ownRefs are the refs at the beginning of a frame, which are ours, and short.
var ownRefs = regexp.MustCompile(`^\[\s*(?:null|"[0-9]*")\s*,\s*(?:null|"[0-9]*")\s*,`)

// trace shows a frame to Options.Trace, which is set.
func (c *Conn) trace(f TraceFrame) {
	defer namePanic(inTrace)
	if f.Kind != "close" { // which has a code and no words
		secrets := c.secrets.ofPushes()
		if !f.Out {
			secrets = c.secrets.all()
		}
		refs := ownRefs.Find(f.Data)
		f.Data = append(slices.Clip(refs), secrets.Redact(string(f.Data[len(refs):]))...)
	}
	c.opts.Trace(f)
}

// tracer is trace, or nil without Options.Trace.
func (c *Conn) tracer() func(TraceFrame) {
	if c.opts.Trace == nil {
		return nil
	}
	return c.trace
}
