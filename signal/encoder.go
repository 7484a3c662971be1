package signal

import (
	"bytes"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/phoenix"
	"phx/phoenix/rawjson"
)

// An Encoder writes the events of one connection in one format. It is not safe for concurrent use.
type Encoder struct {
	format Format

	ids       idSource
	clock     clock
	templates templateCache
	members   members
}

// members says where the values of two members of a line are, each from its brace to behind the closing one. Both are 0 of a line
// that has no such member of its own: formats differ in where metadata is.
type members struct{ dataStart, dataEnd, metadataStart, metadataEnd int }

// NewEncoder returns an encoder for the connection of that name, which has to satisfy [CheckName].
func NewEncoder(f Format, connection string) *Encoder {
	return &Encoder{
		format:    f,
		ids:       newIDSource(connection),
		clock:     newClock(),
		templates: templateCache{layout: layouts[f], connection: connection, limit: maxTemplates},
	}
}

// SetEpoch sets the epoch of the signals from now on, which says whose turn it is to run the connection; 0: it has none.
func (e *Encoder) SetEpoch(epoch uint64) {
	if t := &e.templates; t.epoch != epoch {
		*t = templateCache{layout: t.layout, connection: t.connection, epoch: epoch, limit: t.limit}
	}
}

// CacheAtMost bounds what the encoder remembers of topics and events, which the server chooses, to
// so many bytes; the default is 256 KiB. A program with many encoders sets less.
func (e *Encoder) CacheAtMost(bytes int) { e.templates.limit = bytes }

// Append appends ev as one line, which ends in its only '\n', and returns the extended buffer. A
// format that prints nothing for ev returns dst as it is. Neither ev nor its payload is kept.
func (e *Encoder) Append(dst []byte, ev *phoenix.Event) []byte {
	e.members = members{}
	if e.format == FormatPayload {
		return appendPayloadLine(dst, ev)
	}
	return e.appendSignal(dst, ev)
}

// Member returns the value of the member called data or metadata of the latest line that was appended, which line is, and reports
// whether that is known.
func (e *Encoder) Member(line []byte, name string) (value []byte, known bool) {
	at := &e.members
	switch {
	case name == "data" && at.dataEnd > 0:
		return line[at.dataStart:at.dataEnd], true
	case name == "metadata" && at.metadataEnd > 0:
		return line[at.metadataStart:at.metadataEnd], true
	}
	return nil, false
}

// Encodes reports whether the line of ev is a signal: FormatPayload has none.
func (e *Encoder) Encodes(ev *phoenix.Event) bool {
	return e.templates.layout != nil && kindOf(ev.Detail) != ""
}

// Value returns the value that the line of a message has at inner in the member outer, as JSON text, and reports whether that is known
// without encoding the line. It is valid as long as ev.
func (e *Encoder) Value(ev *phoenix.Event, outer, inner string) (value []byte, known bool) {
	l := e.templates.layout
	if _, isMessage := ev.Detail.(*phoenix.Message); !isMessage || l == nil {
		return nil, false
	}
	switch {
	case outer == "data" && inner == "payload":
		return ev.Payload.Data, ev.Payload.Data != nil && !ev.Payload.Binary
	case outer != "metadata" || l.metadataAt == 0:
	case inner == l.topic:
		return e.template(ev).topic, true
	case inner == l.event:
		return e.template(ev).event, true
	}
	return nil, false
}

// template returns that of an event; nil: it has no signal.
func (e *Encoder) template(ev *phoenix.Event) *template {
	key := templateKey{kind: kindOf(ev.Detail)}
	if key.kind == "" {
		return nil
	}
	if key.kind.hasTopic() {
		key.topic = ev.Topic
	}
	if key.kind.hasEvent() {
		key.event = ev.Name
	}
	l := e.templates.layout
	key.encoded = l.encodes(ev.Ref) || l.encodes(ev.JoinRef) || ev.Broadcast != nil && l.encodes(ev.Broadcast.Event)
	return e.templates.get(key)
}

// appendSignal appends the line of ev in any format that has a layout.
func (e *Encoder) appendSignal(dst []byte, ev *phoenix.Event) []byte {
	t := e.template(ev)
	if t == nil {
		return dst
	}
	l := e.templates.layout
	start := len(dst)
	dst = e.appendHead(dst, t, ev.Time)
	e.ids.put(dst[start+t.idAt:], ev.Time, ev.Seq)
	dst = appendData(dst, t.key.kind, ev)
	e.members = members{dataStart: t.dataAt, dataEnd: len(dst) - start + 1} // the tail begins with the brace
	dst = append(dst, t.tail...)
	if l.strict {
		dst = appendAttributes(dst, ev, t.encoded)
	} else {
		dst = appendMetadata(dst, ev)
	}
	dst = append(dst, l.end...)
	if l.metadataAt > 0 {
		e.members.metadataStart, e.members.metadataEnd = e.members.dataEnd-1+l.metadataAt, len(dst)-start-len("}\n")
	}
	return dst
}

// appendHead appends the head of t with the time. The place of the id is still to be filled.
func (e *Encoder) appendHead(dst []byte, t *template, at time.Time) []byte {
	start := len(dst)
	dst = append(dst, t.head...)
	line := dst[start:]
	e.clock.put(line[t.timeAt:], at)
	return dst
}

// appendMetadata appends the members of metadata that a template's tail does not have.
func appendMetadata(dst []byte, ev *phoenix.Event) []byte {
	if ev.Ref != "" {
		dst = appendText(dst, "phoenix_ref", ev.Ref)
	}
	if ev.JoinRef != "" {
		dst = appendText(dst, "phoenix_join_ref", ev.JoinRef)
	}
	if ev.Broadcast != nil {
		dst = appendText(dst, "broadcast_event", ev.Broadcast.Event)
	}
	dst = strconv.AppendInt(append(dst, `,"session":`...), int64(ev.Session), 10)
	return strconv.AppendUint(append(dst, `,"seq":`...), ev.Seq, 10)
}

// Dropped is a loss of signals in a full queue.
type Dropped struct {
	// Count is how many were lost.
	Count uint64
	// Policy is the queue's when_full: which ones are lost.
	Policy string
	// FirstSeq and LastSeq are the seq of the first and the last one lost. Signals between them may
	// have been delivered, so Count can be less than their distance.
	FirstSeq, LastSeq uint64
	// Sink is the sink that lost them, where another one is told; empty: the one that reads this.
	Sink string
}

// AppendDropped appends the signal phoenix.signal.dropped for d as one line. at is when the loss
// is announced. A format that prints nothing for it returns dst as it is.
func (e *Encoder) AppendDropped(dst []byte, d Dropped, at time.Time) []byte {
	if e.format == FormatPayload {
		return dst
	}
	return e.appendDroppedSignal(dst, d, at)
}

// appendDroppedSignal appends the signal of a loss. It is no event of the connection and so has
// neither session nor seq.
func (e *Encoder) appendDroppedSignal(dst []byte, d Dropped, at time.Time) []byte {
	e.members = members{}
	t := e.templates.get(templateKey{kind: kindDropped})
	start := len(dst)
	dst = e.appendHead(dst, t, at)
	e.ids.putNew(dst[start+t.idAt:], at)
	dst = appendUint(dst, "count", d.Count)
	dst = appendText(dst, "policy", d.Policy)
	dst = appendUint(dst, "first_seq", d.FirstSeq)
	dst = appendUint(dst, "last_seq", d.LastSeq)
	if d.Sink != "" {
		dst = appendText(dst, "sink", d.Sink)
	}
	dst = append(dst, t.tail...)
	return append(dst, e.templates.layout.end...)
}

// A template is what signals with the same kind, topic and event have in common.
type template struct {
	key templateKey
	// encoded: the strings of the context are percent-encoded, those outside of the template, too.
	encoded bool
	// head is the line up to and into the data object. The id at idAt and the time at timeAt are
	// filled in after it was copied.
	head         []byte
	idAt, timeAt int
	dataAt       int // of the data object
	// tail goes from the end of the data object into the context, up to its last member that
	// repeats.
	tail []byte
	// topic and event are the JSON strings that a message has in its member metadata, in tail.
	topic, event []byte
}

type templateKey struct {
	kind         kind
	topic, event string
	// encoded: a string outside of the template has to be percent-encoded, and therefore all.
	encoded bool
}

func newTemplate(l *layout, connection string, epoch uint64, key templateKey) *template {
	t := &template{key: key, encoded: key.encoded || l.encodes(key.topic) || l.encodes(key.event)}
	t.makeHead(l, connection)
	t.makeTail(l, connection, epoch)
	return t
}

func (t *template) makeHead(l *layout, connection string) {
	key := t.key
	head := append(make([]byte, 0, 256), l.start...)
	t.idAt = len(head)
	head = append(head, make([]byte, idLen)...)
	head = append(head, `","source":`...)
	head = rawjson.AppendString(head, "/jidoka/phoenix/"+connection)
	head = append(head, `,"type":"`...)
	head = key.kind.appendType(head, connection, key.topic, key.event)
	head = append(head, '"')
	if key.topic != "" {
		head = l.appendRawName(head, "subject", key.topic, t.encoded)
	}
	head = append(head, `,"time":"`...)
	t.timeAt = len(head)
	head = append(head, make([]byte, timeLen)...)
	head = append(head, `","datacontenttype":"application/json","data":{`...)
	t.dataAt = len(head) - 1
	t.head = bytes.Clone(appendCommonData(head, connection, key)) // no larger than it has to be: it is kept
}

// appendCommonData appends the members of data that are the same for all events of key. A
// message's data is the payload alone.
func appendCommonData(dst []byte, connection string, key templateKey) []byte {
	if key.kind == kindMessage {
		return dst
	}
	dst = rawjson.AppendString(append(dst, `"connection_name":`...), connection)
	if key.kind.hasTopic() {
		dst = appendText(dst, "topic", key.topic)
	}
	if key.kind.hasEvent() {
		dst = appendText(dst, "event", key.event)
	}
	return dst
}

func (t *template) makeTail(l *layout, connection string, epoch uint64) {
	tail := rawjson.AppendString([]byte(l.context), connection)
	switch {
	case epoch == 0:
	case l.strict && epoch > math.MaxInt32:
		tail = appendText(tail, l.epoch, strconv.FormatUint(epoch, 10))
	default:
		tail = appendUint(tail, l.epoch, epoch)
	}
	topicAt := len(tail)
	if t.key.kind.hasTopic() {
		tail = l.appendRawName(tail, l.topic, t.key.topic, t.encoded)
	}
	eventAt := len(tail)
	if t.key.kind.hasEvent() {
		tail = l.appendRawName(tail, l.event, t.key.event, t.encoded)
	}
	end := len(tail)
	if t.encoded {
		tail = append(tail, encodingMark...)
	}
	t.tail = bytes.Clone(tail)
	if t.key.kind == kindMessage && l.metadataAt > 0 {
		t.topic, t.event = valueOf(t.tail[topicAt:eventAt], l.topic), valueOf(t.tail[eventAt:end], l.event)
	}
}

// valueOf returns the value of a member that appendName and what follows it have appended.
func valueOf(member []byte, name string) []byte { return member[len(appendName(nil, name)):] }

// size returns about how many bytes t holds on to.
func (t *template) size() int {
	return len(t.key.topic) + len(t.key.event) + cap(t.head) + cap(t.tail)
}

// A templateCache makes the templates of one layout and connection and keeps them. The server
// chooses topics and events, so what is kept is bounded in bytes.
type templateCache struct {
	layout     *layout
	connection string
	epoch      uint64

	// latest is the template of the last get; streams repeat themselves.
	latest    *template
	templates map[templateKey]*template
	// size is the sum of the templates' sizes, limit its bound.
	size, limit int
}

const (
	// maxTemplates is the usual limit of a cache in bytes: some hundred templates of the usual
	// size.
	maxTemplates = 256 << 10
	// maxTemplate is the size from which a template is not worth its place; so is an eighth of the
	// limit.
	maxTemplate = 8 << 10
)

// get returns the template for key, made or kept.
func (c *templateCache) get(key templateKey) *template {
	if c.latest != nil && c.latest.key == key {
		return c.latest
	}
	t := c.templates[key]
	if t == nil {
		// The key outlives the event it came from.
		key.topic, key.event = strings.Clone(key.topic), strings.Clone(key.event)
		t = newTemplate(c.layout, c.connection, c.epoch, key)
		if t.size() > min(maxTemplate, c.limit/8) {
			return t
		}
		c.keep(t)
	}
	c.latest = t
	return t
}

// keep adds t, after it has removed all others when there is no room. A cleverer choice would not
// help against a server that fills the cache with ever new topics.
func (c *templateCache) keep(t *template) {
	if c.templates == nil || c.size+t.size() > c.limit {
		c.templates = make(map[templateKey]*template)
		c.size = 0
	}
	c.templates[t.key] = t
	c.size += t.size()
}

// A layout is what a format has in its own way: all that surrounds the data, which is the same
// object in each of them.
type layout struct {
	// start is the line up to the id.
	start string
	// context is what stands between data and the name of the connection, the first of the members
	// called the context here: those of metadata, or CloudEvents extension attributes.
	context string
	// metadataAt is where in context the value of the line's member metadata begins; 0: it has none.
	metadataAt int
	// epoch, topic and event are the names which those have in the context.
	epoch, topic, event string
	// end ends the line.
	end string
	// strict: the context consists of CloudEvents attributes, which have rules (see
	// cloudEventsLayout).
	strict bool
}

// layouts are those of the formats that print signals.
var layouts = [...]*layout{
	FormatSignal:      &signalLayout,
	FormatCloudEvents: &cloudEventsLayout,
	FormatJido:        &jidoLayout,
	FormatPayload:     nil,
}

// signalLayout is FormatSignal.
var signalLayout = layout{
	start:      `{"specversion":"1.0","id":"`,
	context:    `},"metadata":{"connection_name":`,
	metadataAt: len(`},"metadata":`),
	epoch:      "epoch",
	topic:      "phoenix_topic",
	event:      "phoenix_event",
	end:        "}}\n",
}

// encodes reports whether s forces the strings of its line to be percent-encoded.
func (l *layout) encodes(s string) bool { return l.strict && needsEncoding(s) }

// appendRawName appends a raw topic or event as the member called name.
func (l *layout) appendRawName(dst []byte, name, value string, encoded bool) []byte {
	if l.strict {
		return appendAttribute(dst, name, value, encoded)
	}
	return appendText(dst, name, value)
}

// appendPayloadMember appends the member called name, or name_base64 for bytes. p has data; no
// comma goes before it.
func appendPayloadMember(dst []byte, name string, p *phoenix.Payload) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	if p.Binary {
		dst = append(dst, "_base64"...)
	}
	dst = append(dst, `":`...)
	return appendPayload(dst, p)
}

// A large payload gets room for all of its line at once: a buffer that grows behind it would copy it, and take its size once more.
const (
	largePayload = 64 << 10
	lineRest     = 4 << 10
)

// appendPayload appends p as a JSON value on one line: JSON text as it is, bytes as a string of
// standard base64.
func appendPayload(dst []byte, p *phoenix.Payload) []byte {
	if size := len(p.Data); size > largePayload {
		if p.Binary {
			size = base64.StdEncoding.EncodedLen(size)
		}
		dst = slices.Grow(dst, size+lineRest)
	}
	switch {
	case p.Binary:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, p.Data)
		return append(dst, '"')
	case p.Broken:
		return appendUnbroken(dst, p.Data)
	}
	return append(dst, p.Data...)
}

// appendUnbroken appends JSON text without its line breaks. They can stand between tokens only:
// JSON allows none inside a string, and no two tokens that need white space between them.
func appendUnbroken(dst, text []byte) []byte {
	for _, c := range text {
		if c != '\n' && c != '\r' {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendName appends a comma and the name of the member that follows. Names are ours and need no
// escaping.
func appendName(dst []byte, name string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	return append(dst, `":`...)
}

func appendText(dst []byte, name, value string) []byte {
	return rawjson.AppendString(appendName(dst, name), value)
}

func appendBool(dst []byte, name string, value bool) []byte {
	return strconv.AppendBool(appendName(dst, name), value)
}

func appendInt(dst []byte, name string, value int) []byte {
	return strconv.AppendInt(appendName(dst, name), int64(value), 10)
}

func appendUint(dst []byte, name string, value uint64) []byte {
	return strconv.AppendUint(appendName(dst, name), value, 10)
}

// appendMillis appends d in whole milliseconds, rounded, never negative: a clock that was set back
// is no news.
func appendMillis(dst []byte, name string, d time.Duration) []byte {
	return appendUint(dst, name, uint64(max(d, 0).Round(time.Millisecond).Milliseconds()))
}

// appendMicros appends d in whole microseconds, rounded, never negative.
func appendMicros(dst []byte, name string, d time.Duration) []byte {
	return appendUint(dst, name, uint64(max(d, 0).Round(time.Microsecond).Microseconds()))
}
