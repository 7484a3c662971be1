package jsonstream_test

import (
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

func TestLines(t *testing.T) {
	for input, want := range map[string][]string{
		"":              nil,
		"a":             {"a"},
		"a\n":           {"a"},
		"a\r\nb\r\r\nc": {"a", "b\r", "c"},
		"\n\n":          {"", ""},
		"a\r":           {"a"},
		"é\u2028\x00\n": {"é\u2028\x00"},
	} {
		for _, r := range []io.Reader{strings.NewReader(input), iotest.OneByteReader(strings.NewReader(input))} {
			if got, err := all(jsonstream.NewLines(r, math.MaxInt64).Next); err != io.EOF || !slices.Equal(got, want) {
				t.Errorf("%q: %q, %v; want %q", input, got, err, want)
			}
		}
	}
}

// A bad line is an error, and can be left out.
func TestBadLines(t *testing.T) {
	long := strings.Repeat("x", 300_000)
	input := "a\n\xff\nb\n" + long + "\nc\r\nxxxxxx\r\nxé\xe2\x82"
	const max = 5
	l := jsonstream.NewLines(iotest.HalfReader(strings.NewReader(input)), max)
	var skipped strings.Builder
	for _, want := range []string{
		"a", "value 1 (line 2, byte 2): invalid UTF-8", "b", "value 3 (line 4, byte 6): a line of more than 5 bytes", "c",
		"value 5 (line 6, byte 300010): a line of more than 5 bytes", "value 6 (line 7, byte 300021): invalid UTF-8", "EOF", "EOF",
	} {
		v, err := l.Next()
		got := string(v.Raw)
		var syntax *jsonstream.SyntaxError
		if errors.As(err, &syntax) || err == io.EOF {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q, %v; want %q", v.Raw, err, want)
		}
		if syntax != nil {
			if _, again := l.Next(); again != err {
				t.Errorf("before it is skipped: %v", again)
			}
		}
		if err := l.Skip(&skipped); err != nil {
			t.Error(err)
		}
	}
	if want := "\xff\n" + long + "\nxxxxxx\r\nxé\xe2\x82"; skipped.String() != want {
		t.Errorf("skipped %q", skipped.String())
	}
}

func TestRestOfLines(t *testing.T) {
	l := jsonstream.NewLines(iotest.HalfReader(strings.NewReader("a\r\n\xff\r\nb\n")), 100)
	if _, err := all(l.Next); err == io.EOF {
		t.Fatal("the bad line is no error")
	}
	if rest, err := io.ReadAll(l.Rest()); string(rest) != "\xff\r\nb\n" || err != nil {
		t.Errorf("Rest: %q, %v", rest, err)
	}
}

func TestReadErrorsOfLines(t *testing.T) {
	cause := errors.New("device gone")
	for _, input := range []string{"", "a\n", "a\nb", "a\n\xff\n", "a\n" + strings.Repeat("x", 200)} {
		l := jsonstream.NewLines(io.MultiReader(strings.NewReader(input), iotest.ErrReader(cause)), 100)
		var err error
		for err == nil || errors.As(err, new(*jsonstream.SyntaxError)) {
			if err = l.Skip(io.Discard); err == nil {
				_, err = l.Next()
			}
		}
		if !errors.As(err, new(*jsonstream.ReadError)) || !errors.Is(err, cause) {
			t.Errorf("%.9q: %v, want a ReadError", input, err)
		}
	}
}

func TestAppendWrapped(t *testing.T) {
	got := jsonstream.AppendWrapped([]byte("x"), `a"`, []byte("\x00\t\r\n\x1f\"\\/<é\u2028"))
	if want := `x{"a\"":"\u0000\t\r\n\u001f\"\\/<é` + "\u2028" + `"}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// FuzzLines compares lines with a split, and the wrapped ones with what encoding/json reads.
func FuzzLines(f *testing.F) {
	f.Add("a\r\nb\n\n\xff\nc", 3)
	f.Fuzz(func(t *testing.T, input string, max int) {
		if max < 0 {
			return
		}
		l := jsonstream.NewLines(iotest.HalfReader(strings.NewReader(input)), int64(max))
		offset := 0
		index := 0
		for whole := range strings.Lines(input) {
			want := strings.TrimSuffix(strings.TrimSuffix(whole, "\n"), "\r")
			good := utf8.ValidString(want) && len(want) <= max
			v, err := l.Next()
			if good != (err == nil) || !good && !errors.As(err, new(*jsonstream.SyntaxError)) {
				t.Fatalf("line %d: %v, of %q", index, err, want)
			}
			source := string(v.Source)
			if !good {
				var skipped strings.Builder
				if err := l.Skip(&skipped); err != nil {
					t.Fatal(err)
				}
				source = skipped.String()
			}
			if source != whole {
				t.Fatalf("line %d: source %q, of %q", index, source, whole)
			}
			if good {
				if string(v.Raw) != want || v.Index != index || v.Offset != int64(offset) {
					t.Fatalf("line %d at %d: %d at %d, %q; want %q", index, offset, v.Index, v.Offset, v.Raw, want)
				}
				checkWrapped(t, want)
			}
			offset += len(whole)
			index++
		}
		if _, err := l.Next(); err != io.EOF {
			t.Fatalf("behind the last line: %v", err)
		}
	})
}

func checkWrapped(t *testing.T, line string) {
	t.Helper()
	var got map[string]string
	wrapped := jsonstream.AppendWrapped(nil, line, []byte(line))
	if err := json.Unmarshal(wrapped, &got); err != nil || len(got) != 1 || got[line] != line {
		t.Fatalf("%q was wrapped as %s, which reads as %q, %v", line, wrapped, got, err)
	}
}
