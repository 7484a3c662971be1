package config

import (
	"encoding/json"
	"slices"
	"strings"

	"phx/cmd/internal/strictyaml"
	"phx/signal"
)

// Show returns the effective configuration as a JSON object that is a right config file, too: defaults are merged into connections,
// variables are filled in, and what nobody set is as it is built in. What may be secret is replaced by ***; where a secret is to be
// found stays as it is written. With a name, only that connection is shown. Errors are as those of [File.Serve].
func (f *File) Show(name string, compileWhere func(expr string) (Where, error)) (json.RawMessage, error) {
	entries := f.Entries
	if name != "" {
		entry, err := f.Entry(name)
		if err != nil {
			return nil, err
		}
		entries = []*Entry{entry}
	}
	var shown, connections object
	var wrong problems
	requireWSS := json.RawMessage("false")
	if n, said := f.defaults["require_wss"]; said {
		requireWSS, _ = plainJSON(n, true) // what is wrong with it, a connection says
	}
	shown.add("require_wss", requireWSS)
	for _, e := range entries {
		text, err := e.show()
		wrong.add(err)
		connections.add(e.key, text)
	}
	shown.add("connections", connections.json())
	if name == "" {
		wrong.add(f.showServe(&shown, compileWhere))
	}
	return shown.json(), wrong.err()
}

// show returns a connection.
func (e *Entry) show() (json.RawMessage, error) {
	c, err := e.Resolve(nil)
	if err != nil {
		return nil, err
	}
	return e.json(shownForm, maskedSecret, func(o Option) json.RawMessage {
		if o.Key == "heartbeat_timeout_msec" {
			return jsonOf(c.effectiveHeartbeatTimeout().Milliseconds())
		}
		return jsonOf(o.Value.def)
	})
}

// showServe adds what a server has besides connections.
func (f *File) showServe(shown *object, compileWhere func(expr string) (Where, error)) error {
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
	shown.add("sinks", sinks.json())
	shown.add("routes", f.showRoutes(serve))
	for key, options := range map[string][]Option{"control": controlOptions(&ControlSocket{}), "http": httpOptions(&HTTPListen{})} {
		if n, said := f.serve[key]; said {
			found := fields{}
			_ = keysOf(options).collect(n, "", found) // it was read before
			shown.add(key, optionsJSON(options, found))
		}
	}
	slices.SortStableFunc(shown.members[2:], func(a, b member) int {
		return slices.Index(serveKeys, a.name) - slices.Index(serveKeys, b.name)
	})
	return nil
}

// show returns a sink, with what the keys of its kind are built in as.
func (s *Sink) show() json.RawMessage {
	options := slices.DeleteFunc(sinkOptions(&Sink{}), func(o Option) bool {
		group, _, _ := strings.Cut(o.Key, ".")
		return slices.Contains(sinkKinds, group) && group != s.kind()
	})
	for i, o := range options {
		if o.Key == "format" && s.Webhook != nil {
			options[i].Value.def = signal.FormatCloudEvents.String()
		}
	}
	return optionsJSON(options, s.found)
}

func (f *File) showRoutes(serve *Serve) json.RawMessage {
	var items []strictyaml.Node
	if n, said := f.serve["routes"]; said {
		items, _ = n.Items() // it was read before
	}
	if len(items) == 0 {
		return jsonOf([]map[string][]string{{"to": serve.Routes[0].To}})
	}
	options := routeOptions(&Route{}, nil)
	list := make([]json.RawMessage, len(items))
	for i, item := range items {
		found := fields{}
		_ = keysOf(options).collect(item, "", found) // it was read before
		list[i] = optionsJSON(options, found)
	}
	return jsonList(list)
}

// optionsJSON returns the object with the keys of the options, those that were not found as they are built in.
func optionsJSON(options []Option, found fields) json.RawMessage {
	var o object
	for _, option := range options {
		if n, said := found[option.Key]; said {
			_ = o.addFrom(option.Key, n, shownForm(option)) // it was read before
		} else if option.Value.def != nil {
			o.add(option.Key, jsonOf(option.Value.def))
		}
	}
	return o.nested()
}

// shownForm writes the value of an option for everybody to see.
func shownForm(o Option) form {
	if o.Value.masked != nil {
		return o.Value.masked
	}
	return func(n strictyaml.Node) (json.RawMessage, error) { return plainJSON(n, o.Value.shape.takesNumbers()) }
}

// jsonOf returns the JSON of a default, nil if there is none.
func jsonOf(value any) json.RawMessage {
	if value == nil {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic("config: a default is no JSON: " + err.Error())
	}
	return text
}
