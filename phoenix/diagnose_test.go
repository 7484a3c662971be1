package phoenix

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
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
	e.redact(nil)
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
		got.redact(nil)
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

// upgraded is an answer 101 with further headers.
func upgraded(headers ...string) string {
	return "HTTP/1.1 101 Switching Protocols\r\n" + strings.Join(append(headers, "", ""), "\r\n")
}

// What answers is recognized by how it begins, and quoted without our own words in it.
func TestDialRecognizes(t *testing.T) {
	const request = "GET /socket/websocket?token=hunter2&vsn=2.0.0 HTTP/1.1\r\n"
	for _, c := range []struct {
		name, answer string
		spoken       Protocol
		detail       string
	}{
		{"TLS", "\x15\x03\x01\x00\x02\x02\x46", ProtocolTLS, "its answer is not HTTP"},
		{"SSH", "SSH-2.0-OpenSSH_9.6 Debian\r\n", ProtocolSSH, `its answer is not HTTP: "SSH-2.0-OpenSSH_9.6 Debian"`},
		{"HTTP/2", "\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80", ProtocolHTTP2, "its answer is not HTTP"},
		{"echo", request, ProtocolEcho, "its answer is not HTTP"},
		{"mail", "220 mail.test ESMTP\r\n", "", `its answer is not HTTP: "220 mail.test ESMTP"`},
		{"complaint", "500 what is " + request, "", `its answer is not HTTP: "500 what is GET /socket/websocket"`},
		{"an empty line", "\r\n220 mail.test\r\n", "", "its answer is not HTTP"},
		{"bytes", "\x01\x02\x03F", "", "its answer is not HTTP"},
		{"long", strings.Repeat("x", 300) + "\r\n", "", `its answer is not HTTP: "` + strings.Repeat("x", maxHead) + `"`},
		{"no upgrade", upgraded(), "", ErrHandshake.Error() + ": the header Upgrade is not websocket"},
		{"no accept", upgraded("Upgrade: websocket"), "", ErrHandshake.Error() + ": there is no header Sec-WebSocket-Accept"},
		{"no connection", upgraded("Upgrade: websocket", "Sec-WebSocket-Accept: x"), "",
			ErrHandshake.Error() + ": the header Connection is not Upgrade"},
		{"another key", upgraded("Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Accept: x"), "",
			ErrHandshake.Error() + ": Sec-WebSocket-Accept does not answer our key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, err := New(Options{URL: "ws://phoenix.test/socket?token=hunter2", NetDial: answering(t, c.answer)})
				if err != nil {
					t.Fatal(err)
				}
				_, _, failed := conn.dial(t.Context(), nil)
				if failed == nil || failed.Reason != ReasonNotWebSocket || failed.Spoken != c.spoken || failed.Detail() != c.detail {
					t.Errorf("%+v\nwant %s and %q", failed, c.spoken, c.detail)
				}
			})
		})
	}
}

func TestRecognizeFromErrors(t *testing.T) {
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: no application protocol")}
	for _, c := range []struct {
		name string
		e    LinkError
		want Protocol
	}{
		{"HTTP in place of TLS", LinkError{Stage: StageTLS, Err: tls.RecordHeaderError{RecordHeader: [5]byte([]byte("HTTP/"))}}, ProtocolHTTP},
		{"anything in place of TLS", LinkError{Stage: StageTLS, Err: tls.RecordHeaderError{}}, ""},
		{"no HTTP/1.1", LinkError{Stage: StageTLS, Err: alert}, ProtocolHTTP2},
		{"HTTP/2 in TLS", LinkError{Stage: StageUpgrade, Reason: ReasonNotWebSocket,
			Err: errors.New(`malformed HTTP response "\x00\x00\x12\x04\x00\x00\x00\x00\x00"`)}, ProtocolHTTP2},
		{"Go", LinkError{Reason: ReasonRefused, HTTPStatus: 400, Body: "Client sent an HTTP request to an HTTPS server."}, ProtocolTLS},
		{"nginx", LinkError{Reason: ReasonRefused, HTTPStatus: 400, Body: "400 The plain HTTP request was sent to HTTPS port"}, ProtocolTLS},
		{"another 400", LinkError{Reason: ReasonRefused, HTTPStatus: 400, Body: "'upgrade' header must contain 'websocket'"}, ""},
	} {
		if c.e.recognize(nil, true, nil); c.e.Spoken != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.e.Spoken, c.want)
		}
	}
}

func TestSubprotocolOfTheAnswer(t *testing.T) {
	const token = tokenSubprotocol + "aHVudGVyMg"
	for _, c := range []struct {
		name            string
		chosen, offered []string
		want            string
	}{
		{"none", nil, []string{"phoenix", token}, ""},
		{"ours", []string{"phoenix"}, []string{"phoenix", token}, ""},
		{"the token", []string{token}, []string{"phoenix", token}, ""},
		{"out of nothing", []string{"mqtt"}, nil, ErrSubprotocol.Error() + `: "mqtt"`},
		{"another", []string{"graphql-ws"}, []string{"phoenix", token}, ErrSubprotocol.Error() + `: "graphql-ws"`},
		{"all that were offered", []string{"phoenix, " + token}, []string{"phoenix", token}, ErrSubprotocol.Error()},
		{"two", []string{"phoenix", "mqtt"}, []string{"phoenix"}, ErrSubprotocol.Error() + `: "phoenix, mqtt"`},
	} {
		got := ""
		if err := checkSubprotocol(http.Header{"Sec-Websocket-Protocol": c.chosen}, c.offered); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	offered := offeredSubprotocols([]string{"a"}, http.Header{"Sec-Websocket-Protocol": {"b, c", "d"}})
	if strings.Join(offered, " ") != "a b c d" {
		t.Errorf("offered %q", offered)
	}
}

// A dial that fails logs its stage and what each stage took.
func TestDialFailureIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		answer := answering(t, "HTTP/1.1 404 Not Found\r\n\r\n")
		conn, err := New(Options{
			URL:    "ws://phoenix.test/socket",
			Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				trace := httptrace.ContextClientTrace(ctx)
				trace.DNSStart(httptrace.DNSStartInfo{})
				time.Sleep(2 * time.Second)
				trace.DNSDone(httptrace.DNSDoneInfo{})
				time.Sleep(3 * time.Second)
				return answer(ctx, network, addr)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, timings, failed := conn.dial(t.Context(), nil)
		if want := (Timings{DNS: 2 * time.Second, TCP: 3 * time.Second}); timings != want || failed == nil {
			t.Errorf("%+v, error %v, want %+v", timings, failed, want)
		}
		if want := `msg="the dial failed" stage=upgrade dns=2s tcp=3s`; !strings.Contains(log.String(), want) {
			t.Errorf("log\n%s\nwant %s", log.String(), want)
		}
	})
}

// What is wrong with a certificate is said in words that name it.
func TestCertificateDetail(t *testing.T) {
	now := time.Date(2026, 2, 7, 12, 0, 0, 0, time.UTC)
	named := &x509.Certificate{DNSNames: []string{"a.test", "*.b.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	for want, err := range map[string]error{
		"it is not for c.test, but for a.test, *.b.test, 127.0.0.1":  x509.HostnameError{Certificate: named, Host: "c.test"},
		"it is not for c.test, but for no host at all":               x509.HostnameError{Certificate: &x509.Certificate{}, Host: "c.test"},
		"it expired at 2026-02-07T11:00:00Z":                         expired(now.Add(-2*time.Hour), now.Add(-time.Hour)),
		"it is not valid before 2026-02-07T13:00:00Z":                expired(now.Add(time.Hour), now.Add(2*time.Hour)),
		`it is signed by an unknown authority, "CN=my\x1b CA"`:       unknownAuthority("my\x1b CA"),
		"x509: certificate signed by unknown authority":              x509.UnknownAuthorityError{},
		"tls: failed to verify certificate: something else entirely": &tls.CertificateVerificationError{Err: errors.New("something else\nentirely")},
	} {
		if got := certificateDetail(err, now); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func expired(from, to time.Time) error {
	return x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{NotBefore: from, NotAfter: to}}
}

func unknownAuthority(name string) error {
	return x509.UnknownAuthorityError{Cert: &x509.Certificate{Issuer: pkix.Name{CommonName: name}}}
}

// A page that repeats the request shows none of its secrets in an error.
func TestRefusalRepeatsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		page := "no /socket/websocket?token=hunter22%2B&amp;n=1 for Bearer hunter33 or hunter22+ or hunter44"
		conn, err := New(Options{
			URL: "ws://phoenix.test/socket?token=hunter22%2B&n=1",
			Credentials: func(context.Context) (Credentials, error) {
				return Credentials{Header: http.Header{"Authorization": {"Bearer hunter33"}}, AuthToken: "hunter44", HasAuthToken: true}, nil
			},
			NetDial: answering(t, fmt.Sprintf("HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s", len(page), page)),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _, failed := conn.dial(t.Context(), nil)
		if want := "HTTP status 404: no /socket/websocket?token=...&amp;n=... for ... or ... or ..."; failed == nil || failed.Detail() != want {
			t.Errorf("%v\nwant %s", failed, want)
		}
	})
}

// Wherever a server repeats the request, no secret of it comes back, however short.
func TestServerRepeatsTheRequest(t *testing.T) {
	const head = "HTTP/1.1 "
	repeated := "hunter2 abc1234 xy aHVudGVyNDQ c00kie joe:pa55 am9lOnBhNTU="
	for name, answer := range map[string]string{
		"body":       head + "403 Forbidden\r\nContent-Length: 70\r\n\r\n" + fmt.Sprintf("%-70s", repeated),
		"reason":     head + "403 " + repeated + "\r\nContent-Length: 0\r\n\r\n",
		"location":   head + "302 Found\r\nLocation: https://h.test/hunter2/abc1234/c00kie/xy?pa55\r\nContent-Length: 0\r\n\r\n",
		"challenge":  head + "401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"" + repeated + "\"\r\nContent-Length: 0\r\n\r\n",
		"no HTTP":    repeated + "\r\n",
		"cut off":    "what you have sent to me is this: secret=long-enough-to-be-c", // by maxHead
		"bad header": head + "403 Forbidden\r\n" + repeated + "\r\n\r\n",
		"bad length": head + "403 Forbidden\r\nContent-Length: hunter2\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, err := New(Options{
					URL: "ws://joe:pa55@phoenix.test/socket?token=hunter2&long=long-enough-to-be-cut-off",
					Credentials: func(context.Context) (Credentials, error) {
						return Credentials{Header: http.Header{"X-Api-Key": {"abc1234"}, "X-Short": {"xy"}, "Cookie": {"sid=c00kie"}},
							AuthToken: "hunter44", HasAuthToken: true}, nil
					},
					NetDial: answering(t, answer),
				})
				if err != nil {
					t.Fatal(err)
				}
				_, _, failed := conn.dial(t.Context(), nil)
				if failed == nil {
					t.Fatal("there is a session")
				}
				all := fmt.Sprintf("%+v %s %s", *failed, failed, failed.Detail())
				for _, secret := range []string{"hunter", "abc1234", "xy", "aHVudGVyNDQ", "c00kie", "pa55", "am9lOnBhNTU", "joe", "long-eno"} {
					// The error of the library is what it is; nobody prints it.
					if strings.Contains(failed.Error()+failed.Body+failed.Location, secret) {
						t.Errorf("%s: %s in %s", name, secret, all)
					}
				}
			})
		})
	}
}

// An answer without an end is cut off, and said to be; one that is announced by others is waited for.
func TestAnswerToTheUpgrade(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		reason       Reason
		detail       string
	}{
		{"a header without an end", "HTTP/1.1 101 Switching Protocols\r\nX: " + strings.Repeat("x", 1<<20), ReasonNotWebSocket, errAnswerTooLong.Error()},
		{"headers without an end", "HTTP/1.1 403 Forbidden\r\n" + strings.Repeat("X: x\r\n", 1<<18), ReasonNotWebSocket, errAnswerTooLong.Error()},
		{"announcements without an end", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1<<15), ReasonNotWebSocket, errAnswerTooLong.Error()},
		{"a line without an end", strings.Repeat("x", 1<<20), ReasonNotWebSocket, `its answer is not HTTP: "` + strings.Repeat("x", maxHead) + `"`},
		{"a body without an end", "HTTP/1.1 403 Forbidden\r\n\r\n" + strings.Repeat("x ", 1<<20), ReasonRefused, "HTTP status 403: " + strings.Repeat("x ", maxProse/2)[:maxProse] + "..."},
		{"announced", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
			ReasonRefused, "HTTP status 404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, err := New(Options{URL: "ws://phoenix.test/socket", NetDial: answering(t, c.answer)})
				if err != nil {
					t.Fatal(err)
				}
				_, _, failed := conn.dial(t.Context(), nil)
				if failed == nil || failed.Reason != c.reason || failed.Detail() != c.detail {
					t.Errorf("%v\nwant %s, %s", failed, c.reason, c.detail)
				}
			})
		})
	}
}

// What answers the end of a session, and what is told of it (RFC 6455, section 7.4.1).
func TestCloseAnswer(t *testing.T) {
	for _, c := range []struct {
		err    error
		answer int // -1: none
		code   int
		reason Reason
	}{
		{&websocket.CloseError{Code: 1012}, 1012, 1012, ReasonClosedByRemote},
		{errors.New("websocket: bad close code 1016"), 1002, 0, ReasonProtocolError},
		{&websocket.CloseError{Code: 1005}, 0, 0, ReasonClosedByRemote},
		{&websocket.CloseError{Code: 1006}, -1, 0, ReasonEOF},
		{errors.New("websocket: bad opcode 7"), 1002, 0, ReasonProtocolError},
		{errors.New("websocket: invalid utf8 payload in close frame"), 1007, 0, ReasonProtocolError},
		{errTooBig, 1009, 0, ReasonMessageTooBig},
		{io.EOF, -1, 0, ReasonEOF},
		{syscall.ECONNRESET, -1, 0, ReasonReset},
	} {
		code, ok := closeAnswer(c.err)
		if !ok {
			code = -1
		}
		e := classify(StageSession, c.err)
		if code != c.answer || e.Code != c.code || e.Reason != c.reason {
			t.Errorf("%v: answered with %d, and told as %s %d", c.err, code, e.Reason, e.Code)
		}
	}
}
