package phoenix_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

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
