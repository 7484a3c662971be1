package strictyaml

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

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
