package phoenix

import (
	"strconv"
	"time"
)

// A heartbeat keeps the server from closing the socket and finds a half-open link (rule 17). It is written every
// interval, whatever else is read or written; its answer is due after a timeout of its own.
type heartbeat struct {
	m *machine
	// sent are the heartbeats without an answer, oldest first.
	sent []sentBeat
	// tick is due when the next one is to be written, overdue when the answer to the first of sent is.
	tick, overdue timer
}

type sentBeat struct {
	ref string
	at  time.Time
	// asked says that it was written out of turn.
	asked bool
}

// A beatAnswer is an answered heartbeat.
type beatAnswer struct {
	ref string
	rtt time.Duration
	// err is set when the answer was not "ok".
	err *HeartbeatError
}

// maxBeats bounds the heartbeats remembered while reads are paused for long.
const maxBeats = 16

func (h *heartbeat) init(m *machine) {
	h.m = m
	h.tick.fire = h.beat
	h.overdue.fire = h.expire
	// A join that times out at the same moment is heard first: it is the better explanation.
	h.overdue.late = true
}

func (h *heartbeat) start(now time.Time) {
	h.m.clock.set(&h.tick, now.Add(h.m.heartbeatInterval))
}

func (h *heartbeat) stop() {
	h.sent = h.sent[:0]
	h.tick.stop()
	h.overdue.stop()
}

// beat writes a heartbeat. It goes out even while an earlier one is unanswered, which happens while reads are paused or
// a join holds up the server: the server counts only what we send as life.
func (h *heartbeat) beat(now time.Time) {
	h.m.clock.set(&h.tick, now.Add(h.m.heartbeatInterval))
	h.write(now, false)
}

// ask writes a heartbeat out of turn and returns its ref, empty without a session.
func (m *machine) ask(now time.Time) string {
	if m.phase != up {
		return ""
	}
	return m.beat.write(now, true)
}

func (h *heartbeat) write(now time.Time, asked bool) string {
	m := h.m
	m.refs++
	ref := strconv.FormatUint(m.refs, 10)
	if len(h.sent) == maxBeats {
		h.sent = append(h.sent[:0], h.sent[1:]...)
	}
	h.sent = append(h.sent, sentBeat{ref, now, asked})
	m.send(&message{ref: ref, topic: topicPhoenix, event: eventHeartbeat, payload: Payload{Data: []byte("{}")}})
	if !h.overdue.isSet() {
		// Reads may be paused: then the time of answers stands still since pausedAt.
		m.answers.set(&h.overdue, m.answerTime(now).Add(m.heartbeatTimeout))
	}
	return ref
}

// answerTime is now on the clock of answers, which stands still while reads are paused.
func (m *machine) answerTime(now time.Time) time.Time {
	if m.paused {
		return m.pausedAt
	}
	return now
}

// answered matches the reply to a heartbeat; it answers the older ones, too. Any status shows that the server lives.
func (h *heartbeat) answered(now time.Time, f *frame) bool {
	for i, s := range h.sent {
		if s.ref != string(f.ref) {
			continue
		}
		rtt := max(0, f.at.Sub(s.at))
		h.m.out.beats = append(h.m.out.beats, beatAnswer{s.ref, rtt, heartbeatError(f)})
		h.sent = append(h.sent[:0], h.sent[i+1:]...)
		h.overdue.stop()
		if len(h.sent) > 0 {
			h.m.answers.set(&h.overdue, now.Add(h.m.heartbeatTimeout))
		}
		if h.m.heartbeatEvents {
			e := h.m.emit(f.at, "", &Heartbeat{RTT: rtt, Asked: s.asked})
			e.Ref = s.ref
		}
		return true
	}
	return false
}

// heartbeatError is nil for the answer of a Phoenix server.
func heartbeatError(f *frame) *HeartbeatError {
	if string(f.status) == "ok" {
		return nil
	}
	return &HeartbeatError{Status: string(f.status), Response: f.payload.clone()}
}

// expire decides about an overdue answer. A join that was written before the heartbeat holds its answer up: the link is
// not dead before the join's own timeout (rule 10). Later joins excuse nothing: on a dead link there is always another.
func (h *heartbeat) expire(now time.Time) {
	m := h.m
	var latest time.Time
	for _, c := range m.order {
		if c.state == channelJoining && !c.beganAt.After(h.sent[0].at) && c.timer.at.After(latest) {
			latest = c.timer.at
		}
	}
	if latest.After(now) {
		m.answers.set(&h.overdue, latest)
		return
	}
	m.emit(now, "", &HeartbeatTimeout{Timeout: m.heartbeatTimeout})
	m.drop(&LinkError{Stage: StageSession, Reason: ReasonHeartbeatTimeout})
}

// joinAnswered gives an overdue answer, which an answered join held up, its timeout from now on.
func (h *heartbeat) joinAnswered(now time.Time) {
	if h.overdue.isSet() {
		h.m.answers.set(&h.overdue, now.Add(h.m.heartbeatTimeout))
	}
}
