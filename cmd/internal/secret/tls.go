package secret

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strings"

	"phx/cmd/internal/exit"
)

// TLS is what is said about TLS, with files in PEM.
type TLS struct {
	// CA are the certificates to trust in place of the system's. Cert is the client certificate,
	// Key its key, by default in the file of Cert. Each is nil if it is not given.
	CA, Cert, Key *Source
	// ServerName is who the server's certificate must be for; empty: the host dialed.
	ServerName string
	// Insecure accepts every certificate.
	Insecure bool
}

// Config reads the files. It is nil if nothing is said about TLS.
func (t *TLS) Config(ctx context.Context, r Reader) (*tls.Config, error) {
	if *t == (TLS{}) {
		return nil, nil
	}
	config := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.Insecure}
	if t.CA != nil {
		text, err := r.Text(ctx, t.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(text)) {
			return nil, exit.Usagef("give a PEM file: -----BEGIN CERTIFICATE-----", "there is no certificate in %s, given with --cacert", t.CA.Name())
		}
	}
	if t.Cert != nil {
		pair, err := t.pair(ctx, r)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// pair reads the client certificate and its key.
func (t *TLS) pair(ctx context.Context, r Reader) (tls.Certificate, error) {
	key := t.Key
	if key == nil {
		key = t.Cert
	}
	certPEM, err := r.Text(ctx, t.Cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := r.Text(ctx, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		return pair, exit.Usagef("give PEM files that belong together: --cert with the certificate, --key with its key, without a passphrase",
			"the client certificate in %s with the key in %s cannot be used: %s", t.Cert.Name(), key.Name(), strings.TrimPrefix(err.Error(), "tls: "))
	}
	return pair, nil
}
