package phoenix

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckJSON(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `""`, `0`, `-0`, `12.50e+07`, `1E-9`, `true`, `false`, `null`, " \t\r\n{ } ",
		`{"a":[1,{"b":[]},"c"],"d":{}}`, `"\"\\\/\b\f\n\r\t\u00e9"`, `"\ud800"`, `"ü€𝄞"`, "\"\x7f\"",
		`"seven.."`, `"eight..."`, `"nine....."`, `{"a":1,"a":2}`,
	} {
		if _, err := checkJSON([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheckJSONFaults(t *testing.T) {
	for _, test := range []struct {
		text   string
		offset int
		fault  fault
	}{
		{``, 0, faultEndOfText},
		{` `, 1, faultEndOfText},
		{`[`, 1, faultEndOfText},
		{`"open`, 5, faultEndOfText},
		{`"open\`, 6, faultEndOfText},
		{`"\u12`, 5, faultEndOfText},
		{`-`, 1, faultEndOfText},
		{`1.`, 2, faultEndOfText},
		{`{} {}`, 3, faultTrailing},
		{`01`, 1, faultTrailing},
		{`1,`, 1, faultTrailing},
		{`+1`, 0, faultValue},
		{`NaN`, 0, faultValue},
		{"\x00", 0, faultValue},
		{"\ufeff{}", 0, faultValue},
		{`[1,]`, 3, faultValue},
		{`[,1]`, 1, faultValue},
		{`{"a":}`, 5, faultValue},
		{`.5`, 0, faultValue},
		{`-a`, 1, faultDigit},
		{`1.e5`, 2, faultDigit},
		{`1e+x`, 3, faultDigit},
		{`tru `, 0, faultLiteral},
		{`[nul]`, 1, faultLiteral},
		{`{a:1}`, 1, faultKey},
		{`{1:1}`, 1, faultKey},
		{`{"a":1,}`, 7, faultKey},
		{`{"a" 1}`, 5, faultColon},
		{`{"a":1 "b":2}`, 7, faultSeparator},
		{`[1 2]`, 3, faultSeparator},
		{`[1}`, 2, faultSeparator},
		{`{"a":[1}]`, 7, faultSeparator},
		{"\"a\nb\"", 2, faultControl},
		{"\"0123456\x00\"", 8, faultControl},
		{`"\x"`, 2, faultEscape},
		{`"\u12g4"`, 5, faultEscape},
		{"\"a\xff\"", 1, faultUTF8},
		{"[\"\xed\xa0\x80\"]", 2, faultUTF8}, // a surrogate in UTF-8
		{"{\"\xc3\":1}", 2, faultUTF8},
	} {
		_, err := checkJSON([]byte(test.text))
		want := syntaxError{test.fault, test.offset}
		var got *syntaxError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%q: %v; want %v", test.text, err, &want)
		}
	}
}

// Every byte at every place of a word, inside of a string and right behind it.
func TestCheckJSONStringBytes(t *testing.T) {
	const digits = "0123456789abcdefghij"
	for c := range 256 {
		for at := range len(digits) {
			checkAgainstStd(t, []byte(`"`+digits[:at]+string([]byte{byte(c)})+digits[at:]+`"`))
			checkAgainstStd(t, []byte(`"`+digits[:at]+`"`+string([]byte{byte(c)})))
		}
	}
}

func TestCheckJSONDepth(t *testing.T) {
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
	broken, err := checkJSON(text)
	want := json.Valid(text) && utf8.Valid(text)
	if (err == nil) != want {
		t.Errorf("%.100q: %v; json.Valid and utf8.Valid say %t", text, err, want)
	}
	if err == nil && broken != strings.ContainsAny(string(text), "\r\n") {
		t.Errorf("%.100q: broken is %t", text, broken)
	}
	var syntax *syntaxError
	if errors.As(err, &syntax) && (syntax.offset < 0 || syntax.offset > len(text)) {
		t.Errorf("%.100q: the error is outside of the text: %v", text, err)
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1.5e+3,-0,"\u00aF\n"],"b":{"c":null}} `, "[true,\r\nfalse,\tnull]", `[[[[]]],{"":{}}]`, `"\ud83d\ude00 ü \\"`,
		"\"\xe2\x82\"", `[01]`, `{"a":1,}`, `"12345678"`, `"1234567"`, "\"1234567\x1f\"", `-`, `1e`, strings.Repeat("[", 130),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkAgainstStd(t, text) })
}
