package router

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	tests := []struct {
		pattern  string
		matches  string // names, divided by spaces
		mismatch string
	}{
		{"phoenix.channel.joined", "phoenix.channel.joined", "phoenix.channel phoenix.channel.joined.x xphoenix.channel.joined"},
		{"phoenix.*.joined", "phoenix.channel.joined phoenix.x.joined", "phoenix.joined phoenix.a.b.joined"},
		{"phoenix.backend.**", "phoenix.backend phoenix.backend.a phoenix.backend.a.b", "phoenix.backend2.a phoenix x.phoenix.backend"},
		{"**", "phoenix a.b.c", ""},
		{"*", "phoenix", "a.b"},
		{"*.**", "a a.b", ""},
		{"**.*", "a a.b", ""},
		{"**.joined", "joined phoenix.channel.joined joined.joined", "phoenix.channel.join_error joined.x"},
		{"a.**.b", "a.b a.x.b a.x.y.b a.b.b", "a b a.b.c"},
		{"a.**.b.**.c", "a.b.c a.x.b.x.c a.b.b.c.c", "a.c a.c.b a.b"},
		{"a.**.*.b", "a.x.b a.x.y.b", "a.b"},
		{"**.**.a", "a b.a", "a.b"},
	}
	for _, test := range tests {
		p := mustCompile(t, test.pattern)
		if p.String() != test.pattern {
			t.Errorf("%q is printed as %q", test.pattern, p)
		}
		for _, name := range strings.Fields(test.matches) {
			if !p.Match(name) {
				t.Errorf("%q does not match %q", test.pattern, name)
			}
		}
		for _, name := range strings.Fields(test.mismatch) {
			if p.Match(name) {
				t.Errorf("%q matches %q", test.pattern, name)
			}
		}
	}
	if zero := (Pattern{}); !zero.Match("") || zero.Match("a") {
		t.Error("the zero Pattern matches something else than the empty name")
	}
}

func mustCompile(t *testing.T, text string) Pattern {
	t.Helper()
	p, err := CompilePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPatternErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "must not be empty",
		".":                       "segment 1 of the pattern",
		"a..b":                    "segment 2 of the pattern",
		"a.":                      "is empty",
		"phoenix.backend.room_*":  "only for whole segments",
		"a.***":                   "only for whole segments",
		"phoenix.b.room:lobby.**": "is replaced by _",
		"a.b?":                    "is replaced by _",
		"a.b c":                   "is replaced by _",
	} {
		_, err := CompilePattern(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error of %q: %v, want one with %q", text, err, want)
		}
	}
}

// matchesSlowly is what a pattern means, without any cleverness.
func matchesSlowly(pattern, name []string) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == "**":
		return matchesSlowly(pattern[1:], name) || len(name) > 0 && matchesSlowly(pattern, name[1:])
	case len(name) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == name[0]) && matchesSlowly(pattern[1:], name[1:])
}

func matchesByReference(pattern, name string) bool {
	return matchesSlowly(strings.Split(pattern, "."), strings.Split(name, "."))
}

func TestPatternAgreesWithReference(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	join := func(most int, choices ...string) string {
		segments := make([]string, 1+random.IntN(most))
		for i := range segments {
			segments[i] = choices[random.IntN(len(choices))]
		}
		return strings.Join(segments, ".")
	}
	matched := 0
	for range 100_000 {
		pattern, name := join(6, "*", "**", "a", "b", "ab"), join(8, "a", "b", "ab")
		want := matchesByReference(pattern, name)
		if got := mustCompile(t, pattern).Match(name); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
		if want {
			matched++
		}
	}
	if matched < 10_000 || matched > 90_000 {
		t.Errorf("%d of 100000 matched: the test asks for too little", matched)
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a.**.b.*", "a.b.c.b.d")
	f.Add("**.*", "")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 40 || len(name) > 60 {
			return // the reference takes exponential time
		}
		p, err := CompilePattern(pattern)
		if err != nil {
			return
		}
		if got, want := p.Match(name), matchesByReference(pattern, name); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}

func TestPatternAllocatesNothing(t *testing.T) {
	p, name := mustCompile(t, "phoenix.**.*.tick"), "phoenix.backend.room_lobby.tick"
	if allocs := testing.AllocsPerRun(100, func() { p.Match(name) }); allocs != 0 {
		t.Errorf("%v allocations a match", allocs)
	}
}

func BenchmarkPattern(b *testing.B) {
	p, err := CompilePattern("phoenix.*.**.tick")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !p.Match("phoenix.backend.room_lobby.tick") {
			b.Fatal("no match")
		}
	}
}
