package phoenix

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// rawServer upgrades each connection, and gives the network connection under it to serve.
func rawServer(t *testing.T, upgrader websocket.Upgrader, serve func(r *http.Request, conn net.Conn)) *httptest.Server {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.Close()
		serve(r, ws.NetConn())
	}))
	t.Cleanup(srv.Close)
	return srv
}

// readFrame reads a frame of a client.
func readFrame(conn io.Reader) (first byte, data []byte, err error) {
	head := make([]byte, 2)
	if _, err = io.ReadFull(conn, head); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1] & 0x7f)
	if more := map[uint64]int{126: 2, 127: 8}[size]; more > 0 {
		long := make([]byte, 8)
		if _, err = io.ReadFull(conn, long[8-more:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(long)
	}
	data = make([]byte, 4+size)
	if _, err = io.ReadFull(conn, data); err != nil {
		return 0, nil, err
	}
	key, data := data[:4], data[4:]
	for i := range data {
		data[i] ^= key[i%4]
	}
	return head[0], data, nil
}

// What WebSocket does not allow is answered with a close frame that names it, behind which the server can close in peace.
func TestViolationIsAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		sent string
		want uint16
		late bool // the server reads once the client has ended
	}{
		"opcode":                      {"\x87\x00", 1002, false},
		"reserved bit":                {"\xf1\x00", 1002, false},
		"masked":                      {"\x81\x80\x00\x00\x00\x00", 1002, false},
		"a long ping":                 {"\x89\x7e\x00\x7e" + strings.Repeat("x", 126), 1002, false},
		"continuation of nothing":     {"\x80\x01x", 1002, false},
		"close code":                  {"\x88\x02\x03\xed", 1002, false},
		"close reason not in UTF-8":   {"\x88\x03\x03\xe8\xff", 1007, false},
		"message beyond the limit":    {"\x81\x7e\x01\x00" + strings.Repeat("x", 256), 1009, false},
		"bad gateway":                 {"\x88\x02\x03\xf6", 1014, false},
		"and more than anybody reads": {"\x87\x00" + strings.Repeat("x", 1<<20), 1002, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, ended := make(chan uint16, 1), make(chan struct{})
			srv := rawServer(t, websocket.Upgrader{}, func(_ *http.Request, conn net.Conn) {
				go func() { _, _ = io.WriteString(conn, c.sent) }()
				if c.late {
					<-ended
				}
				var code uint16
				for {
					first, data, err := readFrame(conn)
					if err != nil {
						break
					}
					if first == frameClose && len(data) >= 2 {
						code = binary.BigEndian.Uint16(data)
						break
					}
				}
				got <- code
			})
			srv.Start()
			conn, err := New(Options{URL: srv.URL, MaxMessage: 100})
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Serve(t.Context())
			close(ended)
			if code := <-got; code != c.want {
				t.Errorf("close code %d, want %d", code, c.want)
			}
		})
	}
}

// A byteConn reads a byte at a time.
type byteConn struct{ net.Conn }

func (c byteConn) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), 1)]) }

// A close with 1014, which gorilla does not know, is told with its reason, however it comes.
func TestBadGatewayReason(t *testing.T) {
	const reason = "upstream is away \u00e9"
	frame := "\x88" + string([]byte{byte(2 + len(reason))}) + "\x03\xf6" + reason
	long := "\x81\x7e\x01\x00" + strings.Repeat("x", 256)
	for name, c := range map[string]struct {
		sent   string
		bytely bool
	}{
		"alone":                {frame, false},
		"behind a message":     {long + frame, false},
		"byte by byte":         {long + frame, true},
		"inside of a message":  {"\x01\x01x" + frame, false},
		"with something after": {frame + "\x89\x00", false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := rawServer(t, websocket.Upgrader{}, func(_ *http.Request, conn net.Conn) {
				_, _ = io.WriteString(conn, c.sent)
				_, _, _ = readFrame(conn)
			})
			srv.Start()
			o := Options{URL: srv.URL}
			if c.bytely {
				o.NetDial = func(_ context.Context, network, addr string) (net.Conn, error) {
					conn, err := net.Dial(network, addr)
					return byteConn{conn}, err
				}
			}
			conn, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			var link *LinkError
			if err := conn.Serve(t.Context()); !errors.As(err, &link) || link.Code != 1014 || link.CloseText != reason {
				t.Errorf("got %v, want 1014 and %q", err, reason)
			}
		})
	}
}

// A message of ours is one frame, whatever its size, with and without compression; and the request says who we are.
func TestMessageIsOneFrame(t *testing.T) {
	for _, compress := range []bool{false, true} {
		for _, size := range []int{1, 100, 200, 5000, 70000, 300000} {
			payload := JSON(`{"x":"` + strings.Repeat("y", size) + `"}`)
			frames := make(chan []byte, 1)
			srv := rawServer(t, websocket.Upgrader{EnableCompression: compress}, func(r *http.Request, conn net.Conn) {
				if got := r.Header.Get("User-Agent"); got != "phx" {
					t.Errorf("User-Agent %q", got)
				}
				first, data, err := readFrame(conn)
				if compress && err == nil {
					if first&frameCompressed == 0 {
						t.Error("it is not compressed")
					}
					data, err = io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(data), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
				}
				if err != nil || first&^frameCompressed != frameText {
					t.Errorf("first byte %x, error %v", first, err)
				}
				frames <- data
			})
			srv.Start()
			ctx, cancel := context.WithCancel(t.Context())
			conn, err := New(Options{URL: srv.URL, Compress: compress, Channels: []Channel{{Topic: "room:1", Params: func(context.Context) (Payload, error) { return payload, nil }}}})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- conn.Serve(ctx) }()
			if frame := <-frames; !bytes.Contains(frame, payload.Data) {
				t.Errorf("%d bytes: the frame has %d", size, len(frame))
			}
			cancel()
			<-ended
		}
	}
}

// HTTP/1.1 is offered within TLS, unless the caller offers something.
func TestProtocolInTLS(t *testing.T) {
	for _, c := range []struct {
		offered []string
		want    string
	}{{nil, "http/1.1"}, {[]string{}, ""}} {
		got := make(chan string, 1)
		srv := rawServer(t, websocket.Upgrader{}, func(r *http.Request, _ net.Conn) { got <- r.TLS.NegotiatedProtocol })
		srv.StartTLS()
		conn, err := New(Options{URL: srv.URL, TLS: &tls.Config{InsecureSkipVerify: true, NextProtos: c.offered}})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Serve(t.Context())
		if protocol := <-got; protocol != c.want {
			t.Errorf("offered %q: protocol %q, want %q", c.offered, protocol, c.want)
		}
	}
}

// A host of another script is looked up, and named to the server, in ASCII.
func TestInternationalHost(t *testing.T) {
	for url, want := range map[string]string{
		"ws://bücher.test/socket": "bücher", "wss://Bücher.test:4443/socket": "bücher", "ws://plain.test": "",
	} {
		e, err := newEndpoint(url, "2.0.0", "")
		if err != nil {
			t.Fatal(err)
		}
		if host := e.url.Hostname(); (host == "xn--bcher-kva.test") != (want != "") {
			t.Errorf("%s: host %s", url, host)
		}
	}
	if e, err := newEndpoint("wss://bücher.test:4443/socket", "2.0.0", ""); err != nil || e.server() != "xn--bcher-kva.test:4443" {
		t.Errorf("server %v, error %v", e, err)
	}
	if _, err := newEndpoint("ws://bü\u2028cher.test/socket", "2.0.0", ""); err == nil {
		t.Error("a host that is no name is taken")
	}
}

func TestMask(t *testing.T) {
	for size := range 40 {
		data := bytes.Repeat([]byte{'a'}, size)
		mask(data, [4]byte{1, 2, 3, 4})
		for i, c := range data {
			if c != 'a'^byte(i%4+1) {
				t.Fatalf("%d bytes: %x", size, data)
			}
		}
	}
}

// A segmentConn brings one segment after the other; a read gets what is left of one. One that is empty is a time in which nothing comes.
// Behind the last there is an error, which may come with the last bytes. It remembers how much the reads had room for.
type segmentConn struct {
	net.Conn
	segments [][]byte
	withLast bool
	rooms    []int
}

var errBroken = errors.New("broken")

func (c *segmentConn) Read(p []byte) (n int, err error) {
	c.rooms = append(c.rooms, len(p))
	if len(c.segments) > 0 && len(c.segments[0]) == 0 {
		c.segments = c.segments[1:]
	}
	if len(c.segments) == 0 {
		return 0, errBroken
	}
	n = copy(p, c.segments[0])
	if c.segments[0] = c.segments[0][n:]; len(c.segments[0]) == 0 {
		c.segments = c.segments[1:]
	}
	if len(c.segments) == 0 && c.withLast {
		return n, errBroken
	}
	return n, nil
}

func (c *segmentConn) SetReadDeadline(time.Time) error { return nil }

// Buffered is how many bytes have arrived.
func (c *segmentConn) Buffered() int {
	if len(c.segments) == 0 {
		return 1 // the error
	}
	return len(c.segments[0])
}

// A stream that fills small buffers is read in large blocks, of which a connection that waits has none.
func TestReadAhead(t *testing.T) {
	const small = 2 << 10
	segment := func(n int) []byte { return make([]byte, n) }
	for name, c := range map[string]struct {
		segments [][]byte
		rooms    []int
	}{
		"a fast stream": {[][]byte{segment(small + readAhead + 1)}, []int{small, readAhead, readAhead, small}},
		"a slow stream": {[][]byte{segment(100), segment(small - 1), segment(100)}, []int{small, small, small, small}},
		"a full buffer behind which nothing comes": {[][]byte{segment(small), nil, segment(small), segment(1)}, []int{small, small, readAhead, small}},
	} {
		conn := &segmentConn{segments: c.segments}
		w, p := &wire{Conn: conn}, make([]byte, small)
		var err error
		for err == nil {
			_, err = w.Read(p)
		}
		if !slices.Equal(conn.rooms, c.rooms) {
			t.Errorf("%s: reads of %v, want %v", name, conn.rooms, c.rooms)
		}
	}
}

// Whatever is read ahead comes out, in its order, before anything waits for the network, and before an error.
func TestReadAheadIsComplete(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 0))
		conn := &segmentConn{withLast: random.IntN(2) == 0}
		var sent, got []byte
		for range 1 + random.IntN(20) {
			if random.IntN(4) == 0 {
				conn.segments = append(conn.segments, nil)
			}
			size := 1 + random.IntN(1<<random.IntN(19))
			at := len(sent)
			for i := range size {
				sent = append(sent, byte(at+i)^byte((at+i)>>8)^byte((at+i)>>16))
			}
			conn.segments = append(conn.segments, slices.Clone(sent[at:]))
		}
		w := &wire{Conn: conn}
		w.beforeRead = func() {
			if len(w.ahead) > 0 || w.block != nil {
				t.Errorf("seed %d: a wait before %d bytes that have been read, with a block %t", seed, len(w.ahead), w.block != nil)
			}
		}
		w.drained = func(time.Time) {
			if len(w.ahead) > 0 {
				t.Errorf("seed %d: %d bytes have been read when all is said to have come", seed, len(w.ahead))
			}
		}
		var err error
		for err == nil {
			p := make([]byte, 1+random.IntN(1<<random.IntN(14)))
			var n int
			n, err = w.Read(p)
			got = append(got, p[:n]...)
			if random.IntN(10) == 0 {
				w.drain()
			}
		}
		if !errors.Is(err, errBroken) || !bytes.Equal(got, sent) {
			t.Errorf("seed %d: %d bytes of %d, equal %t, error %v", seed, len(got), len(sent), bytes.Equal(got, sent), err)
		}
	}
}
