package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"phx/cmd/internal/endpoint"
	"phx/cmd/internal/strictyaml"
	"phx/phoenix/rawjson"
)

// Show returns the effective configuration as a JSON object that is a valid config file: defaults
// merged into connections, variables filled in, built-in values written out. *** stands for what
// may be secret; a reference to a secret stays as written. With a name, only that connection is
// shown. Errors are as of [File.Serve].
func (f *File) Show(name string, compileWhere func(expr string) (Where, error)) (json.RawMessage, error) {
	entries := f.Entries
	if name != "" {
		entry, err := f.Entry(name)
		if err != nil {
			return nil, err
		}
		entries = []*Entry{entry}
	}
	var all, connections object
	var wrong problems
	requireWSS := json.RawMessage("false")
	if n, said := f.defaults["require_wss"]; said {
		requireWSS, _ = plainJSON(n, true) // what is wrong with it, a connection says
	}
	all.add("require_wss", requireWSS)
	for _, e := range entries {
		text, err := e.show()
		wrong.add(err)
		connections.add(e.key, text)
	}
	all.add("connections", connections.json())
	if name == "" {
		wrong.add(f.showServe(&all, compileWhere))
	}
	return all.json(), wrong.err()
}

// show returns a connection.
func (e *Entry) show() (json.RawMessage, error) {
	c, err := e.Resolve(nil)
	if err != nil {
		return nil, err
	}
	return e.json(shown, func(o Option) json.RawMessage {
		if o.Key == "heartbeat_timeout_msec" {
			return jsonOf(c.heartbeatTimeout.Milliseconds())
		}
		return o.Value.defJSON
	})
}

// Raw returns the entry with its name and the defaults of its file, as JSON for [ParseEntry].
// Variables are not filled in, and relative paths stay as they are.
func (e *Entry) Raw() (json.RawMessage, error) {
	return e.json(written, func(Option) json.RawMessage { return nil })
}

// json returns the entry with the defaults of its file. missing returns the value of a key that
// is not given; nil: none.
func (e *Entry) json(as style, missing func(Option) json.RawMessage) (json.RawMessage, error) {
	return keysJSON(as, connectionKeys(), func(key string) []strictyaml.Node {
		if key == "name" {
			return nil // it may be the key that the entry stands under
		}
		return e.values(key)
	}, func(o Option) json.RawMessage {
		if o.Key == "name" {
			return jsonText(e.Name)
		}
		return missing(o)
	})
}

// showServe adds what a server has besides connections.
func (f *File) showServe(o *object, compileWhere func(expr string) (Where, error)) error {
	serve, err := f.Serve(compileWhere)
	if err != nil {
		return err
	}
	var sinks object
	for _, s := range serve.Sinks {
		if s.found != nil { // it is not a built-in one
			sinks.add(s.Name, s.show())
		}
	}
	o.add("sinks", sinks.json())
	o.add("routes", f.showRoutes(serve))
	var wrong problems
	add := func(key string, options []Option) {
		if n, said := f.serve[key]; said {
			text, err := mapJSON(shown, n, options)
			wrong.add(err)
			o.add(key, text)
		}
	}
	add("control", controlOptions(new(string)))
	add("http", httpOptions(new(string)))
	return wrong.err()
}

// show returns a sink, with what the keys of its kind are built in as.
func (s *Sink) show() json.RawMessage {
	options := slices.DeleteFunc(sinkKeys(), func(o Option) bool {
		group, _, _ := strings.Cut(o.Key, ".")
		return slices.Contains(sinkKinds, group) && group != s.kind
	})
	text, _ := keysJSON(shown, options, s.found.values, func(o Option) json.RawMessage { // it was read before
		if o.Key == "format" && s.Webhook != nil {
			return jsonOf(s.Format.String())
		}
		return o.Value.defJSON
	})
	return text
}

func (f *File) showRoutes(serve *Serve) json.RawMessage {
	var items []strictyaml.Node
	if n, said := f.serve["routes"]; said {
		items, _ = n.Items() // it was read before
	}
	if len(items) == 0 {
		return jsonOf([]map[string][]string{{"to": serve.Routes[0].To}})
	}
	routes := make(list, len(items))
	for i, item := range items {
		routes[i], _ = mapJSON(shown, item, routeKeys()) // it was read before
	}
	return routes.json()
}

// mapJSON writes a map that has the keys of the options.
func mapJSON(as style, n strictyaml.Node, options []Option) (json.RawMessage, error) {
	found, err := collect(n, options)
	if err != nil {
		return nil, err
	}
	return keysJSON(as, options, found.values, func(o Option) json.RawMessage { return o.Value.defJSON })
}

// keysJSON returns the object with the keys of the options. missing returns the value of a key
// without values; nil: none.
func keysJSON(as style, options []Option, values func(key string) []strictyaml.Node, missing func(Option) json.RawMessage) (json.RawMessage, error) {
	var wrong problems
	var write func(prefix string, options []Option) object
	write = func(prefix string, options []Option) (o object) {
		for _, b := range branches(options) {
			option := b.Option
			option.Key = prefix + b.Key
			if b.below != nil {
				if inner := write(option.Key+".", b.below); len(inner) > 0 {
					o.add(b.Key, inner.json())
				}
			} else if found := values(option.Key); len(found) > 0 {
				value, err := option.Value.json(as, found)
				wrong.add(err)
				o.add(b.Key, value)
			} else if value := missing(option); value != nil {
				o.add(b.Key, value)
			}
		}
		return o
	}
	return write("", options).json(), wrong.err()
}

// A form writes a value of a file as JSON.
type form func(n strictyaml.Node) (json.RawMessage, error)

// A style is how a value and its parts are written: texts, secrets, and data of any form.
type style struct {
	text, secret, data form
	// whole writes a value without parts; nil: as its kind does.
	whole form
}

var (
	// shown is for everybody to see, written as it is in the file.
	shown   = style{text: plainText, secret: maskedSecret, data: masked}
	written = style{text: strictyaml.Node.RawTexts, secret: strictyaml.Node.RawTexts, data: strictyaml.Node.RawJSON, whole: strictyaml.Node.RawTexts}
)

// json writes the value of a key.
func (v Value) json(as style, values []strictyaml.Node) (json.RawMessage, error) {
	switch n := values[0]; {
	case v.parts != nil:
		return v.parts(as, values)
	case as.whole != nil:
		return as.whole(n)
	case v.show != nil:
		return v.show(n)
	default:
		return plainJSON(n, v.literal)
	}
}

// jsonOf returns the JSON of a value of ours, nil of nil.
func jsonOf(value any) json.RawMessage {
	if value == nil {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic("config: a value is no JSON: " + err.Error())
	}
	return text
}

// jsonText returns text as a JSON string that the parser reads back as text.
func jsonText(text string) json.RawMessage {
	return rawjson.AppendString(nil, strictyaml.Quote(text))
}

// plainJSON returns a value that holds no secret, variables filled in. With literal, numbers and
// booleans are written as such and not as texts.
func plainJSON(n strictyaml.Node, literal bool) (json.RawMessage, error) {
	return n.Write(func(n strictyaml.Node) (json.RawMessage, error) {
		text, err := n.Text()
		if literal && json.Valid([]byte(text)) {
			return json.RawMessage(text), err
		}
		return jsonText(text), err
	})
}

func plainText(n strictyaml.Node) (json.RawMessage, error) { return plainJSON(n, false) }

// masked hides each value: which of them are secret is not said.
func masked(n strictyaml.Node) (json.RawMessage, error) {
	return n.Write(func(strictyaml.Node) (json.RawMessage, error) { return jsonText(endpoint.Mask), nil })
}

// maskedSecret keeps the reference to a secret as written: a variable in it may hold one. Of a
// command only the program is shown: the secret may be among its arguments.
func maskedSecret(n strictyaml.Node) (json.RawMessage, error) {
	if n.IsMap() {
		fields, err := n.Fields()
		if err != nil || len(fields) != 1 || fields[0].Name != "command" {
			return n.RawTexts()
		}
		items, err := fields[0].Value.Items()
		words := make([]json.RawMessage, len(items))
		for i, item := range items {
			if words[i] = jsonText(endpoint.Mask); i == 0 {
				words[i], err = item.RawTexts()
			}
		}
		return jsonOf(map[string]any{"command": words}), err
	}
	text, err := n.Text()
	if text != "" { // which says that there is none
		text = endpoint.Mask
	}
	return jsonText(text), err
}

// maskedURL hides user, password, and the values of the query.
func maskedURL(n strictyaml.Node) (json.RawMessage, error) {
	text, err := n.Text()
	return jsonText(endpoint.MaskURL(text)), err
}

// maskedProxy does so for a proxy, which may be without a scheme.
func maskedProxy(n strictyaml.Node) (json.RawMessage, error) {
	text, err := n.Text()
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	return jsonText(endpoint.MaskURL(text)), err
}

// An object is a JSON object whose members keep their order.
type object [][]byte

func (o *object) add(name string, value json.RawMessage) {
	*o = append(*o, slices.Concat(rawjson.AppendString(nil, name), []byte{':'}, value))
}

func (o object) json() json.RawMessage {
	return slices.Concat([]byte{'{'}, bytes.Join(o, []byte{','}), []byte{'}'})
}

// A list is a JSON array.
type list [][]byte

func (l list) json() json.RawMessage {
	return slices.Concat([]byte{'['}, bytes.Join(l, []byte{','}), []byte{']'})
}

// canonicalJSON orders the keys of objects; numbers stay as they are spelled.
func canonicalJSON(text json.RawMessage) any {
	if len(text) == 0 {
		return map[string]any{} // as the server sees it
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	_ = decoder.Decode(&value) // it was made by us
	return value
}

// hashOf returns a hash of what encodes as JSON.
func hashOf(value any) string {
	sum := sha256.Sum256(jsonOf(value))
	return hex.EncodeToString(sum[:])
}
