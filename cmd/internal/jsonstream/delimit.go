package jsonstream

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"phx/phoenix/rawjson"
)

// A delimiter finds the end of one JSON value while it is being read. It checks nothing: that is done by check, with the
// scanner of package rawjson, once the end is found. The zero delimiter is at the beginning of a value.
type delimiter struct {
	// at is how far it has come.
	at                int
	depth             int
	inString, escaped bool
}

// ends goes on with text, which starts with what it was before, and reports whether the value ends in there. An object, an array
// or a string ends with its last byte, a number before the byte that is none of its characters. Anything else is a word of few
// letters, and counts as ended.
func (d *delimiter) ends(text []byte) bool {
	switch {
	case isNumber(text[0]):
		for d.at < len(text) && isNumber(text[d.at]) {
			d.at++
		}
		return d.at < len(text)
	case text[0] != '{' && text[0] != '[' && text[0] != '"':
		return true
	}
	for d.at < len(text) {
		c := text[d.at]
		d.at++
		switch {
		case d.escaped:
			d.escaped = false
			continue
		case c == '"':
			d.inString = !d.inString
		case d.inString:
			d.escaped = c == '\\'
			continue
		case c == '{' || c == '[':
			d.depth++
		case c == '}' || c == ']':
			d.depth--
		default:
			continue
		}
		if d.depth == 0 && !d.inString {
			return true
		}
	}
	return false
}

// check returns the length of the value that text starts with. If something is wrong with it, n is where, and fault says what. The
// fault of a value that is incomplete is at the end of text; more says that the rest may still come.
func check(text []byte, more bool) (n int, fault string) {
	n, f := rawjson.SkipValue(text, 0)
	switch {
	case f == rawjson.NoFault && isNumber(text[0]) && n < len(text) && !separates(text[n]):
		return n, invalidCharacter(text[n:], "after a number")
	case f == rawjson.NoFault:
		return n, ""
	case f == rawjson.FaultUTF8:
		return n + validLen(text[n:]), invalidUTF8
	case f == rawjson.FaultDepth:
		return n, fmt.Sprintf("nested more than %d levels deep", rawjson.MaxDepth)
	case f == rawjson.FaultLiteral:
		n += literalLen(text[n:])
	}
	if n == len(text) && more {
		return n, "incomplete"
	}
	// rawjson finds invalid UTF-8 at the end of a string, and so behind other faults in it.
	if valid := validLen(text[:n]); valid < n {
		return valid, invalidUTF8
	}
	place := placeOf(f, text[:n])
	if n < len(text) {
		return n, invalidCharacter(text[n:], place)
	}
	if f == rawjson.FaultSeparator && isDigit(text[n-1]) {
		place = "after a number"
	}
	return n, "unexpected end of the input " + place
}

// placeOf says in words where in a value a fault is; text is what comes before it.
func placeOf(f rawjson.Fault, text []byte) string {
	switch f {
	case rawjson.FaultKey:
		return "looking for the beginning of an object key"
	case rawjson.FaultColon:
		return "after an object key"
	case rawjson.FaultSeparator:
		if inObject(text) {
			return "after a member of an object"
		}
		return "after an element of an array"
	case rawjson.FaultLiteral:
		return "in a literal true, false or null"
	case rawjson.FaultDigit:
		return "in a number"
	case rawjson.FaultControl:
		return "in a string"
	case rawjson.FaultEscape:
		return "in an escape sequence of a string"
	}
	return "looking for the beginning of a value"
}

// inObject reports whether the innermost value that is open at the end of text is an object.
func inObject(text []byte) bool {
	var d delimiter
	var open []byte
	for d.at < len(text) {
		depth := d.depth
		d.ends(text[:d.at+1])
		switch {
		case d.depth > depth:
			open = append(open, text[d.at-1])
		case d.depth < depth:
			open = open[:len(open)-1]
		}
	}
	return open[len(open)-1] == '{'
}

// invalidUTF8 is a fault that is not about one character in the wrong place.
const invalidUTF8 = "invalid UTF-8 in a string"

// validLen returns how much of text is valid UTF-8.
func validLen(text []byte) (n int) {
	for n < len(text) {
		r, size := utf8.DecodeRune(text[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// literalLen returns how much of a literal text starts with.
func literalLen(text []byte) (n int) {
	for _, literal := range []string{"true", "false", "null"} {
		for n < len(text) && n < len(literal) && strings.HasPrefix(literal, string(text[:n+1])) {
			n++
		}
	}
	return n
}

// invalidCharacter is the fault of the first character of rest.
func invalidCharacter(rest []byte, place string) string {
	r, size := utf8.DecodeRune(rest)
	if r == utf8.RuneError && size == 1 {
		return fmt.Sprintf("invalid byte %#x %s", rest[0], place)
	}
	return "invalid character " + strconv.QuoteRune(r) + " " + place
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == recordSeparator
}

// recordSeparator stands before each value of a JSON text sequence (RFC 7464).
const recordSeparator = 0x1e

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isNumber reports whether c is a character of numbers.
func isNumber(c byte) bool {
	return isDigit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// separates reports whether c shows that a number or a literal is at its end: white space, or the beginning of a value that
// cannot be taken for more of it.
func separates(c byte) bool { return isSpace(c) || c == '{' || c == '[' || c == '"' }
