package phoenix

import "fmt"

// codecV2 is vsn 2.0.0. Its text frames are arrays, [join_ref, ref, topic, event, payload]; for binary ones see
// codec_binary.go.
type codecV2 struct{}

func (codecV2) scan(data []byte, binary bool, f *frame) error {
	*f = frame{at: f.at}
	if binary {
		return scanBinary(data, f)
	}
	h := header{data: data}
	h.expect('[', faultArray)
	f.joinRef = h.ref()
	f.ref = h.ref()
	f.topic = h.ref() // null if we sent null: a topic, too, is echoed with its type
	f.event = h.string()
	// All the rest; finish finds the end of the payload in it.
	f.payload.Data = data[skipSpace(data, h.i):]
	return h.err
}

func (codecV2) finish(f *frame) error {
	if f.payload.Binary {
		return nil
	}
	text := f.payload.Data
	var i int
	var err error
	if string(f.event) == eventReply {
		i, err = readReply(text, 0, f)
	} else {
		f.payload, i, err = readPayload(text, 0)
	}
	if err == nil {
		err = endArray(text, i)
	}
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	return nil
}

// endArray returns an error unless the frame ends properly behind its payload, which ends at text[i]. Elements behind
// the payload are ignored, as the server ignores ours (PROTOCOL.md, section 2).
func endArray(text []byte, i int) error {
	i = skipSpace(text, i)
	for byteAt(text, i) == ',' {
		var f fault
		if i, f = skipNested(text, skipSpace(text, i+1), maxDepth); f != noFault {
			return f.errorAt(text, i)
		}
		i = skipSpace(text, i)
	}
	if byteAt(text, i) != ']' {
		return faultArrayEnd.errorAt(text, i)
	}
	return checkEnd(text, i+1)
}

// A header reads the elements in front of the payload. After an error it reads nothing more.
type header struct {
	data []byte
	i    int
	err  error
}

// expect skips c and the white space before it.
func (h *header) expect(c byte, otherwise fault) {
	if h.err != nil {
		return
	}
	h.i = skipSpace(h.data, h.i)
	if byteAt(h.data, h.i) != c {
		h.err = otherwise.errorAt(h.data, h.i)
		return
	}
	h.i++
}

func (h *header) ref() (ref []byte) {
	if h.err == nil {
		ref, h.i, h.err = readRef(h.data, skipSpace(h.data, h.i))
	}
	h.expect(',', faultComma)
	return ref
}

func (h *header) string() (s []byte) {
	if h.err == nil {
		s, h.i, h.err = readString(h.data, skipSpace(h.data, h.i))
	}
	h.expect(',', faultComma)
	return s
}

func (codecV2) append(dst []byte, m *message) (data []byte, binary bool, err error) {
	if err := checkNames(m); err != nil {
		return dst, false, err
	}
	if m.payload.Binary {
		data, err = appendBinary(dst, m)
		return data, true, err
	}
	dst = append(dst, '[')
	dst = appendRef(dst, m.joinRef)
	dst = append(dst, ',')
	dst = appendRef(dst, m.ref)
	dst = append(dst, ',')
	dst = appendString(dst, m.topic)
	dst = append(dst, ',')
	dst = appendString(dst, m.event)
	dst = append(dst, ',')
	dst = appendPayload(dst, m.payload)
	return append(dst, ']'), false, nil
}
