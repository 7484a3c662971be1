// Package rawjson checks, reads and writes JSON text without decoding it. It is the one scanner and the one writer of
// strings of this project.
//
// Check validates a whole text. ReadString, ReadValue and ReadObject take a text apart; what they return points into it.
// The Skip functions and NextToken are what they are made of, for callers that read a text of a known form. AppendString
// writes a string.
//
// Positions are byte offsets. A function that takes data and i looks at data[i:], and i may be len(data). All functions
// are safe for concurrent use.
package rawjson

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep JSON values may be nested, as in encoding/json.
const MaxDepth = 10_000

// wordDepth is how many levels of nesting a word remembers, with a bit for each.
const wordDepth = 64

// A Fault is what is wrong with JSON text at the offset that is returned with it.
type Fault string

// The faults. NoFault is the zero value.
const (
	NoFault        Fault = ""
	FaultValue     Fault = "a value is expected"
	FaultKey       Fault = "a string is expected as a key"
	FaultColon     Fault = "a colon is expected"
	FaultSeparator Fault = "a comma or the end of the object or array is expected"
	FaultLiteral   Fault = "true, false or null is expected"
	FaultDigit     Fault = "a digit is expected"
	FaultString    Fault = "a string is expected"
	FaultObject    Fault = "an object is expected"
	FaultArray     Fault = "an array is expected"
	FaultComma     Fault = "a comma and another element are expected"
	FaultArrayEnd  Fault = "a comma or a closing bracket is expected"
	FaultControl   Fault = "a control character stands in a string"
	FaultEscape    Fault = "this is no escape"
	FaultUTF8      Fault = "the string is not valid UTF-8"
	FaultDepth     Fault = "values are nested too deeply"
	FaultTrailing  Fault = "something follows the value"
	FaultEndOfText Fault = "the text ends too early"
)

// A SyntaxError is a fault in JSON text and where it is. It holds none of the text, which may be secret.
type SyntaxError struct {
	Fault Fault
	// Offset is where the fault is, in bytes from the start of the text.
	Offset int
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Fault) }

// At returns f at data[i] as a *SyntaxError, nil for NoFault. A fault behind the end of data is FaultEndOfText: the scanner
// reads NUL there, which is valid nowhere, and so needs no check for the end at each step.
func (f Fault) At(data []byte, i int) error {
	if f == NoFault {
		return nil
	}
	if i >= len(data) {
		f = FaultEndOfText
	}
	return &SyntaxError{f, i}
}

// Check returns a *SyntaxError unless data is one JSON value (RFC 8259) in valid UTF-8, which may have white space around
// it. broken reports whether there are line breaks between its tokens. Check makes one pass and does not allocate unless it
// finds a fault.
func Check(data []byte) (broken bool, err error) {
	start, _ := NextToken(data, 0)
	i, f := SkipValue(data, start)
	if f != NoFault {
		return false, f.At(data, i)
	}
	if err := CheckEnd(data, i); err != nil {
		return false, err
	}
	return HasLineBreak(data), nil
}

// CheckEnd returns a *SyntaxError if data[i:] has anything but white space.
func CheckEnd(data []byte, i int) error {
	if i, _ = NextToken(data, i); i < len(data) {
		return FaultTrailing.At(data, i)
	}
	return nil
}

// HasLineBreak reports whether valid JSON has a line break, which can only be between two tokens.
func HasLineBreak(text []byte) bool {
	return bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0
}

// An opening brace or bracket, its closing one and the bit for it in a word of containers differ by constants of ASCII.
const (
	toClosing = '}' - '{' // also ']' - '['
	objectBit = 5         // set in '{' and '}', not in '[' and ']'
)

// SkipValue returns the end of the JSON value whose first byte is data[i], or a fault and where it is.
func SkipValue(data []byte, i int) (end int, f Fault) { return skipNested(data, i, MaxDepth) }

// skipNested returns the end of the value at data[i], which may nest room levels deep, or a fault and where it is.
// It calls itself for every 64 levels only, which bounds the stack that a server can make it use.
func skipNested(data []byte, i, room int) (end int, f Fault) {
	depth := 0
	var objects uint64 // a bit for each open container, the innermost lowest: 1 for an object
	c := ByteAt(data, i)
	for {
		// A value starts at i, with c.
		switch {
		case c == '"':
			i, _, f = SkipString(data, i+1)
		case c != '{' && c != '[':
			i, f = skipScalar(data, i, c)
		case depth == room:
			f = FaultDepth
		case depth == wordDepth:
			i, f = skipNested(data, i, room-depth)
		default:
			depth++
			objects = objects<<1 | uint64(c>>objectBit&1)
			closing := c + toClosing
			if i, c = NextToken(data, i+1); c == closing {
				break
			}
			if closing == ']' {
				continue
			}
			if i, c, f = skipKey(data, i, c); f == NoFault {
				continue
			}
		}
		if f != NoFault {
			return i, f
		}
		// A value has ended at i: close what it is the last of, up to the comma before the next value.
		for {
			if depth == 0 {
				return i, NoFault
			}
			if i, c = NextToken(data, i); c == ',' {
				break
			}
			if c != ']'|byte(objects&1)<<objectBit {
				return i, FaultSeparator
			}
			i++
			depth--
			objects >>= 1
		}
		i, c = NextToken(data, i+1)
		if objects&1 == 1 {
			if i, c, f = skipKey(data, i, c); f != NoFault {
				return i, f
			}
		}
	}
}

// ByteAt returns data[i], or NUL behind the end. NUL is valid nowhere in JSON text.
func ByteAt(data []byte, i int) byte {
	if i < len(data) {
		return data[i]
	}
	return 0
}

// spaces has a bit for each character of white space.
const spaces uint64 = 1<<' ' | 1<<'\t' | 1<<'\n' | 1<<'\r'

// NextToken returns the position of the first byte of data[i:] that is not white space, and the byte. At the end of data
// it is NUL.
func NextToken(data []byte, i int) (at int, c byte) {
	for ; i < len(data); i++ {
		if c = data[i]; c > ' ' || spaces>>c&1 == 0 {
			return i, c
		}
	}
	return i, 0
}

// skipKey returns the start of the value, and its first byte, of the object member whose key starts at data[i] with c.
func skipKey(data []byte, i int, c byte) (value int, first byte, f Fault) {
	if c != '"' {
		return i, c, FaultKey
	}
	if i, _, f = SkipString(data, i+1); f != NoFault {
		return i, c, f
	}
	if i, c = NextToken(data, i); c != ':' {
		return i, c, FaultColon
	}
	value, first = NextToken(data, i+1)
	return value, first, NoFault
}

// skipScalar returns the end of the number or literal at data[i], which is c.
func skipScalar(data []byte, i int, c byte) (end int, f Fault) {
	switch c {
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return SkipNumber(data, i, c)
	case 't':
		return SkipLiteral(data, i, "true")
	case 'f':
		return SkipLiteral(data, i, "false")
	case 'n':
		return SkipLiteral(data, i, "null")
	}
	return i, FaultValue
}

// SkipLiteral returns the end of literal, which is true, false or null, at data[i].
func SkipLiteral(data []byte, i int, literal string) (end int, f Fault) {
	if end = i + len(literal); end <= len(data) && string(data[i:end]) == literal {
		return end, NoFault
	}
	return i, FaultLiteral
}

// SkipNumber returns the end of the number at data[i], whose first byte is c.
func SkipNumber(data []byte, i int, c byte) (end int, f Fault) {
	if c == '-' {
		i++
		c = ByteAt(data, i)
	}
	if c == '0' {
		i++
	} else if i, f = skipDigits(data, i); f != NoFault {
		return i, f
	}
	if ByteAt(data, i) == '.' {
		if i, f = skipDigits(data, i+1); f != NoFault {
			return i, f
		}
	}
	if ByteAt(data, i)|0x20 == 'e' {
		i++
		if sign := ByteAt(data, i); sign == '+' || sign == '-' {
			i++
		}
		return skipDigits(data, i)
	}
	return i, NoFault
}

// skipDigits returns the end of the run of digits, one or more, at data[i].
func skipDigits(data []byte, i int) (end int, f Fault) {
	end = i
	for end < len(data) && data[end]-'0' <= 9 {
		end++
	}
	if end == i {
		return i, FaultDigit
	}
	return end, NoFault
}

// A word with the same byte in each place.
const (
	each01 uint64 = 0x01_01_01_01_01_01_01_01
	each80        = each01 << 7
)

// SkipString returns the end, behind the closing quote, of the string whose first byte behind the opening quote is
// data[i]. escaped reports whether it has escapes. SkipString looks at eight bytes at a time.
func SkipString(data []byte, i int) (end int, escaped bool, f Fault) {
	start := i
	var seen uint64 // all words, or-ed
	for {
		word := eightBytes(data, i)
		seen |= word
		// Classic "haszero" arithmetic: the lowest byte of stops with its top bit set is at the first byte of word that is a
		// quote or a control character (both are below 0x21 when 0x02 is flipped) or a backslash. Higher ones may be wrong.
		quote, backslash := word^each01*0x02, word^each01*'\\'
		stops := ((quote - each01*0x21) | (backslash - each01)) &^ word & each80
		if stops == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(stops) / 8
		switch ByteAt(data, i) {
		case '"':
			// seen has a few bytes from behind the quote: then this looks at plain ASCII in vain.
			if seen&each80 != 0 && !utf8.Valid(data[start:i]) {
				return start, escaped, FaultUTF8
			}
			return i + 1, escaped, NoFault
		case '\\':
			escaped = true
			if i, f = skipEscape(data, i+1); f != NoFault {
				return i, escaped, f
			}
		default:
			return i, escaped, FaultControl
		}
	}
}

// eightBytes returns the eight bytes from data[i] on, the first one lowest. Those behind the end are NUL.
func eightBytes(data []byte, i int) uint64 {
	rest := data[i:]
	if len(rest) >= 8 {
		return binary.LittleEndian.Uint64(rest)
	}
	return lastBytes(rest)
}

// lastBytes is eightBytes where less than eight are left.
func lastBytes(rest []byte) (word uint64) {
	for i := len(rest) - 1; i >= 0; i-- {
		word = word<<8 | uint64(rest[i])
	}
	return word
}

// skipEscape returns the end of the escape whose first byte behind the backslash is data[i]. A lone surrogate is one:
// RFC 8259, section 8.2, leaves what it means to the reader.
func skipEscape(data []byte, i int) (end int, f Fault) {
	switch ByteAt(data, i) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1, NoFault
	case 'u':
		for end = i + 1; end < i+5; end++ {
			if !isHex(ByteAt(data, end)) {
				return end, FaultEscape
			}
		}
		return end, NoFault
	}
	return i, FaultEscape
}

func isHex(c byte) bool {
	return c-'0' <= 9 || c|0x20-'a' <= 5
}

// ReadString returns the value of the JSON string at data[i], and its end. The value points into data unless the string has
// escapes. A lone surrogate becomes U+FFFD.
func ReadString(data []byte, i int) (s []byte, end int, err error) {
	if ByteAt(data, i) != '"' {
		return nil, i, FaultString.At(data, i)
	}
	end, escaped, f := SkipString(data, i+1)
	if f != NoFault {
		return nil, end, f.At(data, end)
	}
	if escaped {
		return AppendUnescaped(nil, data[i:end]), end, nil
	}
	return data[i+1 : end-1], end, nil
}

// AppendUnescaped appends the value of text, a valid JSON string with its quotes. A lone surrogate becomes U+FFFD.
func AppendUnescaped(dst, text []byte) []byte {
	text = text[1 : len(text)-1]
	for {
		plain := bytes.IndexByte(text, '\\')
		if plain < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:plain]...)
		c := text[plain+1]
		text = text[plain+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hexRune(text)
			text = text[4:]
			if utf16.IsSurrogate(r) {
				pair := utf8.RuneError
				if len(text) >= 6 && text[0] == '\\' && text[1] == 'u' {
					pair = utf16.DecodeRune(r, hexRune(text[2:]))
				}
				if r = pair; r != utf8.RuneError {
					text = text[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}

// hexRune returns the rune of the four hexadecimal digits that text begins with.
func hexRune(text []byte) (r rune) {
	for _, c := range text[:4] {
		digit := rune(c - '0')
		if digit > 9 {
			digit = rune(c|0x20-'a') + 10
		}
		r = r<<4 | digit
	}
	return r
}

// ReadValue returns the text of the JSON value at data[i], and its end. The text points into data; an append to it copies.
func ReadValue(data []byte, i int) (value []byte, end int, err error) {
	end, f := SkipValue(data, i)
	if f != NoFault {
		return nil, end, f.At(data, end)
	}
	return data[i:end:end], end, nil
}

// ReadObject calls visit with each member of the object at data[i], in order, and returns its end. The value is JSON text;
// key and value point into data as those of ReadString and ReadValue do. Duplicate keys are visited each time.
func ReadObject(data []byte, i int, visit func(key, value []byte)) (end int, err error) {
	if ByteAt(data, i) != '{' {
		return i, FaultObject.At(data, i)
	}
	i, c := NextToken(data, i+1)
	if c == '}' {
		return i + 1, nil
	}
	for {
		var key, value []byte
		if key, i, err = ReadString(data, i); err != nil {
			return i, err
		}
		if i, c = NextToken(data, i); c != ':' {
			return i, FaultColon.At(data, i)
		}
		i, _ = NextToken(data, i+1)
		if value, i, err = ReadValue(data, i); err != nil {
			return i, err
		}
		visit(key, value)
		if i, c = NextToken(data, i); c == '}' {
			return i + 1, nil
		}
		if c != ',' {
			return i, FaultSeparator.At(data, i)
		}
		i, _ = NextToken(data, i+1)
	}
}

// AppendString appends s as a JSON string with the least escaping that is valid (RFC 8259, section 7): the quotation mark,
// the backslash and control characters. Bytes that are not UTF-8 become U+FFFD.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	copied := 0 // s[:copied] is in dst
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			size := runeLen(s[i:])
			if size > 0 {
				i += size
				continue
			}
			dst = append(dst, s[copied:i]...)
			dst = append(dst, "\uFFFD"...)
			i++
			copied = i
			continue
		}
		i++
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[copied:i-1]...)
		copied = i
		dst = appendEscape(dst, c)
	}
	dst = append(dst, s[copied:]...)
	return append(dst, '"')
}

// runeLen returns the length of the first character of s, 0 if it is not valid UTF-8.
func runeLen[T string | []byte](s T) int {
	r, size := utf8.DecodeRuneInString(string(s[:min(len(s), utf8.UTFMax)]))
	if r == utf8.RuneError && size == 1 {
		return 0
	}
	return size
}

func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}
