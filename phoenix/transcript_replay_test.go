package phoenix

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// A transcriptLine is one line of a transcript (PROTOCOL.md, part 2).
type transcriptLine struct {
	Dir, Type string
	Data      json.RawMessage
	Conn      json.RawMessage
	Fin       *bool
	Unmasked  bool
	// Length is there when Data is only the beginning of a long text.
	Length int
	// Base64 is what a text was that is not UTF-8.
	Base64 string
}

func (l *transcriptLine) text() string {
	var s string
	_ = json.Unmarshal(l.Data, &s) // empty for what is no string
	return s
}

// bytes is the payload of a data frame.
func (l *transcriptLine) bytes() []byte {
	if l.Type == "text" && l.Base64 == "" {
		return []byte(l.text())
	}
	data, err := base64.StdEncoding.DecodeString(l.text() + l.Base64)
	if err != nil {
		return []byte(l.text())
	}
	return data
}

// A transcriptReplay replays one recorded connection: the client's half becomes commands to a machine, whose refs are
// forced to be the recorded ones, and the server's half its input. A ledger tells what events have to come of it.
type transcriptReplay struct {
	m      *machine
	codec  codec
	ledger ledger
	now    time.Time
	seq    uint64
	// refs are the recorded refs of pushes by their id.
	refs    map[uint64]string
	pushIDs uint64
	over    bool
	lines   int
	// fragments is the beginning of a message in several frames.
	fragments []byte

	// falsify changes a frame before the machine gets it; nil: replay faithfully. The ledger always sees the recording.
	falsify func(data []byte, binary bool) []byte

	expected, got []string
	// unexplained are server frames that bring about nothing for no reason in the ledger.
	unexplained []string
	// silent counts the server frames that bring about nothing, by reason.
	silent map[string]int
}

func newTranscriptReplay(silent map[string]int) *transcriptReplay {
	return &transcriptReplay{
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), refs: map[uint64]string{}, silent: silent,
		ledger: ledger{strangers: map[string]string{}},
	}
}

// line replays one line.
func (p *transcriptReplay) line(l *transcriptLine) error {
	p.now = p.now.Add(time.Millisecond)
	p.lines++
	switch l.Dir + " " + l.Type {
	case "client http":
		return p.dial(l)
	case "server http":
		return p.answered(l)
	case "client text", "client binary", "client continuation":
		return p.clientData(l)
	case "server text", "server binary":
		return p.serverData(l)
	case "client close":
		if !p.over {
			p.ledger.closing = true
			p.run(func() { p.m.close(p.now) })
		}
	case "server close":
		return p.serverClose(l)
	case "server tcp":
		p.serverGone(l.text())
	case "client ping", "client pong", "client op3", "server pong": // below the protocol
	default:
		return fmt.Errorf("no rule for a line of type %q of the %s", l.Type, l.Dir)
	}
	return nil
}

// run gives the machine an input and writes down the events.
func (p *transcriptReplay) run(input func()) {
	input()
	for i := range p.m.out.events {
		p.got = append(p.got, p.at()+eventLine(&p.m.out.events[i]))
	}
	p.m.out = output{}
	p.forcePushRefs()
}

func (p *transcriptReplay) expect(lines ...string) {
	for _, line := range lines {
		p.expected = append(p.expected, p.at()+line)
	}
}

// at is the place in the transcript: it matters which frame an event comes of.
func (p *transcriptReplay) at() string { return fmt.Sprintf("%d: ", p.lines) }

// dial begins a connection; its vsn is in the URL.
func (p *transcriptReplay) dial(l *transcriptLine) error {
	request, err := readHTTP(l.Data)
	if err != nil {
		return err
	}
	u, err := url.Parse(request.Path)
	if err != nil {
		return err
	}
	vsn := "1.0.0" // a server's default
	if vs := u.Query()["vsn"]; len(vs) > 0 {
		vsn = vs[len(vs)-1]
	}
	if p.codec, err = codecFor(vsn); err != nil {
		p.codec = codecV2{} // will be refused
	}
	p.m = newMachine(machineConfig{
		codec: p.codec, replyTimeout: time.Hour, heartbeatInterval: time.Hour, heartbeatTimeout: time.Hour, stableAfter: time.Hour,
		heartbeatEvents: true, reconnectAfter: Steps(), rejoinAfter: Steps(),
	}, &p.seq)
	p.expect("connecting")
	p.run(func() { p.m.start(p.now) })
	return nil
}

// answered: 101 is a session, all else a refusal.
func (p *transcriptReplay) answered(l *transcriptLine) error {
	answer, err := readHTTP(l.Data)
	if err != nil {
		return err
	}
	if answer.Status == http.StatusSwitchingProtocols {
		p.expect("connected")
		p.run(func() { p.m.dialed(p.now, 0, Timings{}) })
		return nil
	}
	p.over = true
	p.expect(fmt.Sprintf("disconnected refused 0 %d", answer.Status))
	resp := &http.Response{StatusCode: answer.Status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer.Body))}
	for name, value := range answer.Headers {
		resp.Header.Set(name, value)
	}
	p.run(func() { p.m.dialFailed(p.now, refused(resp, p.now)) })
	return nil
}

// serverData gives a data frame to the machine, and to the ledger.
func (p *transcriptReplay) serverData(l *transcriptLine) error {
	if l.Length > 0 {
		p.silent["recorded only in part"]++
		return nil
	}
	data, binary := l.bytes(), l.Type == "binary"
	d, ok := modelV2(data)
	if binary {
		d, ok = modelBinary(data)
	} else if _, v1 := p.codec.(codecV1); v1 {
		d, ok = modelV1(data)
	}
	if !ok {
		return fmt.Errorf("the server's frame %q cannot be decoded", data)
	}
	lines, why := p.ledger.received(d)
	switch {
	case len(lines) > 0:
		p.expect(lines...)
	case why != "":
		p.silent[why]++
	default:
		p.unexplained = append(p.unexplained, string(data))
	}
	if p.falsify != nil {
		if data = p.falsify(data, binary); data == nil {
			return nil
		}
	}
	f := frame{at: p.now}
	if err := p.codec.scan(data, binary, &f); err != nil {
		return err
	}
	if err := p.codec.finish(&f); err != nil {
		return err
	}
	p.run(func() { p.m.received(p.now, &f) })
	return nil
}

// serverClose ends the session as gorilla would report it.
func (p *transcriptReplay) serverClose(l *transcriptLine) error {
	var c struct{ Code *int }
	if err := json.Unmarshal(l.Data, &c); err != nil {
		return err
	}
	code := websocket.CloseNoStatusReceived
	if c.Code != nil {
		code = *c.Code
	}
	if p.over {
		return errors.New("a close frame after the end")
	}
	reason := ReasonClosedByRemote
	if code == websocket.CloseMessageTooBig {
		reason = ReasonMessageTooBig
	}
	p.end(&websocket.CloseError{Code: code}, reason, code)
	return nil
}

// serverGone ends the session without a close frame, if it has not ended: a reset after a close frame is a normal end
// (rule 23).
func (p *transcriptReplay) serverGone(how string) {
	switch {
	case p.over:
	case strings.Contains(how, "ECONNRESET"):
		p.end(syscall.ECONNRESET, ReasonReset, 0)
	default:
		p.end(&websocket.CloseError{Code: websocket.CloseAbnormalClosure}, ReasonEOF, 0)
	}
}

func (p *transcriptReplay) end(err error, reason Reason, code int) {
	p.over = true
	p.expect(p.ledger.lost(reason, code)...)
	p.run(func() { p.m.linkLost(p.now, classify(StageSession, err), p.m.written) })
}

// A recordedHTTP is a request or an answer.
type recordedHTTP struct {
	Path    string
	Status  int
	Headers map[string]string
	Body    string
}

func readHTTP(data json.RawMessage) (h recordedHTTP, err error) {
	return h, json.Unmarshal(data, &h)
}
