package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
	"phx/phoenix/rawjson"
)

// Channels returns the channels of topics with their join params: those of the option, else those
// of the config file. Params are read at every join, and once now, so that errors are known
// before anything is connected.
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

// UnreadChannels is Channels without reading the params now: a server retries when a secret is
// not there yet.
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
	text, err := c.reader().Text(ctx, c.joinParams)
	if err == nil && !isObject(text) {
		// The hint is without the params themselves, which may be secret.
		err = exit.Usagef(`a right one: {"user_id":123}`, "%s, given with --join-params, does not hold one JSON object", c.joinParams.Name())
	}
	if err != nil {
		return phoenix.Payload{}, err
	}
	return phoenix.JSON(text), nil
}

// joinParamsKind is a JSON object, @FILE, @- or -.
var joinParamsKind = option.Kind[*secret.Source]{Parse: func(text string) (*secret.Source, error) {
	if text == secret.StdinPath {
		text = "@" + secret.StdinPath
	}
	s := secret.Parse("--join-params", text)
	if s.Path == "" && !isObject(s.Literal) {
		return nil, errors.New("is not a JSON object")
	}
	return s, nil
}}

// isObject reports whether text is one JSON object: Phoenix takes no other params (PROTOCOL.md,
// rule 12).
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
	secrets []secret.Named
}

// AutoJoin returns the topics of the connection's auto_join_channels, in the order of the file.
func (c *Connection) AutoJoin() []string {
	topics := make([]string, len(c.autoJoin))
	for i, channel := range c.autoJoin {
		topics[i] = channel.topic
	}
	return topics
}

// channelKeys declares what the map of a channel can have.
func channelKeys(c *autoJoin) []option.Option {
	return []option.Option{
		{Key: "topic", Value: topicKind.To(&c.topic, ""), Required: true},
		{Key: "params", Value: dataKind.To(&c.params, "")},
		{Key: "secret_params", Value: secretMap.kind(option.Kind[[]secret.Named]{
			Schema: option.Shape{"type": "object", "additionalProperties": option.RefTo("secret")},
		}).To(&c.secrets, "")},
	}
}

// topicKind is a text that can be joined.
var topicKind = option.Kind[string]{
	Schema: option.Shape{"type": option.TextTypes, "minLength": 1, "not": option.Shape{"const": "phoenix"}},
	Read: func(_ string, n strictyaml.Node) (string, error) {
		topic, err := n.Text()
		switch {
		case err != nil:
		case topic == "":
			err = n.Errorf("a right one: room:lobby", "the topic is empty")
		case topic == "phoenix":
			err = n.Errorf("a right one: room:lobby", "the topic phoenix is the socket's own")
		}
		return topic, err
	},
}

// dataKind is a map of any data.
var dataKind = option.Kind[json.RawMessage]{
	Schema: option.Shape{"type": "object"},
	Read: func(_ string, n strictyaml.Node) (json.RawMessage, error) {
		if !n.IsMap() {
			return nil, n.Errorf("a right one: {user_id: 123}", "params are a map")
		}
		return n.JSON()
	},
	Parts: func(as option.Style, values []strictyaml.Node) (json.RawMessage, error) { return as.Data(values[0]) },
}

// autoJoinKind is a list of topics, or of maps with a topic and its params.
var autoJoinKind = option.Kind[[]autoJoin]{
	Name: "list", Schema: option.Shape{"type": "array", "items": option.Shape{"anyOf": []option.Shape{topicKind.Schema, mapShape(channelKeys(&autoJoin{}))}}},
	Read: func(_ string, n strictyaml.Node) ([]autoJoin, error) {
		items, err := n.Items()
		var wrong option.Problems
		wrong.Add(err)
		var channels []autoJoin
		for _, item := range items {
			channel, err := readAutoJoin(item)
			if err == nil && slices.ContainsFunc(channels, func(c autoJoin) bool { return c.topic == channel.topic }) {
				err = item.Errorf("name each topic once", "the topic %q is given twice", channel.topic)
			}
			wrong.Add(err)
			channels = append(channels, channel)
		}
		return channels, wrong.Err()
	},
	Parts: func(as option.Style, values []strictyaml.Node) (json.RawMessage, error) {
		items, err := values[0].Items()
		channels := make(option.List, len(items))
		for i := 0; i < len(items) && err == nil; i++ {
			channels[i], err = autoJoinJSON(items[i], as)
		}
		return channels.JSON(), err
	},
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
	if !n.IsMap() {
		channel.topic, err = topicKind.Read("", n)
		return channel, err
	}
	found, err := option.ReadMap(n, channelKeys(&channel))
	if _, said := found["topic"]; err == nil && !said {
		err = n.Errorf("a right one: {topic: room:lobby}", "the topic is missing")
	}
	if err != nil || len(channel.secrets) == 0 || len(channel.params) == 0 {
		return channel, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(channel.params, &members); err != nil {
		return channel, err
	}
	for _, own := range channel.secrets {
		if _, twice := members[own.Name]; twice {
			return channel, n.Errorf("leave it in one of them", "%q is in params and in secret_params", own.Name)
		}
	}
	return channel, nil
}

// autoJoinJSON writes a topic, or a map with its keys in their order.
func autoJoinJSON(n strictyaml.Node, as option.Style) (json.RawMessage, error) {
	if !n.IsMap() {
		return as.Text(n)
	}
	list, err := n.Fields()
	if err != nil {
		return nil, err
	}
	var keys []option.Option
	for _, field := range list {
		i := slices.IndexFunc(channelKeys(&autoJoin{}), func(o option.Option) bool { return o.Key == field.Name })
		if i < 0 {
			return n.RawTexts() // whoever reads it says what is wrong
		}
		keys = append(keys, channelKeys(&autoJoin{})[i])
	}
	return option.MapJSON(as, n, keys)
}

// read returns the params with the secrets as they are now.
func (a *autoJoin) read(ctx context.Context, r secret.Reader) (phoenix.Payload, error) {
	object := bytes.TrimSuffix(bytes.Clone(a.params), []byte("}"))
	if len(object) == 0 {
		object = []byte("{")
	}
	for _, own := range a.secrets {
		text, err := r.Text(ctx, own.Value)
		if err != nil {
			return phoenix.Payload{}, err
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = append(rawjson.AppendString(object, own.Name), ':')
		object = rawjson.AppendString(object, text)
	}
	return phoenix.JSON(string(append(object, '}'))), nil
}
