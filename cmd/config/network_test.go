package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
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
		if (err == nil) != (want != "") || err == nil && u != want {
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

// certificate returns a certificate and its key, in PEM.
func certificate(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func TestNoTLSOptions(t *testing.T) {
	_, o := mustBuild(t)
	if creds, err := o.Credentials(t.Context()); err != nil || creds.TLS != nil {
		t.Errorf("%+v, %v", creds.TLS, err)
	}
}

// The files are read at every dial: a certificate that was renewed is shown at the next.
func TestClientCertificateIsReadAgain(t *testing.T) {
	cert, key := certificate(t, 1)
	path := write(t, cert+key)
	_, o := mustBuild(t, "--cert", path, "--cacert", path, "--server-name", "phoenix.test")
	for serial := range int64(2) {
		creds, err := o.Credentials(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := creds.TLS
		if c.ServerName != "phoenix.test" || c.InsecureSkipVerify || c.RootCAs == nil || len(c.Certificates) != 1 {
			t.Errorf("%+v", c)
		}
		if got := c.Certificates[0].Leaf.SerialNumber.Int64(); got != serial+1 {
			t.Errorf("certificate %d, want %d", got, serial+1)
		}
		cert, key = certificate(t, 2)
		if err := os.WriteFile(path, []byte(cert+key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeyOfAnotherCertificate(t *testing.T) {
	cert, _ := certificate(t, 1)
	_, key := certificate(t, 2)
	_, o := mustBuild(t, "--cert", write(t, cert), "--key", write(t, key))
	if _, err := o.Credentials(t.Context()); err == nil {
		t.Error("no error")
	}
}
