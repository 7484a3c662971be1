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
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

// officialWire is what the official JavaScript client puts on the wire, a file a scenario. The tests of phoenixtest, where
// node runs it, see to it that this is true.
const officialWire = "../testdata/phoenix_js/wire"

// TestClientWire compares what our client puts on the wire with what the official one does in the same scenario against the
// same server, frame by frame. Every difference is intended, and one of wireDifferences.
func TestClientWire(t *testing.T) {
	for name, want := range official(t) {
		t.Run(name, func(t *testing.T) {
			play, ok := wireScenarios[name]
			if !ok {
				t.Fatal("there is no such scenario for our client")
			}
			for _, d := range wireDifferences {
				want = d.apply(name, want)
			}
			if diff := cmp.Diff(want, playWire(t, play, hasHeaders(want))); diff != "" {
				t.Errorf("the official client and the listed differences (-), and ours (+):\n%s", diff)
			}
		})
	}
}

// TestWireDifferences wants everything that is listed to be there: each difference in each of its scenarios.
func TestWireDifferences(t *testing.T) {
	wires := official(t)
	for i, d := range wireDifferences {
		in := d.in
		if in == nil {
			in = slices.Collect(maps.Keys(wires))
		}
		found := 0
		for _, name := range in {
			wire := wires[name]
			for _, before := range wireDifferences[:i] {
				wire = before.apply(name, wire)
			}
			if !cmp.Equal(wire, d.apply(name, wire)) {
				found++
			} else if d.in != nil {
				t.Errorf("%s: %s: not so any more", name, d.what)
			}
		}
		if found == 0 {
			t.Errorf("%s: not so any more", d.what)
		}
	}
	for name := range wireScenarios {
		if _, ok := wires[name]; !ok {
			t.Errorf("%s: there is no such scenario for the official client", name)
		}
	}
}

// official reads what the official client puts on the wire: of each scenario the lines of each connection.
func official(t *testing.T) map[string][][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.FromSlash(officialWire + "/*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s (error %v)", officialWire, err)
	}
	wires := map[string][][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if strings.HasPrefix(name, "longpoll") {
			continue // messages as in the others; for what is special about its requests see TestLongPollBatches
		}
		for paragraph := range strings.SplitSeq(string(text), "\n\n") {
			wires[name] = append(wires[name], strings.Split(strings.TrimSuffix(paragraph, "\n"), "\n"))
		}
	}
	return wires
}

// hasHeaders tells whether the headers of the requests were logged, too.
func hasHeaders(wire [][]string) bool { return slices.Contains(wire[0], "Upgrade: websocket") }

// A wireUser is a user of our client in a scenario.
type wireUser struct {
	t   *testing.T
	srv *phoenixtest.Server
	log *wireLog
}

// playWire plays a scenario and returns what our client put on the wire.
func playWire(t *testing.T, play func(u *wireUser), headers bool) [][]string {
	t.Helper()
	var log wireLog
	bubble(t, peer.App(), func(t *testing.T, srv *phoenixtest.Server) {
		play(&wireUser{t: t, srv: srv, log: &log})
	}, phoenixtest.WithTap(log.tap))
	wire, err := log.lines(headers)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// A wireClient is a connection in a scenario.
type wireClient struct {
	*phoenix.Conn
	t *testing.T
}

// dial makes a connection, which is up when it returns, unless it was refused.
func (u *wireUser) dial(o phoenix.Options) *wireClient {
	u.t.Helper()
	o.NetDial = u.log.dial(u.srv)
	conn, _ := start(u.t, u.srv, o)
	settle(0)
	return &wireClient{Conn: conn, t: u.t}
}

// join joins a topic with params, or without.
func (c *wireClient) join(topic string, params ...string) {
	c.t.Helper()
	if _, err := c.Join(c.t.Context(), channelWith(topic, params...)); err != nil {
		c.t.Error(err)
	}
}

// channelWith is a channel with params for its joins, one after the other.
func channelWith(topic string, params ...string) phoenix.Channel {
	if len(params) == 0 {
		return phoenix.Channel{Topic: topic}
	}
	return phoenix.Channel{Topic: topic, Params: func(context.Context) (phoenix.Payload, error) {
		text := params[0]
		if len(params) > 1 {
			params = params[1:]
		}
		return phoenix.JSON(text), nil
	}}
}

// token are credentials that are an auth token.
func token(text string) func(context.Context) (phoenix.Credentials, error) {
	return func(context.Context) (phoenix.Credentials, error) {
		return phoenix.Credentials{AuthToken: text, HasAuthToken: true}, nil
	}
}

// push pushes JSON and waits for a reply.
func (c *wireClient) push(topic, name, payload string) {
	c.t.Helper()
	c.pushPayload(topic, name, phoenix.JSON(payload))
}

func (c *wireClient) pushPayload(topic, name string, payload phoenix.Payload) {
	c.t.Helper()
	if _, err := c.Push(c.t.Context(), phoenix.Push{Topic: topic, Name: name, Payload: payload}); err != nil {
		c.t.Error(err)
	}
}

// send pushes and waits for nothing.
func (c *wireClient) send(topic, name string, payload phoenix.Payload) {
	c.t.Helper()
	send(c.t, c.Conn, phoenix.Push{Topic: topic, Name: name, Payload: payload})
}

func (c *wireClient) leave(topic string) {
	c.t.Helper()
	if err := c.Leave(c.t.Context(), topic); err != nil {
		c.t.Error(err)
	}
}

// close closes the connection.
func (c *wireClient) close() {
	c.t.Helper()
	if err := c.Close(c.t.Context()); err != nil {
		c.t.Error(err)
	}
}

// wireScenarios are what a user of our client does to do what testdata/phoenix_js does with the official one.
var wireScenarios = map[string]func(u *wireUser){
	"recorded": func(u *wireUser) {
		a := u.dial(phoenix.Options{Credentials: func(context.Context) (phoenix.Credentials, error) {
			params := url.Values{"a": {"1"}, "list[0]": {"x"}, "list[1]": {"y"}, "m[k]": {"v w"}}
			return phoenix.Credentials{Params: params, AuthToken: "tök", HasAuthToken: true}, nil
		}})
		a.join("room:1")
		a.push("room:1", "tick", `{"n":2,"ms":10}`)
		settle(time.Second)
		a.leave("room:1")
		a.close()
	},
	"auth_token": func(u *wireUser) {
		a := u.dial(phoenix.Options{Credentials: token("a?b>c~==")})
		a.join("room:1")
		a.push("room:1", "whoami", `{}`)
		a.close()
	},
	"auth_token_not_taken": func(u *wireUser) {
		a := u.dial(phoenix.Options{URL: u.srv.SocketURL("/plain"), Credentials: token("t")})
		a.join("room:1")
		a.close()
	},
	"refused": func(u *wireUser) {
		a := u.dial(phoenix.Options{URL: u.srv.URL + "?token=bad"})
		<-a.Done()
	},

	"join": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("room:echo", `{"a":1,"text":"é<&>\n`+"\u2028"+`"}`)
		a.join("room:listreply")
		a.close()
	},
	"join_refused":         joinRefused("room:private"),
	"join_unmatched_topic": joinRefused("nowhere:1"),
	"join_crashed":         joinRefused("room:crashjoin"),
	"join_refused_once": func(u *wireUser) {
		a := u.dial(phoenix.Options{MaxRetries: -1, RetryRefusals: true})
		a.join("room:flaky", `{"key":"k","fail":1}`)
		a.close()
	},
	"join_slow": func(u *wireUser) {
		a := u.dial(phoenix.Options{Channels: []phoenix.Channel{channelWith("room:slowjoin", `{"ms":300}`)}})
		a.push("room:slowjoin", "ping", `{"a":1}`)
		a.close()
	},
	"join_timeout": func(u *wireUser) {
		a := u.dial(phoenix.Options{ReplyTimeout: time.Second, MaxRetries: -1, RejoinAfter: phoenix.Steps(10 * time.Millisecond)})
		a.join("room:slowjoin", `{"ms":1500}`, `{"ms":0}`)
		a.close()
	},
	"join_slower_than_heartbeat": func(u *wireUser) {
		const interval = 300 * time.Millisecond
		a := u.dial(phoenix.Options{HeartbeatInterval: interval, HeartbeatTimeout: interval})
		a.join("room:slowjoin", `{"ms":4000}`)
		a.close()
	},
	"leave": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("room:1")
		a.leave("room:1")
		a.join("room:1")
		a.close()
	},

	"push": func(u *wireUser) {
		a := u.dial(phoenix.Options{ReplyTimeout: time.Second})
		a.join("room:1")
		a.push("room:1", "ping", `{"a":1,"list":[null,true,"é\"\\"]}`)
		a.push("room:1", "ping", `{}`)
		a.push("room:1", "fail", `{}`)
		a.push("room:1", "custom_status_payload", `{"a":1}`)
		for _, name := range []string{"list_payload", "text_payload", "null_payload"} {
			a.push("room:1", name, `{}`)
		}
		a.send("room:1", "noreply", phoenix.JSON(`{}`))
		settle(2 * time.Second)
		a.push("room:1", "push_event", `{"event":"hello","payload":{"from":"server"}}`)
		a.close()
	},
	"push_pipelined": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("room:1")
		a.send("room:1", "delayed", phoenix.JSON(`{"ms":50}`))
		a.send("room:1", "delayed", phoenix.JSON(`{"ms":0}`))
		settle(time.Second)
		a.close()
	},
	"broadcast": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("room:1")
		b := u.dial(phoenix.Options{})
		b.join("room:1")
		a.push("room:1", "new_msg", `{"body":"to all"}`)
		b.push("room:1", "new_msg_from", `{"body":"to others"}`)
		a.close()
		b.close()
	},
	"binary": func(u *wireUser) {
		const topic = "room:é"
		a := u.dial(phoenix.Options{})
		a.join(topic)
		b := u.dial(phoenix.Options{})
		b.join(topic)
		a.pushPayload(topic, "binary_echo", phoenix.Binary([]byte{0, 10, 34, 128, 255}))
		a.pushPayload(topic, "binary_echo", phoenix.Binary([]byte{}))
		a.pushPayload(topic, "binary_error", phoenix.Binary([]byte{1}))
		a.pushPayload(topic, "binary_len", phoenix.Binary([]byte{1, 2, 3}))
		a.pushPayload(topic, "binary_push", phoenix.Binary([]byte{9, 8, 7}))
		a.push(topic, "binary_broadcast", `{"size":2}`)
		b.send(topic, "new_msg", phoenix.Binary([]byte{5, 6}))
		settle(0)
		a.close()
		b.close()
	},
	"presence": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("presence:lobby", `{"user":"alice","meta":{"device":"node"}}`)
		b := u.dial(phoenix.Options{})
		b.join("presence:lobby", `{"user":"bob","meta":{"device":"node"}}`)
		b.push("presence:lobby", "update_meta", `{"status":"away"}`)
		b.close()
		a.close()
	},
	"odd_topic": func(u *wireUser) {
		const topic = "room: \"\\/\t\n\u0001\u007f\u2028é😀<&>"
		a := u.dial(phoenix.Options{})
		a.join(topic)
		a.push(topic, "push_event", `{"event":"room: \"\\/\t\n\u0001`+"\u007f\u2028"+`é😀<&>","payload":{}}`)
		a.close()
	},

	"crash": func(u *wireUser) {
		a := u.dial(patient())
		a.join("room:1")
		a.send("room:1", "crash", phoenix.JSON(`{}`))
		settle(5 * time.Second)
		a.push("room:1", "ping", `{"after":"crash"}`)
		a.close()
	},
	"close": func(u *wireUser) {
		a := u.dial(patient())
		a.join("room:1")
		a.join("room:2")
		a.push("room:1", "stop_reply", `{}`)
		settle(5 * time.Second)
		a.push("room:2", "ping", `{}`)
		a.close()
	},
	"kick": func(u *wireUser) {
		o := patient()
		o.URL = u.srv.URL + "?user_id=1"
		a := u.dial(o)
		a.join("room:1")
		a.send("room:1", "kick", phoenix.JSON(`{}`))
		settle(5 * time.Second)
		a.push("room:1", "ping", `{"after":"kick"}`)
		a.close()
	},
	"drop": func(u *wireUser) {
		a := u.dial(patient())
		a.join("room:1")
		a.send("room:1", "kill_transport", phoenix.JSON(`{}`))
		settle(5 * time.Second)
		a.close()
	},
	"restart": func(u *wireUser) {
		a := u.dial(patient())
		a.join("room:1")
		u.srv.Stop()
		settle(time.Second)
		if err := u.srv.Start(); err != nil {
			u.t.Error(err)
		}
		settle(5 * time.Second)
		a.close()
	},
	"heartbeat": func(u *wireUser) {
		a := u.dial(phoenix.Options{HeartbeatInterval: time.Second, HeartbeatTimeout: time.Second})
		settle(time.Second)
		if _, err := a.Heartbeat(u.t.Context()); err != nil {
			u.t.Error(err)
		}
		a.close()
	},
	"heartbeat_timeout": func(u *wireUser) {
		o := patient()
		o.HeartbeatInterval, o.HeartbeatTimeout = 1500*time.Millisecond, 500*time.Millisecond
		a := u.dial(o)
		a.join("room:1")
		u.srv.BlackHole()
		settle(3500 * time.Millisecond)
		a.close()
	},
}

func joinRefused(topic string) func(u *wireUser) {
	return func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		if _, err := a.Join(u.t.Context(), phoenix.Channel{Topic: topic}); err == nil {
			u.t.Error("joined")
		}
		a.close()
	}
}

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

// A renumbering gives refs numbers from 1, in the order of their first use.
type renumbering map[string]string

func (r renumbering) number(ref string) string {
	if r[ref] == "" {
		r[ref] = strconv.Itoa(len(r) + 1)
	}
	return r[ref]
}

// renumber renumbers the refs of each client. A client counts on when it reconnects; one that begins with a ref that was
// there before is another.
func renumber(wire [][]string) [][]string {
	refs := renumbering{}
	var rewritten [][]string
	for _, lines := range wire {
		begun := false
		number := func(ref string) string {
			if _, known := refs[ref]; known && !begun {
				refs = renumbering{}
			}
			begun = true
			return refs.number(ref)
		}
		var renumbered []string
		for _, line := range lines {
			renumbered = append(renumbered, renumberLine(line, number))
		}
		rewritten = append(rewritten, renumbered)
	}
	return rewritten
}

// textRefs are the join_ref, which may be null, and the ref of a text frame.
var textRefs = regexp.MustCompile(`^text \[(?:null|"([0-9]+)"),"([0-9]+)",`)

func renumberLine(line string, number func(ref string) string) string {
	if quoted, ok := strings.CutPrefix(line, "binary "); ok {
		return "binary " + renumberBinary(quoted, number)
	}
	refs := textRefs.FindStringSubmatch(line)
	if refs == nil {
		return line
	}
	joinRef := "null"
	if refs[1] != "" {
		joinRef = strconv.Quote(number(refs[1]))
	}
	return fmt.Sprintf("text [%s,%q,%s", joinRef, number(refs[2]), line[len(refs[0]):])
}

// renumberBinary renumbers the refs of a binary push (PROTOCOL.md, section 3), which is quoted.
func renumberBinary(quoted string, number func(ref string) string) string {
	const head = 5 // kind, and the lengths of join_ref, ref, topic and event
	frame, err := strconv.Unquote(quoted)
	if err != nil {
		panic(err) // it was quoted by frameLine
	}
	refAt := head + int(frame[1])
	restAt := refAt + int(frame[2])
	joinRef, ref := number(frame[head:refAt]), number(frame[refAt:restAt])
	return strconv.Quote(string([]byte{frame[0], byte(len(joinRef)), byte(len(ref)), frame[3], frame[4]}) + joinRef + ref + frame[restAt:])
}

// A wireDifference is one between what the official client and ours put on the wire. Rules and sections are PROTOCOL.md's.
type wireDifference struct {
	what, why string
	// in are the scenarios in which it shows; nil: wherever rewrite finds it.
	in []string
	// rewrite makes the official client's connections ours, each a list of lines.
	rewrite func(wire [][]string) [][]string
}

// wireDifferences are all there are. They are applied in this order.
var wireDifferences = []wireDifference{
	{
		what:    "refs count from 1, and have no holes",
		why:     "Any numbers do that are not used twice (rule 1). The official client's callbacks take one, too.",
		rewrite: renumber,
	},
	{
		what:    "a close has code 1000",
		why:     "It says that we are done (RFC 6455, section 7.4.1); without a code the server is told nothing.",
		rewrite: replaceIn("close without a code", `close 1000 ""`),
	},
	{
		what:    "a link found dead by its heartbeat is dropped without a close frame",
		why:     "Nobody is there to read it. The official client waits for the answer, 1.5 s, before it comes back.",
		in:      []string{"heartbeat_timeout"},
		rewrite: remove(`close 1000 "heartbeat timeout"`),
	},
	{
		what: "a join that is slower than the heartbeats is waited for",
		why: "It holds up the answers to heartbeats, and so proves nothing before its own timeout (rule 10). The official client " +
			"drops a link that is alive. Heartbeats go on: the server counts only what it hears (rule 17).",
		in:      []string{"join_slower_than_heartbeat"},
		rewrite: waitForJoin,
	},
	{
		what:    "a channel that the server closed is joined again",
		why:     "We did not ask for its end, so it is wanted still; the official client takes it for the end.",
		in:      []string{"close"},
		rewrite: each(rejoinClosed),
	},
	{
		what:    "a server that takes no auth token is not left",
		why:     "It answers without a subprotocol, which is no error (rule 24). ws, as browsers do, fails the handshake.",
		in:      []string{"auth_token_not_taken"},
		rewrite: insertAfter("Upgrade: websocket", `text ["1","1","room:1","phx_join",{}]`, `close 1000 ""`),
	},
	{
		what:    "an auth token is encoded as the bytes that it is",
		why:     "btoa reads it as Latin-1: the server's token would not be the text that was given, outside of ASCII.",
		in:      []string{"recorded"},
		rewrite: replaceIn("base64url.bearer.phx.dPZr", "base64url.bearer.phx.dMO2aw"),
	},
	{
		what:    "subprotocols have a space between them",
		why:     "gorilla/websocket writes them so; both are right by RFC 9110, section 5.6.1.",
		rewrite: replaceIn("Sec-Websocket-Protocol: phoenix,", "Sec-Websocket-Protocol: phoenix, "),
	},
	{
		what:    "compression is not offered",
		why:     "The server compresses for whoever offers it (section 1): that is for the user to ask for.",
		rewrite: remove("Sec-Websocket-Extensions: permessage-deflate; client_max_window_bits"),
	},
	{
		what:    "there is a User-Agent",
		why:     "Servers log it. The caller's own wins.",
		in:      []string{"recorded", "refused", "auth_token_not_taken"},
		rewrite: insertAfter("Upgrade: websocket", "User-Agent: phx"),
	},
	{
		what:    "a space in the query is a +",
		why:     "net/url writes it so, and the server reads both as a space (section 1).",
		in:      []string{"recorded"},
		rewrite: replaceIn("v%20w", "v+w"),
	},
}

// apply makes the official client's connections in a scenario ours, as far as d goes.
func (d wireDifference) apply(scenario string, wire [][]string) [][]string {
	if d.in != nil && !slices.Contains(d.in, scenario) {
		return wire
	}
	return d.rewrite(wire)
}

// each rewrites the lines of each connection.
func each(rewrite func(lines []string) []string) func(wire [][]string) [][]string {
	return func(wire [][]string) [][]string {
		var rewritten [][]string
		for _, lines := range wire {
			rewritten = append(rewritten, rewrite(slices.Clone(lines)))
		}
		return rewritten
	}
}

// replaceIn replaces the first old of each line.
func replaceIn(old, replacement string) func(wire [][]string) [][]string {
	return each(func(lines []string) []string {
		for i := range lines {
			lines[i] = strings.Replace(lines[i], old, replacement, 1)
		}
		return lines
	})
}

func remove(line string) func(wire [][]string) [][]string {
	return each(func(lines []string) []string {
		return slices.DeleteFunc(lines, func(l string) bool { return l == line })
	})
}

func insertAfter(line string, more ...string) func(wire [][]string) [][]string {
	return each(func(lines []string) []string {
		if i := slices.Index(lines, line); i >= 0 {
			return slices.Insert(lines, i+1, more...)
		}
		return lines
	})
}

// rejoinClosed inserts a join after the push upon which the server closes the channel; the ref behind it is one more.
func rejoinClosed(lines []string) []string {
	i := slices.Index(lines, `text ["1","3","room:1","stop_reply",{}]`)
	lines[i+1] = strings.Replace(lines[i+1], `"4"`, `"5"`, 1)
	return slices.Insert(lines, i+1, `text ["4","4","room:1","phx_join",{}]`)
}

// waitForJoin stays with the first connection: a heartbeat every 300 ms of the 4 s that the join takes.
func waitForJoin(wire [][]string) [][]string {
	lines := slices.Clone(wire[0][:2]) // the request and the join
	for ref := range 13 {
		lines = append(lines, fmt.Sprintf(`text [null,"%d","phoenix","heartbeat",{}]`, ref+2))
	}
	return [][]string{append(lines, `close 1000 ""`)}
}
