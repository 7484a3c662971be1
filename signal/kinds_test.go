package signal_test

import (
	"regexp"
	"slices"
	"testing"

	"phx/signal"
)

func TestSanitize(t *testing.T) {
	tests := map[string]string{
		"":                 "_",
		"room:lobby":       "room_lobby",
		"aZ09_-":           "aZ09_-",
		"a.b*c/d e":        "a_b_c_d_e",
		"é€😀":              "___",
		"e\u0301":          "e_", // two runes, one character
		"\xff\xc3":         "__", // bytes that are not UTF-8
		"\u012D":           "_",  // its low byte is '-'
		"\x00\n\u2028\\\"": "_____",
	}
	for in, want := range tests {
		if got := signal.Sanitize(in); got != want {
			t.Errorf("Sanitize(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	good := []string{"a", "default", "phoenix_backend", "0", "A-", "9_x", "Channel", "signals", "push-1"}
	bad := []string{"", "_a", "-a", "-", "a.b", "a b", "é", "a\n", "a/b", "a:b", "connection", "channel", "push", "signal", "presence"}
	for _, name := range good {
		if err := signal.CheckName(name); err != nil {
			t.Errorf("CheckName(%q): %v", name, err)
		}
	}
	for _, name := range bad {
		if signal.CheckName(name) == nil {
			t.Errorf("CheckName(%q): no error", name)
		}
	}
}

func TestBusTopics(t *testing.T) {
	const ofConnection = "jido.protocol.phoenix.backend"
	if got := signal.BusTopics("backend", ""); !slices.Equal(got, []string{ofConnection}) {
		t.Errorf("without a topic: %q", got)
	}
	if got := signal.BusTopics("backend", "room:lobby.1"); !slices.Equal(got, []string{ofConnection, ofConnection + ".room_lobby_1"}) {
		t.Errorf("with a topic: %q", got)
	}
}

func FuzzSanitize(f *testing.F) {
	segment := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	name := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	f.Add("room:lobby")
	f.Add("\xff\u012d")
	f.Fuzz(func(t *testing.T, s string) {
		got := signal.Sanitize(s)
		if !segment.MatchString(got) || len(got) != max(1, len([]rune(s))) || signal.Sanitize(got) != got {
			t.Errorf("Sanitize(%q) = %q", s, got)
		}
		if signal.CheckName(s) == nil && !name.MatchString(s) {
			t.Errorf("CheckName(%q): no error", s)
		}
	})
}
