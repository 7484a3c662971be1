package phoenix

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"phx/cmd/phxtest/mutation"
)

// TestModelDealer drives a dealer with several sockets against servers that take a number of channels each, and loses links at random.
// It keeps books of what the servers hold and of what is wanted, and never looks at how the dealer deals:
//
//   - A topic is joined at one server at most, and lost with that server's link alone.
//   - No server has to refuse more than one round of joins: what it has taught is remembered.
//   - Events have one order and sessions one count, whichever socket they are of.
//   - In the end all that is wanted is joined, on no more sockets than have something to do.
func TestModelDealer(t *testing.T) {
	seen := map[string]int{}
	seeds := uint64(60)
	if testing.Short() || mutation.RaceDetector() {
		seeds = 25
	}
	for seed := range seeds {
		runDealer(t, seed+1, seen)
	}
	t.Logf("seen: %v", seen)
	for _, what := range []string{"several sockets", "refused", "lost", "left", "retired", "ended together", "second dial failed"} {
		if seen[what] < int(seeds)/20 {
			t.Errorf("%q happened %d times in %d seeds", what, seen[what], seeds)
		}
	}
}

// A dealtServer is the far end of one session.
type dealtServer struct {
	held    map[string]string // the join_refs by topic
	replies []*serverFrame
}

// A dealtSocket is what the test knows of a socket.
type dealtSocket struct {
	*socket
	dialing, hungUp, draining bool
	server                    *dealtServer // nil without a session
	frames                    uint64
}

// mostWanted bounds the topics wanted at once.
const mostWanted = 24

type dealerDriver struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	seen   map[string]int
	dealer *dealer
	now    time.Time
	// room is how many channels a server takes.
	room    int
	limit   int // what the dealer is told of that
	bursts  int // of joins while a socket was being closed
	sockets map[*socket]*dealtSocket
	wanted  []string
	next    int
	seq     uint64
	session int
	refused int
	// lost are the topics that may be lost now: those of the link that has just ended.
	lost map[string]string
	// faults: links are lost, and dials fail. leaves: topics are left meanwhile, so that what a server has is not always known.
	faults, closed, leaves bool
	// taught says that the answer of a server that had no room has been read.
	taught bool
}

func runDealer(t *testing.T, seed uint64, seen map[string]int) {
	rng := rand.New(rand.NewPCG(seed, 2))
	config := machineConfig{
		codec: codecV2{}, replyTimeout: 10 * time.Second, heartbeatInterval: 30 * time.Second, heartbeatTimeout: 10 * time.Second,
		stableAfter: time.Second, maxRetries: -1, reconnectAfter: Steps(time.Second, 2*time.Second), rejoinAfter: Steps(time.Second),
		spread: func(time.Duration) time.Duration { return 0 }, sessions: rng.IntN(3),
	}
	fatal := rng.IntN(3) == 0
	if fatal {
		config.maxRetries = rng.IntN(2)
	}
	limit := 1 + rng.IntN(6)
	if rng.IntN(3) == 0 {
		limit = mostWanted
	}
	d := &dealerDriver{
		t: t, seed: seed, rng: rng, seen: seen, dealer: newDealer(config, limit, 0), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		room: 1 + rng.IntN(6), sockets: map[*socket]*dealtSocket{}, limit: limit, faults: true, session: config.sessions, leaves: rng.IntN(2) == 0,
	}
	for range rng.IntN(20) {
		d.join()
	}
	d.input(func() { d.dealer.sockets[0].m.start(d.now) })
	for range 300 {
		d.step()
	}
	d.faults = false
	if !fatal {
		d.comesToRest()
	}
	d.closed = true
	d.input(func() { d.dealer.close(d.now) })
	for range 1000 {
		if d.dealer.over() {
			return
		}
		d.step()
	}
	d.failf("it does not end")
}

func (d *dealerDriver) failf(format string, args ...any) {
	d.t.Helper()
	d.t.Fatalf("seed %d: %s", d.seed, fmt.Sprintf(format, args...))
}

// all are the sockets that there are, in their order.
func (d *dealerDriver) all() []*dealtSocket {
	var all []*dealtSocket
	for _, s := range d.dealer.sockets {
		if d.sockets[s] == nil {
			d.sockets[s] = &dealtSocket{socket: s}
		}
		all = append(all, d.sockets[s])
	}
	return all
}

// input gives the dealer an input, and does what comes of it as the loop does.
func (d *dealerDriver) input(run func()) {
	d.t.Helper()
	run()
	d.outputs()
	for !d.dealer.idle() && d.dealer.settle(d.now) {
		d.outputs()
	}
	d.lost = nil
	d.check()
}

func (d *dealerDriver) outputs() {
	d.t.Helper()
	sockets := d.all()
	for _, e := range d.dealer.shared.events {
		d.event(&e)
	}
	d.dealer.shared.events = nil
	for _, s := range sockets {
		out := s.m.out
		s.m.out = output{}
		for _, f := range out.frames {
			s.frames++
			if s.server == nil {
				d.failf("a frame without a session: %s", f.data)
			}
			d.serve(s.server, readClientFrame(d.t, codecV2{}, f))
		}
		s.dialing = s.dialing || out.dial
		s.hungUp = s.hungUp || out.hangUp != hangUpNot
		s.draining = s.draining || out.drain
	}
}

// serve is what a server does with a message.
func (d *dealerDriver) serve(server *dealtServer, m *clientFrame) {
	reply := &serverFrame{joinRef: m.joinRef, ref: m.ref, topic: m.topic, event: eventReply, status: "ok", payload: "{}"}
	server.replies = append(server.replies, reply)
	switch {
	case m.event == eventLeave && server.held[m.topic] == m.joinRef:
		delete(server.held, m.topic)
		server.replies = append(server.replies, &serverFrame{joinRef: m.joinRef, ref: m.joinRef, topic: m.topic, event: eventClose, payload: "{}"})
	case m.event != eventJoin:
	case len(server.held) >= d.room:
		reply.status, reply.payload = "error", `{"reason":"too many channels joined"}`
		if d.taught && !d.leaves {
			d.failf("%q is refused, and it was known for how many there is room", m.topic)
		}
		d.refused++
		d.seen["refused"]++
	default:
		for _, other := range d.all() {
			if other.server != nil && other.server != server && other.server.held[m.topic] != "" {
				d.failf("%q is joined on a second socket", m.topic)
			}
		}
		server.held[m.topic] = m.joinRef
	}
}

func (d *dealerDriver) event(e *Event) {
	d.seq++
	several := d.dealer.shared.sockets > 1
	switch {
	case e.Seq != d.seq:
		d.failf("event %d has the number %d", d.seq, e.Seq)
	case (e.Socket > 0) != several:
		d.failf("%T of the socket %d, while there have been several: %t", e.Detail, e.Socket, several)
	}
	switch detail := e.Detail.(type) {
	case *Connected:
		if d.session++; e.Session != d.session {
			d.failf("session %d has the number %d", d.session, e.Session)
		}
	case *JoinError:
		if d.dealer.closing || d.dealer.over() {
			break
		}
		d.failf("%q could not be joined: %v", e.Topic, detail)
	case *Errored:
		if d.lost[e.Topic] == "" {
			d.failf("%q is lost, but not with its link", e.Topic)
		}
	case *Left:
		d.seen["left"]++
	}
}

// check looks at what has to hold at any time.
func (d *dealerDriver) check() {
	d.t.Helper()
	status := d.dealer.status()
	var topics []string
	for _, c := range status.Channels {
		if c.State != "leaving" {
			topics = append(topics, c.Topic)
		}
	}
	failed := (d.dealer.closing || d.dealer.over()) && !d.closed
	if failed {
		d.seen["ended together"]++
		d.closed = true
	}
	if !d.closed && !slices.Equal(topics, d.wanted) {
		d.failf("the status has %v, wanted are %v", topics, d.wanted)
	}
	connected := true
	for _, s := range d.all() {
		connected = connected && (s.server != nil && !s.hungUp || s.retiring)
	}
	if !d.closed && (status.Link == StatusConnected) != connected {
		d.failf("the status is %q; all sockets are connected: %t", status.Link, connected)
	}
	if len(d.dealer.sockets) > 1 {
		d.seen["several sockets"]++
	}
}

func (d *dealerDriver) join() {
	topic := fmt.Sprintf("room:%d", d.next)
	d.next++
	d.wanted = append(d.wanted, topic)
	d.input(func() {
		if err := d.dealer.join(d.now, Channel{Topic: topic}); err != nil {
			d.failf("join: %v", err)
		}
	})
}

func (d *dealerDriver) leave() {
	if len(d.wanted) == 0 {
		return
	}
	i := d.rng.IntN(len(d.wanted))
	topic := d.wanted[i]
	d.wanted = slices.Delete(d.wanted, i, i+1)
	d.input(func() {
		if err := d.dealer.of(topic).leave(d.now, topic); err != nil {
			d.failf("leave: %v", err)
		}
	})
}

// step lets one thing happen.
func (d *dealerDriver) step() {
	all := d.all()
	s := all[d.rng.IntN(len(all))]
	retiring := slices.ContainsFunc(all, func(s *dealtSocket) bool { return s.retiring })
	switch roll := d.rng.IntN(100); {
	case retiring && roll < 10 && !d.closed && d.limit < mostWanted && d.bursts < 3: // more than there is room for on the others
		d.bursts++
		room := 0
		for _, s := range all {
			if !s.retiring && s.server != nil {
				room += max(0, d.limit-len(s.server.held))
			}
		}
		for range room + 1 {
			d.join()
		}
	case s.dialing && (roll < 40 || !d.faults):
		d.dialed(s)
	case s.hungUp || d.faults && roll < 3 && s.server != nil:
		d.loses(s)
	case s.server != nil && len(s.server.replies) > 0 && roll < 80:
		d.deliver(s)
	case roll < 84 && d.faults && !d.closed && len(d.wanted) < mostWanted:
		d.join()
	case roll < 88 && d.faults && !d.closed && d.leaves:
		d.leave()
	default:
		d.passTime()
	}
}

func (d *dealerDriver) dialed(s *dealtSocket) {
	s.dialing = false
	if d.faults && d.rng.IntN(8) == 0 && !s.hungUp {
		if s.m.number > 1 {
			d.seen["second dial failed"]++
		}
		d.input(func() { s.m.dialFailed(d.now, &LinkError{Stage: StageTCP, Reason: ReasonConnectRefused}) })
		return
	}
	s.frames, s.hungUp = 0, false
	s.server = &dealtServer{held: map[string]string{}}
	d.input(func() {
		if !s.m.dialed(d.now, 0, Timings{}, "") {
			s.server = nil
			s.m.dialFailed(d.now, nil)
		}
	})
}

func (d *dealerDriver) loses(s *dealtSocket) {
	if s.dialing {
		d.dialed(s)
		return
	}
	if s.server != nil {
		d.lost = s.server.held
		if d.lost == nil {
			d.lost = map[string]string{}
		}
	}
	if s.retiring {
		d.seen["retired"]++
	}
	s.server, s.hungUp, s.draining = nil, false, false
	d.seen["lost"]++
	d.input(func() { s.m.linkLost(d.now, &LinkError{Stage: StageSession, Reason: ReasonEOF}, s.frames) })
}

func (d *dealerDriver) deliver(s *dealtSocket) {
	f := s.server.replies[0]
	s.server.replies = s.server.replies[1:]
	decoded := frame{at: d.now}
	if err := errors.Join(codecV2{}.scan(f.encode(false), false, &decoded), codecV2{}.finish(&decoded)); err != nil {
		d.failf("%v: %v", f, err)
	}
	d.input(func() { s.m.received(d.now, &decoded) })
	d.taught = d.taught || f.status == "error"
}

// passTime lets time pass, up to the next deadline at most. Whatever has arrived by then is read.
func (d *dealerDriver) passTime() {
	for _, s := range d.all() {
		for n := 0; s.server != nil && len(s.server.replies) > 0; n++ {
			if d.deliver(s); n > 1000 {
				d.failf("what is answered is asked again at once")
			}
		}
	}
	next := d.dealer.next()
	to := d.now.Add(time.Duration(d.rng.Int64N(int64(20 * time.Second))))
	if next.IsZero() || to.Before(next) {
		d.now = to
		return
	}
	d.now = laterOf(d.now, next)
	d.input(func() { d.dealer.wake(d.now) })
	for _, s := range d.all() {
		if s.draining && s.server != nil {
			s.draining = false
			d.input(func() { s.m.drained(d.now, underWay{}) })
		}
	}
}

// comesToRest: without faults, all that is wanted is joined after a while, and no socket is open for nothing. Then a server has to refuse
// nothing any more.
func (d *dealerDriver) comesToRest() {
	d.settles()
	before := d.refused
	for range 10 {
		d.join()
	}
	for len(d.wanted) > 3 { // which empties sockets
		d.leave()
	}
	d.settles()
	if before > 0 && d.refused > before {
		d.failf("%d joins were refused, after %d had been: nothing was learnt of them", d.refused-before, before)
	}
}

// settles waits until nothing is left to do.
func (d *dealerDriver) settles() {
	why := "it was not asked"
	for range 20000 {
		if d.step(); d.rng.IntN(10) > 0 {
			continue
		}
		if why = d.unrest(); why == "" {
			return
		}
	}
	d.failf("it does not come to rest: %s", why)
}

// unrest says what is still to be done.
func (d *dealerDriver) unrest() string {
	held := 0
	for _, s := range d.all() {
		switch {
		case s.server == nil:
			return fmt.Sprintf("socket %d has no session", s.m.number)
		case len(s.server.held) == 0 && s.m.number > 1:
			return fmt.Sprintf("socket %d is open for nothing", s.m.number)
		}
		for topic := range s.server.held {
			if !slices.Contains(d.wanted, topic) {
				return fmt.Sprintf("%q is joined, and not wanted", topic)
			}
		}
		held += len(s.server.held)
	}
	if held < len(d.wanted) {
		return fmt.Sprintf("%d topics are wanted, %d joined", len(d.wanted), held)
	}
	return ""
}
