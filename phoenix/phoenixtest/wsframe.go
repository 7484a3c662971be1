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

type frameHeader struct {
	fin, rsv1 bool
	op        byte
	length    int
	mask      [4]byte
}

// header reads a frame's header and refuses what may not be, before its payload is read.
func (r *frameReader) header() (h frameHeader, err error) {
	var first [2]byte
	if _, err := io.ReadFull(r.br, first[:]); err != nil {
		return h, err
	}
	h.fin, h.rsv1, h.op = first[0]&0x80 != 0, first[0]&0x40 != 0, first[0]&0x0F
	masked := first[1]&0x80 != 0
	length, extended := uint64(first[1]&0x7F), extendedLength(first[1])
	if extended > 0 {
		var buf [8]byte
		if _, err := io.ReadFull(r.br, buf[8-extended:]); err != nil {
			return h, err
		}
		length = binary.BigEndian.Uint64(buf[:])
	}
	if !r.allowed(h, first[0], masked, length) {
		return h, wireError{closeProtocolError}
	}
	if length > uint64(r.limit) || int(length)+2+extended+4 > r.limit {
		return h, wireError{closeTooBig}
	}
	h.length = int(length)
	_, err = io.ReadFull(r.br, h.mask[:])
	return h, err
}

// allowed is RFC 6455's list of musts for a frame of a client.
func (r *frameReader) allowed(h frameHeader, first byte, masked bool, length uint64) bool {
	const reserved = 0x30
	if !masked || first&reserved != 0 {
		return false
	}
	switch h.op {
	case opText, opBinary:
		return r.messageOp == 0 && (!h.rsv1 || r.inflate != nil)
	case opContinuation:
		return r.messageOp != 0 && !h.rsv1
	case opClose, opPing, opPong:
		return h.fin && !h.rsv1 && length <= 125
	default:
		return false
	}
}

// buffered tells whether a whole further frame can be read without waiting.
func (r *frameReader) buffered() bool {
	first, _ := r.br.Peek(min(2, r.br.Buffered()))
	if len(first) < 2 {
		return false
	}
	size, extended := 6+int(first[1]&0x7F), extendedLength(first[1])
	if extended > 0 {
		head, _ := r.br.Peek(min(2+extended, r.br.Buffered()))
		if len(head) < 2+extended {
			return false
		}
		var buf [8]byte
		copy(buf[8-extended:], head[2:])
		length := binary.BigEndian.Uint64(buf[:])
		if length > uint64(r.br.Size()) {
			return false
		}
		size = 6 + extended + int(length)
	}
	return r.br.Buffered() >= size
}

// extendedLength is the number of further length bytes that the second byte announces.
func extendedLength(second byte) int {
	switch second & 0x7F {
	case 126:
		return 2
	case 127:
		return 8
	default:
		return 0
	}
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

// deflateTail ends every message of permessage-deflate and is left out on the wire,
// RFC 7692 section 7.2.1. The final block behind it makes flate see an end.
const (
	deflateTail  = "\x00\x00\xff\xff"
	deflateFinal = "\x01\x00\x00\xff\xff"
	// deflateWindow is how far back a client may refer to earlier messages.
	deflateWindow = 32 << 10
)

// An extension is the outcome of negotiating permessage-deflate.
type extension struct {
	params         []string // as answered
	clientTakeover bool     // the client may refer to its earlier messages
}

// negotiateDeflate accepts an offer as Bandit and Cowboy do; nil: nothing was agreed on.
func negotiateDeflate(offers []string) *extension {
	for _, offer := range strings.Split(strings.Join(offers, ","), ",") {
		name, rest, _ := strings.Cut(offer, ";")
		if strings.TrimSpace(name) != "permessage-deflate" {
			continue
		}
		ext := &extension{params: []string{"permessage-deflate"}, clientTakeover: true}
		offered := map[string]bool{}
		for param := range strings.SplitSeq(rest, ";") {
			key, _, _ := strings.Cut(strings.TrimSpace(param), "=")
			offered[key] = true
		}
		if offered["server_no_context_takeover"] {
			ext.params = append(ext.params, "server_no_context_takeover")
		}
		if offered["client_no_context_takeover"] {
			ext.params = append(ext.params, "client_no_context_takeover")
			ext.clientTakeover = false
		}
		if offered["client_max_window_bits"] {
			ext.params = append(ext.params, "client_max_window_bits=15")
		}
		return ext
	}
	return nil
}

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
