package cmd

import (
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"phx/phoenix"
)

// What is between us and the server, and what protects it, has failures of its own: each says what to do.
func TestNetworkFailureMessages(t *testing.T) {
	const proxy = "http://proxy.test:3128"
	remote := &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}
	unix := &net.OpError{Op: "dial", Net: "unix", Err: syscall.ENOENT}
	for _, tt := range []struct {
		err  phoenix.LinkError
		code int
		want string
		hint string
	}{
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonRefused, HTTPStatus: 407, Proxy: proxy}, exitRefused,
			"the proxy refused (stage: proxy): proxy " + proxy + ": HTTP status 407", "USER:PASSWORD"},
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonRefused, HTTPStatus: 502, Proxy: proxy}, exitRefused,
			"the proxy refused (stage: proxy): proxy " + proxy + ": HTTP status 502", "does not reach the server"},
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonRefused, HTTPStatus: 403, Proxy: proxy}, exitRefused,
			"the proxy refused (stage: proxy): proxy " + proxy + ": HTTP status 403", "NO_PROXY"},
		{phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused, Proxy: proxy}, exitConnect,
			"nobody listens there (stage: tcp): proxy " + proxy, "--proxy"},
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonTimeout, Proxy: proxy}, exitTimeout,
			"it took too long (stage: proxy): proxy " + proxy, "--proxy"},
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonUnreachable, Err: errors.New("no URL")}, exitConnect,
			"no URL", "HTTPS_PROXY"},
		{phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused, Err: unix}, exitConnect,
			"nobody listens there", "--unix-socket"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonTLS, Err: remote}, exitTLS,
			"certificate required", "--cert and --key"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTLS, Err: errors.New("no")}, exitTLS,
			"the TLS handshake failed (stage: tls): no", "ws://"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonCertificate, Err: x509.UnknownAuthorityError{}}, exitCertificate,
			"the certificate was not accepted", "--cacert"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonCertificate,
			Err: x509.HostnameError{Host: "h", Certificate: &x509.Certificate{}}}, exitCertificate, "it is not for h", "--server-name"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonCertificate,
			Err: x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{}}}, exitCertificate, "it expired at", "clock"},
	} {
		f := linkFailure("ws://h", &tt.err, false)
		if f.ExitCode() != tt.code || !strings.Contains(f.Error(), tt.want) || !strings.Contains(f.Hint(), tt.hint) {
			t.Errorf("exit %d: %s\n    %s\nwant %d: %s\n    %s", f.ExitCode(), f.Error(), f.Hint(), tt.code, tt.want, tt.hint)
		}
	}
}
