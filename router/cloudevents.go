package router

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"phx/phoenix/rawjson"
)

// What the drains that send signals to others read from the lines: the head of a record of any format, and the attributes of a
// CloudEvent for the bindings that have them as headers.

// A head is what a message needs of a record: what stands before its data, and the marks behind it.
type head struct {
	id, connection, typ, subject string
	line                         []byte
}

// readHead reads a record of any format but payload.
func readHead(line []byte) (h head, err error) {
	h.line = line
	for at, c := rawjson.NextToken(line, 0); c == '{' || c == ','; {
		key, next, err := rawjson.ReadString(line, skipTo(line, at+1))
		if err != nil {
			break
		}
		at, _ = rawjson.NextToken(line, next) // the colon
		if at = skipTo(line, at+1); string(key) == "data" || rawjson.ByteAt(line, at) != '"' {
			break
		}
		value, next, err := rawjson.ReadString(line, at)
		if err != nil {
			break
		}
		switch string(key) {
		case "id":
			h.id = string(value)
		case "source":
			h.connection = string(value[bytes.LastIndexByte(value, '/')+1:])
		case "type":
			h.typ = string(value)
		case "subject":
			h.subject = string(value)
		}
		at, c = rawjson.NextToken(line, next)
	}
	if h.id == "" || h.connection == "" || h.typ == "" {
		return h, errors.New("a record has no id, no source or no type: the sink needs a format that has them")
	}
	return h, nil
}

func skipTo(line []byte, i int) int {
	at, _ := rawjson.NextToken(line, i)
	return at
}

// topic returns the topic of the signal. CloudEvents may have it percent-encoded.
func (h *head) topic() string {
	if !strings.Contains(h.subject, "%") {
		return h.subject
	}
	topic := h.subject
	_, _ = rawjson.ReadObject(h.line, 0, func(key, value []byte) {
		if string(key) == "phxenc" {
			if plain, err := url.PathUnescape(h.subject); err == nil {
				topic = plain
			}
		}
	})
	return topic
}

// readAttributes calls visit for each attribute of the CloudEvent in a line, and withData for its
// data.
func readAttributes(line []byte, visit func(name, text string), withData func(data []byte)) error {
	var fault error
	end, err := rawjson.ReadObject(line, 0, func(key, value []byte) {
		if string(key) == "data" {
			withData(value)
			return
		}
		text := attribute(value)
		if text == "" {
			fault = fmt.Errorf("%q is no attribute of a CloudEvent", key)
			return
		}
		visit(string(key), text)
	})
	if err == nil {
		err = rawjson.CheckEnd(bytes.TrimSuffix(line, []byte{'\n'}), end)
	}
	if err != nil {
		return errors.New("a record is not a JSON object")
	}
	return fault
}

// attribute returns a JSON string, number or boolean as text, and nothing for an object or array.
func attribute(value []byte) string {
	switch value[0] {
	case '"':
		text, _, _ := rawjson.ReadString(value, 0)
		return string(text)
	case '{', '[':
		return ""
	}
	return string(value)
}

// escapeHeader returns an attribute as the value of a header: printable ASCII but for the space,
// '"' and '%' is as it is, all else is percent-encoded (HTTP Protocol Binding for CloudEvents
// 1.0.2, section 3.1.3.2).
func escapeHeader(value string) string {
	plain := func(c byte) bool { return '!' <= c && c <= '~' && c != '"' && c != '%' }
	var escaped strings.Builder
	for _, c := range []byte(value) {
		if plain(c) {
			escaped.WriteByte(c)
		} else {
			fmt.Fprintf(&escaped, "%%%02X", c)
		}
	}
	return escaped.String()
}
