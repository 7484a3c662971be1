package phoenixtest

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// WebSocket opcodes, RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// The close codes that Phoenix servers send.
const (
	closeNormal         = 1000
	closeGoingAway      = 1001
	closeProtocolError  = 1002
	closeNoStatus       = 1005 // never on the wire: an empty close frame
	closeInvalidPayload = 1007
	closeTooBig         = 1009
	closeInternalError  = 1011
	closeRestart        = 1012
)

// A wireError is a violation of RFC 6455 by the client, answered with a close code.
type wireError struct{ code int }

func (e wireError) Error() string { return fmt.Sprintf("protocol violation, close code %d", e.code) }

// A wsFrame is a complete text or binary message, or one control frame.
type wsFrame struct {
	op   byte
	data []byte
}

// A frameReader reads what a client sends and is stricter than a client has to expect:
// whatever the recorded servers refused is refused here, with their codes.
type frameReader struct {
	br      *bufio.Reader
	limit   int       // of a whole frame, header included, and of a whole message
	inflate *inflater // nil: no extension was negotiated

	message    []byte // the fragments so far
	messageOp  byte   // 0: not inside a message
	compressed bool
}

// batch blocks for one message and returns it with all others that arrived with it.
// An error comes with the messages before it.
func (r *frameReader) batch() ([]wsFrame, error) {
	var frames []wsFrame
	for {
		frame, complete, err := r.next()
		if err != nil {
			return frames, err
		}
		if complete {
			frames = append(frames, frame)
		}
		if len(frames) > 0 && !r.buffered() {
			return frames, nil
		}
	}
}

// buffered tells whether a whole further frame can be read without waiting.
func (r *frameReader) buffered() bool {
	data, _ := r.br.Peek(r.br.Buffered()) // of what is there, there is no error
	h, ok := parseHeader(data)
	return ok && h.length <= uint64(len(data)) && h.size+int(h.length) <= len(data)
}

// next reads one frame; complete is false after a fragment that others will follow.
func (r *frameReader) next() (frame wsFrame, complete bool, err error) {
	h, err := r.header()
	if err != nil {
		return wsFrame{}, false, err
	}
	data := make([]byte, h.length)
	if _, err := io.ReadFull(r.br, data); err != nil {
		return wsFrame{}, false, err
	}
	unmask(data, h.mask)
	if h.op >= opClose {
		return wsFrame{op: h.op, data: data}, true, nil
	}
	return r.assemble(h, data)
}

// A frameHeader is what precedes the payload of a frame.
type frameHeader struct {
	fin, rsv1 bool
	reserved  bool // a bit is set that no extension uses
	op        byte
	masked    bool
	length    uint64
	size      int // of the header itself, with its mask
	mask      [4]byte
}

// parseHeader reads a header up to its length. Of one that is not there as a whole it tells the least size.
func parseHeader(data []byte) (h frameHeader, ok bool) {
	if len(data) < 2 {
		return frameHeader{size: 2 + len(h.mask)}, false
	}
	h.fin, h.rsv1, h.reserved, h.op = data[0]&0x80 != 0, data[0]&0x40 != 0, data[0]&0x30 != 0, data[0]&0x0F
	h.masked, h.length = data[1]&0x80 != 0, uint64(data[1]&0x7F)
	extended := 0 // bytes of the length that follow
	switch h.length {
	case 126:
		extended = 2
	case 127:
		extended = 8
	}
	h.size = 2 + extended + len(h.mask)
	if len(data) < 2+extended {
		return h, false
	}
	if extended > 0 {
		var buf [8]byte
		copy(buf[8-extended:], data[2:])
		h.length = binary.BigEndian.Uint64(buf[:])
	}
	return h, true
}

// header reads a frame's header and refuses what may not be, before its mask and its payload have come.
func (r *frameReader) header() (frameHeader, error) {
	h, ok := parseHeader(nil)
	for !ok {
		data, err := r.br.Peek(h.size - len(h.mask))
		if err != nil {
			return h, err
		}
		h, ok = parseHeader(data)
	}
	if !r.allowed(h) {
		return h, wireError{closeProtocolError}
	}
	if h.length > uint64(r.limit) || int(h.length)+h.size > r.limit {
		return h, wireError{closeTooBig}
	}
	data, err := r.br.Peek(h.size)
	if err != nil {
		return h, err
	}
	copy(h.mask[:], data[h.size-len(h.mask):])
	_, err = r.br.Discard(h.size)
	return h, err
}

// allowed is RFC 6455's list of musts for a frame of a client.
func (r *frameReader) allowed(h frameHeader) bool {
	if !h.masked || h.reserved {
		return false
	}
	switch h.op {
	case opText, opBinary:
		return r.messageOp == 0 && (!h.rsv1 || r.inflate != nil)
	case opContinuation:
		return r.messageOp != 0 && !h.rsv1
	case opClose, opPing, opPong:
		return h.fin && !h.rsv1 && h.length <= 125
	default:
		return false
	}
}

// unmask is a loop over blocks because large frames are tested with, and the race detector
// looks at every byte of a plain loop.
func unmask(data []byte, mask [4]byte) {
	const block = 4096
	key := bytes.Repeat(mask[:], min(len(data)+3, block)/4)
	for chunk := range slices.Chunk(data, max(len(key), 1)) {
		subtle.XORBytes(chunk, chunk, key)
	}
}

// assemble joins fragments, decompresses and checks UTF-8.
func (r *frameReader) assemble(h frameHeader, data []byte) (wsFrame, bool, error) {
	if h.op != opContinuation {
		r.messageOp, r.compressed, r.message = h.op, h.rsv1, data
	} else {
		r.message = append(r.message, data...)
	}
	if len(r.message) > r.limit {
		return wsFrame{}, false, wireError{closeTooBig}
	}
	if !h.fin {
		return wsFrame{}, false, nil
	}
	frame := wsFrame{op: r.messageOp, data: r.message}
	r.messageOp, r.message = 0, nil
	if r.compressed {
		var err error
		if frame.data, err = r.inflate.decompress(frame.data, r.limit); err != nil {
			return wsFrame{}, false, err
		}
	}
	if frame.op == opText && !utf8.Valid(frame.data) {
		return wsFrame{}, false, wireError{closeInvalidPayload}
	}
	return frame, true, nil
}

// appendFrameHeader appends the header of an unfragmented server frame.
func appendFrameHeader(buf []byte, op byte, compressed bool, length int) []byte {
	first := 0x80 | op
	if compressed {
		first |= 0x40
	}
	switch {
	case length <= 125:
		return append(buf, first, byte(length))
	case length <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(buf, first, 126), uint16(length))
	default:
		return binary.BigEndian.AppendUint64(append(buf, first, 127), uint64(length))
	}
}

// closePayload is the payload of a close frame; reasons are always empty, as recorded.
func closePayload(code int) []byte {
	if code == closeNoStatus {
		return nil
	}
	return binary.BigEndian.AppendUint16(nil, uint16(code))
}

// clientCloseCode reads the payload of a client's close frame. It must not carry the codes
// that RFC 6455 keeps for other uses.
func clientCloseCode(data []byte) (int, error) {
	if len(data) == 0 {
		return closeNoStatus, nil
	}
	if len(data) == 1 {
		return 0, wireError{closeProtocolError}
	}
	code := int(binary.BigEndian.Uint16(data))
	switch {
	case code < 1000, code >= 5000, code == 1004, code == 1005, code == 1006, code >= 1015 && code < 3000:
		return 0, wireError{closeProtocolError}
	case !utf8.Valid(data[2:]):
		return 0, wireError{closeInvalidPayload}
	}
	return code, nil
}

// deflateTail ends every message of permessage-deflate and is left out on the wire,
// RFC 7692 section 7.2.1. The final block behind it makes flate see an end.
const (
	deflateTail  = "\x00\x00\xff\xff"
	deflateFinal = "\x01\x00\x00\xff\xff"
	// deflateWindow is how far back a client may refer to earlier messages.
	deflateWindow = 32 << 10
)

// An inflater decompresses the messages of one client.
type inflater struct {
	takeover bool
	window   []byte
}

func (f *inflater) decompress(data []byte, limit int) ([]byte, error) {
	src := io.MultiReader(bytes.NewReader(data), strings.NewReader(deflateTail+deflateFinal))
	r := flate.NewReaderDict(src, f.window)
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, wireError{closeInvalidPayload}
	case len(out) > limit:
		return nil, wireError{closeTooBig}
	}
	if f.takeover {
		f.window = append(f.window, out...)
		f.window = f.window[max(0, len(f.window)-deflateWindow):]
	}
	return out, nil
}

// A deflater compresses messages, each on its own: always allowed, and no state to keep.
type deflater struct {
	buf bytes.Buffer
	w   *flate.Writer
}

func newDeflater() *deflater {
	d := &deflater{}
	d.w, _ = flate.NewWriter(&d.buf, flate.DefaultCompression) // only a bad level is an error
	return d
}

// compress returns a slice that is valid until the next call.
func (d *deflater) compress(data []byte) []byte {
	d.buf.Reset()
	d.w.Reset(&d.buf)
	// A bytes.Buffer takes every write.
	_, _ = d.w.Write(data)
	_ = d.w.Flush()
	return bytes.TrimSuffix(d.buf.Bytes(), []byte(deflateTail))
}
