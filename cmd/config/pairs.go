package config

import (
	"net/http"
	"slices"

	"phx/cmd/internal/strictyaml"
)

func (c *Connection) paramsValue() Value {
	value := Repeated(&c.params, parseParam).shaped(paramsShape)
	value.read = func(n strictyaml.Node) error {
		pairs, err := c.secrets().readPairs("params", n)
		if err != nil {
			return err
		}
		for _, p := range pairs {
			if p.name == "vsn" {
				return n.Errorf("take vsn out of the params", "vsn has a key of its own")
			}
		}
		c.params = addMissing(c.params, pairs, func(name string) string { return name })
		return nil
	}
	return value
}

func (c *Connection) headersValue() Value {
	value := Repeated(&c.headers, parseHeader).shaped(headersShape(upgradeHeaders...))
	value.read = func(n strictyaml.Node) error {
		pairs, err := c.secrets().readHeaders(n, isUpgradeHeader, "the upgrade itself")
		if err != nil {
			return err
		}
		c.headers = addMissing(c.headers, pairs, http.CanonicalHeaderKey)
		return nil
	}
	return value
}

// addMissing adds to what counts for more those of the others that have another name. A name may occur several times in one
// place: a header can have several values.
func addMissing(list, others []pair, same func(name string) string) []pair {
	return append(list, slices.DeleteFunc(others, func(other pair) bool {
		return slices.ContainsFunc(list, func(p pair) bool { return same(p.name) == same(other.name) })
	})...)
}

// readPairs reads a map of names to values that may be secrets.
func (r secretReader) readPairs(key string, n strictyaml.Node) ([]pair, error) {
	list, err := n.Fields()
	if err != nil {
		return nil, err
	}
	pairs := make([]pair, len(list))
	var wrong problems
	for i, field := range list {
		value, err := r.read(key+"."+field.Name, field.Value)
		wrong.add(err)
		pairs[i] = pair{field.Name, value}
	}
	return pairs, wrong.err()
}

const headersAdvice = "a right one: {X-Api-Key: value}, or a list of pairs: [[X-Api-Key, value]]"

// A headerField is a header in a file: at is where its name stands, or else its value.
type headerField struct {
	name      string
	at, value strictyaml.Node
}

// headerFields returns the headers of a map of names to values, or of a list of pairs.
func headerFields(n strictyaml.Node) ([]headerField, error) {
	var headers []headerField
	if n.IsMap() {
		list, err := n.Fields()
		for _, field := range list {
			headers = append(headers, headerField{field.Name, field.Key, field.Value})
		}
		return headers, err
	}
	if !n.IsList() {
		return nil, n.Errorf(headersAdvice, "headers are a map or a list")
	}
	list, err := n.Items()
	if err != nil {
		return nil, err
	}
	var wrong problems
	for _, item := range list {
		two, err := item.Items()
		if err == nil && len(two) != 2 {
			err = item.Errorf(headersAdvice, "this is not a pair of name and value")
		}
		if err != nil {
			wrong.add(err)
			continue
		}
		name, err := two[0].Text()
		wrong.add(err)
		headers = append(headers, headerField{name, two[0], two[1]})
	}
	return headers, wrong.err()
}

// readHeaders reads headers whose values may be secrets. Those that taken reports belong to owner.
func (r secretReader) readHeaders(n strictyaml.Node, taken func(name string) bool, owner string) ([]pair, error) {
	list, err := headerFields(n)
	if err != nil {
		return nil, err
	}
	var wrong problems
	var pairs []pair
	for _, h := range list {
		if taken(h.name) {
			wrong.add(h.at.Errorf("take it out", "the header %s belongs to %s", h.name, owner))
			continue
		}
		header, err := r.readHeader(h)
		wrong.add(err)
		pairs = append(pairs, header)
	}
	return pairs, wrong.err()
}

func (r secretReader) readHeader(h headerField) (pair, error) {
	if !isHeaderName(h.name) {
		return pair{}, h.at.Errorf(headersAdvice, "%q cannot be the name of a header", h.name)
	}
	source, err := r.read("headers."+h.name, h.value)
	if err != nil {
		return pair{}, err
	}
	if err := checkHeaderValue(source.literal); err != nil {
		return pair{}, h.value.Errorf(headersAdvice, "the value of the header %s %v", h.name, err)
	}
	return pair{h.name, source}, nil
}

// authTokenValue is a file by its flag, the token itself by its variable, and any secret by its key.
func (c *Connection) authTokenValue() Value {
	value := Checked(&c.authToken, "", fileParser("--auth-token-file")).shaped(refTo("secret"))
	value.masked = maskedSecret
	value.parseEnv = func(text string) error {
		c.authToken = &Source{literal: text}
		return nil
	}
	value.read = func(n strictyaml.Node) error {
		token, err := c.secrets().read("auth_token", n)
		if err != nil {
			return err
		}
		c.authToken = token
		if token.isLiteral() && token.literal == "" { // ${TOKEN:-}: without TOKEN, none
			c.authToken = nil
		}
		return nil
	}
	return value
}
