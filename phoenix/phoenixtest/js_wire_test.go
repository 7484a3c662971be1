package phoenixtest_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix/phoenixtest"
)

// A wireLog collects what clients put on the wire: for each connection, in order, its request and its frames, a line each.
type wireLog struct {
	mu    sync.Mutex
	conns []*wireConn
}

// A wireConn is the log of one connection.
type wireConn struct {
	conn    *phoenixtest.Conn // nil: not accepted, or not yet
	closing bool              // the server has sent a close frame
	lines   []string
}

// answered marks a client's close frame that answers one of the server.
const answered = " in answer"

// tap logs a client's frame. It is for [phoenixtest.WithTap].
func (l *wireLog) tap(f phoenixtest.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of(f.Conn)
	if !f.FromClient {
		c.closing = c.closing || byte(f.Opcode) == opcodes["close"]
		return
	}
	c.lines = append(c.lines, frameLine(f, c.closing))
}

func frameLine(f phoenixtest.Frame, closing bool) string {
	switch byte(f.Opcode) {
	case opcodes["text"]:
		return "text " + string(f.Data)
	case opcodes["binary"]:
		return fmt.Sprintf("binary %q", f.Data)
	case opcodes["close"]:
		if closing {
			return closeLine(f.Data) + answered
		}
		return closeLine(f.Data)
	}
	return fmt.Sprintf("opcode %d %q", f.Opcode, f.Data)
}

// of finds the log of a connection, or begins it.
func (l *wireLog) of(conn *phoenixtest.Conn) *wireConn {
	for _, c := range l.conns {
		if c.conn == conn {
			return c
		}
	}
	if n := len(l.conns); n > 0 && l.conns[n-1].conn == nil {
		l.conns[n-1].conn = conn // its request was logged by handshakes
		return l.conns[n-1]
	}
	uri, err := url.Parse(conn.Info().URI)
	if err != nil {
		panic(err) // unreachable: it was parsed before
	}
	c := &wireConn{conn: conn, lines: []string{"GET " + uri.RequestURI()}}
	l.conns = append(l.conns, c)
	return c
}

// handshakes is srv with a log of the requests, refused ones included, and their headers.
func (l *wireLog) handshakes(srv *phoenixtest.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.conns = append(l.conns, &wireConn{lines: requestLines(r.Method, r.URL.RequestURI(), r.Header)})
		l.mu.Unlock()
		srv.ServeHTTP(w, r)
	})
}

// requestLines are a request and its headers, sorted, without the one that is never twice the same.
func requestLines(method, uri string, header http.Header) []string {
	lines := []string{method + " " + uri}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if name == "Sec-Websocket-Key" {
			continue
		}
		for _, value := range header[name] {
			lines = append(lines, name+": "+value)
		}
	}
	return lines
}

// String is a paragraph for each connection.
func (l *wireLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var paragraphs []string
	for _, c := range l.conns {
		paragraphs = append(paragraphs, strings.Join(c.lines, "\n")+"\n")
	}
	return strings.Join(paragraphs, "\n")
}

// wireFile is where the tests of the client find what the official one put on the wire.
func wireFile(scenario string) string { return filepath.Join(phoenixJS, "wire", scenario+".txt") }

// compare compares the log with the file of a scenario, or writes that.
func (l *wireLog) compare(t *testing.T, scenario string, update bool) {
	t.Helper()
	got := l.String()
	if update {
		if err := os.WriteFile(wireFile(scenario), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(wireFile(scenario))
	if err != nil {
		t.Fatal(err)
	}
	// The server waits a moment for an answer to its close frame. On a busy machine one may come later, and is not seen.
	if diff := cmp.Diff(withoutAnswers(string(want)), withoutAnswers(got)); diff != "" {
		t.Errorf("%s (-) and what is on the wire (+) differ; -update writes it:\n%s", wireFile(scenario), diff)
	}
}

func withoutAnswers(wire string) string {
	var lines []string
	for line := range strings.Lines(wire) {
		if !strings.HasSuffix(line, answered+"\n") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// TestJavaScriptTranscript compares what the installed client put on the wire with what was recorded on a real Phoenix.
func TestJavaScriptTranscript(t *testing.T) {
	var want []string
	for _, r := range readRecording(t, transcripts+"/clients/phoenix-js-1.8.16.ndjson") {
		switch {
		case r.Dir != "client":
		case r.Type == "http":
			m, header := parseHTTP(r.Data), http.Header{}
			for name, value := range m.Headers {
				header.Set(name, value)
			}
			header.Del("Host") // net/http keeps it elsewhere
			want = append(want, requestLines(m.Method, m.Path, header)...)
		case r.Type == "text":
			want = append(want, "text "+r.text())
		case r.Type == "close":
			want = append(want, closeLine(r.payload()))
		}
	}
	got, err := os.ReadFile(wireFile("recorded"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")); diff != "" {
		t.Errorf("the recording (-) and %s (+) differ:\n%s", wireFile("recorded"), diff)
	}
}
