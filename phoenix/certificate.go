package phoenix

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// certificateDetail says what is wrong with a server's certificate, and what it has instead.
func certificateDetail(err error, now time.Time) string {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &host) && host.Certificate != nil:
		return printable(fmt.Sprintf("it is not for %s, but for %s", host.Host, certificateNames(host.Certificate)))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if now.Before(invalid.Cert.NotBefore) {
			return "it is not valid before " + invalid.Cert.NotBefore.UTC().Format(time.RFC3339)
		}
		return "it expired at " + invalid.Cert.NotAfter.UTC().Format(time.RFC3339)
	case errors.As(err, &authority) && authority.Cert != nil:
		return printable(fmt.Sprintf("it is signed by an unknown authority, %q", authority.Cert.Issuer.String()))
	}
	return printable(err.Error())
}

// certificateNames lists what a certificate is for.
func certificateNames(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host at all"
	}
	return strings.Join(names, ", ")
}
