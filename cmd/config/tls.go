package config

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
)

// tlsOptions is what the options say about TLS. Its files are read at every dial, so that certificates can be renewed.
type tlsOptions struct {
	ca, cert, key *Source
	serverName    string
	insecure      bool
}

func (t *tlsOptions) options() []Option {
	return []Option{
		{Flag: "cacert", Key: "tls.ca_file", Value: fileOf("tls.ca_file", &t.ca, Checked(&t.ca, "", fileParser("--cacert"))),
			Usage: "`FILE` with the certificates (PEM) to trust in place of the system's [$SSL_CERT_FILE], read at every dial", Example: "ca.pem"},
		{Flag: "cert", Key: "tls.cert_file", Value: fileOf("tls.cert_file", &t.cert, Checked(&t.cert, "", fileParser("--cert"))),
			Usage: "`FILE` with the client certificate (PEM) to show, read at every dial", Example: "client.pem"},
		{Flag: "key", Key: "tls.key_file", Value: fileOf("tls.key_file", &t.key, Checked(&t.key, "", fileParser("--key"))),
			Usage: "`FILE` with the private key (PEM) of --cert, read at every dial (default the file of --cert)", Example: "client.key"},
		{Flag: "insecure", Shorthand: "k", Key: "tls.insecure_skip_verify", Value: Switch(&t.insecure),
			Usage: "accept any certificate of the server, whatever --cacert says: whoever stands between can read and change everything"},
		{Flag: "server-name", Key: "tls.server_name", Value: Checked(&t.serverName, "", parseServerName).shaped(hostShape),
			Usage: "`NAME` that the server's certificate must be for (default the host of --uri); also sent as SNI", Example: "example.com"},
	}
}

func parseServerName(text string) (string, error) {
	if text == "" || strings.ContainsAny(text, "/: ") {
		return "", errors.New("is not the name of a host")
	}
	return text, nil
}

func (t *tlsOptions) sources() []*Source { return []*Source{t.ca, t.cert, t.key} }

func (t *tlsOptions) check() error {
	if t.key != nil && t.cert == nil {
		return &UsageError{Message: "--key is given without --cert", Advice: "give the certificate of the key with --cert FILE"}
	}
	return nil
}

// config reads the files. It is nil if no option says anything about TLS.
func (t *tlsOptions) config(ctx context.Context) (*tls.Config, error) {
	if *t == (tlsOptions{}) {
		return nil, nil
	}
	config := &tls.Config{ServerName: t.serverName, InsecureSkipVerify: t.insecure}
	if t.ca != nil {
		text, err := t.ca.Text(ctx)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(text)) {
			return nil, &UsageError{
				Message: "there is no certificate in " + t.ca.name() + ", given with --cacert",
				Advice:  "give a PEM file: -----BEGIN CERTIFICATE-----",
			}
		}
	}
	if t.cert != nil {
		pair, err := t.pair(ctx)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// pair reads the client certificate and its key.
func (t *tlsOptions) pair(ctx context.Context) (tls.Certificate, error) {
	key := t.key
	if key == nil {
		key = t.cert
	}
	certPEM, err := t.cert.Text(ctx)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := key.Text(ctx)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		return pair, &UsageError{
			Message: "the client certificate in " + t.cert.name() + " with the key in " + key.name() +
				" cannot be used: " + strings.TrimPrefix(err.Error(), "tls: "),
			Advice: "give PEM files that belong together: --cert with the certificate, --key with its key, without a passphrase",
		}
	}
	return pair, nil
}
