package phoenix

import (
	"fmt"
	"log/slog"
	"testing"
	"time"
)

// What the model test does not reach: a loop that is late, and bounds that take long to fill.

// upMachine returns a machine with an open session and a joined topic, and the time.
func upMachine(t *testing.T, topic string) (*machine, time.Time) {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := newMachine(machineConfig{
		codec: codecV2{}, replyTimeout: 10 * time.Second, heartbeatInterval: 30 * time.Second, heartbeatTimeout: 5 * time.Second,
		stableAfter: 10 * time.Second, reconnectAfter: Steps(time.Second), rejoinAfter: Steps(time.Second),
	}, new(shared))
	m.start(now)
	m.dialed(now, 0, Timings{}, TransportWebSocket)
	if err := m.join(now, Channel{Topic: topic}); err != nil {
		t.Fatal(err)
	}
	ref := []byte(m.channels[topic].joinRef)
	m.received(now, &frame{at: now, joinRef: ref, ref: ref, topic: []byte(topic), event: []byte(eventReply), status: []byte("ok")})
	if state := m.channels[topic].state; state != channelJoined {
		t.Fatalf("%q is %v", topic, state)
	}
	m.forgetOutput()
	return m, now
}

// forgetOutput makes room for that of the next input.
func (m *machine) forgetOutput() {
	m.out, m.events, m.presenceBytes = output{}, nil, 0
}

// A process that was stopped finds the answers in its socket: one that has come counts, however late it is read (rule 22).
func TestAnswerBehindItsDeadline(t *testing.T) {
	m, now := upMachine(t, "room:1")
	m.push(now, 1, Push{Topic: "room:1", Name: "slow", Timeout: 2 * time.Second})
	m.push(now, 2, Push{Topic: "room:1", Name: "lost", Timeout: 2 * time.Second})
	ref := []byte(m.out.sent[0].ref)
	m.forgetOutput()
	late := now.Add(4 * time.Second)
	m.wake(late)
	joinRef := []byte(m.channels["room:1"].joinRef)
	m.received(late, &frame{at: late, joinRef: joinRef, ref: ref, topic: []byte("room:1"), event: []byte(eventReply), status: []byte("ok")})
	m.drained(late, underWay{})
	if len(m.events) != 2 {
		t.Fatalf("%d events, want a reply and a timeout: %v", len(m.events), m.events)
	}
	if _, ok := m.events[0].Detail.(*PushReply); !ok {
		t.Errorf("%T, want the reply that had arrived", m.events[0].Detail)
	}
	if d, ok := m.events[1].Detail.(*PushTimeout); !ok {
		t.Errorf("%T, want the timeout of the push without one", d)
	}
}

// A loop that was busy wakes the machine late, and once for several deadlines: each fires, in its order, and counts from
// now on. One heartbeat makes up for those that were missed.
func TestLateWake(t *testing.T) {
	m, now := upMachine(t, "room:1")
	m.push(now, 1, Push{Topic: "room:1", Name: "slow", Timeout: 2 * time.Second})
	m.push(now, 2, Push{Topic: "room:1", Name: "slower"})
	m.push(now, 3, Push{Topic: "room:1", Name: "slowest", Timeout: time.Hour})
	m.forgetOutput()
	late := now.Add(5 * time.Minute)
	m.wake(late)
	if !m.out.drain || len(m.events) > 0 {
		t.Fatalf("%d events before what has arrived was read; drain asked for: %t", len(m.events), m.out.drain)
	}
	m.drained(late, underWay{})
	var ended []uint64
	for _, e := range m.events {
		if _, ok := e.Detail.(*PushTimeout); !ok || !e.Time.Equal(late) {
			t.Errorf("an event %T at %v, want timeouts of pushes at %v", e.Detail, e.Time, late)
		}
		ended = append(ended, e.push)
	}
	if fmt.Sprint(ended) != "[1 2]" {
		t.Errorf("the pushes %v timed out, want 1 and 2 in this order", ended)
	}
	if len(m.out.frames) != 1 {
		t.Errorf("%d frames, want one heartbeat", len(m.out.frames))
	}
	if next := m.next().Sub(late); next != 5*time.Second {
		t.Errorf("the next deadline is in %v, want that of the heartbeat's answer, 5s", next)
	}
}

// While reads are paused, heartbeats are written and their answers not missed, however long (rule 21); what is remembered
// of them is bounded, and the answer to the last one is the answer to all.
func TestHeartbeatsOfALongPause(t *testing.T) {
	m, now := upMachine(t, "room:1")
	m.pause(now)
	for range 10 * maxBeats {
		now = now.Add(30 * time.Second)
		m.wake(now)
	}
	if n := len(m.out.frames); n != 10*maxBeats {
		t.Errorf("%d heartbeats were written, want %d", n, 10*maxBeats)
	}
	if n := len(m.beat.sent); n != maxBeats {
		t.Errorf("%d heartbeats are remembered, want %d", n, maxBeats)
	}
	m.resume(now)
	m.wake(now.Add(time.Second))
	if m.phase != up {
		t.Fatal("the answers to the heartbeats were due while nothing was read")
	}
	last := m.beat.sent[maxBeats-1].ref
	m.received(now, &frame{at: now, ref: []byte(last), topic: []byte(topicPhoenix), event: []byte(eventReply), status: []byte("ok")})
	m.wake(now.Add(20 * time.Second))
	if m.phase != up || len(m.beat.sent) != 0 {
		t.Errorf("phase %d, %d heartbeats without an answer", m.phase, len(m.beat.sent))
	}
}

// A server that makes up event names costs no memory for them, and each message has its own.
func TestNamesAreBounded(t *testing.T) {
	m, now := upMachine(t, "room:1")
	for i := range 3 * maxNames {
		name := fmt.Sprintf("event %d", i)
		m.received(now, &frame{at: now, topic: []byte("room:1"), event: []byte(name), payload: JSON("{}")})
		if got := m.events[len(m.events)-1].Name; got != name {
			t.Fatalf("event %q is called %q", name, got)
		}
	}
	if n := len(m.names); n > maxNames {
		t.Errorf("%d names are kept, want %d at most", n, maxNames)
	}
}

// A message that no frame can carry is reported and not written, and the push still ends.
func TestUnencodablePush(t *testing.T) {
	m, now := upMachine(t, "room:1")
	m.push(now, 1, Push{Topic: "room:1", Name: "not UTF-8: \xff", Payload: JSON("{}")})
	if len(m.out.frames) != 0 || len(m.out.notes) != 1 || m.out.notes[0].level != slog.LevelError {
		t.Errorf("%d frames and the notes %v, want an error and no frame", len(m.out.frames), m.out.notes)
	}
	m.linkLost(now, &LinkError{Stage: StageSession, Reason: ReasonEOF}, m.written)
	var failed *PushError
	for _, e := range m.events {
		if d, ok := e.Detail.(*PushError); ok {
			failed = d
		}
	}
	if failed == nil || failed.Delivered != DeliveredNo {
		t.Errorf("the push ended as %v, want a PushError that says it was never written", failed)
	}
}

// A message is an event without an allocation.
func TestMessageDoesNotAllocate(t *testing.T) {
	m, now := upMachine(t, "room:1")
	f := &frame{at: now, topic: []byte("room:1"), event: []byte("tick"), payload: JSON(`{"n":1}`)}
	if n := testing.AllocsPerRun(100, func() {
		m.received(now, f)
		if _, ok := m.events[0].Detail.(*Message); !ok {
			t.Fatalf("the event is a %T", m.events[0].Detail)
		}
		m.events = m.events[:0]
	}); n != 0 {
		t.Errorf("a message allocates %v times", n)
	}
}
