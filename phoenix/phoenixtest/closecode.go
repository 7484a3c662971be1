package phoenixtest

import (
	"encoding/binary"
	"unicode/utf8"
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
