package signal

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// appendString appends s as a JSON string with the least escaping that is valid (RFC 8259, section 7): '"', '\' and control
// characters. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	copied := 0 // s[:copied] is in dst
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[copied:i]...)
				dst = append(dst, "\uFFFD"...)
				copied = i + size
			}
			i += size
			continue
		}
		i++
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[copied:i-1]...)
		copied = i
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
	}
	dst = append(dst, s[copied:]...)
	return append(dst, '"')
}

// appendName appends a comma and the name of the member that follows. Names are ours and need no escaping.
func appendName(dst []byte, name string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	return append(dst, `":`...)
}

func appendText(dst []byte, name, value string) []byte {
	return appendString(appendName(dst, name), value)
}

func appendBool(dst []byte, name string, value bool) []byte {
	return strconv.AppendBool(appendName(dst, name), value)
}

func appendInt(dst []byte, name string, value int) []byte {
	return strconv.AppendInt(appendName(dst, name), int64(value), 10)
}

func appendUint(dst []byte, name string, value uint64) []byte {
	return strconv.AppendUint(appendName(dst, name), value, 10)
}

// appendMillis appends d in whole milliseconds, rounded, never negative: a clock that was set back is no news.
func appendMillis(dst []byte, name string, d time.Duration) []byte {
	return appendUint(dst, name, uint64(max(d, 0).Round(time.Millisecond).Milliseconds()))
}

// appendMicros appends d in whole microseconds, rounded, never negative.
func appendMicros(dst []byte, name string, d time.Duration) []byte {
	return appendUint(dst, name, uint64(max(d, 0).Round(time.Microsecond).Microseconds()))
}
