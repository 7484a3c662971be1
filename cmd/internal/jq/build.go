package jq

import "github.com/itchyny/gojq"

// A builder makes one value of the results of several expressions: an object, an array, or a string.
type builder struct {
	parts []plain
	// keys has the JSON strings of an object's keys, nil in the others; of a key twice the last one counts, see normalizer.
	keys [][]byte
	kind byte // '{', '[' or '"'
}

// plainObject returns the plain form of {a: .x, b, $c}, nil if it has none.
func plainObject(o *gojq.Object, constants map[string]any) plain {
	b := builder{kind: '{'}
	for _, kv := range o.KeyVals {
		key, value := kv.Key, kv.Val
		switch {
		case kv.KeyString != nil && kv.KeyString.Queries == nil:
			key = kv.KeyString.Str
		case key == "", key[0] == '$', key[0] == '@':
			return nil
		}
		part := plain(path{{key: key}})
		if value != nil {
			part = plainOf(value, constants)
		}
		if part == nil {
			return nil
		}
		b.keys, b.parts = append(b.keys, appendString(nil, key)), append(b.parts, part)
	}
	return b
}

// plainArray returns the plain form of [.a, .b], nil if it has none.
func plainArray(q *gojq.Query, constants map[string]any) plain {
	b := builder{kind: '['}
	if q != nil && !b.addElements(q, constants) {
		return nil
	}
	return b
}

// addElements adds the expressions that have commas between them, and reports whether all are plain.
func (b *builder) addElements(q *gojq.Query, constants map[string]any) bool {
	if q.Op == gojq.OpComma && q.Meta == nil && len(q.Imports)+len(q.FuncDefs) == 0 {
		return b.addElements(q.Left, constants) && b.addElements(q.Right, constants)
	}
	part := plainOf(q, constants)
	b.parts = append(b.parts, part)
	return part != nil
}

// plainText returns the plain form of a string with \(.a) in it, nil if it has none.
func plainText(s *gojq.String, constants map[string]any) plain {
	b := builder{kind: '"'}
	for _, q := range s.Queries {
		part := plainOf(q, constants)
		if part == nil {
			return nil
		}
		b.parts = append(b.parts, part)
	}
	return b
}

func (b builder) eval(m *machine, text []byte) (result []byte, o outcome) {
	first := len(m.results)
	defer func() { m.results = m.results[:first] }()
	// A part without a result does not end the loop: a later part may be unsure, and then gojq decides whether the expression fails.
	for _, part := range b.parts {
		result, partial := part.eval(m, text)
		switch {
		case partial == unsure:
			return nil, unsure
		case partial == one:
			m.results = append(m.results, m.textOf(result))
		case b.kind != '[':
			o = none
		}
	}
	if o == none {
		return nil, none
	}
	start := len(m.built)
	m.built = append(m.built, b.kind)
	for i, result := range m.results[first:] {
		if b.kind == '"' {
			m.appendText(result)
			continue
		}
		if i > 0 {
			m.built = append(m.built, ',')
		}
		if b.kind == '{' {
			m.built = append(append(m.built, b.keys[i]...), ':')
		}
		m.built = append(m.built, result...)
	}
	switch b.kind {
	case '{':
		m.built = append(m.built, '}')
	case '[':
		m.built = append(m.built, ']')
	default:
		m.built = append(m.built, '"')
	}
	return m.built[start:], one
}

// appendText appends a value to a string that is being built: a string as it is, another value as JSON text.
func (m *machine) appendText(value []byte) {
	if value[0] == '"' {
		m.built = append(m.built, value[1:len(value)-1]...)
		return
	}
	start := len(m.built)
	m.built, _ = m.normalizer.append(m.built, value, 0)
	m.text = append(m.text[:0], m.built[start:]...)
	quoted := appendString(m.built[:start], m.text)
	copy(quoted[start:], quoted[start+1:len(quoted)-1])
	m.built = quoted[:len(quoted)-2]
}
