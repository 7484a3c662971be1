package phoenix_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/proxytest"
)

// startProxy starts a proxy that is closed at the end of the test.
func startProxy(t *testing.T, start func(proxytest.Config) (*proxytest.Proxy, error), c proxytest.Config) *proxytest.Proxy {
	t.Helper()
	p, err := start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Through a proxy, the server's name is for the proxy to resolve, and TLS is between us and the server.
func TestProxy(t *testing.T) {
	plain := phoenixtest.NewServer(phoenixtest.Demo())
	t.Cleanup(plain.Close)
	_, secure, roots := tlsServer(t)
	for _, c := range []struct {
		name, url, target, proxy string
		start                    func(proxytest.Config) (*proxytest.Proxy, error)
		asked                    string
	}{
		{"HTTP", "ws://phoenix.test/socket", plain.URL, "http://", proxytest.Connect, "phoenix.test:80"},
		{"HTTP with a password", "ws://phoenix.test:4000/socket", plain.URL, "http://me:hunter2@", proxytest.Connect, "phoenix.test:4000"},
		{"HTTP and TLS", "wss://example.com/socket", secure, "http://", proxytest.Connect, "example.com:443"},
		{"SOCKS5", "ws://phoenix.test/socket", plain.URL, "socks5://", proxytest.SOCKS5, "phoenix.test:80"},
		{"SOCKS5 with a password", "ws://phoenix.test/socket", plain.URL, "socks5h://me:hunter2@", proxytest.SOCKS5, "phoenix.test:80"},
		{"SOCKS5 and TLS", "wss://example.com/socket", secure, "socks5://", proxytest.SOCKS5, "example.com:443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, err := url.Parse(c.target)
			if err != nil {
				t.Fatal(err)
			}
			config := proxytest.Config{Target: target.Host}
			if strings.Contains(c.proxy, "@") {
				config.User, config.Password = "me", "hunter2"
			}
			proxy := startProxy(t, c.start, config)
			conn := startTCP(t, phoenix.Options{
				URL: c.url, TLS: &tls.Config{RootCAs: roots}, Proxy: fixedProxy(t, c.proxy+proxy.Addr),
			})
			e, err := firstConnected(t, conn)
			if err != nil {
				t.Fatal(err)
			}
			if e.Timings.DNS != 0 || e.Timings.TCP <= 0 || e.Timings.Upgrade <= 0 {
				t.Errorf("stages %+v", e.Timings)
			}
			if asked := proxy.Asked(); len(asked) != 1 || asked[0] != c.asked {
				t.Errorf("the proxy was asked for %q, want %q", asked, c.asked)
			}
		})
	}
}

func fixedProxy(t *testing.T, text string) func(*http.Request) (*url.URL, error) {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return http.ProxyURL(u)
}

// A proxy that does not let us through is named, with what it said and without its password.
func TestProxyFailures(t *testing.T) {
	gone := startProxy(t, proxytest.Connect, proxytest.Config{})
	gone.Close()
	for _, c := range []struct {
		name, scheme string
		start        func(proxytest.Config) (*proxytest.Proxy, error)
		config       proxytest.Config
		stage        phoenix.Stage
		reason       phoenix.Reason
		status       int
	}{
		{"wrong password", "http", proxytest.Connect, proxytest.Config{User: "other"}, phoenix.StageProxy, phoenix.ReasonRefused, 407},
		{"bad gateway", "http", proxytest.Connect, proxytest.Config{Refuse: 502}, phoenix.StageProxy, phoenix.ReasonRefused, 502},
		{"silent", "http", proxytest.Connect, proxytest.Config{Silent: true}, phoenix.StageProxy, phoenix.ReasonTimeout, 0},
		{"SOCKS5, wrong password", "socks5", proxytest.SOCKS5, proxytest.Config{User: "other"}, phoenix.StageProxy, phoenix.ReasonUnreachable, 0},
		{"SOCKS5, host unreachable", "socks5", proxytest.SOCKS5, proxytest.Config{Refuse: 4}, phoenix.StageProxy, phoenix.ReasonUnreachable, 0},
		{"SOCKS5, silent", "socks5", proxytest.SOCKS5, proxytest.Config{Silent: true}, phoenix.StageProxy, phoenix.ReasonTimeout, 0},
		{"nobody listens", "http", nil, proxytest.Config{}, phoenix.StageTCP, phoenix.ReasonConnectRefused, 0},
		{"nobody listens at SOCKS5", "socks5", nil, proxytest.Config{}, phoenix.StageTCP, phoenix.ReasonConnectRefused, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			proxy := gone
			if c.start != nil {
				proxy = startProxy(t, c.start, c.config)
			}
			timeout := time.Minute
			if c.config.Silent {
				timeout = 50 * time.Millisecond
			}
			conn := startTCP(t, phoenix.Options{
				URL: "ws://phoenix.test/socket?token=hunter2", ConnectTimeout: timeout, Proxy: fixedProxy(t, c.scheme+"://me:hunter2@"+proxy.Addr),
			})
			_, err := firstConnected(t, conn)
			var link *phoenix.LinkError
			if !errors.As(err, &link) || link.Stage != c.stage || link.Reason != c.reason || link.HTTPStatus != c.status {
				t.Fatalf("error %v, want %s at stage %s, status %d", err, c.reason, c.stage, c.status)
			}
			if want := c.scheme + "://" + proxy.Addr; link.Proxy != want || !strings.Contains(err.Error(), "proxy "+want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q, want %q named in it", err, want)
			}
		})
	}
}

// A proxy that cannot be used is an error that does not show it.
func TestUnusableProxy(t *testing.T) {
	for name, proxy := range map[string]func(*http.Request) (*url.URL, error){
		"unreadable":     func(*http.Request) (*url.URL, error) { return nil, errors.New("bad address http://me:hunter2@proxy") },
		"another scheme": fixedProxy(t, "ftp://me:hunter2@proxy.test"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := firstConnected(t, startTCP(t, phoenix.Options{URL: "ws://phoenix.test/socket", Proxy: proxy}))
			var link *phoenix.LinkError
			if !errors.As(err, &link) || link.Stage != phoenix.StageProxy || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// What decides about proxies sees the URL as http or https, and without its query, which may hold secrets.
func TestProxyIsAskedWithoutSecrets(t *testing.T) {
	for address, want := range map[string]string{
		"ws://me:hunter2@phoenix.test/socket?token=hunter2": "http://phoenix.test/socket/websocket",
		"wss://phoenix.test/socket?token=hunter2":           "https://phoenix.test/socket/websocket",
	} {
		var got string
		conn := startTCP(t, phoenix.Options{URL: address, Proxy: func(r *http.Request) (*url.URL, error) {
			got = r.URL.String()
			return nil, io.ErrUnexpectedEOF
		}})
		if _, err := firstConnected(t, conn); err == nil || got != want {
			t.Errorf("asked for %s, want %s; error %v", got, want, err)
		}
	}
}
