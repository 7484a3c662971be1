package config

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"phx/phoenix"
)

// A pair is a name and its value, from --param or --header.
type pair struct {
	name  string
	value *Source
}

func parseParam(text string) (pair, error) {
	name, value, ok := strings.Cut(text, "=")
	switch {
	case !ok || name == "":
		return pair{}, errors.New("is not NAME=VALUE")
	case name == "vsn":
		return pair{}, errors.New("sets vsn, which has an option of its own: --vsn")
	}
	return pair{name, newSource("--param "+name, value)}, nil
}

// isOrigin reports whether p is the header Origin.
func (p pair) isOrigin() bool { return textproto.CanonicalMIMEHeaderKey(p.name) == "Origin" }

// upgradeHeaders are those that the upgrade request sets itself.
var upgradeHeaders = []string{
	"Connection", "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol",
}

func parseHeader(text string) (pair, error) {
	name, value, ok := strings.Cut(text, ":")
	switch {
	case !ok || !isHeaderName(name):
		return pair{}, errors.New("is not 'NAME: VALUE'")
	case isUpgradeHeader(name):
		return pair{}, fmt.Errorf("sets %s, which belongs to the upgrade itself", name)
	}
	value = strings.Trim(value, " \t")
	if err := checkHeaderValue(value); err != nil {
		return pair{}, err
	}
	return pair{name, newSource("--header "+name, value)}, nil
}

func isHeaderName(name string) bool { return name != "" && !strings.ContainsFunc(name, notToken) }

func isUpgradeHeader(name string) bool {
	return slices.Contains(upgradeHeaders, textproto.CanonicalMIMEHeaderKey(name))
}

// notToken reports whether r may not be in a header's name (RFC 9110, section 5.6.2).
func notToken(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func checkHeaderValue(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return errors.New("has a control character or a line break")
	}
	return nil
}

// credentials reads what a dial shows to the server.
func (c *Connection) credentials(ctx context.Context) (phoenix.Credentials, error) {
	creds := phoenix.Credentials{Params: url.Values{}, Header: http.Header{}}
	for _, p := range c.params {
		value, err := p.value.Text(ctx)
		if err != nil {
			return creds, err
		}
		creds.Params.Add(p.name, value)
	}
	for _, h := range c.headers {
		value, err := h.readLine(ctx)
		if err != nil {
			return creds, err
		}
		creds.Header.Add(h.name, value)
	}
	if c.network.origin != "" {
		creds.Header.Set("Origin", c.network.origin)
	}
	var err error
	if creds.AuthToken, creds.HasAuthToken, err = c.readAuthToken(ctx); err != nil {
		return creds, err
	}
	creds.TLS, err = c.tls.config(ctx)
	return creds, err
}

// readLine reads the value of a header.
func (p pair) readLine(ctx context.Context) (string, error) {
	value, err := p.value.Text(ctx)
	if err != nil {
		return "", err
	}
	if err := checkHeaderValue(value); err != nil {
		return "", &UsageError{
			Message: fmt.Sprintf("the value of %s %v", p.value.option, err),
			Advice:  "a header is a single line: check what is in " + p.value.name(),
		}
	}
	return value, nil
}

// readAuthToken returns the token and whether there is one.
func (c *Connection) readAuthToken(ctx context.Context) (token string, ok bool, err error) {
	if c.authToken == nil {
		return "", false, nil
	}
	token, err = c.authToken.Text(ctx)
	if err == nil && token == "" {
		err = &UsageError{
			Message: "there is no token in " + c.authToken.name(),
			Advice:  "write the token to it, as one line",
		}
	}
	return token, err == nil, err
}
