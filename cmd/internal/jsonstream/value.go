package jsonstream

import "fmt"

// A Value is one input: a JSON value, or a line.
type Value struct {
	// Raw is the value byte for byte: a JSON value without the white space around it, a line without its end. It lies in
	// the reader's buffer and is valid until the next call of Next or Rest.
	Raw []byte
	// Index counts the inputs from 0.
	Index int
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
