package phoenix

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// minSecret is the length in bytes from which on a value may be a secret. Shorter ones are found in any text.
const minSecret = 8

// secretsOf lists what of a request nobody may see: values of its query, of its headers, and the auth token; longer ones first,
// because one may be part of another.
func secretsOf(dialed string, header http.Header, token string) []string {
	var secrets []string
	add := func(values ...string) {
		for _, v := range values {
			for _, spelled := range []string{v, url.QueryEscape(v)} {
				if len(spelled) >= minSecret {
					secrets = append(secrets, spelled)
				}
			}
		}
	}
	if u, err := url.Parse(dialed); err == nil {
		for _, values := range u.Query() {
			add(values...)
		}
	}
	for _, values := range header {
		for _, v := range values {
			add(v)
			add(strings.Fields(v)...)
		}
	}
	add(token)
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return secrets
}

// hide takes out of the body of an answer what it repeats of the request's secrets: many a page of an error shows the address
// that was asked for.
func hide(body io.Reader, secrets []string) io.ReadCloser {
	text, _ := io.ReadAll(body) // what came before an error is all there is
	hidden := string(text)
	for _, s := range secrets {
		hidden = strings.ReplaceAll(hidden, s, "...")
	}
	return io.NopCloser(strings.NewReader(hidden))
}
