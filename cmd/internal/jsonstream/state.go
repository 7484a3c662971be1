package jsonstream

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// A state is what may follow in a JSON value. The scanner relies on the order of the groups.
type state uint8

const (
	beforeValue   state = iota
	beforeElement       // a value, or the end of an empty array
	beforeMember        // a key, or the end of an empty object
	beforeKey
	beforeColon
	afterValue

	inString
	inEscape // behind the backslash
	inHex4   // four hexadecimal digits are missing
	inHex3
	inHex2
	inHex1
	inHexEnd

	inWord

	afterMinus
	afterZero
	inInteger
	afterPoint
	inFraction
	afterE
	afterSign
	inExponent
)

// number returns the state of a number after another character, and afterValue if it is not one of the number's.
func (s state) number(c byte) state {
	switch isDigit := '0' <= c && c <= '9'; {
	case isDigit:
		switch s {
		case afterMinus:
			if c == '0' {
				return afterZero
			}
			return inInteger
		case afterPoint:
			return inFraction
		case afterE, afterSign:
			return inExponent
		case inInteger, inFraction, inExponent:
			return s
		}
	case c == '.' && (s == afterZero || s == inInteger):
		return afterPoint
	case (c == 'e' || c == 'E') && (s == afterZero || s == inInteger || s == inFraction):
		return afterE
	case (c == '+' || c == '-') && s == afterE:
		return afterSign
	}
	return afterValue
}

// endsNumber reports whether a number may end here.
func (s state) endsNumber() bool {
	return s == afterZero || s == inInteger || s == inFraction || s == inExponent
}

// What can be wrong with a value, beside a character in the wrong place: that one is named with its place.
const (
	misplaced   = "misplaced"
	tooDeep     = "nested more than 10000 levels deep"
	invalidUTF8 = "invalid UTF-8 in a string"
)

// place says in words where the scanner is.
func (s *scanner) place() string {
	switch {
	case s.state == afterValue && s.open[len(s.open)-1] == '{':
		return "after a member of an object"
	case s.state == afterValue:
		return "after an element of an array"
	case s.state == beforeColon:
		return "after an object key"
	case s.state == beforeKey || s.state == beforeMember:
		return "looking for the beginning of an object key"
	case s.state <= beforeElement:
		return "looking for the beginning of a value"
	case s.state == inString:
		return "in a string"
	case s.state < inWord:
		return "in an escape sequence of a string"
	case s.state == inWord:
		return "in a literal true, false or null"
	case s.state.endsNumber():
		return "after a number"
	}
	return "in a number"
}

// invalidCharacter is the fault of the first character of rest.
func invalidCharacter(rest []byte, place string) string {
	r, size := utf8.DecodeRune(rest)
	if r == utf8.RuneError && size == 1 {
		return fmt.Sprintf("invalid byte %#x %s", rest[0], place)
	}
	return "invalid character " + strconv.QuoteRune(r) + " " + place
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// isEscape reports whether c may follow a backslash, but for u.
func isEscape(c byte) bool {
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	}
	return false
}

// separates reports whether c shows that a number or a literal is at its end: white space, or the beginning of a value that
// cannot be taken for more of it.
func separates(c byte) bool { return isSpace(c) || c == '{' || c == '[' || c == '"' }
