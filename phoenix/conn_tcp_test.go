package phoenix_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// What only real TCP and TLS can show. Nothing here waits for time to pass.

// tlsServer is a server behind TLS on loopback, with a certificate for 127.0.0.1 and example.com.
func tlsServer(t *testing.T) (srv *phoenixtest.Server, url string, roots *x509.CertPool) {
	t.Helper()
	srv = phoenixtest.NewServer(phoenixtest.Demo())
	t.Cleanup(srv.Close)
	front := httptest.NewUnstartedServer(srv)
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	t.Cleanup(front.Close)
	roots = x509.NewCertPool()
	roots.AddCert(front.Certificate())
	return srv, front.URL + "/socket", roots
}

func TestTLS(t *testing.T) {
	_, url, roots := tlsServer(t)
	conn := startTCP(t, phoenix.Options{URL: url, TLS: &tls.Config{RootCAs: roots}})
	e, err := firstConnected(t, conn)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Timings; got.TCP <= 0 || got.TLS <= 0 || got.Upgrade <= 0 || got.TCP+got.TLS+got.Upgrade > e.Took {
		t.Errorf("stages %+v of %v", got, e.Took)
	}
	join(t, conn, "room:1")
}

// startTCP runs a connection over TCP.
func startTCP(t *testing.T, o phoenix.Options) *phoenix.Conn {
	t.Helper()
	conn, err := phoenix.New(o)
	if err != nil {
		t.Fatal(err)
	}
	conn.Events()
	go func() { _ = conn.Serve(t.Context()) }()
	t.Cleanup(func() { <-conn.Done() })
	return conn
}

// firstConnected returns the first Connected event, or how the connection ended without one.
func firstConnected(t *testing.T, conn *phoenix.Conn) (*phoenix.Connected, error) {
	t.Helper()
	for e := range conn.Events().All(t.Context()) {
		if c, ok := e.Detail.(*phoenix.Connected); ok {
			return c, nil
		}
	}
	<-conn.Done()
	return nil, conn.Err()
}

func TestFailuresOfTCPAndTLS(t *testing.T) {
	srv, url, roots := tlsServer(t)
	plain := "wss" + srv.URL[len("ws"):]
	gone := phoenixtest.NewServer(phoenixtest.Demo())
	gone.Close()
	for _, c := range []struct {
		name   string
		url    string
		tls    *tls.Config
		stage  phoenix.Stage
		reason phoenix.Reason
	}{
		{"nobody listens", gone.URL, nil, phoenix.StageTCP, phoenix.ReasonConnectRefused},
		{"unknown authority", url, nil, phoenix.StageTLS, phoenix.ReasonCertificate},
		{"another name", url, &tls.Config{RootCAs: roots, ServerName: "other.test"}, phoenix.StageTLS, phoenix.ReasonCertificate},
		{"no TLS there", plain, nil, phoenix.StageTLS, phoenix.ReasonTLS},
		{"no version in common", url, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS10}, phoenix.StageTLS, phoenix.ReasonTLS},
		{"TLS there", "ws" + url[len("https"):], nil, phoenix.StageUpgrade, phoenix.ReasonRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := firstConnected(t, startTCP(t, phoenix.Options{URL: c.url, TLS: c.tls}))
			var link *phoenix.LinkError
			if !errors.As(err, &link) || link.Stage != c.stage || link.Reason != c.reason {
				t.Errorf("error %+v, want stage %s, reason %s", err, c.stage, c.reason)
			}
		})
	}
}

// A certificate is not retried, like a refusal; with RetryRefusals it is.
func TestCertificateIsARefusal(t *testing.T) {
	_, url, _ := tlsServer(t)
	for retries, retryRefusals := range []bool{false, true} {
		conn := startTCP(t, phoenix.Options{
			URL: url, MaxRetries: 1, RetryRefusals: retryRefusals, ReconnectAfter: phoenix.Steps(time.Millisecond),
		})
		dials := 0
		for e := range conn.Events().All(t.Context()) {
			if _, ok := e.Detail.(*phoenix.Connecting); ok {
				dials++
			}
		}
		if dials != 1+retries {
			t.Errorf("RetryRefusals %v: %d dials", retryRefusals, dials)
		}
	}
}

// The ends of a session that the kernel tells of.
func TestTCPEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    func(*phoenixtest.Server)
		reason phoenix.Reason
	}{
		{"drop", (*phoenixtest.Server).DropConns, phoenix.ReasonEOF},
		{"reset", (*phoenixtest.Server).ResetConns, phoenix.ReasonReset},
		{"stop", (*phoenixtest.Server).Stop, phoenix.ReasonClosedByRemote},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := phoenixtest.NewServer(phoenixtest.Demo())
			defer srv.Close()
			conn := startTCP(t, phoenix.Options{URL: srv.URL})
			join(t, conn, "room:1")
			c.end(srv)
			<-conn.Done()
			var link *phoenix.LinkError
			if !errors.As(conn.Err(), &link) || link.Reason != c.reason {
				t.Errorf("error %v, want %s", conn.Err(), c.reason)
			}
		})
	}
}

// A message of many reads arrives whole over TCP, too.
func TestLargeMessageOverTCP(t *testing.T) {
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	conn := startTCP(t, phoenix.Options{URL: srv.URL})
	go func() { // the stream must not fill up
		for range conn.Events().All(t.Context()) {
		}
	}()
	join(t, conn, "room:1")
	body := make([]byte, 5<<20)
	for i := range body {
		body[i] = byte(i * 7)
	}
	r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.Binary(body)})
	if err != nil || string(r.Payload.Data) != string(body) {
		t.Errorf("%d of %d bytes came back, or not the same ones; error %v", len(r.Payload.Data), len(body), err)
	}
}
