package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
)

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
