package config

import (
	"bytes"
	"context"
	"encoding/json"

	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
)

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
