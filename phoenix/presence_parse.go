package phoenix

import (
	"bytes"
	"errors"
	"fmt"
)

// The payloads of Phoenix.Presence (PROTOCOL.md, section 10), taken apart down to the phx_ref of each meta. Nothing of
// what is returned points into the payload.

var (
	errPresenceBinary = errors.New("the payload is no JSON")
	errPresenceDiff   = errors.New("a diff needs joins and leaves")
	errPresenceMetas  = errors.New("a presence needs metas")
	errPresenceRef    = errors.New("a meta needs a phx_ref")
)

// parsePresenceState parses the payload of a presence_state.
func parsePresenceState(p Payload) (PresenceState, error) {
	text, err := presenceText(p)
	if err != nil {
		return PresenceState{}, err
	}
	return parsePresences(text)
}

// parsePresenceDiff parses the payload of a presence_diff.
func parsePresenceDiff(p Payload) (d presenceDiff, err error) {
	text, err := presenceText(p)
	if err != nil {
		return d, err
	}
	var joins, leaves []byte
	_, err = readObject(text, 0, func(key, value []byte) {
		switch string(key) {
		case "joins":
			joins = value
		case "leaves":
			leaves = value
		}
	})
	switch {
	case err != nil:
		return d, err
	case joins == nil || leaves == nil:
		return d, errPresenceDiff
	}
	if d.joins, err = parsePresences(joins); err == nil {
		d.leaves, err = parsePresences(leaves)
	}
	return d, err
}

// presenceText returns the JSON text of a payload, without line breaks, from its first token on.
func presenceText(p Payload) ([]byte, error) {
	if p.Binary {
		return nil, errPresenceBinary
	}
	text := p.Data
	if p.Broken {
		text = bytes.Map(func(r rune) rune {
			if r == '\n' || r == '\r' {
				return -1
			}
			return r
		}, text)
	}
	start, _ := nextToken(text, 0)
	return text[start:], nil
}

// parsePresences parses an object of presences by key. Of a key that is there twice the last one counts.
func parsePresences(text []byte) (s PresenceState, err error) {
	_, syntax := readObject(text, 0, func(key, value []byte) {
		if err != nil {
			return
		}
		var p present
		if p, err = parsePresent(string(key), value); err == nil {
			s.root = s.root.with(p)
		}
	})
	if syntax != nil {
		err = syntax
	}
	if err != nil {
		return PresenceState{}, err
	}
	return s, nil
}

func parsePresent(key string, text []byte) (p present, err error) {
	p.key = key
	var metas []byte
	_, err = readObject(text, 0, func(name, value []byte) {
		if string(name) == "metas" {
			metas = value
			return
		}
		p.fields = append(appendString(append(p.fields, ','), string(name)), ':')
		p.fields = append(p.fields, value...)
	})
	if err != nil {
		return p, err
	}
	if byteAt(metas, 0) != '[' {
		return p, errPresenceMetas
	}
	p.metas, err = parseMetas(metas)
	p.metasSize = sizeOf(p.metas)
	return p, err
}

// parseMetas parses an array of metas.
func parseMetas(text []byte) (metas []presenceMeta, err error) {
	i, c := nextToken(text, 1)
	for c != ']' {
		if len(metas) > 0 {
			if c != ',' {
				return nil, faultArrayEnd.errorAt(text, i)
			}
			i, _ = nextToken(text, i+1)
		}
		var value []byte
		if value, i, err = readValue(text, i); err != nil {
			return nil, err
		}
		m, err := parseMeta(value)
		if err != nil {
			return nil, fmt.Errorf("meta %d: %w", len(metas), err)
		}
		metas = append(metas, m)
		i, c = nextToken(text, i)
	}
	return metas, nil
}

func parseMeta(text []byte) (m presenceMeta, err error) {
	_, err = readObject(text, 0, func(key, value []byte) {
		if string(key) == "phx_ref" {
			m.ref = string(value)
		}
	})
	if err == nil && m.ref == "" {
		err = errPresenceRef
	}
	// A copy: it is kept for as long as the presence lasts, and what it is cut from may be large.
	m.text = bytes.Clone(text)
	return m, err
}
