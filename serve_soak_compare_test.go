package main_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// checkWhole reports what is wrong with a sink that had to get all signals: each is there once and in order, or counted in a drop
// signal. reference is a sink that has lost none, or this one.
func (l *ledger) checkWhole(t *testing.T, reference *ledger) {
	t.Helper()
	l.check(t, reference, func(entry) bool { return true })
}

// check is checkWhole for a sink that had to get only what a route wants.
func (l *ledger) check(t *testing.T, reference *ledger, wanted func(entry) bool) {
	t.Helper()
	l.checkLines(t)
	for _, connection := range slices.Sorted(maps.Keys(reference.stories)) {
		var expected []entry
		for _, e := range reference.stories[connection].entries {
			if wanted(e) {
				expected = append(expected, e)
			}
		}
		got := l.stories[connection]
		if got == nil {
			got = &story{}
		}
		for _, problem := range got.compare(expected) {
			t.Errorf("%s, %s: %s", l.sink, connection, problem)
		}
	}
	for connection := range l.stories {
		if reference.stories[connection] == nil {
			t.Errorf("%s has signals of %s, which %s has not", l.sink, connection, reference.sink)
		}
	}
}

// checkLines reports lines that were wrong when they came, and a line without an end.
func (l *ledger) checkLines(t *testing.T) {
	t.Helper()
	for _, problem := range l.problems {
		t.Errorf("%s: %s", l.sink, problem)
	}
	if len(l.rest) > 0 {
		t.Errorf("%s ends within a line: %q", l.sink, l.rest)
	}
}

// compare tells how what a sink got differs from what it had to get. What it lacks must be counted by its losses, all of it and
// nothing else.
func (got *story) compare(expected []entry) []string {
	var problems []string
	complain := func(format string, args ...any) {
		if len(problems) < maxProblems {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	var lacking, announced uint64
	at := 0
	for _, want := range expected {
		for at < len(got.entries) && got.entries[at].seq < want.seq {
			complain("seq %d had not to come: %+v", got.entries[at].seq, got.entries[at])
			at++
		}
		if at < len(got.entries) && got.entries[at].seq == want.seq {
			if got.entries[at] != want {
				complain("seq %d is %+v, want %+v", want.seq, got.entries[at], want)
			}
			at++
			continue
		}
		lacking++
		if !slices.ContainsFunc(got.losses, func(l loss) bool { return l.first <= want.seq && want.seq <= l.last }) {
			complain("seq %d is neither there nor within a drop signal: %+v", want.seq, want)
		}
	}
	for _, e := range got.entries[at:] {
		complain("seq %d had not to come: %+v", e.seq, e)
	}
	for _, l := range got.losses {
		announced += l.count
	}
	if lacking != announced {
		complain("%d signals are lacking, and the drop signals count %d", lacking, announced)
	}
	return problems
}

// checkNumbers reports what is wrong with a sink that has lost nothing: seq goes from 1 without a hole, and of each session the
// numbered events go from 1 without a hole, to the last one that was sent if the channel ended in order.
func (l *ledger) checkNumbers(t *testing.T, sent *load) {
	t.Helper()
	last := map[int]int64{} // by session
	for connection, of := range l.stories {
		if len(of.losses) > 0 {
			t.Errorf("%s lost signals of %s, for which it has room: %+v", l.sink, connection, of.losses)
		}
		for i, e := range of.entries {
			if e.seq != uint64(i)+1 {
				t.Fatalf("%s, %s: seq %d comes where %d had to: %+v", l.sink, connection, e.seq, i+1, e)
			}
			if e.kind.name != eventNumber {
				continue
			}
			from := sent.session(e.session)
			if from == nil || from.topic != e.kind.topic {
				t.Fatalf("%s: nobody has sent %+v", l.sink, e)
			}
			if e.n != last[e.session]+1 {
				t.Fatalf("%s: after number %d of its session came %+v", l.sink, last[e.session], e)
			}
			last[e.session] = e.n
		}
	}
	for i, s := range sent.sessions {
		number := i + 1
		switch sent, got := s.sent.Load(), last[number]; {
		case got > sent:
			t.Errorf("session %d of %s sent %d events, and %d came", number, s.topic, sent, got)
		case got < sent && s.orderly.Load():
			t.Errorf("session %d of %s ended in order and sent %d events, but %d came", number, s.topic, sent, got)
		}
	}
}

// TestSoakCompare shows that compare sees what it is there for.
func TestSoakCompare(t *testing.T) {
	entries := func(seqs ...uint64) []entry {
		var list []entry
		for _, seq := range seqs {
			list = append(list, entry{seq: seq, id: fmt.Sprint(seq)})
		}
		return list
	}
	other := entries(1, 2, 3)
	other[1].id = "another"
	for name, test := range map[string]struct {
		got      story
		expected []entry
		problems int
	}{
		"the same":                 {story{entries: entries(1, 2, 3)}, entries(1, 2, 3), 0},
		"a hole":                   {story{entries: entries(1, 3)}, entries(1, 2, 3), 2},
		"a hole that is told":      {story{entries: entries(1, 3), losses: []loss{{1, 2, 2}}}, entries(1, 2, 3), 0},
		"an end that is told":      {story{entries: entries(1), losses: []loss{{2, 2, 3}}}, entries(1, 2, 3), 0},
		"a loss that is not":       {story{entries: entries(1, 2, 3), losses: []loss{{1, 2, 2}}}, entries(1, 2, 3), 1},
		"a loss of too few":        {story{entries: entries(1), losses: []loss{{1, 2, 3}}}, entries(1, 2, 3), 1},
		"a loss of the wrong ones": {story{entries: entries(1, 3), losses: []loss{{1, 3, 3}}}, entries(1, 2, 3), 1},
		"one too many":             {story{entries: entries(1, 2, 3)}, entries(1, 3), 1},
		"one too many at the end":  {story{entries: entries(1, 2, 3)}, entries(1, 2), 1},
		"a loss between":           {story{entries: entries(1, 3, 5), losses: []loss{{2, 2, 4}}}, entries(1, 2, 3, 4, 5), 0},
		"something else":           {story{entries: other}, entries(1, 2, 3), 1},
	} {
		if problems := test.got.compare(test.expected); len(problems) != test.problems {
			t.Errorf("%s: %d problems, want %d: %q", name, len(problems), test.problems, problems)
		}
	}
}

// TestSoakLedger shows that a ledger reads all formats, and sees what is wrong with lines.
func TestSoakLedger(t *testing.T) {
	l := newLedger("sink", nil)
	for _, part := range []string{
		`{"id":"1","type":"phoenix.a.t.n","metadata":{"connection_name":"a","phoenix_topic":"t","phoenix_event":"n","seq":1},"da`,
		`ta":{"payload":{"session":7,"n":5}}}` + "\n",
		`{"id":"2","type":"phoenix.a.t.n","extensions":{"metadata":{"connection_name":"a","phoenix_topic":"t","phoenix_event":"n","seq":2}}}` + "\n" +
			`{"id":"3","type":"phoenix.a.t.n","phxconnection":"a","phxtopic":"t","phxevent":"n","sequence":"0000000003"}` + "\n",
		`{"id":"4","type":"phoenix.signal.dropped","phxconnection":"a","data":{"count":2,"first_seq":4,"last_seq":9}}` + "\n",
	} {
		if _, err := l.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	want := &story{losses: []loss{{2, 4, 9}}}
	for seq := range uint64(3) {
		want.entries = append(want.entries, entry{seq: seq + 1, id: fmt.Sprint(seq + 1), kind: kind{"a", "n", "t"}})
	}
	want.entries[0].session, want.entries[0].n = 7, 5
	got := l.stories["a"]
	if len(l.problems) > 0 || !slices.Equal(got.entries, want.entries) || !slices.Equal(got.losses, want.losses) {
		t.Errorf("got %+v, want %+v; problems: %q", got, want, l.problems)
	}
	for _, wrong := range []string{
		"no JSON", `{"id":"5"}`, `{"id":"6","type":"t","phxconnection":"a","sequence":"x"}`,
		`{"id":"3","type":"t","metadata":{"connection_name":"a","seq":3}}`, // comes a second time
	} {
		before := len(l.problems)
		if _, _ = l.Write([]byte(wrong + "\n")); len(l.problems) != before+1 {
			t.Errorf("nothing is wrong with %s", wrong)
		}
	}
}
