package glob_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"phx/router/glob"
)

func compile(t testing.TB, pattern string) glob.Glob {
	t.Helper()
	g, err := glob.Compile(pattern)
	if err != nil {
		t.Fatalf("Compile(%q): %v", pattern, err)
	}
	return g
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"", []string{""}, []string{"a"}},
		{"new_msg", []string{"new_msg"}, []string{"new_ms", "new_msgs", "NEW_MSG", ""}},
		{"*", []string{"", "a", "room:lobby", "a\nb"}, nil},
		{"room:*", []string{"room:", "room:lobby", "room:a:b"}, []string{"room", "xroom:a"}},
		{"*_msg", []string{"_msg", "new_msg", "a_msg_msg"}, []string{"msg", "new_msg2"}},
		{"a*b*c", []string{"abc", "aXbYc", "abcbc", "abbcc"}, []string{"acb", "ab", "abcd"}},
		{"**", []string{"", "x"}, nil},
		{"a**b", []string{"ab", "aXb"}, []string{"a"}},
		{"?", []string{"a", "é", "€", "😀", "\xff"}, []string{"", "ab"}},
		{"??", []string{"éé", "ab"}, []string{"é", "a"}},
		{"*??", []string{"éé", "abc"}, []string{"é"}},
		{"é*?", []string{"éa", "ééé"}, []string{"é", "ee"}},
		{"a?*", []string{"ab", "aé", "abc"}, []string{"a"}},
		{`\*`, []string{"*"}, []string{"a", "", `\*`}},
		{`\?\\\a`, []string{`?\a`}, []string{`x\a`}},
		{`*\*`, []string{"*", "a*"}, []string{"a"}},
		{`\é`, []string{"é"}, []string{"e"}},
		{"[a-z]{b,c}!", []string{"[a-z]{b,c}!"}, []string{"a", "b"}},
		{"a/*.b", []string{"a/x/y.b", "a/.b"}, []string{"a/xb"}},
	} {
		g := compile(t, c.pattern)
		for want, names := range map[bool][]string{true: c.yes, false: c.no} {
			for _, name := range names {
				if g.MatchString(name) != want || g.Match([]byte(name)) != want {
					t.Errorf("%q matches %q: %v, want %v", c.pattern, name, !want, want)
				}
			}
		}
		if g.String() != c.pattern {
			t.Errorf("Compile(%q).String() = %q", c.pattern, g.String())
		}
	}
}

func TestCompileRefusesSingleBackslashAtTheEnd(t *testing.T) {
	for _, pattern := range []string{`\`, `a\`, `*\\\`} {
		if _, err := glob.Compile(pattern); err == nil {
			t.Errorf("Compile(%q) succeeded", pattern)
		}
	}
	compile(t, `a\\`)
}

// A name that almost matches many ways takes a naive matcher years.
func TestMatchIsNotExponential(t *testing.T) {
	g := compile(t, strings.Repeat("*a", 50)+"b")
	if g.MatchString(strings.Repeat("a", 2000)) {
		t.Error("a name without b matches")
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	g := compile(t, "*?:é*_m?g")
	name := []byte("room😀:é—new_msg")
	if !g.Match(name) {
		t.Fatal("does not match")
	}
	if n := testing.AllocsPerRun(100, func() { g.Match(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzMatch compares globs with regular expressions that mean the same.
func FuzzMatch(f *testing.F) {
	f.Add("room:*", "room:lobby")
	f.Add("*a*?b", "éaaab")
	f.Add(`\**?é`, "*xé")
	f.Add("a*\xff", "a\xff")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		g, err := glob.Compile(pattern)
		if err != nil {
			return
		}
		got := g.MatchString(name)
		if g.Match([]byte(name)) != got {
			t.Fatalf("%q: Match and MatchString differ on %q", pattern, name)
		}
		// A regular expression takes an invalid byte for U+FFFD.
		if !utf8.ValidString(pattern) || !utf8.ValidString(name) {
			return
		}
		if want := regexp.MustCompile(expression(pattern)).MatchString(name); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}

func expression(pattern string) string {
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	quoted := false
	for _, r := range pattern {
		switch {
		case quoted || !strings.ContainsRune(`*?\`, r):
			re.WriteString(regexp.QuoteMeta(string(r)))
			quoted = false
		case r == '*':
			re.WriteString(".*")
		case r == '?':
			re.WriteString(".")
		default:
			quoted = true
		}
	}
	re.WriteString(`\z`)
	return re.String()
}

func BenchmarkMatch(b *testing.B) {
	g := compile(b, "refund_*")
	hit, miss := []byte("refund_requested"), []byte("presence_diff")
	for b.Loop() {
		g.Match(hit)
		g.Match(miss)
	}
}
