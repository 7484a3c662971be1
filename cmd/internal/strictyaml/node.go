package strictyaml

import (
	"fmt"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// A Node is a value in a file. The zero Node is none.
type Node struct {
	n   *yaml.Node
	doc *document
}

// A Field is a key of a mapping with its value.
type Field struct {
	// Name is the key; Key is where it stands.
	Name       string
	Key, Value Node
}

// at is another node of the same file. An alias is what it refers to.
func (n Node) at(other *yaml.Node) Node {
	return Node{n: other, doc: n.doc}
}

// target is the node itself, or the one that it is an alias of.
func (n Node) target() *yaml.Node {
	if n.n.Kind == yaml.AliasNode {
		return n.n.Alias
	}
	return n.n
}

// Exists reports whether there is a value at all.
func (n Node) Exists() bool { return n.n != nil }

// IsMap, IsList and IsNull say what kind of value it is; else it is a scalar, which has a text.
func (n Node) IsMap() bool { return n.target().Kind == yaml.MappingNode }

// IsList: see [Node.IsMap].
func (n Node) IsList() bool { return n.target().Kind == yaml.SequenceNode }

// IsNull: see [Node.IsMap].
func (n Node) IsNull() bool {
	t := n.target()
	return t.Kind == yaml.ScalarNode && t.ShortTag() == "!!null"
}

// Position returns FILE:LINE:COLUMN.
func (n Node) Position() string { return position(n.doc.file, n.n.Line, n.n.Column) }

// Errorf returns an [Error] about the value.
func (n Node) Errorf(advice, format string, args ...any) error {
	return &Error{File: n.doc.file, Line: n.n.Line, Column: n.n.Column, Message: fmt.Sprintf(format, args...), Advice: advice}
}

// Fields returns the fields of a mapping, in their order.
func (n Node) Fields() ([]Field, error) {
	t := n.target()
	if t.Kind != yaml.MappingNode {
		return nil, n.Errorf("a right one: {key: value}", "this is not a map")
	}
	fields := make([]Field, 0, len(t.Content)/2)
	for i := 0; i < len(t.Content); i += 2 {
		fields = append(fields, Field{t.Content[i].Value, n.at(t.Content[i]), n.at(t.Content[i+1])})
	}
	return fields, nil
}

// Items returns the items of a list.
func (n Node) Items() ([]Node, error) {
	t := n.target()
	if t.Kind != yaml.SequenceNode {
		return nil, n.Errorf("a right one: [first, second]", "this is not a list")
	}
	items := make([]Node, len(t.Content))
	for i, c := range t.Content {
		items[i] = n.at(c)
	}
	return items, nil
}

// Raw returns the text of a scalar as it is written, variables not filled in: the one to repeat in an error.
func (n Node) Raw() string { return n.target().Value }

// Text returns the text of a scalar, variables filled in. A number and a boolean are the text that they are written as.
func (n Node) Text() (string, error) {
	switch {
	case n.IsNull():
		return "", n.Errorf(`give it one, or take the key out; the empty text is ""`, "there is no value here")
	case n.target().Kind != yaml.ScalarNode:
		return "", n.Errorf("give a text, a number, or true or false", "this is a map or a list, and should be one value")
	case n.target().ShortTag() != "!!str":
		return n.Raw(), nil
	}
	text, problem := interpolate(n.Raw(), n.doc.lookup)
	if problem != nil {
		return "", n.Errorf(problem.advice, "%s", problem.message)
	}
	return text, nil
}

// Beside returns a path that the file gives: a relative one begins in the directory of the file, so that it means the same
// wherever the program is started.
func (n Node) Beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Dir(n.doc.file) + string(filepath.Separator) + path
}

// Lookup finds a variable in the environment that the file was parsed with.
func (n Node) Lookup(name string) (string, bool) { return n.doc.lookup(name) }
