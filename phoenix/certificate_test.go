package phoenix

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"testing"
	"time"
)

// What is wrong with a certificate is said in words that name it.
func TestCertificateDetail(t *testing.T) {
	now := time.Date(2026, 2, 7, 12, 0, 0, 0, time.UTC)
	named := &x509.Certificate{DNSNames: []string{"a.test", "*.b.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	for want, err := range map[string]error{
		"it is not for c.test, but for a.test, *.b.test, 127.0.0.1":  x509.HostnameError{Certificate: named, Host: "c.test"},
		"it is not for c.test, but for no host at all":               x509.HostnameError{Certificate: &x509.Certificate{}, Host: "c.test"},
		"it expired at 2026-02-07T11:00:00Z":                         expired(now.Add(-2*time.Hour), now.Add(-time.Hour)),
		"it is not valid before 2026-02-07T13:00:00Z":                expired(now.Add(time.Hour), now.Add(2*time.Hour)),
		`it is signed by an unknown authority, "CN=my\x1b CA"`:       unknownAuthority("my\x1b CA"),
		"x509: certificate signed by unknown authority":              x509.UnknownAuthorityError{},
		"tls: failed to verify certificate: something else entirely": &tls.CertificateVerificationError{Err: errors.New("something else\nentirely")},
	} {
		if got := certificateDetail(err, now); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func expired(from, to time.Time) error {
	return x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{NotBefore: from, NotAfter: to}}
}

func unknownAuthority(name string) error {
	return x509.UnknownAuthorityError{Cert: &x509.Certificate{Issuer: pkix.Name{CommonName: name}}}
}
