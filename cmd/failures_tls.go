package cmd

import (
	"crypto/x509"
	"errors"
	"net"

	"phx/phoenix"
)

// tlsHint says what to do about a failure of TLS or of a certificate.
func tlsHint(err *phoenix.LinkError, otherwise string) string {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		alert     *net.OpError
	)
	switch {
	case errors.As(err, &host):
		return "check the host in --uri, or say with --server-name which name the certificate must have"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or check this machine's clock"
	case errors.As(err, &authority):
		return "--cacert FILE, or SSL_CERT_FILE, trusts a CA of your own"
	case errors.As(err, &alert) && alert.Op == "remote error":
		return "the server said so: does it want a client certificate? --cert and --key show one"
	}
	return otherwise
}
