package config

import (
	"strings"
	"testing"
)

func TestWarningAboutCleartext(t *testing.T) {
	for _, tt := range []struct {
		uri  string
		args []string
		want bool
	}{
		{"ws://phoenix.test/socket", nil, false},
		{"ws://phoenix.test/socket?vsn=2.0.0", nil, false},
		{"ws://phoenix.test/socket?apikey=SECRET", nil, true},
		{"ws://me:SECRET@phoenix.test/socket", nil, true},
		{"http://phoenix.test/socket", []string{"--param", "token=SECRET"}, true},
		{"ws://phoenix.test/socket", []string{"--auth-token-file", "SECRET"}, true},
		{"ws://phoenix.test/socket", []string{"-H", "authorization: SECRET"}, true},
		{"ws://phoenix.test/socket", []string{"-H", "x-api-key: SECRET"}, true},
		{"ws://phoenix.test/socket", []string{"-H", "User-Agent: test"}, false},
		{"wss://phoenix.test/socket?apikey=SECRET", nil, false},
		{"ws://phoenix.test/socket?apikey=SECRET", []string{"--unix-socket", "s"}, false},
		{"ws://localhost:4000/socket?apikey=SECRET", nil, false},
		{"ws://app.localhost./socket?apikey=SECRET", nil, false},
		{"ws://127.1.2.3/socket?apikey=SECRET", nil, false},
		{"ws://[::1]:4000/socket?apikey=SECRET", nil, false},
		{"ws://[::ffff:127.0.0.1]/socket?apikey=SECRET", nil, false},
		{"ws://localhost.test/socket?apikey=SECRET", nil, true},
		{"ws://10.0.0.1/socket?apikey=SECRET", nil, true},
	} {
		c, _ := mustBuild(t, append([]string{"-u", tt.uri}, tt.args...)...)
		got := c.Warning()
		if (got != "") != tt.want || strings.Contains(got, "SECRET") {
			t.Errorf("%s %v: warning %q", tt.uri, tt.args, got)
		}
	}
}

func TestRequireWSS(t *testing.T) {
	for uri, allowed := range map[string]bool{
		"ws://phoenix.test/socket": false, "http://phoenix.test": false, "wss://phoenix.test": true, "https://phoenix.test": true,
		"ws://localhost/socket": true, "ws://[::1]/socket": true,
	} {
		if _, _, err := build(t, Retry{}, "", "--require-wss", "-u", uri); (err == nil) != allowed {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestOrigin(t *testing.T) {
	for text, want := range map[string]string{
		"https://example.com": "https://example.com", "http://h:4000/": "http://h:4000",
		"example.com": "", "https://": "", "https://h/path": "", "https://u:p@h": "", "": "",
	} {
		if got, err := parseOrigin(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	_, o := mustBuild(t, "--origin", "https://example.com")
	if creds, err := o.Credentials(t.Context()); err != nil || creds.Header.Get("Origin") != "https://example.com" {
		t.Errorf("%v, %v", creds.Header, err)
	}
}

func TestProxyOption(t *testing.T) {
	for text, want := range map[string]string{
		"proxy:3128": "http://proxy:3128", "http://me:p%40ss@proxy": "http://me:p%40ss@proxy", "socks5://[::1]:1080/": "socks5://[::1]:1080/",
		"socks5h://proxy": "socks5h://proxy", "https://proxy": "", "http://": "", "http://proxy/path": "", "http://%zz": "", "": "",
	} {
		u, err := parseProxy(text)
		if (err == nil) != (want != "") || err == nil && u.String() != want {
			t.Errorf("%q: %v, %v", text, u, err)
		}
	}
	_, o := mustBuild(t, "--proxy", "proxy:3128")
	if u, err := o.Proxy(nil); err != nil || u.Host != "proxy:3128" {
		t.Errorf("%v, %v", u, err)
	}
	if _, _, err := build(t, Retry{}, "", "--proxy", "http://me:SECRET@proxy/path"); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("error %v", err)
	}
	if _, _, err := build(t, Retry{}, "", "--proxy", "proxy:3128", "--unix-socket", "s"); err == nil {
		t.Error("a proxy to a Unix socket")
	}
}
