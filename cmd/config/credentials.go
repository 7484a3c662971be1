package config

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
)

// A namedNode is a param or a header in a file: at is where its name stands, or else its value.
type namedNode struct {
	name      string
	at, value strictyaml.Node
}

// addMissing appends the others whose names are not in list. A name may occur several times in
// one of them: a header can have several values.
func addMissing[P any](list, others []P, name func(P) string) []P {
	return append(list, slices.DeleteFunc(others, func(other P) bool {
		return slices.ContainsFunc(list, func(p P) bool { return name(p) == name(other) })
	})...)
}

// A pairList is what params and headers have in common.
type pairList struct {
	// canonical is the name that stands for all ways to write it.
	canonical func(name string) string
	// fields returns the pairs of a key.
	fields func(n strictyaml.Node) ([]namedNode, error)
	read   func(key string, n namedNode) (secret.Named, error)
}

// kind completes the kind of the pairs.
func (l pairList) kind(k option.Kind[[]secret.Named]) option.Kind[[]secret.Named] {
	k.Join = option.Joined[secret.Named]
	k.Merge = func(list, less []secret.Named) []secret.Named {
		return addMissing(list, less, func(p secret.Named) string { return l.canonical(p.Name) })
	}
	k.Canonical = func(pairs []secret.Named) any { return canonicalPairs(pairs, l.canonical) }
	k.Read = func(key string, n strictyaml.Node) ([]secret.Named, error) {
		list, err := l.fields(n)
		if err != nil {
			return nil, err
		}
		var wrong option.Problems
		var pairs []secret.Named
		for _, field := range list {
			p, err := l.read(key, field)
			wrong.Add(err)
			pairs = append(pairs, p)
		}
		return pairs, wrong.Err()
	}
	k.Parts = func(as option.Style, values []strictyaml.Node) (json.RawMessage, error) {
		var merged []namedNode
		for _, n := range values {
			list, err := l.fields(n)
			if err != nil {
				return nil, err
			}
			merged = addMissing(merged, list, func(n namedNode) string { return l.canonical(n.name) })
		}
		return pairsJSON(merged, l.canonical, as.Secret)
	}
	return k
}

// canonicalPairs orders pairs by name; several of one name stay in their order.
func canonicalPairs(pairs []secret.Named, canonical func(string) string) any {
	list := make([][2]any, len(pairs))
	for i, p := range pairs {
		list[i] = [2]any{canonical(p.Name), canonicalSource(p.Value)}
	}
	slices.SortStableFunc(list, func(a, b [2]any) int { return cmp.Compare(a[0].(string), b[0].(string)) })
	return list
}

// pairsJSON writes pairs as a map, or as a list of pairs if one is there several times.
func pairsJSON(pairs []namedNode, canonical func(string) string, as option.Form) (json.RawMessage, error) {
	var o option.Object
	var entries option.List
	several := false
	for i, p := range pairs {
		several = several || slices.ContainsFunc(pairs[:i], func(other namedNode) bool { return canonical(other.name) == canonical(p.name) })
		value, err := as(p.value)
		if err != nil {
			return nil, err
		}
		o.Add(p.name, value)
		entries = append(entries, option.List{option.JSONText(p.name), value}.JSON())
	}
	if several {
		return entries.JSON(), nil
	}
	return o.JSON(), nil
}

func sameName(name string) string { return name }

// mapFields returns the fields of a map.
func mapFields(n strictyaml.Node) ([]namedNode, error) {
	list, err := n.Fields()
	fields := make([]namedNode, len(list))
	for i, f := range list {
		fields[i] = namedNode{f.Name, f.Key, f.Value}
	}
	return fields, err
}

// secretMap are names with values that may be secrets.
var secretMap = pairList{canonical: sameName, fields: mapFields, read: func(key string, n namedNode) (secret.Named, error) {
	value, err := readSecret(key+"."+n.name, n.value)
	return secret.Named{Name: n.name, Value: value}, err
}}

// paramsKind is the params of connect/3.
var paramsKind = func() option.Kind[[]secret.Named] {
	k := secretMap.kind(option.Kind[[]secret.Named]{
		Name: "map", Parse: option.OneOf(parseParam),
		Schema: option.Shape{"type": "object", "propertyNames": option.Shape{"not": option.Shape{"const": "vsn"}}, "additionalProperties": option.RefTo("secret")},
	})
	read := k.Read
	k.Read = func(key string, n strictyaml.Node) ([]secret.Named, error) {
		pairs, err := read(key, n)
		if err == nil && slices.ContainsFunc(pairs, func(p secret.Named) bool { return p.Name == "vsn" }) {
			err = n.Errorf("take vsn out of the params", "vsn has a key of its own")
		}
		return pairs, err
	}
	return k
}()

func parseParam(text string) (secret.Named, error) {
	name, value, ok := strings.Cut(text, "=")
	switch {
	case !ok || name == "":
		return secret.Named{}, errors.New("is not NAME=VALUE")
	case name == "vsn":
		return secret.Named{}, errors.New("sets vsn, which has an option of its own: --vsn")
	}
	source, err := secret.Parse("--param "+name, value)
	return secret.Named{Name: name, Value: source}, err
}

// The headers that the two kinds of request set themselves, as patterns. ce-* are the attributes
// of a CloudEvent in binary mode.
var (
	upgradeHeadersKind = headersKind("the upgrade itself", "Connection", "Upgrade",
		"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol")
	hookHeadersKind = headersKind("the request itself", "Connection", "Content-Length", "Content-Type", "Host", "Trailer",
		"Transfer-Encoding", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp", "Ce-.*")
)

const headersHint = "a right one: {X-Api-Key: value}, or a list of pairs: [[X-Api-Key, value]]"

// headersKind is headers. Those that one of the patterns matches belong to owner.
func headersKind(owner string, patterns ...string) option.Kind[[]secret.Named] {
	taken := regexp.MustCompile("(?i)^(" + strings.Join(patterns, "|") + ")$").MatchString
	name := option.Shape{"type": option.TextTypes, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "not": option.Shape{"type": "string", "pattern": "^(" + option.AnyCase(patterns) + ")$"}}
	list := pairList{canonical: http.CanonicalHeaderKey, fields: headerFields, read: func(key string, h namedNode) (secret.Named, error) {
		switch {
		case taken(h.name):
			return secret.Named{}, h.at.Errorf("take it out", "the header %s belongs to %s", h.name, owner)
		case !isHeaderName(h.name):
			return secret.Named{}, h.at.Errorf(headersHint, "%q cannot be the name of a header", h.name)
		}
		value, err := readSecret("headers."+h.name, h.value)
		if err != nil {
			return secret.Named{}, err
		}
		if err := secret.CheckHeaderValue(value.Literal); err != nil {
			return secret.Named{}, h.value.Errorf(headersHint, "the value of the header %s %v", h.name, err)
		}
		return secret.Named{Name: h.name, Value: value}, nil
	}}
	return list.kind(option.Kind[[]secret.Named]{
		Name: "map or list of pairs",
		Schema: option.Shape{"anyOf": []option.Shape{
			{"type": "object", "propertyNames": name, "additionalProperties": option.RefTo("header")},
			{"type": "array", "items": option.Shape{
				"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": []option.Shape{option.AnyOf(name), option.RefTo("header")},
			}},
		}},
		Parse: option.OneOf(func(text string) (secret.Named, error) {
			name, value, ok := strings.Cut(text, ":")
			switch {
			case !ok || !isHeaderName(name):
				return secret.Named{}, errors.New("is not 'NAME: VALUE'")
			case taken(name):
				return secret.Named{}, fmt.Errorf("sets %s, which belongs to %s", name, owner)
			}
			value = strings.Trim(secret.Trim(value), " \t")
			source, err := secret.Parse("--header "+name, value)
			if err == nil {
				err = secret.CheckHeaderValue(value)
			}
			return secret.Named{Name: name, Value: source}, err
		}),
	})
}

// headerFields returns the headers of a map of names to values, or of a list of pairs.
func headerFields(n strictyaml.Node) ([]namedNode, error) {
	if n.IsMap() {
		return mapFields(n)
	}
	if !n.IsList() {
		return nil, n.Errorf(headersHint, "headers are a map or a list")
	}
	list, err := n.Items()
	if err != nil {
		return nil, err
	}
	var headers []namedNode
	var wrong option.Problems
	for _, item := range list {
		two, err := item.Items()
		if err == nil && len(two) != 2 {
			err = item.Errorf(headersHint, "this is not a pair of name and value")
		}
		if err != nil {
			wrong.Add(err)
			continue
		}
		name, err := two[0].Text()
		wrong.Add(err)
		headers = append(headers, namedNode{name, two[0], two[1]})
	}
	return headers, wrong.Err()
}

// isHeaderName reports whether name can be that of a header (RFC 9110, section 5.6.2).
func isHeaderName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// reader reads the sources of the connection. A command may take as long as a dial.
func (c *Connection) reader() secret.Reader {
	return secret.Reader{Timeout: c.ConnectTimeout, Log: c.Logger}
}

// credentials reads what a dial shows to the server.
func (c *Connection) credentials(ctx context.Context) (phoenix.Credentials, error) {
	e := c.Endpoint
	if c.tokenInJoin() {
		e.AuthToken = nil
	}
	return e.Credentials(ctx, c.reader())
}
