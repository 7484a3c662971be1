// Package strictyaml reads YAML that people write, and holds them to it: a key that nobody knows,
// a key given twice, a value of the wrong kind is an error that says where. String values may
// refer to variables: ${VAR}, ${VAR:-default}, ${VAR:?message}, and $$ for a dollar sign.
//
// A file is parsed whole, but a value is interpolated when it is asked for: the connection of a
// file that one machine uses need not have the variables that the others' connections refer to.
//
// Errors never repeat a value, because it may be a secret. What is a secret and what is not, only
// the caller knows.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"phx/cmd/internal/exit"
)

// document is what the nodes of a file have in common.
type document struct {
	file   string
	lookup func(string) (string, bool)
}

// Parse parses a file of one document, YAML or JSON; file is its name in errors, lookup finds the
// variables that its values refer to. The node of an empty file is a mapping without fields. An
// error is an [*exit.Error] with its place, or several joined.
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
		return Node{}, doc.syntaxError(data, err)
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
		return Node{}, doc.syntaxError(data, err)
	}
	return Node{}, Node{doc: doc, n: &second}.Errorf("make it one: take the line --- out", "a second document begins here")
}

var syntaxLine = regexp.MustCompile(`^yaml: line (\d+): `)

var tabIndent = regexp.MustCompile(`^ *\t`)

// syntaxError makes an error of the parser's, which knows the line at best.
func (d *document) syntaxError(data []byte, err error) error {
	line, message := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if match := syntaxLine.FindStringSubmatch(err.Error()); match != nil {
		line, _ = strconv.Atoi(match[1]) // it is digits
		message = err.Error()[len(match[0]):]
	}
	if strings.HasPrefix(message, "unknown anchor") {
		message = "an alias (*name) without its anchor" // the name may be a secret that begins with a star
	}
	if lines := bytes.Split(data, []byte("\n")); line <= len(lines) && tabIndent.Match(lines[line-1]) {
		return d.errorf(line, 0, "write spaces in its place", "this is not YAML: a tab indents the line")
	}
	return d.errorf(line, 0, "check the indentation, and quote strings that hold : # { [ & or *", "this is not YAML: %s", message)
}

// errorf returns an error with a place. A column of 0 is unknown.
func (d *document) errorf(line, column int, hint, format string, args ...any) error {
	e := exit.Usagef(hint, "%s: %s", position(d.file, line, column), fmt.Sprintf(format, args...))
	e.Line, e.Column = line, column
	return e
}

// check reports what is wrong anywhere in the tree, whoever reads which part of it: keys given
// twice, and YAML that means something only to the program it was written for.
func (n Node) check() error {
	var wrong []error
	n.walk(func(found error) { wrong = append(wrong, found) })
	return errors.Join(wrong...)
}

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
	for _, c := range n.n.Content { // the keys are among them
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

// Errorf returns an [exit.Error] with the place of the value: FILE:LINE:COLUMN: message.
func (n Node) Errorf(hint, format string, args ...any) error {
	return n.doc.errorf(n.n.Line, n.n.Column, hint, format, args...)
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

// Raw returns the text of a scalar as it is written, variables not filled in: the one to repeat
// in an error.
func (n Node) Raw() string { return n.target().Value }

// Text returns the text of a scalar, variables filled in. A number and a boolean are the text
// that they are written as.
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
		return "", n.Errorf(problem.Hint, "%s", problem.Message)
	}
	return text, nil
}

// Beside returns a path that the file gives: a relative one begins in the directory of the file,
// so that it means the same wherever the program is started.
func (n Node) Beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Dir(n.doc.file) + string(filepath.Separator) + strings.TrimPrefix(path, "."+string(filepath.Separator))
}

// Lookup finds a variable in the environment that the file was parsed with.
func (n Node) Lookup(name string) (string, bool) { return n.doc.lookup(name) }

// position is how editors and terminals understand a place in a file.
func position(file string, line, column int) string {
	text := file + ":" + strconv.Itoa(line)
	if column > 0 {
		text += ":" + strconv.Itoa(column)
	}
	return text
}

const referenceHint = "right ones: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign"

// interpolate fills in the variables that text refers to. As in a shell, :- and :? are also for a
// variable that is empty, and a default may refer to variables, which are looked up only if it is
// used. A dollar sign before anything but { and $ is one.
//
// An error has no place yet, and repeats nothing of the text around the reference.
func interpolate(text string, lookup func(string) (string, bool)) (string, *exit.Error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		switch {
		case !found:
			return out.String(), nil
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			text = rest[1:]
			continue
		case !strings.HasPrefix(rest, "{"):
			out.WriteByte('$')
			text = rest
			continue
		}
		length := referenceLength(rest)
		if length < 0 {
			return "", exit.Usagef(referenceHint, "a ${ has no }")
		}
		value, problem := expand(rest[1:length-1], lookup)
		if problem != nil {
			return "", problem
		}
		out.WriteString(value)
		text = rest[length:]
	}
}

// referenceLength returns the length of the {...} that text begins with, references within it
// included; -1 without an end.
func referenceLength(text string) int {
	depth := 1
	for i := 1; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], "$$"):
			i++
		case strings.HasPrefix(text[i:], "${"):
			depth++
			i++
		case text[i] == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// expand returns what stands for the inside of a ${...}.
func expand(inside string, lookup func(string) (string, bool)) (string, *exit.Error) {
	name, operator, operand := inside, "", ""
	if i := strings.IndexByte(inside, ':'); i >= 0 && i+1 < len(inside) {
		name, operator, operand = inside[:i], inside[i:i+2], inside[i+2:]
	}
	if !isVariable(name) || operator != "" && operator != ":-" && operator != ":?" {
		return "", exit.Usagef(referenceHint, "what stands between ${ and } is not understood")
	}
	value, set := lookup(name)
	switch {
	case operator == "" && !set:
		return "", exit.Usagef("set it, or give a default: ${"+name+":-default}", "the variable %s is not set", name)
	case operator == "" || value != "":
		return value, nil
	case operator == ":-":
		return interpolate(operand, lookup)
	case operand == "":
		operand = "it is not set"
	}
	return "", exit.Usagef("set it", "the variable %s: %s", name, operand)
}

// isVariable reports whether name can be that of a variable.
func isVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
