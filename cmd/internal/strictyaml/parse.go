package strictyaml

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is what the nodes of a file have in common.
type document struct {
	file   string
	lookup func(string) (string, bool)
}

// Parse parses a file of one document, YAML or JSON; file is its name in errors, lookup finds the variables that its values refer to. The
// node of an empty file is a mapping without fields. An error is an [*Error], or several joined.
func Parse(file string, data []byte, lookup func(string) (string, bool)) (Node, error) {
	doc := &document{file: file, lookup: lookup}
	if object := parseJSON(data); object != nil {
		top := Node{doc: doc, n: object}
		return top, top.check()
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var root yaml.Node
	switch err := decoder.Decode(&root); {
	case errors.Is(err, io.EOF):
		return Node{doc: doc, n: &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}}, nil
	case err != nil:
		return Node{}, doc.syntaxError(err)
	}
	top := Node{doc: doc, n: root.Content[0]}
	if top.IsNull() {
		top.n = &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
		return top, top.check()
	case err != nil:
		return Node{}, doc.syntaxError(err)
	}
	return Node{}, Node{doc: doc, n: &second}.Errorf("make it one: take the line --- out", "a second document begins here")
}

var syntaxLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntaxError makes an error of the parser's, which knows the line at best.
func (d *document) syntaxError(err error) *Error {
	e := &Error{File: d.file, Line: 1, Advice: "check the indentation, and quote strings that hold : # { [ & or *"}
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if match := syntaxLine.FindStringSubmatch(err.Error()); match != nil {
		e.Line, _ = strconv.Atoi(match[1]) // it is digits
		message = err.Error()[len(match[0]):]
	}
	if strings.HasPrefix(message, "unknown anchor") {
		message = "an alias (*name) without its anchor" // the name may be a secret that begins with a star
	}
	e.Message = "this is not YAML: " + message
	return e
}

// check reports what is wrong anywhere in the tree, whoever reads which part of it: keys given twice, and YAML that means
// something only to the program it was written for.
func (n Node) check() error {
	var wrong []error
	n.walk(func(found error) { wrong = append(wrong, found) })
	return errors.Join(wrong...)
}

// walk tells report of all that is wrong in the tree.
func (n Node) walk(report func(error)) {
	if n.n.Kind == yaml.AliasNode {
		return // what it refers to is checked where it stands
	}
	if !plainTags[n.n.ShortTag()] {
		report(n.Errorf("quote a text that begins with an exclamation mark", "there is a tag (!name) that means nothing here"))
	}
	if n.n.Kind == yaml.MappingNode {
		n.walkKeys(report)
	}
	for _, c := range n.n.Content {
		// The keys are among them: their tags are checked there.
		n.at(c).walk(report)
	}
}

func (n Node) walkKeys(report func(error)) {
	first := map[string]int{}
	for i := 0; i < len(n.n.Content); i += 2 {
		key := n.at(n.n.Content[i])
		name := key.n.Value
		switch {
		case key.n.Kind != yaml.ScalarNode:
			report(key.Errorf("a key is a name", "a key is a map, a list or an alias"))
		case key.n.ShortTag() == "!!merge":
			report(key.Errorf("connections share keys by defaults:", "merging (<<) is not supported"))
		case first[name] > 0:
			report(key.Errorf("take one of them out", "the key %s is given twice, first in line %d", name, first[name]))
		default:
			first[name] = key.n.Line
		}
	}
}

// plainTags are the tags of what can be written without one.
var plainTags = map[string]bool{
	"!!map": true, "!!seq": true, "!!str": true, "!!int": true, "!!float": true, "!!bool": true, "!!null": true, "!!timestamp": true,
}
