package signal

import "strings"

// A template is what signals with the same kind, topic and event have in common.
type template struct {
	key templateKey
	// head is the line up to and into the data object. The id at idAt and the time at timeAt are filled in after it was
	// copied.
	head   []byte
	timeAt int
	// tail goes from the end of the data object into the metadata object, up to its last member that repeats.
	tail []byte
}

// idAt is where the id stands in a template's head.
const idAt = len(lineStart)

const lineStart = `{"specversion":"1.0","id":"`

type templateKey struct {
	kind         kind
	topic, event string
}

func newTemplate(connection string, key templateKey) *template {
	head, timeAt := newHead(connection, key)
	return &template{key: key, head: head, timeAt: timeAt, tail: newTail(connection, key)}
}

func newHead(connection string, key templateKey) (head []byte, timeAt int) {
	head = append(make([]byte, 0, 256), lineStart...)
	head = append(head, make([]byte, idLen)...)
	head = append(head, `","source":`...)
	head = appendString(head, "/jidoka/phoenix/"+connection)
	head = append(head, `,"type":"`...)
	head = key.kind.appendType(head, connection, key.topic, key.event)
	head = append(head, '"')
	if key.topic != "" {
		head = appendText(head, "subject", key.topic)
	}
	head = append(head, `,"time":"`...)
	timeAt = len(head)
	head = append(head, make([]byte, timeLen)...)
	head = append(head, `","datacontenttype":"application/json","data":{`...)
	if key.kind == kindMessage { // whose data is the payload alone
		return head, timeAt
	}
	head = appendString(append(head, `"connection_name":`...), connection)
	if key.kind.hasTopic() {
		head = appendText(head, "topic", key.topic)
	}
	if key.kind.hasEvent() {
		head = appendText(head, "event", key.event)
	}
	return head, timeAt
}

func newTail(connection string, key templateKey) []byte {
	tail := appendString([]byte(`},"metadata":{"connection_name":`), connection)
	if key.kind.hasTopic() {
		tail = appendText(tail, "phoenix_topic", key.topic)
	}
	if key.kind.hasEvent() {
		tail = appendText(tail, "phoenix_event", key.event)
	}
	return tail
}

// size returns about how many bytes t holds on to.
func (t *template) size() int {
	return len(t.key.topic) + len(t.key.event) + cap(t.head) + cap(t.tail)
}

// A templateCache keeps templates. The server chooses topics and events, so what is kept is bounded in bytes.
type templateCache struct {
	// latest is the last one asked for; streams repeat themselves.
	latest    *template
	templates map[templateKey]*template
	// size is the sum of the templates' sizes.
	size int
}

const (
	// maxTemplates bounds the sum of a cache's templates in bytes; some hundred templates of the usual size.
	maxTemplates = 256 << 10
	// maxTemplate is the size from which a template is not worth its place.
	maxTemplate = 8 << 10
)

// get returns the template for key, made or kept.
func (c *templateCache) get(connection string, key templateKey) *template {
	if c.latest != nil && c.latest.key == key {
		return c.latest
	}
	t := c.templates[key]
	if t == nil {
		// The key outlives the event it came from.
		key.topic, key.event = strings.Clone(key.topic), strings.Clone(key.event)
		t = newTemplate(connection, key)
		if t.size() > maxTemplate {
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
	if c.templates == nil || c.size+t.size() > maxTemplates {
		c.templates = make(map[templateKey]*template)
		c.size = 0
	}
	c.templates[t.key] = t
	c.size += t.size()
}
