package phoenix

import (
	"errors"
	"unicode/utf8"
)

var (
	errTopicUTF8 = errors.New("the topic is not valid UTF-8")
	errEventUTF8 = errors.New("the event is not valid UTF-8")
)

// checkNames refuses a topic or event that is not UTF-8. No frame can carry it, and replacing what is wrong would make it
// another topic.
func checkNames(m *message) error {
	if !utf8.ValidString(m.topic) {
		return errTopicUTF8
	}
	if !utf8.ValidString(m.event) {
		return errEventUTF8
	}
	return nil
}

// appendPayload appends JSON as it is, line breaks and all: a frame may hold them.
func appendPayload(dst []byte, p Payload) []byte {
	if p.Data == nil {
		return append(dst, "{}"...)
	}
	return append(dst, p.Data...)
}

// appendRef appends a ref or join_ref. An empty one is null: a string that is empty would be a stale join_ref to the
// server (PROTOCOL.md, section 3).
func appendRef(dst []byte, ref string) []byte {
	if ref == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, ref)
}

// appendString appends s, which is valid UTF-8, as a JSON string with no more escapes than RFC 8259, section 7, asks for.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		if c >= ' ' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}
