package phoenix

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A pollAnswer is the body of the answer to a poll, {"messages":[...],"status":200,"token":"..."}, read as it comes: the memory that
// it takes does not depend on how much the server has to say. It is an [io.Reader] of the message that it is at.
type pollAnswer struct {
	resp *http.Response
	br   *bufio.Reader
	// status is the one in the body, 0 until it has been read.
	status int
	place  place
	// held is what an escape has come to, and has not been read yet.
	held []byte
}

// place is where a pollAnswer has been read to.
type place uint8

const (
	beforeObject place = iota
	inObject           // behind the brace, or a comma
	behindValue        // of a member
	inMessages         // behind the bracket, or a comma
	inMessage          // in the text of a string
	behindMessage
	behindObject
)

func newPollAnswer(r io.Reader, resp *http.Response, size int) *pollAnswer {
	return &pollAnswer{br: bufio.NewReaderSize(r, size), resp: resp}
}

// maxMember bounds a member of the object that is not the messages, in bytes.
const maxMember = 64 << 10

// errPollAnswer ends a session whose server answers with something else.
var errPollAnswer = errors.New("the answer to a poll is not what Phoenix sends")

// next goes to the next message; false: there is none any more, and status is known.
func (a *pollAnswer) next() (more, binary bool, err error) {
	for a.place != behindObject {
		c, err := a.token()
		if err != nil {
			return false, false, a.fault(err)
		}
		switch {
		case a.place == beforeObject && c == '{':
			a.place = inObject
		case a.place == inObject && c == '"':
			if err := a.member(); err != nil {
				return false, false, a.fault(err)
			}
		case a.place == behindValue && c == ',':
			a.place = inObject
		case a.place == behindValue && c == '}', a.place == inObject && c == '}':
			a.place = behindObject
		case a.place == behindMessage && c == ',':
			a.place = inMessages
		case a.place == behindMessage && c == ']', a.place == inMessages && c == ']':
			a.place = behindValue
		case a.place == inMessages && c == '"':
			a.place = inMessage
			// A text begins with a bracket or a brace, a binary message with its kind, which is a control character.
			begin, err := a.br.Peek(1)
			if err != nil {
				return false, false, a.fault(err)
			}
			return true, begin[0] == '\\', nil
		default:
			return false, false, errPollAnswer
		}
	}
	return false, false, nil
}

// fault is the error of an answer that ends too early.
func (a *pollAnswer) fault(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// token returns the next byte that is no white space.
func (a *pollAnswer) token() (byte, error) {
	for n := 0; ; n++ {
		c, err := a.br.ReadByte()
		if err != nil || c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, err
		}
		if n == maxMember {
			return 0, errPollAnswer
		}
	}
}

// member reads a member, of which the quotation mark of its name has been read. Of the messages it reads the bracket.
func (a *pollAnswer) member() error {
	a.place = inMessage // the name is a string, too
	name, err := a.short()
	if err != nil {
		return err
	}
	c, err := a.token()
	if err == nil && c != ':' {
		err = errPollAnswer
	}
	if err != nil {
		return err
	}
	c, err = a.token()
	if err != nil {
		return err
	}
	if name == "messages" && c == '[' {
		a.place = inMessages
		return nil
	}
	a.place = behindValue
	value, err := a.value(c)
	if err != nil {
		return err
	}
	if name == "status" {
		if a.status, err = strconv.Atoi(value); err != nil {
			return errPollAnswer
		}
	}
	return nil
}

// short reads a string of limited length to its end.
func (a *pollAnswer) short() (string, error) {
	text, err := io.ReadAll(io.LimitReader(a, maxMember))
	if err == nil && a.place == inMessage {
		err = errPollAnswer
	}
	return string(text), err
}

// value reads a string, a number or a literal that begins with c.
func (a *pollAnswer) value(c byte) (string, error) {
	if c == '"' {
		a.place = inMessage
		text, err := a.short()
		a.place = behindValue
		return text, err
	}
	text := []byte{c}
	for len(text) < maxMember {
		next, err := a.br.Peek(1)
		if err != nil {
			return "", err
		}
		if !bytes.ContainsAny(next, "+-.0123456789abcdefghijklmnopqrstuvwxyzE") {
			return string(text), nil
		}
		text = append(text, next[0])
		_, _ = a.br.Discard(1) // it has been looked at
	}
	return "", errPollAnswer
}

// Read reads the text of a string, without its escapes, up to its end, which is io.EOF.
func (a *pollAnswer) Read(p []byte) (n int, err error) {
	if a.place != inMessage {
		return 0, io.EOF
	}
	for n < len(p) {
		if len(a.held) > 0 {
			held := copy(p[n:], a.held)
			n, a.held = n+held, a.held[held:]
			continue
		}
		if a.br.Buffered() == 0 {
			if n > 0 {
				return n, nil
			}
			if _, err := a.br.Peek(1); err != nil {
				return 0, a.fault(err)
			}
		}
		chunk, _ := a.br.Peek(a.br.Buffered()) // it is there
		written, read, end := copyText(p[n:], chunk)
		n += written
		_, _ = a.br.Discard(read)
		switch {
		case end:
			a.place = behindMessage
			return n, nil
		case n < len(p) && read < len(chunk):
			r, err := a.escape()
			if err != nil {
				return n, a.fault(err)
			}
			a.held = utf8.AppendRune(a.held[:0], r)
		}
	}
	return n, nil
}

// simpleEscapes are the escapes of one character (RFC 8259, section 7).
var simpleEscapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// copyText copies the text of a string from src to dst, and says how much it has written and read; end says that the quotation mark has
// been read. It stops at an escape that is not simple, or not there as a whole.
func copyText(dst, src []byte) (written, read int, end bool) {
	for written < len(dst) && read < len(src) {
		c := src[read]
		switch {
		case c == '"':
			return written, read + 1, true
		case c != '\\':
			dst[written] = c
			written, read = written+1, read+1
		case read+1 == len(src) || simpleEscapes[src[read+1]] == 0:
			return written, read, false
		default:
			dst[written] = simpleEscapes[src[read+1]]
			written, read = written+1, read+2
		}
	}
	return written, read, false
}

// escape reads the escape that comes next. One half of a surrogate pair stands for no character, and becomes U+FFFD.
func (a *pollAnswer) escape() (rune, error) {
	const simple, long = 2, 6 // \n and \u000a
	text, err := a.br.Peek(simple)
	if err != nil {
		return 0, err
	}
	if c := simpleEscapes[text[1]]; c != 0 {
		_, _ = a.br.Discard(simple)
		return rune(c), nil
	}
	first, err := a.unit(0)
	if err != nil {
		return 0, err
	}
	if utf16.IsSurrogate(first) {
		if second, err := a.unit(long); err == nil {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				_, _ = a.br.Discard(2 * long)
				return r, nil
			}
		}
		first = utf8.RuneError
	}
	_, _ = a.br.Discard(long)
	return first, nil
}

// unit returns the UTF-16 code unit of the escape \uXXXX at a place in what is read next.
func (a *pollAnswer) unit(at int) (rune, error) {
	const size = 6
	text, err := a.br.Peek(at + size)
	if err != nil {
		return 0, err
	}
	if text = text[at:]; text[0] != '\\' || text[1] != 'u' {
		return 0, errPollAnswer
	}
	n, err := strconv.ParseUint(string(text[2:]), 16, 16)
	if err != nil {
		return 0, errPollAnswer
	}
	return rune(n), nil
}
