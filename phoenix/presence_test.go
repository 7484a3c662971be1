package phoenix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"phx/phoenix/rawjson"
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
	m.forgetOutput()
	for _, joinRef := range [][]byte{nil, ref} {
		m.received(now, &frame{at: now, joinRef: joinRef, topic: []byte("room:1"), event: []byte(eventPresenceState), payload: JSON("{}")})
	}
	for _, e := range m.events {
		if _, ok := e.Detail.(*Message); !ok {
			t.Errorf("a %T without a join", e.Detail)
		}
	}
	if len(m.events) != 1 {
		t.Errorf("%d events, want the message without a join_ref", len(m.events))
	}
}

// Metas pass through as the server wrote them: order of keys, spelling of numbers, escapes. Keys are any strings.
func TestPresenceBytes(t *testing.T) {
	text := `{"zoë\n\"":{"metas":[{"z":1.0,"phx_ref":"F\u0031","a":12345678901234567890, "h":"<&>"} , {"phx_ref":"2"}],` +
		`"user":{"b":1e2,"a":[]},"metadata":null},"":{"metas":[{"phx_ref":"3"}]},"constructor":{"metas":[{"phx_ref":"4"}]}}`
	want := `{"":{"metas":[{"phx_ref":"3"}]},"constructor":{"metas":[{"phx_ref":"4"}]},` +
		`"zoë\n\"":{"metas":[{"z":1.0,"phx_ref":"F\u0031","a":12345678901234567890, "h":"<&>"},{"phx_ref":"2"}],` +
		`"user":{"b":1e2,"a":[]},"metadata":null}}`
	s, err := parsePresenceState(JSON(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(s.AppendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var keys []string
	for key, metas := range s.All() {
		keys = append(keys, key)
		if key == "constructor" && string(metas[0]) != `{"phx_ref":"4"}` {
			t.Errorf("metas %s", metas)
		}
		if len(keys) == 2 {
			break
		}
	}
	if strings.Join(keys, "|") != "|constructor" {
		t.Errorf("keys %q", keys)
	}
}

// A payload in several lines becomes one line, and white space in strings stays.
func TestPresenceLineBreaks(t *testing.T) {
	text := "\r\n{\"a\":\n{\"metas\":\r\n[{\"phx_ref\" :\n\"1\", \"t\":\"x\\n y\"}\n]\n,\n\"u\" :[\n1 ,2]}}\n"
	s, err := parsePresenceState(Payload{Data: []byte(text), Broken: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(s.AppendJSON(nil)), `{"a":{"metas":[{"phx_ref" :"1", "t":"x\n y"}],"u":[1 ,2]}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPresenceMalformed(t *testing.T) {
	for _, text := range []string{
		`null`, `[]`, `1`, `{"a":null}`, `{"a":{}}`, `{"a":{"metas":{}}}`, `{"a":{"metas":null}}`, `{"a":{"metas":[1]}}`, `{"a":{"metas":[{}]}}`,
		`{"a":{"metas":[{"phx_ref":"1"},{"PHX_REF":"2"}]}}`, `{"a":{"metas":[{"phx_ref":"1"}]},"b":[]}`, ``, `{`, `{"a":{"metas":[`,
		`{"a":{"metas":[{"phx_ref":"1"} {"phx_ref":"2"}]}}`, `{"a":{"metas":[{"phx_ref":"1"},]}}`, `{"joins":{},"leaves":1}`,
	} {
		if s, err := parsePresenceState(JSON(text)); err == nil || s.root != nil {
			t.Errorf("%s: a state of %q", text, s.AppendJSON(nil))
		}
		if _, err := parsePresenceDiff(JSON(`{"joins":{},"leaves":` + text + `}`)); err == nil {
			t.Errorf("%s: taken for leaves", text)
		}
		if _, err := parsePresenceDiff(JSON(`{"joins":` + text + `,"leaves":{}}`)); err == nil {
			t.Errorf("%s: taken for joins", text)
		}
	}
	for _, text := range []string{`{}`, `{"joins":{}}`, `{"leaves":{}}`, `[]`} {
		if _, err := parsePresenceDiff(JSON(text)); err == nil {
			t.Errorf("%s: taken for a diff", text)
		}
	}
	for _, p := range []Payload{{}, Binary([]byte(`{}`))} {
		if _, err := parsePresenceState(p); err == nil {
			t.Errorf("%+v: taken for a state", p)
		}
	}
}

// Of what is there twice the last counts, and a key without metas is nobody.
func TestPresenceOdd(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":{"metas":[{"phx_ref":"1"}]},"a":{"metas":[{"phx_ref":"2","phx_ref":3}]}}`: `{"a":{"metas":[{"phx_ref":"2","phx_ref":3}]}}`,
		`{"a":{"metas":[{"phx_ref":"1"}]},"a":{"metas":[]}}`:                            `{}`,
		`{"a":{"metas":[]},"b":{"metas":[],"user":1}}`:                                  `{}`,
		` {  } `: `{}`,
	} {
		s, err := parsePresenceState(JSON(text))
		if got := string(s.AppendJSON(nil)); err != nil || got != want {
			t.Errorf("%s: %s, error %v; want %s", text, got, err, want)
		}
	}
}

// FuzzPresence: what is taken for a state is JSON on one line that says what encoding/json finds in the payload, and is
// the same when it is parsed again.
func FuzzPresence(f *testing.F) {
	f.Add([]byte(`{"a":{"metas":[{"phx_ref":"1","x":1.0},{"phx_ref":"2"}],"u":{}},"b":{"metas":[]}}`))
	f.Add([]byte("{\"\\u0061\":{\"metas\":[{\n\"phx_ref\":null}]}}"))
	f.Add([]byte(`{"a":{"metas":[{}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		broken, err := rawjson.Check(data)
		if err != nil {
			return // the codec lets none through
		}
		s, err := parsePresenceState(Payload{Data: data, Broken: broken})
		if err != nil {
			return
		}
		text := s.AppendJSON(nil)
		if bytes.ContainsAny(text, "\r\n") || !json.Valid(text) {
			t.Fatalf("%q", text)
		}
		again, err := parsePresenceState(JSON(string(text)))
		if err != nil || !bytes.Equal(again.AppendJSON(nil), text) || again.root.bytes() != s.root.bytes() {
			t.Fatalf("%q becomes %q, error %v", text, again.AppendJSON(nil), err)
		}
		var want map[string]map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		for key, metas := range s.All() {
			var wanted []json.RawMessage
			if err := json.Unmarshal(want[key]["metas"], &wanted); err != nil || len(metas) != len(wanted) {
				t.Fatalf("%q has %d metas, want %d (error %v)", key, len(metas), len(wanted), err)
			}
		}
	})
}

// recordedPresence is what each client of the recording hears: alice is there, bob comes, updates his meta, alice comes a second
// time and leaves, bob's connection drops. A line is a message: who joins and leaves with how many metas, then who is there.
var recordedPresence = map[string][]string{
	`"a"`: {
		"+alice 1, alice 1",
		"+bob 1, alice 1, bob 1",
		"+bob 1, -bob 1, alice 1, bob 1",
		"+alice 1, alice 2, bob 1",
		"-alice 1, alice 1, bob 1",
		"-bob 1, alice 1",
	},
	`"b"`: {
		"+alice 1, +bob 1, alice 1, bob 1",
		"+bob 1, -bob 1, alice 1, bob 1",
		"+alice 1, alice 2, bob 1",
		"-alice 1, alice 1, bob 1",
	},
	`"a2"`: {
		"+alice 2, +bob 1, alice 2, bob 1",
	},
}

// What real servers were recorded to send, on Bandit and on Cowboy, in both wire formats.
func TestPresenceTranscripts(t *testing.T) {
	for _, dir := range []string{"v1", "v2", "cowboy/v1", "cowboy/v2"} {
		t.Run(dir, func(t *testing.T) {
			conns := readTranscript(t, filepath.Join("..", "testdata", "transcripts", filepath.FromSlash(dir), "presence.ndjson"))
			if len(conns) != len(recordedPresence) {
				t.Errorf("%d connections, want %d", len(conns), len(recordedPresence))
			}
			for conn, lines := range conns {
				if got := hearPresence(t, strings.HasSuffix(dir, "v1"), lines); !slices.Equal(got, recordedPresence[conn]) {
					t.Errorf("%s hears\n\t%s\nwant\n\t%s", conn, strings.Join(got, "\n\t"), strings.Join(recordedPresence[conn], "\n\t"))
				}
			}
		})
	}
}

// hearPresence gives a machine the presence messages of a connection, and tells what comes of each.
func hearPresence(t *testing.T, v1 bool, lines []*transcriptLine) (heard []string) {
	var c codec = codecV2{}
	if v1 {
		c = codecV1{}
	}
	for topic, joinRef := range recordedJoins(t, v1, lines) {
		m, now := upMachine(t, topic)
		m.codec, m.presence, m.presenceLimit = c, true, 1<<20
		m.channels[topic].joinRef = joinRef
		for _, l := range lines {
			if l.Dir != "server" || l.Type != "text" {
				continue
			}
			f := &frame{at: now}
			if err := c.scan(l.bytes(), false, f); err != nil {
				t.Fatal(err)
			}
			if !presenceFrame(f) {
				continue
			}
			if err := c.finish(f); err != nil {
				t.Fatal(err)
			}
			m.forgetOutput()
			m.received(now, f)
			if text := tellHeard(m.events); text != "" {
				heard = append(heard, text)
			}
			for _, n := range m.out.notes {
				t.Errorf("%s: %v", n.msg, n.args)
			}
		}
	}
	return heard
}

// recordedJoins are the topics that a client joined, with the join_ref of each.
func recordedJoins(t *testing.T, v1 bool, lines []*transcriptLine) map[string]string {
	joins := map[string]string{}
	for _, l := range lines {
		if l.Dir != "client" || l.Type != "text" {
			continue
		}
		var message struct{ Topic, Event, Ref string }
		var into any = &message
		if !v1 {
			into = &[]any{nil, &message.Ref, &message.Topic, &message.Event}
		}
		if err := json.Unmarshal(l.bytes(), into); err != nil {
			t.Fatal(err)
		}
		if message.Event == eventJoin {
			joins[message.Topic] = message.Ref
		}
	}
	return joins
}

func tellHeard(events []Event) string {
	var words []string
	for _, e := range events {
		switch d := e.Detail.(type) {
		case *PresenceJoin:
			words = append(words, fmt.Sprintf("+%s %d", d.Key, len(d.Metas)))
		case *PresenceLeave:
			words = append(words, fmt.Sprintf("-%s %d", d.Key, len(d.Metas)))
		case *PresenceSync:
			for key, metas := range d.State.All() {
				words = append(words, fmt.Sprintf("%s %d", key, len(metas)))
			}
		}
	}
	return strings.Join(words, ", ")
}

// A presenceBook is the reference: who is present, by key and ref, in plain maps.
type presenceBook map[string]map[string]bool

func (b presenceBook) add(key, ref string) {
	if b[key] == nil {
		b[key] = map[string]bool{}
	}
	b[key][ref] = true
}

func (b presenceBook) remove(key, ref string) {
	delete(b[key], ref)
	if len(b[key]) == 0 {
		delete(b, key)
	}
}

func (b presenceBook) clone() presenceBook {
	c := presenceBook{}
	for key, refs := range b {
		c[key] = maps.Clone(refs)
	}
	return c
}

// text is the form that presencesJSON reads, sorted.
func (b presenceBook) text() string {
	var entries []string
	for _, key := range slices.Sorted(maps.Keys(b)) {
		entries = append(entries, key+": "+strings.Join(slices.Sorted(maps.Keys(b[key])), " "))
	}
	return strings.Join(entries, ", ")
}

func bookOf(s PresenceState) presenceBook {
	b := presenceBook{}
	for p := range s.root.all {
		for _, m := range p.metas {
			b.add(p.key, strings.Trim(m.ref, `"`))
		}
	}
	return b
}

// A presenceServer makes up what happens in a channel, and what of it the client is sent.
type presenceServer struct {
	t        *testing.T
	rng      *rand.Rand
	there    presenceBook
	refs     int
	joinRef  int
	tracker  presenceTracker
	believed presenceBook // by who hears of changes only
}

// Whatever comes and goes, in any order with joins and states, at the end of it the state is the server's, and so is what
// somebody believes who only adds joins and takes away leaves.
func TestPresenceModel(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		s := &presenceServer{t: t, rng: rand.New(rand.NewPCG(seed, 1)), there: presenceBook{}, believed: presenceBook{}}
		s.rejoin()
		for range 200 {
			s.step()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (s *presenceServer) step() {
	switch n := s.rng.IntN(40); {
	case n == 0:
		s.rejoin()
	case n == 1: // a state out of turn
		s.sync(s.there.clone())
	default:
		s.diff()
	}
	if !s.tracker.synced {
		s.t.Fatal("there is no state")
	}
	for what, got := range map[string]presenceBook{"state": bookOf(s.tracker.state), "sum of the changes": s.believed} {
		if got.text() != s.there.text() {
			s.t.Fatalf("the %s is %q, want %q", what, got.text(), s.there.text())
		}
	}
	size := 0
	for p := range s.tracker.state.root.all {
		size += p.size()
		if sizeOf(p.metas) != p.metasSize {
			s.t.Fatalf("%q has metas of %d bytes, and counts %d", p.key, sizeOf(p.metas), p.metasSize)
		}
	}
	if size != s.tracker.state.root.bytes() {
		s.t.Fatalf("a state of %d bytes counts %d", size, s.tracker.state.root.bytes())
	}
}

// rejoin is a new join: people come and go unheard; of what comes before the state some is in it, and some is not.
func (s *presenceServer) rejoin() {
	for range s.rng.IntN(5) {
		s.change()
	}
	s.joinRef++
	for range s.rng.IntN(3) {
		s.diff()
	}
	state := s.there.clone()
	for range s.rng.IntN(3) {
		s.diff()
	}
	s.sync(state)
}

func (s *presenceServer) diff() {
	joins, leaves := presenceBook{}, presenceBook{}
	for range s.rng.IntN(4) {
		key, came, went := s.change()
		if came != "" {
			joins.add(key, came)
		}
		if went != "" && joins[key][went] {
			joins.remove(key, went)
		} else if went != "" {
			leaves.add(key, went)
		}
	}
	s.hear(s.tracker.diff(fmt.Sprint(s.joinRef), presenceDiff{presences(s.t, joins.text()), presences(s.t, leaves.text())}, 1<<20))
}

func (s *presenceServer) sync(state presenceBook) {
	s.hear(s.tracker.sync(fmt.Sprint(s.joinRef), presences(s.t, state.text()), 1<<20))
}

// change is one presence that comes, goes, or is updated, which is both.
func (s *presenceServer) change() (key, came, went string) {
	key = fmt.Sprintf("u%d", s.rng.IntN(12))
	kind := s.rng.IntN(3)
	if refs := slices.Sorted(maps.Keys(s.there[key])); kind > 0 && len(refs) > 0 {
		went = refs[s.rng.IntN(len(refs))]
		s.there.remove(key, went)
	}
	if kind < 2 {
		s.refs++
		came = fmt.Sprint(s.refs)
		s.there.add(key, came)
	}
	return key, came, went
}

// hear takes a change into what is believed, where each has to make a difference.
func (s *presenceServer) hear(c presenceChange, err error) {
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range c.joined {
		for _, m := range p.metas {
			ref := strings.Trim(m.ref, `"`)
			if s.believed[p.key][ref] {
				s.t.Errorf("%s %s joins again", p.key, ref)
			}
			s.believed.add(p.key, ref)
		}
	}
	for _, p := range c.left {
		for _, m := range p.metas {
			ref := strings.Trim(m.ref, `"`)
			if !s.believed[p.key][ref] {
				s.t.Errorf("%s %s leaves, and was not there", p.key, ref)
			}
			s.believed.remove(p.key, ref)
		}
	}
}

// The last word about somebody who is still there says so: an update is a join and a leave of one key, both marked, and what stands
// beside the metas is told of, too.
func TestPresenceSaysWhatIsLeft(t *testing.T) {
	m, now := upMachine(t, "room:1")
	m.presence, m.presenceLimit = true, 1<<20
	receive := func(event, payload string) (told []string) {
		joinRef := []byte(m.channels["room:1"].joinRef)
		m.forgetOutput()
		m.received(now, &frame{at: now, joinRef: joinRef, topic: []byte("room:1"), event: []byte(event), payload: Payload{Data: []byte(payload)}})
		for _, e := range m.events {
			switch d := e.Detail.(type) {
			case *PresenceJoin:
				told = append(told, fmt.Sprintf("+%s %d fields:%s remaining:%d update:%t", d.Key, len(d.Metas), d.Fields, d.Remaining, d.Update))
			case *PresenceLeave:
				told = append(told, fmt.Sprintf("-%s %d fields:%s remaining:%d update:%t", d.Key, len(d.Metas), d.Fields, d.Remaining, d.Update))
			}
		}
		return told
	}
	for _, step := range []struct {
		event, payload string
		want           []string
	}{
		{eventPresenceState, `{"ada":{"user":{"n":1.0},"metas":[{"phx_ref":"1"},{"phx_ref":"2"}]}}`,
			[]string{`+ada 2 fields:{"user":{"n":1.0}} remaining:2 update:false`}},
		{eventPresenceDiff, `{"joins":{"ada":{"metas":[{"phx_ref":"3"}],"user":{"n":2}}},"leaves":{"ada":{"metas":[{"phx_ref":"1"}]}}}`,
			[]string{`+ada 1 fields:{"user":{"n":2}} remaining:2 update:true`, `-ada 1 fields:{"user":{"n":2}} remaining:2 update:true`}},
		{eventPresenceDiff, `{"joins":{},"leaves":{"ada":{"metas":[{"phx_ref":"2"}]}}}`,
			[]string{`-ada 1 fields:{"user":{"n":2}} remaining:1 update:false`}},
		{eventPresenceState, `{"ada":{"metas":[{"phx_ref":"4"}]},"bob":{"metas":[{"phx_ref":"5"}]}}`, []string{
			`+ada 1 fields: remaining:1 update:true`, `+bob 1 fields: remaining:1 update:false`,
			`-ada 1 fields:{"user":{"n":2}} remaining:1 update:true`,
		}},
		{eventPresenceDiff, `{"joins":{},"leaves":{"ada":{"metas":[{"phx_ref":"4"}]}}}`, []string{`-ada 1 fields: remaining:0 update:false`}},
	} {
		if got := receive(step.event, step.payload); !slices.Equal(got, step.want) {
			t.Errorf("%s %s:\ngot  %q\nwant %q", step.event, step.payload, got, step.want)
		}
	}
}

// A state is what it was, however many came after it, and the tree stays flat with keys in any order.
func TestPresenceStatesDoNotChange(t *testing.T) {
	var s PresenceState
	var states []PresenceState
	var texts []string
	for i := range 600 {
		d := presenceDiff{joins: presences(t, fmt.Sprintf("u%03d: %d", i%200, i))}
		if i%5 == 4 {
			d.leaves = presences(t, fmt.Sprintf("u%03d: %d", (i-2)%200, i-2))
		}
		s, _ = s.apply(d)
		states, texts = append(states, s), append(texts, string(s.AppendJSON(nil)))
	}
	for i, before := range states {
		if got := string(before.AppendJSON(nil)); got != texts[i] {
			t.Fatalf("state %d has become %s", i, got)
		}
	}
	if depth := depthOf(s.root); depth > 50 {
		t.Errorf("200 keys are %d deep", depth)
	}
}

func depthOf(n *presenceNode) int {
	if n == nil {
		return 0
	}
	return 1 + max(depthOf(n.left), depthOf(n.right))
}

// The states that wait for a slow consumer take more memory than their messages, and reads pause for that, too.
func TestPresenceMemoryPausesReads(t *testing.T) {
	const crowd = 1000
	refs := strings.Fields(strings.Repeat("x ", crowd))
	for i := range refs {
		refs[i] = fmt.Sprint(i)
	}
	m, now := upMachine(t, "room:1")
	m.presence, m.presenceLimit = true, 1<<20
	receive := func(event, payload string) int {
		m.forgetOutput()
		m.received(now, &frame{at: now, topic: []byte("room:1"), event: []byte(event), payload: JSON(payload)})
		return m.presenceBytes
	}
	state := presencesJSON("all: " + strings.Join(refs, " "))
	if got := receive(eventPresenceState, state); got < len(state) {
		t.Errorf("a state of %d bytes counts %d", len(state), got)
	}
	left := receive(eventPresenceDiff, `{"joins":{},"leaves":`+presencesJSON("all: 7")+`}`)
	if want := (crowd - 1) * int(unsafe.Sizeof(presenceMeta{})); left < want {
		t.Errorf("a leave from %d metas counts %d bytes, and copies %d", crowd, left, want)
	}
	if again := receive(eventPresenceDiff, `{"joins":{},"leaves":`+presencesJSON("all: 7")+`}`); again != 0 {
		t.Errorf("a diff that is no news counts %d bytes", again)
	}

	s := newStream(make(chan struct{}, 1))
	s.put(numbered(1, 1), &batch{presence: maxWaitingMemory - 1})
	if s.full() {
		t.Error("full too early")
	}
	s.put(numbered(2, 1), &batch{presence: left})
	if !s.full() {
		t.Error("not full")
	}
	if _, err := s.Next(t.Context()); err != nil || s.full() {
		t.Errorf("still full when it has been read from (error %v)", err)
	}
}
