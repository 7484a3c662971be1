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
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"net"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

const transcripts = "../../testdata/transcripts"

// clients are the recordings of clients; all were made on Bandit with its defaults.
var clients = []string{"phoenix-js-1.8.16", "phx-go-0.2.5", "slipstream-1.2.2", "wscat-6.1.0"}

// A transcript is one file and how to replay it.
type transcript struct {
	scenario
	file   string // below transcripts
	flavor phoenixtest.Flavor
}

// allTranscripts is what the tables name, claimed or not.
func allTranscripts() []transcript {
	var all []transcript
	for _, name := range clients {
		all = append(all, transcript{file: "clients/" + name + ".ndjson"})
	}
	for name, sc := range scenarios {
		for _, vsn := range sc.in {
			file := vsn + "/" + name + ".ndjson"
			all = append(all,
				transcript{scenario: sc, file: file},
				transcript{scenario: sc, file: "cowboy/" + file, flavor: phoenixtest.Cowboy})
		}
	}
	slices.SortFunc(all, func(a, b transcript) int { return strings.Compare(a.file, b.file) })
	return all
}

// TestTranscriptsAreAllNamed keeps the tables and the directory in step.
func TestTranscriptsAreAllNamed(t *testing.T) {
	var onDisk []string
	err := fs.WalkDir(os.DirFS(transcripts), ".", func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			onDisk = append(onDisk, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, tr := range allTranscripts() {
		named = append(named, tr.file)
	}
	slices.Sort(onDisk)
	if diff := cmp.Diff(onDisk, named); diff != "" {
		t.Errorf("transcripts on disk (-) and in the tables (+) differ:\n%s", diff)
	}
}

// TestTranscripts replays the clients' half of every claimed recording against the peer
// application and compares the server's half. Then it falsifies the recording in many ways,
// one at a time, and wants the comparison to notice, so that it is known to see something.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	for _, tr := range allTranscripts() {
		if tr.unclaimed != "" {
			continue
		}
		t.Run(strings.TrimSuffix(tr.file, ".ndjson"), func(t *testing.T) {
			t.Parallel()
			recording := readRecording(t, path.Join(transcripts, tr.file))
			var got map[string][]string
			synctest.Test(t, func(t *testing.T) {
				got = replay(t, recording, tr.config.App(), tr.flavor)
			})
			if slices.Contains(tr.loses, path.Dir(tr.file)) {
				got[""] = slices.DeleteFunc(got[""], func(line string) bool { return strings.HasPrefix(line, "close 1009") })
			}
			if diff := cmp.Diff(serverLines(recording), got); diff != "" {
				t.Fatalf("recorded (-) and replayed (+) differ:\n%s", diff)
			}
			for what, falsified := range falsifications(recording) {
				if cmp.Equal(serverLines(falsified), got) {
					t.Errorf("not noticed: %s", what)
				}
			}
		})
	}
}

// A recorded is one line of a transcript: one frame, one HTTP message, one note.
type recorded struct {
	Dir    string
	Type   string
	Data   json.RawMessage
	Millis int `json:"t_ms"`
	Conn   json.RawMessage
	Fin    *bool
	RSV1   bool

	Unmasked bool
	Base64   string // of a text that is not UTF-8
	Length   int    // of a text of which Data is only the beginning
}

// conn names the connection; transcripts with one do not name it.
func (r recorded) conn() string { return strings.Trim(string(r.Conn), `"`) }

func (r recorded) text() string {
	var s string
	_ = json.Unmarshal(r.Data, &s) // "" for what is not a string
	return s
}

func readRecording(t *testing.T, path string) []recorded {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []recorded
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var r recorded
		if err := json.Unmarshal(scanner.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		lines = append(lines, r)
	}
	return lines
}

// serverLines are what the server did in a recording, for each connection in order, each as
// one comparable line.
func serverLines(recording []recorded) map[string][]string {
	lines := map[string][]string{}
	for _, r := range recording {
		if r.Dir == "server" {
			lines[r.conn()] = append(lines[r.conn()], serverLine(r))
		}
	}
	for conn := range lines {
		lines[conn] = normalize(lines[conn])
	}
	return lines
}

func serverLine(r recorded) string {
	switch r.Type {
	case "http":
		return httpLine(parseHTTP(r.Data))
	case "text":
		return textLine(r.text(), r.Length, r.RSV1)
	case "close":
		var c struct{ Code *int }
		_ = json.Unmarshal(r.Data, &c) // a missing code shows as such
		if c.Code == nil {
			return closeLine(nil)
		}
		return closeLine([]byte{byte(*c.Code >> 8), byte(*c.Code)})
	case "tcp":
		return tcpLine
	default:
		return r.Type + " " + r.text() // binary and pong, in base64
	}
}

// tcpLine is the end of the connection. Whether it was recorded as EOF, EPIPE or ECONNRESET
// depended on what the client was just doing.
const tcpLine = "tcp end"

func closeLine(payload []byte) string {
	if len(payload) < 2 {
		return "close without a code"
	}
	return fmt.Sprintf("close %d %q", int(payload[0])<<8|int(payload[1]), payload[2:])
}

// textLine abbreviates a long text as the recordings do.
func textLine(text string, length int, compressed bool) string {
	const long, shown = 10_000, 200
	if length == 0 {
		length = len(text)
	}
	if length > long {
		text = fmt.Sprintf("%s... of %d bytes", text[:shown], length)
	}
	if compressed {
		return "compressed text " + text
	}
	return "text " + text
}

// An httpMessage is an HTTP request or answer of a recording.
type httpMessage struct {
	Method, Path string
	Status       int
	Headers      map[string]string
	Order        []string // of the headers
	Body         string
}

// parseHTTP understands both forms: an object, and the raw lines.
func parseHTTP(data json.RawMessage) httpMessage {
	var m httpMessage
	var raw []string
	if json.Unmarshal(data, &raw) != nil {
		if err := json.Unmarshal(data, &m); err != nil {
			panic(err)
		}
		m.Order = slices.Sorted(maps.Keys(m.Headers))
		return m
	}
	first := strings.Fields(raw[0])
	if status, err := strconv.Atoi(first[1]); err == nil {
		m.Status = status
	} else {
		m.Method, m.Path = first[0], first[1]
	}
	m.Headers = map[string]string{}
	for _, line := range raw[1:] {
		name, value, _ := strings.Cut(line, ": ")
		m.Headers[name] = value
		m.Order = append(m.Order, name)
	}
	return m
}

// httpLine is an answer with all its headers but those that are never twice the same.
func httpLine(m httpMessage) string {
	var b strings.Builder
	fmt.Fprintf(&b, "http %d", m.Status)
	headers := map[string]string{}
	for name, value := range m.Headers {
		headers[strings.ToLower(name)] = value
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if name == "date" || name == "sec-websocket-accept" {
			fmt.Fprintf(&b, " [%s]", name)
			continue
		}
		fmt.Fprintf(&b, " [%s: %s]", name, headers[name])
	}
	fmt.Fprintf(&b, " %q", m.Body)
	return b.String()
}

// request is the HTTP message to send.
func (m httpMessage) request() []byte {
	var b bytes.Buffer
	length := len(m.Body)
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", m.Method, m.Path)
	for _, name := range m.Order {
		fmt.Fprintf(&b, "%s: %s\r\n", name, m.Headers[name])
	}
	if m.Body != "" || m.longPoll() {
		// Requests with a body and those of long poll were made by an HTTP library, and what it
		// added by itself was not recorded.
		fmt.Fprintf(&b, "host: "+recordedHost+"\r\nconnection: close\r\ncontent-length: %d\r\n", length)
	}
	b.WriteString("\r\n" + m.Body)
	return b.Bytes()
}

var opcodes = map[string]byte{
	"continuation": 0, "text": 1, "binary": 2, "op3": 3, "close": 8, "ping": 9, "pong": 10,
}

// longPoll tells whether a request is one of long poll.
func (m httpMessage) longPoll() bool { return strings.Contains(m.Path, "/longpoll") }

// frame is the client frame to send. A recording notes in words, in the line before, that
// a reserved bit was set.
func (r recorded) frame(reservedBit bool) []byte {
	first := opcodes[r.Type]
	if r.Fin == nil || *r.Fin {
		first |= 0x80
	}
	if reservedBit {
		first |= 0x40
	}
	return clientFrame(first, r.payload(), !r.Unmasked)
}

// payload is what a client frame carried.
func (r recorded) payload() []byte {
	encoded := r.text()
	switch {
	case r.Type == "close":
		var c struct {
			Code   *int
			Reason string
		}
		if json.Unmarshal(r.Data, &c) != nil || c.Code == nil {
			return nil
		}
		return append([]byte{byte(*c.Code >> 8), byte(*c.Code)}, c.Reason...)
	case r.Base64 != "":
		encoded = r.Base64
	case r.Type == "text" && r.Length > 0:
		return restoreLong(r.text(), r.Length)
	case r.Type == "text":
		return []byte(r.text())
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		panic(err)
	}
	return data
}

// restoreLong restores a long text, {"d":"xxx..."} in a push, from its beginning and its
// length. In vsn 1 the ref comes after it; it was "2" and the number of x, or "3".
func restoreLong(beginning string, length int) []byte {
	head := strings.TrimSuffix(beginning, "...")
	head = strings.TrimRight(head, "x")
	if strings.HasPrefix(head, "[") {
		const tail = `"}]`
		return []byte(head + strings.Repeat("x", length-len(head)-len(tail)) + tail)
	}
	for digits := range 10 {
		n := length - len(head) - len(`"},"ref":"2","join_ref":"1"}`) - digits
		if len(strconv.Itoa(n)) == digits && n < 10_000_000 {
			return []byte(head + strings.Repeat("x", n) + `"},"ref":"2` + strconv.Itoa(n) + `","join_ref":"1"}`)
		}
	}
	const tail = `"},"ref":"3","join_ref":"1"}`
	return []byte(head + strings.Repeat("x", length-len(head)-len(tail)) + tail)
}

// replay plays the client's part of a recording, at the recorded times, against a server,
// and returns what the server did. It must run in a synctest bubble.
func replay(t *testing.T, recording []recorded, app phoenixtest.App, flavor phoenixtest.Flavor) map[string][]string {
	t.Helper()
	srv := phoenixtest.NewPipeServer(app, phoenixtest.WithFlavor(flavor))
	p := &player{t: t, srv: srv, start: time.Now(), conns: map[string]*playedConn{}, recorded: pollTokens(recording), host: hostOf(recording)}
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
	// recorded are the tokens of long poll sessions in the order in which the server gave them; given are ours.
	recorded, given []string
	// host is the server's, as it was when that was recorded.
	host string
	note string // the last one
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
	m := parseHTTP(r.Data)
	if before := p.conns[r.conn()]; before != nil { // of long poll each request is a connection
		<-before.done
		c.lines = before.lines
	}
	p.gotTokens()
	p.conns[r.conn()] = c
	request := bytes.Replace(m.request(), []byte(recordedHost), []byte(p.host), 1)
	for i, token := range p.recorded {
		if bytes.Contains(request, []byte(token)) {
			request = bytes.ReplaceAll(request, []byte(token), []byte(p.given[i]))
		}
	}
	if _, err := nc.Write(request); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		c.read(m)
	}()
}

// gotTokens notes the tokens that the server has given.
func (p *player) gotTokens() {
	for _, c := range p.conns {
		select {
		case <-c.done:
		default:
			continue // its lines are still being written
		}
		for _, line := range c.lines {
			if token := pollToken.FindString(line); token != "" && !slices.Contains(p.given, token) {
				p.given = append(p.given, token)
			}
		}
	}
}

// recordedHost stands for the host that a request was made to.
const recordedHost = "recorded.host"

// hostOf is the host of a recording, where the server names it.
func hostOf(recording []recorded) string {
	for _, r := range recording {
		if uri := uriPattern.FindStringSubmatch(string(r.Data)); r.Dir == "server" && uri != nil {
			return uri[1]
		}
	}
	return "127.0.0.1"
}

var uriPattern = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)/`)

// pollToken is the token of a long poll session.
var pollToken = regexp.MustCompile(`SFMyNTY\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

// pollTokens are the tokens of a recording, in the order in which the server gave them.
func pollTokens(recording []recorded) []string {
	var tokens []string
	for _, r := range recording {
		if r.Dir != "server" || r.Type != "http" {
			continue
		}
		if token := pollToken.FindString(parseHTTP(r.Data).Body); token != "" && !slices.Contains(tokens, token) {
			tokens = append(tokens, token)
		}
	}
	return tokens
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
	// While the one was recorded, the session of another long poll recording was still there.
	countPattern = regexp.MustCompile(`(\\"subscribers\\":)\d`)
	peerPattern  = regexp.MustCompile(`(\\*"peer\\*":\\*"127\.0\.0\.1:)\d+`)
)

// normalize replaces what is never twice the same: phx_refs and the tokens of long poll sessions
// become the number of their first appearance on the connection, the ports of clients disappear.
func normalize(lines []string) []string {
	refs := map[string]int{}
	out := make([]string, len(lines))
	for i, line := range lines {
		line = pollToken.ReplaceAllStringFunc(line, func(token string) string {
			if _, known := refs[token]; !known {
				refs[token] = len(refs) + 1
			}
			return "token" + strconv.Itoa(refs[token])
		})
		line = countPattern.ReplaceAllString(line, "${1}N")
		if out[i] = line; !strings.Contains(line, "phx_ref") && !strings.Contains(line, `"peer`) && !strings.Contains(line, `peer\`) {
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

// A scenario is the recording of one name in the directories of its vsns, on Bandit and on
// Cowboy.
type scenario struct {
	in        []string    // the vsns it was recorded for
	config    peer.Config // the application's, as it was recorded
	unclaimed string      // why it is not replayed; "": it is
	loses     []string    // directories where the client was still writing 10 MB when the
	// server hung up, and lost the close frame to the reset: a race of TCP, not of Phoenix
}

var (
	both  = []string{"v1", "v2"}
	only1 = []string{"v1"}
	only2 = []string{"v2"}
)

// lpWindow is the application as long poll was recorded.
var lpWindow = peer.Config{PollWindow: 1500 * time.Millisecond}

// scenarios claims every transcript of a server, or says why not.
var scenarios = map[string]scenario{
	"auth_token":                              {in: only2},
	"binary_broadcast":                        {in: only2},
	"binary_join":                             {in: only2},
	"binary_push":                             {in: only2},
	"binary_reply":                            {in: only2},
	"broadcast":                               {in: both},
	"client_close_bad_code":                   {in: both},
	"client_close_codes":                      {in: both},
	"client_sends_reserved_events":            {in: both},
	"compress":                                {in: both, config: peer.Config{Compress: true}},
	"connect_flaky":                           {in: both},
	"connect_heartbeat":                       {in: both},
	"crash":                                   {in: both},
	"drain_sigterm":                           {in: both},
	"flood_small":                             {in: both},
	"fragmented_text":                         {in: both},
	"heartbeat_odd":                           {in: both},
	"http_errors":                             {in: only2},
	"idle_timeout":                            {in: both, config: peer.Config{IdleTimeout: 2 * time.Second}},
	"idle_timeout_ping_keeps_alive":           {in: both, config: peer.Config{IdleTimeout: 2 * time.Second}},
	"idle_timeout_server_pushes":              {in: both, config: peer.Config{IdleTimeout: 2 * time.Second}},
	"invalid_utf8":                            {in: both},
	"join_crash":                              {in: both},
	"join_double":                             {in: both},
	"join_error":                              {in: both},
	"join_flaky_retry":                        {in: both},
	"join_greet":                              {in: both},
	"join_integer_refs":                       {in: both},
	"join_null_join_ref":                      {in: both},
	"join_ok":                                 {in: both},
	"join_params":                             {in: both},
	"join_payload_not_a_map":                  {in: both},
	"join_pipelined":                          {in: both},
	"join_ref_differs_from_ref":               {in: both},
	"join_slow":                               {in: both},
	"join_unmatched_topic":                    {in: both},
	"kick":                                    {in: both},
	"kick_by_http":                            {in: both},
	"kill_transport":                          {in: both},
	"large_frames":                            {in: both, loses: []string{"v1", "cowboy/v1", "cowboy/v2"}},
	"large_server_push":                       {in: both},
	"leave":                                   {in: both},
	"leave_join_pipelined":                    {in: both},
	"leave_then_push":                         {in: both},
	"longpoll_auth_token":                     {in: both, config: lpWindow},
	"longpoll_basic":                          {in: both, config: lpWindow},
	"longpoll_batch":                          {in: both, config: lpWindow},
	"longpoll_batch_over_100":                 {in: only2, config: lpWindow},
	"longpoll_binary":                         {in: only2, config: lpWindow},
	"longpoll_broadcast":                      {in: both, config: lpWindow},
	"longpoll_errors":                         {in: both, config: lpWindow},
	"longpoll_expired":                        {in: both, config: lpWindow},
	"longpoll_header_token":                   {in: both, config: lpWindow},
	"longpoll_kick":                           {in: both, config: lpWindow},
	"longpoll_malformed":                      {in: both, config: lpWindow},
	"malformed_binary_empty":                  {in: only2},
	"malformed_binary_junk":                   {in: only2},
	"malformed_binary_kind1":                  {in: only2},
	"malformed_binary_short":                  {in: only2},
	"malformed_duplicate_keys":                {in: both},
	"malformed_empty":                         {in: both},
	"malformed_event_null":                    {in: both},
	"malformed_extra_keys":                    {in: both},
	"malformed_heartbeat_unjoined_null_topic": {in: both},
	"malformed_json_null":                     {in: both},
	"malformed_json_number":                   {in: both},
	"malformed_json_string":                   {in: both},
	"malformed_long_array":                    {in: both},
	"malformed_missing_event":                 {in: both},
	"malformed_missing_payload":               {in: both},
	"malformed_missing_ref":                   {in: both},
	"malformed_not_json":                      {in: both},
	"malformed_short_array":                   {in: both},
	"malformed_topic_number":                  {in: both},
	"malformed_wrong_container":               {in: both},
	"max_frame_size":                          {in: both, config: peer.Config{MaxFrameSize: 1000}},
	"origin":                                  {in: only2, config: peer.Config{CheckOrigin: true}},
	"presence":                                {in: both},
	"push_delayed_and_order":                  {in: both},
	"push_delayed_then_leave":                 {in: both},
	"push_noreply":                            {in: both},
	"push_not_joined":                         {in: both},
	"push_null_ref":                           {in: both},
	"push_reply_error":                        {in: both},
	"push_reply_odd":                          {in: both},
	"push_reply_ok":                           {in: both},
	"push_same_ref_twice":                     {in: both},
	"push_stale_join_ref":                     {in: both},
	"push_unhandled_event":                    {in: both},
	"raise_transport":                         {in: both},
	"refused":                                 {in: both},
	"reserved_bit":                            {in: both},
	"reserved_opcode":                         {in: both},
	"server_push":                             {in: both},
	"stop":                                    {in: both},
	"stop_reply":                              {in: both},
	"too_many_channels":                       {in: both, config: peer.Config{MaxChannels: 3}},
	"unmasked_frame":                          {in: both},
	"v1_binary_frame":                         {in: only1},
	"v1_binary_server_push":                   {in: only1},
	"v1_text_in_binary_frame":                 {in: only1},
	"vsn":                                     {in: only2},
	"whoami":                                  {in: both},
	"ws_ping":                                 {in: both},
}

// falsifications are the recording with one thing about the server changed: a byte of a
// frame, a close code, an HTTP status, header or body, a line left out, two lines swapped.
func falsifications(recording []recorded) iter.Seq2[string, []recorded] {
	return func(yield func(string, []recorded) bool) {
		for i, r := range recording {
			if r.Dir != "server" {
				continue
			}
			for what, changed := range falsify(r) {
				if !yield(fmt.Sprintf("line %d: %s", i+1, what), slices.Replace(slices.Clone(recording), i, i+1, changed)) {
					return
				}
			}
			if !yield(fmt.Sprintf("line %d left out", i+1), slices.Delete(slices.Clone(recording), i, i+1)) {
				return
			}
			if j, ok := nextOther(recording, i); ok {
				swapped := slices.Clone(recording)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				if !yield(fmt.Sprintf("lines %d and %d swapped", i+1, j+1), swapped) {
					return
				}
			}
		}
	}
}

// nextOther is the next line of the server on the connection of line i, if it differs.
func nextOther(recording []recorded, i int) (int, bool) {
	for j := i + 1; j < len(recording); j++ {
		if r := recording[j]; r.Dir == "server" && r.conn() == recording[i].conn() {
			return j, serverLine(r) != serverLine(recording[i])
		}
	}
	return 0, false
}

// falsify changes one thing about a line of the server, in all ways that its type has.
func falsify(r recorded) map[string]recorded {
	variants := map[string]recorded{}
	add := func(what string, data any) {
		v := r
		v.Data, _ = json.Marshal(data) // strings, numbers and maps: no errors
		variants[what] = v
	}
	switch r.Type {
	case "text":
		add("another byte", otherByte(r.text()))
		compressed, longer := r, r
		compressed.RSV1 = !r.RSV1
		variants["the reserved bit"] = compressed
		if longer.Length++; r.Length > 0 {
			variants["another length"] = longer
		}
	case "binary", "pong":
		data, _ := base64.StdEncoding.DecodeString(r.text()) // it was replayed, so it is base64
		add("one byte more", base64.StdEncoding.EncodeToString(append(data, 1)))
		if len(data) > 0 {
			data[len(data)/2] ^= 1
			add("another byte", base64.StdEncoding.EncodeToString(data))
		}
	case "close":
		var c struct{ Code int }
		_ = json.Unmarshal(r.Data, &c) // no code is 0
		add("another code", map[string]any{"code": c.Code + 1})
	case "http":
		m := parseHTTP(r.Data)
		add("another status", m.with(func(m *httpMessage) { m.Status++ }))
		add("another body", m.with(func(m *httpMessage) { m.Body += "x" }))
		add("one header more", m.with(func(m *httpMessage) { m.Headers["x-more"] = "1" }))
		add("another header", m.with(func(m *httpMessage) { m.Headers["cache-control"] += "x" }))
	}
	return variants
}

// with is a changed copy.
func (m httpMessage) with(change func(*httpMessage)) httpMessage {
	m.Headers = maps.Clone(m.Headers)
	change(&m)
	return m
}

// volatile is what normalize takes away, and where a change must not be noticed.
var volatile = regexp.MustCompile(phxRefPattern.String() + "|" + peerPattern.String())

// otherByte changes the byte in the middle, or the next after it that is not volatile, of
// what is compared of a text.
func otherByte(text string) string {
	i := min(len(text), 200) / 2
	for _, span := range volatile.FindAllStringIndex(text, -1) {
		if span[0] <= i && i < span[1] {
			i = span[1]
		}
	}
	return text[:i] + string(rune(text[i]^1)) + text[i+1:]
}

// The transcripts test most of the peer application; here is what they do not reach.

func TestPeerHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(peer.App())
		defer srv.Close()
		c := dial(t, srv)
		c.join("room:1")
		transport := &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return srv.DialContext(ctx, network, addr)
			},
			DisableKeepAlives: true,
		}
		for _, test := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"GET", "/health", "", 200, "ok"},
			{"GET", "/subscribers?topic=room:1", "", 200, `{"subscribers":1}`},
			{"POST", "/broadcast", `{"topic":"room:1","event":"e","n":2}`, 200, `{"ok":true,"subscribers":1}`},
			{"POST", "/broadcast", `nonsense`, 400, ""},
			{"POST", "/disconnect", `nonsense`, 400, ""},
			{"GET", "/nowhere", "", 404, "not found"},
		} {
			req, err := http.NewRequestWithContext(t.Context(), test.method, "http://phoenix.test"+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != test.status || test.want != "" && string(body) != test.want {
				t.Errorf("%s %s: %d %s, %v", test.method, test.path, res.StatusCode, body, err)
			}
		}
		c.want(`[null,null,"room:1","e",{}]`, `[null,null,"room:1","e",{}]`)
	})
}

func TestPeerEvents(t *testing.T) {
	const crash = `["1","1","room:1","phx_error",{"reason":"channel_crash"}]`
	for name, test := range map[string]struct {
		event, payload string
		answers        []string
	}{
		"broadcast without a reply": {"new_msg_noreply", `{"a":1}`, []string{`[null,null,"room:1","new_msg",{"a":1}]`}},
		"binary by default":         {"binary_push", `{}`, []string{"\x00\x01\x06\x031room:1bin\x00\x01\x02\xff", reply("ok", "{}")}},
		"binary expected":           {"binary_echo", `{}`, []string{crash}},
		"kick without an id":        {"kick", `{}`, []string{reply("ok", `{"id":null}`)}},
		"field of a list":           {"slow", `[]`, []string{crash}},
		"field of another type":     {"slow", `{"ms":"x"}`, []string{reply("ok", `{"ms":"x"}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := phoenixtest.NewPipeServer(peer.App())
				defer srv.Close()
				c := dial(t, srv)
				c.join("room:1")
				c.ask(`["1","2","room:1","`+test.event+`",`+test.payload+`]`, test.answers...)
			})
		})
	}
}

func TestPeerJoinByToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(peer.App())
		defer srv.Close()
		c := dial(t, srv)
		c.ask(`["1","1","room:token","phx_join",{}]`,
			`["1","1","room:token","phx_reply",{"response":{"reason":"bad token"},"status":"error"}]`)
		c.ask(`["1","1","room:token","phx_join",{"token":"good"}]`,
			`["1","1","room:token","phx_reply",{"response":{},"status":"ok"}]`)
	})
}

func TestPeerSlowConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(peer.App())
		defer srv.Close()
		start := time.Now()
		dialURL(t, srv, srv.URL+"/websocket?vsn=2.0.0&slow_ms=1500", nil)
		if took := time.Since(start); took != 1500*time.Millisecond {
			t.Errorf("connect took %v", took)
		}
		for _, query := range []string{"slow_ms=x", "token=flaky:key:x"} {
			if res := dialRefused(t, srv, srv.URL+"/websocket?"+query, nil); res.StatusCode != http.StatusInternalServerError {
				t.Errorf("%s: status %d", query, res.StatusCode)
			}
		}
	})
}
