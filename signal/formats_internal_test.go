package signal

import (
	"encoding/json"
	"math"
	"net/url"
	"regexp"
	"testing"
	"unicode/utf8"
)

func TestNeedsEncoding(t *testing.T) {
	needs := map[string]bool{
		"": false, "room:lobby": false, "100%": false, "a b": false, " a": false, "é😀": false, `"\`: false, "\u2028": true, // white space
		"~": false, "\u00a0": true, "a\u00a0": false, "\ufffd": false, "\xff": false, "\xed\xa0\x80": false, // what is not UTF-8 becomes U+FFFD
		"a\x00": true, "\n": true, "a\x1fb": true, "\x7f": true, "\u0080": true, "\u009f": true,
		"\ufdcf": false, "\ufdd0": true, "\ufdef": true, "\ufdf0": false, "\ufffe": true, "\uffff": true, "\U00010000": false,
		"\U0001fffd": false, "\U0001fffe": true, "\U0001ffff": true, "\U0010ffff": true, "\U000ffffe": true,
		" ": true, " \u3000\t": true,
	}
	for s, want := range needs {
		if got := needsEncoding(s); got != want {
			t.Errorf("needsEncoding(%q) = %v", s, got)
		}
	}
}

func TestAppendEncoded(t *testing.T) {
	tests := map[string]string{
		"room:lobby":        "room:lobby",
		"100%":              "100%25",
		"a\nb":              "a%0Ab",
		"\x7f\u0080\ufffe":  "%7F%C2%80%EF%BF%BE",
		"\U0010ffff é😀":     "%F4%8F%BF%BF é😀",
		" \u00a0":           "%20%C2%A0",
		`"\`:                `\"\\`,
		"\xff\xed\xa0\x80%": "\ufffd\ufffd\ufffd\ufffd%25",
	}
	for s, want := range tests {
		if got := string(appendEncoded(nil, s)); got != `"`+want+`"` {
			t.Errorf("%q is encoded as %s, want %q", s, got, want)
		}
	}
}

func TestAppendSequence(t *testing.T) {
	tests := map[uint64]string{
		0: "0000000000", 1: "0000000001", 9: "0000000009", 10: "0000000010", 99: "0000000099", 1234567: "0001234567",
		999999999: "0999999999", 1000000000: "1000000000", 9999999999: "9999999999",
		10000000000: "10000000000", math.MaxUint64: "18446744073709551615",
	}
	for seq, want := range tests {
		if got := string(appendSequence(nil, seq)); got != `"`+want+`"` {
			t.Errorf("sequence of %d: %s, want %q", seq, got, want)
		}
	}
}

// FuzzAppendEncoded: whatever the string, what is encoded is a CloudEvents String and gives the
// string back.
func FuzzAppendEncoded(f *testing.F) {
	f.Add("room:lobby")
	f.Add("%41\n")
	f.Add(" \t\u00a0")
	f.Add("\"\\\x00\x7f\u009f\ufdd0\uffff\U0010ffff\xff\xc3é😀")
	percent := regexp.MustCompile("%([^0-9A-F]|.[^0-9A-F]|.?$)")
	f.Fuzz(func(t *testing.T, s string) {
		var encoded string
		if err := json.Unmarshal(appendEncoded(nil, s), &encoded); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if needsEncoding(encoded) || !utf8.ValidString(encoded) || percent.MatchString(encoded) {
			t.Errorf("%q is encoded as %q", s, encoded)
		}
		if decoded, err := url.PathUnescape(encoded); err != nil || decoded != string([]rune(s)) {
			t.Errorf("%q came back as %q, %v", s, decoded, err)
		}
	})
}
