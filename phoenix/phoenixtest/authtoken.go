package phoenixtest

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

const authTokenPrefix = "base64url.bearer.phx."

// errAuthToken is how a token that is not base64 is answered: by an exception.
var errAuthToken = &Refusal{
	Status: http.StatusInternalServerError,
	Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
	Body:   `{"errors":{"detail":"Internal Server Error"}}`,
}

// subprotocol reads Sec-WebSocket-Protocol: the subprotocol to answer ("": none) and the
// token (nil: none). A socket without auth_token does not look at the header at all.
func subprotocol(sock *UserSocket, h http.Header) (protocol string, token *string, err error) {
	asked := tokens(h, "Sec-WebSocket-Protocol", func(s string) string { return s })
	if !sock.AuthToken || len(asked) == 0 {
		return "", nil, nil
	}
	isToken := func(s string) bool { return strings.HasPrefix(s, authTokenPrefix) }
	if i := slices.IndexFunc(asked, isToken); i >= 0 {
		// Whatever the prefix says, the server decodes the standard alphabet.
		encoded := strings.TrimRight(strings.TrimPrefix(asked[i], authTokenPrefix), "=")
		decoded, err := base64.RawStdEncoding.DecodeString(encoded)
		if err != nil {
			return "", nil, errAuthToken
		}
		text := string(decoded)
		token = &text
	}
	protocols := slices.DeleteFunc(asked, isToken)
	switch {
	case len(protocols) == 0:
		return "", token, nil
	case slices.Contains(protocols, "phoenix"):
		return "phoenix", token, nil
	default:
		return "", nil, errForbidden
	}
}
