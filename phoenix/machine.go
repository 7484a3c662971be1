package phoenix

import (
	"cmp"
	"container/heap"
	"encoding/json"
	"log/slog"
	"slices"
	"time"
)

// A machine is the protocol of one socket: the state of its link, channels and pushes, and every deadline. It is pure:
// it has no goroutine, does no I/O and reads no clock. Its methods are the inputs and carry the time; what is to be done
// about them is appended to out, which the caller carries out and resets; next says when to call wake. Not safe for
// concurrent use.
type machine struct {
	machineConfig
	*shared
	out output

	phase phase
	// number is that of the socket, from 1.
	number int
	// session is the number of the latest session.
	session int
	// written counts the frames of this session that were handed to the writer.
	written uint64

	channels map[string]*channel
	// order holds the channels in the order in which they were first wanted: the order of rejoins.
	order []*channel
	// joins are the joins on the wire in the order in which they were written, which is that of their answers; some of them may be
	// over. Only the clock of the first runs (rule 10).
	joins []sentJoin
	// pushes holds those on the wire by ref.
	pushes map[string]*push
	// prepareIDs numbers the prepares.
	prepareIDs uint64
	beat       heartbeat
	// pace is when a join is to be begun that has to wait for its turn.
	pace timer

	// clock holds the deadlines of what we do; answers those of what the server owes us, which stand still while
	// reads are paused (rule 21).
	clock, answers timers
	pausedAt       time.Time
	paused         bool
	// draining says that an answer is due and that the session has been asked to read what has arrived before it is judged
	// (rule 22).
	draining bool
	// underWay is the message that was being read when the session had read all there was.
	underWay underWay
	// slept is how long the machine we run on has been suspended, up to the input under way: Go's clock stands still meanwhile.
	slept time.Duration
	// sleeps are the last suspensions: when each was noticed, and what slept was before.
	sleeps []moment

	link linkState
	// names holds the event names seen, so that a frame's does not have to be copied each time.
	names map[string]string
}

// shared is what the machines of a connection have in common: the numbers that count through all sockets, and the events, which have
// one order.
type shared struct {
	// seq numbers the events.
	seq uint64
	// refs counts up and never starts again, so that no late answer can match in a later session.
	refs uint64
	// opened is the number of the latest session.
	opened int
	// nextJoin is when the next join may be begun, if they are paced.
	nextJoin time.Time
	// sockets is the number of the latest socket, wanted that of the latest channel, in the order in which they were wanted.
	sockets int
	wanted  uint64
	// refused are the channels that are to go to another socket.
	refused []refusedChannel
	// unjoined are the topics of whose messages no warning is given when nobody has joined them: there has been one, or the topic
	// was left.
	unjoined map[string]bool
	// events are for the consumer; presenceBytes is about how much memory the presence events among them hold on to.
	events        []Event
	presenceBytes int
}

type machineConfig struct {
	uri   string
	codec codec
	// sessions is how many there were before, of the same name: theirs goes on from there.
	sessions int

	replyTimeout, heartbeatInterval, heartbeatTimeout, stableAfter time.Duration

	maxRetries int
	// maxOutage bounds how long what is wanted may be away before nothing is retried any more; 0: no bound.
	maxOutage time.Duration
	// spread draws from 0 to a limit what is added to a server's Retry-After.
	spread                      func(limit time.Duration) time.Duration
	failFast, retryRefusals     bool
	reconnectAfter, rejoinAfter Backoff
	heartbeatEvents             bool
	// compress says that messages may be compressed: what they measure on the wire is not known.
	compress bool
	// anyTopic takes messages on topics that nobody joined.
	anyTopic bool
	// presence says that it is tracked; presenceLimit bounds the size of a channel's state.
	presence      bool
	presenceLimit int
	dialect       Dialect
	joinInterval  time.Duration
	// missed is from when on messages may have been missed of channels that are wanted from the start; zero: it is not known.
	missed time.Time
}

// reconfigure takes over what can change while a session is up. It counts from the next time on that something is begun, a retry or the
// wait for an answer; the next heartbeat comes after the new interval.
func (m *machine) reconfigure(now time.Time, to machineConfig) {
	from := m.machineConfig
	to.uri, to.codec, to.sessions = from.uri, from.codec, from.sessions
	to.presence, to.presenceLimit, to.anyTopic, to.compress = from.presence, from.presenceLimit, from.anyTopic, from.compress
	to.dialect = from.dialect
	m.machineConfig = to
	if to.heartbeatInterval != from.heartbeatInterval && m.phase == up {
		m.beat.tick.stop()
		m.beat.start(now)
	}
}

// phase is what the link is doing.
type phase uint8

const (
	idle     phase = iota // not started
	dialing               // a dial is under way
	up                    // a session
	dropping              // the session is dead to us; its end has been asked for
	waiting               // for the backoff before the next dial
	closing               // we are closing the session or cancelling the dial
	done                  // over
)

// output is what the machine wants done, in this order: notes logged, the shared events handed to the consumer, frames written,
// and then the actions.
type output struct {
	notes  []note
	frames []outFrame
	beats  []beatAnswer
	// sent are the pushes among the frames.
	sent     []sentPush
	prepares []prepare
	dial     bool
	// drain asks the session to read what has arrived, and to call drained then.
	drain bool
	// hangUp ends the session or the dial under way.
	hangUp hangUp
	// changed: Status would return something new.
	changed bool
}

// hangUp is how to end a link.
type hangUp uint8

const (
	hangUpNot   hangUp = iota
	hangUpClose        // write what is queued and a close frame, and wait for the server's
	hangUpDrop         // at once
)

// An outFrame is an encoded frame. Frames are written in order; the n-th one of a session is number n.
type outFrame struct {
	data   []byte
	binary bool
	// join says that it is a phx_join, which holds up what follows it (rule 10).
	join bool
}

// A note is a log record.
type note struct {
	level slog.Level
	msg   string
	args  []any
}

// said is a server's text in the args of a note, which may have secrets.
type said string

// A prepare asks for the params of a join, or with renew for what is to follow it: call prepared or renewed with its id.
type prepare struct {
	id      uint64
	channel Channel
	renew   bool
}

// maxJoining bounds the joins on the wire: the server answers them one after the other, and a slow one holds up all that
// follow, heartbeats included (rule 10).
const maxJoining = 8

// maxNames bounds the names kept; a server that makes up more costs copies, not memory.
const maxNames = 1024

func newMachine(c machineConfig, s *shared) *machine {
	m := &machine{
		machineConfig: c,
		shared:        s,
		session:       c.sessions,
		channels:      map[string]*channel{},
		pushes:        map[string]*push{},
		names:         map[string]string{},
	}
	m.pace.fire = m.startJoins
	m.beat.init(m)
	m.link.init(m)
	return m
}

// An underWay is a message of which a part has been read: since when, and when its last bytes came. Zero: there is none.
type underWay struct{ since, last time.Time }

// A moment is a point in time, with how long the machine we run on had been suspended by then.
type moment struct {
	at    time.Time
	slept time.Duration
}

// later returns the later of two moments.
func (a moment) later(b moment) moment {
	if b.at.Add(b.slept).After(a.at.Add(a.slept)) {
		return b
	}
	return a
}

// elapsed is the time from a to now, on a clock that runs while the machine we run on sleeps.
func (m *machine) elapsed(a moment, now time.Time) time.Duration {
	return max(0, now.Sub(a.at)+m.slept-a.slept)
}

// setPhase and setState are how a phase and a channel's state change, so that no change goes unnoticed.
func (m *machine) setPhase(p phase) {
	m.phase = p
	m.out.changed = true
}

func (m *machine) setState(c *channel, s channelState) {
	c.state = s
	m.out.changed = true
}

// next returns the time of the earliest deadline, zero if there is none.
func (m *machine) next() time.Time {
	t := m.clock.first()
	if a := m.answers.first(); a != nil && !m.paused && !m.draining && (t == nil || a.before(t)) {
		t = a
	}
	if t == nil {
		return time.Time{}
	}
	return t.at
}

// wake fires every deadline of ours that has been reached. An answer that is due is not judged yet: after a pause of the process
// it may lie in the socket. So what has arrived is read first; drained follows (rule 22).
func (m *machine) wake(now time.Time) {
	m.fire(&m.clock, now)
	a := m.answers.first()
	if a == nil || m.paused || m.draining || a.at.After(now) {
		return
	}
	m.draining, m.out.drain = true, true
}

// drained says that all that had arrived at a time has been given to received. Answers that were due by then are missing.
func (m *machine) drained(at time.Time, u underWay) {
	m.draining = false
	if m.paused {
		return
	}
	m.underWay = u
	m.fire(&m.answers, at)
}

// fire fires the timers that are due.
func (m *machine) fire(ts *timers, now time.Time) {
	for t := ts.first(); t != nil && !t.at.After(now); t = ts.first() {
		t.stop()
		t.fire(now)
	}
}

// arrived says, before the next frames are given to received, when the socket had last been read empty, before more came, and when the
// last burst was read; zero: never. What the server had sent by the former has been read, unless it has had to wait with a part of
// it, as it may have since a burst.
func (m *machine) arrived(emptyAt, burstAt time.Time) {
	another := burstAt.After(m.link.burst) && burstAt.After(m.link.answered)
	if !emptyAt.IsZero() && m.link.burst.IsZero() && (!another || emptyAt.Before(burstAt)) {
		m.known(moment{emptyAt, m.sleptAt(emptyAt)})
	}
	if another {
		m.link.burst = burstAt
	}
}

// maxSleeps bounds the suspensions that are remembered.
const maxSleeps = 8

// suspended says at a time that the system has been suspended, for total in all.
func (m *machine) suspended(now time.Time, total time.Duration) {
	if len(m.sleeps) == maxSleeps {
		m.sleeps = append(m.sleeps[:0], m.sleeps[1:]...)
	}
	m.sleeps = append(m.sleeps, moment{now, m.slept})
	m.slept = total
}

// sleptAt returns what slept was at a time, or less.
func (m *machine) sleptAt(at time.Time) time.Duration {
	for _, s := range m.sleeps {
		if at.Before(s.at) {
			return s.slept
		}
	}
	return m.slept
}

// answered says that an answer to what was written at a moment has come. What the server sent before stood in front of it (rule 20), and
// what it had to wait with since a burst that was over by then.
func (m *machine) answered(a moment) {
	m.known(a)
	if a.at.After(m.link.answered) {
		m.link.answered = a.at
	}
	if a.at.After(m.link.burst) {
		m.link.burst = time.Time{}
	}
}

// known says that everything which the server sent before a moment has been received.
func (m *machine) known(a moment) { m.link.known = m.link.known.later(a) }

// pause says that frames are not read from now on, resume that they are again.
func (m *machine) pause(now time.Time) {
	if !m.paused {
		m.paused, m.pausedAt = true, now
	}
}

func (m *machine) resume(now time.Time) {
	if m.paused {
		m.paused = false
		m.answers.shift(now.Sub(m.pausedAt))
	}
}

// emit appends an event and returns it for more to be filled in.
func (m *machine) emit(at time.Time, topic string, d Detail) *Event {
	m.seq++
	m.events = append(m.events, Event{Time: at, Seq: m.seq, Session: m.session, Topic: topic, Detail: d})
	if m.sockets > 1 {
		m.events[len(m.events)-1].Socket = m.number
	}
	return &m.events[len(m.events)-1]
}

// send writes a message that is no push.
func (m *machine) send(msg *message) {
	_, size := m.write(msg)
	m.link.unowed = max(m.link.unowed, size)
}

// write encodes a message, hands it to the writer and returns its frame number and its size in bytes.
func (m *machine) write(msg *message) (frame uint64, size int) {
	const headAtMost = 96 // what either codec adds to topic, event and payload, unless these have to be escaped
	data, binary, err := m.codec.append(make([]byte, 0, headAtMost+len(msg.topic)+len(msg.event)+len(msg.payload.Data)), msg)
	if err != nil {
		// Conn checks messages before they get here; one that fails all the same must not reach the wire half.
		m.note(slog.LevelError, "a message could not be encoded", "topic", msg.topic, "event", msg.event, "error", err)
		return 0, 0
	}
	m.out.frames = append(m.out.frames, outFrame{data, binary, msg.event == eventJoin})
	m.written++
	return m.written, len(data)
}

func (m *machine) note(level slog.Level, msg string, args ...any) {
	m.out.notes = append(m.out.notes, note{level, msg, args})
}

// intern returns b as a string, without a copy if it has been seen before.
func (m *machine) intern(b []byte) string {
	if s, ok := m.names[string(b)]; ok {
		return s
	}
	if len(m.names) >= maxNames {
		clear(m.names)
	}
	s := string(b)
	m.names[s] = s
	return s
}

// received takes a frame of the server. The events that come of it point into the frame's buffer.
func (m *machine) received(now time.Time, f *frame) {
	c := m.channels[string(f.topic)]
	switch string(f.event) {
	case eventReply:
		m.receivedReply(now, c, f)
	case eventClose, eventError:
		m.receivedEnd(now, c, f)
	default:
		m.receivedMessage(now, c, f)
	}
}

// receivedReply matches a reply by its ref (rule 3), unless its join_ref is foreign.
func (m *machine) receivedReply(now time.Time, c *channel, f *frame) {
	switch {
	case string(f.topic) == topicPhoenix && m.beat.answered(now, f):
	case m.replied(now, f):
	case c == nil || c.foreign(f):
		m.late(f)
	case c.state == channelJoining && string(f.ref) == c.joinRef:
		m.joinReplied(now, c, f)
	case c.state == channelLeaving && string(f.ref) == c.leaveRef:
		m.left(now, f.at, c, Left{Confirmed: string(f.status) == "ok"})
	case c.unawaited && (c.state == channelJoined || c.state == channelLeaving):
		m.unawaitedReply(now, c, f)
	default:
		m.late(f)
	}
}

// receivedEnd takes phx_close and phx_error. They carry the ref of the join as join_ref and ref; vsn 1.0.0 has only ref
// (rule 4). After a duplicate join the old channel's close comes behind the new one's reply: it is stale.
func (m *machine) receivedEnd(now time.Time, c *channel, f *frame) {
	ref := f.joinRef
	if len(ref) == 0 {
		ref = f.ref
	}
	if c == nil && string(f.event) == eventClose {
		return // what follows every leave
	}
	if c == nil || len(ref) > 0 && string(ref) != c.joinRef {
		m.stale(f)
		return
	}
	m.closed(now, c, f, string(f.event) == eventError)
}

// receivedMessage takes a push or a broadcast of the server. Broadcasts have no join_ref (rule 5).
func (m *machine) receivedMessage(now time.Time, c *channel, f *frame) {
	if c == nil && len(f.joinRef) == 0 {
		m.receivedUnjoined(f)
		return
	}
	if c == nil || c.foreign(f) {
		m.stale(f)
		return
	}
	c.heard = m.link.known
	m.seq++
	observed := m.dialect != nil && (!f.skipped || m.dialect.Observes(f.topic, f.event))
	if !f.skipped || observed {
		m.events = append(m.events, Event{
			Time: f.at, Seq: m.seq, Session: m.session,
			Topic: c.Topic, Name: m.intern(f.event),
			JoinRef: m.internRef(f.joinRef, c), Ref: string(f.ref),
			Payload: f.payload, Broadcast: f.broadcast, Detail: &Message{},
		})
	}
	if observed && !m.observeMessage(now, c, f) {
		return
	}
	if m.presence && presenceFrame(f) {
		m.receivedPresence(c, f)
	}
}

// maxUnjoined bounds the topics without a warning that are remembered.
const maxUnjoined = 1024

// ignoreUnjoined gives no warning of a topic any more, and reports whether that is new.
func (m *machine) ignoreUnjoined(topic string) bool {
	if m.unjoined[topic] || len(m.unjoined) == maxUnjoined {
		return false
	}
	if m.unjoined == nil {
		m.unjoined = map[string]bool{}
	}
	m.unjoined[topic] = true
	return true
}

// receivedUnjoined takes a message on a topic that nobody joined, such as the data of a GraphQL subscription by Absinthe (rule 28).
func (m *machine) receivedUnjoined(f *frame) {
	topic := string(f.topic)
	if m.anyTopic {
		m.seq++
		if !f.skipped {
			m.events = append(m.events, Event{
				Time: f.at, Seq: m.seq, Session: m.session, Topic: topic, Name: m.intern(f.event), Ref: string(f.ref),
				Payload: f.payload, Detail: &Message{},
			})
		}
		return
	}
	if !m.ignoreUnjoined(topic) {
		return
	}
	m.note(slog.LevelWarn, "a message came on a topic that nobody joined, and was dropped; with any-topic it would be taken", "topic", said(topic), "event", said(f.event))
}

// foreign reports whether f has the join_ref of another join than the current one of c (rule 4).
func (c *channel) foreign(f *frame) bool {
	return len(f.joinRef) > 0 && string(f.joinRef) != c.joinRef
}

// internRef returns the join_ref of a message, which is the channel's or null, as a string without a copy.
func (m *machine) internRef(ref []byte, c *channel) string {
	if len(ref) == 0 {
		return ""
	}
	return c.joinRef
}

// stale drops a frame of an earlier join, or of a topic that we do not want (rule 4).
func (m *machine) stale(f *frame) {
	m.note(slog.LevelDebug, "a stale frame was dropped", "topic", said(f.topic), "event", said(f.event), "join_ref", said(f.joinRef))
}

// responseReason returns the "reason" of a JSON response, empty if it has none.
func responseReason(data []byte) string {
	var r struct{ Reason any }
	if json.Unmarshal(data, &r) != nil {
		return ""
	}
	reason, _ := r.Reason.(string)
	return reason
}

func sortPushes(ps []*push) {
	slices.SortFunc(ps, func(a, b *push) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.frame, b.frame)) })
}

// A timer is one deadline of the machine. The zero timer is not set. It lives in the thing it belongs to, and is stopped
// when that thing ends, so that no timer fires for the dead.
type timer struct {
	at   time.Time
	fire func(now time.Time)
	// late breaks ties: of two timers due at once, a late one fires second.
	late bool

	in *timers
	// pos is the index in the heap plus one; 0: not set.
	pos int
}

func (t *timer) isSet() bool { return t.pos > 0 }

// stop takes t out of its heap; stopping a timer that is not set does nothing.
func (t *timer) stop() {
	if t.isSet() {
		heap.Remove(t.in, t.pos-1)
	}
}

// timers is a heap of the timers that are set, the earliest first.
type timers struct {
	heap []*timer
}

// set sets t, or sets it anew, to at.
func (ts *timers) set(t *timer, at time.Time) {
	t.stop()
	t.at, t.in = at, ts
	heap.Push(ts, t)
}

// first returns the earliest timer, nil if none is set.
func (ts *timers) first() *timer {
	if len(ts.heap) == 0 {
		return nil
	}
	return ts.heap[0]
}

// shift moves every deadline by d; their order stays.
func (ts *timers) shift(d time.Duration) {
	for _, t := range ts.heap {
		t.at = t.at.Add(d)
	}
}

func (t *timer) before(u *timer) bool {
	if t.at.Equal(u.at) {
		return !t.late && u.late
	}
	return t.at.Before(u.at)
}

// Len, Less, Swap, Push and Pop are container/heap's.

func (ts *timers) Len() int           { return len(ts.heap) }
func (ts *timers) Less(i, j int) bool { return ts.heap[i].before(ts.heap[j]) }

func (ts *timers) Swap(i, j int) {
	ts.heap[i], ts.heap[j] = ts.heap[j], ts.heap[i]
	ts.heap[i].pos, ts.heap[j].pos = i+1, j+1
}

func (ts *timers) Push(x any) {
	t := x.(*timer)
	ts.heap = append(ts.heap, t)
	t.pos = len(ts.heap)
}

func (ts *timers) Pop() any {
	last := len(ts.heap) - 1
	t := ts.heap[last]
	ts.heap[last] = nil
	ts.heap = ts.heap[:last]
	t.pos = 0
	return t
}
