package phoenix

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// errTooBig ends a session in which a message was larger than Options.MaxMessage.
var errTooBig = errors.New("a message is larger than the limit")

// classify makes a LinkError of what ended a dial or a session.
func classify(stage Stage, err error) *LinkError {
	e := &LinkError{Stage: stage, Err: err}
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		// 1006 is gorilla's word for an end of TCP without a close frame.
		if closed.Code == websocket.CloseAbnormalClosure {
			e.Reason, e.Err = ReasonEOF, io.ErrUnexpectedEOF
			return e
		}
		e.Reason, e.Code, e.CloseText, e.Err = ReasonClosedByRemote, closed.Code, printable(closed.Text), nil
		if closed.Code == websocket.CloseMessageTooBig {
			e.Reason = ReasonMessageTooBig
		}
		return e
	}
	var proxy *proxyRefusal
	if errors.As(err, &proxy) {
		e.Reason, e.HTTPStatus, e.RetryAfter = ReasonRefused, proxy.status, proxy.retryAfter
		return e
	}
	e.Reason = reasonOf(stage, err)
	return e
}

func reasonOf(stage Stage, err error) Reason {
	var dns *net.DNSError
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns) && !dns.IsTimeout:
		return ReasonDNS
	case errors.Is(err, errTooBig):
		return ReasonMessageTooBig
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout
	case errors.Is(err, syscall.ECONNREFUSED), stage == StageTCP && errors.Is(err, fs.ErrNotExist): // the latter: a Unix socket
		return ReasonConnectRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return ReasonUnreachable
	case errors.As(err, &certificate), isX509(err):
		return ReasonCertificate
	case isAlert(err):
		return ReasonTLS
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ReasonReset
	case stage == StageTLS:
		return ReasonTLS
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return ReasonEOF
	case stage == StageUpgrade:
		return ReasonNotWebSocket
	case stage == StageSession:
		return ReasonProtocolError
	}
	return ReasonUnreachable
}

// isAlert reports whether a TLS alert of the server's is behind err. With TLS 1.3, the one about a client's certificate comes
// after the handshake, as the answer to the upgrade.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func isX509(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// refused makes a LinkError of an HTTP answer that is not an upgrade.
func refused(resp *http.Response, now time.Time) *LinkError {
	e := &LinkError{Stage: StageUpgrade, Reason: ReasonRefused, HTTPStatus: resp.StatusCode}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		e.Reason, e.HTTPStatus = ReasonNotWebSocket, 0
		e.Err = handshakeError(resp.Header)
		return e
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	e.Body = printable(string(body))
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), now)
	if u, err := url.Parse(resp.Header.Get("Location")); err == nil && u.Path+u.Host != "" {
		u.RawQuery, u.User, u.Fragment = "", nil, ""
		e.Location = u.String()
	}
	return e
}

// maxRetryAfter bounds what a server may ask for: a wrong date must not silence a client for ever.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header of that name: seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	d := time.Duration(0)
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
		d = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(0, d), maxRetryAfter)
}

// maxProse bounds the server's prose in errors and events.
const maxProse = 300

// printable makes one line for people of what a server sent.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxProse {
		s = strings.ToValidUTF8(s[:maxProse], "") + "..."
	}
	return s
}
