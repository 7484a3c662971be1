package config

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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

// tlsOptions is what the options say about TLS. Its files are read at every dial, so that certificates can be renewed.
type tlsOptions struct {
	ca, cert, key *Source
	serverName    string
	insecure      bool
}

func (t *tlsOptions) options() []Option {
	return []Option{
		{Flag: "cacert", Key: "tls.ca_file", Value: fileOf("tls.ca_file", &t.ca, Checked(&t.ca, "", fileParser("--cacert"))),
			Usage: "`FILE` with the certificates (PEM) to trust in place of the system's [$SSL_CERT_FILE], read at every dial", Example: "ca.pem"},
		{Flag: "cert", Key: "tls.cert_file", Value: fileOf("tls.cert_file", &t.cert, Checked(&t.cert, "", fileParser("--cert"))),
			Usage: "`FILE` with the client certificate (PEM) to show, read at every dial", Example: "client.pem"},
		{Flag: "key", Key: "tls.key_file", Value: fileOf("tls.key_file", &t.key, Checked(&t.key, "", fileParser("--key"))),
			Usage: "`FILE` with the private key (PEM) of --cert, read at every dial (default the file of --cert)", Example: "client.key"},
		{Flag: "insecure", Shorthand: "k", Key: "tls.insecure_skip_verify", Value: Switch(&t.insecure),
			Usage: "accept any certificate of the server, whatever --cacert says: whoever stands between can read and change everything"},
		{Flag: "server-name", Key: "tls.server_name", Value: Checked(&t.serverName, "", parseServerName).shaped(hostShape),
			Usage: "`NAME` that the server's certificate must be for (default the host of --uri); also sent as SNI", Example: "example.com"},
	}
}

func parseServerName(text string) (string, error) {
	if text == "" || strings.ContainsAny(text, "/: ") {
		return "", errors.New("is not the name of a host")
	}
	return text, nil
}

func (t *tlsOptions) sources() []*Source { return []*Source{t.ca, t.cert, t.key} }

func (t *tlsOptions) check() error {
	if t.key != nil && t.cert == nil {
		return &UsageError{Message: "--key is given without --cert", Advice: "give the certificate of the key with --cert FILE"}
	}
	return nil
}

// config reads the files. It is nil if no option says anything about TLS.
func (t *tlsOptions) config(ctx context.Context) (*tls.Config, error) {
	if *t == (tlsOptions{}) {
		return nil, nil
	}
	config := &tls.Config{ServerName: t.serverName, InsecureSkipVerify: t.insecure}
	if t.ca != nil {
		text, err := t.ca.Text(ctx)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(text)) {
			return nil, &UsageError{
				Message: "there is no certificate in " + t.ca.name() + ", given with --cacert",
				Advice:  "give a PEM file: -----BEGIN CERTIFICATE-----",
			}
		}
	}
	if t.cert != nil {
		pair, err := t.pair(ctx)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// pair reads the client certificate and its key.
func (t *tlsOptions) pair(ctx context.Context) (tls.Certificate, error) {
	key := t.key
	if key == nil {
		key = t.cert
	}
	certPEM, err := t.cert.Text(ctx)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := key.Text(ctx)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		return pair, &UsageError{
			Message: "the client certificate in " + t.cert.name() + " with the key in " + key.name() +
				" cannot be used: " + strings.TrimPrefix(err.Error(), "tls: "),
			Advice: "give PEM files that belong together: --cert with the certificate, --key with its key, without a passphrase",
		}
	}
	return pair, nil
}

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
