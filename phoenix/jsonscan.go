package phoenix

import (
	"bytes"
	"fmt"
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
