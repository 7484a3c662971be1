package strictyaml

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxJSON is how large the JSON of a value may become. Aliases can make a short file refer to itself, or grow without bounds.
const maxJSON = 1 << 20

// JSON returns the value as JSON: key order and the spelling of decimal numbers are kept, variables in strings filled in.
func (n Node) JSON() (json.RawMessage, error) {
	return n.appendJSON(nil, &jsonForm{scalar: Node.appendFilled})
}

// RawJSON is JSON, but variables are not filled in.
func (n Node) RawJSON() (json.RawMessage, error) {
	return n.appendJSON(nil, &jsonForm{scalar: Node.appendRaw})
}

// RawTexts is RawJSON for who reads the values with [Node.Text]: a number or a boolean that JSON spells in another way is a text.
func (n Node) RawTexts() (json.RawMessage, error) {
	return n.appendJSON(nil, &jsonForm{scalar: func(n Node, dst []byte) ([]byte, error) {
		tag, raw := n.target().ShortTag(), n.Raw()
		switch {
		case tag == "!!null":
			return append(dst, "null"...), nil
		case tag != "!!str" && json.Valid([]byte(raw)):
			return append(dst, raw...), nil
		}
		return AppendJSONString(dst, raw), nil
	}})
}

// MaskedJSON is JSON with mask in place of each value that is neither a map nor a list.
func (n Node) MaskedJSON(mask string) (json.RawMessage, error) {
	return n.appendJSON(nil, &jsonForm{scalar: func(_ Node, dst []byte) ([]byte, error) {
		return AppendJSONString(dst, mask), nil
	}})
}

// A jsonForm is how a value is written as JSON.
type jsonForm struct {
	scalar func(n Node, dst []byte) ([]byte, error)
	// parents are what is being written, from the outside to the inside.
	parents []*yaml.Node
}

// appendJSON appends the JSON of n.
func (n Node) appendJSON(dst []byte, form *jsonForm) ([]byte, error) {
	t := n.target()
	if slices.Contains(form.parents, t) {
		return nil, n.Errorf("write it out", "this alias refers to what it is part of")
	}
	if len(dst) > maxJSON {
		return nil, n.Errorf("make it smaller", "the value is larger than 1 MiB")
	}
	form.parents = append(form.parents, t)
	defer func() { form.parents = form.parents[:len(form.parents)-1] }()
	switch t.Kind {
	case yaml.MappingNode:
		return n.appendObject(dst, form)
	case yaml.SequenceNode:
		return n.appendArray(dst, form)
	}
	return form.scalar(n, dst)
}

func (n Node) appendObject(dst []byte, form *jsonForm) ([]byte, error) {
	fields, err := n.Fields()
	if err != nil {
		return nil, err
	}
	dst = append(dst, '{')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendJSONString(dst, f.Name), ':')
		if dst, err = f.Value.appendJSON(dst, form); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func (n Node) appendArray(dst []byte, form *jsonForm) ([]byte, error) {
	items, err := n.Items()
	if err != nil {
		return nil, err
	}
	dst = append(dst, '[')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = item.appendJSON(dst, form); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// appendFilled appends a scalar, variables filled in.
func (n Node) appendFilled(dst []byte) ([]byte, error) {
	if n.target().ShortTag() != "!!str" {
		return n.appendRaw(dst)
	}
	text, err := n.Text()
	if err != nil {
		return nil, err
	}
	return AppendJSONString(dst, text), nil
}

// appendRaw appends a scalar as it is written.
func (n Node) appendRaw(dst []byte) ([]byte, error) {
	switch t := n.target(); t.ShortTag() {
	case "!!null":
		return append(dst, "null"...), nil
	case "!!bool":
		return append(dst, strings.ToLower(t.Value)...), nil
	case "!!int", "!!float":
		return n.appendNumber(dst)
	}
	return AppendJSONString(dst, n.Raw()), nil
}

// appendNumber keeps the spelling of a number that is one in JSON, too: it may have more digits than any type here.
func (n Node) appendNumber(dst []byte) ([]byte, error) {
	if json.Valid([]byte(n.Raw())) {
		return append(dst, n.Raw()...), nil
	}
	var whole int64
	if n.target().ShortTag() == "!!int" && n.target().Decode(&whole) == nil {
		return strconv.AppendInt(dst, whole, 10), nil
	}
	var number float64
	if err := n.target().Decode(&number); err != nil || math.IsInf(number, 0) || math.IsNaN(number) {
		return nil, n.Errorf("write it in decimal, or as a text in quotes", "this number cannot be written in JSON")
	}
	text, err := json.Marshal(number)
	return append(dst, text...), err
}

// AppendJSONString appends text as a JSON string, HTML characters as they are.
func AppendJSONString(dst []byte, text string) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string always has one
	return append(dst, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// parseJSON returns the tree of a file that is one JSON object, nil if it is none. JSON is nearly a part of YAML, but only nearly:
// the parser of YAML knows neither tabs between tokens nor the two halves of a character beyond \uFFFF, which programs do write.
func parseJSON(data []byte) *yaml.Node {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || !json.Valid(data) {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	r := &jsonReader{data: data, decoder: decoder, line: 1}
	return r.value(r.token())
}

// A jsonReader makes nodes of JSON that is known to be valid.
type jsonReader struct {
	data    []byte
	decoder *json.Decoder
	// line is that of the token read last, which begins at start; lineStart is where the line begins.
	line, lineStart, start int
}

// token returns the next token, and notes where it begins.
func (r *jsonReader) token() json.Token {
	before := int(r.decoder.InputOffset())
	token, _ := r.decoder.Token() // it is valid
	for bytes.IndexByte([]byte(" \t\r\n,:"), r.data[before]) >= 0 {
		before++
	}
	for passed := r.start; passed < before; passed++ {
		if r.data[passed] == '\n' {
			r.line++
			r.lineStart = passed + 1
		}
	}
	r.start = before
	return token
}

// value returns the node of the value that begins with a token.
func (r *jsonReader) value(token json.Token) *yaml.Node {
	n := &yaml.Node{Line: r.line, Column: utf8.RuneCount(r.data[r.lineStart:r.start]) + 1}
	switch v := token.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		if v == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		for r.decoder.More() {
			n.Content = append(n.Content, r.value(r.token()))
		}
		r.token() // what closes it
		return n
	case string:
		n.Tag, n.Value = "!!str", v
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", "false"
		if v {
			n.Value = "true"
		}
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	n.Kind = yaml.ScalarNode
	return n
}

// FromJSON writes a JSON object as YAML, its keys in their order. Texts are quoted where they would mean something else.
func FromJSON(object []byte) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	root := parseJSON(object)
	flowLists(root)
	err := encoder.Encode(root)
	return out.Bytes(), err
}

// flowLists puts lists of texts and numbers on one line each.
func flowLists(n *yaml.Node) {
	isNested := func(c *yaml.Node) bool { return len(c.Content) > 0 }
	if n.Kind == yaml.SequenceNode && !slices.ContainsFunc(n.Content, isNested) {
		n.Style = yaml.FlowStyle
	}
	for _, c := range n.Content {
		flowLists(c)
	}
}

// Quote returns the text that stands for text where variables are filled in.
func Quote(text string) string { return strings.ReplaceAll(text, "$", "$$") }
