package cmd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"phx/cmd/internal/serve"
	"phx/phoenix"
)

// A textForm writes signals for people: one line each, with the time, the topic, and what happened. A line is made of that of the default
// format, so that a signal of a running phx serve looks as one of our own connection does. It is for people, and may change.
//
//	14:03:07.125  room:lobby  new_msg  {"body":"hi"}
//	14:03:09.310  room:lobby  * joined again in 2 ms; messages of 1.2 s may be missing
//	14:03:11.002  room:lobby  ! lost: phx_error; joins again in 100 ms
//
// The marks tell without colours what is what: * is about the connection or a channel, ! is trouble, and +, - and = are about presence.
//
// What a server chose passes appendVisible or a jsonStyle that escapes: the only control characters of a line are those of its colours.
type textForm struct {
	color bool
	// width returns how many cells a line may have; 0: any number.
	width func() int
	// names says that lines name their connection: there may be several.
	names bool
	// sentences says that the answer to what was asked for is a sentence, without a time.
	sentences bool

	// nameWidth, topicWidth and eventWidth are how wide the columns have become.
	nameWidth, topicWidth, eventWidth int
	// heartbeats counts those of phx connect --count.
	heartbeats int
	line       []byte // scratch
}

// newTextForm returns the form for stdout.
func newTextForm(o outputOptions, s *Streams) *textForm {
	f := &textForm{color: s.coloured(o.Color, s.OutTerminal), width: func() int { return 0 }}
	if s.OutTerminal && !o.NoTrim {
		f.width = s.OutWidth // asked for each line: a terminal may be resized at any time
	}
	return f
}

const (
	columnGap = "  "
	// columnMost is how wide a column becomes; what is wider pushes the rest of its line to the right.
	columnMost = 24
	// clockLayout is how a time of the day is written.
	clockLayout = "15:04:05.000"
	// ellipsis stands for what was cut. It has one cell.
	ellipsis = "…"
	// bytesPerCell bounds how much of a payload is looked at for each cell of a line: more than any script needs for one.
	bytesPerCell = 32
)

// Colours of what is no JSON.
const (
	colorTopic = "\x1b[36m"
	colorEvent = "\x1b[1m"
	colorName  = "\x1b[35m"
	colorGood  = "\x1b[32m"
)

// typePrefix begins the type of every signal.
const typePrefix = "phoenix."

// A textSignal is what the form takes of a signal.
type textSignal struct {
	Type     string    `json:"type"`
	Time     time.Time `json:"time"`
	Subject  string    `json:"subject"`
	Data     textData  `json:"data"`
	Metadata *struct {
		Connection string `json:"connection_name"`
		Event      string `json:"phoenix_event"`
		Broadcast  string `json:"broadcast_event"`
	} `json:"metadata"`
}

// textData is the data of a signal. A member that is not there, or of another type, is zero.
type textData map[string]json.RawMessage

func member[T any](d textData, name string) (value T) {
	if text, ok := d[name]; ok {
		_ = json.Unmarshal(text, &value) // which leaves what it cannot take
	}
	return value
}

func (d textData) text(name string) string { return member[string](d, name) }
func (d textData) number(name string) int  { return member[int](d, name) }
func (d textData) is(name string) bool     { return member[bool](d, name) }

// duration returns name_us, or name_ms if there is no name_us.
func (d textData) duration(name string) string {
	if _, ok := d[name+"_us"]; ok {
		return shortDuration(time.Duration(d.number(name+"_us")) * time.Microsecond)
	}
	ms := d.number(name + "_ms")
	if ms == 0 {
		return "<1 ms"
	}
	return shortDuration(time.Duration(ms) * time.Millisecond)
}

// shortDuration writes a duration with as many digits as a person wants.
func shortDuration(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond && d%time.Millisecond != 0:
		return strconv.FormatFloat(d.Seconds()*1000, 'f', 2, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	}
	return d.Round(time.Second).String()
}

// The marks.
const (
	markNone    = ""
	markLife    = "* "
	markTrouble = "! "
)

// A happening is what a line tells behind its columns.
type happening struct {
	// event has the column of events, if hasEvent.
	event    string
	hasEvent bool
	mark     string
	words    string
	// good says that words are about a success.
	good     bool
	payloads []payloadText
}

// A payloadText is a JSON text, or base64 with the number of bytes that it stands for.
type payloadText struct {
	text  json.RawMessage
	bytes int
}

// happened returns what a signal tells.
func (s *textSignal) happened() happening {
	d, kind := s.Data, strings.TrimPrefix(s.Type, typePrefix)
	socket := ""
	if n := d.number("socket"); n > 0 && strings.HasPrefix(kind, "connection.") {
		socket = fmt.Sprintf("socket %d", n)
	}
	trouble := func(words ...string) happening {
		return happening{mark: markTrouble, words: clauses(append(words, socket)...)}
	}
	life := func(words ...string) happening {
		return happening{mark: markLife, words: clauses(append(words, socket)...)}
	}
	switch kind {
	case "connection.connecting":
		return life("connecting to "+d.text("uri"), d.attempt())
	case "connection.connected":
		if d.is("reconnect") {
			return life("connected again in "+d.duration("connect"), "away for "+d.duration("outage"))
		}
		return life("connected in " + d.duration("connect"))
	case "connection.disconnected":
		why := "disconnected: " + d.text("reason")
		detail := oneLine(d.text("detail"))
		if code := strconv.Itoa(d.number("code")); code != "0" && !strings.Contains(detail, code) {
			why += ", code " + code
		}
		if status := d.number("http_status"); status != 0 {
			why += fmt.Sprintf(", HTTP status %d", status)
		}
		if detail != "" {
			why += ", " + detail
		}
		if d.text("reason") == string(phoenix.ReasonClosedByUs) {
			return life(why)
		}
		return trouble(why)
	case "connection.reconnecting":
		return life("connecting again in "+d.duration("delay"), d.attempt())
	case "connection.reconnect_exhausted":
		return trouble("no more attempts to connect", fmt.Sprintf("%d failed", d.number("attempts")), d.text("reason"))
	case "connection.heartbeat":
		return life("heartbeat " + d.duration("rtt"))
	case "connection.heartbeat_timeout":
		return trouble("no answer to a heartbeat within " + d.duration("timeout"))
	case "channel.joining":
		return life(map[bool]string{false: "joining", true: "joining again"}[d.is("rejoin")], d.attempt())
	case "channel.joined":
		h := life("joined in " + d.duration("join"))
		if d.is("rejoin") {
			h = life("joined again in "+d.duration("join"), "messages of "+d.duration("gap")+" may be missing")
		}
		h.payloads = d.payloads("response", "resumed")
		return h
	case "channel.live":
		return life("live after " + d.duration("live"))
	case "channel.gap":
		return trouble("messages of "+d.duration("gap")+" may be missing", d.text("reason"))
	case "channel.join_error":
		h := trouble("not joined: "+d.refusal(), d.retry())
		h.payloads = d.payloads("response")
		return h
	case "channel.left":
		return life("left")
	case "channel.closed":
		return trouble("closed by the server", d.retry())
	case "channel.errored":
		h := trouble("lost: "+d.text("reason"), d.retry())
		h.payloads = d.payloads("response")
		return h
	case "push.reply":
		h := happening{event: d.text("event"), hasEvent: true, good: true,
			words: clauses(d.text("status")+" in "+d.duration("latency"), d.onJoin())}
		if d.text("status") != "ok" {
			h.mark, h.good = markTrouble, false
		}
		h.payloads = d.payloads("payload")
		return h
	case "push.timeout":
		h := trouble("no reply within "+d.duration("timeout"), d.index())
		h.event, h.hasEvent = d.text("event"), true
		return h
	case "push.error":
		h := trouble(d.text("reason"), map[string]string{"no": "not delivered", "unknown": "perhaps delivered"}[d.text("delivered")], d.index())
		h.event, h.hasEvent = d.text("event"), true
		return h
	case "presence.join":
		return d.presence("+ ")
	case "presence.leave":
		return d.presence("- ")
	case "presence.sync":
		keys := slices.Sorted(maps.Keys(member[map[string]json.RawMessage](d, "state")))
		return happening{mark: "= ", words: strings.TrimRight(fmt.Sprintf("%d present: %s", len(keys), strings.Join(keys, ", ")), ": ")}
	case "signal.dropped":
		return trouble(fmt.Sprintf("%d lost, %s", d.number("count"), d.text("policy")),
			fmt.Sprintf("seq %d to %d", d.number("first_seq"), d.number("last_seq")))
	default:
		if s.isMessage(kind) {
			return happening{event: s.Metadata.Event, hasEvent: true, words: oneLine(s.Metadata.Broadcast), payloads: d.payloads("payload")}
		}
		data, err := json.Marshal(d)
		if err != nil {
			data = nil // it was decoded a moment ago
		}
		return happening{mark: markLife, words: kind, payloads: []payloadText{{text: data}}}
	}
}

// isMessage reports whether a signal is a message, whose type has the name of its connection where others have a word that no connection
// may have.
func (s *textSignal) isMessage(kind string) bool {
	return strings.HasPrefix(kind, s.Metadata.Connection+".")
}

// clauses joins those that are not empty.
func clauses(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), "; ")
}

// attempt says which one it is, unless it is the first.
func (d textData) attempt() string {
	n, most := d.number("attempt"), d.number("max_attempts")
	switch {
	case most > 0:
		return fmt.Sprintf("attempt %d of %d", n, most)
	case n > 1:
		return fmt.Sprintf("attempt %d", n)
	}
	return ""
}

// refusal says why a topic was not joined.
func (d textData) refusal() string {
	if reason := d.text("reason"); reason != string(phoenix.JoinRefused) {
		return reason
	}
	return "refused"
}

// onJoin says that a push was one of --on-join.
func (d textData) onJoin() string {
	if d.is("on_join") {
		return "on join"
	}
	return ""
}

// index says which input it is, unless it is the first, or that it is none.
func (d textData) index() string {
	if d.is("on_join") {
		return d.onJoin()
	}
	if n := d.number("index"); n > 0 {
		return fmt.Sprintf("index %d", n)
	}
	return ""
}

// retry says when a channel is joined again, if that is known.
func (d textData) retry() string {
	if _, ok := d["retry_in_ms"]; !ok {
		return ""
	}
	return "joins again in " + d.duration("retry_in")
}

// presence is a change of presence.
func (d textData) presence(mark string) happening {
	h := happening{mark: mark, words: d.text("key")}
	if d.is("update") {
		h.words += " (update)"
	}
	for _, meta := range member[[]json.RawMessage](d, "metas") {
		h.payloads = append(h.payloads, payloadText{text: meta})
	}
	h.payloads = append(h.payloads, d.payloads("fields")...)
	return h
}

// payloads returns the members of those names that say something: a response that is an empty object does not.
func (d textData) payloads(names ...string) (list []payloadText) {
	for _, name := range names {
		if text, ok := d[name+"_base64"]; ok {
			encoded := bytes.TrimRight(bytes.Trim(text, `"`), "=")
			list = append(list, payloadText{text, base64.RawStdEncoding.DecodedLen(len(encoded))})
		} else if text, ok := d[name]; ok && (name == "payload" || string(text) != "{}") {
			list = append(list, payloadText{text: text})
		}
	}
	return list
}

// append appends the line of a signal, given in the default format. JSON that is no such signal is appended whole, safe for a terminal.
func (f *textForm) append(dst, text []byte) []byte {
	var s textSignal
	if err := json.Unmarshal(text, &s); err != nil || s.Metadata == nil || !strings.HasPrefix(s.Type, typePrefix) {
		return jsonStyle{color: f.color, escape: true}.append(dst, text)
	}
	f.line = f.appendSignal(f.line[:0], &s)
	return append(appendCut(dst, bytes.TrimRight(f.line, " "), f.width()), '\n')
}

func (f *textForm) appendSignal(line []byte, s *textSignal) []byte {
	h := s.happened()
	if f.sentences {
		if words := f.sentence(s); words != "" {
			h.words, h.good = words, h.mark == markLife
			if h.good {
				h.mark = markNone
			}
			return f.appendHappening(line, h)
		}
	}
	if h.mark == markLife && f.color {
		f.color = false
		line = f.appendColumns(append(line, colorFaint...), s, h)
		f.color = true
		return append(line, colorReset...)
	}
	return f.appendColumns(line, s, h)
}

// appendColumns appends the time, the columns and what happened.
func (f *textForm) appendColumns(line []byte, s *textSignal, h happening) []byte {
	line = f.paint(line, colorFaint, s.Time.Local().Format(clockLayout))
	if f.names {
		line = f.appendColumn(line, colorName, s.Metadata.Connection, &f.nameWidth)
	}
	line = f.appendColumn(line, colorTopic, s.Subject, &f.topicWidth)
	if h.hasEvent {
		line = f.appendColumn(line, colorEvent, h.event, &f.eventWidth)
	}
	return f.appendHappening(append(line, columnGap...), h)
}

// appendHappening appends what stands behind the columns.
func (f *textForm) appendHappening(line []byte, h happening) []byte {
	color := ""
	switch {
	case h.mark == markTrouble:
		color = colorError
	case h.good:
		color = colorGood
	}
	start := len(line)
	if h.mark+h.words != "" {
		line = f.paint(line, color, h.mark+h.words)
	}
	for _, payload := range h.payloads {
		if len(line) > start {
			line = append(line, columnGap...)
		}
		if payload.bytes > 0 {
			line = f.paint(line, colorFaint, fmt.Sprintf("%d bytes: ", payload.bytes))
		}
		line = f.appendPayload(line, payload.text)
	}
	return line
}

// sentence returns the answer to what was asked for as a sentence, empty for anything else.
func (f *textForm) sentence(s *textSignal) string {
	d, topic := s.Data, s.Subject
	switch s.Type {
	case "phoenix.connection.heartbeat":
		f.heartbeats++
		return fmt.Sprintf("heartbeat %d in %s", f.heartbeats, d.duration("rtt"))
	case "phoenix.channel.joined":
		if !d.is("rejoin") {
			return "joined " + topic + " in " + d.duration("join")
		}
	case "phoenix.channel.join_error":
		return clauses("not joined "+topic+": "+d.refusal(), d.retry())
	case "phoenix.channel.left":
		return "left " + topic
	}
	return ""
}

// reserve makes a column as wide as these texts from the start.
func reserve(width *int, texts ...string) {
	for _, text := range texts {
		*width = max(*width, min(uniseg.StringWidth(string(appendVisible(nil, text))), columnMost))
	}
}

// paint appends a text that may be a server's in a colour.
func (f *textForm) paint(dst []byte, color, text string) []byte {
	if !f.color || color == "" {
		return appendVisible(dst, text)
	}
	return append(appendVisible(append(dst, color...), text), colorReset...)
}

// appendColumn appends a gap and a text, filled up to the width of its column, which grows. A column without any text is left out.
func (f *textForm) appendColumn(line []byte, color, text string, width *int) []byte {
	visible := appendVisible(nil, text)
	if most := f.width(); most > 0 {
		visible = appendCut(nil, visible, max(most/3, columnMost)) // leaves room for the other columns
	}
	cells := uniseg.StringWidth(string(visible))
	*width = max(*width, min(cells, columnMost))
	if *width == 0 {
		return line
	}
	line = f.paint(append(line, columnGap...), color, string(visible))
	return append(line, strings.Repeat(" ", max(*width-cells, 0))...)
}

// appendPayload appends a JSON text without white space between its tokens, as much of it as has place. Bytes are told with their number.
func (f *textForm) appendPayload(line, text []byte) []byte {
	most := len(text)
	if width := f.width(); width > 0 && most > width*bytesPerCell {
		for most = width * bytesPerCell; !utf8.RuneStart(text[most]); most-- {
		}
	}
	p := painter{jsonStyle: jsonStyle{color: f.color, escape: true}, dst: line}
	p.paint(text[:most])
	if most < len(text) {
		p.dst = append(p.dst, ellipsis...)
	}
	return p.dst
}

// appendCut appends a line that is at most so many cells wide, 0 for any number. Of one that is wider the end is cut, and replaced by an
// ellipsis. Escape sequences, which are colours, have no width.
func appendCut(dst, line []byte, width int) []byte {
	if width <= 0 {
		return append(dst, line...)
	}
	cells, fits, state := 0, 0, -1
	for rest := line; len(rest) > 0; {
		if rest[0] == '\x1b' {
			rest = rest[bytes.IndexByte(rest, 'm')+1:]
			state = -1
			continue
		}
		if cells <= width-1 {
			fits = len(line) - len(rest)
		}
		var wide int
		_, rest, wide, state = uniseg.FirstGraphemeCluster(rest, state)
		if cells += wide; cells > width {
			dst = append(append(dst, line[:fits]...), ellipsis...)
			if bytes.IndexByte(line[:fits], '\x1b') >= 0 {
				dst = append(dst, colorReset...)
			}
			return dst
		}
	}
	return append(dst, line...)
}

// A textWriter writes signals, whole lines in the default format, to a terminal as text.
type textWriter struct {
	w    io.Writer
	form *textForm
	text []byte // scratch
}

// Write implements [io.Writer].
func (t *textWriter) Write(lines []byte) (int, error) {
	t.text = t.text[:0]
	for line := range bytes.Lines(lines) {
		t.text = t.form.append(t.text, bytes.TrimSuffix(line, []byte("\n")))
	}
	if _, err := t.w.Write(t.text); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// The states of connections, channels and sinks that are as they should be, and those that are not.
var (
	goodStates = []string{serve.StateConnected, serve.StateJoined, serve.SinkUp}
	badStates  = []string{string(phoenix.StatusDisconnected), "errored", serve.SinkFailing, serve.SinkOver}
)

// appendTable appends rows, the first of which is the heading, in columns that are as wide as what is in them. Lines are cut like those of
// signals.
func (f *textForm) appendTable(dst []byte, rows [][]string) []byte {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], uniseg.StringWidth(string(appendVisible(nil, cell))))
		}
	}
	for n, row := range rows {
		f.line = f.line[:0]
		for i, cell := range row {
			color := ""
			switch {
			case n == 0:
				color = colorFaint
			case slices.Contains(goodStates, cell):
				color = colorGood
			case slices.Contains(badStates, cell):
				color = colorError
			}
			if i > 0 {
				f.line = append(f.line, columnGap...)
			}
			cells := uniseg.StringWidth(string(appendVisible(nil, cell)))
			f.line = append(f.paint(f.line, color, cell), strings.Repeat(" ", widths[i]-cells)...)
		}
		dst = append(appendCut(dst, bytes.TrimRight(f.line, " "), f.width()), '\n')
	}
	return dst
}
