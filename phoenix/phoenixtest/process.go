package phoenixtest

import (
	"errors"
	"sync"
	"time"
)

// A process is one channel process: one goroutine, from a join to a leave, a stop, a crash
// or the end of its socket.
type process struct {
	conn     *Conn
	ch       Channel
	sock     *Socket
	topic    string
	topicRef term
	joinRef  term // of its pushes and replies: the join's join_ref, or its ref if that was null
	known    term // what the socket knows it by: the join's join_ref, also if that was null

	box  *mailbox[any]
	stop chan struct{} // closed to kill it
	done chan struct{} // closed when it has ended

	joined bool
	also   []string // topics subscribed to besides its own
	after  []func() // run when the current callback's result has been carried out
	timers map[*time.Timer]struct{}
}

// What a process finds in its mailbox besides messages of the client.
type (
	infoMsg  struct{ msg any }
	timerMsg struct {
		timer *time.Timer
		msg   any
	}
)

// killed is what unwinds a callback whose process was killed while it slept.
type killed struct{}

func newProcess(c *Conn, ch Channel, join message, topic string) *process {
	p := &process{
		conn:     c,
		ch:       ch,
		topic:    topic,
		topicRef: join.topic,
		joinRef:  join.joinRef,
		known:    join.joinRef,
		box:      newMailbox[any](),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
		timers:   map[*time.Timer]struct{}{},
	}
	if p.joinRef == null {
		p.joinRef = join.ref
	}
	p.sock = &Socket{p: p}
	return p
}

// run joins, tells the transport the outcome, and lives until it has a reason to exit.
func (p *process) run(params Payload, joined chan<- message) {
	defer close(p.done)
	reply, ok := p.join(params)
	if !ok {
		joined <- reply
		return
	}
	p.joined = true
	p.conn.srv.pubsub.subscribe(p, p.topic)
	joined <- reply
	reason := p.loop()
	p.cleanUp()
	if reason != exitKilled {
		p.conn.box.put(envelope{exited: p, reason: reason})
	}
}

// join runs the callback; a reply that is not ok means that there is no channel.
func (p *process) join(params Payload) (reply message, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			reply, ok = message{status: "error", payload: RawJSON(`{"reason":"join crashed"}`)}, false
		}
	}()
	response, err := p.ch.Join(p.sock, params)
	var refusal joinRefusal
	switch {
	case errors.As(err, &refusal):
		return message{status: "error", payload: payloadOf(refusal.response)}, false
	case err != nil:
		panic(err)
	}
	return message{status: "ok", payload: payloadOf(response)}, true
}

// Why a process ends.
const (
	exitKilled = "killed" // nobody is told
	exitLeft   = "left"
	exitCrash  = "crash"
)

// closesQuietly tells whether an exit is a phx_close; all others are a phx_error.
func closesQuietly(reason string) bool {
	return reason == exitLeft || reason == "normal" || reason == "shutdown"
}

func (p *process) loop() (reason string) {
	for {
		select {
		case <-p.stop:
			return exitKilled
		case <-p.box.ready():
		}
		for _, msg := range p.box.take() {
			if reason := p.step(msg); reason != "" {
				return reason
			}
		}
	}
}

// step handles one message; a reason ends the process.
func (p *process) step(msg any) (reason string) {
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case killed:
			reason = exitKilled
		default:
			reason = exitCrash
		}
	}()
	select {
	case <-p.stop:
		return exitKilled
	default:
	}
	switch msg := msg.(type) {
	case infoMsg:
		return p.finish(p.info(msg.msg), Ref{ref: null})
	case timerMsg:
		delete(p.timers, msg.timer)
		return p.finish(p.info(msg.msg), Ref{ref: null})
	case message:
		return p.handleIn(msg)
	}
	return ""
}

func (p *process) handleIn(m message) (reason string) {
	event, ok := m.event.text()
	if !ok {
		NoClause(m.event)
	}
	if event == "phx_leave" {
		p.conn.box.put(envelope{frame: p.encodeReply(m.ref, OK(nil)), leaving: p})
		return exitLeft
	}
	ref := Ref{ref: m.ref}
	p.sock.ref = ref
	return p.finish(p.ch.HandleIn(p.sock, event, m.payload), ref)
}

func (p *process) info(msg any) Result {
	handler, ok := p.ch.(InfoHandler)
	if !ok {
		return NoClause(msg)
	}
	return handler.HandleInfo(p.sock, msg)
}

// finish carries out a callback's result.
func (p *process) finish(r Result, ref Ref) (reason string) {
	if r.reply {
		p.conn.box.put(envelope{frame: p.encodeReply(ref.ref, r)})
	}
	for _, f := range p.after {
		f()
	}
	p.after = nil
	if r.stop {
		return r.stopReason
	}
	return ""
}

func (p *process) encodeReply(ref term, r Result) wsFrame {
	return p.conn.ser.encode(message{
		joinRef: p.joinRef,
		ref:     ref,
		topic:   p.topicRef,
		isReply: true,
		status:  r.status,
		payload: payloadOf(r.response),
	})
}

func (p *process) cleanUp() {
	for timer := range p.timers {
		timer.Stop()
	}
	for _, topic := range append(p.also, p.topic) {
		p.conn.srv.pubsub.unsubscribe(p, topic)
	}
	if t, ok := p.ch.(Terminator); ok {
		t.Terminate(p.sock)
	}
	if diff := p.conn.srv.presence.untrack(p, nil); diff != nil {
		p.conn.srv.Broadcast(p.topic, "presence_diff", diff)
	}
}

// kill ends the process whatever it does and waits for its end.
func (p *process) kill() {
	close(p.stop)
	<-p.done
}

// A mailbox is the unbounded queue of a process. Unbounded as in Erlang: a sender never
// waits for a receiver unless it asks to (waitBelow), so that processes cannot deadlock.
type mailbox[T any] struct {
	mu      sync.Mutex
	items   []T
	signal  chan struct{} // holds a token while items may be waiting
	drained chan struct{} // closed and replaced at every take
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{signal: make(chan struct{}, 1), drained: make(chan struct{})}
}

// put adds an item.
func (m *mailbox[T]) put(item T) {
	m.mu.Lock()
	m.items = append(m.items, item)
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// ready delivers when take may have something to give.
func (m *mailbox[T]) ready() <-chan struct{} { return m.signal }

// take removes and returns all items.
func (m *mailbox[T]) take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items = nil
	close(m.drained)
	m.drained = make(chan struct{})
	return items
}

// waitBelow returns when at most n items wait, or when stop is closed.
func (m *mailbox[T]) waitBelow(n int, stop <-chan struct{}) {
	for {
		m.mu.Lock()
		waiting, drained := len(m.items), m.drained
		m.mu.Unlock()
		if waiting <= n {
			return
		}
		select {
		case <-drained:
		case <-stop:
			return
		}
	}
}
