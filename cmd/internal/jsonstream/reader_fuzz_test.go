package jsonstream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"phx/cmd/internal/jsonstream"
)

// FuzzReader compares the values with those that encoding/json finds by trying, and the places of errors with its own.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e+7,"\u00e9\n"]} []"x"true`, "2026-02-07", "nulltrue", "{b:1}", "\"é\xff\"", "[1,]", `{"a":1,"a":`, "1.", "0 01", "\xe2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		if len(input) > 300 {
			return // the reference takes the square
		}
		want, rest := reference(input)
		for _, r := range []io.Reader{strings.NewReader(input), iotest.OneByteReader(strings.NewReader(input))} {
			stream := jsonstream.New(r, math.MaxInt64)
			got, err := all(stream.Next)
			if !slices.Equal(got, want) {
				t.Fatalf("%q: %q, %v; want %q", input, got, err, want)
			}
			if rest == "" {
				if err != io.EOF {
					t.Fatalf("%q: %v, want io.EOF", input, err)
				}
				continue
			}
			checkError(t, input, rest, len(want), err)
			if left, err := io.ReadAll(stream.Rest()); string(left) != rest || err != nil {
				t.Fatalf("%q: Rest: %q, %v; want %q", input, left, err, rest)
			}
		}
	})
}

// checkError compares an error with that of encoding/json, which does not mind invalid UTF-8 and values without space.
func checkError(t *testing.T, input, rest string, index int, err error) {
	t.Helper()
	var got *jsonstream.SyntaxError
	if !errors.As(err, &got) || got.Index != index || got.Line != 1+strings.Count(input[:got.Offset], "\n") {
		t.Fatalf("%q: %v, want an error for value %d in its line", input, err, index)
	}
	if !utf8.ValidString(rest) || strings.Contains(got.Msg, "white space") {
		return // encoding/json does not mind
	}
	var want *json.SyntaxError
	if !errors.As(json.Unmarshal([]byte(rest), new(json.RawMessage)), &want) {
		t.Fatalf("%q: %v, but encoding/json finds nothing wrong", input, err)
	}
	offset := int64(len(input)-len(rest)) + want.Offset
	if !strings.Contains(got.Msg, "unexpected end") {
		offset-- // it counts the bad byte
	}
	if got.Offset != offset {
		t.Fatalf("%q: %v, want offset %d of %v", input, got, offset, want)
	}
}

// reference returns the values of input, and what follows them from the first bad one on.
func reference(input string) (values []string, rest string) {
	const space = " \t\r\n"
	needsSpace := false
	for {
		rest = strings.TrimLeft(input, space)
		if len(rest) < len(input) {
			needsSpace = false
		}
		if rest == "" || needsSpace && !strings.ContainsRune(`{["`, rune(rest[0])) {
			return values, rest
		}
		n := length(rest)
		if n == 0 || !utf8.ValidString(rest[:n]) {
			return values, rest
		}
		values = append(values, rest[:n])
		needsSpace = !strings.ContainsRune(`{["`, rune(rest[0]))
		input = rest[n:]
	}
}

// length returns the length of the value that s starts with; 0 if there is none.
func length(s string) int {
	if number := s[:len(s)-len(strings.TrimLeft(s, "+-.0123456789eE"))]; number != "" {
		after := s[len(number):]
		if json.Valid([]byte(number)) && (after == "" || strings.ContainsRune("{[\" \t\r\n", rune(after[0]))) {
			return len(number)
		}
		return 0
	}
	for n := 1; n <= len(s); n++ {
		if json.Valid([]byte(s[:n])) && len(bytes.TrimSpace([]byte(s[:n]))) == n {
			return n
		}
	}
	return 0
}
