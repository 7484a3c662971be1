package phoenix

import (
	"encoding/json"
	"errors"
)

// What both JSON forms of a frame are made of: strings, refs, payloads, and objects that are read member by member.

// readString returns the string at data[i], and its end. It points into data unless it holds escapes.
func readString(data []byte, i int) (s []byte, end int, err error) {
	if byteAt(data, i) != '"' {
		return nil, i, faultString.errorAt(data, i)
	}
	end, escaped, f := skipString(data, i+1)
	if f != noFault {
		return nil, end, f.errorAt(data, end)
	}
	if escaped {
		s, err = unescape(data[i:end])
		return s, end, err
	}
	return data[i+1 : end-1], end, nil
}

// unescape decodes a valid JSON string. It is for keys, topics, events and refs, where servers hardly ever escape. A lone
// surrogate becomes U+FFFD.
func unescape(text []byte) ([]byte, error) {
	var s string
	err := json.Unmarshal(text, &s)
	return []byte(s), err
}

// readRef returns the ref at data[i], nil for null, and its end. A server echoes a ref with its type (PROTOCOL.md,
// section 2), so a number answers none of ours; it is taken by its spelling.
func readRef(data []byte, i int) (ref []byte, end int, err error) {
	end, f := i, faultRef
	switch c := byteAt(data, i); {
	case c == '"':
		return readString(data, i)
	case c == 'n':
		end, f = skipLiteral(data, i, "null")
	case c == '-' || c-'0' <= 9:
		if end, f = skipNumber(data, i, c); f == noFault {
			ref = data[i:end]
		}
	}
	return ref, end, f.errorAt(data, end)
}

// readPayload returns the JSON value at data[i], and its end. What is appended to it does not overwrite what follows it.
func readPayload(data []byte, i int) (p Payload, end int, err error) {
	end, f := skipNested(data, i, maxDepth)
	if f != noFault {
		return Payload{}, end, f.errorAt(data, end)
	}
	value := data[i:end:end]
	return Payload{Data: value, Broken: hasLineBreak(value)}, end, nil
}

// readObject reads the object at data[i], hands its members to visit one by one, and returns its end.
func readObject(data []byte, i int, visit func(key []byte, value Payload)) (end int, err error) {
	if byteAt(data, i) != '{' {
		return i, faultObject.errorAt(data, i)
	}
	i = skipSpace(data, i+1)
	if byteAt(data, i) == '}' {
		return i + 1, nil
	}
	for {
		var key []byte
		if key, i, err = readString(data, i); err != nil {
			return i, err
		}
		i = skipSpace(data, i)
		if byteAt(data, i) != ':' {
			return i, faultColon.errorAt(data, i)
		}
		var value Payload
		if value, i, err = readPayload(data, skipSpace(data, i+1)); err != nil {
			return i, err
		}
		visit(key, value)
		i = skipSpace(data, i)
		switch byteAt(data, i) {
		case ',':
			i = skipSpace(data, i+1)
		case '}':
			return i + 1, nil
		default:
			return i, faultSeparator.errorAt(data, i)
		}
	}
}

var errReply = errors.New("the payload of a reply is an object with a status that is a string")

// readReply reads the payload of a phx_reply at data[i], an object of status and response, into f, and returns its end.
// The response may be any JSON value (rule 6). Where there is none, f has no payload.
func readReply(data []byte, i int, f *frame) (end int, err error) {
	var status, response Payload
	end, err = readObject(data, i, func(key []byte, value Payload) {
		switch string(key) {
		case "status":
			status = value
		case "response":
			response = value
		}
	})
	if err != nil {
		return end, err
	}
	if byteAt(status.Data, 0) != '"' {
		return end, errReply
	}
	f.status, _, err = readString(status.Data, 0)
	f.payload = response
	return end, err
}
