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

// unescape decodes a valid JSON string. It allocates: servers hardly ever escape in keys, topics, events and refs. A lone
// surrogate becomes U+FFFD.
func unescape(text []byte) ([]byte, error) {
	var s string
	err := json.Unmarshal(text, &s)
	return []byte(s), err
}

// readRef returns the ref at data[i], nil for null, and its end. A number is taken by its spelling: Phoenix echoes a ref
// with its type, and ours are strings (PROTOCOL.md, section 2), but another server need not be as exact.
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

// readValue returns the JSON value at data[i], and its end. What is appended to it does not overwrite what follows it.
func readValue(data []byte, i int) (value []byte, end int, err error) {
	end, f := skipNested(data, i, maxDepth)
	if f != noFault {
		return nil, end, f.errorAt(data, end)
	}
	return data[i:end:end], end, nil
}

// jsonPayload returns the valid JSON value as a payload; nil is none.
func jsonPayload(value []byte) Payload { return Payload{Data: value, Broken: hasLineBreak(value)} }

// readObject reads the object at data[i], hands its members to visit one by one, and returns its end.
func readObject(data []byte, i int, visit func(key, value []byte)) (end int, err error) {
	if byteAt(data, i) != '{' {
		return i, faultObject.errorAt(data, i)
	}
	i, c := nextToken(data, i+1)
	if c == '}' {
		return i + 1, nil
	}
	for {
		var key, value []byte
		if key, i, err = readString(data, i); err != nil {
			return i, err
		}
		if i, c = nextToken(data, i); c != ':' {
			return i, faultColon.errorAt(data, i)
		}
		i, _ = nextToken(data, i+1)
		if value, i, err = readValue(data, i); err != nil {
			return i, err
		}
		visit(key, value)
		if i, c = nextToken(data, i); c == '}' {
			return i + 1, nil
		}
		if c != ',' {
			return i, faultSeparator.errorAt(data, i)
		}
		i, _ = nextToken(data, i+1)
	}
}

var errReply = errors.New("a reply needs a status that is a string")

// readReply reads the payload of a phx_reply at data[i], an object of status and response, into f, and returns its end.
// The response may be any JSON value (rule 6). Where there is none, f has no payload.
func readReply(data []byte, i int, f *frame) (end int, err error) {
	var status, response []byte
	end, err = readObject(data, i, func(key, value []byte) {
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
	if f.status, _, err = readString(status, 0); err != nil {
		return end, errReply
	}
	f.payload = jsonPayload(response)
	return end, nil
}
