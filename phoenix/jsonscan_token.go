package phoenix

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

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
