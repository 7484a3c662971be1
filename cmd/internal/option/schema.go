package option

import (
	"maps"
	"slices"
	"strings"
	"unicode"
)

// A Shape is the JSON Schema of a value. The parser takes texts; a shape also allows the number
// or boolean that such a text can be written as, and any text that refers to variables.
type Shape map[string]any

// MapShape is the shape of a map that has the keys of the options. about is as of [Branches].
func MapShape(options []Option, about map[string]string) Shape {
	properties, required := Shape{}, []string{}
	for _, b := range Branches(options, about) {
		s := b.Value.Schema
		if b.Below != nil {
			s = MapShape(b.Below, about)
		}
		s = WithAbout(b.About, s)
		if b.Value.DefJSON != nil {
			s["default"] = b.Value.DefJSON
		}
		properties[b.Key] = s
		if b.Required {
			required = append(required, b.Key)
		}
	}
	s := Shape{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// WithAbout is a copy of a shape with a description for editors.
func WithAbout(text string, s Shape) Shape {
	with := maps.Clone(s)
	if text != "" {
		with["description"] = text
	}
	return with
}

// RefTo is the shape of the definition of a name, which the schema has at its end.
func RefTo(name string) Shape { return Shape{"$ref": "#/$defs/" + name} }

// AnyOf is any of the shapes, or a text with variables.
func AnyOf(shapes ...Shape) Shape {
	return Shape{"anyOf": append(slices.Clone(shapes), RefTo("reference"))}
}

// TextLike is a text of the pattern.
func TextLike(pattern string) Shape { return Shape{"type": "string", "pattern": pattern} }

// TextTypes are what a text can be written as.
var TextTypes = []string{"string", "number", "boolean"}

var (
	// TextShape is a text, in which variables are filled in.
	TextShape = RefTo("text")
	// WordShape is a text that is not empty.
	WordShape = Shape{"type": TextTypes, "minLength": 1}
	// CommandShape is a program with its arguments.
	CommandShape = Shape{"type": "array", "minItems": 1, "prefixItems": []Shape{WordShape}, "items": TextShape}
)

// AnyCase returns a pattern that ignores the case of names: JSON Schema has no option for that.
func AnyCase(names []string) string {
	var pattern strings.Builder
	for i, name := range names {
		if i > 0 {
			pattern.WriteByte('|')
		}
		for _, r := range name {
			if unicode.IsLetter(r) {
				pattern.WriteString("[" + string(unicode.ToLower(r)) + string(unicode.ToUpper(r)) + "]")
				continue
			}
			pattern.WriteRune(r)
		}
	}
	return pattern.String()
}
