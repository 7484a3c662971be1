package realtime

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"phx/phoenix/phoenixtest"
)

// Secret signs the tokens of a project that sets no other. It is the one of a Supabase that runs on a developer's machine, so that the keys which
// `supabase start` prints are good here, too.
const Secret = "super-secret-jwt-token-with-at-least-32-characters-long"

// NewToken is a token of a role that ends at a time, signed with [Secret].
func NewToken(role string, exp time.Time) string {
	return SignToken(Secret, phoenixtest.Map{"role": role, "exp": exp.Unix()})
}

// SignToken is a JSON web token with these claims, signed by HS256.
func SignToken(secret string, claims phoenixtest.Map) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(phoenixtest.JSON(claims).Bytes())
	return signed + "." + encode(signature(secret, signed))
}

func signature(secret, signed string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

// claims are those of a token that matter.
type claims struct {
	role string
	exp  time.Time // zero: never
}

// A tokenError says what is wrong with a token, in each of the places in which the server says it.
type tokenError struct {
	handshake string // the error of the HTTP answer, 401
	join      string // the reason of a refused join
	system    string // the message of a system event
}

// Error implements error.
func (e *tokenError) Error() string { return e.join }

const noValidJWT = "The token provided is not a valid JWT"

var (
	errTokenMalformed = &tokenError{handshake: noValidJWT, join: "MalformedJWT: " + noValidJWT, system: noValidJWT}
	errTokenSignature = &tokenError{
		handshake: "Failed to validate JWT signature",
		join:      "JwtSignatureError: Failed to validate JWT signature",
		system:    ":signature_error",
	}
	errTokenSigner = &tokenError{
		handshake: noSigner,
		join:      "JwtSignerError: " + noSigner,
		system:    ":error_generating_signer",
	}
	errTokenClaims = &tokenError{handshake: noClaims, join: "InvalidJWTToken: " + noClaims, system: noClaims}
)

const (
	noClaims = "Fields `role` and `exp` are required in JWT"
	noSigner = "Failed to generate JWT signer, check your JWT secret or JWKS configuration"
)

// checkToken reads a token (lib/realtime_web/channels/auth): its form, then its signature, then its end, then its role. A key sb_..., which the gateway
// of Supabase puts a token in the place of, has no end; its role is service_role for a secret key, else anon.
func checkToken(secret, token string) (claims, *tokenError) {
	if strings.HasPrefix(token, "sb_secret_") {
		return claims{role: "service_role"}, nil
	}
	if strings.HasPrefix(token, "sb_") {
		return claims{role: "anon"}, nil
	}
	parts := strings.Split(strings.Join(strings.Fields(token), ""), ".")
	if len(parts) != 3 {
		return claims{}, errTokenMalformed
	}
	var header struct{ Alg string }
	var body map[string]any
	sum, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !decodePart(parts[0], &header) || !decodePart(parts[1], &body) {
		return claims{}, errTokenMalformed
	}
	if header.Alg != "HS256" {
		return claims{}, errTokenSigner
	}
	if !hmac.Equal(sum, signature(secret, parts[0]+"."+parts[1])) {
		return claims{}, errTokenSignature
	}
	now := time.Now().Unix()
	seconds, dated := body["exp"].(float64)
	if exp := int64(math.Round(seconds)); dated && exp <= now {
		ago := fmt.Sprintf("Token has expired %d seconds ago", now-exp)
		return claims{}, &tokenError{handshake: "Token has expired", join: "InvalidJWTToken: " + ago, system: ago}
	}
	role, named := body["role"].(string)
	if !dated || !named {
		return claims{}, errTokenClaims
	}
	return claims{role: role, exp: time.Unix(int64(math.Round(seconds)), 0)}, nil
}

func decodePart(part string, into any) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(text, into) == nil
}
