package phoenix_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/proxytest"
)

// A message over the limit ends the session with 1009, after what came before it, and without reading all of it.
func TestMessageTooBig(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{Channels: topics("room:1"), MaxMessage: 1000})
		log := record(t, events)
		settle(time.Second)
		log.forget()
		server := srv.Conns()[0]
		fits := fmt.Sprintf(`[null,null,"room:1","fits","%s"]`, strings.Repeat("x", 1000-len(`[null,null,"room:1","fits",""]`)))
		server.SendText(fits)
		server.SendText(fits + " ")
		settle(time.Second)
		lines := log.take()
		want := []string{"1s disconnected message_too_big", "1s room:1 errored disconnected"}
		if len(lines) != 3 || !strings.HasPrefix(lines[0], `1s room:1 fits "xxx`) || !slices.Equal(lines[1:], want) {
			t.Errorf("events %.100q", lines)
		}
	})
}

// The close frame that a message over the limit is answered with.
func TestMessageTooBigCloseCode(t *testing.T) {
	const opClose = 8
	var mu sync.Mutex
	var closes []string
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		mu.Lock()
		defer mu.Unlock()
		if f.FromClient && f.Opcode == opClose {
			closes = append(closes, string(f.Data))
		}
	})
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{MaxMessage: 1000})
		record(t, events)
		settle(time.Second)
		srv.Conns()[0].SendText(strings.Repeat("x", 2000))
		settle(time.Second)
	}, tap)
	if len(closes) != 1 || closes[0] != "\x03\xf1" {
		t.Errorf("close frames %q, want one with code 1009", closes)
	}
}

// A frame that cannot be read is logged, and the session goes on.
func TestUnreadableFrames(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var logged strings.Builder
		_, events := start(t, srv, phoenix.Options{Channels: topics("room:1"), Logger: warnings(&logged)})
		log := record(t, events)
		settle(time.Second)
		log.forget()
		server := srv.Conns()[0]
		junk := []string{``, `x`, `{}`, `[]`, `[null,null,"room:1","cut",{"a":`, `[null,null,"room:1","bytes","` + "\xff" + `"]`}
		for _, text := range junk {
			server.SendText(text)
		}
		for _, data := range []string{"", "\x09", "\x02\x06\xff"} {
			server.SendBinary([]byte(data))
		}
		server.SendBinary([]byte("\x02\x06\x05room:1bytes\x00\xff"))
		server.SendText(`[null,null,"room:1","after",{"a":1}]`)
		settle(time.Second)
		log.want(
			"1s room:1 bytes \x00\xff",
			`1s room:1 after {"a":1}`,
		)
		if got, want := strings.Count(logged.String(), "could not be read"), len(junk)+3; got != want {
			t.Errorf("%d frames were logged, want %d:\n%s", got, want, &logged)
		}
		if n := srv.Stats().Connects; n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

// What the filter does not want is no event, but it is counted, and its payload is not looked at.
func TestSkip(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{
			Channels: topics("room:1"),
			Skip:     func(topic, event []byte) bool { return string(topic) == "room:1" && string(event) == "noise" },
		})
		log := record(t, events)
		settle(time.Second)
		server := srv.Conns()[0]
		server.SendText(`[null,null,"room:1","one",{}]`)
		server.SendText(`[null,null,"room:1","noise",{}]`)
		server.SendText(`[null,null,"room:1","noise",this is not looked at]`)
		server.SendText(`[null,null,"room:1","two",{}]`)
		settle(time.Second)
		var seqs []uint64
		for _, e := range log.all() {
			seqs = append(seqs, e.Seq)
		}
		if want := []uint64{1, 2, 3, 4, 5, 8}; !slices.Equal(seqs, want) {
			t.Errorf("numbers %v, want %v", seqs, want)
		}
	})
}

// The protocol's own frames are never filtered.
func TestSkipSparesTheProtocol(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Skip: func(_, _ []byte) bool { return true }})
		record(t, events)
		join(t, conn, "room:1")
		if _, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "broadcast"}); err != nil {
			t.Error(err)
		}
		if err := conn.Leave(t.Context(), "room:1"); err != nil {
			t.Error(err)
		}
	})
}

// vsn 1.0.0 has no join_ref from the server and no binary payloads.
func TestVersion1(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		o := patient("room:1")
		o.VSN = "1.0.0"
		conn, events := start(t, srv, o)
		log := record(t, events)
		settle(time.Second)
		log.forget()
		for i, name := range []string{"echo", "broadcast", "crash"} {
			send(t, conn, phoenix.Push{Topic: "room:1", Name: name, Payload: phoenix.JSON(`{"a":1.0}`), Index: i})
		}
		settle(5 * time.Second)
		log.want(
			`1s push 0 ok {"a":1.0}`,
			`1s room:1 broadcast {"a":1.0}`,
			"1s push 1 ok {}",
			"1s room:1 errored phx_error, retry in 1s",
			"1s push 2 lost: channel_crashed, delivered: unknown",
			"2s room:1 joining 2",
			"2s room:1 rejoined after 1s",
		)
		if err := conn.Send(t.Context(), phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.Binary(nil)}); err == nil {
			t.Error("sent a binary payload in vsn 1.0.0")
		}
		if got := srv.Conns()[0].Serializer(); !strings.Contains(got, "V1") {
			t.Errorf("the server speaks %s", got)
		}
	})
}

// A trace shows every frame in and out.
func TestTrace(t *testing.T) {
	var mu sync.Mutex
	var frames []string
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{Trace: func(f phoenix.TraceFrame) {
			mu.Lock()
			defer mu.Unlock()
			way := "in"
			if f.Out {
				way = "out"
			}
			frames = append(frames, fmt.Sprintf("%s %s %s", way, f.Kind, f.Data))
		}})
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		join(t, conn, "room:1")
		if _, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.Binary([]byte("ab"))}); err != nil {
			t.Error(err)
		}
		srv.Conns()[0].SendPing("now")
		settle(time.Second)
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	want := []string{
		`out text ["1","1","room:1","phx_join",{}]`,
		`in text ["1","1","room:1","phx_reply",{"response":{},"status":"ok"}]`,
		"out binary \x00\x01\x01\x06\x0412room:1echoab",
		"in binary \x01\x01\x01\x06\x0212room:1okab",
		"in ping now",
		"out pong now",
		"out close 1000",
		"in close 1000",
	}
	if !slices.Equal(frames, want) {
		t.Errorf("frames %q\nwant   %q", frames, want)
	}
}

// A link that cannot be written to any more ends, also when reading from it would wait for ever, and its end says why.
func TestWriteFails(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var broken atomic.Bool
		_, events := start(t, srv, phoenix.Options{
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := srv.DialContext(ctx, network, addr)
				return &halfBroken{conn, &broken}, err
			},
		})
		log := record(t, events)
		settle(time.Second)
		broken.Store(true)
		settle(time.Minute)
		log.want(
			"0s connecting 1",
			"0s connected",
			"31s disconnected reset", // the heartbeat at 30 s found it; the server's last words had a second
		)
	})
}

// A halfBroken connection reads, and when broken is set its writes fail.
type halfBroken struct {
	net.Conn
	broken *atomic.Bool
}

func (h *halfBroken) Write(p []byte) (int, error) {
	if h.broken.Load() {
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	}
	return h.Conn.Write(p)
}

// A countedConn counts the bytes of a connection.
type countedConn struct {
	net.Conn
	read, written *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// echoing is an application whose channels answer with what they get.
func echoing(compress bool) phoenixtest.App {
	return socket(phoenixtest.UserSocket{Compress: compress, Channels: []phoenixtest.Route{
		phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
			OnIn: func(_ *phoenixtest.Socket, _ string, payload phoenixtest.Payload) phoenixtest.Result {
				return phoenixtest.OK(payload)
			},
		}),
	}})
}

// Compression makes frames smaller both ways where the server takes part, and changes nothing else; a trace shows what is in
// the frames.
func TestCompress(t *testing.T) {
	body := bytes.Repeat([]byte("compress me "), 1<<13)
	for name, c := range map[string]struct{ client, server, smaller bool }{
		"both":        {true, true, true},
		"server only": {false, true, false},
		"client only": {true, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, echoing(c.server), func(t *testing.T, srv *phoenixtest.Server) {
				var read, written, traced atomic.Int64
				conn, events := start(t, srv, phoenix.Options{
					Compress: c.client,
					NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
						nc, err := srv.DialContext(ctx, network, addr)
						return countedConn{nc, &read, &written}, err
					},
					Trace: func(f phoenix.TraceFrame) {
						if bytes.Contains(f.Data, body) {
							traced.Add(1)
						}
					},
				})
				record(t, events)
				join(t, conn, "room:a")
				for range 3 {
					r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:a", Name: "echo", Payload: phoenix.Binary(body)})
					if err != nil || !bytes.Equal(r.Payload.Data, body) {
						t.Fatalf("%d bytes, error %v", len(r.Payload.Data), err)
					}
				}
				limit := int64(3 * len(body) / 10)
				if (read.Load() < limit) != c.smaller || (written.Load() < limit) != c.smaller {
					t.Errorf("%d bytes read, %d written for %d", read.Load(), written.Load(), 3*len(body))
				}
				if traced.Load() != 6 {
					t.Errorf("%d frames of the trace show the payload, want 6", traced.Load())
				}
			})
		})
	}
}

// The limit is about what a message is, not what it is on the wire: a small frame that swells is cut, and never whole in memory.
func TestCompressedMessageTooBig(t *testing.T) {
	var read, written atomic.Int64
	var mu sync.Mutex
	var closes []string
	bubble(t, echoing(true), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{
			Compress: true, MaxMessage: 100_000,
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := srv.DialContext(ctx, network, addr)
				return countedConn{nc, &read, &written}, err
			},
			Trace: func(f phoenix.TraceFrame) {
				mu.Lock()
				defer mu.Unlock()
				if f.Kind == "close" && f.Out {
					closes = append(closes, string(f.Data))
				}
			},
		})
		log := record(t, events)
		settle(time.Second)
		log.forget()
		srv.Conns()[0].SendText(`[null,null,"room:1","bomb","` + strings.Repeat("x", 10<<20) + `"]`)
		settle(time.Second)
		log.want("1s disconnected message_too_big")
	})
	if len(closes) != 1 || closes[0] != "1009" {
		t.Errorf("close codes %q, want 1009", closes)
	}
	if read.Load() > 100_000 {
		t.Errorf("%d bytes read: the message was not compressed", read.Load())
	}
}

// A server that compresses as nobody offered is told from one that speaks no WebSocket.
func TestCompressionThatWasNotOffered(t *testing.T) {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		key := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", base64.StdEncoding.EncodeToString(key[:]))
	}))
	t.Cleanup(front.Close)
	_, err := firstConnected(t, startTCP(t, phoenix.Options{URL: front.URL + "/socket", Compress: true}))
	if !errors.Is(err, phoenix.ErrHandshake) || !strings.Contains(err.Error(), "not offered") {
		t.Errorf("error %v", err)
	}
}

// startProxy starts a proxy that is closed at the end of the test.
func startProxy(t *testing.T, start func(proxytest.Config) (*proxytest.Proxy, error), c proxytest.Config) *proxytest.Proxy {
	t.Helper()
	p, err := start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Through a proxy, the server's name is for the proxy to resolve, and TLS is between us and the server.
func TestProxy(t *testing.T) {
	plain := phoenixtest.NewServer(phoenixtest.Demo())
	t.Cleanup(plain.Close)
	_, secure, roots := tlsServer(t)
	for _, c := range []struct {
		name, url, target, proxy string
		start                    func(proxytest.Config) (*proxytest.Proxy, error)
		asked                    string
	}{
		{"HTTP", "ws://phoenix.test/socket", plain.URL, "http://", proxytest.Connect, "phoenix.test:80"},
		{"HTTP with a password", "ws://phoenix.test:4000/socket", plain.URL, "http://me:hunter2@", proxytest.Connect, "phoenix.test:4000"},
		{"HTTP and TLS", "wss://example.com/socket", secure, "http://", proxytest.Connect, "example.com:443"},
		{"SOCKS5", "ws://phoenix.test/socket", plain.URL, "socks5://", proxytest.SOCKS5, "phoenix.test:80"},
		{"SOCKS5 with a password", "ws://phoenix.test/socket", plain.URL, "socks5h://me:hunter2@", proxytest.SOCKS5, "phoenix.test:80"},
		{"SOCKS5 and TLS", "wss://example.com/socket", secure, "socks5://", proxytest.SOCKS5, "example.com:443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, err := url.Parse(c.target)
			if err != nil {
				t.Fatal(err)
			}
			config := proxytest.Config{Target: target.Host}
			if strings.Contains(c.proxy, "@") {
				config.User, config.Password = "me", "hunter2"
			}
			proxy := startProxy(t, c.start, config)
			conn := startTCP(t, phoenix.Options{
				URL: c.url, TLS: &tls.Config{RootCAs: roots}, Proxy: fixedProxy(t, c.proxy+proxy.Addr),
			})
			e, err := firstConnected(t, conn)
			if err != nil {
				t.Fatal(err)
			}
			if e.Timings.DNS != 0 || e.Timings.TCP <= 0 || e.Timings.Upgrade <= 0 {
				t.Errorf("stages %+v", e.Timings)
			}
			if asked := proxy.Asked(); len(asked) != 1 || asked[0] != c.asked {
				t.Errorf("the proxy was asked for %q, want %q", asked, c.asked)
			}
		})
	}
}

func fixedProxy(t *testing.T, text string) func(*http.Request) (*url.URL, error) {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return http.ProxyURL(u)
}

// A proxy that does not let us through is named, with what it said and without its password.
func TestProxyFailures(t *testing.T) {
	gone := startProxy(t, proxytest.Connect, proxytest.Config{})
	gone.Close()
	for _, c := range []struct {
		name, scheme string
		start        func(proxytest.Config) (*proxytest.Proxy, error)
		config       proxytest.Config
		stage        phoenix.Stage
		reason       phoenix.Reason
		status       int
	}{
		{"wrong password", "http", proxytest.Connect, proxytest.Config{User: "other"}, phoenix.StageProxy, phoenix.ReasonRefused, 407},
		{"bad gateway", "http", proxytest.Connect, proxytest.Config{Refuse: 502}, phoenix.StageProxy, phoenix.ReasonRefused, 502},
		{"silent", "http", proxytest.Connect, proxytest.Config{Silent: true}, phoenix.StageProxy, phoenix.ReasonTimeout, 0},
		{"SOCKS5, wrong password", "socks5", proxytest.SOCKS5, proxytest.Config{User: "other"}, phoenix.StageProxy, phoenix.ReasonUnreachable, 0},
		{"SOCKS5, host unreachable", "socks5", proxytest.SOCKS5, proxytest.Config{Refuse: 4}, phoenix.StageProxy, phoenix.ReasonUnreachable, 0},
		{"SOCKS5, silent", "socks5", proxytest.SOCKS5, proxytest.Config{Silent: true}, phoenix.StageProxy, phoenix.ReasonTimeout, 0},
		{"nobody listens", "http", nil, proxytest.Config{}, phoenix.StageTCP, phoenix.ReasonConnectRefused, 0},
		{"nobody listens at SOCKS5", "socks5", nil, proxytest.Config{}, phoenix.StageTCP, phoenix.ReasonConnectRefused, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			proxy := gone
			if c.start != nil {
				proxy = startProxy(t, c.start, c.config)
			}
			timeout := time.Minute
			if c.config.Silent {
				timeout = 50 * time.Millisecond
			}
			conn := startTCP(t, phoenix.Options{
				URL: "ws://phoenix.test/socket?token=hunter2", ConnectTimeout: timeout, Proxy: fixedProxy(t, c.scheme+"://me:hunter2@"+proxy.Addr),
			})
			_, err := firstConnected(t, conn)
			var link *phoenix.LinkError
			if !errors.As(err, &link) || link.Stage != c.stage || link.Reason != c.reason || link.HTTPStatus != c.status {
				t.Fatalf("error %v, want %s at stage %s, status %d", err, c.reason, c.stage, c.status)
			}
			if want := c.scheme + "://" + proxy.Addr; link.Proxy != want || !strings.Contains(err.Error(), "proxy "+want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q, want %q named in it", err, want)
			}
		})
	}
}

// A proxy that cannot be used is an error that does not show it.
func TestUnusableProxy(t *testing.T) {
	for name, proxy := range map[string]func(*http.Request) (*url.URL, error){
		"unreadable":     func(*http.Request) (*url.URL, error) { return nil, errors.New("bad address http://me:hunter2@proxy") },
		"another scheme": fixedProxy(t, "ftp://me:hunter2@proxy.test"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := firstConnected(t, startTCP(t, phoenix.Options{URL: "ws://phoenix.test/socket", Proxy: proxy}))
			var link *phoenix.LinkError
			if !errors.As(err, &link) || link.Stage != phoenix.StageProxy || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// What decides about proxies sees the URL as http or https, and without its query, which may hold secrets.
func TestProxyIsAskedWithoutSecrets(t *testing.T) {
	for address, want := range map[string]string{
		"ws://me:hunter2@phoenix.test/socket?token=hunter2": "http://phoenix.test/socket/websocket",
		"wss://phoenix.test/socket?token=hunter2":           "https://phoenix.test/socket/websocket",
	} {
		var got string
		conn := startTCP(t, phoenix.Options{URL: address, Proxy: func(r *http.Request) (*url.URL, error) {
			got = r.URL.String()
			return nil, io.ErrUnexpectedEOF
		}})
		if _, err := firstConnected(t, conn); err == nil || got != want {
			t.Errorf("asked for %s, want %s; error %v", got, want, err)
		}
	}
}

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
