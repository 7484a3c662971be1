package config

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"phx/cmd/internal/endpoint"
	"phx/cmd/internal/natslink"
	"phx/cmd/internal/option"
	"phx/cmd/internal/strictyaml"
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
	var all, connections option.Object
	var wrong option.Problems
	requireWSS := json.RawMessage("false")
	if n, said := f.defaults["require_wss"]; said {
		requireWSS, _ = option.PlainJSON(n, true) // what is wrong with it, a connection says
	}
	all.Add("require_wss", requireWSS)
	for _, e := range entries {
		text, err := e.show()
		wrong.Add(err)
		connections.Add(e.key, text)
	}
	all.Add("connections", connections.JSON())
	if name == "" {
		wrong.Add(f.showServe(&all, compileWhere))
	}
	return all.JSON(), wrong.Err()
}

// show returns a connection.
func (e *Entry) show() (json.RawMessage, error) {
	c, err := e.Resolve(nil)
	if err != nil {
		return nil, err
	}
	return e.json(shown, func(o option.Option) json.RawMessage {
		switch o.Key { // those of which the default depends on other keys
		case "heartbeat_timeout_msec":
			return option.JSONOf(c.heartbeatTimeout.Milliseconds())
		case "heartbeat_interval_msec":
			return option.JSONOf(c.heartbeatInterval.Milliseconds())
		case "vsn":
			return option.JSONText(c.vsn)
		case "transport":
			return option.JSONOf(c.transport)
		}
		return o.Value.DefJSON
	})
}

// Raw returns the entry with its name and the defaults of its file, as JSON for [ParseEntry].
// Variables are not filled in, and relative paths stay as they are.
func (e *Entry) Raw() (json.RawMessage, error) {
	return e.json(written, func(option.Option) json.RawMessage { return nil })
}

// json returns the entry with the defaults of its file. missing returns the value of a key that
// is not given; nil: none.
func (e *Entry) json(as option.Style, missing func(option.Option) json.RawMessage) (json.RawMessage, error) {
	return option.KeysJSON(as, connectionKeys(), func(key string) []strictyaml.Node {
		if key == "name" {
			return nil // it may be the key that the entry stands under
		}
		return e.Values(key)
	}, func(o option.Option) json.RawMessage {
		if o.Key == "name" {
			return option.JSONText(e.Name)
		}
		return missing(o)
	})
}

// showServe adds what a server has besides connections.
func (f *File) showServe(o *option.Object, compileWhere func(expr string) (Where, error)) error {
	serve, err := f.Serve(compileWhere)
	if err != nil {
		return err
	}
	var sinks option.Object
	for _, s := range serve.Sinks {
		if s.found != nil { // it is not a built-in one
			sinks.Add(s.Name, s.show())
		}
	}
	o.Add("sinks", sinks.JSON())
	o.Add("routes", f.showRoutes(serve))
	var wrong option.Problems
	add := func(key string, options []option.Option) {
		if n, said := f.serve[key]; said {
			text, err := option.MapJSON(shown, n, options)
			wrong.Add(err)
			o.Add(key, text)
		}
	}
	if n, said := f.serve["state_dir"]; said {
		text, err := n.RawTexts()
		wrong.Add(err)
		o.Add("state_dir", text)
	}
	if n, said := f.serve["sources"]; said {
		o.Add("sources", showSources(n))
	}
	add("nats", natsOptions(&natslink.Options{}))
	add("cluster", clusterOptions(&Cluster{}))
	add("control", controlOptions(new(string)))
	add("http", httpOptions(new(string)))
	return wrong.Err()
}

// show returns a sink, with what the keys of its kind are built in as.
func (s *Sink) show() json.RawMessage {
	options := slices.DeleteFunc(sinkKeys(), func(o option.Option) bool {
		group, _, _ := strings.Cut(o.Key, ".")
		return slices.Contains(sinkKinds, group) && group != s.kind || group == "spool" && s.Spool == nil
	})
	text, _ := option.KeysJSON(shown, options, s.found.Values, func(o option.Option) json.RawMessage { // it was read before
		if o.Key == "format" && s.Webhook != nil {
			return option.JSONOf(s.Format.String())
		}
		return o.Value.DefJSON
	})
	return text
}

func (f *File) showRoutes(serve *Serve) json.RawMessage {
	var items []strictyaml.Node
	if n, said := f.serve["routes"]; said {
		items, _ = n.Items() // it was read before
	}
	if len(items) == 0 {
		return option.JSONOf([]map[string][]string{{"to": serve.Routes[0].To}})
	}
	routes := make(option.List, len(items))
	for i, item := range items {
		routes[i], _ = option.MapJSON(shown, item, routeKeys()) // it was read before
	}
	return routes.JSON()
}

var (
	// shown is for everybody to see, written as it is in the file.
	shown   = option.Style{Text: option.PlainText, Secret: maskedSecret, Data: masked}
	written = option.Style{Text: strictyaml.Node.RawTexts, Secret: strictyaml.Node.RawTexts, Data: strictyaml.Node.RawJSON, Whole: strictyaml.Node.RawTexts}
)

// masked hides each value: which of them are secret is not said.
func masked(n strictyaml.Node) (json.RawMessage, error) {
	return n.Write(func(strictyaml.Node) (json.RawMessage, error) { return option.JSONText(endpoint.Mask), nil })
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
			if words[i] = option.JSONText(endpoint.Mask); i == 0 {
				words[i], err = item.RawTexts()
			}
		}
		return option.JSONOf(map[string]any{"command": words}), err
	}
	text, err := n.Text()
	if text != "" { // which says that there is none
		text = endpoint.Mask
	}
	return option.JSONText(text), err
}

// maskedURL hides user, password, and the values of the query.
func maskedURL(n strictyaml.Node) (json.RawMessage, error) {
	text, err := n.Text()
	return option.JSONText(endpoint.MaskURL(text)), err
}

// maskedProxy does so for a proxy, which may be without a scheme.
func maskedProxy(n strictyaml.Node) (json.RawMessage, error) {
	text, err := n.Text()
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	return option.JSONText(endpoint.MaskURL(text)), err
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
