package phoenix_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"phx/phoenix/phoenixtest"
)

// A wireLog collects what our client puts on the wire: for each connection, in order, its request and its frames, a line
// each, as in testdata/phoenix_js/wire.
type wireLog struct {
	mu    sync.Mutex
	conns []*wireConn
}

// A wireConn is the log of one connection.
type wireConn struct {
	net.Conn
	written bytes.Buffer

	conn    *phoenixtest.Conn // the same, as the tap knows it
	closing bool              // the server has sent a close frame
	frames  []string
}

// Write implements [net.Conn].
func (c *wireConn) Write(p []byte) (int, error) {
	c.written.Write(p)
	return c.Conn.Write(p)
}

// dial connects to srv and logs the connection.
func (l *wireLog) dial(srv *phoenixtest.Server) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := srv.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		c := &wireConn{Conn: conn}
		l.conns = append(l.conns, c)
		return c, nil
	}
}

// tap logs a frame of the client. It is for [phoenixtest.WithTap].
func (l *wireLog) tap(f phoenixtest.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Each connection is dialed when the one before has shown itself.
	i := slices.IndexFunc(l.conns, func(c *wireConn) bool { return c.conn == f.Conn || c.conn == nil })
	c := l.conns[i]
	c.conn = f.Conn
	if f.FromClient {
		c.frames = append(c.frames, frameLine(f, c.closing))
	} else if f.Opcode == opClose {
		c.closing = true
	}
}

// The opcodes of frames (RFC 6455, section 5.2).
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
)

func frameLine(f phoenixtest.Frame, closing bool) string {
	switch f.Opcode {
	case opText:
		return "text " + string(f.Data)
	case opBinary:
		return fmt.Sprintf("binary %q", f.Data)
	case opClose:
		line := "close without a code"
		if len(f.Data) >= 2 {
			line = fmt.Sprintf("close %d %q", binary.BigEndian.Uint16(f.Data), f.Data[2:])
		}
		if closing {
			line += " in answer"
		}
		return line
	}
	return fmt.Sprintf("opcode %d %q", f.Opcode, f.Data)
}

// lines are the lines of each connection, the headers of its request among them or not. Nothing may run any more.
func (l *wireLog) lines(headers bool) ([][]string, error) {
	var all [][]string
	for _, c := range l.conns {
		r, err := http.ReadRequest(bufio.NewReader(&c.written))
		if err != nil {
			return nil, err
		}
		lines := []string{r.Method + " " + r.URL.RequestURI()}
		if headers {
			lines = append(lines, headerLines(r.Header)...)
		}
		all = append(all, append(lines, c.frames...))
	}
	return all, nil
}

// headerLines are sorted, and without the one header that is never twice the same.
func headerLines(header http.Header) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if name != "Sec-Websocket-Key" {
			lines = append(lines, name+": "+strings.Join(header[name], ", "))
		}
	}
	return lines
}
