package signal

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"phx/phoenix/rawjson"
)

// ErrNoSignal is the error of a line that is a JSON object and no signal, such as one of FormatPayload.
var ErrNoSignal = errors.New("it is no signal")

// Convert appends the signal of a line in another format, as a line, and returns the extended buffer. It finds the format of the line by
// itself; to must not be FormatPayload. What a signal has is the same in each format, and data stays as it is, byte for byte. What it does
// not know of metadata, which a later version may have, is left out of FormatCloudEvents; an event of a broadcast that is empty is left out
// behind that. The error for a line of FormatPayload, or of somebody else, is [ErrNoSignal].
func Convert(dst, line []byte, to Format) ([]byte, error) {
	r, err := readRecord(line)
	if err != nil {
		return dst, err
	}
	if r.format == to {
		return append(append(dst, bytes.TrimSuffix(line, []byte{'\n'})...), '\n'), nil
	}
	return r.append(dst, layouts[to])
}

// EventOf returns the raw name of the event of the signal in a line, whatever its format, and reports whether it has one.
func EventOf(line []byte) (event string, has bool) {
	r, err := readRecord(line)
	if err != nil || !r.kind().hasEvent() {
		return "", false
	}
	return r.context["event"], true
}

// AppendCloudEvent appends the line of FormatCloudEvents of which the binary content mode of a protocol has the attributes apart from the
// data. Attributes are plain text; of those that FormatCloudEvents does not know nothing is appended.
func AppendCloudEvent(dst []byte, attributes map[string]string, data []byte) []byte {
	separator := byte('{')
	put := func(name string, number bool) {
		value, has := attributes[name]
		if !has {
			return
		}
		dst = append(rawjson.AppendString(append(dst, separator), name), ':')
		separator = ','
		if n, err := strconv.ParseInt(value, 10, 32); number && err == nil && n >= 0 && strconv.FormatInt(n, 10) == value {
			dst = append(dst, value...)
		} else {
			dst = rawjson.AppendString(dst, value)
		}
	}
	for _, name := range []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype"} {
		put(name, false)
	}
	if len(data) > 0 {
		dst = append(append(append(dst, separator), `"data":`...), data...)
		separator = ','
	}
	for _, n := range contextNames {
		if n.name == "ref" {
			put("phxenc", false)
		}
		put(n.attribute, n.number && n.name != "seq")
	}
	if separator == '{' {
		dst = append(dst, separator)
	}
	return append(dst, "}\n"...)
}

// A record is a line of a signal, taken apart. Values are JSON text that points into the line.
type record struct {
	format Format
	// head are the members before data but for the version and the subject, as they are, and data is that and what follows it, but for
	// the context.
	head, data []member
	typ        string
	// subject and what is in context are plain text, and numbers without leading zeros. metadata is the member of that name, if there is one.
	subject    string
	hasSubject bool
	metadata   []byte
	context    map[string]string
}

type member struct{ key, value []byte }

func (m member) append(dst []byte) []byte {
	return append(append(rawjson.AppendString(append(dst, ','), m.key), ':'), m.value...)
}

// contextNames are the members of the context in their order: what they are called in metadata, and as an attribute of a CloudEvent.
var contextNames = []struct {
	name, member, attribute string
	number                  bool
}{
	{"connection", "connection_name", "phxconnection", false},
	{"epoch", "epoch", "phxepoch", true},
	{"topic", "phoenix_topic", "phxtopic", false},
	{"event", "phoenix_event", "phxevent", false},
	{"ref", "phoenix_ref", "phxref", false},
	{"join_ref", "phoenix_join_ref", "phxjoinref", false},
	{"broadcast_event", "broadcast_event", "phxbroadcastevent", false},
	{"session", "session", "phxsession", true},
	{"seq", "seq", "sequence", true},
}

// readRecord takes a line apart.
func readRecord(line []byte) (*record, error) {
	r := &record{context: map[string]string{}}
	attributes := map[string][]byte{}
	var version, extensions []byte
	end, err := rawjson.ReadObject(line, 0, func(key, value []byte) {
		switch {
		case string(key) == "specversion":
			version = value
		case string(key) == "subject":
			r.subject, r.hasSubject = text(value), true
		case string(key) == "metadata":
			r.metadata = value
		case string(key) == "extensions":
			extensions = value
		case isAttribute(string(key)):
			attributes[string(key)] = value
		case string(key) == "data":
			r.data = append(r.data, member{key, value})
		case r.data == nil || string(key) == "type" || string(key) == "time": // somebody has put them into another order
			r.head = append(r.head, member{key, value})
			if string(key) == "type" {
				r.typ = text(value)
			}
		default:
			r.data = append(r.data, member{key, value})
		}
	})
	if err == nil {
		err = rawjson.CheckEnd(bytes.TrimSuffix(line, []byte{'\n'}), end)
	}
	switch {
	case err != nil:
		return r, err
	case string(version) == `"1.0.2"` && extensions != nil:
		r.format = FormatJido
		_, err = rawjson.ReadObject(extensions, 0, func(key, value []byte) {
			if string(key) == "metadata" {
				r.metadata = value
			}
		})
	case string(version) == `"1.0"` && attributes["phxconnection"] != nil:
		r.format = FormatCloudEvents
	}
	switch {
	case err != nil:
	case r.format == FormatCloudEvents:
		err = r.readAttributes(attributes)
	case string(version) != `"1.0"` && r.format != FormatJido || r.metadata == nil:
		err = ErrNoSignal
	default:
		err = r.readMetadata()
	}
	if err == nil && (r.data == nil || !strings.HasPrefix(r.typ, typePrefix)) {
		err = ErrNoSignal
	}
	return r, err
}

// text returns a JSON string, or another value as it is.
func text(value []byte) string {
	if s, _, err := rawjson.ReadString(value, 0); err == nil {
		return string(s)
	}
	return string(value)
}

func isAttribute(key string) bool {
	if key == "phxenc" {
		return true
	}
	for _, n := range contextNames {
		if n.attribute == key {
			return true
		}
	}
	return false
}

// readMetadata reads the context from metadata.
func (r *record) readMetadata() error {
	_, err := rawjson.ReadObject(r.metadata, 0, func(key, value []byte) {
		for _, n := range contextNames {
			if n.member == string(key) {
				r.context[n.name] = text(value)
			}
		}
	})
	return err
}

// readAttributes reads the context from the attributes of a CloudEvent. A name that is empty is there again.
func (r *record) readAttributes(attributes map[string][]byte) error {
	plain := func(s string) (string, error) { return s, nil }
	if attributes["phxenc"] != nil {
		plain = url.PathUnescape
	}
	var err error
	if r.subject, err = plain(r.subject); err != nil {
		return err
	}
	for _, n := range contextNames {
		value, has := attributes[n.attribute]
		if !has {
			continue
		}
		s := text(value)
		if n.number {
			number, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				return fmt.Errorf("%s is not a number", n.attribute)
			}
			s = strconv.FormatUint(number, 10)
		} else if n.name != "connection" {
			if s, err = plain(s); err != nil {
				return err
			}
		}
		r.context[n.name] = s
	}
	k := r.kind()
	for name, has := range map[string]bool{"topic": k.hasTopic(), "event": k.hasEvent()} {
		if _, is := r.context[name]; has && !is {
			r.context[name] = ""
		}
	}
	return nil
}

// kind returns what the signal is about.
func (r *record) kind() kind {
	k := strings.TrimPrefix(r.typ, typePrefix)
	first, _, _ := strings.Cut(k, ".")
	for _, name := range reservedNames {
		if first == name {
			return kind(k)
		}
	}
	return kindMessage
}

// append appends the record in a layout.
func (r *record) append(dst []byte, l *layout) ([]byte, error) {
	encoded := l.encodes(r.subject)
	for _, n := range contextNames {
		encoded = encoded || !n.number && l.encodes(r.context[n.name])
	}
	start, _, _ := strings.Cut(l.start, `,"id"`)
	dst = append(dst, start...)
	placed := !r.hasSubject
	for _, m := range r.head {
		if string(m.key) == "time" && !placed {
			dst, placed = l.appendRawName(dst, "subject", r.subject, encoded), true
		}
		dst = m.append(dst)
	}
	if !placed {
		dst = l.appendRawName(dst, "subject", r.subject, encoded)
	}
	for _, m := range r.data {
		dst = m.append(dst)
	}
	if !l.strict && r.metadata != nil {
		name, _, _ := strings.Cut(l.context, `{"connection_name"`)
		dst = append(append(dst, strings.TrimPrefix(name, "}")...), r.metadata...)
		return append(dst, l.end[1:]...), nil
	}
	dst = rawjson.AppendString(append(dst, strings.TrimPrefix(l.context, "}")...), r.context["connection"])
	for _, n := range contextNames[1:] {
		if n.name == "ref" && encoded {
			dst = append(dst, encodingMark...)
		}
		value, has := r.context[n.name]
		if !has {
			continue
		}
		switch {
		case !l.strict && n.number:
			dst = append(appendName(dst, n.member), value...)
		case !l.strict:
			dst = appendText(dst, n.member, value)
		case n.number:
			number, err := strconv.ParseUint(value, 10, 64)
			switch {
			case err != nil:
				return dst, fmt.Errorf("%s is not a number", n.member)
			case n.name == "seq":
				dst = appendSequence(appendName(dst, n.attribute), number)
			case number > math.MaxInt32:
				dst = appendText(dst, n.attribute, value)
			default:
				dst = append(appendName(dst, n.attribute), value...)
			}
		default:
			dst = appendAttribute(dst, n.attribute, value, encoded)
		}
	}
	return append(dst, l.end...), nil
}
