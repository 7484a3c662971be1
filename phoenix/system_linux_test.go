package phoenix

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A link that is dead while reads are paused is found by the kernel: straight and through a proxy, the socket is told for how
// long to wait.
func TestUserTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(nc, "HTTP/1.1 200 Connection established\r\n\r\n")
			defer nc.Close()
		}
	}()
	for name, proxy := range map[string]func(*http.Request) (*url.URL, error){
		"straight": nil,
		"proxy":    http.ProxyURL(&url.URL{Scheme: "http", Host: l.Addr().String()}),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New(Options{
				URL: "ws://" + l.Addr().String() + "/socket", Proxy: proxy,
				HeartbeatInterval: 7 * time.Second, HeartbeatTimeout: 2 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			way := route{conn: c, stages: &stageClock{}}
			conn, err := way.dial(context.Background(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := userTimeout(t, conn.(*net.TCPConn)); got != 9*time.Second {
				t.Errorf("TCP_USER_TIMEOUT is %v, want 9s", got)
			}
		})
	}
}

// userTimeout is what the kernel says.
func userTimeout(t *testing.T, conn *net.TCPConn) time.Duration {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var millis int
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		millis, optErr = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
	}); err != nil || optErr != nil {
		t.Fatal(err, optErr)
	}
	return time.Duration(millis) * time.Millisecond
}
