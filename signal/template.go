package signal

import (
	"bytes"
	"strings"
)

// A template is what signals with the same kind, topic and event have in common.
type template struct {
	key templateKey
	// encoded says that the strings of the context are percent-encoded, those that the template does not have, too.
	encoded bool
	// head is the line up to and into the data object. The id at idAt and the time at timeAt are filled in after it was
	// copied.
	head         []byte
	idAt, timeAt int
	// tail goes from the end of the data object into the context, up to its last member that repeats.
	tail []byte
}

type templateKey struct {
	kind         kind
	topic, event string
	// encoded says that a string which is not of the template has to be percent-encoded, and therefore all.
	encoded bool
}

func newTemplate(l *layout, connection string, key templateKey) *template {
	t := &template{key: key, encoded: key.encoded || l.encodes(key.topic) || l.encodes(key.event)}
	t.makeHead(l, connection)
	t.makeTail(l, connection)
	return t
}

func (t *template) makeHead(l *layout, connection string) {
	key := t.key
	head := append(make([]byte, 0, 256), l.start...)
	t.idAt = len(head)
	head = append(head, make([]byte, idLen)...)
	head = append(head, `","source":`...)
	head = appendString(head, "/jidoka/phoenix/"+connection)
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
	t.head = bytes.Clone(appendCommonData(head, connection, key)) // no larger than it has to be: it is kept
}

// appendCommonData appends the members of data that are the same for all events of key. A message's data is the payload alone.
func appendCommonData(dst []byte, connection string, key templateKey) []byte {
	if key.kind == kindMessage {
		return dst
	}
	dst = appendString(append(dst, `"connection_name":`...), connection)
	if key.kind.hasTopic() {
		dst = appendText(dst, "topic", key.topic)
	}
	if key.kind.hasEvent() {
		dst = appendText(dst, "event", key.event)
	}
	return dst
}

func (t *template) makeTail(l *layout, connection string) {
	tail := appendString([]byte(l.context), connection)
	if t.key.kind.hasTopic() {
		tail = l.appendRawName(tail, l.topic, t.key.topic, t.encoded)
	}
	if t.key.kind.hasEvent() {
		tail = l.appendRawName(tail, l.event, t.key.event, t.encoded)
	}
	if t.encoded {
		tail = append(tail, encodingMark...)
	}
	t.tail = bytes.Clone(tail)
}

// size returns about how many bytes t holds on to.
func (t *template) size() int {
	return len(t.key.topic) + len(t.key.event) + cap(t.head) + cap(t.tail)
}

// A templateCache makes the templates of one layout and connection and keeps them. The server chooses topics and events, so what
// is kept is bounded in bytes.
type templateCache struct {
	layout     *layout
	connection string

	// latest is the last one asked for; streams repeat themselves.
	latest    *template
	templates map[templateKey]*template
	// size is the sum of the templates' sizes, limit its bound.
	size, limit int
}

const (
	// maxTemplates is the usual limit of a cache in bytes: some hundred templates of the usual size.
	maxTemplates = 256 << 10
	// maxTemplate is the size from which a template is not worth its place; so is an eighth of the limit.
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
		t = newTemplate(c.layout, c.connection, key)
		if t.size() > min(maxTemplate, c.limit/8) {
			return t
		}
		c.keep(t)
	}
	c.latest = t
	return t
}

// keep adds t, after forgetting all others when there is no room: whoever fills the cache with ever new topics gains nothing by
// a cleverer choice.
func (c *templateCache) keep(t *template) {
	if c.templates == nil || c.size+t.size() > c.limit {
		c.templates = make(map[templateKey]*template)
		c.size = 0
	}
	c.templates[t.key] = t
	c.size += t.size()
}
