package phoenix

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// An endpoint is where to dial: Options.URL made complete.
type endpoint struct {
	url url.URL
	// basicAuth is the Authorization header made of the URL's userinfo, empty without.
	basicAuth string
	codec     codec
}

// newEndpoint completes a URL. Its errors do not repeat the URL, which may hold secrets.
func newEndpoint(raw, vsn string) (*endpoint, error) {
	if raw == "" {
		return nil, errors.New("the URI of the socket is missing")
	}
	u, err := url.Parse(raw)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("the URI cannot be parsed: %w", err)
	}
	switch u.Scheme = strings.ToLower(u.Scheme); u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return nil, fmt.Errorf("the URI's scheme is %q: it can be ws, wss, http or https", u.Scheme)
	}
	if u.Host == "" {
		return nil, errors.New("the URI has no host")
	}
	e := &endpoint{url: *u}
	if u.User != nil {
		password, _ := u.User.Password()
		e.basicAuth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
		e.url.User = nil
	}
	e.url.Fragment = ""
	// The server takes a slash at the end for nothing.
	if !strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/websocket") {
		e.url = *e.url.JoinPath("websocket")
	}
	query := u.Query()
	if !query.Has("vsn") {
		query.Set("vsn", vsn)
		e.url.RawQuery = appendQuery(u.RawQuery, "vsn="+url.QueryEscape(vsn))
	} else {
		// Given twice, the last one wins (PROTOCOL.md, section 1).
		vsn = query["vsn"][len(query["vsn"])-1]
	}
	if e.codec, err = codecFor(vsn); err != nil {
		// Its text is left out: it may come from the query.
		return nil, errors.New("the vsn is not one of 2.0.0 and 1.0.0")
	}
	return e, nil
}

func appendQuery(query, more string) string {
	if query == "" {
		return more
	}
	if more == "" {
		return query
	}
	return query + "&" + more
}

// public returns the URL without what may be a secret: its query.
func (e *endpoint) public() string {
	u := e.url
	u.RawQuery = ""
	return u.String()
}

// request returns the URL and the header to dial with.
func (e *endpoint) request(c Credentials) (string, http.Header) {
	u := e.url
	// vsn stays last, as with the official client.
	u.RawQuery = appendQuery(c.Params.Encode(), u.RawQuery)
	header := c.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if e.basicAuth != "" && header.Get("Authorization") == "" {
		header.Set("Authorization", e.basicAuth)
	}
	return u.String(), header
}

// tokenSubprotocol begins the subprotocol that is an auth token.
const tokenSubprotocol = "base64url.bearer.phx."

// subprotocols carry the auth token (rule 24). The server decodes the standard alphabet, in spite of the name.
func subprotocols(c Credentials) []string {
	if !c.HasAuthToken {
		return nil
	}
	return []string{"phoenix", tokenSubprotocol + base64.RawStdEncoding.EncodeToString([]byte(c.AuthToken))}
}
