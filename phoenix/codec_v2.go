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
	i, c := nextToken(data, 0)
	if c != '[' {
		return faultArray.errorAt(data, i)
	}
	i, _ = nextToken(data, i+1)
	var err error
	if f.joinRef, i, err = refElement(data, i); err != nil {
		return err
	}
	if f.ref, i, err = refElement(data, i); err != nil {
		return err
	}
	// A topic, too, is echoed with its type: null if we sent null.
	if f.topic, i, err = refElement(data, i); err != nil {
		return err
	}
	if f.event, i, err = stringElement(data, i); err != nil {
		return err
	}
	// All the rest; finish finds the end of the payload in it.
	f.payload.Data = data[i:]
	return nil
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
		var payload []byte
		payload, i, err = readValue(text, 0)
		f.payload = jsonPayload(payload)
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
	i, c := nextToken(text, i)
	for c == ',' {
		var f fault
		i, _ = nextToken(text, i+1)
		if i, f = skipNested(text, i, maxDepth); f != noFault {
			return f.errorAt(text, i)
		}
		i, c = nextToken(text, i)
	}
	if c != ']' {
		return faultArrayEnd.errorAt(text, i)
	}
	return checkEnd(text, i+1)
}

// refElement returns the ref that is the element at data[i], and the start of the next element.
func refElement(data []byte, i int) (ref []byte, next int, err error) {
	if ref, i, err = readRef(data, i); err != nil {
		return nil, i, err
	}
	next, err = nextElement(data, i)
	return ref, next, err
}

// stringElement is refElement for a string.
func stringElement(data []byte, i int) (s []byte, next int, err error) {
	if s, i, err = readString(data, i); err != nil {
		return nil, i, err
	}
	next, err = nextElement(data, i)
	return s, next, err
}

// nextElement returns the start of the element behind the one that ends at data[i].
func nextElement(data []byte, i int) (next int, err error) {
	i, c := nextToken(data, i)
	if c != ',' {
		return i, faultComma.errorAt(data, i)
	}
	next, _ = nextToken(data, i+1)
	return next, nil
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
