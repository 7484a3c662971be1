package jsonstream

import (
	"bytes"
	"io"
)

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
