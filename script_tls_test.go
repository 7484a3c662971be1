package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"phx/phoenix/phoenixtest"
)

// tlsServers are the servers that serve-tls knows: what is special about their certificate, or about what they ask for.
var tlsServers = map[string]func(c *x509.Certificate, config *tls.Config){
	"good":    func(*x509.Certificate, *tls.Config) {},
	"expired": func(c *x509.Certificate, _ *tls.Config) { c.NotAfter = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC) },
	"early": func(c *x509.Certificate, _ *tls.Config) {
		c.NotBefore = time.Date(2101, 2, 3, 4, 5, 6, 0, time.UTC)
		c.NotAfter = c.NotBefore.AddDate(1, 0, 0)
	},
	"elsewhere": func(c *x509.Certificate, _ *tls.Config) { c.IPAddresses = nil },
	// It wants a certificate of the same CA.
	"mutual": func(_ *x509.Certificate, config *tls.Config) { config.ClientAuth = tls.RequireAndVerifyClientCert },
}

// cmdServeTLS starts the demo's application behind TLS and points PHX_URI at it:
//
//	serve-tls good|expired|early|elsewhere|mutual
//
// Its certificate is for 127.0.0.1, unless it is for elsewhere, and for phoenix.test. The files ca.pem, client.pem and
// client.key are written for clients.
func cmdServeTLS(ts *testscript.TestScript, args []string) {
	if len(args) != 1 || tlsServers[args[0]] == nil {
		ts.Fatalf("usage: serve-tls good|expired|early|elsewhere|mutual")
	}
	ca := newAuthority(ts)
	template := certificateTemplate("phoenix.test")
	config := &tls.Config{ClientCAs: x509.NewCertPool()}
	config.ClientCAs.AddCert(ca.certificate)
	tlsServers[args[0]](template, config)
	config.Certificates = []tls.Certificate{ca.issue(ts, template)}

	client := ca.issue(ts, certificateTemplate("client.test"))
	key, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	ts.Check(err)
	writePEM(ts, "ca.pem", "CERTIFICATE", ca.certificate.Raw)
	writePEM(ts, "client.pem", "CERTIFICATE", client.Certificate[0])
	writePEM(ts, "client.key", "PRIVATE KEY", key)

	server, err := phoenixtest.Listen(phoenixtest.Demo(), phoenixtest.WithTLS(config))
	ts.Check(err)
	s := &sceneOf(ts).servers
	s.closers = append(s.closers, server.Close)
	ts.Setenv("PHX_URI", server.URL)
}

// An authority is a CA that lives as long as a script.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(ts *testscript.TestScript) *authority {
	template := certificateTemplate("script CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	ca := &authority{key: newKey(ts)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
	ts.Check(err)
	ca.certificate, err = x509.ParseCertificate(der)
	ts.Check(err)
	return ca
}

func (ca *authority) issue(ts *testscript.TestScript, template *x509.Certificate) tls.Certificate {
	key := newKey(ts)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	ts.Check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newKey(ts *testscript.TestScript) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	return key
}

func certificateTemplate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func writePEM(ts *testscript.TestScript, name, kind string, der []byte) {
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600))
}
