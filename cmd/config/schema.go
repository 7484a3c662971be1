package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"phx/cmd/internal/natslink"
	"phx/cmd/internal/option"
)

// topKeys declares the keys at the top of a file. [ParseFile] and [File.Serve] read what is below
// them.
func topKeys() []option.Option {
	kinds := map[string]option.Shape{}
	for _, name := range builtInSinks {
		kinds[name] = option.Shape{"allOf": []option.Shape{option.RefTo("sink"), {"required": []string{name}}}}
	}
	connections := option.Shape{"type": "object", "additionalProperties": option.RefTo("connection")}
	sinks := option.Shape{
		"type": "object", "propertyNames": option.Shape{"pattern": "^[A-Za-z0-9_-]+$"},
		"properties": kinds, "additionalProperties": option.RefTo("sink"),
	}
	shared := slices.DeleteFunc(NewConnection(Retry{}).Options(), func(o option.Option) bool { return !slices.Contains(sharedKeys, o.Key) })
	return slices.Concat(shared, []option.Option{
		{Key: "defaults", Value: option.Described("map", option.RefTo("connection")),
			About: "What connections have that say nothing else. Params and headers add up, by name."},
		{Key: "connections", Value: option.Described("map", connections),
			About: "The connections, each under a key that is its name unless it has a name of its own."},
		{Key: "sinks", Value: option.Described("map", sinks),
			About: "Where routes lead to. stdout and discard are there anyway."},
		{Key: "routes", Value: option.Described("list of maps", option.Shape{"type": "array", "items": option.RefTo("route")}),
			About: "Which signals go to which sinks. A signal goes to the sinks of every route that wants it, to each sink once. Without routes, all go to stdout."},
		{Key: "sources", Value: option.Described("map", option.Shape{"type": "object", "propertyNames": option.Shape{"pattern": "^[A-Za-z0-9_-]+$"}, "additionalProperties": option.RefTo("source")}),
			About: "Where calls to phx serve come from beside its control socket. Whoever may send them may push and listen."},
	}, below("nats", natsOptions(&natslink.Options{})), stateOptions(new(string)), below("cluster", clusterOptions(&Cluster{})), below("control", controlOptions(new(string))), below("http", httpOptions(new(string))))
}

// connectionKeys are those of a connection, with the defaults of a server.
func connectionKeys() []option.Option { return NewConnection(Retry{Max: ServeRetries}).keyed() }

func sinkKeys() []option.Option { return sinkOptions(&Sink{}) }

func routeKeys() []option.Option { return routeOptions(&Route{}, nil) }

// aboutMaps says what the maps are about that keys with dots are in.
var aboutMaps = map[string]string{
	"cluster": "Several phx serve with one config: which of them runs which connection. Without it, each runs all.",
	"control": "The control API of phx serve.",
	"http":    "Health and metrics of phx serve.",
	"nats":    "Publish to a stream of NATS JetStream, by the link that nats at the top says.",
	"tls":     "TLS. Files are PEM, read at every dial; a relative path begins beside the config file.",
	"file":    "Append to a file, which is opened anew on HUP.",
	"exec":    "Write lines to the standard input of a program, which is started again when it ends.",
	"webhook": "Post each signal as a CloudEvent.",
	"spool":   "Keep in a file what is not delivered, of a webhook or nats, so that it outlives the process: {}, or more.",
}

// sourceKeys are those of a source.
func sourceKeys() []option.Option { return below("nats", natsSourceOptions(new(string))) }

// aboutTop is aboutMaps for the top of a file.
var aboutTop = func() map[string]string {
	about := maps.Clone(aboutMaps)
	about["nats"] = "The link to NATS, of which a process has one."
	return about
}()

// below returns the options with keys that are in the map of a key.
func below(key string, options []option.Option) []option.Option {
	for i := range options {
		options[i].Key = key + "." + options[i].Key
	}
	return options
}

// describe and mapShape describe a map with the keys of the options, for people and for editors.
func describe(options []option.Option) []option.Key {
	return option.Describe("", options, aboutMaps)
}

func mapShape(options []option.Option) option.Shape { return option.MapShape(options, aboutMaps) }

// Keys are those of a config file, in the order in which they are declared.
type Keys struct {
	// Top are those at the top, control and http with what is in them.
	Top []option.Key
	// Connection holds the keys of a connection and of the defaults, Secret those of a map in
	// place of a secret.
	Connection, Sink, Route, Source, Secret []option.Key
}

// DescribeKeys returns every key there is.
func DescribeKeys() Keys {
	return Keys{
		Top: option.Describe("", topKeys(), aboutTop), Connection: describe(connectionKeys()), Sink: describe(sinkKeys()),
		Route: describe(routeKeys()), Source: option.Describe("", sourceKeys(), aboutSource), Secret: describe(secretKeys),
	}
}

// Schema returns a JSON Schema of config files, for editors, made of the options of the parser.
// Only the parser can check the values of variables, the spelling of numbers, jq, the existence
// of files and sinks, and what one value means for another.
func Schema() []byte {
	root := option.MapShape(topKeys(), aboutTop)
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

// definitions are the shapes that others refer to.
func definitions() option.Shape {
	source := mapShape(secretKeys)
	source["minProperties"], source["maxProperties"] = 1, 1
	secret := func(text option.Shape) option.Shape { return option.Shape{"anyOf": []option.Shape{text, source}} }
	return option.Shape{
		"reference":  option.WithAbout("Variables are filled in: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign.", option.TextLike(`\$\{`)),
		"text":       option.WithAbout("A text, in which variables are filled in: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign.", option.Shape{"type": option.TextTypes}),
		"secret":     option.WithAbout("A text, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(option.TextShape)),
		"key":        option.WithAbout("A text that is not empty, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(option.WordShape)),
		"header":     option.WithAbout("The value of a header, on one line, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(option.Shape{"type": option.TextTypes, "pattern": `^[^\x00-\x08\x0a-\x1f\x7f]*$`})),
		"connection": mapShape(connectionKeys()),
		"sink":       sinkShape(),
		"source":     option.WithAbout("Where calls come from.", option.MapShape(sourceKeys(), aboutSource)),
		"route":      routeShape(),
	}
}

func sinkShape() option.Shape {
	s := mapShape(sinkKeys())
	var kinds []option.Shape
	for _, kind := range sinkKinds {
		kinds = append(kinds, option.Shape{"required": []string{kind}})
	}
	s["oneOf"] = kinds
	s["if"] = option.Shape{"required": []string{"webhook"}}
	s["then"] = option.Shape{"properties": option.Shape{"format": option.ChoiceShape("cloudevents")}}
	var spooling []option.Shape
	for _, kind := range spoolingSinks {
		spooling = append(spooling, option.Shape{"required": []string{kind}})
	}
	s["dependentSchemas"] = option.Shape{"spool": option.Shape{"anyOf": spooling}}
	return s
}

func routeShape() option.Shape {
	s := mapShape(routeKeys())
	s["not"] = option.Shape{"required": []string{"match", "subscribe"}}
	return s
}
