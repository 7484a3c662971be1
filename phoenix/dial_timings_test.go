package phoenix

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A dial through all stages, each as slow as told, is timed stage by stage.
func TestDialTimings(t *testing.T) {
	const resolving, connecting, handshaking, upgrading = 2 * time.Second, 3 * time.Second, 4 * time.Second, 500 * time.Millisecond
	certificate := selfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		conn, err := New(Options{
			URL: "wss://phoenix.test/socket",
			TLS: &tls.Config{InsecureSkipVerify: true},
			NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				trace := httptrace.ContextClientTrace(ctx)
				trace.DNSStart(httptrace.DNSStartInfo{})
				time.Sleep(resolving)
				trace.DNSDone(httptrace.DNSDoneInfo{})
				time.Sleep(connecting)
				client, server := net.Pipe()
				go func() {
					defer server.Close()
					time.Sleep(handshaking)
					secure := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{certificate}})
					if _, err := http.ReadRequest(bufio.NewReader(secure)); err == nil {
						time.Sleep(upgrading)
						_, _ = io.WriteString(secure, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
					}
				}()
				return client, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, timings, failed := conn.dial(t.Context(), nil)
		if want := (Timings{DNS: resolving, TCP: connecting, TLS: handshaking, Upgrade: upgrading}); timings != want {
			t.Errorf("%+v, want %+v", timings, want)
		}
		if failed == nil || failed.HTTPStatus != http.StatusForbidden {
			t.Errorf("error %v", failed)
		}
	})
}

// A log tells nothing of stages that a dial did not get to.
func TestTimingsOfAFailure(t *testing.T) {
	got := Timings{DNS: time.Second, TCP: time.Microsecond}.attrs(StageDNS)
	if want := []any{"stage", "dns", "dns", time.Second}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// selfSigned makes a certificate that nobody trusts.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"phoenix.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
