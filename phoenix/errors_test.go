package phoenix_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/gorilla/websocket"

	"phx/phoenix"
)

// odd is a WebSocket server in the bubble that answers every message with the same text.
func odd(t *testing.T, answer string) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			r := bufio.NewReader(server)
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			ws, err := (&websocket.Upgrader{}).Upgrade(&hijacked{server, r, http.Header{}}, request, nil)
			for err == nil {
				if _, _, err = ws.ReadMessage(); err == nil {
					err = ws.WriteMessage(websocket.TextMessage, []byte(answer))
				}
			}
		}()
		return client, nil
	}
}

// A hijacked is the ResponseWriter of a request that was read from a connection by hand.
type hijacked struct {
	conn   net.Conn
	r      *bufio.Reader
	header http.Header
}

func (h *hijacked) Header() http.Header         { return h.header }
func (h *hijacked) Write(p []byte) (int, error) { return h.conn.Write(p) }
func (h *hijacked) WriteHeader(int)             {}
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(h.r, bufio.NewWriter(h.conn)), nil
}

// Another status than ok is an error of the call, and a sign of life to the connection.
func TestHeartbeatIsAnsweredWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, err := phoenix.New(phoenix.Options{
			URL: "ws://phoenix.test/socket", HeartbeatEvents: true,
			NetDial: odd(t, `[null,"1","phoenix","phx_reply",{"status":"error","response":{"reason":"no\n"}}]`),
		})
		if err != nil {
			t.Fatal(err)
		}
		events := conn.Events()
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err = conn.Heartbeat(t.Context())
		if want := `a heartbeat was answered with status "error": {"reason":"no\n"}`; !errors.As(err, new(*phoenix.HeartbeatError)) || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		asked := 0
		for {
			ev, err := events.Next(t.Context())
			if err != nil {
				break
			}
			if beat, ok := ev.Detail.(*phoenix.Heartbeat); ok && beat.Asked {
				asked++
			}
		}
		if asked != 1 {
			t.Errorf("%d events of heartbeats that were asked for, want 1", asked)
		}
	})
}

func TestErrorsAre(t *testing.T) {
	for _, c := range []struct {
		err, target error
		want        bool
	}{
		{&phoenix.PushTimeout{}, context.DeadlineExceeded, true},
		{&phoenix.UnreadError{}, context.DeadlineExceeded, true},
		{&phoenix.JoinError{Reason: phoenix.JoinTimeout}, context.DeadlineExceeded, true},
		{&phoenix.JoinError{Reason: phoenix.JoinRefused}, context.DeadlineExceeded, false},
		{&phoenix.PushError{Reason: phoenix.PushNotJoined}, phoenix.ErrNotJoined, true},
		{&phoenix.PushError{Reason: phoenix.PushDisconnected}, phoenix.ErrNotJoined, false},
		{&phoenix.PushError{Reason: phoenix.PushNotJoined}, context.DeadlineExceeded, false},
	} {
		if errors.Is(c.err, c.target) != c.want {
			t.Errorf("%#v is %q: want %v", c.err, c.target, c.want)
		}
	}
}
