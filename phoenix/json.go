package phoenix

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// Payloads go from the socket to the output as they came and nothing downstream decodes them: this scanner is what keeps
// broken JSON out of our lines. It makes one pass over the text and allocates nothing unless it finds a fault.

const (
	// maxDepth is how deep JSON values may be nested, as in encoding/json.
	maxDepth = 10_000
	// wordDepth is how many levels of nesting a word remembers, with a bit for each.
	wordDepth = 64
)

// A fault says what is wrong with JSON text at the offset that is returned with it; noFault if nothing is.
type fault string

const (
	noFault        fault = ""
	faultValue     fault = "a value is expected"
	faultKey       fault = "a string is expected as a key"
	faultColon     fault = "a colon is expected"
	faultSeparator fault = "a comma or the end of the object or array is expected"
	faultLiteral   fault = "true, false or null is expected"
	faultDigit     fault = "a digit is expected"
	faultString    fault = "a string is expected"
	faultRef       fault = "a string, a number or null is expected"
	faultObject    fault = "an object is expected"
	faultArray     fault = "an array is expected"
	faultComma     fault = "a comma and another element are expected"
	faultArrayEnd  fault = "a comma or a closing bracket is expected"
	faultControl   fault = "a control character stands in a string"
	faultEscape    fault = "this is no escape"
	faultUTF8      fault = "the string is not valid UTF-8"
	faultDepth     fault = "values are nested too deeply"
	faultTrailing  fault = "something follows the value"
	faultEndOfText fault = "the text ends too early"
)

// A syntaxError is a fault in JSON text. It holds none of the text, which may be secret.
type syntaxError struct {
	fault  fault
	offset int
}

func (e *syntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.offset, e.fault) }

// errorAt returns f at data[i] as an error. The scanner takes the end of the text for a character that is right nowhere,
// so that it need not look for it everywhere; here it gets its name.
func (f fault) errorAt(data []byte, i int) error {
	if f == noFault {
		return nil
	}
	if i >= len(data) {
		f = faultEndOfText
	}
	return &syntaxError{f, i}
}

// checkJSON returns an error unless data is one JSON value (RFC 8259) in valid UTF-8, maybe with white space around it.
// broken says that line breaks stand outside of its tokens.
func checkJSON(data []byte) (broken bool, err error) {
	start, _ := nextToken(data, 0)
	i, f := skipNested(data, start, maxDepth)
	if f != noFault {
		return false, f.errorAt(data, i)
	}
	if err := checkEnd(data, i); err != nil {
		return false, err
	}
	return hasLineBreak(data), nil
}

// checkEnd returns an error if anything but white space stands from data[i] on.
func checkEnd(data []byte, i int) error {
	if i, _ = nextToken(data, i); i < len(data) {
		return faultTrailing.errorAt(data, i)
	}
	return nil
}

// hasLineBreak is for valid JSON, where line breaks stand nowhere but between tokens.
func hasLineBreak(text []byte) bool {
	return bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0
}

// An opening brace or bracket, its closing one and the bit for it in a word of containers differ by constants of ASCII.
const (
	toClosing = '}' - '{' // also ']' - '['
	objectBit = 5         // set in '{' and '}', not in '[' and ']'
)

// skipNested returns the end of the value at data[i], which may nest room levels deep, or a fault and where it is.
// It calls itself for every 64 levels only, which bounds the stack that a server can make it use.
func skipNested(data []byte, i, room int) (end int, f fault) {
	depth := 0
	var objects uint64 // a bit for each open container, the innermost lowest: 1 for an object
	c := byteAt(data, i)
	for {
		// A value starts at i, with c.
		switch {
		case c == '"':
			i, _, f = skipString(data, i+1)
		case c != '{' && c != '[':
			i, f = skipScalar(data, i, c)
		case depth == room:
			f = faultDepth
		case depth == wordDepth:
			i, f = skipNested(data, i, room-depth)
		default:
			depth++
			objects = objects<<1 | uint64(c>>objectBit&1)
			closing := c + toClosing
			if i, c = nextToken(data, i+1); c == closing {
				break
			}
			if closing == ']' {
				continue
			}
			if i, c, f = skipKey(data, i, c); f == noFault {
				continue
			}
		}
		if f != noFault {
			return i, f
		}
		// A value has ended at i: close what it is the last of, up to the comma before the next value.
		for {
			if depth == 0 {
				return i, noFault
			}
			if i, c = nextToken(data, i); c == ',' {
				break
			}
			if c != ']'|byte(objects&1)<<objectBit {
				return i, faultSeparator
			}
			i++
			depth--
			objects >>= 1
		}
		i, c = nextToken(data, i+1)
		if objects&1 == 1 {
			if i, c, f = skipKey(data, i, c); f != noFault {
				return i, f
			}
		}
	}
}

// byteAt returns data[i], and behind the end NUL, which stands nowhere in JSON text.
func byteAt(data []byte, i int) byte {
	if i < len(data) {
		return data[i]
	}
	return 0
}

// spaces has a bit for each character of white space.
const spaces uint64 = 1<<' ' | 1<<'\t' | 1<<'\n' | 1<<'\r'

// nextToken returns the first byte from data[i] on that is not white space, and where it is; behind the end NUL.
func nextToken(data []byte, i int) (at int, c byte) {
	for ; i < len(data); i++ {
		if c = data[i]; c > ' ' || spaces>>c&1 == 0 {
			return i, c
		}
	}
	return i, 0
}

// skipKey returns the start of the value, and its first byte, of the object member whose key starts at data[i] with c.
func skipKey(data []byte, i int, c byte) (value int, first byte, f fault) {
	if c != '"' {
		return i, c, faultKey
	}
	if i, _, f = skipString(data, i+1); f != noFault {
		return i, c, f
	}
	if i, c = nextToken(data, i); c != ':' {
		return i, c, faultColon
	}
	value, first = nextToken(data, i+1)
	return value, first, noFault
}

// skipScalar returns the end of the number or literal at data[i], which is c.
func skipScalar(data []byte, i int, c byte) (end int, f fault) {
	switch c {
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return skipNumber(data, i, c)
	case 't':
		return skipLiteral(data, i, "true")
	case 'f':
		return skipLiteral(data, i, "false")
	case 'n':
		return skipLiteral(data, i, "null")
	}
	return i, faultValue
}

func skipLiteral(data []byte, i int, literal string) (end int, f fault) {
	if end = i + len(literal); end <= len(data) && string(data[i:end]) == literal {
		return end, noFault
	}
	return i, faultLiteral
}

// skipNumber returns the end of the number at data[i], which is c.
func skipNumber(data []byte, i int, c byte) (end int, f fault) {
	if c == '-' {
		i++
		c = byteAt(data, i)
	}
	if c == '0' {
		i++
	} else if i, f = skipDigits(data, i); f != noFault {
		return i, f
	}
	if byteAt(data, i) == '.' {
		if i, f = skipDigits(data, i+1); f != noFault {
			return i, f
		}
	}
	if byteAt(data, i)|0x20 == 'e' {
		i++
		if sign := byteAt(data, i); sign == '+' || sign == '-' {
			i++
		}
		return skipDigits(data, i)
	}
	return i, noFault
}

// skipDigits returns the end of the run of digits, one or more, at data[i].
func skipDigits(data []byte, i int) (end int, f fault) {
	end = i
	for end < len(data) && data[end]-'0' <= 9 {
		end++
	}
	if end == i {
		return i, faultDigit
	}
	return end, noFault
}

// A word with the same byte in each place.
const (
	each01 uint64 = 0x01_01_01_01_01_01_01_01
	each80        = each01 << 7
)

// skipString returns the end, behind the closing quote, of the string whose first byte behind the opening quote is
// data[i]. It looks at eight bytes at a time.
func skipString(data []byte, i int) (end int, escaped bool, f fault) {
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
		switch byteAt(data, i) {
		case '"':
			// seen has a few bytes from behind the quote: then this looks at plain ASCII in vain.
			if seen&each80 != 0 && !utf8.Valid(data[start:i]) {
				return start, escaped, faultUTF8
			}
			return i + 1, escaped, noFault
		case '\\':
			escaped = true
			if i, f = skipEscape(data, i+1); f != noFault {
				return i, escaped, f
			}
		default:
			return i, escaped, faultControl
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
func skipEscape(data []byte, i int) (end int, f fault) {
	switch byteAt(data, i) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1, noFault
	case 'u':
		for end = i + 1; end < i+5; end++ {
			if !isHex(byteAt(data, end)) {
				return end, faultEscape
			}
		}
		return end, noFault
	}
	return i, faultEscape
}

func isHex(c byte) bool {
	return c-'0' <= 9 || c|0x20-'a' <= 5
}
