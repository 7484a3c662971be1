package phoenix

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
)

// replayed are the transcripts that are replayed, by name, in each directory that has one.
var replayed = strings.Fields(`
	auth_token binary_broadcast binary_join binary_push binary_reply broadcast client_close_bad_code client_close_codes
	client_sends_reserved_events compress connect_flaky connect_heartbeat crash drain_sigterm flood_small fragmented_text
	heartbeat_odd http_errors idle_timeout idle_timeout_ping_keeps_alive idle_timeout_server_pushes invalid_utf8 join_crash
	join_double join_error join_flaky_retry join_greet join_integer_refs join_null_join_ref join_ok join_params
	join_payload_not_a_map join_pipelined join_ref_differs_from_ref join_slow join_unmatched_topic kick kick_by_http
	kill_transport large_frames large_server_push leave leave_join_pipelined leave_then_push malformed_binary_empty
	malformed_binary_junk malformed_binary_kind1 malformed_binary_short malformed_duplicate_keys malformed_empty
	malformed_event_null malformed_extra_keys malformed_heartbeat_unjoined_null_topic malformed_json_null
	malformed_json_number malformed_json_string malformed_long_array malformed_missing_event malformed_missing_payload
	malformed_missing_ref malformed_not_json malformed_short_array malformed_topic_number malformed_wrong_container
	max_frame_size origin presence push_delayed_and_order push_delayed_then_leave push_noreply push_not_joined push_null_ref
	push_reply_error push_reply_odd push_reply_ok push_same_ref_twice push_stale_join_ref push_unhandled_event
	raise_transport refused reserved_bit reserved_opcode server_push stop stop_reply too_many_channels unmasked_frame
	v1_binary_frame v1_binary_server_push v1_text_in_binary_frame vsn whoami ws_ping`)

// notReplayed says why of the others.
var notReplayed = map[string]string{
	"longpoll_auth_token":     noLongPoll,
	"longpoll_basic":          noLongPoll,
	"longpoll_batch":          noLongPoll,
	"longpoll_batch_over_100": noLongPoll,
	"longpoll_binary":         noLongPoll,
	"longpoll_broadcast":      noLongPoll,
	"longpoll_errors":         noLongPoll,
	"longpoll_expired":        noLongPoll,
	"longpoll_header_token":   noLongPoll,
	"longpoll_kick":           noLongPoll,
	"longpoll_malformed":      noLongPoll,
}

const noLongPoll = "the client has no long poll yet"

// transcriptFiles returns the recordings of servers, and fails for one that no table names, and for a name without any.
func transcriptFiles(t *testing.T) (files []string) {
	t.Helper()
	missing := slices.Concat(replayed, slices.Collect(maps.Keys(notReplayed)))
	for _, dir := range []string{"v1", "v2", "cowboy/v1", "cowboy/v2"} {
		found, err := filepath.Glob(filepath.Join("..", "testdata", "transcripts", filepath.FromSlash(dir), "*.ndjson"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no transcripts of %s: they are part of the project (error %v)", dir, err)
		}
		for _, file := range found {
			name := strings.TrimSuffix(filepath.Base(file), ".ndjson")
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
			switch {
			case slices.Contains(replayed, name):
				files = append(files, file)
			case notReplayed[name] == "":
				t.Errorf("%s is neither replayed, nor does a table say why not", path.Join(dir, name))
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("there are no transcripts %v", missing)
	}
	return files
}

// readTranscript returns the lines of each connection. Requests that are not for a socket, and notes, are not among them.
func readTranscript(t *testing.T, file string) map[string][]*transcriptLine {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	conns := map[string][]*transcriptLine{}
	for line := range bytes.Lines(text) {
		l := &transcriptLine{}
		if err := json.Unmarshal(line, l); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if l.Dir != "note" {
			conns[string(l.Conn)] = append(conns[string(l.Conn)], l)
		}
	}
	maps.DeleteFunc(conns, func(_ string, lines []*transcriptLine) bool {
		request, err := readHTTP(lines[0].Data)
		return err != nil || request.Path == "/broadcast" || request.Path == "/disconnect"
	})
	return conns
}

// replayLines replays the lines of a connection.
func replayLines(lines []*transcriptLine, falsify func(i int, data []byte, binary bool) []byte, silent map[string]int) (*transcriptReplay, error) {
	p := newTranscriptReplay(silent)
	for i, l := range lines {
		if falsify != nil {
			p.falsify = func(data []byte, binary bool) []byte { return falsify(i, data, binary) }
		}
		if err := p.line(l); err != nil {
			return p, err
		}
	}
	return p, nil
}

// What real servers sent makes the right events, in order, with the very bytes of their payloads; and no frame is passed
// over without a reason.
func TestTranscriptEvents(t *testing.T) {
	silent := map[string]int{}
	connections, events := 0, 0
	for _, file := range transcriptFiles(t) {
		for conn, lines := range readTranscript(t, file) {
			p, err := replayLines(lines, nil, silent)
			if err != nil {
				t.Errorf("%s %s: %v", file, conn, err)
			}
			if diff := cmp.Diff(p.expected, p.got); diff != "" {
				t.Errorf("%s %s: expected (-) and seen (+) events differ:\n%s", file, conn, diff)
			}
			for _, data := range p.unexplained {
				t.Errorf("%s %s: nothing comes of this frame, and no rule says why: %s", file, conn, data)
			}
			connections++
			events += len(p.got)
		}
	}
	t.Logf("%d connections, %d events; frames of which nothing comes: %v", connections, events, silent)
}

// The client's half of a transcript: what our client would send becomes a command. What it never sends is a stranger's
// frame, whose answers are none of ours:
//
//	malformed, in fragments that never end, not masked    the server closes the socket, or answers a ref that is spelled out
//	a ref that is null or no string, or used twice        rule 1
//	a join_ref that is null, stale or unlike the ref      rule 1
//	an event of the protocol, a binary payload in vsn 1   refused by Push.check
//	a join with params that are no object                 refused by the loop (rule 12)
//	a push on a topic that is not joined                  fails at once
func (p *transcriptReplay) clientData(l *transcriptLine) error {
	data, whole := p.assemble(l)
	if !whole {
		return nil
	}
	if p.over {
		return nil // what the recorded client still wrote to a dead socket
	}
	m, err := parseClientFrame(p.codec, outFrame{data: data, binary: l.Type == "binary"})
	if err != nil || l.Unmasked || l.Length > 0 {
		p.stranger(m, data, fmt.Sprintf("a frame that we never send: %v", err))
		return nil
	}
	switch {
	case m.topic == topicPhoenix && m.event == eventHeartbeat && m.joinRef == "" && !m.binary:
		return p.heartbeat(m)
	case m.joinRef == "" || m.topic == topicPhoenix:
		p.disown(m, "sent with a null join_ref, or on the socket's own topic")
		return nil
	case m.event == eventJoin:
		return p.join(m)
	case m.event == eventLeave:
		return p.leave(m)
	}
	return p.push(m)
}

// assemble puts the fragments of a message together.
func (p *transcriptReplay) assemble(l *transcriptLine) (data []byte, whole bool) {
	data = append(p.fragments, l.bytes()...)
	p.fragments = nil
	if l.Fin != nil && !*l.Fin {
		p.fragments = data
		return nil, false
	}
	return data, true
}

// stranger takes note of the refs of a frame that cannot be ours.
func (p *transcriptReplay) stranger(m *clientFrame, data []byte, why string) {
	if m != nil {
		p.disown(m, why)
		return
	}
	for _, decode := range []func([]byte) (decoded, bool){modelV2, modelV1} {
		if d, ok := decode(data); ok {
			p.ledger.strangers[d.Ref], p.ledger.strangers[d.JoinRef] = why, why
			return
		}
	}
	p.ledger.strangers[""] = why
}

// disown takes note of a frame that could be a client's, but not ours.
func (p *transcriptReplay) disown(m *clientFrame, why string) {
	p.ledger.strangers[m.ref] = why
	if m.event == eventJoin {
		p.ledger.strangers[m.joinRef] = why
	}
}

func (p *transcriptReplay) heartbeat(m *clientFrame) error {
	p.ledger.beats = append(p.ledger.beats, m.ref)
	frames := p.command(func() { p.m.beatNow(p.now) })
	p.m.beat.sent[len(p.m.beat.sent)-1].ref = m.ref
	return p.sameFrame(m, frames)
}

func (p *transcriptReplay) join(m *clientFrame) error {
	t := p.ledger.topic(m.topic)
	switch {
	case m.joinRef != m.ref:
		p.disown(m, "a join whose join_ref is not its ref")
		return nil
	case !m.binary && !strings.HasPrefix(m.payload, "{"):
		p.disown(m, "a join with params that are no object")
		return nil
	case t != nil && t.leaveRef != "":
		t.again = true
		p.disown(m, "we join it when its leave is over")
		return p.joinErr(m)
	case t != nil:
		return p.joinTwice(t, m)
	}
	p.ledger.topics = append(p.ledger.topics, &ledgerTopic{name: m.topic, joinRef: m.ref})
	p.expect("joining " + m.topic)
	if err := p.joinErr(m); err != nil {
		return err
	}
	frames := p.command(func() {
		p.m.prepared(p.now, p.m.prepareIDs, joinInput{params: Payload{Data: []byte(m.payload), Binary: m.binary}}, nil)
	})
	return p.forceChannel(m, frames, func(c *channel) { c.joinRef = m.ref })
}

// joinErr joins; the params of the recording are asked for, but for a join that waits.
func (p *transcriptReplay) joinErr(m *clientFrame) (err error) {
	want := Channel{Topic: m.topic}
	if t := p.ledger.topic(m.topic); !t.again {
		want.Params = func(context.Context) (Payload, error) { panic("the machine does no I/O") }
	}
	p.run(func() { err = p.m.join(p.now, want) })
	return err
}

// joinTwice is the second join of a joined topic. We never do that ourselves: it is forced, as the server's answer is
// what rule 4 is about.
func (p *transcriptReplay) joinTwice(t *ledgerTopic, m *clientFrame) error {
	p.ledger.strangers[t.joinRef] = "replaced by a second join"
	t.joinRef, t.joined = m.ref, false
	p.expect("joining " + m.topic)
	frames := p.command(func() {
		if c := p.m.channels[m.topic]; c != nil {
			p.m.sendJoin(p.now, c, joinInput{params: Payload{Data: []byte(m.payload)}})
		}
	})
	return p.forceChannel(m, frames, func(c *channel) { c.joinRef = m.ref })
}

func (p *transcriptReplay) leave(m *clientFrame) error {
	t := p.ledger.topic(m.topic)
	if t == nil || m.joinRef != t.joinRef || t.leaveRef != "" {
		p.disown(m, "a leave of what is not joined, or with a stale join_ref")
		return nil
	}
	t.leaveRef = m.ref
	var err error
	frames := p.command(func() { err = p.m.leave(p.now, m.topic) })
	if err != nil {
		return err
	}
	return p.forceChannel(m, frames, func(c *channel) { c.leaveRef = m.ref })
}

// forceChannel gives what was just written for a channel its recorded ref.
func (p *transcriptReplay) forceChannel(m *clientFrame, frames []outFrame, force func(*channel)) error {
	c := p.m.channels[m.topic]
	if c == nil {
		return fmt.Errorf("%q is not wanted any more, and %v was recorded", m.topic, m)
	}
	force(c)
	return p.sameFrame(m, frames)
}

func (p *transcriptReplay) push(m *clientFrame) error {
	req := Push{Topic: m.topic, Name: m.event, Payload: Payload{Data: []byte(m.payload), Binary: m.binary}}
	t := p.ledger.topic(m.topic)
	used := slices.ContainsFunc(p.ledger.pushes, func(o *ledgerPush) bool { return o.ref == m.ref })
	switch {
	case req.check(p.codec) != nil:
		p.disown(m, "a push that we refuse to send")
		return nil
	case used || t != nil && m.joinRef != t.joinRef:
		if !used {
			p.disown(m, "a push with a stale join_ref")
		}
		return nil
	}
	p.pushIDs++
	id := p.pushIDs
	if t == nil || t.leaveRef != "" {
		p.disown(m, "its push failed at once: the topic is not joined")
		p.expect(fmt.Sprintf("push error %s %s not_joined no", m.topic, m.event))
		p.run(func() { p.m.push(p.now, id, req) })
		return nil
	}
	p.refs[id] = m.ref
	p.ledger.pushes = append(p.ledger.pushes, &ledgerPush{topic: m.topic, event: m.event, ref: m.ref, written: t.joined})
	frames := p.command(func() { p.m.push(p.now, id, req) })
	if !t.joined {
		return nil // it waits
	}
	return p.sameFrame(m, frames)
}

// forcePushRefs gives the pushes that have been written their recorded refs.
func (p *transcriptReplay) forcePushRefs() {
	for ref, push := range p.m.pushes {
		if want := p.refs[push.id]; want != ref {
			delete(p.m.pushes, ref)
			push.ref = want
			p.m.pushes[want] = push
		}
	}
}

// command is run for an input that writes frames, which it returns.
func (p *transcriptReplay) command(input func()) (frames []outFrame) {
	p.run(func() {
		input()
		frames = p.m.out.frames
	})
	return frames
}

// sameFrame: what we write is what was recorded, but for the refs, which are forced behind it.
func (p *transcriptReplay) sameFrame(want *clientFrame, frames []outFrame) error {
	if len(frames) != 1 {
		return fmt.Errorf("%d frames are written, and %v was recorded", len(frames), want)
	}
	got, err := parseClientFrame(p.codec, frames[0])
	if err != nil {
		return err
	}
	if got.topic != want.topic || got.event != want.event || got.binary != want.binary || got.payload != want.payload && want.topic != topicPhoenix && want.event != eventLeave {
		return fmt.Errorf("%v is written, and %v was recorded", got, want)
	}
	return nil
}

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
	shared shared
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
	for i := range p.m.events {
		p.got = append(p.got, p.at()+eventLine(&p.m.events[i]))
	}
	for _, r := range p.m.refused {
		p.got = append(p.got, p.at()+"sent away "+r.channel.Topic)
	}
	p.m.refused = nil
	p.m.forgetOutput()
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
	p.shared = shared{seq: p.shared.seq}
	p.m = newMachine(machineConfig{
		codec: p.codec, replyTimeout: time.Hour, heartbeatInterval: time.Hour, heartbeatTimeout: time.Hour, stableAfter: time.Hour,
		heartbeatEvents: true, reconnectAfter: Steps(), rejoinAfter: Steps(),
	}, &p.shared)
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
		p.run(func() { p.m.dialed(p.now, 0, Timings{}, TransportWebSocket) })
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

// A replay that cannot fail proves nothing: each frame that makes events is falsified in every way that has to show, one
// at a time, and each time the events must differ from the expected.
func TestTranscriptFalsifications(t *testing.T) {
	count := 0
	for _, file := range transcriptFiles(t) {
		for conn, lines := range readTranscript(t, file) {
			for i, made := range linesWithEvents(t, lines) {
				for what, changed := range falsifications(lines[i], made) {
					falsify := func(at int, data []byte, _ bool) []byte {
						if at == i {
							return changed
						}
						return data
					}
					p, err := replayLines(lines, falsify, map[string]int{})
					if err == nil && slices.Equal(p.expected, p.got) {
						t.Errorf("%s %s, line %d: not noticed: %s: %q", file, conn, i, what, changed)
					}
					count++
				}
			}
		}
	}
	t.Logf("%d falsifications", count)
	if count < 3000 {
		t.Errorf("only %d falsifications: the transcripts hold more than that", count)
	}
}

// linesWithEvents returns the server's data frames that make events, by their line, with the first event of each.
func linesWithEvents(t *testing.T, lines []*transcriptLine) map[int]string {
	t.Helper()
	made := map[int]string{}
	p := newTranscriptReplay(map[string]int{})
	for i, l := range lines {
		before := len(p.expected)
		if err := p.line(l); err != nil {
			t.Fatal(err)
		}
		if len(p.expected) > before && l.Dir == "server" && (l.Type == "text" || l.Type == "binary") {
			_, made[i], _ = strings.Cut(p.expected[before], ": ")
		}
	}
	return made
}

// falsifications are a frame falsified in all ways that have to change the event, of which made is the line; nil is a lost
// frame.
func falsifications(l *transcriptLine, made string) map[string][]byte {
	all := map[string][]byte{"the frame is lost": nil}
	data := l.bytes()
	if l.Type == "binary" {
		all["another payload"] = append(slices.Clone(data), '!')
		return all
	}
	kind, _, _ := strings.Cut(made, " ")
	change := func(what string, how func(f *rawFrame)) {
		f := readRawFrame(data)
		how(&f)
		all[what] = f.encode()
	}
	change("another topic", func(f *rawFrame) { f.Topic = json.RawMessage(`"room:elsewhere"`) })
	change("another event", func(f *rawFrame) { f.Event = json.RawMessage(`"elsewhat"`) })
	if kind != "heartbeat" && !readRawFrame(data).v1 {
		change("another join_ref", func(f *rawFrame) { f.JoinRef = json.RawMessage(`"12345"`) })
	}
	switch kind {
	case "heartbeat", "left":
		change("another ref", func(f *rawFrame) { f.JoinRef, f.Ref = json.RawMessage(`"12345"`), json.RawMessage(`"12345"`) })
	case "reply", "joined", "join":
		change("another ref", func(f *rawFrame) { f.Ref = json.RawMessage(`"12345"`) })
		change("another response", func(f *rawFrame) { f.Payload = f.reply("status") })
		change("another status", func(f *rawFrame) { f.Payload = f.reply("response") })
	case "message", "errored":
		change("another payload", func(f *rawFrame) { f.Payload = json.RawMessage(`{"falsified":1}`) })
	}
	if kind == "join" { // an error; any status but ok is one
		change("another status", func(f *rawFrame) {
			f.Payload = json.RawMessage(strings.Replace(string(f.Payload), `"status":"error"`, `"status":"ok"`, 1))
		})
	}
	return all
}

// A rawFrame is a text frame of the server, taken apart and no further.
type rawFrame struct {
	v1                                  bool
	JoinRef, Ref, Topic, Event, Payload json.RawMessage
}

func readRawFrame(data []byte) (f rawFrame) {
	if f.v1 = json.Unmarshal(data, &f) == nil; f.v1 {
		return f
	}
	if err := json.Unmarshal(data, &[]any{&f.JoinRef, &f.Ref, &f.Topic, &f.Event, &f.Payload}); err != nil {
		panic(fmt.Sprintf("%q: %v", data, err))
	}
	return f
}

func (f *rawFrame) encode() []byte {
	if f.v1 {
		return mustJSON(map[string]any{"topic": f.Topic, "event": f.Event, "payload": f.Payload, "ref": f.Ref})
	}
	return mustJSON([]any{f.JoinRef, f.Ref, f.Topic, f.Event, f.Payload})
}

// reply is the payload of a reply with everything changed but one key.
func (f *rawFrame) reply(keep string) json.RawMessage {
	var payload map[string]json.RawMessage
	if err := json.Unmarshal(f.Payload, &payload); err != nil {
		panic(fmt.Sprintf("%q: %v", f.Payload, err))
	}
	for key := range payload {
		if key != keep {
			payload[key] = json.RawMessage(`"falsified"`)
		}
	}
	return mustJSON(payload)
}

// A ledger says what events each frame of a recorded server has to bring about, from what the client had sent before and
// by these rules; or why it brings about none:
//
//	phx_reply to a push, join, leave or heartbeat of ours    PushReply, Joined or JoinError, Left, Heartbeat; a join too many
//	                                                         for a socket that has some is to go to another
//	phx_reply to anything else                               none: it answers a stranger's frame, or comes second
//	phx_close, phx_error of a current join                   Closed, Errored, Left or JoinError, and its pushes fail
//	phx_close, phx_error of another one                      none: the join has ended before
//	anything else on a topic that we hold, of its join       Message
//	anything else                                            none: not our topic, or another join's
type ledger struct {
	topics []*ledgerTopic
	pushes []*ledgerPush
	beats  []string
	// strangers are refs, and why the server's answers to them are none of ours.
	strangers map[string]string
	closing   bool
}

type ledgerTopic struct {
	name, joinRef, leaveRef string
	joined                  bool
	// again: the client joined it while we were leaving, and we join it when that is over.
	again bool
}

type ledgerPush struct {
	topic, event, ref string
	written           bool
}

func (l *ledger) topic(name string) *ledgerTopic {
	i := slices.IndexFunc(l.topics, func(t *ledgerTopic) bool { return t.name == name })
	if i < 0 {
		return nil
	}
	return l.topics[i]
}

// received returns the lines of the events that a data frame of the server makes; without one, why.
func (l *ledger) received(d decoded) (lines []string, why string) {
	t := l.topic(d.Topic)
	switch d.Event {
	case "phx_reply":
		return l.replied(t, d)
	case "phx_close", "phx_error":
		return l.ended(t, d)
	}
	switch {
	case t == nil:
		return nil, "a message on a topic that we do not hold"
	case d.JoinRef != "" && d.JoinRef != t.joinRef:
		return nil, l.strangers[d.JoinRef]
	}
	return []string{fmt.Sprintf("message %s %s %s", d.Topic, d.Event, payloadLine(d.Payload))}, ""
}

func (l *ledger) replied(t *ledgerTopic, d decoded) (lines []string, why string) {
	if i := slices.Index(l.beats, d.Ref); i >= 0 && d.Topic == "phoenix" {
		l.beats = l.beats[i+1:]
		return []string{"heartbeat"}, ""
	}
	if i := slices.IndexFunc(l.pushes, func(p *ledgerPush) bool { return p.ref == d.Ref && p.topic == d.Topic }); i >= 0 {
		p := l.pushes[i]
		l.pushes = slices.Delete(l.pushes, i, i+1)
		l.strangers[p.ref] = "a second reply"
		return []string{fmt.Sprintf("reply %s %s %s %s", p.topic, p.event, d.Status, payloadLine(d.Payload))}, ""
	}
	switch {
	case t != nil && !t.joined && t.leaveRef == "" && d.Ref == t.joinRef:
		return l.joinAnswered(t, d), ""
	case t != nil && t.leaveRef != "" && d.Ref == t.leaveRef:
		return l.left(t), ""
	}
	return nil, l.strangers[d.Ref]
}

func (l *ledger) joinAnswered(t *ledgerTopic, d decoded) (lines []string) {
	if d.Status == "ok" {
		t.joined = true
		for _, p := range l.pushes {
			p.written = p.written || p.topic == t.name
		}
		return []string{"joined " + t.name + " " + payloadLine(d.Payload)}
	}
	lines = []string{fmt.Sprintf("join error %s %s", t.name, payloadLine(d.Payload))}
	holds := slices.ContainsFunc(l.topics, func(o *ledgerTopic) bool { return o.joined })
	if holds && strings.Contains(payloadLine(d.Payload), "too many channels joined") {
		lines = []string{"sent away " + t.name}
	}
	lines = append(lines, l.failPushes(t.name, PushNotJoined)...)
	l.forget(t, "its join was refused")
	return lines
}

func (l *ledger) ended(t *ledgerTopic, d decoded) (lines []string, why string) {
	ref := d.JoinRef
	if ref == "" {
		ref = d.Ref
	}
	switch {
	case t == nil || ref != t.joinRef:
		return nil, l.strangers[ref]
	case t.leaveRef != "":
		return l.left(t), ""
	case !t.joined:
		lines = append([]string{fmt.Sprintf("join error %s %s", t.name, payloadLine(d.Payload))}, l.failPushes(t.name, PushNotJoined)...)
	case d.Event == "phx_close":
		lines = append([]string{"closed " + t.name}, l.failPushes(t.name, PushChannelClosed)...)
	default:
		lines = append([]string{fmt.Sprintf("errored %s phx_error %s", t.name, payloadLine(d.Payload))}, l.failPushes(t.name, PushChannelCrashed)...)
	}
	l.forget(t, "its join had ended: "+d.Event)
	return lines, ""
}

// left ends a leave, and begins the join that waited for it.
func (l *ledger) left(t *ledgerTopic) []string {
	lines := append(l.failPushes(t.name, PushCancelled), "left "+t.name)
	l.strangers[t.leaveRef] = "it was left before"
	l.forget(t, "it was left before")
	if t.again {
		lines = append(lines, "joining "+t.name)
		l.topics = append(l.topics, &ledgerTopic{name: t.name, joinRef: "a join that was not recorded"})
	}
	return lines
}

func (l *ledger) forget(t *ledgerTopic, why string) {
	l.topics = slices.DeleteFunc(l.topics, func(o *ledgerTopic) bool { return o == t })
	l.strangers[t.joinRef] = why
}

func (l *ledger) failPushes(topic string, reason PushReason) (lines []string) {
	l.pushes = slices.DeleteFunc(l.pushes, func(p *ledgerPush) bool {
		if p.topic != topic && topic != "" {
			return false
		}
		lines = append(lines, fmt.Sprintf("push error %s %s %s %s", p.topic, p.event, reason, delivered(p.written)))
		l.strangers[p.ref] = "its push had failed: " + string(reason)
		return true
	})
	return lines
}

// lost returns the lines of the end of the session.
func (l *ledger) lost(reason Reason, code int) (lines []string) {
	pushes := PushDisconnected
	if l.closing {
		reason, pushes = ReasonClosedByUs, PushCancelled
	}
	if code == websocket.CloseNoStatusReceived { // which is how the absence of a code was recorded
		code = 0
	}
	if code == websocket.CloseMessageTooBig && len(l.pushes) == 1 { // it was that one
		l.pushes[0].written = false
	}
	lines = append([]string{fmt.Sprintf("disconnected %s %d 0", reason, code)}, l.failPushes("", pushes)...)
	for _, t := range l.topics {
		switch {
		case t.leaveRef != "":
			lines = append(lines, "left "+t.name)
		case t.joined:
			lines = append(lines, "errored "+t.name+" disconnected "+payloadLine(Payload{}))
		}
	}
	l.topics = nil
	return lines
}

// eventLine writes an event as a ledger does.
func eventLine(e *Event) string {
	switch d := e.Detail.(type) {
	case *Message:
		return fmt.Sprintf("message %s %s %s", e.Topic, e.Name, payloadLine(e.Payload))
	case *PushReply:
		return fmt.Sprintf("reply %s %s %s %s", e.Topic, e.Name, d.Status, payloadLine(e.Payload))
	case *PushError:
		return fmt.Sprintf("push error %s %s %s %s", e.Topic, e.Name, d.Reason, d.Delivered)
	case *Joining:
		return "joining " + e.Topic
	case *Joined:
		return "joined " + e.Topic + " " + payloadLine(e.Payload)
	case *JoinError:
		return "join error " + e.Topic + " " + payloadLine(e.Payload)
	case *Left:
		return "left " + e.Topic
	case *Closed:
		return "closed " + e.Topic
	case *Errored:
		return fmt.Sprintf("errored %s %s %s", e.Topic, d.Reason, payloadLine(e.Payload))
	case *Heartbeat:
		return "heartbeat"
	case *Connecting:
		return "connecting"
	case *Connected:
		return "connected"
	case *Disconnected:
		return fmt.Sprintf("disconnected %s %d %d", d.Reason, d.Code, d.HTTPStatus)
	default:
		return fmt.Sprintf("%T", d)
	}
}

// payloadLine is the exact payload.
func payloadLine(p Payload) string { return fmt.Sprintf("binary:%t %q", p.Binary, p.Data) }
