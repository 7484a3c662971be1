package config

import (
	"net/http"
	"slices"

	"phx/cmd/internal/strictyaml"
)

func (c *Connection) paramsValue() Value {
	value := Repeated(&c.params, parseParam)
	value.read = func(n strictyaml.Node) error {
		pairs, err := c.readPairs("params", n)
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
	value := Repeated(&c.headers, parseHeader)
	value.read = func(n strictyaml.Node) error {
		pairs, err := c.readHeaders(n)
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
func (c *Connection) readPairs(key string, n strictyaml.Node) ([]pair, error) {
	list, err := n.Fields()
	if err != nil {
		return nil, err
	}
	pairs := make([]pair, len(list))
	for i, field := range list {
		value, err := c.readSecret(key+"."+field.Name, field.Value)
		if err != nil {
			return nil, err
		}
		pairs[i] = pair{field.Name, value}
	}
	return pairs, nil
}

const headersAdvice = "a right one: {X-Api-Key: value}, or a list of pairs: [[X-Api-Key, value]]"

// readHeaders reads a map of names to values, or a list of pairs.
func (c *Connection) readHeaders(n strictyaml.Node) ([]pair, error) {
	var pairs []pair
	add := func(name string, at, value strictyaml.Node) error {
		header, err := c.readHeader(name, at, value)
		pairs = append(pairs, header)
		return err
	}
	switch {
	case n.IsMap():
		list, err := n.Fields()
		if err != nil {
			return nil, err
		}
		for _, field := range list {
			if err := add(field.Name, field.Key, field.Value); err != nil {
				return nil, err
			}
		}
	case n.IsList():
		list, err := n.Items()
		if err != nil {
			return nil, err
		}
		for _, item := range list {
			two, err := item.Items()
			if err != nil {
				return nil, err
			}
			if len(two) != 2 {
				return nil, item.Errorf(headersAdvice, "this is not a pair of name and value")
			}
			name, err := two[0].Text()
			if err != nil {
				return nil, err
			}
			if err := add(name, two[0], two[1]); err != nil {
				return nil, err
			}
		}
	default:
		return nil, n.Errorf(headersAdvice, "headers are a map or a list")
	}
	return pairs, nil
}

func (c *Connection) readHeader(name string, at, value strictyaml.Node) (pair, error) {
	switch {
	case !isHeaderName(name):
		return pair{}, at.Errorf(headersAdvice, "%q cannot be the name of a header", name)
	case isUpgradeHeader(name):
		return pair{}, at.Errorf("take it out", "the header %s belongs to the upgrade itself", name)
	}
	source, err := c.readSecret("headers."+name, value)
	if err != nil {
		return pair{}, err
	}
	if err := checkHeaderValue(source.literal); err != nil {
		return pair{}, value.Errorf(headersAdvice, "the value of the header %s %v", name, err)
	}
	return pair{name, source}, nil
}

// authTokenValue is a file by its flag, the token itself by its variable, and any secret by its key.
func (c *Connection) authTokenValue() Value {
	value := Checked(&c.authToken, "", fileParser("--auth-token-file"))
	value.parseEnv = func(text string) error {
		c.authToken = &Source{literal: text}
		return nil
	}
	value.read = func(n strictyaml.Node) error {
		token, err := c.readSecret("auth_token", n)
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
