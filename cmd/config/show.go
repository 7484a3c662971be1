package config

import (
	"encoding/json"
	"net/url"
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

// mask stands for what may be secret.
const mask = "***"

// jsonText returns text as a JSON string that the parser reads back as text.
func jsonText(text string) json.RawMessage {
	return strictyaml.AppendJSONString(nil, strictyaml.Quote(text))
}

// plainJSON returns a value in which there is no secret, variables filled in. A number or a boolean is written as one if literal
// says that the text is not wanted.
func plainJSON(n strictyaml.Node, literal bool) (json.RawMessage, error) {
	if n.IsList() {
		items, err := n.Items()
		if err != nil {
			return nil, err
		}
		list := make([]json.RawMessage, len(items))
		for i, item := range items {
			if list[i], err = plainJSON(item, literal); err != nil {
				return nil, err
			}
		}
		return jsonList(list), nil
	}
	text, err := n.Text()
	if err != nil {
		return nil, err
	}
	if literal && json.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	return jsonText(text), nil
}

// maskedSecret keeps where a secret is to be found, as it is written there: filled in, a variable could be one.
func maskedSecret(n strictyaml.Node) (json.RawMessage, error) {
	if n.IsMap() {
		return n.RawTexts()
	}
	if text, err := n.Text(); err != nil || text == "" { // which says that there is none
		return jsonText(""), err
	}
	return jsonText(mask), nil
}

// maskedURL hides user, password, and the values of the query.
func maskedURL(n strictyaml.Node) (json.RawMessage, error) {
	text, err := n.Text()
	if err != nil {
		return nil, err
	}
	return jsonText(maskURL(text)), nil
}

// maskedProxy does so for a proxy, which may be without a scheme.
func maskedProxy(n strictyaml.Node) (json.RawMessage, error) {
	text, err := n.Text()
	if err != nil {
		return nil, err
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	return jsonText(maskURL(text)), nil
}

func maskURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return mask
	}
	user := ""
	if u.User != nil {
		user = mask + "@"
		if _, has := u.User.Password(); has {
			user = mask + ":" + user
		}
		u.User = nil // which would escape the mask
	}
	if u.RawQuery != "" {
		parts := strings.Split(u.RawQuery, "&")
		for i, part := range parts {
			name, _, hasValue := strings.Cut(part, "=")
			switch {
			case hasValue && name == "vsn":
			case hasValue:
				parts[i] = name + "=" + mask
			default: // without a name it is a value, perhaps
				parts[i] = mask
			}
		}
		u.RawQuery = strings.Join(parts, "&")
	}
	return strings.Replace(u.String(), "://", "://"+user, 1)
}

// maskedAutoJoin hides params: which of them are secret is not said, and no signal tells of them either.
func maskedAutoJoin(n strictyaml.Node) (json.RawMessage, error) {
	return autoJoinJSON(n, plainText, func(params strictyaml.Node) (json.RawMessage, error) {
		return params.MaskedJSON(mask)
	}, maskedSecret)
}

func plainText(n strictyaml.Node) (json.RawMessage, error) { return plainJSON(n, false) }

// maskedHeaders hides the values of headers.
func maskedHeaders(n strictyaml.Node) (json.RawMessage, error) {
	list, err := headerFields(n)
	if err != nil {
		return nil, err
	}
	return headersJSON(list, maskedSecret)
}

// A form writes a value of a file as JSON.
type form func(n strictyaml.Node) (json.RawMessage, error)

// An object is a JSON object whose members keep their order.
type object struct{ members []member }

type member struct {
	name  string
	value json.RawMessage
}

func (o *object) add(name string, value json.RawMessage) {
	o.members = append(o.members, member{name, value})
}

// addFrom adds a value of a file.
func (o *object) addFrom(name string, n strictyaml.Node, as form) error {
	value, err := as(n)
	o.add(name, value)
	return err
}

// json returns the object.
func (o *object) json() json.RawMessage {
	text := []byte{'{'}
	for i, m := range o.members {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(strictyaml.AppendJSONString(text, m.name), ':'), m.value...)
	}
	return append(text, '}')
}

// nested returns the object with the members whose names have dots in objects of their own. Those of one such object stand
// together.
func (o *object) nested() json.RawMessage {
	var outer, inner object
	for i, m := range o.members {
		group, rest, dotted := strings.Cut(m.name, ".")
		if !dotted {
			outer.add(m.name, m.value)
			continue
		}
		inner.add(rest, m.value)
		if i+1 == len(o.members) || !strings.HasPrefix(o.members[i+1].name, group+".") {
			outer.add(group, inner.nested())
			inner = object{}
		}
	}
	return outer.json()
}

func jsonList(items []json.RawMessage) json.RawMessage {
	text := []byte{'['}
	for i, item := range items {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, item...)
	}
	return append(text, ']')
}

// mapJSON writes each value of a map.
func mapJSON(as form) form {
	return func(n strictyaml.Node) (json.RawMessage, error) {
		list, err := n.Fields()
		if err != nil {
			return nil, err
		}
		var o object
		for _, field := range list {
			if err := o.addFrom(field.Name, field.Value, as); err != nil {
				return nil, err
			}
		}
		return o.json(), nil
	}
}

// autoJoinJSON writes auto_join_channels, and what is in them in three forms.
func autoJoinJSON(n strictyaml.Node, topic, params, secret form) (json.RawMessage, error) {
	items, err := n.Items()
	if err != nil {
		return nil, err
	}
	forms := map[string]form{"topic": topic, "params": params, "secret_params": mapJSON(secret)}
	list := make([]json.RawMessage, len(items))
	for i, item := range items {
		if !item.IsMap() {
			if list[i], err = topic(item); err != nil {
				return nil, err
			}
			continue
		}
		channel, err := item.Fields()
		if err != nil {
			return nil, err
		}
		var o object
		for _, field := range channel {
			as, known := forms[field.Name]
			if !known {
				as = strictyaml.Node.RawTexts // whoever reads it says what is wrong
			}
			if err := o.addFrom(field.Name, field.Value, as); err != nil {
				return nil, err
			}
		}
		list[i] = o.json()
	}
	return jsonList(list), nil
}
