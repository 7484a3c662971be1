package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"phx/cmd/internal/exit"
	"phx/signal"
)

// respond returns a client of a server that answers as h does, and what ends that server.
func respond(t *testing.T, h http.HandlerFunc) (c *Client, end func()) {
	t.Helper()
	path := socketPath(t)
	must(t, os.Mkdir(filepath.Dir(path), 0o700))
	l, err := net.Listen("unix", path)
	must(t, err)
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	c = NewClient(path)
	end = sync.OnceFunc(func() { _ = server.Close() })
	t.Cleanup(func() {
		c.Close()
		end()
	})
	return c, end
}

func TestClient(t *testing.T) {
	const conns, answer = "/v1/connections", `{"any":"thing"}`
	var request, failure string
	client, _ := respond(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		request = strings.TrimSpace(r.Method + " " + r.RequestURI + " " + strings.TrimSuffix(string(body), "\n"))
		if failure != "" {
			w.Header().Set("Phx-Error", failure)
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = io.WriteString(w, answer+"\n")
	})
	ctx := t.Context()
	tests := []struct {
		call    func() ([]byte, error)
		request string
	}{
		{func() ([]byte, error) { return client.Connection(ctx, "backend", "", 0) }, "GET " + conns + "/backend"},
		{func() ([]byte, error) { return client.Connection(ctx, "backend", StateJoined, 1500*time.Millisecond) }, "GET " + conns + "/backend?timeout=1.5s&wait=joined"},
		{func() ([]byte, error) { return client.Add(ctx, []byte(`{"name":"b"}`), "/a b") }, "POST " + conns + `?dir=%2Fa+b {"name":"b"}`},
		{func() ([]byte, error) { return client.Remove(ctx, "backend") }, "DELETE " + conns + "/backend"},
		{func() ([]byte, error) { return client.Remove(ctx, "a/b?") }, "DELETE " + conns + "/a%2Fb%3F"},
		{func() ([]byte, error) { return client.Start(ctx, "backend") }, "POST " + conns + "/backend/start"},
		{func() ([]byte, error) { return client.Stop(ctx, "backend") }, "POST " + conns + "/backend/stop"},
		{func() ([]byte, error) { return client.Restart(ctx, "backend") }, "POST " + conns + "/backend/restart"},
		{func() ([]byte, error) { return client.Reload(ctx) }, "POST /v1/reload"},
		{func() ([]byte, error) {
			return client.Join(ctx, "backend", Join{Topic: "room:<a>", Params: []byte(`{"a":1.0}`)})
		}, "POST " + conns + `/backend/channels {"topic":"room:<a>","params":{"a":1.0}}`},
		{func() ([]byte, error) { return client.Join(ctx, "backend", Join{Topic: "a"}) }, "POST " + conns + `/backend/channels {"topic":"a"}`},
		{func() ([]byte, error) { return client.Leave(ctx, "backend", "a/../b%2F ?") }, "DELETE " + conns + "/backend/channels/a%2F..%2Fb%252F%20%3F"},
		{func() ([]byte, error) {
			return client.Push(ctx, "backend", Push{Topic: "a", Event: "e", Payload: []byte(`{"n":1.0,"t":"<&>"}`), TimeoutMS: 1})
		}, "POST " + conns + `/backend/push {"topic":"a","event":"e","payload":{"n":1.0,"t":"<&>"},"timeout_ms":1}`},
		{func() ([]byte, error) {
			return client.Push(ctx, "backend", Push{Topic: "a", Event: "e", Payload: []byte("null"), NoReply: true})
		}, "POST " + conns + `/backend/push {"topic":"a","event":"e","payload":null,"no_reply":true}`},
		{func() ([]byte, error) {
			return client.Push(ctx, "backend", Push{Topic: "a", Event: "e", Binary: []byte{}})
		}, "POST " + conns + `/backend/push {"topic":"a","event":"e","payload_base64":""}`},
	}
	for _, tt := range tests {
		text, err := tt.call()
		if string(text) != answer || err != nil || request != tt.request {
			t.Errorf("requested\n%s\nwant\n%s\nthe answer is %s, %v", request, tt.request, text, err)
		}
	}
	// A call that has failed is answered with a signal and its error.
	failure = `{"message":"it\u007fs no","hint":"é","exit_code":66}`
	text, err := client.Push(ctx, "backend", Push{})
	if string(text) != answer || codeOf(err) != exit.Channel || err.Error() != "it\x7fs no" || exit.HintOf(err) != "é" {
		t.Errorf("a failure: %s, %v", text, err)
	}
	failure = "no JSON"
	if text, err := client.Leave(ctx, "backend", "a"); text != nil || !strings.Contains(err.Error(), "does not speak like phx serve") {
		t.Errorf("a strange failure: %s, %v", text, err)
	}
}

func TestClientWithTheServer(t *testing.T) {
	s := talkingAPI(t)
	list, err := s.client.Connections(t.Context())
	if err != nil || len(list) != 1 || fixed(string(list[0])) != joinedJSON {
		t.Errorf("%s %v", list, err)
	}
	text, err := s.client.Push(t.Context(), "backend", Push{Topic: "room:lobby", Event: "fail", Payload: []byte("1")})
	if !strings.Contains(string(text), `"phoenix.push.reply"`) || codeOf(err) != exit.PushStatus || err.Error() != "the status\x7f of \"room:lobby\" is error" {
		t.Errorf("%s, %v", text, err)
	}
	_, err = s.client.Stop(t.Context(), "x")
	if codeOf(err) != exit.Failure || err.Error() != `serve has no connection "x"` || exit.HintOf(err) != "`phx ctl list` shows those it has" {
		t.Error(err)
	}
}

func TestNobodyAtTheSocket(t *testing.T) {
	path := socketPath(t)
	for _, leave := range []func(*testing.T, string){func(*testing.T, string) {}, leaveStale} {
		leave(t, path)
		_, err := NewClient(path).Connections(t.Context())
		if codeOf(err) != exit.Connect || err.Error() != "no phx serve is running: nobody listens on "+path {
			t.Error(err)
		}
	}
}

func TestSomebodyElseAtTheSocket(t *testing.T) {
	tests := []struct{ answer, message string }{
		{"", "has gone before it had answered"},
		{"SSH-2.0-OpenSSH_9.9\r\n", "cannot reach phx serve"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "does not speak like phx serve"},
		{"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nhi", "does not speak like phx serve"},
		{"HTTP/1.1 301 Moved\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n", "does not speak like phx serve"},
	}
	for _, tt := range tests {
		path := socketPath(t)
		must(t, os.Mkdir(filepath.Dir(path), 0o700))
		l, err := net.Listen("unix", path)
		must(t, err)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte(tt.answer))
		}()
		if _, err := NewClient(path).Connections(t.Context()); err == nil || !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%q: %v", tt.answer, err)
		}
		l.Close()
	}
}

func TestACallThatIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := NewClient(socketPath(t)).Connections(ctx); !errors.Is(err, enough) {
		t.Error(err)
	}
	if _, err := NewClient("x").Add(t.Context(), make([]byte, MaxBody+1), ""); codeOf(err) != exit.Usage {
		t.Error(err)
	}
}

func TestStream(t *testing.T) {
	lines, query := make(chan string, 2), make(chan string, 1)
	client, end := respond(t, func(w http.ResponseWriter, r *http.Request) {
		query <- r.RequestURI
		w.WriteHeader(http.StatusOK)
		for ok := true; ok; {
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			var text string
			text, ok = <-lines
			_, _ = io.WriteString(w, text)
		}
	})
	request := SubscribeRequest{
		Match: "phoenix.**", Subscribe: "jido.**", Topic: []string{"room:*", "a&b"}, Event: []string{"x y"},
		Where: ".data.n > 1", Format: signal.FormatJido,
	}
	stream, err := client.Signals(t.Context(), request)
	must(t, err)
	defer stream.Close()
	const want = "/v1/signals?event=x+y&format=jido&match=phoenix.%2A%2A&subscribe=jido.%2A%2A&topic=room%3A%2A&topic=a%26b&where=.data.n+%3E+1"
	if got := <-query; got != want {
		t.Errorf("requested\n%s\nwant\n%s", got, want)
	}
	long := `{"long":"` + strings.Repeat("x", 3*streamBuffer) + `"}` + "\n"
	lines <- "{\"n\":1}\n{\"n\":2}\n"
	lines <- long + "{\"n\":3}\n"
	for i, want := range []string{"{\"n\":1}\n", "{\"n\":2}\n", long, "{\"n\":3}\n"} {
		line, err := stream.Next()
		if err != nil || string(line) != want {
			t.Errorf("line %d: %.40q, %v", i, line, err)
		}
		if i == 0 && !stream.Ready() || i == 3 && stream.Ready() {
			t.Errorf("ready after line %d: %v", i, stream.Ready())
		}
	}
	close(lines)
	if _, err := stream.Next(); codeOf(err) != exit.LinkLost || !strings.Contains(err.Error(), "has ended the stream") {
		t.Errorf("at the end: %v", err)
	}
	lines = make(chan string)
	stream, err = client.Signals(t.Context(), SubscribeRequest{})
	must(t, err)
	end()
	if _, err := stream.Next(); codeOf(err) != exit.LinkLost || !strings.Contains(err.Error(), "lost the stream") {
		t.Errorf("a server that dies: %v", err)
	}
	close(lines)
}

// silentAfter returns a client in a bubble whose server gives signs of life, one each 8 s, and then answers, or not.
func silentAfter(signs int, answers bool) *Client {
	c := NewClient("/run/s")
	c.http.Transport = &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			if _, err := http.ReadRequest(bufio.NewReader(theirs)); err != nil {
				return
			}
			for range signs {
				time.Sleep(8 * time.Second)
				_, _ = io.WriteString(theirs, "HTTP/1.1 102 Processing\r\n\r\n")
			}
			if answers {
				_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
				return
			}
			_, _ = theirs.Read(make([]byte, 1)) // until the client gives up
		}()
		return ours, nil
	}}
	return c
}

// A server that gives no sign of life for 10 s, because it is stopped, is not waited for; one that is at work is, however long that takes.
func TestPatience(t *testing.T) {
	tests := []struct {
		signs   int
		answers bool
		call    func(context.Context, *Client) ([]byte, error)
		took    time.Duration
		code    exit.Code
	}{
		{0, false, func(ctx context.Context, c *Client) ([]byte, error) { _, err := c.Connections(ctx); return nil, err }, 10 * time.Second, exit.Timeout},
		{0, false, func(ctx context.Context, c *Client) ([]byte, error) { return c.Join(ctx, "a", Join{Topic: "b"}) }, 10 * time.Second, exit.Timeout},
		{3, false, func(ctx context.Context, c *Client) ([]byte, error) { return c.Reload(ctx) }, 34 * time.Second, exit.Timeout},
		{9, true, func(ctx context.Context, c *Client) ([]byte, error) { return c.Push(ctx, "a", Push{}) }, 72 * time.Second, 0},
		// A wait has the time that it was given, and as long as it likes without, once the server is known to be there. So has a stream.
		{0, false, func(ctx context.Context, c *Client) ([]byte, error) {
			return c.Connection(ctx, "a", StateJoined, time.Minute)
		}, 10 * time.Second, exit.Timeout},
		{1, false, func(ctx context.Context, c *Client) ([]byte, error) {
			return c.Connection(ctx, "a", StateJoined, time.Minute)
		}, 70 * time.Second, exit.Timeout},
		{0, false, func(ctx context.Context, c *Client) ([]byte, error) {
			return c.Connection(ctx, "a", StateJoined, 0)
		}, 10 * time.Second, exit.Timeout},
		{0, false, func(ctx context.Context, c *Client) ([]byte, error) {
			_, err := c.Signals(ctx, SubscribeRequest{})
			return nil, err
		}, 10 * time.Second, exit.Timeout},
		{60, true, func(ctx context.Context, c *Client) ([]byte, error) { return c.Connection(ctx, "a", StateJoined, 0) }, 480 * time.Second, 0},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := silentAfter(tt.signs, tt.answers)
				defer c.Close()
				begun := time.Now()
				_, err := tt.call(t.Context(), c)
				if took := time.Since(begun); took != tt.took || (err == nil) != (tt.code == 0) || err != nil && codeOf(err) != tt.code {
					t.Errorf("after %v: %v", took, err)
				}
				if tt.code == exit.Timeout && (!strings.Contains(err.Error(), "/run/s does not answer") || !strings.Contains(exit.HintOf(err), "kill -CONT")) {
					t.Errorf("%v; %s", err, exit.HintOf(err))
				}
			})
		})
	}
}

// So many callers wait already for a server that is stopped that the system takes no more.
func TestPatienceBeforeAFullQueue(t *testing.T) {
	path := socketPath(t)
	must(t, os.Mkdir(filepath.Dir(path), 0o700))
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	defer syscall.Close(fd)
	must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	must(t, syscall.Listen(fd, 0))
	for range 3 {
		if conn, err := net.Dial("unix", path); err == nil {
			defer conn.Close()
		}
	}
	c := NewClient(path)
	c.Patience = 100 * time.Millisecond
	if _, err := c.Connections(t.Context()); codeOf(err) != exit.Timeout {
		t.Errorf("code %d: %v", codeOf(err), err)
	}
}

// A call that takes long lets its caller know that it is being worked on, and is answered as any other.
func TestSignsOfLife(t *testing.T) {
	s := newStage(t, talking, talkingConfig)
	s.open()
	must(t, s.StartAll())
	s.await("backend", StateJoined)
	api := s.serve(func(server *Server) { server.signInterval = time.Millisecond })
	for _, call := range []string{
		"POST /v1/connections/backend/push HTTP/1.1\r\nHost: phx\r\nContent-Length: 70\r\n\r\n" +
			`{"topic":"room:lobby","event":"silent","payload":{},"timeout_ms":300}` + " ",
		"GET /v1/connections/backend?wait=connected&timeout=300ms HTTP/1.1\r\nHost: phx\r\n\r\n",
	} {
		if strings.HasPrefix(call, "GET") {
			s.stop("backend")
		}
		conn, err := net.Dial("unix", api.path)
		must(t, err)
		_, err = io.WriteString(conn, call)
		must(t, err)
		answer := bufio.NewReader(conn)
		line, err := answer.ReadString('\n')
		must(t, err)
		if line != "HTTP/1.1 102 Processing\r\n" {
			t.Errorf("%.40s: answered with %q", call, line)
		}
		for strings.HasPrefix(line, "HTTP/1.1 102") || line == "\r\n" {
			line, err = answer.ReadString('\n')
			must(t, err)
		}
		if line != "HTTP/1.1 504 Gateway Timeout\r\n" {
			t.Errorf("%.40s: answered with %q in the end", call, line)
		}
		_ = conn.Close()
	}
}
