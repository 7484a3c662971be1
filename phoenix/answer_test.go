package phoenix

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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
		if c.e.recognize(nil, true); c.e.Spoken != c.want {
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
