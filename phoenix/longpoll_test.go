package phoenix_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
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
)

// A session by long poll is one like any other. At its end its channels are left, because nothing else tells the server.
func TestLongPoll(t *testing.T) {
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		t.Run(vsn, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				conn, events := start(t, srv, phoenix.Options{Transport: phoenix.TransportLongPoll, VSN: vsn})
				log := record(t, events)
				join(t, conn, "room:lobby")
				r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:lobby", Name: "echo", Payload: phoenix.JSON("{\"a\":\n1.0,\"b\":\"é\\\"\\u0001\"}")})
				if err != nil || r.Status != "ok" || string(r.Payload.Data) != `{"a":1.0,"b":"é\"\u0001"}` {
					t.Fatalf("reply %+v, error %v", r, err)
				}
				settle(2500 * time.Millisecond)
				if got := srv.Subscribers("room:lobby"); got != 1 {
					t.Errorf("%d subscribers", got)
				}
				if rtt, err := conn.Heartbeat(t.Context()); err != nil || rtt != 0 {
					t.Errorf("heartbeat %v, %v", rtt, err)
				}
				if err := conn.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				settle(0)
				if got := srv.Subscribers("room:lobby"); got != 0 {
					t.Errorf("%d subscribers behind the close", got)
				}
				if got := details[*phoenix.Connected](log)[0].Transport; got != phoenix.TransportLongPoll {
					t.Errorf("transport %q", got)
				}
				log.want(
					"0s connecting 1",
					"0s connected",
					"0s room:lobby joining 1",
					"0s room:lobby joined {}",
					`0s push 0 ok {"a":1.0,"b":"é\"\u0001"}`,
					`1s room:lobby tick {"n":1}`,
					`2s room:lobby tick {"n":2}`,
					"2.5s disconnected closed_by_us",
					"2.5s room:lobby errored disconnected",
				)
			})
		})
	}
}

// A front is a server of HTTP before a Phoenix server: it notes the requests for long poll, and may answer in its place.
type front struct {
	*httptest.Server
	mu       sync.Mutex
	requests []frontRequest
	// busy and most are how many requests of a method are and were under way at once.
	busy, most map[string]int
	// answer may answer a request itself, and reports whether it has.
	answer func(w http.ResponseWriter, r *http.Request, n int) bool
}

// A frontRequest is a request that a front has had.
type frontRequest struct {
	method, contentType, query, token, cookie, auth, body string
}

func newFront(t *testing.T, srv *phoenixtest.Server, answer func(w http.ResponseWriter, r *http.Request, n int) bool) *front {
	t.Helper()
	f := &front{busy: map[string]int{}, most: map[string]int{}, answer: answer}
	f.Server = httptest.NewServer(f.handler(srv))
	t.Cleanup(f.Close)
	return f
}

func (f *front) handler(srv http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.mu.Lock()
		f.requests = append(f.requests, frontRequest{
			r.Method, r.Header.Get("Content-Type"), r.URL.RawQuery, r.Header.Get("X-Phoenix-Longpoll-Token"), r.Header.Get("Cookie"),
			r.Header.Get("X-Phoenix-Authtoken"), string(body),
		})
		n := len(f.requests)
		f.busy[r.Method]++
		f.most[r.Method] = max(f.most[r.Method], f.busy[r.Method])
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			f.busy[r.Method]--
			f.mu.Unlock()
		}()
		if f.answer == nil || !f.answer(w, r, n) {
			srv.ServeHTTP(w, r)
		}
	})
}

// seen returns the requests so far.
func (f *front) seen() []frontRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// dialFront opens a session through a front.
func dialFront(t *testing.T, f *front, o phoenix.Options) *phoenix.Conn {
	t.Helper()
	o.URL, o.Transport = f.URL+"/socket", phoenix.TransportLongPoll
	conn, err := phoenix.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	if err := conn.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return conn
}

// What goes by POST goes in batches that Phoenix takes whole: at most 100 lines, of exactly that type, without an empty line at the end;
// one at a time, as are the polls. With vsn 1.0.0 each message goes alone.
func TestLongPollBatches(t *testing.T) {
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		t.Run(vsn, func(t *testing.T) {
			srv := phoenixtest.NewServer(phoenixtest.Demo())
			defer srv.Close()
			f := newFront(t, srv, nil)
			conn := dialFront(t, f, phoenix.Options{VSN: vsn})
			join(t, conn, "room:1")
			const pushes = 350
			var all sync.WaitGroup
			for range pushes {
				all.Go(func() {
					if r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON("{\"a\":\n1}")}); err != nil || r.Status != "ok" {
						t.Errorf("%+v, %v", r, err)
					}
				})
			}
			all.Wait()
			_ = conn.Close(t.Context())
			messages := 0
			for _, r := range f.seen() {
				if r.method != http.MethodPost {
					continue
				}
				lines := strings.Split(r.body, "\n")
				messages += len(lines)
				switch {
				case slices.Contains(lines, ""):
					t.Errorf("an empty line in %q", r.body)
				case len(lines) == 1 && r.contentType != "application/json":
					t.Errorf("one message goes as %q", r.contentType)
				case len(lines) > 1 && (r.contentType != "application/x-ndjson" || vsn == "1.0.0" || len(lines) > 100):
					t.Errorf("%d messages go as %q", len(lines), r.contentType)
				case len(lines) > 1 && strings.Contains(r.body, "phx_join"):
					t.Errorf("a join goes with others: %q", r.body)
				}
			}
			if want := 1 + pushes + 1; messages != want { // a join, and the leave of the close
				t.Errorf("%d messages, want %d", messages, want)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.most[http.MethodPost] != 1 || f.most[http.MethodGet] != 1 {
				t.Errorf("at once: %v", f.most)
			}
		})
	}
}

// The session's token goes as a header, which newer servers look at, and as the last parameter, which older ones do, beside a param of
// connect/3 with the same name. The auth token goes with the first request, cookies that the server sets with each that follows.
func TestLongPollRequests(t *testing.T) {
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	f := newFront(t, srv, func(w http.ResponseWriter, r *http.Request, n int) bool {
		r.Header.Del("X-Phoenix-Longpoll-Token") // as a server that knows nothing of it
		if n == 1 {
			http.SetCookie(w, &http.Cookie{Name: "node", Value: "sticky-1", Path: "/"})
		}
		return false
	})
	conn := dialFront(t, f, phoenix.Options{Credentials: func(context.Context) (phoenix.Credentials, error) {
		return phoenix.Credentials{
			Params: url.Values{"token": {"mine"}}, AuthToken: "s3cret é", HasAuthToken: true,
			Header: http.Header{"Cookie": {"a=1; node=old"}},
		}, nil
	}})
	join(t, conn, "room:1")
	_ = conn.Close(t.Context())
	requests := f.seen()
	if first := requests[0]; first.query != "token=mine&vsn=2.0.0" || first.token != "" || first.auth != "s3cret é" || first.cookie != "a=1; node=old" {
		t.Errorf("first %+v", first)
	}
	for _, r := range requests[1:] {
		if r.token == "" || r.query != "token=mine&vsn=2.0.0&token="+url.QueryEscape(r.token) || r.auth != "" || r.cookie != "a=1; node=sticky-1" {
			t.Errorf("then %+v", r)
		}
	}
}

// What a poll is answered with in place of messages ends the session, and is told. Messages that were lost by it are in the gap.
func TestLongPollBadAnswers(t *testing.T) {
	status := func(status int, body string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   string
	}{
		"binary":  {status(500, "oops"), "disconnected closed_by_remote"},
		"gateway": {status(502, "bad gateway"), "disconnected closed_by_remote 502: HTTP status 502: bad gateway"},
		"gateway, compressed": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(502)
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, "bad gateway")
			_ = z.Close()
		}, "disconnected closed_by_remote 502: HTTP status 502: bad gateway"},
		"gone":    {status(200, `{"status":410,"token":"new","messages":[]}`), "disconnected closed_by_remote"},
		"refused": {status(200, `{"status":403}`), "disconnected closed_by_remote"},
		"other":   {status(200, `{"status":418}`), "disconnected protocol_error"},
		"no JSON": {status(200, "<html>"), "disconnected protocol_error"},
		"cut off": {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "disconnected eof"},
		"half an answer": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"messages":["[null,null,\"room:1\",\"half\",{}]","[nul`)
		}, "disconnected eof"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := phoenixtest.NewServer(phoenixtest.Demo())
			defer srv.Close()
			var bad atomic.Bool
			f := newFront(t, srv, func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.Method != http.MethodGet || !bad.CompareAndSwap(true, false) {
					return false
				}
				test.answer(w)
				return true
			})
			o := phoenix.Options{URL: f.URL + "/socket", Transport: phoenix.TransportLongPoll, MaxRetries: -1, ReconnectAfter: phoenix.Steps(0), Channels: topics("room:1")}
			conn, err := phoenix.New(o)
			if err != nil {
				t.Fatal(err)
			}
			events := conn.Events()
			defer func() { _ = conn.Close(context.Background()) }()
			go func() { _ = conn.Serve(context.Background()) }()
			var lines []string
			for e := range events.All(t.Context()) {
				line := tell(e)
				if d, ok := e.Detail.(*phoenix.Disconnected); ok {
					line += ": " + d.Text
				}
				lines = append(lines, line)
				if j, ok := e.Detail.(*phoenix.Joined); ok && !j.Rejoin {
					bad.Store(true)
					srv.Broadcast("room:1", "wakes", nil) // the poll that is under way
				} else if ok {
					if j.Gap <= 0 {
						t.Errorf("gap %v", j.Gap)
					}
					break
				}
			}
			if !slices.Contains(lines, test.want) && !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, test.want) }) {
				t.Errorf("got %q, want %s", lines, test.want)
			}
		})
	}
}

// The token of the session, and cookies that are still sent, stay secrets when the server sets another cookie with each answer.
func TestLongPollSecretsStay(t *testing.T) {
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	var bad atomic.Bool
	f := newFront(t, srv, func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			http.SetCookie(w, &http.Cookie{Name: "node", Value: "sticky-cookie", Path: "/"})
		}
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: fmt.Sprintf("request-%04d", n), Path: "/"})
		if !bad.Load() {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		_, _ = fmt.Fprintf(w, "upstream: %s, token %s, %s", r.Method, r.Header.Get("X-Phoenix-Longpoll-Token"), r.Header.Get("Cookie"))
		return true
	})
	conn := dialFront(t, f, phoenix.Options{})
	join(t, conn, "room:1")
	events := conn.Events()
	const pushes = 40
	for range pushes {
		if _, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	bad.Store(true)
	send(t, conn, phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON("{}")})
	for e := range events.All(t.Context()) {
		if d, ok := e.Detail.(*phoenix.Disconnected); ok {
			if d.HTTPStatus != http.StatusBadGateway || !strings.HasSuffix(d.Text, ", token ..., node=...; seen=...") {
				t.Errorf("status %d, %q", d.HTTPStatus, d.Text)
			}
			return
		}
	}
}

// What a proxy says to a dial within a session is told without the password of that proxy.
func TestLongPollProxySecret(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var dials atomic.Int32
		_, events := start(t, srv, phoenix.Options{
			Transport: phoenix.TransportLongPoll, Channels: topics("room:1"),
			Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://me:hunter2@proxy.test:3128") },
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := srv.DialContext(ctx, network, addr)
				return &echoingProxy{Conn: nc, refuses: dials.Add(1) == postDial}, err
			},
		})
		log := record(t, events)
		settle(2 * time.Second)
		lost := details[*phoenix.Disconnected](log)
		if len(lost) != 1 || !strings.Contains(lost[0].Text, `"Proxy-Authorization Basic ..."`) {
			for _, d := range lost {
				t.Errorf("lost: %s", d.Text)
			}
			t.Errorf("got %q", log.take())
		}
	})
}

// An echoingProxy is a network connection to a proxy. It makes a tunnel, or refuses with a header that is none and has the credentials.
type echoingProxy struct {
	net.Conn
	refuses bool
	answer  []byte
}

func (c *echoingProxy) Buffered() int {
	return len(c.answer) + c.Conn.(interface{ Buffered() int }).Buffered()
}

func (c *echoingProxy) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(p, []byte("CONNECT ")) {
		return c.Conn.Write(p)
	}
	c.answer = []byte("HTTP/1.1 200 OK\r\n\r\n")
	if c.refuses {
		_, authorization, _ := strings.Cut(string(p), "Proxy-Authorization:")
		c.answer = []byte("HTTP/1.1 502 Bad Gateway\r\nProxy-Authorization" + authorization)
	}
	return len(p), nil
}

func (c *echoingProxy) Read(p []byte) (int, error) {
	if len(c.answer) > 0 {
		n := copy(p, c.answer)
		c.answer = c.answer[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// A session that has to dial anew, and gets no answer to that, is given up as soon as one that waits for the answer to a request.
func TestLongPollGivesUpDials(t *testing.T) {
	echo := phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON("{}")}
	for name, test := range map[string]struct {
		// stale is the connection that cannot be used again, broken the one over which nothing can be written any more.
		stale, broken int
		end           func(t *testing.T, srv *phoenixtest.Server, conn *phoenix.Conn)
		want          string
	}{
		"close":      {pollDial, 0, func(t *testing.T, _ *phoenixtest.Server, conn *phoenix.Conn) { _ = conn.Close(t.Context()) }, "1s disconnected closed_by_us"},
		"lost poll":  {postDial, 0, func(_ *testing.T, srv *phoenixtest.Server, _ *phoenix.Conn) { srv.DropConns() }, "1.5s disconnected eof"},
		"lost write": {pollDial, postDial, func(t *testing.T, _ *phoenixtest.Server, conn *phoenix.Conn) { send(t, conn, echo) }, "2s disconnected reset"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				var dials, stale, broken atomic.Int32
				conn, events := start(t, srv, phoenix.Options{
					Transport: phoenix.TransportLongPoll, Channels: topics("room:1"),
					NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
						n := dials.Add(1)
						if n > postDial {
							<-ctx.Done()
							return nil, ctx.Err()
						}
						nc, err := srv.DialContext(ctx, network, addr)
						return &failingConn{nc, n, &stale, &broken}, err
					},
				})
				log := record(t, events)
				settle(time.Second / 2)
				stale.Store(int32(test.stale))
				if send(t, conn, echo); test.stale == pollDial {
					srv.Broadcast("room:1", "wakes", nil) // the poll that is under way
				}
				settle(time.Second / 2)
				broken.Store(int32(test.broken))
				test.end(t, srv, conn)
				settle(5 * time.Second)
				if got := log.take(); !slices.Contains(got, test.want) {
					t.Errorf("got %q, want %s", got, test.want)
				}
			})
		})
	}
}

// The dials of a long poll session that begins with a join.
const (
	pollDial = 1
	postDial = 2
)

// A failingConn is a network connection that is not fresh when it is the stale one, and takes nothing when it is the broken one.
type failingConn struct {
	net.Conn
	number        int32
	stale, broken *atomic.Int32
}

func (c *failingConn) Buffered() int {
	if c.stale.Load() == c.number {
		return 1
	}
	return c.Conn.(interface{ Buffered() int }).Buffered()
}

func (c *failingConn) Write(p []byte) (int, error) {
	if c.broken.Load() == c.number {
		return 0, syscall.ECONNRESET
	}
	return c.Conn.Write(p)
}

// An auto connection for which no WebSocket passes stays with long poll for an hour, and then tries again. It says so once.
func TestAutoTriesAgainAfterAnHour(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var tried atomic.Int32
		var passes atomic.Bool
		var logged bytes.Buffer
		o := phoenix.Options{
			Transport: phoenix.TransportAuto, MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Second), Channels: topics("room:1"),
			Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		}
		o.NetDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := srv.DialContext(ctx, network, addr)
			return &noUpgrade{Conn: nc, tried: &tried, passes: &passes}, err
		}
		_, events := start(t, srv, o)
		log := record(t, events)
		transports := func(want ...phoenix.Transport) {
			t.Helper()
			settle(5 * time.Second)
			var got []phoenix.Transport
			for _, c := range details[*phoenix.Connected](log) {
				got = append(got, c.Transport)
			}
			if log.forget(); !slices.Equal(got, want) {
				t.Errorf("connected by %q, want %q", got, want)
			}
		}
		transports(phoenix.TransportLongPoll)
		srv.DropConns()
		transports(phoenix.TransportLongPoll)
		if got := tried.Load(); got != 1 {
			t.Errorf("%d tries within the hour", got)
		}
		time.Sleep(time.Hour)
		srv.DropConns()
		transports(phoenix.TransportLongPoll)
		if got := tried.Load(); got != 2 {
			t.Errorf("%d tries behind the hour", got)
		}
		time.Sleep(time.Hour)
		passes.Store(true)
		srv.DropConns()
		transports(phoenix.TransportWebSocket)
		if got := strings.Count(logged.String(), "a WebSocket does not pass"); got != 1 {
			t.Errorf("said %d times:\n%s", got, &logged)
		}
		if got := strings.Count(logged.String(), "a WebSocket passes again"); got != 1 {
			t.Errorf("said again %d times:\n%s", got, &logged)
		}
	})
}

// A noUpgrade is a network connection over which an upgrade is answered with 501, unless it passes.
type noUpgrade struct {
	net.Conn
	tried   *atomic.Int32
	passes  *atomic.Bool
	refused []byte
}

func (c *noUpgrade) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("Upgrade: websocket")) {
		c.tried.Add(1)
		if !c.passes.Load() {
			c.refused = []byte("HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n")
			return len(p), nil
		}
	}
	return c.Conn.Write(p)
}

func (c *noUpgrade) Read(p []byte) (int, error) {
	if len(c.refused) > 0 {
		n := copy(p, c.refused)
		c.refused = c.refused[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// A heldConn holds the next poll that is written back for some time, once it is told to: the process may have been stopped there. What is
// written then is a moment on its way.
type heldConn struct {
	net.Conn
	hold *atomic.Int64 // a time.Duration; 0: nothing is held
}

func (c *heldConn) Write(b []byte) (int, error) {
	hold := time.Duration(c.hold.Load())
	if hold == 0 || !bytes.HasPrefix(b, []byte("GET ")) {
		return c.Conn.Write(b)
	}
	c.hold.Store(0)
	time.Sleep(hold)
	time.AfterFunc(100*time.Millisecond, func() { _, _ = c.Conn.Write(b) })
	return len(b), nil
}

// An answer that has come to its timeout at the server, while a poll was about to be written, counts: how long there is no answer to the
// poll is counted from its end.
func TestLongPollSentLate(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var hold atomic.Int64
		conn, events := start(t, srv, phoenix.Options{
			Transport: phoenix.TransportLongPoll,
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := srv.DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &heldConn{Conn: c, hold: &hold}, nil
			},
		})
		log := record(t, events)
		join(t, conn, "room:lobby")
		settle(0)
		hold.Store(int64(5 * time.Second))
		send(t, conn, phoenix.Push{Topic: "room:lobby", Name: "slow", Payload: phoenix.JSON(`{"ms":900}`), Timeout: 1500 * time.Millisecond, Index: 0})
		send(t, conn, phoenix.Push{Topic: "room:lobby", Name: "echo", Payload: phoenix.JSON(`{}`), Timeout: 1500 * time.Millisecond, Index: 1})
		settle(10 * time.Second)
		got := log.take()
		for _, want := range []string{"push 0 ok", "push 1 ok"} {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, want) }) {
				t.Errorf("no %q in\n\t%s", want, strings.Join(got, "\n\t"))
			}
		}
	})
}
