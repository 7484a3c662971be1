package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// topKeys declares the keys at the top of a file. [ParseFile] and [File.Serve] read what is below
// them.
func topKeys() []Option {
	kinds := map[string]shape{}
	for _, name := range builtInSinks {
		kinds[name] = shape{"allOf": []shape{refTo("sink"), {"required": []string{name}}}}
	}
	connections := shape{"type": "object", "additionalProperties": refTo("connection")}
	sinks := shape{
		"type": "object", "propertyNames": shape{"pattern": "^[A-Za-z0-9_-]+$"},
		"properties": kinds, "additionalProperties": refTo("sink"),
	}
	shared := slices.DeleteFunc(NewConnection(Retry{}).Options(), func(o Option) bool { return !slices.Contains(sharedKeys, o.Key) })
	return slices.Concat(shared, []Option{
		{Key: "defaults", Value: described("map", refTo("connection")),
			About: "What connections have that say nothing else. Params and headers add up, by name."},
		{Key: "connections", Value: described("map", connections),
			About: "The connections, each under a key that is its name unless it has a name of its own."},
		{Key: "sinks", Value: described("map", sinks),
			About: "Where routes lead to. stdout and discard are there anyway."},
		{Key: "routes", Value: described("list of maps", shape{"type": "array", "items": refTo("route")}),
			About: "Which signals go to which sinks. A signal goes to the sinks of every route that wants it, to each sink once. Without routes, all go to stdout."},
	}, below("control", controlOptions(new(string))), below("http", httpOptions(new(string))))
}

// connectionKeys are those of a connection, with the defaults of a server.
func connectionKeys() []Option { return NewConnection(Retry{Max: ServeRetries}).keyed() }

func sinkKeys() []Option { return sinkOptions(&Sink{}) }

func routeKeys() []Option { return routeOptions(&Route{}, nil) }

// aboutMaps says what the maps are about that keys with dots are in.
var aboutMaps = map[string]string{
	"control": "The control API of phx serve.",
	"http":    "Health and metrics of phx serve.",
	"tls":     "TLS. Files are PEM, read at every dial; a relative path begins beside the config file.",
	"file":    "Append to a file, which is opened anew on HUP.",
	"exec":    "Write lines to the standard input of a program, which is started again when it ends.",
	"webhook": "Post each signal as a CloudEvent.",
}

// below returns the options with keys that are in the map of a key.
func below(key string, options []Option) []Option {
	for i := range options {
		options[i].Key = key + "." + options[i].Key
	}
	return options
}

// A Key is what a config file can say, for people to read about.
type Key struct {
	// Path is the key; a dot divides those of nested maps.
	Path string
	// Type says in a few words what the value looks like.
	Type string
	// Default is what is built in, as JSON; nil: nothing.
	Default json.RawMessage
	// Required says that the key must be there, where the map is that it belongs to.
	Required bool
	// About says what the key does.
	About string
}

// Keys are those of a config file, in the order in which they are declared.
type Keys struct {
	// Top are those at the top, control and http with what is in them.
	Top []Key
	// Connection holds the keys of a connection and of the defaults, Secret those of a map in
	// place of a secret.
	Connection, Sink, Route, Secret []Key
}

// DescribeKeys returns every key there is.
func DescribeKeys() Keys {
	return Keys{
		Top: describe("", topKeys()), Connection: describe("", connectionKeys()), Sink: describe("", sinkKeys()),
		Route: describe("", routeKeys()), Secret: describe("", secretKeys),
	}
}

func describe(prefix string, options []Option) []Key {
	var keys []Key
	for _, b := range branches(options) {
		keys = append(keys, Key{Path: prefix + b.Key, Type: b.Value.name, Default: b.Value.defJSON, Required: b.Required, About: b.About})
		keys = append(keys, describe(prefix+b.Key+".", b.below)...)
	}
	return keys
}

// Schema returns a JSON Schema of config files, for editors, made of the options of the parser.
// Only the parser can check the values of variables, the spelling of numbers, jq, the existence
// of files and sinks, and what one value means for another.
func Schema() []byte {
	root := mapShape(topKeys())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "phx config file"
	root["description"] = "Named connections to Phoenix servers and, for `phx serve`, where their signals go."
	// An empty file is a right one.
	root["type"] = []string{"object", "null"}
	root["$defs"] = definitions()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		panic("config: the schema is no JSON: " + err.Error())
	}
	return out.Bytes()
}

// A shape is the JSON Schema of a value. The parser takes texts; a shape also allows the number
// or boolean that such a text can be written as, and any text that refers to variables.
type shape map[string]any

// mapShape is the shape of a map that has the keys of the options.
func mapShape(options []Option) shape {
	properties, required := shape{}, []string{}
	for _, b := range branches(options) {
		s := b.Value.schema
		if b.below != nil {
			s = mapShape(b.below)
		}
		s = withAbout(b.About, s)
		if b.Value.defJSON != nil {
			s["default"] = b.Value.defJSON
		}
		properties[b.Key] = s
		if b.Required {
			required = append(required, b.Key)
		}
	}
	s := shape{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// withAbout is a copy of a shape with a description for editors.
func withAbout(text string, s shape) shape {
	with := maps.Clone(s)
	if text != "" {
		with["description"] = text
	}
	return with
}

// definitions are the shapes that others refer to.
func definitions() shape {
	source := mapShape(secretKeys)
	source["minProperties"], source["maxProperties"] = 1, 1
	secret := func(text shape) shape { return shape{"anyOf": []shape{text, source}} }
	return shape{
		"reference":  withAbout("Variables are filled in: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign.", textLike(`\$\{`)),
		"text":       withAbout("A text, in which variables are filled in: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign.", shape{"type": textTypes}),
		"secret":     withAbout("A text, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(textShape)),
		"key":        withAbout("A text that is not empty, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(wordShape)),
		"header":     withAbout("The value of a header, on one line, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(shape{"type": textTypes, "pattern": `^[^\x00-\x08\x0a-\x1f\x7f]*$`})),
		"connection": mapShape(connectionKeys()),
		"sink":       sinkShape(),
		"route":      routeShape(),
	}
}

func sinkShape() shape {
	s := mapShape(sinkKeys())
	var kinds []shape
	for _, kind := range sinkKinds {
		kinds = append(kinds, shape{"required": []string{kind}})
	}
	s["oneOf"] = kinds
	s["if"] = shape{"required": []string{"webhook"}}
	s["then"] = shape{"properties": shape{"format": choiceShape("cloudevents")}}
	return s
}

func routeShape() shape {
	s := mapShape(routeKeys())
	s["not"] = shape{"required": []string{"match", "subscribe"}}
	return s
}

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
	wordShape    = shape{"type": textTypes, "minLength": 1}
	commandShape = shape{"type": "array", "minItems": 1, "prefixItems": []shape{wordShape}, "items": textShape}
)

// anyCase returns a pattern that ignores the case of names: JSON Schema has no option for that.
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
