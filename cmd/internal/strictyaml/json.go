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

	"phx/phoenix/rawjson"
)

// maxJSON is how large the JSON of a value may become. Aliases can make a short file refer to
// itself, or grow without bounds.
const maxJSON = 1 << 20

// JSON returns the value as JSON: key order and the spelling of decimal numbers are kept,
// variables in strings filled in.
func (n Node) JSON() (json.RawMessage, error) {
	return n.Write(func(n Node) (json.RawMessage, error) {
		if n.target().ShortTag() != "!!str" {
			return n.rawScalar()
		}
		text, err := n.Text()
		return rawjson.AppendString(nil, text), err
	})
}

// RawJSON is JSON, but variables are not filled in.
func (n Node) RawJSON() (json.RawMessage, error) { return n.Write(Node.rawScalar) }

// RawTexts is RawJSON for who reads the values with [Node.Text]: a number or a boolean that JSON
// spells in another way is a text.
func (n Node) RawTexts() (json.RawMessage, error) {
	return n.Write(func(n Node) (json.RawMessage, error) {
		tag, raw := n.target().ShortTag(), n.Raw()
		switch {
		case tag == "!!null":
			return json.RawMessage("null"), nil
		case tag != "!!str" && json.Valid([]byte(raw)):
			return json.RawMessage(raw), nil
		}
		return rawjson.AppendString(nil, raw), nil
	})
}

// Write returns the value as JSON, with what scalar makes of each value in it that is neither a
// map nor a list.
func (n Node) Write(scalar func(Node) (json.RawMessage, error)) (json.RawMessage, error) {
	w := writer{scalar: scalar}
	if err := w.write(n); err != nil {
		return nil, err
	}
	return w.out, nil
}

type writer struct {
	scalar func(Node) (json.RawMessage, error)
	out    []byte
	// parents are what is being written, from the outside to the inside.
	parents []*yaml.Node
}

func (w *writer) write(n Node) error {
	t := n.target()
	switch {
	case slices.Contains(w.parents, t):
		return n.Errorf("write it out", "this alias refers to what it is part of")
	case len(w.out) > maxJSON:
		return n.Errorf("make it smaller", "the value is larger than 1 MiB")
	case t.Kind == yaml.ScalarNode:
		text, err := w.scalar(n)
		w.out = append(w.out, text...)
		return err
	}
	w.parents = append(w.parents, t)
	defer func() { w.parents = w.parents[:len(w.parents)-1] }()
	brackets, step := "[]", 1
	if t.Kind == yaml.MappingNode {
		brackets, step = "{}", 2
	}
	w.out = append(w.out, brackets[0])
	for i := 0; i < len(t.Content); i += step {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		if step == 2 {
			w.out = append(rawjson.AppendString(w.out, t.Content[i].Value), ':')
		}
		if err := w.write(n.at(t.Content[i+step-1])); err != nil {
			return err
		}
	}
	w.out = append(w.out, brackets[1])
	return nil
}

// rawScalar returns a scalar as it is written.
func (n Node) rawScalar() (json.RawMessage, error) {
	switch t := n.target(); t.ShortTag() {
	case "!!null":
		return json.RawMessage("null"), nil
	case "!!bool":
		return json.RawMessage(strings.ToLower(t.Value)), nil
	case "!!int", "!!float":
		return n.number()
	}
	return rawjson.AppendString(nil, n.Raw()), nil
}

// number keeps the spelling of a number that is one in JSON, too: it may have more digits than
// any type here.
func (n Node) number() (json.RawMessage, error) {
	if json.Valid([]byte(n.Raw())) {
		return json.RawMessage(n.Raw()), nil
	}
	var whole int64
	if n.target().ShortTag() == "!!int" && n.target().Decode(&whole) == nil {
		return strconv.AppendInt(nil, whole, 10), nil
	}
	var number float64
	if err := n.target().Decode(&number); err != nil || math.IsInf(number, 0) || math.IsNaN(number) {
		return nil, n.Errorf("write it in decimal, or as a text in quotes", "this number cannot be written in JSON")
	}
	return json.Marshal(number)
}

// parseJSON returns the tree of a file that is one JSON object, nil if it is none. JSON is nearly
// a part of YAML, but only nearly: the parser of YAML knows neither tabs between tokens nor the
// two halves of a character beyond \uFFFF, which programs do write.
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
	// line is that of the token read last, which begins at start; lineStart is where the line
	// begins.
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

// FromJSON writes a JSON object as YAML, its keys in their order. Texts are quoted where they
// would mean something else.
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
