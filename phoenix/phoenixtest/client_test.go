package phoenixtest_test

import (
	"net/http"
	"testing"

	"github.com/gorilla/websocket"

	"phx/phoenix/phoenixtest"
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
