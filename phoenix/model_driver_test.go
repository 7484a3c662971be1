package phoenix

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A modelDriver is the loop around a machine under test, with a reader, a writer and a dialer that do as the dice say.
type modelDriver struct {
	rng    *rand.Rand
	m      *machine
	ref    *reference
	server *modelServer
	topics []string
	cfg    machineConfig

	now, heardAt time.Time
	seq, pushIDs uint64
	prepares     []uint64
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
	}
	for i := range 1 + rng.IntN(14) {
		d.topics = append(d.topics, fmt.Sprintf("room:%d", i))
	}
	d.m = newMachine(cfg, &d.seq)
	return d
}

// do gives the machine one input and its outputs to the reference and to the outer world.
func (d *modelDriver) do(c cause, run func()) {
	d.ref.trace.step(d.now, c)
	d.ref.begin(d.now, c)
	before := d.m.status()
	run()
	out := d.m.out
	d.m.out = output{}
	d.ref.observe(&out)
	d.ref.checkChanged(out.changed, before, d.m.status())
	for _, f := range out.frames {
		d.server.take(readClientFrame(d.ref.t, d.cfg.codec, f))
	}
	for _, p := range out.prepares {
		d.prepares = append(d.prepares, p.id)
	}
	d.dialing = d.dialing || out.dial
	d.hungUp = d.hungUp || out.hangUp != hangUpNot
	d.ref.settle(d.m.next(), d.m.phase == done)
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
	}
	d.now = laterOf(d.now, to)
}

func (d *modelDriver) wake() { d.do(cause{name: causeWake}, func() { d.m.wake(d.now) }) }

// receive gives the machine a frame, if it reads.
func (d *modelDriver) receive() {
	if !d.open || d.m.paused {
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
	d.do(cause{name: causeFrame, frame: f}, func() { d.m.received(d.now, &decoded) })
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
		ref := d.m.ask(d.now)
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
	d.do(c, func() { d.m.prepared(d.now, c.prepare, JSON(joinPayload(c.prepare)), c.prepareErr) })
}

// pause stops the reads; the loop does so only while it has a session.
func (d *modelDriver) pause() {
	if d.open && !d.hungUp && !d.m.paused {
		d.do(cause{name: causePause}, func() { d.m.pause(d.now) })
	}
}

func (d *modelDriver) resume() {
	if d.m.paused {
		d.do(cause{name: causeResume}, func() { d.m.resume(d.now) })
	}
}

func (d *modelDriver) close() { d.do(cause{name: causeClose}, func() { d.m.close(d.now) }) }
