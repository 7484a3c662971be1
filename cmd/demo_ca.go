package cmd

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
)

// A demoCA is a certificate authority that lives as long as the demo. Its keys never leave memory; its certificate is in a
// file, for clients to trust.
type demoCA struct {
	path   string
	server tls.Certificate
}

// newDemoCA makes a CA, a certificate of it for the host of the address, and the file.
func newDemoCA(address string) (*demoCA, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := demoCertificate("phx demo CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, demoServerCertificate(address), ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	path, err := writePEM(caDER)
	if err != nil {
		return nil, err
	}
	return &demoCA{path: path, server: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

// remove removes the file.
func (ca *demoCA) remove() { os.Remove(ca.path) }

func demoCertificate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(30 * 24 * time.Hour),
	}
}

// demoServerCertificate is good for loopback and for the host of the address.
func demoServerCertificate(address string) *x509.Certificate {
	c := demoCertificate("phx demo")
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	c.DNSNames = []string{"localhost"}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = append(c.IPAddresses, ip)
	} else if err == nil && host != "" {
		c.DNSNames = append(c.DNSNames, host)
	}
	return c
}

// writePEM writes a certificate to a new file and returns its path.
func writePEM(der []byte) (string, error) {
	file, err := os.CreateTemp("", "phx-demo-ca-*.pem")
	if err != nil {
		return "", writeError(err)
	}
	err = pem.Encode(file, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(file.Name())
		return "", writeError(err)
	}
	return file.Name(), nil
}
