package phoenix

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
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

// herd lets n dials to a server come at once, in their order, and returns when each had its turn; it ends with the last.
func herd(d *dialTurns, server string, n int) []time.Duration {
	turns := make([]time.Duration, n)
	begun := time.Now()
	done := make(chan struct{}, n)
	for i := range n {
		go func() {
			if err := d.wait(context.Background(), server); err == nil {
				turns[i] = time.Since(begun)
			}
			done <- struct{}{}
		}()
		synctest.Wait()
	}
	for range n {
		<-done
	}
	return turns
}

// A thousand dials to one server come one after the other, in order, and on the average as far apart as was asked for.
func TestDialTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, mean = 1000, 5 * time.Millisecond
		turns := herd(newDialTurns(mean), "a.test:80", n)
		if turns[0] != 0 {
			t.Errorf("the first dial waited for %v", turns[0])
		}
		if !slices.IsSorted(turns) {
			t.Errorf("not in order: %v", turns)
		}
		distances := map[time.Duration]bool{}
		for i := 1; i < n; i++ {
			apart := turns[i] - turns[i-1]
			distances[apart] = true
			if apart > 2*mean {
				t.Errorf("dial %d came %v after the one before", i, apart)
			}
		}
		if len(distances) < n/2 {
			t.Errorf("%d different distances: they are not drawn", len(distances))
		}
		// The mean of so many evenly drawn distances is within a tenth of what was asked for, five standard deviations away.
		if total := turns[n-1]; total < 9*n*mean/10 || total > 11*n*mean/10 {
			t.Errorf("%d dials took %v", n, total)
		}
	})
}

// Who dials alone does not wait, however often, as long as an interval is between two dials.
func TestDialAloneDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialTurns(5 * time.Millisecond)
		for range 20 {
			if waited := herd(d, "a.test:80", 1)[0]; waited != 0 {
				t.Errorf("waited for %v", waited)
			}
			time.Sleep(11 * time.Millisecond)
		}
	})
}

// Servers have nothing to do with each other.
func TestDialTurnsOfManyServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialTurns(time.Hour)
		for _, server := range []string{"a.test:80", "a.test:81", "b.test:80"} {
			if waited := herd(d, server, 1)[0]; waited != 0 {
				t.Errorf("the dial to %s waited for %v", server, waited)
			}
		}
	})
}

// A dial that is given up leaves its turn to the next.
func TestDialTurnGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd = 100
		d := newDialTurns(time.Second)
		herd(d, "a.test:80", 1)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, crowd)
		for range crowd {
			go func() { gone <- d.wait(ctx, "a.test:80") }()
		}
		synctest.Wait()
		begun := time.Now()
		last := make(chan error, 1)
		go func() { last <- d.wait(t.Context(), "a.test:80") }()
		synctest.Wait()
		cancel()
		for range crowd {
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		}
		if err := <-last; err != nil || time.Since(begun) > 2*time.Second {
			t.Errorf("the dial behind %d that were given up waited for %v: %v", crowd, time.Since(begun), err)
		}
	})
}

// Nothing is kept of servers that nobody dials any more.
func TestDialTurnsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialTurns(5 * time.Millisecond)
		herd(d, "a.test:80", 3)
		herd(d, "b.test:80", 1)
		time.Sleep(11 * time.Millisecond)
		synctest.Wait()
		if len(d.servers) != 0 {
			t.Errorf("%d servers are kept", len(d.servers))
		}
	})
}

// A negative interval staggers nothing.
func TestDialTurnsWithoutInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if turns := herd(newDialTurns(-1), "a.test:80", 10); turns[9] != 0 {
			t.Errorf("turns %v", turns)
		}
	})
}

// A server is a host and a port, whatever else is in the URL.
func TestDialServer(t *testing.T) {
	for url, want := range map[string]string{
		"ws://a.test/socket":                  "a.test:80",
		"http://A.test:80/other?token=1":      "a.test:80",
		"wss://a.test/socket":                 "a.test:443",
		"https://user:secret@a.test:4000/s":   "a.test:4000",
		"ws://[::1]:4000/socket/websocket":    "[::1]:4000",
		"wss://[fe80::1]/socket/websocket?a=": "[fe80::1]:443",
	} {
		e, err := newEndpoint(url, "2.0.0", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := e.server(); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

func TestEndpointURL(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"ws://host/socket", "ws://host/socket/websocket?vsn=2.0.0"},
		{"wss://host/socket", "wss://host/socket/websocket?vsn=2.0.0"},
		{"http://host/socket", "ws://host/socket/websocket?vsn=2.0.0"},
		{"HTTPS://host/socket", "wss://host/socket/websocket?vsn=2.0.0"},
		{"ws://host:4000/socket/", "ws://host:4000/socket/websocket?vsn=2.0.0"},
		{"ws://host/socket/websocket", "ws://host/socket/websocket?vsn=2.0.0"},
		{"ws://host/socket/websocket/", "ws://host/socket/websocket/?vsn=2.0.0"},
		{"ws://host/socket/longpoll", "http://host/socket/longpoll?vsn=2.0.0"},
		{"ws://host/socket/longpoll/", "http://host/socket/longpoll?vsn=2.0.0"},
		{"ws://host/socket/longpoll?a=1", "http://host/socket/longpoll?a=1&vsn=2.0.0"},
		{"ws://host/socket/longpoll/?vsn=2.0.0&a=1", "http://host/socket/longpoll?vsn=2.0.0&a=1"},
		{"ws://host/longpoll", "http://host/longpoll?vsn=2.0.0"},
		{"ws://host/socket/nolongpoll", "ws://host/socket/nolongpoll/websocket?vsn=2.0.0"},
		{"ws://host/longpoll/socket", "ws://host/longpoll/socket/websocket?vsn=2.0.0"},
		{"ws://host", "ws://host/websocket?vsn=2.0.0"},
		{"ws://host/", "ws://host/websocket?vsn=2.0.0"},
		{"ws://[::1]:4000/socket", "ws://[::1]:4000/socket/websocket?vsn=2.0.0"},
		{"ws://host/a%2Fb/socket", "ws://host/a%2Fb/socket/websocket?vsn=2.0.0"},
		{"ws://host/socket#fragment", "ws://host/socket/websocket?vsn=2.0.0"},
		// A query is kept as it was written, and vsn comes last, as with the official client.
		{"ws://host/socket?b=2&a=1", "ws://host/socket/websocket?b=2&a=1&vsn=2.0.0"},
		{"ws://host/socket?a[]=%20+", "ws://host/socket/websocket?a[]=%20+&vsn=2.0.0"},
		{"ws://host/socket?vsn=1.0.0", "ws://host/socket/websocket?vsn=1.0.0"},
		{"ws://host/socket?vsn=2.0.9&a=1", "ws://host/socket/websocket?vsn=2.0.9&a=1"},
		{"ws://user:pass@host/socket", "ws://host/socket/websocket?vsn=2.0.0"},
	} {
		e, err := newEndpoint(c.raw, "2.0.0", "")
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if got, _ := e.request(Credentials{}, e.transport); got != c.want {
			t.Errorf("%s: dials %s, want %s", c.raw, got, c.want)
		}
	}
}

// The vsn of the URL wins over that of the options, and of two the last: the server takes that one, too.
func TestEndpointVersion(t *testing.T) {
	for _, c := range []struct {
		raw, vsn string
		want     codec
	}{
		{"ws://host/socket", "2.0.0", codecV2{}},
		{"ws://host/socket", "1.0.0", codecV1{}},
		{"ws://host/socket?vsn=1.0.0", "2.0.0", codecV1{}},
		{"ws://host/socket?vsn=1.0.0&vsn=2.0.0", "1.0.0", codecV2{}},
	} {
		e, err := newEndpoint(c.raw, c.vsn, "")
		if err != nil || e.codec != c.want {
			t.Errorf("%s with %s: codec %T, error %v, want %T", c.raw, c.vsn, e.codec, err, c.want)
		}
	}
}

// What is wrong with a URL is said without the URL: it may hold secrets.
func TestEndpointErrors(t *testing.T) {
	for _, raw := range []string{
		"",
		"host/socket?token=hunter2",
		"ftp://hunter2@host/socket",
		"ws://?token=hunter2",
		"ws:///socket?token=hunter2",
		"ws://ho st/socket?token=hunter2",
		"ws://host:port/socket?token=hunter2",
		"ws://user:hunter2@host:x/socket",
		"ws://host/%zz?token=hunter2",
		"ws://host/socket?vsn=2.1.0&token=hunter2",
		"ws://host/socket\x7f?token=hunter2",
		"ws://host:99999/socket?token=hunter2",
		"ws://host:0/socket?token=hunter2",
		"ws://::1:4000/socket?token=hunter2",
		"ws://::1/socket?token=hunter2",
	} {
		_, err := newEndpoint(raw, "2.0.0", "")
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: error %v", raw, err)
		}
	}
}

func TestEndpointRequest(t *testing.T) {
	e, err := newEndpoint("ws://user:p%40ss@host/socket?a=1", "2.0.0", "")
	if err != nil {
		t.Fatal(err)
	}
	c := Credentials{Params: url.Values{"token": {"a&b"}}, Header: http.Header{"X-Key": {"1", "2"}}}
	got, header := e.request(c, TransportWebSocket)
	if want := "ws://host/socket/websocket?token=a%26b&a=1&vsn=2.0.0"; got != want {
		t.Errorf("dials %s, want %s", got, want)
	}
	if got, want := header.Get("Authorization"), "Basic dXNlcjpwQHNz"; got != want { // user:p@ss
		t.Errorf("authorization %q, want %q", got, want)
	}
	if got := header["X-Key"]; len(got) != 2 || got[1] != "2" {
		t.Errorf("header %q", got)
	}
	if len(c.Header) != 1 {
		t.Error("the header of the credentials was changed")
	}
	if got, want := e.public(), "ws://host/socket/websocket"; got != want {
		t.Errorf("shows %s, want %s", got, want)
	}
	c.Header.Set("Authorization", "Bearer x")
	if _, header = e.request(c, TransportWebSocket); header.Get("Authorization") != "Bearer x" {
		t.Error("the URL's userinfo beats a header that was given")
	}
}

// The token goes in the standard alphabet, unpadded, whatever the name of the subprotocol says (rule 24).
func TestSubprotocols(t *testing.T) {
	for _, c := range []struct {
		credentials Credentials
		want        string
	}{
		{Credentials{}, ""},
		{Credentials{AuthToken: "ignored"}, ""},
		{Credentials{HasAuthToken: true}, "phoenix, base64url.bearer.phx."},
		{Credentials{HasAuthToken: true, AuthToken: "a"}, "phoenix, base64url.bearer.phx.YQ"},
		{Credentials{HasAuthToken: true, AuthToken: "\xfb\xff\xfe?"}, "phoenix, base64url.bearer.phx.+//+Pw"},
	} {
		if got := strings.Join(subprotocols(c.credentials), ", "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.credentials, got, c.want)
		}
	}
}
