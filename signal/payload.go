package signal

import (
	"encoding/base64"

	"phx/phoenix"
)

// appendPayloadMember appends the member called name, or name_base64 for bytes. p has data; no comma goes before it.
func appendPayloadMember(dst []byte, name string, p *phoenix.Payload) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	if p.Binary {
		dst = append(dst, "_base64"...)
	}
	dst = append(dst, `":`...)
	return appendPayload(dst, p)
}

// appendPayload appends p as a JSON value on one line: JSON text as it is, bytes as a string of standard base64.
func appendPayload(dst []byte, p *phoenix.Payload) []byte {
	switch {
	case p.Binary:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, p.Data)
		return append(dst, '"')
	case p.Broken:
		return appendUnbroken(dst, p.Data)
	}
	return append(dst, p.Data...)
}

// appendUnbroken appends JSON text without its line breaks. They can stand between tokens only: JSON allows none inside a
// string, and no two tokens that need white space between them.
func appendUnbroken(dst, text []byte) []byte {
	for _, c := range text {
		if c != '\n' && c != '\r' {
			dst = append(dst, c)
		}
	}
	return dst
}
