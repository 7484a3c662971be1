package peer

import (
	"bytes"

	"phx/phoenix/phoenixtest"
)

// binaries are the events about binary payloads.
var binaries = map[string]handler{
	"binary_echo": onBinary(func(data []byte) phoenixtest.Result {
		return phoenixtest.OK(phoenixtest.Binary(data))
	}),
	"binary_error": onBinary(func(data []byte) phoenixtest.Result {
		return phoenixtest.Error(phoenixtest.Binary(data))
	}),
	"binary_len": onBinary(func(data []byte) phoenixtest.Result {
		return phoenixtest.OK(phoenixtest.Map{"len": len(data)})
	}),
	"binary_push": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Push("bin", phoenixtest.Binary(bin(p)))
		return phoenixtest.OK(nil)
	},
	"binary_broadcast": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Broadcast("bin", phoenixtest.Binary(bin(p)))
		return phoenixtest.OK(nil)
	},
}

// onBinary has a clause for binary payloads only.
func onBinary(f func(data []byte) phoenixtest.Result) handler {
	return func(_ *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		if !p.IsBinary() {
			return phoenixtest.NoClause(string(p.Bytes()))
		}
		return f(p.Bytes())
	}
}

// bin is the data that the payload asks for: {"base64"}, {"size"}, itself, or a default.
func bin(p phoenixtest.Payload) []byte {
	if p.IsBinary() {
		return p.Bytes()
	}
	if data := phoenixtest.Field[[]byte](p, "base64", nil); data != nil {
		return data
	}
	if size := phoenixtest.Field(p, "size", -1); size >= 0 {
		return bytes.Repeat([]byte{0xAB}, size)
	}
	return []byte{0, 1, 2, 255}
}
