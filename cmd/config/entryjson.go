package config

import (
	"encoding/json"
	"net/http"
	"slices"

	"phx/cmd/internal/strictyaml"
)

// Raw returns the entry as JSON, its name included and the defaults of the file filled in, as [ParseEntry] reads it. Variables
// are not filled in, and relative paths stay as they are.
func (e *Entry) Raw() (json.RawMessage, error) {
	return e.json(func(o Option) form {
		if o.Key == "auto_join_channels" {
			return func(n strictyaml.Node) (json.RawMessage, error) {
				return autoJoinJSON(n, strictyaml.Node.RawTexts, strictyaml.Node.RawJSON, strictyaml.Node.RawTexts)
			}
		}
		return strictyaml.Node.RawTexts
	}, strictyaml.Node.RawTexts, nil)
}

// json returns the entry with the defaults of its file. formOf says how the value of a key is written; pairs how one of params or
// headers is, which are merged; missing what stands for a key that nobody gives, nil for nothing.
func (e *Entry) json(formOf func(Option) form, pairs form, missing func(Option) json.RawMessage) (json.RawMessage, error) {
	var o object
	var wrong problems
	for _, option := range connectionOptions(NewConnection(Retry{Max: ServeRetries})) {
		n, said := e.field(option.Key)
		switch {
		case said && option.Key == "name":
			wrong.add(o.addFrom(option.Key, n, e.nameForm()))
		case said && option.Key == "params":
			wrong.add(e.addParams(&o, pairs))
		case said && option.Key == "headers":
			wrong.add(e.addHeaders(&o, pairs))
		case said:
			wrong.add(o.addFrom(option.Key, n, formOf(option)))
		case missing != nil:
			if value := missing(option); value != nil {
				o.add(option.Key, value)
			}
		}
	}
	return o.nested(), wrong.err()
}

// nameForm writes the name, wherever it comes from.
func (e *Entry) nameForm() form {
	return func(strictyaml.Node) (json.RawMessage, error) { return jsonText(e.Name), nil }
}

// addParams adds the entry's own params and those of the defaults that have other names.
func (e *Entry) addParams(o *object, as form) error {
	var merged object
	for _, from := range []fields{e.own, e.defaults} {
		n, said := from["params"]
		if !said {
			continue
		}
		list, err := n.Fields()
		if err != nil {
			return err
		}
		before := merged.members
		for _, field := range list {
			if slices.ContainsFunc(before, func(m member) bool { return m.name == field.Name }) {
				continue
			}
			if err := merged.addFrom(field.Name, field.Value, as); err != nil {
				return err
			}
		}
	}
	o.add("params", merged.json())
	return nil
}

// addHeaders does so with headers.
func (e *Entry) addHeaders(o *object, as form) error {
	var merged []headerField
	for _, from := range []fields{e.own, e.defaults} {
		n, said := from["headers"]
		if !said {
			continue
		}
		list, err := headerFields(n)
		if err != nil {
			return err
		}
		before := merged
		for _, header := range list {
			if !slices.ContainsFunc(before, header.sameName) {
				merged = append(merged, header)
			}
		}
	}
	value, err := headersJSON(merged, as)
	o.add("headers", value)
	return err
}

func (h headerField) sameName(other headerField) bool {
	return http.CanonicalHeaderKey(h.name) == http.CanonicalHeaderKey(other.name)
}

// headersJSON writes headers as a map, or as a list of pairs if one is there several times.
func headersJSON(headers []headerField, as form) (json.RawMessage, error) {
	var o object
	var pairs []json.RawMessage
	several := false
	for i, header := range headers {
		several = several || slices.ContainsFunc(headers[:i], header.sameName)
		if err := o.addFrom(header.name, header.value, as); err != nil {
			return nil, err
		}
		pairs = append(pairs, jsonList([]json.RawMessage{jsonText(header.name), o.members[i].value}))
	}
	if several {
		return jsonList(pairs), nil
	}
	return o.json(), nil
}
