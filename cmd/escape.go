package cmd

import (
	"strconv"
	"unicode/utf8"
)

// appendVisible appends text with everything in it that a terminal could take for a command, or a reader for something
// else than it is, as an escape: control characters, invisible ones, bytes that are not UTF-8. Runes of keep stay as they
// are.
func appendVisible(dst []byte, text string, keep ...rune) []byte {
next:
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		char := text[:size]
		text = text[size:]
		for _, k := range keep {
			if r == k {
				dst = append(dst, char...)
				continue next
			}
		}
		if strconv.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			dst = append(dst, char...)
			continue
		}
		quoted := strconv.AppendQuote(nil, char)
		dst = append(dst, quoted[1:len(quoted)-1]...)
	}
	return dst
}

// isControl reports whether a terminal may take r for a command: C0, DEL and C1.
func isControl(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }

// appendEscapedJSON appends a JSON text with its control characters escaped, which only strings can hold, and line breaks and
// tabs between tokens turned into spaces. What the text means stays the same.
func appendEscapedJSON(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case !isControl(r):
			dst = append(dst, text[:size]...)
		case r < ' ':
			dst = append(dst, ' ')
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[r>>4], hex[r&15])
		}
		text = text[size:]
	}
	return dst
}
