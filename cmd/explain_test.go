package cmd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
)

func TestLinkFailureMessages(t *testing.T) {
	tests := []struct {
		err   phoenix.LinkError
		wasUp bool
		want  string
		hint  string
	}{
		{phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused, Err: syscall.ECONNREFUSED}, false,
			"cannot connect to ws://h: nobody listens there (stage: tcp): connection refused", "start the server"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 403}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 403", "connect/3 refused: check --param"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 404, Body: "not\n\nfound"}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 404: not found", "does not name a socket"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 302, Location: "/login"}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 302 to /login", "a redirect is not followed"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 502}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 502", "does not reach the server"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 418}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 418", "server logs"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTimeout}, false,
			"cannot connect to ws://h: it took too long (stage: tls)", "--connect-timeout"},
		{phoenix.LinkError{Stage: phoenix.StageSession, Reason: phoenix.ReasonClosedByRemote, Code: 1001}, true,
			"lost the link to ws://h: the server closed the connection: close code 1001", "server logs"},
		{phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused}, true,
			"lost the link to ws://h: nobody listens there (stage: tcp)", "start the server"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonCertificate}, true,
			"lost the link to ws://h: the certificate was not accepted (stage: tls)", "SSL_CERT_FILE"},
	}
	for _, tt := range tests {
		f := linkFailure("ws://h", &tt.err, tt.wasUp)
		if f.Error() != tt.want || !strings.Contains(f.Hint, tt.hint) {
			t.Errorf("got %s\n    %s\nwant %s\n    %s", f.Error(), f.Hint, tt.want, tt.hint)
		}
	}
}

func TestJoinFailureMessages(t *testing.T) {
	refused := &phoenix.JoinError{Topic: "room:a", Reason: phoenix.JoinRefused, Response: phoenix.JSON(`{"reason":"no"}`)}
	timeout := &phoenix.JoinError{Topic: "room:a", Reason: phoenix.JoinTimeout}
	full := &phoenix.JoinError{Topic: "room:a", Reason: phoenix.JoinTooManyChannels, Response: phoenix.Binary(nil)}
	for err, want := range map[*phoenix.JoinError]string{
		refused: `cannot join "room:a": {"reason":"no"}`,
		timeout: `cannot join "room:a": no answer in time`,
		full:    `cannot join "room:a": too_many_channels`,
	} {
		if f := joinFailure(err); f.Error() != want || f.Hint == "" || !errors.Is(f, err) {
			t.Errorf("got %q, hint %q; want %q", f.Error(), f.Hint, want)
		}
	}
}

func TestPushFailureMessages(t *testing.T) {
	no := pushFailure(&phoenix.PushError{Topic: "t", Name: "e", Reason: phoenix.PushDisconnected, Delivered: phoenix.DeliveredNo})
	unknown := pushFailure(&phoenix.PushError{Topic: "t", Name: "e", Reason: phoenix.PushChannelCrashed, Delivered: phoenix.DeliveredUnknown})
	if !strings.Contains(no.Hint, "safe") || strings.Contains(unknown.Hint, "safe") {
		t.Errorf("hints: %q, %q", no.Hint, unknown.Hint)
	}
	late := pushTimeoutFailure("t", "e", &phoenix.PushTimeout{Timeout: time.Second})
	if want := `no reply to "e" on "t" in 1s`; late.Error() != want {
		t.Errorf("got %q", late.Error())
	}
	status := statusFailure("t", "e", &phoenix.PushReply{Status: "error"}, phoenix.JSON(`{"reason":"bad"}`))
	if want := `"e" on "t" was answered with status "error": {"reason":"bad"}`; status.Error() != want {
		t.Errorf("got %q", status.Error())
	}
}

func TestWriteError(t *testing.T) {
	if writeError(nil) != nil {
		t.Error("an error out of nothing")
	}
	err := writeError(&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC})
	if want := "cannot write the output: no space left on device"; err.Error() != want || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %q", err)
	}
	if sig, ok := killed(writeError(syscall.EPIPE)); !ok || sig != syscall.SIGPIPE {
		t.Errorf("a closed pipe leads to %v, %v", sig, ok)
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine(" <p>\r\n\tNo </p>\n"); got != "<p> No </p>" {
		t.Errorf("got %q", got)
	}
	long := oneLine(strings.Repeat("ä", 200))
	if want := strings.Repeat("ä", 150) + "..."; long != want {
		t.Errorf("got %q", long)
	}
	if odd := oneLine("x" + strings.Repeat("ä", 200)); !strings.HasSuffix(odd, "ä...") || strings.Contains(odd, "\ufffd") {
		t.Errorf("got %q", odd)
	}
}

// Each way in which a dial fails has an exit code, and a hint of its own.
func TestDialFailureHints(t *testing.T) {
	refused := func(status int) phoenix.LinkError {
		return phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: status}
	}
	timeout := func(stage phoenix.Stage) phoenix.LinkError {
		return phoenix.LinkError{Stage: stage, Reason: phoenix.ReasonTimeout}
	}
	spoken := func(p phoenix.Protocol) phoenix.LinkError {
		return phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonNotWebSocket, Spoken: p}
	}
	page := func(status int) phoenix.LinkError {
		err := refused(status)
		err.Body = "<!DOCTYPE html> <html><body>nginx"
		return err
	}
	alert := func(code tls.AlertError) error { return &net.OpError{Op: "remote error", Err: code} }
	moved := refused(308)
	moved.Location = "https://elsewhere.test/socket"
	wait, later := refused(429), refused(503)
	wait.RetryAfter, later.RetryAfter = 7*time.Second, time.Minute
	for _, tt := range []struct {
		err  phoenix.LinkError
		code exit.Code
		hint string
	}{
		{refused(200), exit.Refused, "a web server"},
		{refused(400), exit.Refused, "a proxy"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 400, Spoken: phoenix.ProtocolTLS}, exit.Refused, "wss://"},
		{refused(401), exit.Refused, "--auth-token-file"},
		{refused(403), exit.Refused, "then --vsn, then an Origin header"},
		{refused(404), exit.Refused, "check the path"},
		{page(403), exit.Refused, "no answer of connect/3"},
		{page(404), exit.Refused, "comes from a proxy or another web server"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 400, Body: "400 Request Header Or Cookie Too Large"},
			exit.Refused, "too long for the server"},
		{refused(413), exit.Refused, "too long for the server"},
		{refused(414), exit.Refused, "too long for the server"},
		{refused(431), exit.Refused, "too long for the server"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTLS, Err: alert(70)}, exit.TLS, "only TLS 1.1 or older"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTLS, Err: errors.New("tls: server selected unsupported protocol version 302")},
			exit.TLS, "only TLS 1.1 or older"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTLS, Err: alert(112)}, exit.TLS, "does not know the host"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTLS, Err: alert(116)}, exit.TLS, "a client certificate?"},
		{refused(426), exit.Refused, "another protocol"},
		{refused(429), exit.Refused, "too many connections: wait, then"},
		{wait, exit.Refused, "wait 7s (Retry-After), then"},
		{refused(500), exit.Refused, "see its log"},
		{refused(502), exit.Refused, "the proxy in front"},
		{later, exit.Refused, "wait 1m0s (Retry-After), then"},
		{moved, exit.Refused, "a redirect is not followed"},
		{timeout(phoenix.StageCredentials), exit.Timeout, "a pipe"},
		{phoenix.LinkError{Stage: phoenix.StageCredentials, Reason: phoenix.ReasonUnreachable, Err: &exit.Error{Code: exit.Read, Message: "x", Hint: "may be read"}},
			exit.Read, "may be read"},
		{timeout(phoenix.StageDNS), exit.Timeout, "the name server"},
		{timeout(phoenix.StageTCP), exit.Timeout, "a firewall"},
		{timeout(phoenix.StageTLS), exit.Timeout, "does the port speak it?"},
		{timeout(phoenix.StageUpgrade), exit.Timeout, "connect/3 slow? --connect-timeout allows more"},
		{spoken(phoenix.ProtocolTLS), exit.Connect, "wss://"},
		{spoken(phoenix.ProtocolHTTP2), exit.Connect, "HTTP/2 only"},
		{spoken(phoenix.ProtocolSSH), exit.Connect, "SSH"},
		{spoken(phoenix.ProtocolEcho), exit.Connect, "sends back"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTLS, Spoken: phoenix.ProtocolHTTP}, exit.TLS, "ws:// URI"},
		{phoenix.LinkError{Stage: phoenix.StageDNS, Reason: phoenix.ReasonDNS, Err: &net.DNSError{IsNotFound: true}}, exit.DNS, "check the host"},
		{phoenix.LinkError{Stage: phoenix.StageDNS, Reason: phoenix.ReasonDNS, Err: &net.DNSError{}}, exit.DNS, "the name server failed"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonNotWebSocket, Err: fmt.Errorf("%w: x", phoenix.ErrSubprotocol)}, exit.Connect, "not one of Phoenix"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonNotWebSocket, Err: phoenix.ErrHandshake}, exit.Connect, "a cache"},
	} {
		f := linkFailure("ws://h/socket", &tt.err, false)
		if f.Code != tt.code || !strings.Contains(f.Hint, tt.hint) {
			t.Errorf("%+v: exit code %d, hint %q; want %d, %q", tt.err, f.Code, f.Hint, tt.code, tt.hint)
		}
		if stage := fmt.Sprintf(" (stage: %s)", tt.err.Stage); !strings.Contains(f.Message, stage) {
			t.Errorf("%q does not name its stage, %s", f.Message, tt.err.Stage)
		}
	}
}

func TestPathHints(t *testing.T) {
	for address, want := range map[string]string{
		"ws://h/socket":                     "else",
		"ws://h/socket/websocket":           "else",
		"ws://h/socket/websocket/websocket": "twice",
		"ws://h":                            "most are at /socket",
		"ws://h/":                           "most are at /socket",
		"ws://h/websocket":                  "most are at /socket",
		":":                                 "else",
	} {
		if got := pathHint(address, "else"); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// A session that ends before its first heartbeat is answered may be one of another kind of server.
func TestNotPhoenix(t *testing.T) {
	overdue := linkFailure("ws://h/socket", &phoenix.LinkError{Stage: phoenix.StageSession, Reason: phoenix.ReasonHeartbeatTimeout}, true)
	err := notPhoenix("ws://h/socket", overdue)
	if want := "connected to ws://h/socket, but nothing answers a heartbeat"; err.Error() != want {
		t.Errorf("got %q", err)
	}
	if codeOf(err) != exit.LinkLost || !strings.Contains(hintOf(err), "--heartbeat-timeout") {
		t.Errorf("exit code %d, hint %q", codeOf(err), hintOf(err))
	}
	closed := linkFailure("ws://h/socket", &phoenix.LinkError{Stage: phoenix.StageSession, Reason: phoenix.ReasonClosedByRemote, Code: 1003}, true)
	err = notPhoenix("ws://h/socket", closed)
	want := "connected to ws://h/socket, but before a heartbeat was answered: the server closed the connection: close code 1003"
	if err.Error() != want || codeOf(err) != exit.LinkLost {
		t.Errorf("got %q, exit code %d", err, codeOf(err))
	}
	for _, other := range []error{
		errors.New("x"),
		linkFailure("ws://h", &phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused}, true),
	} {
		if got := notPhoenix("ws://h", other); got != other {
			t.Errorf("%v became %v", other, got)
		}
	}
}

// What is between us and the server, and what protects it, has failures of its own: each says what to do.
func TestNetworkFailureMessages(t *testing.T) {
	const proxy = "http://proxy.test:3128"
	remote := &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}
	unix := &net.OpError{Op: "dial", Net: "unix", Err: syscall.ENOENT}
	for _, tt := range []struct {
		err  phoenix.LinkError
		code exit.Code
		want string
		hint string
	}{
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonRefused, HTTPStatus: 407, Proxy: proxy}, exit.Refused,
			"the proxy refused (stage: proxy): proxy " + proxy + ": HTTP status 407", "USER:PASSWORD"},
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonRefused, HTTPStatus: 502, Proxy: proxy}, exit.Refused,
			"the proxy refused (stage: proxy): proxy " + proxy + ": HTTP status 502", "does not reach the server"},
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonRefused, HTTPStatus: 403, Proxy: proxy}, exit.Refused,
			"the proxy refused (stage: proxy): proxy " + proxy + ": HTTP status 403", "NO_PROXY"},
		{phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused, Proxy: proxy}, exit.Connect,
			"nobody listens there (stage: tcp): proxy " + proxy, "--proxy"},
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonTimeout, Proxy: proxy}, exit.Timeout,
			"it took too long (stage: proxy): proxy " + proxy, "--proxy"},
		{phoenix.LinkError{Stage: phoenix.StageProxy, Reason: phoenix.ReasonUnreachable, Err: errors.New("no URL")}, exit.Connect,
			"no URL", "HTTPS_PROXY"},
		{phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused, Err: unix}, exit.Connect,
			"nobody listens there", "--unix-socket"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonTLS, Err: remote}, exit.TLS,
			"certificate required", "--cert and --key"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTLS, Err: errors.New("no")}, exit.TLS,
			"the TLS handshake failed (stage: tls): no", "ws://"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonCertificate, Err: x509.UnknownAuthorityError{}}, exit.Certificate,
			"the certificate was not accepted", "--cacert"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonCertificate,
			Err: x509.HostnameError{Host: "h", Certificate: &x509.Certificate{}}}, exit.Certificate, "it is not for h", "--server-name"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonCertificate,
			Err: x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{}}}, exit.Certificate, "it expired at", "clock"},
	} {
		f := linkFailure("ws://h", &tt.err, false)
		if f.Code != tt.code || !strings.Contains(f.Error(), tt.want) || !strings.Contains(f.Hint, tt.hint) {
			t.Errorf("exit %d: %s\n    %s\nwant %d: %s\n    %s", f.Code, f.Error(), f.Hint, tt.code, tt.want, tt.hint)
		}
	}
}
