package phoenixtest_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

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
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", m.Method, m.Path)
	for _, name := range m.Order {
		fmt.Fprintf(&b, "%s: %s\r\n", name, m.Headers[name])
	}
	if m.Body != "" {
		// Requests with a body were made by an HTTP library, and what it added by itself
		// was not recorded.
		fmt.Fprintf(&b, "host: 127.0.0.1\r\nconnection: close\r\ncontent-length: %d\r\n", len(m.Body))
	}
	b.WriteString("\r\n" + m.Body)
	return b.Bytes()
}

var opcodes = map[string]byte{
	"continuation": 0, "text": 1, "binary": 2, "op3": 3, "close": 8, "ping": 9, "pong": 10,
}

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
