package rawjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheck(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `""`, `0`, `-0`, `12.50e+07`, `1E-9`, `true`, `false`, `null`, " \t\r\n{ } ",
		`{"a":[1,{"b":[]},"c"],"d":{}}`, `"\"\\\/\b\f\n\r\t\u00e9"`, `"\ud800"`, `"ü€𝄞"`, "\"\x7f\"",
		`"seven.."`, `"eight..."`, `"nine....."`, `{"a":1,"a":2}`,
	} {
		if _, err := Check([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheckFaults(t *testing.T) {
	for _, test := range []struct {
		text   string
		offset int
		fault  Fault
	}{
		{``, 0, FaultEndOfText},
		{` `, 1, FaultEndOfText},
		{`[`, 1, FaultEndOfText},
		{`"open`, 5, FaultEndOfText},
		{`"open\`, 6, FaultEndOfText},
		{`"\u12`, 5, FaultEndOfText},
		{`-`, 1, FaultEndOfText},
		{`1.`, 2, FaultEndOfText},
		{`{} {}`, 3, FaultTrailing},
		{`01`, 1, FaultTrailing},
		{`1,`, 1, FaultTrailing},
		{`+1`, 0, FaultValue},
		{`NaN`, 0, FaultValue},
		{"\x00", 0, FaultValue},
		{"\ufeff{}", 0, FaultValue},
		{`[1,]`, 3, FaultValue},
		{`[,1]`, 1, FaultValue},
		{`{"a":}`, 5, FaultValue},
		{`.5`, 0, FaultValue},
		{`-a`, 1, FaultDigit},
		{`1.e5`, 2, FaultDigit},
		{`1e+x`, 3, FaultDigit},
		{`tru `, 0, FaultLiteral},
		{`[nul]`, 1, FaultLiteral},
		{`{a:1}`, 1, FaultKey},
		{`{1:1}`, 1, FaultKey},
		{`{"a":1,}`, 7, FaultKey},
		{`{"a" 1}`, 5, FaultColon},
		{`{"a":1 "b":2}`, 7, FaultSeparator},
		{`[1 2]`, 3, FaultSeparator},
		{`[1}`, 2, FaultSeparator},
		{`{"a":[1}]`, 7, FaultSeparator},
		{"\"a\nb\"", 2, FaultControl},
		{"\"0123456\x00\"", 8, FaultControl},
		{`"\x"`, 2, FaultEscape},
		{`"\u12g4"`, 5, FaultEscape},
		{"\"a\xff\"", 1, FaultUTF8},
		{"[\"\xed\xa0\x80\"]", 2, FaultUTF8}, // a surrogate in UTF-8
		{"{\"\xc3\":1}", 2, FaultUTF8},
	} {
		_, err := Check([]byte(test.text))
		want := SyntaxError{test.fault, test.offset}
		var got *SyntaxError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%q: %v; want %v", test.text, err, &want)
		}
	}
}

// Every byte at every place of a word, inside of a string and right behind it.
func TestCheckStringBytes(t *testing.T) {
	const digits = "0123456789abcdefghij"
	for c := range 256 {
		for at := range len(digits) {
			checkAgainstStd(t, []byte(`"`+digits[:at]+string([]byte{byte(c)})+digits[at:]+`"`))
			checkAgainstStd(t, []byte(`"`+digits[:at]+`"`+string([]byte{byte(c)})))
		}
	}
}

func TestCheckDepth(t *testing.T) {
	for _, depth := range []int{1, 63, 64, 65, 127, 128, 129, 640, 9_999, 10_000, 10_001, 1_000_000} {
		for _, container := range []struct{ opening, closing string }{{"[", "]"}, {`{"a":`, "}"}} {
			text := strings.Repeat(container.opening, depth) + "1" + strings.Repeat(container.closing, depth)
			checkAgainstStd(t, []byte(text))
			checkAgainstStd(t, []byte(text[:len(text)-1]))
			checkAgainstStd(t, []byte(text+container.closing))
			checkAgainstStd(t, []byte("["+text+",["+text+`],{"b":`+text+"}]"))
			checkAgainstStd(t, []byte("[{}"+strings.Replace(text, "1", "[]", 1)))
		}
		// The kinds of the containers are remembered across words.
		kinds := strings.Repeat(`[{"a":`, depth/2) + "[]" + strings.Repeat("}]", depth/2)
		checkAgainstStd(t, []byte(kinds))
		checkAgainstStd(t, []byte(strings.Replace(kinds, "}]}", "}]]", 1)))
	}
}

// checkAgainstStd compares the verdict on text with that of the standard library.
func checkAgainstStd(t *testing.T, text []byte) {
	t.Helper()
	broken, err := Check(text)
	want := json.Valid(text) && utf8.Valid(text)
	if (err == nil) != want {
		t.Errorf("%.100q: %v; json.Valid and utf8.Valid say %t", text, err, want)
	}
	if err == nil && broken != strings.ContainsAny(string(text), "\r\n") {
		t.Errorf("%.100q: broken is %t", text, broken)
	}
	var syntax *SyntaxError
	if errors.As(err, &syntax) && (syntax.Offset < 0 || syntax.Offset > len(text)) {
		t.Errorf("%.100q: the error is outside of the text: %v", text, err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1.5e+3,-0,"\u00aF\n"],"b":{"c":null}} `, "[true,\r\nfalse,\tnull]", `[[[[]]],{"":{}}]`, `"\ud83d\ude00 ü \\"`,
		"\"\xe2\x82\"", `[01]`, `{"a":1,}`, `"12345678"`, `"1234567"`, "\"1234567\x1f\"", `-`, `1e`, strings.Repeat("[", 130),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkAgainstStd(t, text) })
}

func TestAppendString(t *testing.T) {
	for text, want := range map[string]string{
		"": `""`, "plain": `"plain"`, `a"b\c/`: `"a\"b\\c/"`, "\n\r\t": `"\n\r\t"`, "\b\f\x00\x1f": `"\u0008\u000c\u0000\u001f"`,
		"<&>\u2028\x7f": "\"<&>\u2028\x7f\"", "zoë 𝄞": `"zoë 𝄞"`, "\ufffd": "\"\ufffd\"",
		"a\xffb": "\"a\ufffdb\"", "\xe2\x82": "\"\ufffd\ufffd\"", "\xed\xa0\x80": "\"\ufffd\ufffd\ufffd\"",
	} {
		if got := string(AppendString([]byte("["), text)); got != "["+want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		if got := string(AppendString(nil, []byte(text))); got != want {
			t.Errorf("%q as bytes: %s, want %s", text, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "a\"\\\n\x00", "ü\u2028😀", "\xc3", "a\xed\xa0\x80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		encoded := AppendString(nil, text)
		if broken, err := Check(encoded); err != nil || broken {
			t.Fatalf("%q: %s is not one line of JSON: %v", text, encoded, err)
		}
		decoded, end, err := ReadString(encoded, 0)
		if err != nil || end != len(encoded) || string(decoded) != string([]rune(text)) {
			t.Fatalf("%q: read back as %q, %v", text, decoded, err)
		}
	})
}

const benchText = `["4","17","room:lobby","new_msg",{"id":123456789,"body":"hello, world","user":{"id":42,"name":"Zoë"},"tags":[]}]`

func BenchmarkCheck(b *testing.B) {
	data := []byte(benchText)
	b.Run("rawjson", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := Check(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json.Valid", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if !json.Valid(data) || !utf8.Valid(data) {
				b.Fatal("not valid")
			}
		}
	})
}

func BenchmarkAppendString(b *testing.B) {
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendString(buf[:0], "room:lobby of the house of Zoë")
	}
}

// FuzzReadString compares what a string stands for with encoding/json.
func FuzzReadString(f *testing.F) {
	for _, seed := range []string{
		`"plain"`, `"\"\\\/\b\f\n\r\t"`, `"\u00e9\u20AC\ud83d\ude00"`, `"\ud800"`, `"\ud800\u0041"`, `"\udc00\ud800\udc00"`, `"\ud800x\udc00"`, `"a\`, `"\u12`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, end, err := ReadString(text, 0)
		if err != nil {
			return // FuzzCheck knows what is valid
		}
		var want string
		if err := json.Unmarshal(text[:end], &want); err != nil || string(got) != want {
			t.Errorf("%q: %q; want %q, %v", text, got, want, err)
		}
	})
}
