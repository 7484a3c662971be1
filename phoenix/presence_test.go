package phoenix

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// presences makes an object of presences of "key: ref ref, key: ref".
func presences(t *testing.T, text string) PresenceState {
	t.Helper()
	s, err := parsePresences([]byte(presencesJSON(text)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func presencesJSON(text string) string {
	var members []string
	for entry := range strings.SplitSeq(text, ",") {
		key, refs, ok := strings.Cut(strings.TrimSpace(entry), ":")
		if !ok {
			continue
		}
		var metas []string
		for ref := range strings.FieldsSeq(refs) {
			metas = append(metas, fmt.Sprintf(`{"phx_ref":%q}`, ref))
		}
		members = append(members, fmt.Sprintf(`%q:{"metas":[%s]}`, key, strings.Join(metas, ",")))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// tellChange tells a change as "+key: refs, -key: refs".
func tellChange(c presenceChange) string {
	var words []string
	for _, half := range []struct {
		sign  string
		parts []present
	}{{"+", c.joined}, {"-", c.left}} {
		for _, p := range half.parts {
			words = append(words, half.sign+tellPresent(p))
		}
	}
	return strings.Join(words, ", ")
}

func tellState(s PresenceState) string {
	var words []string
	for p := range s.root.all {
		words = append(words, tellPresent(p))
	}
	return strings.Join(words, ", ")
}

func tellPresent(p present) string {
	text := p.key + ":"
	for _, m := range p.metas {
		text += " " + strings.Trim(m.ref, `"`)
	}
	return text
}

// What phoenix.js's tests say of syncState: the new state holds, and what is different joins and leaves.
func TestPresenceStateReplaces(t *testing.T) {
	for name, tt := range map[string]struct{ before, state, want string }{
		"nobody, then somebody":     {"", "u1: 1, u2: 2", "+u1: 1, +u2: 2"},
		"somebody, then nobody":     {"u1: 1, u2: 2", "", "-u1: 1, -u2: 2"},
		"the same":                  {"u1: 1, u2: 2", "u2: 2, u1: 1", ""},
		"one comes, one goes":       {"u1: 1, u2: 2", "u1: 1, u3: 3", "+u3: 3, -u2: 2"},
		"only new metas join":       {"u1: 1", "u1: 1 2 3", "+u1: 2 3"},
		"only old metas leave":      {"u1: 1 2 3", "u1: 2", "-u1: 1 3"},
		"metas of a new life":       {"u1: 1 2", "u1: 3 4", "+u1: 3 4, -u1: 1 2"},
		"the order does not matter": {"u1: 1 2", "u1: 2 1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			tracker := presenceTracker{state: presences(t, tt.before)}
			c, err := tracker.sync("1", presences(t, tt.state), 1<<20)
			if got := tellChange(c); err != nil || got != tt.want {
				t.Errorf("change %q, error %v; want %q", got, err, tt.want)
			}
			if got, want := tellState(tracker.state), tellState(presences(t, tt.state)); got != want {
				t.Errorf("state %q, want %q", got, want)
			}
		})
	}
}

// What phoenix.js's tests say of syncDiff; but that what is there already does not join again.
func TestPresenceDiff(t *testing.T) {
	for name, tt := range map[string]struct{ before, joins, leaves, change, after string }{
		"into an empty state":          {"", "u1: 1", "", "+u1: 1", "u1: 1"},
		"a second one of a user":       {"u1: 1", "u1: 2", "", "+u1: 2", "u1: 1 2"},
		"one of two leaves":            {"u1: 1 2", "", "u1: 1", "-u1: 1", "u1: 2"},
		"the last one leaves":          {"u1: 1, u2: 2", "", "u1: 1", "-u1: 1", "u2: 2"},
		"a meta is updated":            {"u1: 1, u2: 2", "u1: 3", "u1: 1", "+u1: 3, -u1: 1", "u1: 3, u2: 2"},
		"a leave of nobody":            {"u1: 1", "", "u2: 2", "", "u1: 1"},
		"a leave of another meta":      {"u1: 1", "", "u1: 2", "", "u1: 1"},
		"a join of who is there":       {"u1: 1", "u1: 1", "", "", "u1: 1"},
		"known and new metas in one":   {"u1: 1", "u1: 1 2", "", "+u1: 2", "u1: 1 2"},
		"comes and goes at once":       {"", "u1: 1", "u1: 1", "+u1: 1, -u1: 1", ""},
		"no change":                    {"u1: 1", "", "", "", "u1: 1"},
		"several keys, in their order": {"b: 2", "c: 3, a: 1", "b: 2", "+a: 1, +c: 3, -b: 2", "a: 1, c: 3"},
	} {
		t.Run(name, func(t *testing.T) {
			before := presences(t, tt.before)
			after, c := before.apply(presenceDiff{presences(t, tt.joins), presences(t, tt.leaves)})
			if got := tellChange(c); got != tt.change {
				t.Errorf("change %q, want %q", got, tt.change)
			}
			if got := tellState(after); got != tt.after {
				t.Errorf("state %q, want %q", got, tt.after)
			}
			if got := tellState(before); got != tellState(presences(t, tt.before)) {
				t.Errorf("the state before has become %q", got)
			}
		})
	}
}

// Diffs that come before the state of their join are applied after it, and those of an earlier join are not (rule 26).
func TestPresenceHeldDiffs(t *testing.T) {
	var tracker presenceTracker
	diff := func(joinRef, joins, leaves string) string {
		t.Helper()
		c, err := tracker.diff(joinRef, presenceDiff{presences(t, joins), presences(t, leaves)}, 1<<20)
		if err != nil {
			t.Error(err)
		}
		return tellChange(c)
	}
	sync := func(joinRef, state string) string {
		t.Helper()
		c, err := tracker.sync(joinRef, presences(t, state), 1<<20)
		if err != nil {
			t.Error(err)
		}
		return tellChange(c)
	}
	for i, step := range []struct{ got, want string }{
		{diff("1", "a: 1", ""), ""},
		{diff("1", "b: 2", "gone: 0"), ""},
		{diff("1", "c: 3", ""), ""},
		{diff("1", "", "c: 3"), ""},
		{sync("1", "a: 1, gone: 0"), "+a: 1, +b: 2"}, // c has never been there for us, nor has "gone"
		{diff("1", "d: 4", ""), "+d: 4"},
		{diff("2", "", "d: 4"), ""},
		{diff("3", "e: 5", ""), ""},
		{sync("3", "a: 1, b: 2, d: 4"), "+e: 5"}, // the leave was of join 2
		{sync("3", "a: 1"), "-b: 2, -d: 4, -e: 5"},
		{sync("4", ""), "-a: 1"},
	} {
		if step.got != step.want {
			t.Errorf("step %d: change %q, want %q", i, step.got, step.want)
		}
	}
}

// A server that never sends a state does not fill the memory, and the latest diffs are kept.
func TestPresenceHeldDiffsAreBounded(t *testing.T) {
	var tracker presenceTracker
	noted := 0
	for i := range 30_000 {
		_, err := tracker.diff("1", presenceDiff{joins: presences(t, fmt.Sprintf("u%d: %d", i, i))}, 1<<20)
		if errors.Is(err, errPresenceHeld) {
			noted++
		}
	}
	if tracker.heldBytes > maxHeldPresence || noted != 1 {
		t.Errorf("%d bytes are held, noted %d times", tracker.heldBytes, noted)
	}
	last := tracker.held[len(tracker.held)-1]
	if got := tellState(last.joins); got != "u29999: 29999" {
		t.Errorf("the last one held is %q", got)
	}
	for range 1000 {
		if _, err := tracker.diff("2", presenceDiff{}, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if len(tracker.held) != 0 {
		t.Errorf("%d diffs that say nothing are held", len(tracker.held))
	}
}

// A state is bounded, too: what would make it too large is left out.
func TestPresenceStateIsBounded(t *testing.T) {
	var tracker presenceTracker
	limit := presences(t, "u1: 1, u2: 2").root.bytes()
	if _, err := tracker.sync("1", presences(t, "u1: 1, u2: 2, u3: 3"), limit); !errors.Is(err, errPresenceLarge) || tracker.synced {
		t.Errorf("error %v", err)
	}
	if _, err := tracker.sync("1", presences(t, "u1: 1"), limit); err != nil {
		t.Error(err)
	}
	add := presenceDiff{joins: presences(t, "u2: 2")}
	if _, err := tracker.diff("1", add, limit); err != nil {
		t.Error(err)
	}
	if _, err := tracker.diff("1", presenceDiff{joins: presences(t, "u1: 3")}, limit); !errors.Is(err, errPresenceLarge) {
		t.Errorf("error %v", err)
	}
	if _, err := tracker.diff("1", presenceDiff{leaves: presences(t, "u1: 1")}, limit); err != nil {
		t.Error(err)
	}
	if got := tellState(tracker.state); got != "u2: 2" || tracker.state.root.bytes() != limit/2 {
		t.Errorf("state %q of %d bytes", got, tracker.state.root.bytes())
	}
}

// What the server tells of a key beside its metas is as its latest join says.
func TestPresenceFields(t *testing.T) {
	before, err := parsePresenceState(JSON(`{"a":{"user":{"name":"A"},"metas":[{"phx_ref":"1"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	d, err := parsePresenceDiff(JSON(`{"joins":{"a":{"metas":[{"phx_ref":"2"}],"user":{"name":"B"},"n":1.0}},"leaves":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	after, _ := before.apply(d)
	if got, want := string(after.AppendJSON(nil)), `{"a":{"metas":[{"phx_ref":"1"},{"phx_ref":"2"}],"user":{"name":"B"},"n":1.0}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What comes without a join, between two of them, says nothing of the next one.
func TestPresenceBetweenJoins(t *testing.T) {
	m, now := upMachine(t, "room:1")
	m.presence, m.presenceLimit, m.maxRetries = true, 1<<20, -1
	ref := []byte(m.channels["room:1"].joinRef)
	m.received(now, &frame{at: now, joinRef: ref, ref: ref, topic: []byte("room:1"), event: []byte(eventError), payload: JSON("{}")})
	m.out = output{}
	for _, joinRef := range [][]byte{nil, ref} {
		m.received(now, &frame{at: now, joinRef: joinRef, topic: []byte("room:1"), event: []byte(eventPresenceState), payload: JSON("{}")})
	}
	for _, e := range m.out.events {
		if _, ok := e.Detail.(Message); !ok {
			t.Errorf("a %T without a join", e.Detail)
		}
	}
	if len(m.out.events) != 1 {
		t.Errorf("%d events, want the message without a join_ref", len(m.out.events))
	}
}
