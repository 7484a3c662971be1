package jsonstream

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep values may be nested, as in encoding/json.
const maxDepth = 10_000

// A scanner checks one JSON value piece by piece. Between two pieces it knows what may follow, and nothing else; the zero
// scanner expects a value.
type scanner struct {
	state
	open []byte // the braces and brackets that are open
	key  bool   // the string is a key
	word string // what is left of a literal
	line int    // line breaks seen
}

// reset makes the scanner expect another value. It goes on counting lines.
func (s *scanner) reset() {
	s.state = beforeValue
	s.open = s.open[:0]
}

// scan goes on with piece, which follows what was scanned before. It returns how far it came, and whether the value ends
// there. A fault is what is wrong at that place, if anything is.
//
// If the value does not end, all of piece has been scanned but for an incomplete character at its end, which has to be given
// again.
func (s *scanner) scan(piece []byte) (n int, complete bool, fault string) {
	for i := 0; i < len(piece); {
		if s.state == inString {
			n, fault := s.text(piece[i:])
			i += n
			if fault != "" || s.state == inString {
				return i, false, fault
			}
		} else {
			taken, fault := s.step(piece[i])
			switch {
			case fault == misplaced:
				return i, false, invalidCharacter(piece[i:], s.place())
			case fault != "":
				return i, false, fault
			case taken:
				i++
			}
		}
		if s.state == afterValue && len(s.open) == 0 {
			return i, true, ""
		}
	}
	return len(piece), false, ""
}

// text goes on with a string, and stops behind the quotation mark that ends it, behind a backslash, or at the end of piece.
func (s *scanner) text(piece []byte) (n int, fault string) {
	for i := 0; i < len(piece); {
		switch c := piece[i]; {
		case c == '"':
			s.endString()
			return i + 1, ""
		case c == '\\':
			s.state = inEscape
			return i + 1, ""
		case c < ' ':
			return i, invalidCharacter(piece[i:], s.place())
		case c < utf8.RuneSelf:
			i++
		default:
			r, size := utf8.DecodeRune(piece[i:])
			if r == utf8.RuneError && size == 1 {
				if !utf8.FullRune(piece[i:]) {
					return i, ""
				}
				return i, invalidUTF8
			}
			i += size
		}
	}
	return len(piece), ""
}

func (s *scanner) endString() {
	s.state = afterValue
	if s.key {
		s.state = beforeColon
	}
}

// step goes on with one character outside a string's text. It does not take the character that ends a number.
func (s *scanner) step(c byte) (taken bool, fault string) {
	switch {
	case s.state >= afterMinus:
		return s.digit(c)
	case s.state == inWord:
		return s.letter(c)
	case s.state >= inEscape:
		return s.escape(c)
	case isSpace(c):
		if c == '\n' {
			s.line++
		}
		return true, ""
	}
	switch s.state {
	case afterValue:
		return s.after(c)
	case beforeColon:
		if c != ':' {
			return false, misplaced
		}
		s.state = beforeValue
		return true, ""
	case beforeKey, beforeMember:
		if c == '}' && s.state == beforeMember {
			return s.close()
		}
		if c != '"' {
			return false, misplaced
		}
		s.state, s.key = inString, true
		return true, ""
	}
	if c == ']' && s.state == beforeElement {
		return s.close()
	}
	return s.begin(c)
}

// begin starts a value.
func (s *scanner) begin(c byte) (taken bool, fault string) {
	switch {
	case c == '{' || c == '[':
		if len(s.open) == maxDepth {
			return false, tooDeep
		}
		s.open = append(s.open, c)
		s.state = beforeElement
		if c == '{' {
			s.state = beforeMember
		}
	case c == '"':
		s.state, s.key = inString, false
	case c == '-':
		s.state = afterMinus
	case c == '0':
		s.state = afterZero
	case '1' <= c && c <= '9':
		s.state = inInteger
	case c == 't':
		s.state, s.word = inWord, "rue"
	case c == 'f':
		s.state, s.word = inWord, "alse"
	case c == 'n':
		s.state, s.word = inWord, "ull"
	default:
		return false, misplaced
	}
	return true, ""
}

// after goes on behind a value in an object or an array.
func (s *scanner) after(c byte) (taken bool, fault string) {
	inObject := s.open[len(s.open)-1] == '{'
	switch {
	case c == ',' && inObject:
		s.state = beforeKey
	case c == ',':
		s.state = beforeValue
	case c == '}' && inObject, c == ']' && !inObject:
		return s.close()
	default:
		return false, misplaced
	}
	return true, ""
}

func (s *scanner) close() (taken bool, fault string) {
	s.open = s.open[:len(s.open)-1]
	s.state = afterValue
	return true, ""
}

func (s *scanner) letter(c byte) (taken bool, fault string) {
	if c != s.word[0] {
		return false, misplaced
	}
	if s.word = s.word[1:]; s.word == "" {
		s.state = afterValue
	}
	return true, ""
}

func (s *scanner) escape(c byte) (taken bool, fault string) {
	switch {
	case s.state == inEscape && c == 'u':
		s.state = inHex4
	case s.state == inEscape && isEscape(c):
		s.state = inString
	case s.state > inEscape && isHex(c):
		s.state++
		if s.state == inHexEnd {
			s.state = inString
		}
	default:
		return false, misplaced
	}
	return true, ""
}

// digit goes on with a number, or ends it.
func (s *scanner) digit(c byte) (taken bool, fault string) {
	next := s.state.number(c)
	if next != afterValue {
		s.state = next
		return true, ""
	}
	if !s.state.endsNumber() || len(s.open) == 0 && !separates(c) {
		return false, misplaced
	}
	s.state = afterValue
	return false, ""
}

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
