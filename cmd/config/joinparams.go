package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"phx/phoenix"
)

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
