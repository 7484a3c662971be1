package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
)

// A pair is a name and its value, from --param or --header.
type pair struct {
	name  string
	value *Source
}

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

// isOrigin reports whether p is the header Origin.
func (p pair) isOrigin() bool { return textproto.CanonicalMIMEHeaderKey(p.name) == "Origin" }

// upgradeHeaders are those that the upgrade request sets itself.
var upgradeHeaders = []string{
	"Connection", "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol",
}

func parseHeader(text string) (pair, error) {
	name, value, ok := strings.Cut(text, ":")
	switch {
	case !ok || !isHeaderName(name):
		return pair{}, errors.New("is not 'NAME: VALUE'")
	case isUpgradeHeader(name):
		return pair{}, fmt.Errorf("sets %s, which belongs to the upgrade itself", name)
	}
	value = strings.Trim(value, " \t")
	if err := checkHeaderValue(value); err != nil {
		return pair{}, err
	}
	return pair{name, newSource("--header "+name, value)}, nil
}

func isHeaderName(name string) bool { return name != "" && !strings.ContainsFunc(name, notToken) }

func isUpgradeHeader(name string) bool {
	return slices.Contains(upgradeHeaders, textproto.CanonicalMIMEHeaderKey(name))
}

// notToken reports whether r may not be in a header's name (RFC 9110, section 5.6.2).
func notToken(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func checkHeaderValue(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return errors.New("has a control character or a line break")
	}
	return nil
}

// credentials reads what a dial shows to the server.
func (c *Connection) credentials(ctx context.Context) (phoenix.Credentials, error) {
	creds := phoenix.Credentials{Params: url.Values{}, Header: http.Header{}}
	for _, p := range c.params {
		value, err := p.value.Text(ctx)
		if err != nil {
			return creds, err
		}
		creds.Params.Add(p.name, value)
	}
	for _, h := range c.headers {
		value, err := h.readLine(ctx)
		if err != nil {
			return creds, err
		}
		creds.Header.Add(h.name, value)
	}
	if c.network.origin != "" {
		creds.Header.Set("Origin", c.network.origin)
	}
	var err error
	if creds.AuthToken, creds.HasAuthToken, err = c.readAuthToken(ctx); err != nil {
		return creds, err
	}
	creds.TLS, err = c.tls.config(ctx)
	return creds, err
}

// readLine reads the value of a header.
func (p pair) readLine(ctx context.Context) (string, error) {
	value, err := p.value.Text(ctx)
	if err != nil {
		return "", err
	}
	if err := checkHeaderValue(value); err != nil {
		return "", &UsageError{
			Message: fmt.Sprintf("the value of %s %v", p.value.option, err),
			Advice:  "a header is a single line: check what is in " + p.value.name(),
		}
	}
	return value, nil
}

// readAuthToken returns the token and whether there is one.
func (c *Connection) readAuthToken(ctx context.Context) (token string, ok bool, err error) {
	if c.authToken == nil {
		return "", false, nil
	}
	token, err = c.authToken.Text(ctx)
	if err == nil && token == "" {
		err = &UsageError{
			Message: "there is no token in " + c.authToken.name(),
			Advice:  "write the token to it, as one line",
		}
	}
	return token, err == nil, err
}

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
		own := c.autoJoinOf(topic)
		switch {
		case c.joinParams != nil:
			channels[i].Params = c.readJoinParams
		case own != nil && len(own.params)+len(own.secrets) > 0:
			channels[i].Params = own.read
		}
	}
	return channels
}

// joinParamsAdvice is a hint without the params themselves, which may be secret.
const joinParamsAdvice = `a right one: {"user_id":123}`

func (c *Connection) readJoinParams(ctx context.Context) (phoenix.Payload, error) {
	text, err := c.joinParams.Text(ctx)
	if err != nil {
		return phoenix.Payload{}, err
	}
	if !isObject(text) {
		return phoenix.Payload{}, &UsageError{
			Message: c.joinParams.name() + ", given with --join-params, does not hold one JSON object",
			Advice:  joinParamsAdvice,
		}
	}
	return phoenix.JSON(text), nil
}

// parseJoinParams parses JSON, @FILE, @- or -.
func parseJoinParams(text string) (*Source, error) {
	if text == stdinPath {
		text = "@" + stdinPath
	}
	s := newSource("--join-params", text)
	if s.path == "" && !isObject(s.literal) {
		return nil, errors.New("is not a JSON object")
	}
	return s, nil
}

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

// autoJoinOf returns the channel of a topic, nil if the config file does not have it.
func (c *Connection) autoJoinOf(topic string) *autoJoin {
	for i := range c.autoJoin {
		if c.autoJoin[i].topic == topic {
			return &c.autoJoin[i]
		}
	}
	return nil
}

func (c *Connection) autoJoinValue() Value {
	return Value{shape: autoJoinShape, masked: maskedAutoJoin, read: func(n strictyaml.Node) error {
		items, err := n.Items()
		if err != nil {
			return err
		}
		var wrong problems
		for _, item := range items {
			channel, err := c.readAutoJoin(item)
			if err == nil && c.autoJoinOf(channel.topic) != nil {
				err = item.Errorf("name each topic once", "the topic %q is given twice", channel.topic)
			}
			wrong.add(err)
			c.autoJoin = append(c.autoJoin, channel)
		}
		return wrong.err()
	}}
}

// readAutoJoin reads a topic, or a map with a topic and its params.
func (c *Connection) readAutoJoin(n strictyaml.Node) (autoJoin, error) {
	var channel autoJoin
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
				channel.params, err = readParams(field.Value)
			case "secret_params":
				channel.secrets, err = c.secrets().readPairs("secret_params", field.Value)
			default:
				err = field.Key.Errorf("known here: topic, params, secret_params", "the key %q is not known here", field.Name)
			}
			if err != nil {
				return channel, err
			}
		}
		if !topic.Exists() {
			return channel, n.Errorf("a right one: {topic: room:lobby}", "the topic is missing")
		}
	}
	var err error
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

// readParams reads the params of a join.
func readParams(n strictyaml.Node) (json.RawMessage, error) {
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
func (a *autoJoin) read(ctx context.Context) (phoenix.Payload, error) {
	object := bytes.TrimSuffix(a.params, []byte("}"))
	if len(object) == 0 {
		object = []byte("{")
	}
	object = bytes.Clone(object)
	for _, secret := range a.secrets {
		text, err := secret.value.Text(ctx)
		if err != nil {
			return phoenix.Payload{}, err
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = append(strictyaml.AppendJSONString(object, secret.name), ':')
		object = strictyaml.AppendJSONString(object, text)
	}
	return phoenix.JSON(string(append(object, '}'))), nil
}
