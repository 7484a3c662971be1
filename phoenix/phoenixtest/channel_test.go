package phoenixtest_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

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
