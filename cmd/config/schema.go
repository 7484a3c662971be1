package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Schema returns a JSON Schema of config files, for editors. It is made of the options that the parser reads the keys with. What it
// cannot say is left to the parser: what variables will be, how numbers are spelled, jq, which files and sinks there are, and what
// one value means for another.
func Schema() []byte {
	root := objectShape("", fileShapes(), nil)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "phx config file"
	root["description"] = "Named connections to Phoenix servers and, for `phx serve`, where their signals go."
	// An empty file is a right one.
	root["type"] = []string{"object", "null"}
	defs := definitions()
	defs["connection"] = connectionShape()
	defs["sink"] = sinkShape()
	defs["route"] = routeShape()
	root["$defs"] = defs
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		panic("config: the schema is no JSON: " + err.Error())
	}
	return out.Bytes()
}

// fileShapes are the shapes of the keys at the top.
func fileShapes() map[string]shape {
	kinds := map[string]shape{}
	for _, name := range builtInSinks {
		kinds[name] = shape{"allOf": []shape{refTo("sink"), {"required": []string{name}}}}
	}
	shapes := map[string]shape{
		"defaults":    refTo("connection"),
		"connections": {"type": "object", "additionalProperties": refTo("connection")},
		"sinks": {
			"type": "object", "propertyNames": shape{"pattern": "^[A-Za-z0-9_-]+$"},
			"properties": kinds, "additionalProperties": refTo("sink"),
		},
		"routes":  {"type": "array", "items": refTo("route")},
		"control": optionsShape("control.", controlOptions(&ControlSocket{})),
		"http":    optionsShape("http.", httpOptions(&HTTPListen{})),
	}
	for _, o := range NewConnection(Retry{}).Options() {
		if slices.Contains(sharedKeys, o.Key) {
			shapes[o.Key] = withDefault(o.Value)
		}
	}
	return shapes
}

func connectionShape() shape {
	return optionsShape("connection.", connectionOptions(NewConnection(Retry{Max: ServeRetries})))
}

func sinkShape() shape {
	s := optionsShape("sink.", sinkOptions(&Sink{}), "file.path", "exec.command", "webhook.url")
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
	s := optionsShape("route.", routeOptions(&Route{}, nil), "to")
	s["not"] = shape{"required": []string{"match", "subscribe"}}
	return s
}

// optionsShape is the shape of the map that has the keys of the options. Those required must be there; prefix is where the map is in
// [about].
func optionsShape(prefix string, options []Option, required ...string) shape {
	shapes := map[string]shape{}
	for _, o := range options {
		shapes[o.Key] = withDefault(o.Value)
	}
	return objectShape(prefix, shapes, required)
}

func withDefault(v Value) shape {
	if v.def == nil {
		return v.shape
	}
	s := maps.Clone(v.shape)
	s["default"] = v.def
	return s
}

// objectShape is the shape of a map with the given keys. A dot divides the keys of nested maps.
func objectShape(prefix string, shapes map[string]shape, required []string) shape {
	properties, nested, needed := shape{}, map[string]map[string]shape{}, []string{}
	for key, s := range shapes {
		group, rest, dotted := strings.Cut(key, ".")
		if !dotted {
			properties[key] = described(about[prefix+key], s)
			continue
		}
		if nested[group] == nil {
			nested[group] = map[string]shape{}
		}
		nested[group][rest] = s
	}
	for group, inner := range nested {
		var ofGroup []string
		for _, key := range required {
			if rest, ok := strings.CutPrefix(key, group+"."); ok {
				ofGroup = append(ofGroup, rest)
			}
		}
		properties[group] = described(about[prefix+group], objectShape(prefix+group+".", inner, ofGroup))
	}
	for _, key := range required {
		if !strings.Contains(key, ".") {
			needed = append(needed, key)
		}
	}
	s := shape{"type": "object", "additionalProperties": false, "properties": properties}
	if len(needed) > 0 {
		s["required"] = needed
	}
	return s
}
