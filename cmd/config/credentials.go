package config

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
	"phx/phoenix/rawjson"
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

// addMissing adds to what counts for more those of the others that have another name. A name may occur several times in one
// place: a header can have several values.
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

// upgradeHeaders are those that the upgrade request sets itself; hookHeaders those that the request to a webhook does.
var (
	upgradeHeaders = []string{
		"Connection", "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol",
	}
	hookHeaders = []string{
		"Connection", "Content-Length", "Content-Type", "Host", "Trailer", "Transfer-Encoding", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp",
	}
)

func isUpgradeHeader(name string) bool {
	return slices.Contains(upgradeHeaders, textproto.CanonicalMIMEHeaderKey(name))
}

// isHookHeader: the attributes of a CloudEvent are ce-* in binary mode.
func isHookHeader(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return slices.Contains(hookHeaders, name) || strings.HasPrefix(name, "Ce-")
}

var (
	upgradeHeadersKind = headersKind(isUpgradeHeader, "the upgrade itself", upgradeHeaders...)
	hookHeadersKind    = headersKind(isHookHeader, "the request itself", append(slices.Clone(hookHeaders), "Ce-.*")...)
)

const headersHint = "a right one: {X-Api-Key: value}, or a list of pairs: [[X-Api-Key, value]]"

// headersKind is headers, of which those that taken reports, and patterns match, belong to owner.
func headersKind(taken func(name string) bool, owner string, patterns ...string) Kind[[]pair] {
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

// Channels returns the channels of topics with their join params: those of the option, else those that the config file has for
// the topic. The params are read at every join, and once now: what is wrong with them is known before anything is connected.
func (c *Connection) Channels(ctx context.Context, topics ...string) ([]phoenix.Channel, error) {
	channels := c.UnreadChannels(topics...)
	if c.joinParams != nil {
		_, err := c.readJoinParams(ctx)
		return channels, err
	}
	for _, channel := range channels {
		if channel.Params == nil {
			continue
		}
		if _, err := channel.Params(ctx); err != nil {
			return nil, err
		}
	}
	return channels, nil
}

// UnreadChannels is Channels for who starts long before a secret may be there, and tries again when it is not: params are read
// at every join, and not before.
func (c *Connection) UnreadChannels(topics ...string) []phoenix.Channel {
	channels := make([]phoenix.Channel, len(topics))
	for i, topic := range topics {
		channels[i].Topic = topic
		if c.joinParams != nil {
			channels[i].Params = c.readJoinParams
			continue
		}
		for _, own := range c.autoJoin {
			if own.topic == topic && len(own.params)+len(own.secrets) > 0 {
				channels[i].Params = func(ctx context.Context) (phoenix.Payload, error) { return own.read(ctx, c.reader()) }
			}
		}
	}
	return channels
}

func (c *Connection) readJoinParams(ctx context.Context) (phoenix.Payload, error) {
	text, err := c.reader().text(ctx, c.joinParams)
	if err == nil && !isObject(text) {
		// The hint is without the params themselves, which may be secret.
		err = exit.Usagef(`a right one: {"user_id":123}`, "%s, given with --join-params, does not hold one JSON object", c.joinParams.name())
	}
	if err != nil {
		return phoenix.Payload{}, err
	}
	return phoenix.JSON(text), nil
}

// joinParamsKind is a JSON object, @FILE, @- or -.
var joinParamsKind = Kind[*source]{Parse: func(text string) (*source, error) {
	if text == stdinPath {
		text = "@" + stdinPath
	}
	s := newSource("--join-params", text)
	if s.path == "" && !isObject(s.literal) {
		return nil, errors.New("is not a JSON object")
	}
	return s, nil
}}

// isObject reports whether text is one JSON object, all that Phoenix takes as params (PROTOCOL.md, rule 12).
func isObject(text string) bool {
	data := bytes.TrimLeft([]byte(text), " \t\r\n")
	return len(data) > 0 && data[0] == '{' && json.Valid(data)
}

// An autoJoin is a channel of a config file.
type autoJoin struct {
	topic string
	// params is a JSON object, empty if there are none.
	params json.RawMessage
	// secrets are members of the params that are read at every join.
	secrets []pair
}

// AutoJoin returns the topics of the connection's auto_join_channels, in the order of the file.
func (c *Connection) AutoJoin() []string {
	topics := make([]string, len(c.autoJoin))
	for i, channel := range c.autoJoin {
		topics[i] = channel.topic
	}
	return topics
}

// topicShape is a text that can be joined.
var topicShape = shape{"type": textTypes, "minLength": 1, "not": shape{"const": "phoenix"}}

// autoJoinKind is a list of topics, or of maps with a topic and its params.
var autoJoinKind = Kind[[]autoJoin]{
	Name: "list",
	Schema: shape{"type": "array", "items": shape{"anyOf": []shape{topicShape, {
		"type": "object", "required": []string{"topic"}, "additionalProperties": false,
		"properties": shape{
			"topic":         topicShape,
			"params":        shape{"type": "object"},
			"secret_params": shape{"type": "object", "additionalProperties": refTo("secret")},
		},
	}}}},
	Read: func(_ string, n strictyaml.Node) ([]autoJoin, error) {
		items, err := n.Items()
		if err != nil {
			return nil, err
		}
		var wrong problems
		var channels []autoJoin
		for _, item := range items {
			channel, err := readAutoJoin(item)
			if err == nil && slices.ContainsFunc(channels, func(c autoJoin) bool { return c.topic == channel.topic }) {
				err = item.Errorf("name each topic once", "the topic %q is given twice", channel.topic)
			}
			wrong.add(err)
			channels = append(channels, channel)
		}
		return channels, wrong.err()
	},
	Parts: func(as style, values []strictyaml.Node) (json.RawMessage, error) { return autoJoinJSON(values[0], as) },
	Canonical: func(channels []autoJoin) any {
		list := make([][]any, len(channels))
		for i, c := range channels {
			list[i] = []any{c.topic, canonicalJSON(c.params), canonicalPairs(c.secrets, sameName)}
		}
		return list
	},
}

// readAutoJoin reads a topic, or a map with a topic and its params.
func readAutoJoin(n strictyaml.Node) (channel autoJoin, err error) {
	topic := n
	if n.IsMap() {
		list, err := n.Fields()
		if err != nil {
			return channel, err
		}
		topic = strictyaml.Node{}
		for _, field := range list {
			switch field.Name {
			case "topic":
				topic = field.Value
			case "params":
				channel.params, err = readJSONMap(field.Value)
			case "secret_params":
				channel.secrets, err = secretMap.kind(Kind[[]pair]{}).Read("secret_params", field.Value)
			default:
				err = unknownKey(field, "topic", "params", "secret_params")
			}
			if err != nil {
				return channel, err
			}
		}
		if !topic.Exists() {
			return channel, n.Errorf("a right one: {topic: room:lobby}", "the topic is missing")
		}
	}
	if channel.topic, err = topic.Text(); err != nil {
		return channel, err
	}
	switch channel.topic {
	case "":
		return channel, topic.Errorf("a right one: room:lobby", "the topic is empty")
	case "phoenix":
		return channel, topic.Errorf("a right one: room:lobby", "the topic phoenix is the socket's own")
	}
	return channel, channel.check(n)
}

func readJSONMap(n strictyaml.Node) (json.RawMessage, error) {
	if !n.IsMap() {
		return nil, n.Errorf("a right one: {user_id: 123}", "params are a map")
	}
	return n.JSON()
}

// check refuses a param that is given twice, once as a secret.
func (a *autoJoin) check(n strictyaml.Node) error {
	if len(a.secrets) == 0 || len(a.params) == 0 {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(a.params, &members); err != nil {
		return err
	}
	for _, secret := range a.secrets {
		if _, twice := members[secret.name]; twice {
			return n.Errorf("leave it in one of them", "%q is in params and in secret_params", secret.name)
		}
	}
	return nil
}

// read returns the params with the secrets as they are now.
func (a *autoJoin) read(ctx context.Context, r reader) (phoenix.Payload, error) {
	object := bytes.TrimSuffix(bytes.Clone(a.params), []byte("}"))
	if len(object) == 0 {
		object = []byte("{")
	}
	for _, secret := range a.secrets {
		text, err := r.text(ctx, secret.value)
		if err != nil {
			return phoenix.Payload{}, err
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = append(rawjson.AppendString(object, secret.name), ':')
		object = rawjson.AppendString(object, text)
	}
	return phoenix.JSON(string(append(object, '}'))), nil
}

// autoJoinJSON writes auto_join_channels.
func autoJoinJSON(n strictyaml.Node, as style) (json.RawMessage, error) {
	items, err := n.Items()
	if err != nil {
		return nil, err
	}
	list := make([]json.RawMessage, len(items))
	for i, item := range items {
		if !item.IsMap() {
			if list[i], err = as.text(item); err != nil {
				return nil, err
			}
			continue
		}
		fields, err := item.Fields()
		if err != nil {
			return nil, err
		}
		var o object
		for _, field := range fields {
			value, err := autoJoinForm(field.Name, as)(field.Value)
			if err != nil {
				return nil, err
			}
			o.add(field.Name, value)
		}
		list[i] = o.json()
	}
	return jsonList(list), nil
}

// autoJoinForm returns how a key of a channel is written.
func autoJoinForm(key string, as style) form {
	switch key {
	case "topic":
		return as.text
	case "params":
		return as.data
	case "secret_params":
		return func(n strictyaml.Node) (json.RawMessage, error) {
			list, err := mapFields(n)
			if err != nil {
				return nil, err
			}
			return pairsJSON(list, sameName, as.secret)
		}
	}
	return strictyaml.Node.RawTexts // whoever reads it says what is wrong
}
