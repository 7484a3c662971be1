package jsonstream

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	"phx/phoenix/rawjson"
)

// Lines splits an input into lines. It may not be used by several goroutines at once.
type Lines struct {
	src   source
	max   int64
	index int
	bad   *SyntaxError // what is wrong with the pending line, if Next has returned that
}

// NewLines returns a Lines of r. A line of more than max bytes is an error.
func NewLines(r io.Reader, max int64) *Lines { return &Lines{src: source{r: r}, max: max} }

// Next returns the next line, without the "\n" or "\r\n" at its end; the last line needs none.
//
// The error is io.EOF at the end of the input, a [*SyntaxError] for a line that is not UTF-8 or too long, and a [*ReadError]
// for a failed read. After a SyntaxError Next returns it again, until the line is skipped.
func (l *Lines) Next() (Value, error) {
	if l.bad != nil {
		return Value{}, l.bad
	}
	line, whole, err := l.find()
	if err != nil {
		return Value{}, err
	}
	if fault, at := l.check(line); fault != "" {
		l.bad = &SyntaxError{Index: l.index, Line: l.index + 1, Offset: l.src.offset() + int64(at), Msg: fault}
		return Value{}, l.bad
	}
	v := Value{
		Raw: line[:len(line):len(line)], Source: l.src.pending()[:whole:whole],
		Index: l.index, Line: l.index + 1, Offset: l.src.offset(),
	}
	l.src.consume(whole)
	l.index++
	return v, nil
}

// Rest returns the input from the end of the last line that Next returned, the line of a SyntaxError and what follows it
// included. The Lines must not be used any more.
func (l *Lines) Rest() io.Reader { return l.src.rest() }

// find waits for a line, and returns it without its end, and its length with it. Of a line that is too long it may return
// the beginning.
func (l *Lines) find() (line []byte, whole int, err error) {
	for seen := 0; ; {
		pending := l.src.pending()
		if i := bytes.IndexByte(pending[seen:], '\n'); i >= 0 {
			i += seen
			return bytes.TrimSuffix(pending[:i], []byte{'\r'}), i + 1, nil
		}
		seen = len(pending)
		switch {
		case int64(seen)-1 > l.max: // one more may be the "\r"
			return pending, seen, nil
		case l.src.fill():
		case l.src.err != io.EOF || seen == 0:
			return nil, 0, l.src.err
		default:
			return bytes.TrimSuffix(pending, []byte{'\r'}), seen, nil
		}
	}
}

// check returns what is wrong with a line and where.
func (l *Lines) check(line []byte) (fault string, at int) {
	if int64(len(line)) > l.max {
		return fmt.Sprintf("a line of more than %d bytes", l.max), 0
	}
	if utf8.Valid(line) {
		return "", 0
	}
	return "invalid UTF-8", validLen(line)
}

// Skip writes the line of the last SyntaxError to w, its end included, so that Next goes on with the line behind. Without such
// an error it does nothing. The error is that of w, or a [*ReadError].
func (l *Lines) Skip(w io.Writer) error {
	if l.bad == nil {
		return nil
	}
	if err := l.src.skipLine(w); err != nil {
		return err
	}
	l.bad = nil
	l.index++
	return nil
}

// AppendWrapped appends the JSON object {"key":"line"} to dst, with key and line, which are UTF-8, as its strings. It escapes
// what has to be escaped and nothing else.
func AppendWrapped(dst []byte, key string, line []byte) []byte {
	dst = append(dst, '{')
	dst = rawjson.AppendString(dst, key)
	dst = append(dst, ':')
	dst = rawjson.AppendString(dst, line)
	return append(dst, '}')
}
