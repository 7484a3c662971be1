// Package endpoint is the far end of a connection: where a server is, how to get there, and what
// it is shown. No text of it that may be secret is in an error or in [Endpoint.Address].
package endpoint

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"phx/cmd/internal/secret"
	"phx/phoenix"
)

// An Endpoint is a server, the way to it, and what is shown to it.
type Endpoint struct {
	// URI is the socket's address, which may hold secrets: show [Endpoint.Address].
	URI string
	// UnixSocket is the path of the socket to dial in place of the host; ProxyURL is that of the
	// proxy to go through. Of both, one is empty.
	UnixSocket, ProxyURL string
	// Origin is the Origin header; empty: none.
	Origin string
	// Params are those of connect/3, Headers those of the upgrade request.
	Params, Headers []secret.Named
	// AuthToken is the auth token; nil: none.
	AuthToken *secret.Source
	// TLS is what is said about TLS.
	TLS secret.TLS
}

// Proxy returns what chooses the proxy: ProxyURL, else the environment, where http and https stand
// for ws and wss. It is nil for a Unix socket.
func (e *Endpoint) Proxy() func(*http.Request) (*url.URL, error) {
	switch {
	case e.UnixSocket != "":
		return nil
	case e.ProxyURL != "":
		u, _ := url.Parse(e.ProxyURL) // it was one
		return http.ProxyURL(u)
	}
	return http.ProxyFromEnvironment
}

// NetDial returns what dials; it is nil for TCP.
func (e *Endpoint) NetDial() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if e.UnixSocket == "" {
		return nil
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", e.UnixSocket)
	}
}

// Cleartext reports whether what is sent can be read on the network: ws to another machine.
func (e *Endpoint) Cleartext() bool {
	u, err := url.Parse(e.URI)
	return err == nil && e.UnixSocket == "" && (u.Scheme == "ws" || u.Scheme == "http") && !isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// HasCredentials reports whether something that may be secret is sent. Params count: sockets
// authenticate by them.
func (e *Endpoint) HasCredentials() bool {
	u, err := url.Parse(e.URI)
	if err == nil && u.User != nil || e.AuthToken != nil || len(e.Params) > 0 {
		return true
	}
	if err == nil {
		query := u.Query()
		query.Del("vsn")
		if len(query) > 0 {
			return true
		}
	}
	return slices.ContainsFunc(e.Headers, func(h secret.Named) bool {
		name := http.CanonicalHeaderKey(h.Name)
		return name == "Authorization" || name == "Cookie" || strings.HasPrefix(name, "X-")
	})
}

// Address returns the URI without what may be secret: query and userinfo.
func (e *Endpoint) Address() string {
	u, err := url.Parse(e.URI)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// Credentials reads what a dial shows to the server.
func (e *Endpoint) Credentials(ctx context.Context, r secret.Reader) (creds phoenix.Credentials, err error) {
	creds.Params = url.Values{}
	for _, p := range e.Params {
		value, err := r.Visible(ctx, p.Value, true)
		if err != nil {
			return creds, err
		}
		creds.Params.Add(p.Name, value)
	}
	if creds.Header, err = r.Headers(ctx, e.Headers); err != nil {
		return creds, err
	}
	if e.Origin != "" {
		creds.Header.Set("Origin", e.Origin)
	}
	if len(creds.Header.Values("User-Agent")) == 0 {
		creds.Header.Set("User-Agent", userAgent())
	}
	if e.AuthToken != nil {
		if creds.AuthToken, err = r.Required(ctx, e.AuthToken, "token"); err != nil {
			return creds, err
		}
		creds.HasAuthToken = true
	}
	creds.TLS, err = e.TLS.Config(ctx, r)
	return creds, err
}

// userAgent is phx with its version.
var userAgent = sync.OnceValue(func() string {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = strings.Trim(info.Main.Version, "()")
	}
	return "phx/" + version
})

// Mask stands for what may be secret.
const Mask = "***"

// MaskURL hides user, password, and the values of the query of a URL.
func MaskURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return Mask
	}
	user := ""
	if u.User != nil {
		user = Mask + "@"
		if _, has := u.User.Password(); has {
			user = Mask + ":" + user
		}
		u.User = nil // which would escape the mask
	}
	if u.RawQuery != "" {
		parts := strings.Split(u.RawQuery, "&")
		for i, part := range parts {
			name, _, hasValue := strings.Cut(part, "=")
			switch {
			case hasValue && name == "vsn":
			case hasValue:
				parts[i] = name + "=" + Mask
			default: // without a name it is a value, perhaps
				parts[i] = Mask
			}
		}
		u.RawQuery = strings.Join(parts, "&")
	}
	return strings.Replace(u.String(), "://", "://"+user, 1)
}
