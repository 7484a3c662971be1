package config

import (
	"encoding/json"
	"strings"

	"phx/cmd/internal/strictyaml"
)

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
