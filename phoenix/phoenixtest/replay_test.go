package phoenixtest_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix/phoenixtest"
)

// replay plays the client's part of a recording, at the recorded times, against a server,
// and returns what the server did. It must run in a synctest bubble.
func replay(t *testing.T, recording []recorded, app phoenixtest.App, flavor phoenixtest.Flavor) map[string][]string {
	t.Helper()
	srv := phoenixtest.NewPipeServer(app, phoenixtest.WithFlavor(flavor))
	p := &player{t: t, srv: srv, start: time.Now(), conns: map[string]*playedConn{}}
	for i, r := range recording {
		p.play(r, recording[i+1:])
	}
	p.waitUntil(recording[len(recording)-1].Millis + 100)
	srv.Close()
	lines := map[string][]string{}
	for name, c := range p.conns {
		c.nc.Close()
		<-c.done
		if c.cut { // and so did not see the end
			c.lines = slices.DeleteFunc(c.lines, func(line string) bool { return line == tcpLine })
		}
		lines[name] = normalize(c.lines)
	}
	return lines
}

// A player is the client's side of a replay.
type player struct {
	t     *testing.T
	srv   *phoenixtest.Server
	start time.Time
	conns map[string]*playedConn
	held  []byte // frames that go out in one write with the next one
	note  string // the last one
}

// waitUntil sleeps until a moment of the recording, and until everything before it is done.
func (p *player) waitUntil(millis int) {
	time.Sleep(time.Until(p.start.Add(time.Duration(millis) * time.Millisecond)))
	synctest.Wait()
}

func (p *player) play(r recorded, after []recorded) {
	if len(p.held) == 0 {
		p.waitUntil(r.Millis)
	}
	switch {
	case r.Dir == "note":
		p.note = r.text()
		p.act()
	case r.Dir == "server":
	case r.Type == "http":
		p.open(r)
	case r.Type == "tcp":
		_ = p.conns[r.conn()].nc.(interface{ CloseWrite() error }).CloseWrite() // fails if it is closed already
	default:
		p.held = append(p.held, r.frame(p.note == "RSV1 set without a negotiated extension")...)
		if !pipelined(r, after) {
			_, _ = p.conns[r.conn()].nc.Write(p.held) // fails if the server was recorded to hang up
			p.held = nil
		}
	}
}

// act does what a note says that was done by neither frame nor request.
func (p *player) act() {
	switch {
	case strings.HasPrefix(p.note, "SIGTERM"):
		go p.srv.Stop()
	case p.note == "bob drops his TCP connection":
		p.conns["b"].cut = true
		p.conns["b"].nc.Close()
	}
}

// pipelined tells whether the client sent its next frame without waiting for an answer to
// r. Such frames were read, and so handled, together.
func pipelined(r recorded, after []recorded) bool {
	const together = 5 // ms
	return len(after) > 0 && after[0].Dir == "client" && after[0].conn() == r.conn() &&
		after[0].Type != "tcp" && after[0].Millis-r.Millis <= together
}

func (p *player) open(r recorded) {
	nc, err := p.srv.DialContext(context.Background(), "tcp", "")
	if err != nil {
		p.t.Fatal(err)
	}
	c := &playedConn{t: p.t, nc: nc, br: bufio.NewReader(nc), done: make(chan struct{})}
	p.conns[r.conn()] = c
	m := parseHTTP(r.Data)
	if _, err := nc.Write(m.request()); err != nil {
		p.t.Fatal(err)
	}
	go c.read(m)
}

// A playedConn collects what the server does on one connection.
type playedConn struct {
	t     *testing.T
	nc    net.Conn
	br    *bufio.Reader
	done  chan struct{}
	lines []string // to be read when done is closed
	cut   bool     // the client ended the connection without reading to its end
}

func (c *playedConn) read(request httpMessage) {
	defer close(c.done)
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.lines = append(c.lines, "no HTTP answer")
		return
	}
	answer := httpMessage{Status: res.StatusCode, Headers: map[string]string{}}
	for name, values := range res.Header {
		answer.Headers[name] = strings.Join(values, ", ")
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(res.Body) // a body that was cut short differs from the recorded one
		answer.Body = string(body)
	}
	if res.Header.Get("Connection") == "" && res.Close {
		answer.Headers["Connection"] = "close" // ReadResponse takes it away
	}
	if res.StatusCode != http.StatusSwitchingProtocols && res.ContentLength >= 0 {
		answer.Headers["Content-Length"] = strconv.FormatInt(res.ContentLength, 10)
	}
	c.lines = append(c.lines, httpLine(answer))
	if res.StatusCode == http.StatusSwitchingProtocols {
		c.checkAccept(request, res)
		c.readFrames()
	}
}

func (c *playedConn) checkAccept(request httpMessage, res *http.Response) {
	var key string
	for name, value := range request.Headers {
		if strings.EqualFold(name, "sec-websocket-key") {
			key = value
		}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if got, want := res.Header.Get("Sec-Websocket-Accept"), base64.StdEncoding.EncodeToString(sum[:]); got != want {
		c.t.Errorf("sec-websocket-accept: %q, want %q", got, want)
	}
}

func (c *playedConn) readFrames() {
	for {
		first, payload, err := readServerFrame(c.br)
		if err != nil {
			c.lines = append(c.lines, tcpLine)
			return
		}
		compressed := first&0x40 != 0
		if compressed {
			payload = inflate(payload)
		}
		switch first & 0x0F {
		case 1:
			c.lines = append(c.lines, textLine(string(payload), 0, compressed))
		case 2:
			c.lines = append(c.lines, "binary "+base64.StdEncoding.EncodeToString(payload))
		case 8:
			c.lines = append(c.lines, closeLine(payload))
		case 10:
			c.lines = append(c.lines, "pong "+base64.StdEncoding.EncodeToString(payload))
		default:
			c.lines = append(c.lines, "frame with first byte "+strconv.Itoa(int(first)))
		}
	}
}

// readServerFrame reads one frame; a masked or fragmented one shows in the first byte or in
// the payload, and so differs from any recorded one.
func readServerFrame(r io.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := uint64(head[1])
	if n := map[byte]int{126: 2, 127: 8}[head[1]]; n > 0 {
		var ext [8]byte
		if _, err := io.ReadFull(r, ext[8-n:]); err != nil {
			return 0, nil, err
		}
		length = binary.BigEndian.Uint64(ext[:])
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}

// clientFrame is a frame with this first byte, masked as a client's must be, or not.
func clientFrame(first byte, payload []byte, masked bool) []byte {
	frame := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		frame = append(frame, byte(n))
	case n <= 0xFFFF:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(n))
	}
	if !masked {
		return append(frame, payload...)
	}
	frame[1] |= 0x80
	mask := [4]byte{0xA1, 0xB2, 0xC3, 0xD4}
	frame = append(frame, mask[:]...)
	start := len(frame)
	frame = append(frame, payload...)
	key := bytes.Repeat(mask[:], len(payload)/4+1)
	subtle.XORBytes(frame[start:], payload, key)
	return frame
}

func inflate(data []byte) []byte {
	end := strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")
	out, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(data), end)))
	if err != nil {
		return []byte("not deflate: " + err.Error())
	}
	return out
}

var (
	phxRefPattern = regexp.MustCompile(`(\\?"phx_ref(?:_prev)?\\?":\\?")([A-Za-z0-9_-]{16})`)
	peerPattern   = regexp.MustCompile(`("peer":"127\.0\.0\.1:)\d+`)
)

// normalize replaces what is never twice the same: phx_refs become the number of their
// first appearance on the connection, the ports of clients disappear.
func normalize(lines []string) []string {
	refs := map[string]int{}
	out := make([]string, len(lines))
	for i, line := range lines {
		if out[i] = line; !strings.Contains(line, "phx_ref") && !strings.Contains(line, `"peer"`) {
			continue // spares the race detector most of the matching
		}
		line = peerPattern.ReplaceAllString(line, "${1}PORT")
		out[i] = phxRefPattern.ReplaceAllStringFunc(line, func(match string) string {
			parts := phxRefPattern.FindStringSubmatch(match)
			if _, known := refs[parts[2]]; !known {
				refs[parts[2]] = len(refs) + 1
			}
			return parts[1] + "ref" + strconv.Itoa(refs[parts[2]])
		})
	}
	return out
}
