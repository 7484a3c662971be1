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

	"phx/cmd/internal/secret"
)

// networkOptions is what the options say about the way to the server.
type networkOptions struct {
	origin     string
	unixSocket string
	requireWSS bool
	proxyURL   string
	compress   bool
}

func (n *networkOptions) options() []Option {
	return []Option{
		{Flag: "origin", Value: Checked(&n.origin, "", parseOrigin),
			Usage: "`URL` to send as the Origin header (default none: Phoenix accepts that)", Example: "https://example.com"},
		{Flag: "unix-socket", Value: Checked(&n.unixSocket, "", parsePath),
			Usage: "connect to the Unix socket at `PATH`; --uri still names host and path of the request", Example: "/run/backend.sock"},
		{Flag: "proxy", Key: "proxy", Secret: true, Value: proxyKind.To(&n.proxyURL, ""),
			Usage:   "connect through the proxy at `URL`: http, socks5 or socks5h, user:password@ included (default as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say)",
			About:   "URL of a proxy: http, socks5 or socks5h. The default is as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say.",
			Example: "http://proxy.example.com:3128"},
		{Flag: "compress", Value: Switch(&n.compress),
			Usage: "offer compression (permessage-deflate) to the server: less on the wire, more work"},
		{Flag: "require-wss", Key: "require_wss", Value: Switch(&n.requireWSS),
			Usage: "refuse a ws:// URI, unless it is that of this machine",
			About: "Refuse a ws:// URI, which is not encrypted, unless it is that of this machine. Without it, credentials on such a link are warned of."},
	}
}

// parseOrigin takes what a browser would send: scheme and host, without a path.
func parseOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
		return "", errors.New("is not an origin: scheme and host, without path")
	}
	return u.Scheme + "://" + u.Host, nil
}

// proxy returns the proxy of the option, else that of the environment, where http and https stand
// for ws and wss.
func (n *networkOptions) proxy() func(*http.Request) (*url.URL, error) {
	switch {
	case n.unixSocket != "":
		return nil
	case n.proxyURL != "":
		u, _ := url.Parse(n.proxyURL) // it was one
		return http.ProxyURL(u)
	}
	return http.ProxyFromEnvironment
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

// Warning returns a warning, or nothing, about credentials that can be read on the network.
func (c *Connection) Warning() string {
	if !c.cleartext() || !c.hasCredentials() {
		return ""
	}
	return "credentials are sent unencrypted to " + c.Address() + ": use wss:// (--require-wss makes sure of it)"
}

// hasCredentials reports whether something that may be secret is sent. Params count: sockets
// authenticate by them.
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
	return slices.ContainsFunc(c.headers, func(h secret.Named) bool {
		name := http.CanonicalHeaderKey(h.Name)
		return name == "Authorization" || name == "Cookie" || strings.HasPrefix(name, "X-")
	})
}

// tlsOptions are read at every dial, so that certificates can be renewed.
func tlsOptions(t *secret.TLS) []Option {
	return []Option{
		{Flag: "cacert", Key: "tls.ca_file", Value: fileKind("--cacert").To(&t.CA, ""), Example: "ca.pem",
			Usage: "`FILE` with the certificates (PEM) to trust in place of the system's [$SSL_CERT_FILE], read at every dial",
			About: "The certificates to trust in place of the system's."},
		{Flag: "cert", Key: "tls.cert_file", Value: fileKind("--cert").To(&t.Cert, ""), Example: "client.pem",
			Usage: "`FILE` with the client certificate (PEM) to show, read at every dial",
			About: "The client certificate to show."},
		{Flag: "key", Key: "tls.key_file", Value: fileKind("--key").To(&t.Key, ""), Example: "client.key",
			Usage: "`FILE` with the private key (PEM) of --cert, read at every dial (default the file of --cert)",
			About: "The private key of the client certificate. The default is the file of the certificate."},
		{Flag: "insecure", Shorthand: "k", Key: "tls.insecure_skip_verify", Value: Switch(&t.Insecure),
			Usage: "accept any certificate of the server, whatever --cacert says: whoever stands between can read and change everything",
			About: "Accept any certificate of the server: whoever stands between can read and change everything."},
		{Flag: "server-name", Key: "tls.server_name", Value: hostKind.To(&t.ServerName, ""), Example: "example.com",
			Usage: "`NAME` that the server's certificate must be for (default the host of --uri); also sent as SNI",
			About: "Host name that the server's certificate must be for. The default is the host of the URI."},
	}
}

// Address returns the URI without what may be secret: query and userinfo.
func (c *Connection) Address() string {
	u, err := url.Parse(c.URI)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
