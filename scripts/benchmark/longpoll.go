package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A pollStream is the long poll of the socket at /stream: one client at a time joins, and then each poll is answered with a block of frames.
type pollStream struct {
	server *replayServer
	block  []byte // of an answer

	mu    sync.Mutex
	ready []string
	left  int // blocks
}

const pollToken = "token"

func newPollStream(s *replayServer) *pollStream {
	messages := make([]string, blockFrames)
	for i := range messages {
		messages[i] = string(message("new_msg", frameSize))
	}
	return &pollStream{server: s, block: pollAnswer(messages)}
}

// pollAnswer is the answer to a poll, of strings and numbers, which always can be encoded.
func pollAnswer(messages []string) []byte {
	body, _ := json.Marshal(map[string]any{"messages": messages, "status": http.StatusOK, "token": pollToken})
	return body
}

// ServeHTTP implements [http.Handler].
func (p *pollStream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	isNew := !strings.Contains(r.URL.RawQuery, "token="+pollToken)
	body, _ := io.ReadAll(r.Body) // what is missing is missing from the messages
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case isNew:
		p.ready, p.left = nil, 0
		fmt.Fprintf(w, `{"messages":[],"status":410,"token":%q}`, pollToken)
	case r.Method == http.MethodPost:
		p.take(body)
		io.WriteString(w, `{"status":200}`)
	case len(p.ready) > 0:
		w.Write(pollAnswer(p.ready))
		p.ready = nil
	case p.left > 0:
		p.left--
		w.Write(p.block)
	default:
		fmt.Fprintf(w, `{"messages":[],"status":204,"token":%q}`, pollToken)
	}
}

// take answers messages with ok; a join begins the stream.
func (p *pollStream) take(body []byte) {
	for line := range bytes.Lines(body) {
		var m []json.RawMessage
		if json.Unmarshal(line, &m) != nil || len(m) != 5 {
			continue
		}
		p.ready = append(p.ready, fmt.Sprintf(`[%s,%s,%s,"phx_reply",{"status":"ok","response":{}}]`, m[0], m[1], m[2]))
		if string(m[3]) == `"phx_join"` {
			p.left = p.server.frames / blockFrames
			select {
			case p.server.joined <- time.Now():
			default:
			}
		}
	}
}

// raceLongPoll measures what reads a stream by long poll, beside the official client.
func (b *bench) raceLongPoll() error {
	if _, err := os.Stat(filepath.Join(b.js, "node_modules")); err != nil {
		fmt.Fprintf(os.Stderr, "benchmark: long poll is left out: %v; run npm ci in %s\n", err, b.js)
		return nil
	}
	uri, count := b.server.uri("stream"), fmt.Sprint(b.frames)
	js := &contender{name: "phoenix.js, long poll", program: program{argv: []string{"node", filepath.Join(b.js, "listen.mjs"), uri, topic, count, "longpoll"}}}
	r := &race{
		title: fmt.Sprintf("%d frames of %d bytes by long poll, output to %s; beside phoenix.js by long poll", b.frames, frameSize, os.DevNull),
		unit:  "frame", units: "frames", count: b.frames, cpuBase: js, rateBase: js, contenders: []*contender{js},
	}
	argv := []string{"listen", topic, "--uri", uri, "--transport", "longpoll", "--quiet", "--count", count}
	if r.addPhx(b, contender{name: "listen, long poll", program: program{argv: argv}, rateBar: 3}) == nil {
		return nil
	}
	return r.run(b)
}
