package phoenix

import "log/slog"

// presenceFrame reports whether f is a message of Phoenix.Presence.
func presenceFrame(f *frame) bool {
	switch string(f.event) {
	case eventPresenceState, eventPresenceDiff:
		return true
	}
	return false
}

// receivedPresence takes a message of Phoenix.Presence for c (rule 26). What comes for no join is of no use: the state of
// the next one says it all.
func (m *machine) receivedPresence(c *channel, f *frame) {
	if c.joinRef == "" {
		return
	}
	change, err := m.trackPresence(c, f)
	if err != nil {
		m.note(slog.LevelWarn, "a presence message was not taken", "topic", c.Topic, "event", string(f.event), "error", err)
		return
	}
	// A state is always told of: it may be that nobody is there. A diff only when it is news.
	if string(f.event) == eventPresenceDiff && change.empty() {
		return
	}
	m.out.presence += change.memory
	for _, p := range change.joined {
		m.emitPresence(c, f, &PresenceJoin{Key: p.key, Metas: texts(p.metas)})
	}
	for _, p := range change.left {
		m.emitPresence(c, f, &PresenceLeave{Key: p.key, Metas: texts(p.metas)})
	}
	m.emitPresence(c, f, &PresenceSync{State: c.presence.state})
}

func (m *machine) trackPresence(c *channel, f *frame) (presenceChange, error) {
	if string(f.event) == eventPresenceState {
		s, err := parsePresenceState(f.payload)
		if err != nil {
			return presenceChange{}, err
		}
		return c.presence.sync(c.joinRef, s, m.presenceLimit)
	}
	d, err := parsePresenceDiff(f.payload)
	if err != nil {
		return presenceChange{}, err
	}
	return c.presence.diff(c.joinRef, d, m.presenceLimit)
}

func (m *machine) emitPresence(c *channel, f *frame, d Detail) {
	e := m.emit(f.at, c.Topic, d)
	e.JoinRef, e.Ref = m.internRef(f.joinRef, c), string(f.ref)
}
