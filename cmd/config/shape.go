package config

import (
	"slices"
	"strings"
	"unicode"
)

// A shape says as JSON Schema what a value of a config file looks like. What the parser takes from it is a text: a shape takes the
// number or the boolean that such a text can be written as, and the texts that refer to variables, whatever they will be.
type shape map[string]any

// refTo is the shape of the definition of a name, see [definitions].
func refTo(name string) shape { return shape{"$ref": "#/$defs/" + name} }

// anyOf is any of the shapes, or a text with variables.
func anyOf(shapes ...shape) shape {
	return shape{"anyOf": append(slices.Clone(shapes), refTo("reference"))}
}

func textLike(pattern string) shape { return shape{"type": "string", "pattern": pattern} }

// textTypes are what a text can be written as.
var textTypes = []string{"string", "number", "boolean"}

var (
	textShape = refTo("text")
	// wordShape is a text that is not empty.
	wordShape = shape{"type": textTypes, "minLength": 1}
	boolShape = anyOf(shape{"type": "boolean"}, shape{"enum": []string{"true", "false"}})
	sizeShape = anyOf(shape{"type": "integer", "minimum": 1}, textLike(`^0*[1-9][0-9]*( *[KMG]iB)?$`))
	// queueShape is a number of signals or a size.
	queueShape   = sizeShape
	retriesShape = anyOf(shape{"type": "integer", "minimum": -1}, textLike(`^(-0*1|[+]?[0-9]+|-0+)$`))
	// timesShape is a number of times, also none.
	timesShape = anyOf(shape{"type": "integer", "minimum": 0}, textLike(`^([+]?[0-9]+|-0+)$`))

	// The first character after the user is that of the host.
	uriShape   = anyOf(textLike(`^([wW][sS][sS]?|[hH][tT][tT][pP][sS]?)://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`))
	urlShape   = anyOf(textLike(`^[hH][tT][tT][pP][sS]?://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`))
	proxyShape = anyOf(shape{"type": []string{"number", "boolean"}}, textLike(`^(([hH][tT][tT][pP]|[sS][oO][cC][kK][sS]5[hH]?)://)?([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^/?#\s]*/*[?]?#?$`))
	hostShape  = shape{"type": textTypes, "pattern": `^[^/: ]+$|\$\{`}
	// listenShape is HOST:PORT.
	listenShape = anyOf(textLike(`^([^:\[\]]*|\[[^\[\]]*\]):[0-9]{1,5}$`))

	nameShape = anyOf(
		shape{"type": "string", "pattern": `^[A-Za-z0-9][A-Za-z0-9_-]*$`, "not": shape{"enum": []string{"connection", "channel", "push", "signal", "presence"}}},
		shape{"type": "integer", "minimum": 0}, shape{"type": "boolean"})
	paramsShape = shape{"type": "object", "propertyNames": shape{"not": shape{"const": "vsn"}}, "additionalProperties": refTo("secret")}

	patternShape = anyOf(textLike(`^(\*\*?|[A-Za-z0-9_-]+)(\.(\*\*?|[A-Za-z0-9_-]+))*$`), shape{"type": []string{"number", "boolean"}})
	// globShape does not end in a single backslash.
	globShape    = shape{"type": textTypes, "minLength": 1, "pattern": `^([^\\]|\\[\s\S])*$|\$\{`}
	commandShape = shape{"type": "array", "minItems": 1, "prefixItems": []shape{wordShape}, "items": textShape}
	topicShape   = shape{"type": textTypes, "minLength": 1, "not": shape{"const": "phoenix"}}
	// emptyShape is of what is said by its key alone.
	emptyShape    = shape{"type": []string{"object", "null"}, "maxProperties": 0}
	autoJoinShape = shape{"type": "array", "items": shape{"anyOf": []shape{topicShape, {
		"type": "object", "required": []string{"topic"}, "additionalProperties": false,
		"properties": shape{
			"topic":         topicShape,
			"params":        shape{"type": "object"},
			"secret_params": shape{"type": "object", "additionalProperties": refTo("secret")},
		},
	}}}}
)

// msecShape is a number of milliseconds.
func msecShape(least int) shape {
	digits := textLike(`^[+]?[0-9]*[1-9][0-9]*$`)
	if least == 0 {
		digits = textLike(`^([+]?[0-9]+|-0+)$`)
	}
	return anyOf(shape{"type": "integer", "minimum": least, "maximum": maxMsec}, digits)
}

func choiceShape(choices ...string) shape { return anyOf(shape{"enum": choices}) }

// listShape is one of a shape, or a list of at least one.
func listShape(item shape) shape {
	return shape{"anyOf": []shape{item, {"type": "array", "minItems": 1, "items": item}}}
}

// headersShape is a map, or a list of pairs, of headers that are none of those taken, however these are written.
func headersShape(taken ...string) shape {
	name := shape{"type": textTypes, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "not": shape{"type": "string", "pattern": "^(" + anyCase(taken) + ")$"}}
	return shape{"anyOf": []shape{
		{"type": "object", "propertyNames": name, "additionalProperties": refTo("header")},
		{"type": "array", "items": shape{
			"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": []shape{anyOf(name), refTo("header")},
		}},
	}}
}

// anyCase returns a pattern for names whose letters may be small or capital. Patterns of JSON Schema have no option for that.
func anyCase(names []string) string {
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

// definitions are the shapes that others refer to.
func definitions() shape {
	secret := func(text shape) shape {
		return shape{"anyOf": []shape{text, {
			"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
			"properties": shape{
				"env":     described("Name of an environment variable, which must be set.", wordShape),
				"file":    described("File with the secret, read again each time; a relative path begins beside the config file.", wordShape),
				"command": described("Program with its arguments that prints the secret, run again each time, without a shell.", commandShape),
			},
		}}}
	}
	return shape{
		"reference": described("Variables are filled in: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign.", textLike(`\$\{`)),
		"text":      described("A text, in which variables are filled in: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign.", shape{"type": textTypes}),
		"secret":    described("A text, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(textShape)),
		"key":       described("A text that is not empty, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(wordShape)),
		"header":    described("The value of a header, on one line, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(shape{"type": textTypes, "pattern": `^[^\x00-\x08\x0a-\x1f\x7f]*$`})),
	}
}

// described is a shape with a description for editors.
func described(text string, s shape) shape {
	with := shape{"description": text}
	for key, value := range s {
		with[key] = value
	}
	return with
}

// takesNumbers reports whether a text that is a number, or true or false, may be written without quotes, and is by most.
func (s shape) takesNumbers() bool {
	switch s["type"] {
	case "integer", "boolean":
		return true
	case "array":
		items, _ := s["items"].(shape)
		return items.takesNumbers()
	}
	choices, _ := s["anyOf"].([]shape)
	return slices.ContainsFunc(choices, shape.takesNumbers)
}
