package jq

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"

	"phx/phoenix/rawjson"
)

// maxDepth is how deep a text may be nested. A payload may have rawjson.MaxDepth levels, and stands in a signal.
const maxDepth = rawjson.MaxDepth + 8

// decode returns the value of a JSON text as gojq wants it. Numbers keep their spelling, of members of the same key the last one
// counts, and a lone surrogate is U+FFFD. Trailing white space is allowed.
func decode(text []byte) (any, error) {
	// Strings without escapes are slices of one copy of the text.
	d := decoder{data: text, text: string(text)}
	start, _ := rawjson.NextToken(text, 0)
	value, end, f := d.value(start, 0)
	if f != rawjson.NoFault {
		return nil, f.At(text, end)
	}
	return value, rawjson.CheckEnd(text, end)
}

type decoder struct {
	data []byte
	text string // data
}

// value returns the value at data[i], which is inside of depth others, and its end; or a fault and where it is.
func (d *decoder) value(i, depth int) (value any, end int, f rawjson.Fault) {
	switch c := rawjson.ByteAt(d.data, i); c {
	case '"':
		return d.stringValue(i)
	case '{':
		return d.object(i, depth)
	case '[':
		return d.array(i, depth)
	case 't':
		end, f = rawjson.SkipLiteral(d.data, i, "true")
		return true, end, f
	case 'f':
		end, f = rawjson.SkipLiteral(d.data, i, "false")
		return false, end, f
	case 'n':
		end, f = rawjson.SkipLiteral(d.data, i, "null")
		return nil, end, f
	default:
		if c != '-' && c-'0' > 9 {
			return nil, i, rawjson.FaultValue
		}
		end, f = rawjson.SkipNumber(d.data, i, c)
		if f != rawjson.NoFault {
			return nil, end, f
		}
		if n, ok := plainInt(d.data[i:end]); ok {
			return n, end, f
		}
		return json.Number(d.text[i:end]), end, f
	}
}

func (d *decoder) stringValue(i int) (value any, end int, f rawjson.Fault) {
	s, end, f := d.string(i)
	return s, end, f
}

func (d *decoder) string(i int) (s string, end int, f rawjson.Fault) {
	end, escaped, f := rawjson.SkipString(d.data, i+1)
	switch {
	case f != rawjson.NoFault:
		return "", end, f
	case escaped:
		return string(rawjson.AppendUnescaped(nil, d.data[i:end])), end, f
	}
	return d.text[i+1 : end-1], end, f
}

func (d *decoder) array(i, depth int) (value any, end int, f rawjson.Fault) {
	if depth == maxDepth {
		return nil, i, rawjson.FaultDepth
	}
	list := []any{}
	i, c := rawjson.NextToken(d.data, i+1)
	for c != ']' || len(list) > 0 {
		var element any
		if element, i, f = d.value(i, depth+1); f != rawjson.NoFault {
			return nil, i, f
		}
		list = append(list, element)
		if i, c = rawjson.NextToken(d.data, i); c == ']' {
			break
		}
		if c != ',' {
			return nil, i, rawjson.FaultSeparator
		}
		i, _ = rawjson.NextToken(d.data, i+1)
	}
	return list, i + 1, rawjson.NoFault
}

func (d *decoder) object(i, depth int) (value any, end int, f rawjson.Fault) {
	if depth == maxDepth {
		return nil, i, rawjson.FaultDepth
	}
	members := map[string]any{}
	i, c := rawjson.NextToken(d.data, i+1)
	for c != '}' || len(members) > 0 {
		if c != '"' {
			return nil, i, rawjson.FaultKey
		}
		key, end, f := d.string(i)
		if f != rawjson.NoFault {
			return nil, end, f
		}
		if i, c = rawjson.NextToken(d.data, end); c != ':' {
			return nil, i, rawjson.FaultColon
		}
		i, _ = rawjson.NextToken(d.data, i+1)
		if members[key], i, f = d.value(i, depth+1); f != rawjson.NoFault {
			return nil, i, f
		}
		if i, c = rawjson.NextToken(d.data, i); c == '}' {
			break
		}
		if c != ',' {
			return nil, i, rawjson.FaultSeparator
		}
		i, c = rawjson.NextToken(d.data, i+1)
	}
	return members, i + 1, rawjson.NoFault
}

// plainDigits is how many digits an int holds, whatever they are.
const plainDigits = 18

// plainInt returns the value of a valid JSON number that is an integer, small, and spelled as an int is.
func plainInt(number []byte) (n int, ok bool) {
	digits := number
	negative := digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	if len(digits) > plainDigits || negative && digits[0] == '0' {
		return 0, false
	}
	for _, c := range digits {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// appendValue appends a value of gojq as JSON, exactly as [gojq.Marshal] writes it.
func appendValue(dst []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case json.Number:
		return append(dst, v...)
	case string:
		return appendString(dst, v)
	case []any:
		dst = append(dst, '[')
		for i, element := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, element)
		}
		return append(dst, ']')
	case map[string]any:
		return appendObject(dst, v)
	}
	text, err := gojq.Marshal(value)
	if err != nil {
		panic(err) // it never returns one
	}
	return append(dst, text...)
}

// appendObject appends the members in the order of their keys.
func appendObject(dst []byte, members map[string]any) []byte {
	type member struct {
		key   string
		value any
	}
	var few [16]member
	sorted := few[:0]
	for key, value := range members {
		sorted = append(sorted, member{key, value})
	}
	slices.SortFunc(sorted, func(a, b member) int { return strings.Compare(a.key, b.key) })
	dst = append(dst, '{')
	for i, m := range sorted {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, m.key), ':')
		dst = appendValue(dst, m.value)
	}
	return append(dst, '}')
}

// appendString appends s, valid UTF-8, as a JSON string with the escapes that jq uses: those of rawjson, \b and \f, and one for
// DEL.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	copied := 0 // s[:copied] is in dst
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
			continue
		}
		dst = append(dst, s[copied:i]...)
		copied = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
	}
	dst = append(dst, s[copied:]...)
	return append(dst, '"')
}

// A normalizer writes valid JSON text as appendValue writes its value, without decoding it.
type normalizer struct {
	// members has those of the objects that are open, the innermost last.
	members []memberText
	// moved is scratch for members that change their places, unescaped for strings.
	moved, unescaped []byte
}

// A memberText is where a member is in what was written: from its key's opening quote to the end of its value.
type memberText struct{ start, keyEnd, end int }

// append appends the normal form of the value at text[i], and returns the value's end.
func (n *normalizer) append(dst, text []byte, i int) (_ []byte, end int) {
	switch text[i] {
	case '"':
		return n.appendString(dst, text, i)
	case '{':
		return n.appendObject(dst, text, i)
	case '[':
		return n.appendArray(dst, text, i)
	}
	end, _ = rawjson.SkipValue(text, i)
	return append(dst, text[i:end]...), end
}

func (n *normalizer) appendString(dst, text []byte, i int) (_ []byte, end int) {
	end, escaped, _ := rawjson.SkipString(text, i+1)
	switch {
	case escaped:
		n.unescaped = rawjson.AppendUnescaped(n.unescaped[:0], text[i:end])
		return appendString(dst, n.unescaped), end
	case bytes.IndexByte(text[i:end], 0x7f) >= 0:
		return appendString(dst, text[i+1:end-1]), end
	}
	return append(dst, text[i:end]...), end
}

func (n *normalizer) appendArray(dst, text []byte, i int) (_ []byte, end int) {
	dst = append(dst, '[')
	i, c := rawjson.NextToken(text, i+1)
	for c != ']' {
		dst, i = n.append(dst, text, i)
		if i, c = rawjson.NextToken(text, i); c == ',' {
			dst = append(dst, ',')
			i, _ = rawjson.NextToken(text, i+1)
		}
	}
	return append(dst, ']'), i + 1
}

func (n *normalizer) appendObject(dst, text []byte, i int) (_ []byte, end int) {
	first := len(n.members)
	dst = append(dst, '{')
	opened := len(dst)
	sorted := true
	i, c := rawjson.NextToken(text, i+1)
	for c != '}' {
		m := memberText{start: len(dst)}
		dst, i = n.appendString(dst, text, i)
		m.keyEnd = len(dst)
		i, _ = rawjson.NextToken(text, i) // the colon
		i, _ = rawjson.NextToken(text, i+1)
		dst, i = n.append(append(dst, ':'), text, i)
		m.end = len(dst)
		if last := len(n.members) - 1; last >= first && sorted {
			sorted = compareKeys(dst, n.members[last], m) < 0
		}
		n.members = append(n.members, m)
		if i, c = rawjson.NextToken(text, i); c == ',' {
			dst = append(dst, ',')
			i, _ = rawjson.NextToken(text, i+1)
		}
	}
	if !sorted {
		dst = n.sort(dst, opened, n.members[first:])
	}
	n.members = n.members[:first]
	return append(dst, '}'), i + 1
}

// sort puts the members of an object, which begin at dst[opened], into the order of their keys, and leaves the last one of each.
func (n *normalizer) sort(dst []byte, opened int, members []memberText) []byte {
	slices.SortStableFunc(members, func(a, b memberText) int { return compareKeys(dst, a, b) })
	kept := members[:0]
	for _, m := range members {
		if last := len(kept) - 1; last >= 0 && compareKeys(dst, kept[last], m) == 0 {
			kept[last] = m
			continue
		}
		kept = append(kept, m)
	}
	n.moved = append(n.moved[:0], dst[opened:]...)
	dst = dst[:opened]
	for i, m := range kept {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, n.moved[m.start-opened:m.end-opened]...)
	}
	return dst
}

// compareKeys compares the keys of two members in dst.
func compareKeys(dst []byte, a, b memberText) int {
	x, y := dst[a.start:a.keyEnd], dst[b.start:b.keyEnd]
	if bytes.IndexByte(x, '\\') < 0 && bytes.IndexByte(y, '\\') < 0 {
		return bytes.Compare(x[1:len(x)-1], y[1:len(y)-1])
	}
	return bytes.Compare(rawjson.AppendUnescaped(nil, x), rawjson.AppendUnescaped(nil, y))
}
