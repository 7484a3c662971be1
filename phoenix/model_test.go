package phoenix

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"phx/cmd/phxtest/mutation"
)

// The model test drives a machine with random inputs, as the loop would give them and a server could send them, and
// compares what comes of each with a reference that keeps plain books. Its files:
//
//	model_test.go            the inputs: commands, time, the link, and the frames of a server, helpful or odd
//	model_reference_test.go  the books, what every output must satisfy, every deadline, and the rules of links,
//	                         heartbeats, channels and pushes
//	model_mutants_test.go    proof that it sees something: seeded bugs that it has to catch
var (
	modelSeeds = flag.Int("model.seeds", 2000, "how many seeds TestModel runs")
	modelSeed  = flag.Uint64("model.seed", 0, "the one seed that TestModel runs, with a log of every step")
)

// modelSteps is the number of inputs of a seed, without those that end it.
const modelSteps = 250

func TestModel(t *testing.T) {
	if *modelSeed != 0 {
		runModel(t, *modelSeed, true, map[string]int{})
		return
	}
	seeds := *modelSeeds
	if testing.Short() || mutation.RaceDetector() { // TestModelCatchesMutants runs all of them, without it
		seeds = min(seeds, 300)
	}
	seen := map[string]int{}
	for seed := range uint64(seeds) {
		runModel(t, seed+1, false, seen)
	}
	t.Logf("%d seeds, seen: %v", seeds, seen)
	// The generator must not go blind: each of these has to happen, and not by luck.
	for _, what := range modelMustSee {
		if seen[what] < seeds/50 {
			t.Errorf("%q happened %d times in %d seeds: the generator hardly reaches it", what, seen[what], seeds)
		}
	}
}

// modelMustSee are entries of the reference's tally: outcomes of frames, events with their reasons, ends.
var modelMustSee = []string{
	"message", "skipped message", "message of no channel", "push reply", "unmatched push", "joined", "join refused", "left", "closed", "errored",
	"heartbeat answered", "frame without outcome", "sent away", "released", "adopted",
	"rejoin", "join error: timeout", "join error: crashed", "join error: unmatched_topic", "join error: too_many_channels",
	"join given up", "join at the bound", "join behind another", "join behind a leave", "leave without an answer", "params failed",
	"push error: disconnected", "push error: channel_crashed", "push error: channel_closed", "push error: not_joined",
	"push error: unmatched_topic", "push error: cancelled", "push timeout", "push queued", "binary push",
	"push error, never written",
	"heartbeat timeout", "heartbeat waits for a join", "heartbeat while paused", "heartbeat waits for a message",
	"gap of a backlog", "gap of a silence",
	"reconnecting", "retry after", "reconnect exhausted", "outage too long", "outage of a channel too long", "refused again", "refused", "retries forgotten", "close lingers", "closed by us",
	"closed without a session", "aborted", "revoked", "left for the close", "closed for the close", "session by long poll behind one by WebSocket",
}

func runModel(t *testing.T, seed uint64, verbose bool, seen map[string]int) {
	t.Helper()
	d := newModelDriver(t, rand.New(rand.NewPCG(seed, 1)), seen)
	d.ref.trace.seed, d.ref.trace.verbose = seed, verbose
	d.start()
	for range modelSteps {
		d.step()
	}
	d.finish()
}

// modelConfig draws the options of a connection. Durations have odd nanoseconds, so that deadlines coincide only where the
// machine makes them.
func modelConfig(rng *rand.Rand) machineConfig {
	odd := func(from, to time.Duration) time.Duration { return from + time.Duration(rng.Int64N(int64(to-from))) }
	interval := odd(2*time.Second, 30*time.Second)
	c := machineConfig{
		uri:               "ws://localhost/socket/websocket",
		codec:             codecV2{},
		replyTimeout:      odd(time.Second, 12*time.Second),
		heartbeatInterval: interval,
		heartbeatTimeout:  odd(interval/5, interval),
		stableAfter:       odd(time.Second/2, 10*time.Second),
		maxRetries:        []int{-1, -1, 0, 3, 3}[rng.IntN(5)],
		maxOutage:         []time.Duration{0, odd(time.Second, 10*time.Second)}[rng.IntN(2)],
		spread:            func(limit time.Duration) time.Duration { return limit / 3 },
		failFast:          rng.IntN(4) == 0,
		retryRefusals:     rng.IntN(2) == 0,
		heartbeatEvents:   rng.IntN(2) == 0,
		reconnectAfter:    Steps(modelDelays(rng)...),
		rejoinAfter:       Steps(modelDelays(rng)...),
		sessions:          rng.IntN(3),
		anyTopic:          rng.IntN(3) == 0,
	}
	if rng.IntN(3) == 0 {
		c.codec = codecV1{}
	}
	return c
}

// modelDelays draws a list of backoffs. One of no length must not make a loop of no length.
func modelDelays(rng *rand.Rand) []time.Duration {
	delays := make([]time.Duration, 1+rng.IntN(4))
	for i := range delays {
		delays[i] = time.Duration(rng.Int64N(int64(3 * time.Second)))
	}
	slices.Sort(delays)
	if rng.IntN(6) == 0 {
		delays[0] = 0
	}
	return delays
}

// A clientFrame is a frame of a client, decoded as a server does.
type clientFrame struct {
	joinRef, ref, topic, event, payload string
	binary                              bool
}

func (m *clientFrame) String() string {
	return fmt.Sprintf("[%q %q %q %q %s]", m.joinRef, m.ref, m.topic, m.event, m.payload)
}

// readClientFrame decodes what the machine sent.
func readClientFrame(t testing.TB, c codec, f outFrame) *clientFrame {
	t.Helper()
	m, err := parseClientFrame(c, f)
	if err != nil {
		t.Fatalf("%q is not a frame of a client: %v", f.data, err)
	}
	return m
}

var (
	errNoRef      = errors.New("its ref is null")
	errNotPush    = errors.New("it is not a whole binary push")
	errEmptyField = errors.New("it is a binary push with an empty field")
)

// parseClientFrame decodes a frame of a client without the codecs, and takes nothing that a server could stumble over: all
// refs are strings, none is empty, and only join_ref may be null (rule 1). Of a binary push with an empty field it returns
// the others, too.
func parseClientFrame(c codec, f outFrame) (*clientFrame, error) {
	_, v1 := c.(codecV1)
	if f.binary && !v1 {
		return parseClientBinary(f.data)
	}
	var m struct {
		JoinRef *string `json:"join_ref"`
		Ref     *string
		Topic   *string
		Event   *string
		Payload json.RawMessage
	}
	var into any = &m
	if !v1 {
		into = &[]any{&m.JoinRef, &m.Ref, &m.Topic, &m.Event, &m.Payload, new(endOfFrame)}
	}
	if err := json.Unmarshal(f.data, into); err != nil {
		return nil, err
	}
	switch {
	case f.binary:
		return nil, errors.New("it is text in a binary frame")
	case m.Ref == nil || *m.Ref == "":
		return nil, errNoRef
	case m.JoinRef != nil && *m.JoinRef == "" || m.Topic == nil || m.Event == nil || m.Payload == nil:
		return nil, errors.New("a part of it is empty, null or missing")
	}
	got := &clientFrame{ref: *m.Ref, topic: *m.Topic, event: *m.Event, payload: string(m.Payload)}
	if m.JoinRef != nil {
		got.joinRef = *m.JoinRef
	}
	return got, nil
}

// endOfFrame stands behind the last element of a frame.
type endOfFrame struct{}

func (*endOfFrame) UnmarshalJSON([]byte) error { return errors.New("it has more than five elements") }

func parseClientBinary(data []byte) (*clientFrame, error) {
	if len(data) < 5 || data[0] != kindPush {
		return nil, errNotPush
	}
	m := &clientFrame{binary: true}
	lengths, rest := data[1:5], data[5:]
	for i, field := range []*string{&m.joinRef, &m.ref, &m.topic, &m.event} {
		n := int(lengths[i])
		if len(rest) < n {
			return nil, errNotPush
		}
		*field, rest = string(rest[:n]), rest[n:]
	}
	m.payload = string(rest)
	if slices.Contains(lengths, 0) {
		return m, errEmptyField
	}
	return m, nil
}

// The part of the driver that is the network: dials, sessions and their ends.

// dialEnds ends a dial, sooner or later, well or badly.
func (d *modelDriver) dialEnds(roll int) {
	switch {
	case roll < 150: // not yet
		d.command()
	case roll == 301:
		d.close()
	case roll < 850 || d.hungUp && roll < 950:
		d.connected()
	default:
		d.endLink()
	}
}

func (d *modelDriver) connected() {
	wanted := false
	waited := time.Duration(d.rng.Int64N(int64(d.now.Sub(d.ref.link.dialedAt)) + 1))
	by := d.transports[d.rng.IntN(len(d.transports))]
	d.do(cause{name: causeDialed, waited: waited, by: by}, func() { wanted = d.m.dialed(d.now, waited, Timings{}, by) })
	if !wanted {
		d.do(cause{name: causeDialFailed}, func() { d.m.dialFailed(d.now, nil) })
	}
	d.dialing, d.hungUp, d.open, d.attempted = false, false, wanted, 0
	d.wire, d.draining = modelWire{slept: d.wire.slept}, false
	d.server.waiting = nil
}

// endLink ends what there is: the dial under way or the session, whose end is read only while reads are not paused.
func (d *modelDriver) endLink() {
	switch {
	case d.dialing:
		d.dialing, d.hungUp = false, false
		err := d.dialError()
		d.do(cause{name: causeDialFailed, err: err}, func() { d.m.dialFailed(d.now, err) })
	case d.open:
		d.resume()
		c := cause{name: causeLost, err: &LinkError{Stage: StageSession, Reason: ReasonEOF}, attempted: d.ref.link.written}
		if d.rng.IntN(2) == 0 {
			c.err = &LinkError{Stage: StageSession, Reason: ReasonClosedByRemote, Code: 1012, CloseText: "restart"}
			c.attempted = uint64(d.rng.IntN(int(c.attempted) + 1))
			if d.ref.link.transport == TransportLongPoll {
				c.err = errSessionGone
			}
		}
		d.open, d.hungUp, d.draining = false, false, false
		d.do(c, func() { d.m.linkLost(d.now, c.err, c.attempted) })
	}
}

// abort ends all at once, whatever there is.
func (d *modelDriver) abort() {
	err := errors.New("something panicked")
	c := cause{name: causeAbort, err: &LinkError{Stage: StageSession, Reason: ReasonClosedByUs, Err: err}}
	c.attempted = uint64(d.rng.IntN(int(d.ref.link.written) + 1))
	d.dialing, d.open, d.hungUp = false, false, false
	d.do(c, func() { d.m.abort(d.now, err, c.attempted) })
}

func (d *modelDriver) dialError() *LinkError {
	switch d.rng.IntN(4) {
	case 0:
		return &LinkError{Stage: StageUpgrade, Reason: ReasonRefused, HTTPStatus: 403}
	case 1:
		after := time.Duration(d.rng.IntN(5)) * time.Second
		return &LinkError{Stage: StageUpgrade, Reason: ReasonRefused, HTTPStatus: 503, RetryAfter: after}
	}
	return &LinkError{Stage: StageTCP, Reason: ReasonConnectRefused}
}

// A modelDriver is the loop around a machine under test, with a reader, a writer and a dialer that do as the dice say.
type modelDriver struct {
	rng    *rand.Rand
	m      *machine
	ref    *reference
	server *modelServer
	topics []string
	cfg    machineConfig
	// transports are those of which a dial finds one.
	transports []Transport

	now, heardAt time.Time
	wire         modelWire
	// draining says that the machine has asked at drainFrom for what has arrived to be read.
	draining  bool
	drainFrom time.Time
	pushIDs   uint64
	prepares  []uint64
	// away are the channels that were to go to another socket, by topic.
	away map[string]*channel
	// open says that there is a session, dialing that a dial is under way; hungUp that its end has been asked for.
	open, dialing, hungUp bool
	attempted             uint64
	// calm is how often, of 1000, nothing happens to the link in a step, hurry how often a step goes to the next deadline.
	calm, hurry int
}

func newModelDriver(t testing.TB, rng *rand.Rand, seen map[string]int) *modelDriver {
	cfg := modelConfig(rng)
	_, v1 := cfg.codec.(codecV1)
	d := &modelDriver{
		rng: rng, cfg: cfg, ref: newReference(t, cfg, seen),
		server: &modelServer{rng: rng, v1: v1, helpful: 10 + rng.IntN(85)},
		now:    time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		calm:   950 + rng.IntN(50), hurry: rng.IntN(250),
		away: map[string]*channel{}, transports: [][]Transport{{TransportWebSocket}, {TransportLongPoll}, {TransportWebSocket, TransportLongPoll}}[rng.IntN(3)],
	}
	for i := range 1 + rng.IntN(14) {
		d.topics = append(d.topics, fmt.Sprintf("room:%d", i))
	}
	d.m = newMachine(cfg, &shared{opened: cfg.sessions})
	return d
}

// A modelWire is where the server's messages are. It is the truth about losses, of which the machine sees only when frames are read.
type modelWire struct {
	// short is when what had arrived was read to its end, zero while a backlog is being read; emptyAt is the last such time after
	// which more came.
	short, emptyAt time.Time
	// backlog says that frames are read later than they came; sent is when the last one was sent that has been read.
	backlog bool
	sent    time.Time
	// silent says that nothing has come any more since sent, although the server sends.
	silent bool
	// slept is how long the system has been suspended, while now stood still.
	slept time.Duration
}

// true is a moment on a clock that never stands still.
func (w *modelWire) true(t time.Time) time.Time { return t.Add(w.slept) }

// notice tells the machine of a suspension, as the loop does when it reads the clock.
func (d *modelDriver) notice() {
	if d.m.slept != d.wire.slept {
		d.m.suspended(d.now, d.wire.slept)
	}
}

// lossFrom is since when what the server has sent is lost, if the link or a channel is lost now.
func (d *modelDriver) lossFrom() time.Time {
	if d.wire.backlog || d.wire.silent {
		return d.wire.sent
	}
	return d.wire.true(d.now)
}

// lag begins a backlog, or a silence.
func (d *modelDriver) lag(silent bool) {
	if d.wire.backlog || d.wire.silent {
		return
	}
	d.wire.sent = d.wire.true(d.now)
	d.wire.backlog, d.wire.silent = !silent, silent
	if !silent {
		d.wire.short = time.Time{}
	}
}

// arrive tells the machine what is known of the wire when f is read.
func (d *modelDriver) arrive(f *serverFrame) {
	w := &d.wire
	if !w.short.IsZero() {
		w.emptyAt = w.short
	}
	switch {
	case w.backlog && (f.event == eventReply || d.rng.IntN(100) == 0): // a reply to what was written just now: all before it is read
		w.backlog, w.sent = false, w.true(d.now)
	case w.backlog:
		w.sent = w.sent.Add(time.Duration(d.rng.Int64N(int64(max(1, w.true(d.now).Sub(w.sent))))))
	}
	if w.short = f.at; w.backlog {
		w.short = time.Time{}
	}
	if !w.emptyAt.IsZero() {
		d.m.arrived(d.knownEmpty(), time.Time{})
	}
}

// knownEmpty is when the transport knows that all had been read: by long poll that is when the last answer was asked for that has been read,
// some time before it came.
func (d *modelDriver) knownEmpty() time.Time {
	if d.ref.link.transport != TransportLongPoll {
		return d.wire.emptyAt
	}
	since := d.wire.emptyAt.Sub(d.ref.link.upAt)
	return d.wire.emptyAt.Add(-time.Duration(d.rng.Int64N(int64(max(1, since)))))
}

// do gives the machine one input and its outputs to the reference and to the outer world.
func (d *modelDriver) do(c cause, run func()) {
	c.lossFrom, c.trueNow = d.lossFrom(), d.wire.true(d.now)
	if c.name != causeFrame {
		d.notice()
	}
	d.ref.trace.step(d.now, c)
	d.ref.begin(d.now, c)
	before := d.m.status()
	run()
	d.handOver()
	out, events := d.m.out, d.m.events
	d.m.out, d.m.events = output{}, nil
	d.ref.observe(events, &out)
	d.ref.checkChanged(out.changed, before, d.m.status())
	for _, f := range out.frames {
		d.server.take(readClientFrame(d.ref.t, d.cfg.codec, f))
	}
	for _, p := range out.prepares {
		d.prepares = append(d.prepares, p.id)
	}
	if out.drain {
		d.draining, d.drainFrom = true, d.now
	}
	d.dialing = d.dialing || out.dial
	d.hungUp = d.hungUp || out.hangUp != hangUpNot
	d.ref.settle(d.m.next(), d.m.phase == done)
}

// handOver takes the channel that the server has sent away, if it has, as a dealer does.
func (d *modelDriver) handOver() {
	sent := d.ref.step.outcome.name == "sent away"
	d.ref.require(sent == (len(d.m.refused) == 1), "%d channels are to go to another socket; the server has sent one away: %t", len(d.m.refused), sent)
	for _, r := range d.m.refused {
		d.ref.require(r.channel.Topic == d.ref.step.outcome.topic && r.held == d.ref.held(), "%q goes to another socket, as %d are held: want %q, %d", r.channel.Topic, r.held, d.ref.step.outcome.topic, d.ref.held())
		d.away[r.channel.Topic] = r.channel
		d.releaseBeyond(r.held)
	}
	d.m.refused = nil
}

// release takes channels off the socket, as if it had become known how few it can have.
func (d *modelDriver) release() {
	limit := d.rng.IntN(len(d.topics) + 1)
	d.do(cause{name: causeRelease}, func() { d.releaseBeyond(limit) })
}

func (d *modelDriver) releaseBeyond(limit int) {
	released := d.m.releaseBeyond(d.now, limit)
	d.ref.released(limit, released)
	for _, c := range released {
		d.away[c.Topic] = c
	}
}

// adopt gives the machine a channel that was on another socket, or on this one, unless its topic has been joined since.
func (d *modelDriver) adopt() {
	c := d.away[d.topics[d.rng.IntN(len(d.topics))]]
	if c == nil || d.m.phase == closing || d.m.phase == done || d.ref.channels[c.Topic] != nil {
		return
	}
	delete(d.away, c.Topic)
	d.do(cause{name: causeAdopt, topic: c.Topic}, func() {
		d.m.adopt(d.now, c)
		d.ref.channels[c.Topic] = d.ref.away[c.Topic]
		delete(d.ref.away, c.Topic)
		d.ref.tally("adopted")
	})
}

// start joins some topics, as Options.Channels says, and starts the first dial.
func (d *modelDriver) start() {
	for range d.rng.IntN(len(d.topics) + 1) {
		d.join()
	}
	d.do(cause{name: causeStart}, func() { d.m.start(d.now) })
}

// finish closes, and sees that everything ends, and that nothing is alive after it.
func (d *modelDriver) finish() {
	if d.rng.IntN(4) == 0 {
		d.abort()
	}
	d.resume()
	for d.m.phase != done {
		d.close()
		for range d.rng.IntN(4) { // the server takes its time
			d.advance()
			for range d.rng.IntN(60) {
				d.receive()
			}
		}
		d.endLink()
	}
	for range 5 {
		d.command()
		d.answerParams()
		d.advance()
	}
	if n := d.m.clock.Len() + d.m.answers.Len(); n > 0 {
		d.ref.failf("%d timers are set after the end", n)
	}
}

// step lets time pass and one thing happen.
func (d *modelDriver) step() {
	d.advance()
	switch roll := d.rng.IntN(1000); {
	case d.dialing:
		d.dialEnds(roll)
	case d.hungUp && roll < 300, d.open && roll >= d.calm:
		d.endLink()
	case roll < 50 && d.draining:
		d.drained()
	case roll < 570 && roll >= 550:
		d.lag(d.rng.IntN(4) == 0)
	case roll == 590:
		d.wire.slept += time.Duration(d.rng.Int64N(int64(time.Minute)))
	case roll < 550:
		d.receive()
	case roll < 800:
		d.command()
	case roll < 810:
		d.pause()
	case roll < 880:
		d.resume()
	case roll < 948:
		d.answerParams()
	case roll == 949 && d.rng.IntN(2) == 0:
		d.close()
	}
}

// advance lets time pass: hardly any, up to the next deadline, or beyond some. The machine is woken at each; only the last
// of them may be met by another input first, as the loop may choose.
func (d *modelDriver) advance() {
	if next := d.m.next(); !next.IsZero() && d.rng.IntN(1000) < d.hurry {
		d.now = laterOf(d.now, next)
		if d.rng.IntN(2) == 0 {
			d.wake()
		}
		return
	}
	longest := []time.Duration{5 * time.Millisecond, 30 * time.Millisecond, 30 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second}
	to := d.now.Add(time.Duration(d.rng.Int64N(int64(longest[d.rng.IntN(len(longest))]))))
	for {
		next := d.m.next()
		if next.IsZero() || next.After(to) {
			break
		}
		d.now = laterOf(d.now, next)
		d.wake()
		if d.rng.IntN(4) > 0 {
			d.drained()
		}
	}
	d.now = laterOf(d.now, to)
}

// drained says that all that had arrived has been read, if the machine has asked for that. There may be a part of a message.
func (d *modelDriver) drained() {
	if !d.draining || !d.open || d.m.paused {
		return
	}
	c := cause{name: causeDrained, at: d.drainFrom.Add(time.Duration(d.rng.Int64N(int64(d.now.Sub(d.drainFrom)) + 1)))}
	if d.rng.IntN(5) == 0 {
		c.underWay.last = c.at.Add(-time.Duration(d.rng.Int64N(int64(20 * time.Second))))
		c.underWay.since = c.underWay.last.Add(-time.Duration(d.rng.Int64N(int64(3 * time.Second))))
		if d.rng.IntN(2) == 0 { // one of many small ones
			c.underWay.last = c.at.Add(-time.Duration(d.rng.Int64N(int64(300 * time.Millisecond))))
			c.underWay.since = c.underWay.last.Add(-time.Duration(d.rng.Int64N(int64(time.Second))))
		}
	}
	d.draining = false
	d.do(c, func() { d.m.drained(c.at, c.underWay) })
}

func (d *modelDriver) wake() { d.do(cause{name: causeWake}, func() { d.m.wake(d.now) }) }

// receive gives the machine a frame, if it reads.
func (d *modelDriver) receive() {
	if !d.open || d.m.paused || d.wire.silent {
		return
	}
	f := d.server.next(append([]string{"room:nobody", topicPhoenix}, d.topics...))
	f.at = laterOf(d.heardAt, d.now.Add(-time.Duration(d.rng.Int64N(int64(5*time.Millisecond)))))
	d.heardAt = f.at
	decoded := frame{at: f.at}
	if err := errors.Join(d.cfg.codec.scan(f.encode(d.server.v1), f.binary, &decoded), d.cfg.codec.finish(&decoded)); err != nil {
		d.ref.failf("%v: %v", f, err)
	}
	decoded.skipped = f.skipped
	d.arrive(f)
	d.do(cause{name: causeFrame, frame: f}, func() {
		d.notice()
		d.m.received(d.now, &decoded)
	})
}

// command is a call of one of Conn's methods.
func (d *modelDriver) command() {
	topic := d.topics[d.rng.IntN(len(d.topics))]
	switch d.rng.IntN(20) {
	case 0, 1, 2, 3:
		d.join()
	case 4, 5:
		c := cause{name: causeLeave, topic: topic}
		var err error
		d.do(c, func() { err = d.m.leave(d.now, topic); d.ref.commanded(err) })
	case 6:
		d.ask()
	case 7:
		if d.rng.IntN(3) == 0 {
			d.release()
		}
		d.adopt()
	default:
		d.push(d.pushTopic(topic))
	}
}

// pushTopic is topic, or mostly one that is joined.
func (d *modelDriver) pushTopic(topic string) string {
	if d.rng.IntN(5) == 0 {
		return topic
	}
	for _, t := range d.topics {
		if c := d.ref.channels[t]; c != nil && c.state == channelJoined && d.rng.IntN(2) == 0 {
			return t
		}
	}
	return topic
}

func (d *modelDriver) join() {
	c := cause{name: causeJoin, topic: d.topics[d.rng.IntN(len(d.topics))], params: d.rng.IntN(3) == 0}
	want := Channel{Topic: c.topic}
	if c.params {
		want.Params = func(context.Context) (Payload, error) { panic("the machine does no I/O") }
	}
	d.do(c, func() { d.ref.commanded(d.m.join(d.now, want)) })
}

func (d *modelDriver) ask() {
	d.do(cause{name: causeAsk}, func() {
		ref := d.m.beatNow(d.now)
		d.ref.require((ref != "") == (d.ref.link.phase == up), "asked for a heartbeat in phase %d: ref %q", d.ref.link.phase, ref)
	})
}

func (d *modelDriver) push(topic string) {
	d.pushIDs++
	p := &refPush{id: d.pushIDs, topic: topic, name: fmt.Sprintf("event%d", d.rng.IntN(3)), binary: !d.server.v1 && d.rng.IntN(4) == 0}
	if d.rng.IntN(3) == 0 {
		p.timeout = time.Duration(1 + d.rng.Int64N(int64(5*time.Second)))
	}
	req := Push{Topic: topic, Name: p.name, Payload: Payload{Data: []byte(pushPayload(p.id)), Binary: p.binary}, Timeout: p.timeout, Index: int(p.id)}
	d.do(cause{name: causePush, push: p}, func() { d.m.push(d.now, p.id, req) })
}

// pushPayload is the payload of a push, by which its frame is known again.
func pushPayload(push uint64) string { return fmt.Sprintf(`{"push":%d}`, push) }

// joinPayload is the params that answer a prepare.
func joinPayload(id uint64) string { return fmt.Sprintf(`{"params":%d}`, id) }

// answerParams answers a prepare, in any order, and also when it is not wanted any more.
func (d *modelDriver) answerParams() {
	if len(d.prepares) == 0 {
		return
	}
	i := d.rng.IntN(len(d.prepares))
	c := cause{name: causePrepared, prepare: d.prepares[i]}
	d.prepares = slices.Delete(d.prepares, i, i+1)
	if d.rng.IntN(8) == 0 {
		c.prepareErr = errors.New("no such file")
	}
	d.do(c, func() { d.m.prepared(d.now, c.prepare, joinInput{params: JSON(joinPayload(c.prepare))}, c.prepareErr) })
}

// pause stops the reads; the loop does so only while it has a session.
func (d *modelDriver) pause() {
	if d.open && !d.hungUp && !d.m.paused {
		d.lag(false)
		d.do(cause{name: causePause}, func() { d.m.pause(d.now) })
	}
}

func (d *modelDriver) resume() {
	if d.m.paused {
		d.do(cause{name: causeResume}, func() { d.m.resume(d.now) })
	}
}

// close closes the connection, or revokes it, or both.
func (d *modelDriver) close() {
	closes := d.rng.IntN(4) > 0
	if closes {
		d.do(cause{name: causeClose}, func() { d.m.close(d.now) })
	}
	if !closes || d.rng.IntN(4) == 0 {
		d.do(cause{name: causeRevoke}, func() { d.m.revoke(d.now) })
	}
}

// An outcome is what a frame of the server has to bring about: a number of events, and what else follows from them.
type outcome struct {
	name   string
	topic  string
	push   *refPush
	reason JoinReason
	events int
}

// nothing reports whether the frame has to be without any event.
func (o *outcome) nothing() bool { return o.events == 0 && o.name != "sent away" }

// outcomeOf decides by the rules 3 to 6 and 8 what a frame is.
func (r *reference) outcomeOf(f *serverFrame) outcome {
	c := r.channels[f.topic]
	switch f.event {
	case eventReply:
		return r.outcomeOfReply(c, f)
	case eventClose, eventError:
		return r.outcomeOfEnd(c, f)
	}
	switch {
	case c == nil && f.joinRef == "" && r.cfg.anyTopic:
		r.tally("message of no channel") // rule 28
	case c == nil || f.joinRef != "" && f.joinRef != c.joinRef:
		return outcome{name: "frame without outcome"}
	}
	switch {
	case f.skipped:
		return outcome{name: "skipped message"}
	}
	return outcome{name: "message", topic: f.topic, events: 1}
}

func (r *reference) outcomeOfReply(c *refChannel, f *serverFrame) outcome {
	if f.topic == topicPhoenix && r.waitingBeat(f.ref) >= 0 {
		r.beatAnswered(f.ref)
		o := outcome{name: "heartbeat answered"}
		if r.cfg.heartbeatEvents {
			o.events = 1
		}
		return o
	}
	if i := slices.IndexFunc(r.pushes, func(p *refPush) bool { return p.ref != "" && p.ref == f.ref }); i >= 0 {
		p := r.pushes[i]
		switch {
		case p.topic != f.topic || f.joinRef != "" && f.joinRef != p.joinRef:
		case f.joinRef != "" || !f.unmatched:
			return outcome{name: "push reply", topic: f.topic, push: p, events: 1}
		case c.state == channelJoined:
			return outcome{name: "unmatched push", topic: f.topic, push: p, events: 2} // its PushError, and Errored
		default:
			return outcome{name: "unmatched push", topic: f.topic, push: p, events: 1}
		}
	}
	switch {
	case c == nil || f.joinRef != "" && f.joinRef != c.joinRef:
	case c.state == channelJoining && f.ref == c.joinRef && f.status == "ok":
		return outcome{name: "joined", topic: f.topic, events: 1}
	case c.state == channelJoining && f.ref == c.joinRef && f.refusal == JoinTooManyChannels && r.held() > 0 && r.link.phase == up:
		return outcome{name: "sent away", topic: f.topic}
	case c.state == channelJoining && f.ref == c.joinRef:
		return outcome{name: "join refused", topic: f.topic, reason: f.refusal, events: 1}
	case c.state == channelLeaving && f.ref == c.leaveRef:
		return outcome{name: "left", topic: f.topic, events: 1}
	}
	return outcome{name: "frame without outcome"}
}

// outcomeOfEnd: phx_close and phx_error carry the ref of their join twice; with vsn 1.0.0 only as ref (rule 4).
func (r *reference) outcomeOfEnd(c *refChannel, f *serverFrame) outcome {
	ref := f.joinRef
	if ref == "" {
		ref = f.ref
	}
	if c == nil || ref != "" && ref != c.joinRef {
		return outcome{name: "frame without outcome"}
	}
	o := outcome{topic: f.topic, events: 1}
	switch {
	case c.state == channelJoined && c.farewell && f.event == eventClose:
		r.tally("closed for the close")
		return outcome{name: "frame without outcome"}
	}
	switch c.state {
	case channelLeaving:
		o.name = "left"
	case channelJoining:
		o.name, o.reason = "join refused", JoinRefused
		if f.event == eventError {
			o.reason = JoinCrashed
		}
	case channelJoined:
		o.name = "closed"
		if f.event == eventError {
			o.name = "errored"
		}
	default:
		return outcome{name: "frame without outcome"}
	}
	return o
}

// onMessage: what the server sent, unchanged.
func (r *reference) onMessage(e *Event) {
	r.claim("message", e.Topic)
	f := r.cause.frame
	got := serverFrame{
		at: e.Time, joinRef: e.JoinRef, ref: e.Ref, topic: e.Topic, event: e.Name,
		payload: string(e.Payload.Data), binary: e.Payload.Binary,
	}
	r.require(got == *f, "message %v, want %v", &got, f)
}

// checkFrames checks what is written: its refs, its place, and that it has a cause (rules 1 and 18).
func (r *reference) checkFrames(frames []outFrame) {
	if len(frames) > 0 {
		r.require(r.link.session > r.cfg.sessions && !r.link.redialAt.After(r.now) && r.link.phase != dialing && r.link.phase != done, "frames without a session")
	}
	beats := 0
	for _, f := range frames {
		r.link.written++
		m := readClientFrame(r.t, r.cfg.codec, f)
		r.trace.frame(m)
		r.require(m.ref != "" && !r.refs[m.ref], "the ref %q of %v is empty or not new", m.ref, m)
		r.refs[m.ref] = true
		if m.topic == topicPhoenix {
			r.require(m.event == eventHeartbeat && m.joinRef == "", "not a heartbeat: %v", m)
			r.beatSent(m.ref)
			beats++
			continue
		}
		r.checkChannelFrame(m)
	}
	r.require(len(r.step.joining) == 0, "joins announced that were not written: %v", r.step.joining)
	r.require(len(r.step.timedOut) == 0, "joins that timed out and were not left: %v", r.step.timedOut)
	r.require(len(r.step.farewells) == 0, "channels that were not left before the close: %v", r.step.farewells)
	r.require(beats == r.step.beats, "%d heartbeats, want %d", beats, r.step.beats)
}

// checkChannelFrame checks a frame of a channel; its join_ref is that of the channel's current join.
func (r *reference) checkChannelFrame(m *clientFrame) {
	c := r.channels[m.topic]
	switch m.event {
	case eventJoin:
		r.require(r.step.joining[m.ref] == m.topic && m.joinRef == m.ref, "a join that was not announced: %v", m)
		delete(r.step.joining, m.ref)
		r.require(m.payload == r.joinParams(c), "join params %q, want %q", m.payload, r.joinParams(c))
	case eventLeave:
		if ref, ok := r.step.timedOut[m.topic]; ok {
			r.require(m.joinRef == ref, "the leave of the join %q that timed out: %v", ref, m)
			delete(r.step.timedOut, m.topic)
			return
		}
		if ref, ok := r.step.farewells[m.topic]; ok {
			r.require(m.joinRef == ref, "the leave of the join %q at the close: %v", ref, m)
			delete(r.step.farewells, m.topic)
			r.tally("left for the close")
			return
		}
		asked := r.cause.name == causeLeave && r.cause.topic == m.topic && c != nil && c.state == channelLeaving && c.leaveRef == ""
		r.require(asked && m.joinRef == c.joinRef, "a leave that was not asked for: %v", m)
		c.leaveRef = m.ref
	default:
		r.pushWritten(c, m)
	}
}

// joinParams are what the driver answers when it is asked for params.
func (r *reference) joinParams(c *refChannel) string {
	if c.params {
		return joinPayload(r.cause.prepare)
	}
	return "{}"
}

func (r *reference) pushWritten(c *refChannel, m *clientFrame) {
	i := slices.IndexFunc(r.pushes, func(p *refPush) bool { return m.payload == pushPayload(p.id) })
	r.require(i >= 0, "a push that nobody made, or that has ended: %v", m)
	p := r.pushes[i]
	r.require(m.topic == p.topic && m.event == p.name && m.binary == p.binary, "push %d is written as %v", p.id, m)
	r.require(p.ref == "", "push %d is written twice", p.id)
	r.require(c != nil && c.state == channelJoined && m.joinRef == c.joinRef, "push %d with the join_ref %q: want that of a joined channel, %+v", p.id, m.joinRef, c)
	r.step.sent = append(r.step.sent, sentPush{p.id, m.ref})
	p.ref, p.joinRef, p.frame, p.sentAt = m.ref, m.joinRef, r.link.written, r.now
	if p.binary {
		r.tally("binary push")
	}
}

// A serverFrame is a frame before it is encoded, with what its payload means.
type serverFrame struct {
	at                         time.Time
	joinRef, ref, topic, event string
	status, payload            string
	binary, skipped, unmatched bool
	refusal                    JoinReason
}

func (f *serverFrame) String() string {
	if f == nil {
		return "none"
	}
	return fmt.Sprintf("[%q %q %q %q] %s %s binary:%t", f.joinRef, f.ref, f.topic, f.event, f.status, f.payload, f.binary)
}

// encode makes what a server puts on the wire (PROTOCOL.md, sections 2 and 3).
func (f *serverFrame) encode(v1 bool) []byte {
	null := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	payload := json.RawMessage(f.payload)
	switch {
	case f.binary && f.event == eventReply:
		return serverBinary(kindReply, payload, f.joinRef, f.ref, f.topic, f.status)
	case f.binary && f.joinRef == "":
		return serverBinary(kindBroadcast, payload, f.topic, f.event)
	case f.binary:
		return serverBinary(kindPush, payload, f.joinRef, f.topic, f.event)
	case f.event == eventReply:
		payload = mustJSON(map[string]any{"status": f.status, "response": payload})
	}
	if v1 {
		return mustJSON(map[string]any{"topic": f.topic, "event": f.event, "payload": payload, "ref": null(f.ref)})
	}
	return mustJSON([]any{null(f.joinRef), null(f.ref), f.topic, f.event, payload})
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// A modelServer answers what it reads, or makes something up. It remembers all that it has read on the connection.
type modelServer struct {
	rng     *rand.Rand
	v1      bool
	read    []*clientFrame
	waiting []*clientFrame // not answered in this session
	sent    int
	// helpful is how often, of 100, it answers what waits.
	helpful int
}

// take reads what the client wrote.
func (s *modelServer) take(frames ...*clientFrame) {
	s.read = append(s.read, frames...)
	s.waiting = append(s.waiting, frames...)
}

// next makes a frame.
func (s *modelServer) next(topics []string) *serverFrame {
	s.sent++
	f := &serverFrame{}
	if len(s.waiting) > 0 && s.rng.IntN(100) < s.helpful {
		i := 0
		if s.rng.IntN(3) == 0 { // answers need not come in order
			i = s.rng.IntN(len(s.waiting))
		}
		s.answer(f, s.waiting[i])
		s.waiting = slices.Delete(s.waiting, i, i+1)
	} else {
		s.makeUp(f, topics)
	}
	if s.v1 { // no join_ref from the server, and no bytes (PROTOCOL.md, section 2)
		f.joinRef, f.binary = "", false
	}
	if f.binary && f.event != eventReply {
		f.ref = "" // binary pushes and broadcasts have none
	}
	return f
}

// answer is a proper answer to m, of one kind or another.
func (s *modelServer) answer(f *serverFrame, m *clientFrame) {
	f.joinRef, f.ref, f.topic, f.event, f.status = m.joinRef, m.ref, m.topic, eventReply, "ok"
	f.payload = fmt.Sprintf(`{"answer":%d}`, s.sent)
	kind := s.rng.IntN(30)
	switch {
	case m.event == eventLeave && kind < 20: // which comes behind the reply, else
		f.event, f.ref, f.status = eventClose, m.joinRef, ""
	case m.topic == topicPhoenix || m.event == eventLeave:
	case m.event == eventJoin:
		s.answerJoin(f, kind)
	case kind < 2:
		f.status = "error"
	case kind < 4:
		f.status = "odd"
	case kind < 6:
		s.unmatched(f)
	case kind < 9:
		f.binary = true
	}
}

func (s *modelServer) answerJoin(f *serverFrame, kind int) {
	if kind < 4 {
		f.status = "error"
	}
	f.refusal = JoinRefused
	switch kind {
	case 0:
		f.refusal, f.payload = JoinCrashed, `{"reason":"join crashed"}`
	case 1:
		f.refusal, f.payload = JoinTooManyChannels, `{"reason":"too many channels joined"}`
	case 2:
		s.unmatched(f)
		f.refusal = JoinUnmatchedTopic
	case 4:
		f.event, f.ref, f.payload = eventError, f.joinRef, `{"reason":"channel_crash"}`
	}
}

func (s *modelServer) unmatched(f *serverFrame) {
	f.joinRef, f.status, f.unmatched, f.payload = "", "error", true, `{"reason":"unmatched topic"}`
}

// makeUp is anything else: messages, losses of channels, and answers that nobody waits for.
func (s *modelServer) makeUp(f *serverFrame, topics []string) {
	f.topic = topics[s.rng.IntN(len(topics))]
	if n := len(s.read); n > 0 && s.rng.IntN(3) > 0 {
		f.topic = s.read[n-1-s.rng.IntN(min(n, 10))].topic
	}
	f.payload = fmt.Sprintf(`{"n":%d}`, s.sent)
	f.joinRef = s.joinRef(f.topic)
	switch s.rng.IntN(12) {
	case 0:
		f.event, f.ref = eventClose, f.joinRef
	case 1:
		f.event, f.ref = eventError, f.joinRef
	case 2, 3:
		s.oddReply(f)
	case 4:
		f.event, f.joinRef = eventJoin, "" // the server's own use of a word of the protocol
	default:
		f.event, f.skipped = "news", s.rng.IntN(6) == 0
		f.binary = s.rng.IntN(6) == 0
	}
}

// joinRef is that of the last join of a topic mostly, or none, or that of an earlier join, or one of another topic.
func (s *modelServer) joinRef(topic string) string {
	var own, all []string
	for _, m := range s.read {
		if m.event == eventJoin {
			all = append(all, m.ref)
			if m.topic == topic {
				own = append(own, m.ref)
			}
		}
	}
	switch kind := s.rng.IntN(10); {
	case kind < 3 || len(all) == 0:
		return ""
	case kind < 4:
		return all[s.rng.IntN(len(all))]
	case len(own) == 0:
		return "77"
	case kind < 6:
		return own[s.rng.IntN(len(own))]
	}
	return own[len(own)-1]
}

// oddReply is a reply to anything ever sent: a second one, a late one, one with the wrong topic or join_ref.
func (s *modelServer) oddReply(f *serverFrame) {
	f.event, f.status, f.refusal, f.ref = eventReply, "ok", JoinRefused, "4711"
	if len(s.read) == 0 {
		return
	}
	m := s.read[len(s.read)-1-s.rng.IntN(min(len(s.read), 20))]
	f.ref = m.ref
	switch s.rng.IntN(4) {
	case 0: // with the topic and the join_ref of somebody else
	case 1:
		f.joinRef = m.joinRef
	case 2:
		f.topic, f.joinRef = m.topic, m.joinRef
	case 3:
		f.topic = m.topic
	}
	if s.rng.IntN(4) == 0 && f.joinRef == "" {
		s.unmatched(f)
		f.refusal = JoinUnmatchedTopic
	}
}

// A modelTrace keeps the last steps of a run, to tell how it came to a failure.
type modelTrace struct {
	seed    uint64
	verbose bool
	steps   int
	lines   []traceLine
}

// A traceLine is put into words only if it is shown: nearly none are.
type traceLine struct {
	format string
	args   []any
}

func (l traceLine) String() string { return fmt.Sprintf(l.format, l.args...) }

// maxTraceLines bounds what a failure without -model.seed shows.
const maxTraceLines = 40

func (tr *modelTrace) add(format string, args ...any) {
	if !tr.verbose && len(tr.lines) >= 2*maxTraceLines {
		tr.lines = append(tr.lines[:0], tr.lines[maxTraceLines:]...)
	}
	tr.lines = append(tr.lines, traceLine{format, args})
}

func (tr *modelTrace) step(now time.Time, c cause) {
	tr.steps++
	tr.add("%v step %d: %v", traceTime(now), tr.steps, &c)
}

// String tells the input.
func (c *cause) String() string {
	switch {
	case c.frame != nil:
		return fmt.Sprintf("%s %v", c.name, c.frame)
	case c.push != nil:
		return fmt.Sprintf("%s %d %s", c.name, c.push.id, c.push.topic)
	case c.name == causePrepared:
		return fmt.Sprintf("%s %d, error %v", c.name, c.prepare, c.prepareErr)
	case c.err != nil:
		return fmt.Sprintf("%s %v, %d attempted", c.name, c.err, c.attempted)
	}
	if c.name == causeDrained {
		return fmt.Sprintf("%s at %v, a message under way since %v, its last bytes at %v", c.name, traceTime(c.at), traceTime(c.underWay.since), traceTime(c.underWay.last))
	}
	return c.name + " " + c.topic
}

func (tr *modelTrace) event(e *Event) {
	tr.add("    event %d %s %T %+v join_ref %q ref %q push %d", e.Seq, e.Topic, e.Detail, e.Detail, e.JoinRef, e.Ref, e.push)
}

func (tr *modelTrace) frame(m *clientFrame) { tr.add("    frame %v", m) }

func (tr *modelTrace) fail(t testing.TB, format string, args ...any) {
	t.Helper()
	lines := tr.lines
	if !tr.verbose {
		lines = lines[max(0, len(lines)-maxTraceLines):]
	}
	var story strings.Builder
	for _, line := range lines {
		fmt.Fprintln(&story, line)
	}
	t.Fatalf("%s\nseed %d, step %d; again: go test ./phoenix -run '^TestModel$' -model.seed=%d\n%s",
		fmt.Sprintf(format, args...), tr.seed, tr.steps, tr.seed, story.String())
}

// A traceTime is a time of day in a trace.
type traceTime time.Time

func (t traceTime) String() string { return time.Time(t).Format("15:04:05.000000000") }

// A fromNow is a time in a failure: relative to the time of the step.
type fromNow struct{ t, now time.Time }

func (f fromNow) String() string {
	if f.t.IsZero() {
		return "never"
	}
	return f.t.Sub(f.now).String() + " from now"
}
