package phoenix

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestClassify(t *testing.T) {
	system := func(op string, err error) error {
		return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, err)}
	}
	for _, c := range []struct {
		name  string
		stage Stage
		err   error
		want  Reason
	}{
		{"no such host", StageDNS, &net.DNSError{Err: "no such host", IsNotFound: true}, ReasonDNS},
		{"resolver is slow", StageDNS, &net.DNSError{Err: "timeout", IsTimeout: true}, ReasonTimeout},
		{"nobody listens", StageTCP, system("connect", syscall.ECONNREFUSED), ReasonConnectRefused},
		{"no route to host", StageTCP, system("connect", syscall.EHOSTUNREACH), ReasonUnreachable},
		{"no route to network", StageTCP, system("connect", syscall.ENETUNREACH), ReasonUnreachable},
		{"system timeout", StageTCP, system("connect", syscall.ETIMEDOUT), ReasonTimeout},
		{"our timeout", StageUpgrade, context.DeadlineExceeded, ReasonTimeout},
		{"other errors of a dial", StageTCP, errors.New("no more ports"), ReasonUnreachable},
		{"TLS", StageTLS, tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, ReasonTLS},
		{"TLS alert", StageTLS, tls.AlertError(40), ReasonTLS},
		{"TLS alert behind the handshake", StageUpgrade, &net.OpError{Op: "remote error", Err: tls.AlertError(116)}, ReasonTLS},
		{"end during TLS", StageTLS, io.EOF, ReasonTLS},
		{"reset during TLS", StageTLS, system("read", syscall.ECONNRESET), ReasonReset},
		{"verification", StageTLS, &tls.CertificateVerificationError{Err: errors.New("x")}, ReasonCertificate},
		{"unknown authority", StageTLS, x509.UnknownAuthorityError{}, ReasonCertificate},
		{"another host", StageTLS, x509.HostnameError{Certificate: &x509.Certificate{}}, ReasonCertificate},
		{"expired", StageTLS, x509.CertificateInvalidError{Reason: x509.Expired}, ReasonCertificate},
		{"end during the upgrade", StageUpgrade, io.ErrUnexpectedEOF, ReasonEOF},
		{"not HTTP", StageUpgrade, errors.New("malformed HTTP response"), ReasonNotWebSocket},
		{"reset", StageSession, system("read", syscall.ECONNRESET), ReasonReset},
		{"broken pipe", StageSession, system("write", syscall.EPIPE), ReasonReset},
		{"end", StageSession, io.EOF, ReasonEOF},
		{"ended by us", StageSession, net.ErrClosed, ReasonEOF},
		{"end without a close frame", StageSession, &websocket.CloseError{Code: 1006, Text: "unexpected EOF"}, ReasonEOF},
		{"close frame", StageSession, &websocket.CloseError{Code: 1012}, ReasonClosedByRemote},
		{"empty close frame", StageSession, &websocket.CloseError{Code: 1005}, ReasonClosedByRemote},
		{"ours was too big", StageSession, &websocket.CloseError{Code: 1009}, ReasonMessageTooBig},
		{"theirs was too big", StageSession, errTooBig, ReasonMessageTooBig},
		{"bad frame", StageSession, errors.New("bad opcode 7"), ReasonProtocolError},
	} {
		for _, err := range []error{c.err, fmt.Errorf("wrapped: %w", c.err)} {
			e := classify(c.stage, err)
			if e.Reason != c.want || e.Stage != c.stage {
				t.Errorf("%s: %s at %s, want %s", c.name, e.Reason, e.Stage, c.want)
			}
		}
	}
}

// A close frame's code and text are kept, the text fit for people to see (rule 13).
func TestClassifyCloseFrame(t *testing.T) {
	e := classify(StageSession, &websocket.CloseError{Code: 4000, Text: "bye\n\x1b[31m now"})
	if e.Code != 4000 || e.CloseText != "bye [31m now" {
		t.Errorf("code %d, text %q", e.Code, e.CloseText)
	}
	if got, want := e.Error(), "session: closed_by_remote: close code 4000: bye [31m now"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestRefused(t *testing.T) {
	now := time.Date(2026, 2, 7, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   LinkError
		text   string
	}{
		{"body", 401, nil, "{\"reason\":\n \"no\"}", LinkError{Body: `{"reason": "no"}`}, `HTTP status 401: {"reason": "no"}`},
		{"nothing", 403, nil, "", LinkError{}, "HTTP status 403"},
		{"seconds", 503, map[string]string{"Retry-After": " 7 "}, "", LinkError{RetryAfter: 7 * time.Second}, "HTTP status 503"},
		{"date", 503, map[string]string{"Retry-After": "Sat, 07 Feb 2026 12:01:00 GMT"}, "",
			LinkError{RetryAfter: time.Minute}, "HTTP status 503"},
		{"past date", 503, map[string]string{"Retry-After": "Sat, 07 Feb 2026 11:00:00 GMT"}, "", LinkError{}, "HTTP status 503"},
		{"too long", 503, map[string]string{"Retry-After": "99999999999"}, "", LinkError{RetryAfter: 24 * time.Hour}, "HTTP status 503"},
		{"negative", 503, map[string]string{"Retry-After": "-5"}, "", LinkError{}, "HTTP status 503"},
		{"no time at all", 503, map[string]string{"Retry-After": "soon"}, "", LinkError{}, "HTTP status 503"},
		{"redirect", 302, map[string]string{"Location": "https://user:pw@host/login?token=hunter2#x"}, "moved",
			LinkError{Body: "moved", Location: "https://host/login"}, "HTTP status 302 to https://host/login"},
		{"long body", 500, nil, strings.Repeat("ä", 500), LinkError{Body: strings.Repeat("ä", 150) + "..."},
			"HTTP status 500: " + strings.Repeat("ä", 150) + "..."},
	} {
		header := http.Header{}
		for k, v := range c.header {
			header.Set(k, v)
		}
		got := refused(&http.Response{StatusCode: c.status, Header: header, Body: io.NopCloser(strings.NewReader(c.body))}, now)
		c.want.Stage, c.want.Reason, c.want.HTTPStatus = StageUpgrade, ReasonRefused, c.status
		if *got != c.want {
			t.Errorf("%s: %+v\nwant %+v", c.name, *got, c.want)
		}
		if got.Detail() != c.text {
			t.Errorf("%s: %q, want %q", c.name, got.Detail(), c.text)
		}
	}
}

// What only other credentials or another address can change (rule 16).
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		e    LinkError
		want bool
	}{
		{LinkError{Reason: ReasonRefused, HTTPStatus: 401}, true},
		{LinkError{Reason: ReasonRefused, HTTPStatus: 403}, true},
		{LinkError{Reason: ReasonRefused, HTTPStatus: 404}, true},
		{LinkError{Reason: ReasonRefused, HTTPStatus: 302}, true},
		{LinkError{Reason: ReasonRefused, HTTPStatus: 408}, false},
		{LinkError{Reason: ReasonRefused, HTTPStatus: 429}, false},
		{LinkError{Reason: ReasonRefused, HTTPStatus: 503}, false},
		{LinkError{Reason: ReasonCertificate}, true},
		{LinkError{Reason: ReasonNotWebSocket}, true},
		{LinkError{Reason: ReasonTLS}, false},
		{LinkError{Reason: ReasonConnectRefused}, false},
		{LinkError{Reason: ReasonClosedByRemote, Code: 1000}, false},
	} {
		if got := c.e.refusal(); got != c.want {
			t.Errorf("%+v: refusal is %v", c.e, got)
		}
	}
}

// Each error says in one line what happened to what.
func TestErrorTexts(t *testing.T) {
	broken := errors.New("no such file")
	for _, c := range []struct {
		err  error
		want string
	}{
		{&LinkError{Stage: StageTCP, Reason: ReasonConnectRefused, Err: syscall.ECONNREFUSED}, "tcp: connect_refused: connection refused"},
		{&LinkError{Stage: StageSession, Reason: ReasonClosedByRemote, Code: 1012}, "session: closed_by_remote: close code 1012"},
		{&LinkError{Stage: StageSession, Reason: ReasonHeartbeatTimeout}, "session: heartbeat_timeout"},
		{&JoinError{Topic: "room:1", Reason: JoinRefused, Response: JSON(`{"reason":"no"}`)}, `join of "room:1" failed: error: {"reason":"no"}`},
		{&JoinError{Topic: "room:1", Reason: JoinRefused, Response: Binary([]byte{0})}, `join of "room:1" failed: error`},
		{&JoinError{Topic: "room:1", Reason: JoinRefused, Err: broken}, `join of "room:1" failed: error: no such file`},
		{&PushError{Topic: "room:1", Name: "new_msg", Reason: PushDisconnected, Delivered: DeliveredUnknown},
			`push of "new_msg" to "room:1" failed: disconnected (delivered: unknown)`},
		{&PushTimeout{Timeout: 10 * time.Second}, "no reply to the push in 10s"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if !errors.Is(&JoinError{Err: broken}, broken) || !errors.Is(&LinkError{Err: broken}, broken) {
		t.Error("the cause is lost")
	}
}
