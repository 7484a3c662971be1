package config

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// A Key is what a config file can say, for people to read about.
type Key struct {
	// Path is the key; a dot divides those of nested maps.
	Path string
	// Type is what the value looks like, in a few words.
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
	// Connection are those of a connection and of the defaults, Sink of a sink, Route of a route, Secret of a map that stands where a
	// secret is wanted.
	Connection, Sink, Route, Secret []Key
}

// DescribeKeys returns every key there is. It is made of what [Schema] is made of.
func DescribeKeys() Keys {
	top := append(slices.Clone(keySet(sharedKeys)), "defaults", "connections")
	inside := map[string][]Option{"control": controlOptions(&ControlSocket{}), "http": httpOptions(&HTTPListen{})}
	for _, key := range serveKeys {
		if inside[key] == nil {
			top = append(top, key)
		}
		for _, inner := range keysOf(inside[key]) {
			top = append(top, key+"."+inner)
		}
	}
	secret, _ := definitions()["secret"].(shape)["anyOf"].([]shape)
	return Keys{
		Top:        keysIn(objectShape("", fileShapes(), nil), "", top),
		Connection: keysIn(connectionShape(), "", connectionKeys()),
		Sink:       keysIn(sinkShape(), "", keysOf(sinkOptions(&Sink{}))),
		Route:      keysIn(routeShape(), "", keysOf(routeOptions(&Route{}, nil))),
		Secret:     keysIn(secret[1], "", keySet{"env", "file", "command"}),
	}
}

// keysIn returns the keys of a map of that shape, and of those in it. prefix is the path to the map, with a dot at its end; order has
// all the paths.
func keysIn(s shape, prefix string, order keySet) []Key {
	properties, _ := s["properties"].(shape)
	required, _ := s["required"].([]string)
	var keys []Key
	for _, name := range order.under(prefix) {
		of := properties[name].(shape)
		text, _ := of["description"].(string)
		key := Key{Path: prefix + name, Type: of.typeName(), Required: slices.Contains(required, name), About: text}
		if def, ok := of["default"]; ok {
			key.Default = jsonOf(def)
		}
		keys = append(keys, key)
		keys = append(keys, keysIn(of, prefix+name+".", order)...)
	}
	return keys
}

// typeNames are the names of shapes that say more than they are made of.
var typeNames = []struct {
	shape shape
	name  string
}{
	{boolShape, "true or false"},
	{sizeShape, "number or size"},
	{retriesShape, "number"},
	{timesShape, "number"},
	{msecShape(0), "number"},
	{msecShape(1), "number"},
	{uriShape, "URL"},
	{urlShape, "URL"},
	{proxyShape, "URL"},
	{listenShape, "HOST:PORT"},
	{nameShape, "text"},
	{patternShape, "pattern"},
	{globShape, "glob"},
	{commandShape, "list of texts"},
	{autoJoinShape, "list"},
	{emptyShape, "{}"},
}

// typeName says in a few words what a value of the shape looks like. How else the same may be written, such as a number in quotes, is
// left out.
func (s shape) typeName() string {
	for _, known := range typeNames {
		if s.is(known.shape) {
			return known.name
		}
	}
	if ref, ok := s["$ref"].(string); ok {
		switch name := strings.TrimPrefix(ref, "#/$defs/"); name {
		case "key", "secret", "header":
			return "secret"
		case "connection", "sink", "route":
			return "map"
		default:
			return name
		}
	}
	if choices, ok := s["enum"].([]string); ok {
		return strings.Join(choices, " or ")
	}
	var names []string
	parts, _ := s["anyOf"].([]shape)
	for _, part := range parts {
		if name := part.typeName(); name != "reference" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return strings.Join(names, " or ")
	}
	switch s["type"] {
	case "object":
		return "map"
	case "array":
		items, _ := s["items"].(shape)
		if items["type"] == "array" { // headers: no other list has lists
			return "list of pairs"
		}
		return "list of " + items.typeName() + "s"
	}
	return "text"
}

// is reports whether s is the other shape, but for what it says of a key.
func (s shape) is(other shape) bool {
	for name, value := range s {
		if name != "description" && name != "default" && !reflect.DeepEqual(value, other[name]) {
			return false
		}
	}
	for name := range other {
		if _, ok := s[name]; !ok {
			return false
		}
	}
	return true
}

// OptionOf returns the option behind a flag that [Set.Bind] has added.
func OptionOf(f *pflag.Flag) (Option, bool) {
	o, ok := f.Value.(*setting)
	if !ok {
		return Option{}, false
	}
	return o.Option, true
}
