package config

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
)

// A pair is a name and its value, of a param or a header.
type pair struct {
	name  string
	value *source
}

func (p pair) key() string { return p.name }

// A namedNode is a param or a header in a file: at is where its name stands, or else its value.
type namedNode struct {
	name      string
	at, value strictyaml.Node
}

func (n namedNode) key() string { return n.name }

// addMissing appends the others whose names are not in list. A name may occur several times in
// one of them: a header can have several values.
func addMissing[P interface{ key() string }](list, others []P, canonical func(string) string) []P {
	return append(list, slices.DeleteFunc(others, func(other P) bool {
		return slices.ContainsFunc(list, func(p P) bool { return canonical(p.key()) == canonical(other.key()) })
	})...)
}

// A pairList is what params and headers have in common.
type pairList struct {
	// canonical is the name that stands for all ways to write it.
	canonical func(name string) string
	// fields returns the pairs of a key.
	fields func(n strictyaml.Node) ([]namedNode, error)
	read   func(key string, n namedNode) (pair, error)
}

// kind completes the kind of the pairs.
func (l pairList) kind(k Kind[[]pair]) Kind[[]pair] {
	k.Join = joined[pair]
	k.Merge = func(list, less []pair) []pair { return addMissing(list, less, l.canonical) }
	k.Canonical = func(pairs []pair) any { return canonicalPairs(pairs, l.canonical) }
	k.Read = func(key string, n strictyaml.Node) ([]pair, error) {
		list, err := l.fields(n)
		if err != nil {
			return nil, err
		}
		var wrong problems
		var pairs []pair
		for _, field := range list {
			p, err := l.read(key, field)
			wrong.add(err)
			pairs = append(pairs, p)
		}
		return pairs, wrong.err()
	}
	k.Parts = func(as style, values []strictyaml.Node) (json.RawMessage, error) {
		var merged []namedNode
		for _, n := range values {
			list, err := l.fields(n)
			if err != nil {
				return nil, err
			}
			merged = addMissing(merged, list, l.canonical)
		}
		return pairsJSON(merged, l.canonical, as.secret)
	}
	return k
}

// canonicalPairs orders pairs by name; several of one name stay in their order.
func canonicalPairs(pairs []pair, canonical func(string) string) any {
	list := make([][2]any, len(pairs))
	for i, p := range pairs {
		list[i] = [2]any{canonical(p.name), p.value.canonical()}
	}
	slices.SortStableFunc(list, func(a, b [2]any) int { return cmp.Compare(a[0].(string), b[0].(string)) })
	return list
}

// pairsJSON writes pairs as a map, or as a list of pairs if one is there several times.
func pairsJSON(pairs []namedNode, canonical func(string) string, as form) (json.RawMessage, error) {
	var o object
	var list []json.RawMessage
	several := false
	for i, p := range pairs {
		several = several || slices.ContainsFunc(pairs[:i], func(other namedNode) bool { return canonical(other.name) == canonical(p.name) })
		value, err := as(p.value)
		if err != nil {
			return nil, err
		}
		o.add(p.name, value)
		list = append(list, jsonList([]json.RawMessage{jsonText(p.name), value}))
	}
	if several {
		return jsonList(list), nil
	}
	return o.json(), nil
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
var secretMap = pairList{canonical: sameName, fields: mapFields, read: func(key string, n namedNode) (pair, error) {
	value, err := readSecret(key+"."+n.name, n.value)
	return pair{n.name, value}, err
}}

// paramsKind is the params of connect/3.
var paramsKind = func() Kind[[]pair] {
	k := secretMap.kind(Kind[[]pair]{
		Name: "map", Parse: oneOf(parseParam),
		Schema: shape{"type": "object", "propertyNames": shape{"not": shape{"const": "vsn"}}, "additionalProperties": refTo("secret")},
	})
	read := k.Read
	k.Read = func(key string, n strictyaml.Node) ([]pair, error) {
		pairs, err := read(key, n)
		if err == nil && slices.ContainsFunc(pairs, func(p pair) bool { return p.name == "vsn" }) {
			err = n.Errorf("take vsn out of the params", "vsn has a key of its own")
		}
		return pairs, err
	}
	return k
}()

func parseParam(text string) (pair, error) {
	name, value, ok := strings.Cut(text, "=")
	switch {
	case !ok || name == "":
		return pair{}, errors.New("is not NAME=VALUE")
	case name == "vsn":
		return pair{}, errors.New("sets vsn, which has an option of its own: --vsn")
	}
	return pair{name, newSource("--param "+name, value)}, nil
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
func headersKind(owner string, patterns ...string) Kind[[]pair] {
	taken := regexp.MustCompile("(?i)^(" + strings.Join(patterns, "|") + ")$").MatchString
	name := shape{"type": textTypes, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "not": shape{"type": "string", "pattern": "^(" + anyCase(patterns) + ")$"}}
	list := pairList{canonical: http.CanonicalHeaderKey, fields: headerFields, read: func(key string, h namedNode) (pair, error) {
		switch {
		case taken(h.name):
			return pair{}, h.at.Errorf("take it out", "the header %s belongs to %s", h.name, owner)
		case !isHeaderName(h.name):
			return pair{}, h.at.Errorf(headersHint, "%q cannot be the name of a header", h.name)
		}
		value, err := readSecret("headers."+h.name, h.value)
		if err != nil {
			return pair{}, err
		}
		if err := checkHeaderValue(value.literal); err != nil {
			return pair{}, h.value.Errorf(headersHint, "the value of the header %s %v", h.name, err)
		}
		return pair{h.name, value}, nil
	}}
	return list.kind(Kind[[]pair]{
		Name: "map or list of pairs",
		Schema: shape{"anyOf": []shape{
			{"type": "object", "propertyNames": name, "additionalProperties": refTo("header")},
			{"type": "array", "items": shape{
				"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": []shape{anyOf(name), refTo("header")},
			}},
		}},
		Parse: oneOf(func(text string) (pair, error) {
			name, value, ok := strings.Cut(text, ":")
			switch {
			case !ok || !isHeaderName(name):
				return pair{}, errors.New("is not 'NAME: VALUE'")
			case taken(name):
				return pair{}, fmt.Errorf("sets %s, which belongs to %s", name, owner)
			}
			value = strings.Trim(value, " \t")
			return pair{name, newSource("--header "+name, value)}, checkHeaderValue(value)
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
	var wrong problems
	for _, item := range list {
		two, err := item.Items()
		if err == nil && len(two) != 2 {
			err = item.Errorf(headersHint, "this is not a pair of name and value")
		}
		if err != nil {
			wrong.add(err)
			continue
		}
		name, err := two[0].Text()
		wrong.add(err)
		headers = append(headers, namedNode{name, two[0], two[1]})
	}
	return headers, wrong.err()
}

// isHeaderName reports whether name can be that of a header (RFC 9110, section 5.6.2).
func isHeaderName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func checkHeaderValue(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return errors.New("has a control character or a line break")
	}
	return nil
}

// headers reads the values of headers.
func (r reader) headers(ctx context.Context, pairs []pair) (http.Header, error) {
	header := http.Header{}
	for _, p := range pairs {
		value, err := r.text(ctx, p.value)
		if err != nil {
			return nil, err
		}
		if err := checkHeaderValue(value); err != nil {
			return nil, exit.Usagef("a header is a single line: check what is in "+p.value.name(), "the value of %s %v", p.value.option, err)
		}
		header.Add(p.name, value)
	}
	return header, nil
}

// secret reads what must not be empty.
func (r reader) secret(ctx context.Context, s *source, what string) (string, error) {
	text, err := r.text(ctx, s)
	if err == nil && text == "" {
		err = exit.Usagef("write the "+what+" to it, as one line", "there is no %s in %s", what, s.name())
	}
	return text, err
}

// reader reads the sources of the connection. A command may take as long as a dial.
func (c *Connection) reader() reader { return reader{timeout: c.ConnectTimeout, log: c.Logger} }

// credentials reads what a dial shows to the server.
func (c *Connection) credentials(ctx context.Context) (creds phoenix.Credentials, err error) {
	r := c.reader()
	creds.Params = url.Values{}
	for _, p := range c.params {
		value, err := r.text(ctx, p.value)
		if err != nil {
			return creds, err
		}
		creds.Params.Add(p.name, value)
	}
	if creds.Header, err = r.headers(ctx, c.headers); err != nil {
		return creds, err
	}
	if c.network.origin != "" {
		creds.Header.Set("Origin", c.network.origin)
	}
	if c.authToken != nil {
		if creds.AuthToken, err = r.secret(ctx, c.authToken, "token"); err != nil {
			return creds, err
		}
		creds.HasAuthToken = true
	}
	creds.TLS, err = c.tls.config(ctx, r)
	return creds, err
}
