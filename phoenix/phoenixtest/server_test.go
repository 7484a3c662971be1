package phoenixtest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

// A client is a WebSocket client of a test.
type client struct {
	t  testing.TB
	ws *websocket.Conn
}

// dial connects to the server's first socket with vsn 2.0.0.
func dial(t testing.TB, srv *phoenixtest.Server) *client {
	t.Helper()
	return dialURL(t, srv, srv.URL+"/websocket?vsn=2.0.0", nil)
}

func dialURL(t testing.TB, srv *phoenixtest.Server, url string, header http.Header) *client {
	t.Helper()
	dialer := websocket.Dialer{NetDialContext: srv.DialContext}
	ws, _, err := dialer.Dial(url, header)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return &client{t, ws}
}

// dialRefused connects and wants an HTTP status instead of a socket.
func dialRefused(t testing.TB, srv *phoenixtest.Server, url string, header http.Header) *http.Response {
	t.Helper()
	dialer := websocket.Dialer{NetDialContext: srv.DialContext}
	ws, res, err := dialer.Dial(url, header)
	if err == nil {
		ws.Close()
		t.Fatal("connected")
	}
	if res == nil {
		t.Fatal(err)
	}
	return res
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// want reads one message for each of texts.
func (c *client) want(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if got := c.read(); got != text {
			c.t.Fatalf("got  %s\nwant %s", got, text)
		}
	}
}

func (c *client) read() string {
	c.t.Helper()
	_, data, err := c.ws.ReadMessage()
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

// ask sends and wants.
func (c *client) ask(text string, answers ...string) {
	c.t.Helper()
	c.send(text)
	c.want(answers...)
}

// join joins with join_ref and ref "1".
func (c *client) join(topic string) {
	c.t.Helper()
	c.ask(`["1","1","`+topic+`","phx_join",{}]`, `["1","1","`+topic+`","phx_reply",{"response":{},"status":"ok"}]`)
}

// wantEnd reads until the connection ends, and wants this close code; 1006: none.
func (c *client) wantEnd(code int) {
	c.t.Helper()
	_, data, err := c.ws.ReadMessage()
	if err == nil {
		c.t.Fatalf("got %s, want the end", data)
	}
	if !websocket.IsCloseError(err, code) && (code != websocket.CloseAbnormalClosure || isCloseError(err)) {
		c.t.Fatalf("got %v, want close code %d", err, code)
	}
}

func isCloseError(err error) bool {
	_, ok := err.(*websocket.CloseError)
	return ok
}

// rooms is an application with one kind of channel.
func rooms(funcs phoenixtest.ChannelFuncs) phoenixtest.App {
	return socket(phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", funcs)}})
}

// socket is an application with one socket.
func socket(sock phoenixtest.UserSocket) phoenixtest.App {
	return func(s *phoenixtest.Server) { s.Mount("/socket", sock) }
}

const heartbeat = `[null,"1","phoenix","heartbeat",{}]`
const heartbeatReply = `[null,"1","phoenix","phx_reply",{"response":{},"status":"ok"}]`

func TestStopDrainsAndStartBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		c := dial(t, srv)
		go srv.Stop()
		c.wantEnd(websocket.CloseServiceRestart)
		synctest.Wait()
		if _, err := srv.DialContext(t.Context(), "tcp", "x"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial of a stopped server: %v", err)
		}
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		dial(t, srv).ask(heartbeat, heartbeatReply)
		if got := srv.Stats(); got.Connects != 2 || got.Open != 1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestStartOnTheSameTCPAddress(t *testing.T) {
	t.Parallel()
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	url := srv.URL
	for range 3 {
		srv.Stop()
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		dialURL(t, srv, url+"/websocket?vsn=2.0.0", nil).ask(heartbeat, heartbeatReply)
	}
}

func TestStopCutsWhoDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		dial(t, srv) // never reads, never hangs up
		dial(t, srv)
		srv.Conns()[1].Stall()
		start := time.Now()
		srv.Close()
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

func TestStopListening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		c := dial(t, srv)
		srv.StopListening()
		if _, err := srv.DialContext(t.Context(), "tcp", "x"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v", err)
		}
		c.ask(heartbeat, heartbeatReply)
	})
}

func TestEndsOfALink(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*phoenixtest.Server)
		code int
	}{
		"close":      {func(s *phoenixtest.Server) { s.CloseConns(4001) }, 4001},
		"drop":       {(*phoenixtest.Server).DropConns, websocket.CloseAbnormalClosure},
		"reset":      {(*phoenixtest.Server).ResetConns, websocket.CloseAbnormalClosure},
		"crash":      {func(s *phoenixtest.Server) { s.Conns()[0].Crash() }, websocket.CloseInternalServerErr},
		"disconnect": {func(s *phoenixtest.Server) { s.Disconnect("me") }, websocket.CloseGoingAway},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := phoenixtest.NewPipeServer(socket(phoenixtest.UserSocket{
					ID: func(*phoenixtest.ConnectInfo) string { return "me" },
				}))
				defer srv.Close()
				c := dial(t, srv)
				c.ask(heartbeat, heartbeatReply)
				test.end(srv)
				c.wantEnd(test.code)
			})
		})
	}
}

func TestResetIsAReset(t *testing.T) {
	for name, srv := range map[string]*phoenixtest.Server{
		"pipe": phoenixtest.NewPipeServer(phoenixtest.Demo()),
		"tcp":  phoenixtest.NewServer(phoenixtest.Demo()),
	} {
		t.Run(name, func(t *testing.T) {
			defer srv.Close()
			c := dial(t, srv)
			srv.ResetConns()
			if _, _, err := c.ws.ReadMessage(); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v, want a reset", err)
			}
		})
	}
}

func TestBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		c := dial(t, srv)
		c.join("room:lobby")
		srv.BlackHole()
		const more = 300 // times 4 KiB: far over what fits into the buffers
		for range more {
			c.send(`["1","2","room:lobby","echo","` + strings.Repeat("x", 4096) + `"]`)
		}
		_ = c.ws.SetReadDeadline(time.Now().Add(time.Hour)) // cannot fail
		_, data, err := c.ws.ReadMessage()
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %s, %v from a black hole", data, err)
		}
		if n := srv.Subscribers("room:lobby"); n != 1 {
			t.Errorf("%d subscribers: the server must not know", n)
		}
		c.ws.Close()
		synctest.Wait()
		if n := srv.Stats().Open; n != 0 {
			t.Errorf("%d connections open after the client hung up", n)
		}
	})
}

func TestStallBlocksTheClientsWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		c := dial(t, srv)
		srv.Conns()[0].Stall()
		_ = c.ws.SetWriteDeadline(time.Now().Add(time.Second)) // cannot fail
		var err error
		for err == nil {
			err = c.ws.WriteMessage(websocket.TextMessage, make([]byte, 4096))
		}
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %v, want a timeout", err)
		}
	})
}

func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		srv.Refuse(&phoenixtest.Refusal{Status: 503, Header: http.Header{"Retry-After": {"7"}}})
		res := dialRefused(t, srv, srv.URL+"/websocket", nil)
		if res.StatusCode != 503 || res.Header.Get("Retry-After") != "7" {
			t.Errorf("got %v", res)
		}
		srv.Refuse(nil)
		dial(t, srv)
		if got := srv.Stats(); got.Attempts != 2 || got.Refused != 1 || got.Connects != 1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		joined := make(chan error, 1)
		go func() {
			joined <- srv.Await(t.Context(), func(s phoenixtest.Stats) bool { return s.Joined == 1 && s.Heartbeats == 1 })
		}()
		c := dial(t, srv)
		c.ask(heartbeat, heartbeatReply)
		c.ask(`["1","1","room:private","phx_join",{}]`,
			`["1","1","room:private","phx_reply",{"response":{"reason":"unauthorized"},"status":"error"}]`)
		c.join("room:1")
		if err := <-joined; err != nil {
			t.Error(err)
		}
		if got := srv.Stats().Joins; got != 2 {
			t.Errorf("%d joins, want 2", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := srv.Await(ctx, func(phoenixtest.Stats) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSendWhateverOneLikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		c := dial(t, srv)
		conn := srv.Conns()[0]
		pings := make(chan string, 1)
		c.ws.SetPingHandler(func(data string) error { pings <- data; return nil })
		conn.SendText("not a message")
		conn.SendBinary([]byte("\x00\xff"))
		conn.SendPing("hello")
		conn.SendRaw([]byte("\x81\x03raw"))
		c.want("not a message", "\x00\xff", "raw")
		if got := <-pings; got != "hello" {
			t.Errorf("ping %q", got)
		}
	})
}

func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frames := make(chan string, 2)
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo(), phoenixtest.WithTap(func(f phoenixtest.Frame) {
			if f.Opcode == websocket.TextMessage {
				frames <- map[bool]string{true: "> ", false: "< "}[f.FromClient] + string(f.Data)
			}
		}))
		defer srv.Close()
		dial(t, srv).ask(heartbeat, heartbeatReply)
		if in, out := <-frames, <-frames; in != "> "+heartbeat || out != "< "+heartbeatReply {
			t.Errorf("%s\n%s", in, out)
		}
	})
}

func TestWhatAJoinMayDo(t *testing.T) {
	pushTooEarly := func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
		s.Push("too early", nil)
		return nil, nil
	}
	fail := func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) {
		return nil, errors.New("database is down")
	}
	refuse := func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) {
		return nil, phoenixtest.RefuseJoin([]int{1})
	}
	for name, test := range map[string]struct {
		join func(*phoenixtest.Socket, phoenixtest.Payload) (any, error)
		want string
	}{
		"accept":             {nil, `{"response":{},"status":"ok"}`},
		"refuse":             {refuse, `{"response":[1],"status":"error"}`},
		"fail":               {fail, `{"response":{"reason":"join crashed"},"status":"error"}`},
		"push before it has": {pushTooEarly, `{"response":{"reason":"join crashed"},"status":"error"}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := phoenixtest.NewPipeServer(rooms(phoenixtest.ChannelFuncs{OnJoin: test.join}))
				defer srv.Close()
				dial(t, srv).ask(`["1","1","room:1","phx_join",{}]`, `["1","1","room:1","phx_reply",`+test.want+`]`)
			})
		})
	}
}

func TestChannelWithoutClausesCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(rooms(phoenixtest.ChannelFuncs{
			OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
				if s.Topic() == "room:info" {
					s.Send("unhandled")
				}
				return nil, nil
			},
		}))
		defer srv.Close()
		c := dial(t, srv)
		c.join("room:info")
		c.want(`["1","1","room:info","phx_error",{"reason":"channel_crash"}]`)
		c.join("room:in")
		c.ask(`["1","2","room:in","x",{}]`, `["1","1","room:in","phx_error",{"reason":"channel_crash"}]`)
	})
}

// TestASocketKeptByATest speaks through the Socket of a callback from outside.
func TestASocketKeptByATest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sockets := make(chan *phoenixtest.Socket, 1)
		refs := make(chan phoenixtest.Ref, 1)
		srv := phoenixtest.NewPipeServer(rooms(phoenixtest.ChannelFuncs{
			OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
				sockets <- s
				return nil, nil
			},
			OnIn: func(s *phoenixtest.Socket, _ string, _ phoenixtest.Payload) phoenixtest.Result {
				refs <- s.Ref()
				return phoenixtest.NoReply()
			},
			OnInfo: func(_ *phoenixtest.Socket, msg any) phoenixtest.Result { return phoenixtest.Stop(msg.(string)) },
		}))
		defer srv.Close()
		c := dial(t, srv)
		c.join("room:1")
		s := <-sockets
		s.Push("hello", phoenixtest.Map{"<": ">"})
		c.want(`["1",null,"room:1","hello",{"<":">"}]`)
		c.send(`["1","2","room:1","question",{}]`)
		s.Reply(<-refs, "maybe", nil)
		c.want(`["1","2","room:1","phx_reply",{"response":{},"status":"maybe"}]`)
		s.Send("shutdown")
		c.want(`["1","1","room:1","phx_close",{}]`)
	})
}

func TestTheEndOfASocketWakesSleepers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sleep := func(s *phoenixtest.Socket) { s.Sleep(time.Hour) }
		srv := phoenixtest.NewPipeServer(rooms(phoenixtest.ChannelFuncs{
			OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
				if s.Topic() == "room:slow" {
					sleep(s)
				}
				return nil, nil
			},
			OnIn: func(s *phoenixtest.Socket, event string, _ phoenixtest.Payload) phoenixtest.Result {
				if event == "wait" {
					s.Wait(nil)
				}
				sleep(s)
				return phoenixtest.NoReply()
			},
		}))
		start := time.Now()
		c := dial(t, srv)
		c.join("room:1")
		c.send(`["1","2","room:1","sleep",{}]`)
		c.ask(`["2","2","room:1","phx_join",{}]`, `["2","2","room:1","phx_reply",{"response":{},"status":"ok"}]`,
			`["1","1","room:1","phx_close",{}]`)
		c.send(`["2","3","room:1","wait",{}]`)
		c.send(`["3","3","room:slow","phx_join",{}]`)
		synctest.Wait()
		srv.Close()
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestUntrack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(peer.App())
		defer srv.Close()
		c := dial(t, srv)
		c.ask(`["1","1","presence:x","phx_join",{"user":"ann","meta":{"a":1}}]`,
			`["1","1","presence:x","phx_reply",{"response":{},"status":"ok"}]`,
			`[null,null,"presence:x","presence_diff",{"joins":{"ann":{"metas":[{"a":1,"phx_ref":"AAAAAAAAAAAAAAAB","status":"online"}]}},"leaves":{}}]`,
			`["1",null,"presence:x","presence_state",{"ann":{"metas":[{"a":1,"phx_ref":"AAAAAAAAAAAAAAAB","status":"online"}]}}]`)
		c.ask(`["1","2","presence:x","untrack",{}]`, `["1","2","presence:x","phx_reply",{"response":{},"status":"ok"}]`,
			`[null,null,"presence:x","presence_diff",{"joins":{},"leaves":{"ann":{"metas":[{"a":1,"phx_ref":"AAAAAAAAAAAAAAAB","status":"online"}]}}}]`)
		c.ask(`["1","3","presence:x","untrack",{}]`, `["1","3","presence:x","phx_reply",{"response":{},"status":"ok"}]`)
		c.ask(`["1","4","presence:x","update_meta",{}]`, `["1","1","presence:x","phx_error",{"reason":"channel_crash"}]`)
	})
}

func TestFloodIsComplete(t *testing.T) {
	srv := phoenixtest.NewServer(peer.App())
	defer srv.Close()
	for _, event := range []string{"flood", "flood_broadcast"} {
		c := dial(t, srv)
		c.join("room:" + event)
		const n = 20_000
		c.ask(fmt.Sprintf(`["1","2","room:%s","%s",{"n":%d,"size":3}]`, event, event, n),
			fmt.Sprintf(`["1","2","room:%s","phx_reply",{"response":{},"status":"ok"}]`, event))
		for seq := 1; seq <= n; seq++ {
			if got, want := c.read(), fmt.Sprintf(`"flood_msg",{"data":"xxx","seq":%d}]`, seq); !strings.HasSuffix(got, want) {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
		if got := c.read(); !strings.HasSuffix(got, fmt.Sprintf(`"flood_done",{"n":%d}]`, n)) {
			t.Errorf("got %s at the end", got)
		}
	}
}

func TestNoIdleTimeoutAndNoChannelLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(socket(phoenixtest.UserSocket{
			IdleTimeout: -1,
			MaxChannels: -1,
			Channels:    []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{})},
		}))
		defer srv.Close()
		c := dial(t, srv)
		for i := range 2 * phoenixtest.DefaultMaxChannels {
			c.join(fmt.Sprintf("room:%d", i))
		}
		time.Sleep(24 * time.Hour)
		c.ask(heartbeat, heartbeatReply)
	})
}

func TestTLS(t *testing.T) {
	helper := httptest.NewUnstartedServer(nil) // for its certificate
	helper.StartTLS()
	certificates := helper.TLS.Certificates
	roots := helper.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	helper.Close()
	srv, err := phoenixtest.Listen(phoenixtest.Demo(),
		phoenixtest.WithTLS(&tls.Config{Certificates: certificates}), phoenixtest.WithAddr("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: roots}}
	ws, _, err := dialer.Dial(srv.SocketURL("/socket")+"/websocket?vsn=2.0.0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	c := &client{t, ws}
	c.ask(heartbeat, heartbeatReply)
	if uri := srv.Conns()[0].Info().URI; !strings.HasPrefix(uri, "https://127.0.0.1:") {
		t.Errorf("URI %s", uri)
	}
	srv.CloseConns(websocket.CloseServiceRestart)
	c.wantEnd(websocket.CloseServiceRestart)
}

func TestListenFails(t *testing.T) {
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	if second, err := phoenixtest.Listen(phoenixtest.Demo(), phoenixtest.WithAddr(srv.Addr())); err == nil {
		second.Close()
		t.Error("two servers on one address")
	}
}

func TestConnectMayHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(socket(phoenixtest.UserSocket{
			Connect: func(info *phoenixtest.ConnectInfo) error {
				<-info.Context.Done()
				return info.Context.Err()
			},
		}))
		defer srv.Close()
		dialer := websocket.Dialer{NetDialContext: srv.DialContext, HandshakeTimeout: time.Second}
		if ws, _, err := dialer.Dial(srv.URL+"/websocket", nil); err == nil {
			ws.Close()
			t.Error("connected")
		}
	})
}

// BenchmarkBroadcast is one broadcast to one client that reads it, over TCP.
func BenchmarkBroadcast(b *testing.B) {
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	c := dial(b, srv)
	c.join("room:1")
	payload := phoenixtest.JSON(phoenixtest.Map{"body": "a message of the usual length, more or less"})
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			srv.Broadcast("room:1", "new_msg", payload)
		}
	}()
	for range b.N {
		c.read()
	}
	b.StopTimer()
}
