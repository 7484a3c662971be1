package phoenix

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// answering dials a server that reads one request and answers with text, and then hangs up unless it is silent.
func answering(t *testing.T, answer string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		t.Cleanup(func() { _ = server.Close() })
		go func() {
			_, _ = http.ReadRequest(bufio.NewReader(server))
			if answer != "" {
				_, _ = io.WriteString(server, answer)
				_ = server.Close()
			}
			_, _ = io.Copy(io.Discard, server)
		}()
		return client, nil
	}
}

// What may answer a dial that is no Phoenix.
func TestDialFailures(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		stage        Stage
		reason       Reason
		status       int
		after        time.Duration
	}{
		{"silence", "", StageUpgrade, ReasonTimeout, 0, 10 * time.Second},
		{"another protocol", "220 mail.test ESMTP\r\n", StageUpgrade, ReasonNotWebSocket, 0, 0},
		{"cut answer", "HTTP/1.1 101 Swi", StageUpgrade, ReasonEOF, 0, 0},
		{"no answer", "\x00", StageUpgrade, ReasonNotWebSocket, 0, 0},
		{"a web page", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", StageUpgrade, ReasonRefused, 200, 0},
		{"101 without a key", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
			StageUpgrade, ReasonNotWebSocket, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, err := New(Options{URL: "ws://phoenix.test/socket?token=hunter2", NetDial: answering(t, c.answer)})
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				_, _, failed := conn.dial(t.Context(), nil)
				if failed == nil || failed.Stage != c.stage || failed.Reason != c.reason || failed.HTTPStatus != c.status {
					t.Fatalf("error %+v", failed)
				}
				if took := time.Since(begun); took != c.after {
					t.Errorf("failed after %v, want %v", took, c.after)
				}
				if strings.Contains(failed.Error(), "hunter2") {
					t.Errorf("the error %q tells a secret", failed)
				}
			})
		})
	}
}

// The stages of a dial are timed one by one.
func TestDialStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stageClock
		s.begin(StageCredentials)
		time.Sleep(time.Second)
		trace := s.trace()
		s.begin(StageTCP)
		trace.DNSStart(httptrace.DNSStartInfo{})
		time.Sleep(2 * time.Second)
		trace.DNSDone(httptrace.DNSDoneInfo{})
		time.Sleep(3 * time.Second)
		s.begin(StageUpgrade)
		trace.TLSHandshakeStart()
		time.Sleep(4 * time.Second)
		trace.TLSHandshakeDone(tls.ConnectionState{}, nil)
		time.Sleep(5 * time.Second)
		timings, stage := s.end()
		want := Timings{DNS: 2 * time.Second, TCP: 3 * time.Second, TLS: 4 * time.Second, Upgrade: 5 * time.Second}
		if timings != want || stage != StageUpgrade {
			t.Errorf("stages %+v up to %s, want %+v", timings, stage, want)
		}
	})
}

// A stage that fails is the last.
func TestDialStageThatFails(t *testing.T) {
	failed := errors.New("failed")
	var s stageClock
	trace := s.trace()
	s.begin(StageTCP)
	trace.DNSStart(httptrace.DNSStartInfo{})
	trace.DNSDone(httptrace.DNSDoneInfo{Err: failed})
	if _, stage := s.end(); stage != StageDNS {
		t.Errorf("failed at %s, want dns", stage)
	}
	trace.TLSHandshakeStart()
	trace.TLSHandshakeDone(tls.ConnectionState{}, failed)
	if _, stage := s.end(); stage != StageTLS {
		t.Errorf("failed at %s, want tls", stage)
	}
}
