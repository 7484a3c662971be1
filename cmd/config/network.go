package config

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// networkOptions is what the options say about the way to the server.
type networkOptions struct {
	origin     string
	unixSocket string
	requireWSS bool
	proxyURL   *url.URL
	compress   bool
}

func (n *networkOptions) options() []Option {
	return []Option{
		{Flag: "origin", Value: Checked(&n.origin, "", parseOrigin),
			Usage: "`URL` to send as the Origin header (default none: Phoenix accepts that)", Example: "https://example.com"},
		{Flag: "unix-socket", Value: Checked(&n.unixSocket, "", parsePath),
			Usage: "connect to the Unix socket at `PATH`; --uri still names host and path of the request", Example: "/run/backend.sock"},
		{Flag: "proxy", Key: "proxy", Secret: true, Value: n.proxyValue(),
			Usage: "connect through the proxy at `URL`: http, socks5 or socks5h, user:password@ included (default as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say)", Example: "http://proxy.example.com:3128"},
		{Flag: "compress", Value: Switch(&n.compress),
			Usage: "offer compression (permessage-deflate) to the server: less on the wire, more work"},
		{Flag: "require-wss", Key: "require_wss", Value: Switch(&n.requireWSS),
			Usage: "refuse a ws:// URI, unless it is that of this machine"},
	}
}

func (n *networkOptions) proxyValue() Value {
	v := Checked(&n.proxyURL, "", parseProxy).shaped(proxyShape)
	v.masked = maskedProxy
	return v
}

// parseOrigin takes what a browser would send: scheme and host, without a path.
func parseOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
		return "", errors.New("is not an origin: scheme and host, without path")
	}
	return u.Scheme + "://" + u.Host, nil
}

// parseProxy takes HOST:PORT, too, for HTTP.
func parseProxy(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errors.New("is not the URL of a proxy")
	case !slices.Contains([]string{"http", "socks5", "socks5h"}, u.Scheme):
		return nil, errors.New("has another scheme than http, socks5 or socks5h")
	case strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "":
		return nil, errors.New("has more than scheme, user, host and port")
	}
	return u, nil
}

// proxy decides about proxies: the option, else the environment, whose rules for http and https are those for ws and wss.
func (n *networkOptions) proxy() func(*http.Request) (*url.URL, error) {
	switch {
	case n.unixSocket != "":
		return nil
	case n.proxyURL != nil:
		return http.ProxyURL(n.proxyURL)
	}
	return http.ProxyFromEnvironment
}

func parsePath(text string) (string, error) {
	if text == "" {
		return "", errors.New("is not the name of a file")
	}
	return text, nil
}

// netDial is nil for TCP.
func (n *networkOptions) netDial() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if n.unixSocket == "" {
		return nil
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", n.unixSocket)
	}
}

// cleartext reports whether what is sent can be read on the network: ws to another machine.
func (c *Connection) cleartext() bool {
	u, err := url.Parse(c.URI)
	return err == nil && c.network.unixSocket == "" && (u.Scheme == "ws" || u.Scheme == "http") && !isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// Warning says what the options make possible and nobody wants, or nothing: credentials that can be read on the network.
func (c *Connection) Warning() string {
	if !c.cleartext() || !c.hasCredentials() {
		return ""
	}
	return "credentials are sent unencrypted to " + c.Address() + ": use wss:// (--require-wss makes sure of it)"
}

// hasCredentials reports whether something is sent that may be secret. Params count: they are how a Phoenix socket is told who
// connects.
func (c *Connection) hasCredentials() bool {
	u, err := url.Parse(c.URI)
	if err == nil && u.User != nil || c.authToken != nil || len(c.params) > 0 {
		return true
	}
	if err == nil {
		query := u.Query()
		query.Del("vsn")
		if len(query) > 0 {
			return true
		}
	}
	return slices.ContainsFunc(c.headers, func(h pair) bool {
		name := http.CanonicalHeaderKey(h.name)
		return name == "Authorization" || name == "Cookie" || strings.HasPrefix(name, "X-")
	})
}
