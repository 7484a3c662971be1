package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	// What all channels have in common is read once.
	common := []func(context.Context) error{}
	if c.joinParams != nil {
		common = append(common, func(ctx context.Context) error { _, err := c.readJoinParams(ctx); return err })
	}
	if c.onJoin != nil {
		common = append(common, func(ctx context.Context) error { _, err := c.readOnJoin(ctx, c.onJoin); return err })
	}
	if c.tokenInJoin() {
		common = append(common, func(ctx context.Context) error { _, err := c.Token(ctx); return err })
	}
	for _, read := range common {
		if err := read(ctx); err != nil {
			return nil, err
		}
	}
	for _, channel := range channels {
		if channel.Params == nil || c.joinParams != nil {
			continue
		}
		if _, err := channel.Params(ctx); err != nil {
			return nil, err
		}
	}
	for i := range channels {
		channels[i] = c.WithToken(channels[i], c.Token)
	}
	return channels, nil
}

// UnreadChannels is Channels without reading the params now, and without the token of
// [Connection.WithToken]: a server retries when a secret is not there yet.
func (c *Connection) UnreadChannels(topics ...string) []phoenix.Channel {
	channels := make([]phoenix.Channel, len(topics))
	for i, topic := range topics {
		channels[i].Topic = topic
		pushes := c.onJoin
		if c.joinParams != nil {
			channels[i].Params = c.readJoinParams
		}
		for _, own := range c.autoJoin {
			if own.topic != topic {
				continue
			}
			if c.joinParams == nil && len(own.params)+len(own.secrets) > 0 {
				channels[i].Params = func(ctx context.Context) (phoenix.Payload, error) { return own.read(ctx, c.reader()) }
			}
			if c.onJoin == nil {
				pushes = own.onJoin
			}
		}
		if pushes != nil {
			channels[i].OnJoin = func(ctx context.Context) ([]phoenix.Push, error) { return c.readOnJoin(ctx, pushes) }
		}
	}
	return channels
}

// An onJoin is a push that follows each join.
type onJoin struct {
	event   string
	payload *secret.Source
}

// onJoinFlag is 'EVENT JSON' or 'EVENT @FILE', which repeats. Without a payload it is {}.
var onJoinFlag = option.Kind[[]onJoin]{Join: option.Joined[onJoin], Parse: func(text string) ([]onJoin, error) {
	event, payload, _ := strings.Cut(strings.TrimSpace(text), " ")
	if payload = strings.TrimSpace(payload); payload == "" {
		payload = "{}"
	}
	s, err := secret.Parse("--on-join", payload)
	switch {
	case err != nil:
		return nil, err
	case event == "" || s.IsLiteral() && !json.Valid([]byte(s.Literal)):
		return nil, errors.New("is not an event and a JSON value")
	}
	if err := phoenix.CheckEvent(event); err != nil {
		return nil, fmt.Errorf("cannot be pushed: %w", err)
	}
	return []onJoin{{event, s}}, nil
}}

// readOnJoin reads the payloads of what follows a join.
func (c *Connection) readOnJoin(ctx context.Context, list []onJoin) ([]phoenix.Push, error) {
	pushes := make([]phoenix.Push, len(list))
	for i, push := range list {
		text, err := c.reader().Text(ctx, push.payload)
		if err == nil && !json.Valid([]byte(text)) {
			err = exit.Usagef(`a right one: {"to":"all"}`, "%s, given with --on-join for %q, does not hold one JSON value", push.payload.Name(), push.event)
		}
		if err != nil {
			return nil, err
		}
		pushes[i] = phoenix.Push{Name: push.event, Payload: phoenix.JSON(text)}
	}
	return pushes, nil
}

// onJoinKeys declares what the map of a push after the join can have.
func onJoinKeys(event *string, payload *json.RawMessage) []option.Option {
	return []option.Option{
		{Key: "event", Value: eventKind.To(event, ""), Required: true},
		{Key: "payload", Value: jsonKind.To(payload, "")},
	}
}

// eventKind is the name of an event.
var eventKind = option.Kind[string]{
	Schema: option.Shape{"type": option.TextTypes, "minLength": 1, "not": option.Shape{"enum": []string{"phx_join", "phx_leave", "phx_reply", "phx_close", "phx_error"}}},
	Read: func(_ string, n strictyaml.Node) (string, error) {
		event, err := n.Text()
		if err != nil {
			return "", err
		}
		problem := phoenix.CheckEvent(event)
		if event == "" {
			problem = errors.New("the event is empty")
		}
		if problem != nil {
			err = n.Errorf("a right one: event: subscribe", "%v", problem)
		}
		return event, err
	},
}

// jsonKind is any data.
var jsonKind = option.Kind[json.RawMessage]{
	Schema: option.Shape{},
	Read:   func(_ string, n strictyaml.Node) (json.RawMessage, error) { return n.JSON() },
	Parts:  func(as option.Style, values []strictyaml.Node) (json.RawMessage, error) { return as.Data(values[0]) },
}

// onJoinKind is a list of pushes.
var onJoinKind = option.Kind[[]onJoin]{
	Schema: option.Shape{"type": "array", "items": mapShape(onJoinKeys(new(string), new(json.RawMessage)))},
	Read: func(_ string, n strictyaml.Node) ([]onJoin, error) {
		items, err := n.Items()
		var wrong option.Problems
		wrong.Add(err)
		var pushes []onJoin
		for _, item := range items {
			push := onJoin{payload: &secret.Source{Option: "on_join", Literal: "{}"}}
			var payload json.RawMessage
			found, err := option.ReadMap(item, onJoinKeys(&push.event, &payload))
			if _, said := found["event"]; err == nil && !said {
				err = item.Errorf("a right one: {event: subscribe, payload: {to: all}}", "the event is missing")
			}
			wrong.Add(err)
			if payload != nil {
				push.payload.Literal = string(payload)
			}
			pushes = append(pushes, push)
		}
		return pushes, wrong.Err()
	},
	Parts: func(as option.Style, values []strictyaml.Node) (json.RawMessage, error) {
		items, err := values[0].Items()
		list := make(option.List, len(items))
		for i := 0; i < len(items) && err == nil; i++ {
			list[i], err = option.MapJSON(as, items[i], onJoinKeys(new(string), new(json.RawMessage)))
		}
		return list.JSON(), err
	},
}

// canonicalOnJoin is equal for pushes that mean the same.
func canonicalOnJoin(pushes []onJoin) any {
	list := make([][2]any, len(pushes))
	for i, p := range pushes {
		list[i] = [2]any{p.event, canonicalJSON(json.RawMessage(p.payload.Literal))}
	}
	return list
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
	s, err := secret.Parse("--join-params", text)
	if err == nil && s.IsLiteral() && !isObject(s.Literal) {
		err = errors.New("is not a JSON object")
	}
	return s, err
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
	onJoin  []onJoin
	resume  []Resume
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
		{Key: "on_join", Value: onJoinKind.To(&c.onJoin, "")},
		{Key: "resume", Value: resumeKind.To(&c.resume, "")},
	}
}

// topicKind is a text that can be joined.
var topicKind = option.Kind[string]{
	Schema: option.Shape{"type": option.TextTypes, "minLength": 1, "not": option.Shape{"const": "phoenix"}},
	Read: func(_ string, n strictyaml.Node) (string, error) {
		topic, err := n.Text()
		if err != nil {
			return "", err
		}
		if problem := phoenix.CheckTopic(topic); problem != nil {
			err = n.Errorf("a right one: room:lobby", "%v", problem)
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
			list[i] = []any{c.topic, canonicalJSON(c.params), canonicalPairs(c.secrets, sameName), canonicalOnJoin(c.onJoin), c.resume}
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
