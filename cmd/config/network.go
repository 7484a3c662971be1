package config

import (
	"errors"
	"net/url"
	"strings"

	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
)

// networkOptions declares the options about the way to the server.
func (c *Connection) networkOptions() []option.Option {
	return []option.Option{
		{Flag: "origin", Group: option.Connecting, Value: option.Checked(&c.Origin, "", parseOrigin),
			Usage: "`URL` to send as the Origin header (default none: Phoenix accepts that)", Example: "https://example.com"},
		{Flag: "unix-socket", Group: option.Connecting, Value: option.Checked(&c.UnixSocket, "", parsePath),
			Usage: "connect to the Unix socket at `PATH`; --uri still names host and path of the request", Example: "/run/backend.sock"},
		{Flag: "proxy", Key: "proxy", Secret: true, Value: proxyKind.To(&c.ProxyURL, ""),
			Usage:   "connect through the proxy at `URL`: http, socks5 or socks5h, user:password@ included (default as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say)",
			About:   "URL of a proxy: http, socks5 or socks5h. The default is as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say.",
			Example: "http://proxy.example.com:3128"},
		{Flag: "compress", Group: option.Connecting, Value: option.Switch(&c.compress),
			Usage: "offer compression (permessage-deflate, gzip with long poll) to the server: less on the wire, more work"},
		{Flag: "require-wss", Key: "require_wss", Value: option.Switch(&c.requireWSS),
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

// Warning returns a warning, or nothing, about credentials that can be read on the network.
func (c *Connection) Warning() string {
	if !c.Cleartext() || !c.HasCredentials() {
		return ""
	}
	return "credentials are sent unencrypted to " + c.Address() + ": use wss:// (--require-wss makes sure of it)"
}

// tlsOptions are read at every dial, so that certificates can be renewed.
func tlsOptions(t *secret.TLS) []option.Option {
	return []option.Option{
		{Flag: "cacert", Key: "tls.ca_file", Value: fileKind("--cacert").To(&t.CA, ""), Example: "ca.pem",
			Usage: "`FILE` with the certificates (PEM) to trust in place of the system's [$SSL_CERT_FILE], read at every dial",
			About: "The certificates to trust in place of the system's."},
		{Flag: "cert", Key: "tls.cert_file", Value: fileKind("--cert").To(&t.Cert, ""), Example: "client.pem",
			Usage: "`FILE` with the client certificate (PEM) to show, read at every dial",
			About: "The client certificate to show."},
		{Flag: "key", Key: "tls.key_file", Value: fileKind("--key").To(&t.Key, ""), Example: "client.key",
			Usage: "`FILE` with the private key (PEM) of --cert, read at every dial (default the file of --cert)",
			About: "The private key of the client certificate. The default is the file of the certificate."},
		{Flag: "insecure", Shorthand: "k", Key: "tls.insecure_skip_verify", Value: option.Switch(&t.Insecure),
			Usage: "accept any certificate of the server, whatever --cacert says: whoever stands between can read and change everything",
			About: "Accept any certificate of the server: whoever stands between can read and change everything."},
		{Flag: "server-name", Key: "tls.server_name", Value: hostKind.To(&t.ServerName, ""), Example: "example.com",
			Usage: "`NAME` that the server's certificate must be for (default the host of --uri); also sent as SNI",
			About: "Host name that the server's certificate must be for. The default is the host of the URI."},
	}
}
