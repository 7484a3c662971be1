package phoenix

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// A proxyRefusal is the answer of an HTTP proxy that makes no tunnel.
type proxyRefusal struct {
	status     int
	retryAfter time.Duration
}

func (r *proxyRefusal) Error() string { return fmt.Sprintf("HTTP status %d", r.status) }

// proxy returns the proxy to dial through; nil: none.
func (c *Conn) proxy() (*url.URL, error) {
	if c.opts.Proxy == nil {
		return nil, nil
	}
	u := c.endpoint.url
	u.RawQuery = ""
	// What decides about proxies has rules for http and https.
	if u.Scheme = "http"; c.endpoint.secure() {
		u.Scheme = "https"
	}
	via, err := c.opts.Proxy(&http.Request{Method: http.MethodGet, URL: &u, Host: u.Host, Header: http.Header{}})
	if err != nil {
		// Its text may hold the proxy's URL, password included.
		return nil, errors.New("the proxy's URL cannot be used")
	}
	return via, nil
}

// publicProxy returns a proxy's URL without userinfo.
func publicProxy(u *url.URL) string { return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() }

// A forward is a function that dials, for package proxy.
type forward func(ctx context.Context, network, addr string) (net.Conn, error)

// Dial implements [proxy.Dialer]. It is not called: package proxy prefers DialContext.
func (f forward) Dial(network, addr string) (net.Conn, error) {
	return f(context.Background(), network, addr)
}

// DialContext implements [proxy.ContextDialer].
func (f forward) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return f(ctx, network, addr)
}

// dialThrough makes a tunnel through the proxy via to addr. It resolves no name but the proxy's own.
func dialThrough(ctx context.Context, dial forward, via *url.URL, addr string) (net.Conn, error) {
	switch via.Scheme {
	case "http":
		conn, err := dial(ctx, "tcp", hostPort(via, "80"))
		if err != nil {
			return nil, err
		}
		if err := connectTunnel(ctx, conn, via.User, addr); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	case "socks5", "socks5h":
		var auth *proxy.Auth
		if via.User != nil {
			password, _ := via.User.Password()
			auth = &proxy.Auth{User: via.User.Username(), Password: password}
		}
		d, err := proxy.SOCKS5("tcp", hostPort(via, "1080"), auth, dial)
		if err != nil {
			return nil, err
		}
		return d.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
	}
	return nil, fmt.Errorf("a proxy's scheme can be http, socks5 or socks5h, not %q", via.Scheme)
}

func hostPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// maxProxyAnswer bounds the head of an HTTP proxy's answer.
const maxProxyAnswer = 64 << 10

// connectTunnel asks an HTTP proxy for a tunnel to addr (RFC 9110, section 9.3.6).
func connectTunnel(ctx context.Context, conn net.Conn, user *url.Userinfo, addr string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	header := http.Header{}
	if user != nil {
		password, _ := user.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: header}
	if err := req.Write(conn); err != nil {
		return err
	}
	// What it has buffered is the head only: behind the proxy nobody speaks before we do.
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxProxyAnswer)), req)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		after, _ := ParseRetryAfter(resp.Header, time.Now())
		return &proxyRefusal{status: resp.StatusCode, retryAfter: after}
	}
	if !stop() {
		return ctx.Err()
	}
	return nil
}
