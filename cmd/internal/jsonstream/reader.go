package jsonstream

import (
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
	scan  scanner
	max   int64
	index int
	line  int   // line breaks before the value
	bare  bool  // the value before was a number or a literal
	err   error // what Next returned, and returns again
}

// New returns a Reader of r. A value of more than max bytes is an error.
func New(r io.Reader, max int64) *Reader { return &Reader{src: source{r: r}, max: max} }

// Next returns the next value as soon as it is complete: objects, arrays, strings, true, false and null with their last
// byte, a number with the byte that follows, or at the end of the input.
//
// The error is io.EOF at the end of the input, a [*SyntaxError] for input that is not JSON or not UTF-8, for an input cut
// short, or a value that is too large, and a [*ReadError] for a failed read. After it Next returns the same error again.
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

func (r *Reader) next() (Value, error) {
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
	v := Value{Raw: r.src.pending()[:n:n], Index: r.index, Offset: r.src.offset()}
	r.src.consume(n)
	r.index++
	switch v.Raw[0] {
	case '{', '[', '"':
		r.bare = false
	default:
		r.bare = true
	}
	return v, nil
}

// skipSpace consumes the white space before a value.
func (r *Reader) skipSpace() error {
	for {
		for i, c := range r.src.pending() {
			if isSpace(c) {
				r.bare = false
				if c == '\n' {
					r.scan.line++
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

// measure waits for the whole of the value that the pending bytes start with, and returns its length.
func (r *Reader) measure() (int, error) {
	r.scan.reset()
	r.line = r.scan.line
	for n := 0; ; {
		piece := r.src.pending()[n:]
		m, complete, fault := r.scan.scan(piece)
		n += m
		switch {
		case fault != "":
			return 0, r.fault(n, fault)
		case complete:
			return n, nil
		case int64(n) > r.max:
			return 0, r.tooLarge()
		case r.src.fill():
		case r.src.err != io.EOF:
			return 0, r.src.err
		case m < len(piece):
			return 0, r.fault(n, invalidUTF8)
		case len(r.scan.open) == 0 && r.scan.endsNumber():
			return n, nil
		default:
			return 0, r.fault(n, "unexpected end of the input "+r.scan.place())
		}
	}
}

// fault is the error for what is wrong n bytes into the pending ones.
func (r *Reader) fault(n int, msg string) error {
	return &SyntaxError{Index: r.index, Line: r.scan.line + 1, Offset: r.src.offset() + int64(n), Msg: msg}
}

func (r *Reader) tooLarge() error {
	msg := fmt.Sprintf("a value of more than %d bytes", r.max)
	return &SyntaxError{Index: r.index, Line: r.line + 1, Offset: r.src.offset(), Msg: msg}
}
