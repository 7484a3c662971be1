package systemtest

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// The servers of the tests of secrets: each fails in another way, and repeats what it was sent.

// said is what a server was told: the request, the nth of them, and the secrets in it and in the messages of that session.
type said struct {
	request string
	n       int
	slots   []string
}

// written are the secrets in each form.
func written(slots []string) []string {
	var all []string
	for _, slot := range slots {
		for _, form := range forms {
			all = append(all, form(secretSlots[slot]))
		}
	}
	slices.Sort(all)
	return all
}

// echo is what is said in at most so many bytes: the request as it came, unless skipped, and in further answers each secret in each form.
func (s *said) echo(skipped, most int) string {
	n := s.n + skipped
	if n == 0 {
		return s.request[:min(len(s.request), most)]
	}
	all := written(s.slots)
	text := ""
	for at := n * most / 30 % len(all); ; at = (at + 1) % len(all) {
		if len(text)+len(all[at]) >= most {
			return text
		}
		text += all[at] + " "
	}
}

// everything is each of the secrets in each form.
func everything(slots ...string) string { return strings.Join(written(slots), " ") }

// object is a JSON object with all that there is to repeat, in names too.
func (s *said) object(more string) string {
	return `{"request":` + quote(s.request+more) + `,"all":[` + quote(everything(s.slots...)) + `],` + quote(secretSlots[s.slots[len(s.slots)-1]]) + `:{"n":1}}`
}

// A failing server answers with what it was sent.
type failing struct {
	name string
	// answer takes a connection whose request for an upgrade has been read, or session one that is a WebSocket; tls says that the server
	// has a certificate that nobody knows.
	answer  func(nc net.Conn, said *said)
	session func(ws *websocket.Conn, said *said)
	tls     bool
	// proxy says that it is the proxy; onJoin that there is a push at each join, which is answered.
	proxy, onJoin bool
	// uri replaces the server's.
	uri string
	// args run the command: more than one attempt has only who was in a session before. want is what the log has to tell.
	args []string
	want string
}

func httpAnswer(status, header string) func(net.Conn, *said) {
	return func(nc net.Conn, said *said) {
		text := said.echo(0, 280)
		fmt.Fprintf(nc, "HTTP/1.1 %s\r\n%sX-Echo: %s\r\nContent-Length: %d\r\n\r\n%s", status, header, url.QueryEscape(text), len(text), text)
	}
}

var listenA = []string{"listen", "room:a", "--lifecycle", "--max-time", "20", "--timeout", "3"}

// failings are the table of what fails.
var failings = []failing{
	{name: "refused", answer: httpAnswer("403 Forbidden", ""), args: listenA, want: "HTTP status 403: GET /socket"},
	{name: "unauthorized", answer: httpAnswer("401 Unauthorized", ""), args: listenA, want: "HTTP status 401: GET /socket"},
	{name: "not found", answer: httpAnswer("404 Not Found", ""), args: listenA, want: "HTTP status 404"},
	{name: "unavailable", answer: httpAnswer("503 Service Unavailable", ""), args: listenA, want: "HTTP status 503"},
	{name: "200", answer: httpAnswer("200 OK", ""), args: listenA, want: "HTTP status 200"},
	{name: "redirect", args: listenA, want: "HTTP status 302 to", answer: func(nc net.Conn, said *said) {
		at := url.PathEscape(said.echo(1, 100))
		fmt.Fprintf(nc, "HTTP/1.1 302 Found\r\nLocation: https://me:%s@elsewhere.test/%s?%s\r\nContent-Length: 0\r\n\r\n", at, at, at)
	}},
	{name: "another subprotocol", args: listenA, want: "subprotocol", answer: func(nc net.Conn, said *said) {
		const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455, section 1.3
		_, key, _ := strings.Cut(said.request, "Sec-WebSocket-Key: ")
		sum := sha1.Sum([]byte(key[:24] + guid))
		accept := base64.StdEncoding.EncodeToString(sum[:])
		fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"+
			"Sec-WebSocket-Protocol: %s\r\n\r\n", accept, url.QueryEscape(said.echo(1, 90)))
	}},
	{name: "a wrong handshake", answer: httpAnswer("101 Switching Protocols", "Upgrade: websocket\r\n"), args: listenA, want: "not_websocket|101"},
	{name: "no HTTP", args: listenA, want: "not HTTP|its own request|sends back", answer: func(nc net.Conn, said *said) {
		_, _ = io.WriteString(nc, said.request)
	}},
	{name: "no HTTP, in other words", args: listenA, want: "not HTTP", answer: func(nc net.Conn, said *said) {
		_, _ = io.WriteString(nc, "500 "+said.echo(1, 200)+"\r\n")
	}},
	{name: "a certificate", tls: true, answer: httpAnswer("403 Forbidden", ""), args: listenA, want: "certificate"},
	{name: "timeout", args: append(slices.Clone(listenA), "--connect-timeout", "500ms"), want: "not finished within 500ms", answer: func(nc net.Conn, _ *said) { _, _ = io.Copy(io.Discard, nc) }},
	{name: "hangup", args: listenA, want: "eof|EOF", answer: func(net.Conn, *said) {}},
	{name: "nobody", args: listenA, uri: "ws://%s@127.0.0.1:1/socket?q=%s", want: "nobody listens"},
	{name: "dns", args: listenA, uri: "ws://%s@phoenix.invalid/socket?q=%s", want: "phoenix.invalid"},
	{name: "a URI that is none", args: listenA, uri: "ftp://%s@phoenix.invalid/socket?q=%s", want: "PHX_URI|uri"},
	{name: "a URI that cannot be parsed", args: listenA, uri: "ws://%s@phoenix.invalid:port/socket?q=%s", want: "PHX_URI|uri"},
	{name: "proxy", proxy: true, answer: func(nc net.Conn, said *said) {
		httpAnswer("407 "+url.PathEscape(said.echo(1, 60)), "")(nc, said)
	}, args: listenA, want: "HTTP status 407"},

	{name: "join refused", args: listenA, want: "join", session: func(ws *websocket.Conn, said *said) {
		answerJoins(ws, `{"status":"error","response":`+said.object("")+`}`)
	}},
	{name: "join crashed", args: listenA, want: "crashed", session: func(ws *websocket.Conn, said *said) {
		answerJoins(ws, `{"status":"error","response":{"reason":"join crashed","echo":`+said.object("")+`}}`)
	}},
	{name: "on_join refused", onJoin: true, args: append(listenA, "--max-retries", "1", "--rejoin-after", "1ms"), want: "was answered with status|last stage|on_join|on-join", session: func(ws *websocket.Conn, said *said) {
		answerAll(ws, func(event string) string {
			if event == "sync" {
				return `{"status":` + quote("no: "+said.request[:60]) + `,"response":` + said.object("") + `}`
			}
			return `{"status":"ok","response":{}}`
		})
	}},
	{name: "channel crashed", args: append(listenA, "--max-retries", "1", "--rejoin-after", "1ms"), want: "phx_error", session: func(ws *websocket.Conn, said *said) {
		answerJoins(ws, `{"status":"ok","response":{}}`, `"phx_error",`+said.object(""))
	}},
	{name: "push refused", args: []string{"push", "room:a", "ev", "{}", "--timeout", "5"}, want: "was answered with status", session: func(ws *websocket.Conn, said *said) {
		answerAll(ws, func(event string) string {
			if event == "ev" {
				return `{"status":` + quote("no: "+said.request[:60]) + `,"response":` + said.object("") + `}`
			}
			return `{"status":"ok","response":{}}`
		})
	}},
	{name: "heartbeat refused", args: []string{"connect", "--heartbeat-timeout", "3s"}, want: "heartbeat was answered", session: func(ws *websocket.Conn, said *said) {
		answerAll(ws, func(string) string {
			return `{"status":` + quote("no: "+said.request[:60]) + `,"response":` + said.object("") + `}`
		})
	}},
	{name: "close", args: append(listenA, "--max-retries", "40", "--reconnect-after", "1ms"), want: "close code 1011", session: func(ws *websocket.Conn, said *said) {
		answerJoins(ws, `{"status":"ok","response":{}}`)
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1011, said.echo(1, 110)), noDeadline)
	}},
	{name: "reset", args: append(listenA, "--max-retries", "2", "--reconnect-after", "1ms"), want: "reset|eof", session: func(ws *websocket.Conn, _ *said) {
		answerJoins(ws, `{"status":"ok","response":{}}`)
		_ = ws.NetConn().(*net.TCPConn).SetLinger(0)
		_ = ws.Close()
	}},
	{name: "strange frames", args: append(listenA, "-c", "1"), want: "nobody joined", session: func(ws *websocket.Conn, said *said) {
		name := quote(everything(said.slots...))
		answerJoins(ws, `{"status":"ok","response":{}}`)
		for _, frame := range []string{
			`[null,null,` + name + `,` + name + `,{}]`,                               // a topic that nobody joined
			`["99",null,"room:a",` + name + `,` + said.object("") + `]`,              // of an earlier join
			`[null,"77","room:a","phx_reply",{"status":` + name + `,"response":{}}]`, // to no push
			`[null,"77",` + name + `,"phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`,
			`no JSON: ` + everything(said.slots...),
			`[` + name + `]`,
			`["1",null,"room:a","last",{}]`,
		} {
			_ = ws.WriteMessage(websocket.TextMessage, []byte(frame))
		}
		_ = ws.WriteMessage(websocket.BinaryMessage, []byte(everything(said.slots...)))
		_, _, _ = ws.ReadMessage()
	}},
}

// start starts the server, and returns its URI with two %s, for the userinfo and for a value of the query, and its address as a proxy, if it is
// one.
// params are the secrets in what is sent once there is a session.
func (f *failing) start(t *testing.T, params ...string) (uri, proxy string) {
	t.Helper()
	slots := []string{"token", "header", "cookie", "param", "query", "user", "password"}
	switch {
	case f.proxy:
		slots = []string{"proxy_user", "proxy_pass"}
	case f.session != nil && (f.args == nil || f.args[0] != "connect"):
		slots = append(slots, params...)
		if f.onJoin {
			slots = append(slots, "on_join")
		}
	}
	const after = "/socket?q=%s"
	var attempts atomic.Int64
	switch {
	case f.uri != "":
		return f.uri, ""
	case f.tls:
		server := httptest.NewTLSServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		return "wss://%s@" + server.Listener.Addr().String() + after, ""
	case f.session != nil:
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			request, _ := httputil.DumpRequest(r, false)
			upgrader := websocket.Upgrader{Subprotocols: []string{"phoenix"}}
			ws, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer ws.Close()
			f.session(ws, &said{string(request), int(attempts.Add(1) - 1), slots})
			for err == nil { // until the client has had enough
				_, _, err = ws.ReadMessage()
			}
		}))
		t.Cleanup(server.Close)
		return "ws://%s@" + server.Listener.Addr().String() + after, ""
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			n := int(attempts.Add(1) - 1)
			go func() {
				defer nc.Close()
				f.answer(nc, &said{readRequest(nc), n, slots})
			}()
		}
	}()
	if f.proxy {
		return "ws://%s@phoenix.test" + after, l.Addr().String()
	}
	return "ws://%s@" + l.Addr().String() + after, ""
}

// readRequest returns the head of an HTTP request.
func readRequest(r io.Reader) string {
	lines := bufio.NewReader(r)
	request := ""
	for !strings.HasSuffix(request, "\r\n\r\n") {
		line, err := lines.ReadString('\n')
		request += line
		if err != nil {
			break
		}
	}
	return request
}

// A clientMessage is what a client pushes: join_ref, ref, topic, event and payload.
type clientMessage [5]json.RawMessage

func (m *clientMessage) event() string { return strings.Trim(string(m[3]), `"`) }

// answer replies to m.
func (m *clientMessage) answer(ws *websocket.Conn, payload string) {
	text := fmt.Sprintf(`[%s,%s,%s,"phx_reply",%s]`, m[0], m[1], m[2], payload)
	_ = ws.WriteMessage(websocket.TextMessage, []byte(text)) // who is gone is no matter, here and below
}

// readMessage returns the next message of a client, a zero one at the end.
func readMessage(ws *websocket.Conn) (m clientMessage, ok bool) {
	_, text, err := ws.ReadMessage()
	return m, err == nil && json.Unmarshal(text, &m) == nil
}

// answerJoins answers the first message, which is a join, with the payload; then sends what follows, an event and its payload, on that topic.
func answerJoins(ws *websocket.Conn, payload string, after ...string) {
	m, ok := readMessage(ws)
	if !ok {
		return
	}
	m.answer(ws, payload)
	for _, rest := range after {
		_ = ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `[%s,%s,%s,%s]`, m[0], m[0], m[2], rest))
	}
}

// answerAll answers each message as answer says.
func answerAll(ws *websocket.Conn, answer func(event string) string) {
	for {
		m, ok := readMessage(ws)
		if !ok {
			return
		}
		m.answer(ws, answer(m.event()))
	}
}

// friend is a server that is well. It refuses room:refused and the event fail by repeating all, and whenever it is told something it repeats
// the params of the channels that were left before.
func friend(ws *websocket.Conn, said *said) {
	params := map[string]json.RawMessage{}
	var late [][]byte
	for {
		m, ok := readMessage(ws)
		if !ok {
			return
		}
		for _, frame := range late {
			_ = ws.WriteMessage(websocket.TextMessage, frame)
		}
		topic := string(m[2])
		if m.event() == "fail" || topic == `"room:refused"` {
			m.answer(ws, `{"status":"error","response":`+said.object(string(m[4]))+`}`)
			continue
		}
		m.answer(ws, `{"status":"ok","response":{}}`)
		switch m.event() {
		case "phx_join":
			params[topic] = m[4]
		case "phx_leave":
			late = append(late, fmt.Appendf(nil, `[%s,null,%s,"late",{"params":%s,"all":%s}]`, m[0], m[2], params[topic], quote(string(params[topic]))))
		}
	}
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

// noDeadline waits for as long as it takes.
var noDeadline time.Time
