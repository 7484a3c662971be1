// Package jsonstream splits an input into its values: concatenated JSON values with [Reader], or lines with [Lines].
//
// A value is returned when its last byte has been read, so that a program at the other end of a pipe can wait for what comes
// of it before it writes the next one. It is returned byte for byte: a number keeps its spelling and an object its order
// and duplicate keys.
//
// This is not json.Decoder, which waits for the byte after a string or a literal, and takes invalid UTF-8.
package jsonstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A Reader splits a stream of JSON values, with or without white space between them. A number or a literal does want white
// space before another, so that a date like 2026-02-07 is an error and not three numbers.
//
// It reads ahead what there is, and waits for a read only when it has no complete value. It may not be used by several
// goroutines at once.
type Reader struct {
	src   source
	max   int64
	index int
	line  int   // line breaks before the pending bytes
	bare  bool  // the value before was a number or a literal
	err   error // what Next returned, and returns again
}

// New returns a Reader of r. A value of more than max bytes is an error.
func New(r io.Reader, max int64) *Reader { return &Reader{src: source{r: r}, max: max} }

// Next returns the next value as soon as it is complete: objects, arrays, strings, true, false and null with their last
// byte, a number with the byte that follows, or at the end of the input.
//
// The error is io.EOF at the end of the input, a [*SyntaxError] for input that is not JSON or not UTF-8, for an input cut
// short, or a value that is too large, and a [*ReadError] for a failed read. After it Next returns the same error again; of a
// SyntaxError only until its line is skipped.
func (r *Reader) Next() (Value, error) {
	if r.err != nil {
		return Value{}, r.err
	}
	v, err := r.next()
	r.err = err
	return v, err
}

// Rest returns the input from the end of the last value that Next returned, a bad value and what follows it included. The
// Reader must not be used any more.
func (r *Reader) Rest() io.Reader { return r.src.rest() }

// Skip writes the line on which the value of the last SyntaxError begins to w, from the beginning of the value to the end of
// the line, so that Next goes on with the line behind. Without such an error it does nothing. The error is that of w, or a
// [*ReadError].
func (r *Reader) Skip(w io.Writer) error {
	if bad := (*SyntaxError)(nil); !errors.As(r.err, &bad) {
		return nil
	}
	if err := r.src.skipLine(w); err != nil {
		return err
	}
	r.err, r.bare = nil, false
	r.index++
	r.line++
	return nil
}

func (r *Reader) next() (Value, error) {
	if r.index == 0 {
		r.skipBOM()
	}
	if err := r.skipSpace(); err != nil {
		return Value{}, err
	}
	n, err := r.measure()
	if err != nil {
		return Value{}, err
	}
	if int64(n) > r.max {
		return Value{}, r.tooLarge()
	}
	raw := r.src.pending()[:n:n]
	v := Value{Raw: raw, Source: raw, Index: r.index, Line: r.line + 1, Offset: r.src.offset()}
	r.src.consume(n)
	r.index++
	r.line += bytes.Count(v.Raw, newline)
	switch v.Raw[0] {
	case '{', '[', '"':
		r.bare = false
	default:
		r.bare = true
	}
	return v, nil
}

// byteOrderMark is what some editors put before a text.
var byteOrderMark = []byte("\uFEFF")

// skipBOM consumes a byte order mark at the beginning. What fails to be read fails again.
func (r *Reader) skipBOM() {
	for {
		text := r.src.pending()
		switch {
		case bytes.HasPrefix(text, byteOrderMark):
			r.src.consume(len(byteOrderMark))
			return
		case !bytes.HasPrefix(byteOrderMark, text) || !r.src.fill():
			return
		}
	}
}

// skipSpace consumes the white space before a value.
func (r *Reader) skipSpace() error {
	for {
		for i, c := range r.src.pending() {
			if isSpace(c) {
				r.bare = false
				if c == '\n' {
					r.line++
				}
				continue
			}
			r.src.consume(i)
			if r.bare && !separates(c) {
				return r.fault(0, invalidCharacter(r.src.pending(), "after a value, where white space is needed"))
			}
			return nil
		}
		r.src.consume(len(r.src.pending()))
		if !r.src.fill() {
			return r.src.err
		}
	}
}

// smallValue is the length up to which a value is checked after each read.
const smallValue = 4 << 10

// measure waits for the whole of the value that the pending bytes start with, and returns its length. What is there of an
// incomplete value is checked, too, so that the other end of a pipe hears of a mistake at once: after each read of a small
// value, and whenever a larger one has doubled, so that the cost stays that of reading.
func (r *Reader) measure() (int, error) {
	var d delimiter
	for checked := 0; ; {
		text := r.src.pending()
		ends := d.ends(text)
		if ends || len(text) <= smallValue || len(text) >= 2*checked {
			n, fault := check(text, true)
			switch {
			case fault == "" && ends:
				return n, nil
			case fault != "" && n < len(text):
				return 0, r.fault(n, fault)
			}
			checked = len(text)
		}
		switch {
		case int64(len(text)) > r.max:
			return 0, r.tooLarge()
		case r.src.fill():
		case r.src.err != io.EOF:
			return 0, r.src.err
		default:
			n, fault := check(text, false)
			if fault != "" {
				return 0, r.fault(n, fault)
			}
			return n, nil
		}
	}
}

var newline = []byte{'\n'}

// fault is the error for what is wrong n bytes into the pending ones.
func (r *Reader) fault(n int, msg string) error {
	line := r.line + bytes.Count(r.src.pending()[:n], newline)
	return &SyntaxError{Index: r.index, Line: line + 1, Offset: r.src.offset() + int64(n), Msg: msg}
}

func (r *Reader) tooLarge() error {
	return r.fault(0, fmt.Sprintf("a value of more than %d bytes", r.max))
}

// A Value is one input: a JSON value, or a line.
type Value struct {
	// Raw is the value byte for byte: a JSON value without the white space around it, a line without its end. It lies in
	// the reader's buffer and is valid until the next call of Next or Rest.
	Raw []byte
	// Source is Raw with the end of its line, for an input of lines, and as valid.
	Source []byte
	// Index counts the inputs from 0.
	Index int
	// Line is the line on which Raw starts, counted from 1.
	Line int
	// Offset is where Raw starts in the whole input, in bytes from 0.
	Offset int64
}

// A SyntaxError says what is wrong with the input, and where.
type SyntaxError struct {
	// Index is which value or line is wrong, counted from 0.
	Index int
	// Line is the line with the error, counted from 1.
	Line int
	// Offset is where in the whole input the error is, in bytes from 0; for an input cut short, its length.
	Offset int64
	// Msg is what is wrong there.
	Msg string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("value %d (line %d, byte %d): %s", e.Index, e.Line, e.Offset, e.Msg)
}

// A ReadError is the failure of a read, as opposed to wrong input.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return "cannot read the input: " + e.Err.Error() }

// Unwrap returns what the reader returned.
func (e *ReadError) Unwrap() error { return e.Err }

const (
	// bufferSize is the usual size of the buffer, a pipe full. It grows for a longer value and shrinks again after it.
	bufferSize = 64 << 10
	// minRead is the least room that is offered to a read.
	minRead = 4 << 10
	// maxEmptyReads is how often in a row a read may return nothing.
	maxEmptyReads = 100
)

// A source is a buffered input, from which a value can be looked at until it is complete.
type source struct {
	r     io.Reader
	buf   []byte
	start int   // what comes before in buf has been consumed
	base  int64 // offset of buf[0] in the input
	err   error // why nothing comes behind buf: io.EOF or a *ReadError
}

// pending returns what has been read and not consumed. It stays in place until the next fill.
func (s *source) pending() []byte { return s.buf[s.start:] }

// offset returns where in the input the pending bytes start.
func (s *source) offset() int64 { return s.base + int64(s.start) }

func (s *source) consume(n int) { s.start += n }

// fill waits until one read has added to the pending bytes. It returns false when none can, with the reason in err.
func (s *source) fill() bool {
	if s.err != nil {
		return false
	}
	s.makeRoom()
	for range maxEmptyReads {
		n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		if err != nil && err != io.EOF {
			err = &ReadError{Err: err}
		}
		s.err = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	s.err = &ReadError{Err: io.ErrNoProgress}
	return false
}

// makeRoom makes room behind the pending bytes. It moves them only when that gains a quarter of the buffer, so that the cost
// of moving stays below that of reading.
func (s *source) makeRoom() {
	pending := s.pending()
	oversized := cap(s.buf) > bufferSize && len(pending) <= bufferSize/4
	switch {
	case oversized || cap(s.buf)-len(pending) < max(cap(s.buf)/4, minRead):
		s.buf = append(make([]byte, 0, max(2*len(pending), bufferSize)), pending...)
	case len(pending) > 0 && cap(s.buf)-len(s.buf) >= minRead:
		return
	default:
		s.buf = append(s.buf[:0], pending...)
	}
	s.base += int64(s.start)
	s.start = 0
}

// skipLine writes the pending line to w, and consumes it.
func (s *source) skipLine(w io.Writer) error {
	for {
		pending := s.pending()
		n := bytes.IndexByte(pending, '\n') + 1
		isWhole := n > 0
		if !isWhole {
			n = len(pending)
		}
		s.consume(n)
		if _, err := w.Write(pending[:n]); err != nil || isWhole {
			return err
		}
		if !s.fill() {
			if s.err == io.EOF {
				return nil
			}
			return s.err
		}
	}
}

// rest returns the pending bytes and what follows them.
func (s *source) rest() io.Reader {
	rest := s.r
	if s.err != nil {
		rest = failed{s.err}
	}
	return io.MultiReader(bytes.NewReader(s.pending()), rest)
}

// failed is a reader that has nothing but an error.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }
