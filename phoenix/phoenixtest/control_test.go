package phoenixtest_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"phx/phoenix/phoenixtest"
)

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
