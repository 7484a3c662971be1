package jsonstream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"phx/cmd/internal/jsonstream"
)

// next is the Next of both readers.
type next func() (jsonstream.Value, error)

// all returns the values up to the first error, and that.
func all(next next) (values []string, err error) {
	for {
		v, err := next()
		if err != nil {
			return values, err
		}
		values = append(values, string(v.Raw))
	}
}

func read(input string) *jsonstream.Reader {
	return jsonstream.New(strings.NewReader(input), math.MaxInt64)
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		input string
		want  []string
	}{
		{"", nil},
		{" \r\n\t", nil},
		{"{}", []string{"{}"}},
		{"{} []\n\"x\"\r\ntrue\tfalse null 0 ", []string{"{}", "[]", `"x"`, "true", "false", "null", "0"}},
		{`{}[]{}""true[]false{}null"a"1"b"-2`, []string{"{}", "[]", "{}", `""`, "true", "[]", "false", "{}", "null", `"a"`, "1", `"b"`, "-2"}},
		{"12345678901234567890 1.0 1e400 -0 -0.5E-7 0e+1", []string{"12345678901234567890", "1.0", "1e400", "-0", "-0.5E-7", "0e+1"}},
		{`{"a":1,"a":2} "\u0000\/\"\\"`, []string{`{"a":1,"a":2}`, `"\u0000\/\"\\"`}},
		{"{ \"a\" : [ 1 , { } , [ ] ,\n null ] }", []string{"{ \"a\" : [ 1 , { } , [ ] ,\n null ] }"}},
		{`"é€😀" "\ud83d"`, []string{`"é€😀"`, `"\ud83d"`}},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader,
			"halves": iotest.HalfReader, "data with EOF": iotest.DataErrReader,
		} {
			got, err := all(jsonstream.New(wrap(strings.NewReader(c.input)), math.MaxInt64).Next)
			if err != io.EOF || !slices.Equal(got, c.want) {
				t.Errorf("%q, %s: %q, %v; want %q", c.input, name, got, err, c.want)
			}
		}
	}
}

func TestIndexAndOffset(t *testing.T) {
	r := read(" {}\n\n12 \"x\"")
	for _, want := range []struct {
		index  int
		offset int64
	}{{0, 1}, {1, 5}, {2, 8}} {
		v, err := r.Next()
		if err != nil || v.Index != want.index || v.Offset != want.offset {
			t.Errorf("index %d, offset %d, %v; want %v", v.Index, v.Offset, err, want)
		}
	}
}

// A value comes without another read once its last byte is there.
func TestValueIsNotHeldBack(t *testing.T) {
	errTooFar := errors.New("read too far")
	for input, waits := range map[string]bool{
		`{"a":{}}`: false, "[[]]": false, `"x"`: false, "true": false, "false": false, "null": false, "12 ": false, `12"`: false,
		"12": true, "1.5e3": true, "{": true, "tru": true,
	} {
		r := jsonstream.New(io.MultiReader(strings.NewReader(input), iotest.ErrReader(errTooFar)), math.MaxInt64)
		if _, err := r.Next(); errors.Is(err, errTooFar) != waits {
			t.Errorf("%q: %v; should wait for more: %v", input, err, waits)
		}
	}
}

// A mistake is noticed while its value is still incomplete: who writes the rest may wait for an answer first.
func TestMistakeIsNotHeldBack(t *testing.T) {
	errTooFar := errors.New("read too far")
	long := "[" + strings.Repeat("1,", 50_000)
	for _, input := range []string{"{bad\n", "[1,\n]", "\"a\n", "[tru,", `{"a" 1`, "tRue", "-x", long + "\x01" + long} {
		r := jsonstream.New(io.MultiReader(strings.NewReader(input), iotest.ErrReader(errTooFar)), math.MaxInt64)
		if _, err := r.Next(); !errors.As(err, new(*jsonstream.SyntaxError)) {
			t.Errorf("%.20q: %v, want a SyntaxError", input, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ input, want, rest string }{
		{"{} {}\n  {b:1}", `value 2 (line 2, byte 9): invalid character 'b' looking for the beginning of an object key`, "{b:1}"},
		{"{} }{", `value 1 (line 1, byte 3): invalid character '}' looking for the beginning of a value`, "}{"},
		{"{\"a\"\n1}", `value 0 (line 2, byte 5): invalid character '1' after an object key`, "{\"a\"\n1}"},
		{`{"a":1 "b"}`, `value 0 (line 1, byte 7): invalid character '"' after a member of an object`, ""},
		{`{"a":1,}`, `value 0 (line 1, byte 7): invalid character '}' looking for the beginning of an object key`, ""},
		{`[1,]`, `value 0 (line 1, byte 3): invalid character ']' looking for the beginning of a value`, ""},
		{`[1}`, `value 0 (line 1, byte 2): invalid character '}' after an element of an array`, ""},
		{`[1,2` + "\n\n" + `3]`, `value 0 (line 3, byte 6): invalid character '3' after an element of an array`, ""},
		{`"\x"`, `value 0 (line 1, byte 2): invalid character 'x' in an escape sequence of a string`, ""},
		{`"\u12g4"`, `value 0 (line 1, byte 5): invalid character 'g' in an escape sequence of a string`, ""},
		{"\"a\nb\"", `value 0 (line 1, byte 2): invalid character '\n' in a string`, ""},
		{"\"a\xffb\"", `value 0 (line 1, byte 2): invalid UTF-8 in a string`, ""},
		{"\"a\xe2", `value 0 (line 1, byte 2): invalid UTF-8 in a string`, ""},
		{"trUe", `value 0 (line 1, byte 2): invalid character 'U' in a literal true, false or null`, ""},
		{"“a”", `value 0 (line 1, byte 0): invalid character '“' looking for the beginning of a value`, ""},
		{"\xff", `value 0 (line 1, byte 0): invalid byte 0xff looking for the beginning of a value`, ""},
		{"-x", `value 0 (line 1, byte 1): invalid character 'x' in a number`, ""},
		{"1 2026-02-07", `value 1 (line 1, byte 6): invalid character '-' after a number`, "2026-02-07"},
		{"1,2", `value 0 (line 1, byte 1): invalid character ',' after a number`, "1,2"},
		{"01", `value 0 (line 1, byte 1): invalid character '1' after a number`, "01"},
		{"[1.]", `value 0 (line 1, byte 3): invalid character ']' in a number`, ""},
		{"truefalse", `value 1 (line 1, byte 4): invalid character 'f' after a value, where white space is needed`, "false"},
		{"1 {", `value 1 (line 1, byte 3): unexpected end of the input looking for the beginning of an object key`, "{"},
		{"[\n", `value 0 (line 2, byte 2): unexpected end of the input looking for the beginning of a value`, ""},
		{"[1", `value 0 (line 1, byte 2): unexpected end of the input after a number`, ""},
		{`"a`, `value 0 (line 1, byte 2): unexpected end of the input in a string`, ""},
		{`1.`, `value 0 (line 1, byte 2): unexpected end of the input in a number`, ""},
		{`nul`, `value 0 (line 1, byte 3): unexpected end of the input in a literal true, false or null`, ""},
		{strings.Repeat("[", 10_001), `value 0 (line 1, byte 10000): nested more than 10000 levels deep`, ""},
	} {
		r := read(c.input)
		_, err := all(r.Next)
		var syntax *jsonstream.SyntaxError
		if !errors.As(err, &syntax) || err.Error() != c.want {
			t.Errorf("%.20q: %v, want %s", c.input, err, c.want)
		}
		if _, again := r.Next(); again != err {
			t.Errorf("%.20q: Next after the error: %v", c.input, again)
		}
		rest, err := io.ReadAll(r.Rest())
		if want := c.rest; err != nil || want != "" && string(rest) != want || !strings.HasSuffix(c.input, string(rest)) {
			t.Errorf("%.20q: Rest: %.20q, %v; want %q", c.input, rest, err, want)
		}
	}
}

func TestDeepestNesting(t *testing.T) {
	input := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	if got, err := all(read(input).Next); err != io.EOF || len(got) != 1 {
		t.Errorf("%d values, %v", len(got), err)
	}
}

func TestReadErrors(t *testing.T) {
	cause := errors.New("device gone")
	for input, delivered := range map[string]int{"": 0, "{}": 1, "{} 1": 1, "{} [": 1} {
		r := jsonstream.New(io.MultiReader(strings.NewReader(input), iotest.ErrReader(cause)), math.MaxInt64)
		got, err := all(r.Next)
		var failed *jsonstream.ReadError
		if !errors.As(err, &failed) || !errors.Is(err, cause) || !strings.Contains(err.Error(), cause.Error()) || len(got) != delivered {
			t.Errorf("%q: %q, %v; want %d values and a ReadError", input, got, err, delivered)
		}
		rest, err := io.ReadAll(r.Rest())
		if !errors.Is(err, cause) || !strings.HasSuffix(input, string(rest)) {
			t.Errorf("%q: Rest: %q, %v; want the read error behind it", input, rest, err)
		}
	}
	if _, err := jsonstream.New(idle{}, 1).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that returns nothing: %v, want io.ErrNoProgress", err)
	}
}

// idle is a reader that never has anything.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestLargeValues(t *testing.T) {
	const max = 200_000
	largest := `"` + strings.Repeat("é\\n", (max-2)/4) + strings.Repeat("x", (max-2)%4) + `"`
	tooLarge := "[\n" + largest + "]"
	got, err := all(jsonstream.New(strings.NewReader(largest+largest+" 1 "+largest+"{}\n"+tooLarge), max).Next)
	var syntax *jsonstream.SyntaxError
	if len(got) != 5 || !errors.As(err, &syntax) || syntax.Index != 5 || syntax.Line != 2 || !strings.Contains(syntax.Msg, "200000") {
		t.Errorf("%d values, %v; want 5, then an error for value 5 in line 2", len(got), err)
	}
	if _, err := all(jsonstream.New(strings.NewReader(strings.Repeat("1", 2*max)), max).Next); !errors.As(err, &syntax) {
		t.Errorf("a large number: %v, want a SyntaxError", err)
	}
	// An endless value must not be read to its end before it is refused.
	endless := io.MultiReader(strings.NewReader("["), repeat('1'))
	if _, err := all(jsonstream.New(endless, max).Next); !errors.As(err, &syntax) {
		t.Errorf("an endless value: %v, want a SyntaxError", err)
	}
}

// repeat is a reader without end.
type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

// Values must not be overwritten by reading ahead, nor by a caller that appends to the one before.
func TestValuesDoNotOverlap(t *testing.T) {
	r := jsonstream.New(iotest.HalfReader(strings.NewReader(strings.Repeat("[1][2]", 50_000))), 10)
	for i := range 100_000 {
		v, err := r.Next()
		if want := []string{"[1]", "[2]"}[i%2]; err != nil || string(v.Raw) != want || v.Offset != int64(3*i) {
			t.Fatalf("value %d at %d is %q, %v; want %q", i, v.Offset, v.Raw, err, want)
		}
		_ = append(v.Raw, "overwritten"...)
	}
}

func TestNoAllocations(t *testing.T) {
	input := bytes.NewReader(bytes.Repeat([]byte(`{"a":[1,2,{"b":"c"}]}`+"\n"), 20_000))
	r := jsonstream.New(input, 1000)
	l := jsonstream.NewLines(bytes.NewReader(bytes.Repeat([]byte("line\n"), 20_000)), 10)
	for name, next := range map[string]next{"Reader": r.Next, "Lines": l.Next} {
		if n := testing.AllocsPerRun(10_000, func() {
			if _, err := next(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a value", name, n)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	value := []byte(`{"topic":"room:lobby","event":"new_msg","payload":{"body":"hello, world","n":12345,"tags":["a","b",null,true]}}` + "\n")
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	r := jsonstream.New(&loop{data: value}, 1<<20)
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// loop is a reader that repeats data without end.
type loop struct {
	data []byte
	at   int
}

func (l *loop) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], l.data[l.at:])
		n += c
		l.at = (l.at + c) % len(l.data)
	}
	return n, nil
}

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

// A byte order mark before the first value, and the separators of JSON text sequences, are white space that nobody sees.
func TestInvisibleSpace(t *testing.T) {
	for input, want := range map[string]string{
		"\uFEFF{\"a\":1} 2":           `{"a":1}|2`,
		"\uFEFF":                      "",
		"\x1e{\"a\":1}\n\x1e3\n\x1e4": `{"a":1}|3|4`,
	} {
		for _, r := range []io.Reader{strings.NewReader(input), iotest.OneByteReader(strings.NewReader(input))} {
			var got []string
			reader := jsonstream.New(r, 100)
			v, err := reader.Next()
			for ; err == nil; v, err = reader.Next() {
				got = append(got, string(v.Raw))
			}
			if strings.Join(got, "|") != want || err != io.EOF {
				t.Errorf("%q: got %q, %v", input, got, err)
			}
		}
	}
	if _, err := jsonstream.New(strings.NewReader("1 \uFEFF"), 100).Next(); err != nil {
		t.Error(err)
	}
}

// After a mistake a reader goes on behind the line on which the bad value begins, wherever the mistake is in it.
func TestSkip(t *testing.T) {
	input := "1 {\"a\":\n{\"b\":2}\n[1,\n[2]\n{\"c\":\"x\ny\n\n3 4 x5\n\xff\n6\n{"
	for _, reader := range []io.Reader{strings.NewReader(input), iotest.OneByteReader(strings.NewReader(input))} {
		r := jsonstream.New(reader, math.MaxInt64)
		var got []string
		for {
			v, err := r.Next()
			if err == io.EOF {
				break
			}
			var bad *jsonstream.SyntaxError
			if errors.As(err, &bad) {
				var skipped strings.Builder
				if err := r.Skip(&skipped); err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("bad %d: %q", bad.Index, skipped.String()))
				continue
			}
			got = append(got, fmt.Sprintf("%d line %d: %q", v.Index, v.Line, v.Raw))
		}
		want := []string{
			`0 line 1: "1"`, `bad 1: "{\"a\":\n"`, `2 line 2: "{\"b\":2}"`, `bad 3: "[1,\n"`, `4 line 4: "[2]"`,
			`bad 5: "{\"c\":\"x\n"`, `bad 6: "y\n"`, `7 line 8: "3"`, `8 line 8: "4"`, `bad 9: "x5\n"`, `bad 10: "\xff\n"`,
			`11 line 10: "6"`, `bad 12: "{"`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
