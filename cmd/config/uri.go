package config

import (
	"errors"
	"net/url"
	"slices"
)

var uriSchemes = []string{"ws", "wss", "http", "https"}

// checkURI refuses what cannot be a socket's address. Its errors repeat no part of the text: even the error of url.Parse may
// hold part of a password.
func checkURI(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("is not a URI")
	case u.Scheme == "" || u.Opaque != "":
		return "", errors.New("has no scheme")
	case !slices.Contains(uriSchemes, u.Scheme):
		return "", errors.New("has another scheme than ws, wss, http or https")
	case u.Hostname() == "":
		return "", errors.New("has no host")
	case u.Fragment != "":
		return "", errors.New("has a fragment (#...)")
	}
	return text, nil
}

// Address returns the URI without what may be secret: query and userinfo.
func (c *Connection) Address() string {
	u, err := url.Parse(c.URI)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
