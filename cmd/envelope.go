package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"phx/cmd/internal/jsonstream"
	"phx/phoenix"
	"phx/signal"
)

// errNoMessage says that a signal is not about a message.
var errNoMessage = errors.New("is a signal, and not of a message")

// envelopes returns what reads the values of --envelope. Signals that are not of messages are left out, and logged.
func (in *pushInput) envelopes(next func() (jsonstream.Value, error), log *slog.Logger) func() (pushItem, error) {
	read := in.items(next, func(item *pushItem, _ jsonstream.Value) error {
		return item.open(item.source)
	})
	return func() (pushItem, error) {
		for {
			item, err := read()
			if !errors.Is(err, errNoMessage) {
				return item, err
			}
			log.Info("a signal that is not of a message was left out", "place", item.place())
		}
	}
}

// open reads an envelope: an object with topic, event and payload or payload_base64, or the signal of a message in a format that
// phx listen prints, in which phoenix_topic and phoenix_event name them. broadcast_event is the event within one whose event is broadcast.
// Further members are ignored.
func (item *pushItem) open(text []byte) error {
	if text[0] != '{' {
		return errors.New("is no object with topic, event and payload")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	if members["specversion"] == nil {
		return item.fill(members, members, "topic", "event")
	}
	if err := checkMessageType(members["type"]); err != nil {
		return err
	}
	plain, err := signal.Convert(nil, text, signal.FormatSignal)
	if err == nil {
		members = nil
		err = json.Unmarshal(plain, &members)
	}
	if err != nil {
		return fmt.Errorf("is no signal of phx: %w", err)
	}
	var data, metadata map[string]json.RawMessage
	if json.Unmarshal(members["data"], &data) != nil || json.Unmarshal(members["metadata"], &metadata) != nil {
		return errors.New("is no signal of phx: data or metadata is missing, or is no object")
	}
	return item.fill(data, metadata, "phoenix_topic", "phoenix_event")
}

// checkMessageType returns errNoMessage if the type of a signal is not that of a message: then a reserved word stands in place of the
// name of a connection.
func checkMessageType(text json.RawMessage) error {
	var name string
	if json.Unmarshal(text, &name) != nil || !strings.HasPrefix(name, "phoenix.") {
		return errors.New("has specversion as a signal has, but is of another type than phoenix.*")
	}
	if signal.CheckName(strings.Split(name, ".")[1]) != nil {
		return errNoMessage
	}
	return nil
}

// fill takes topic and event from the members of those names, and the payload from data.
func (item *pushItem) fill(data, names map[string]json.RawMessage, topic, event string) error {
	for _, name := range []struct {
		key string
		to  *string
	}{{topic, &item.topic}, {event, &item.event}} {
		if json.Unmarshal(names[name.key], name.to) != nil || *name.to == "" {
			return fmt.Errorf("has no %s: it is missing, empty, or not a string", name.key)
		}
	}
	if text := names["broadcast_event"]; text != nil {
		if json.Unmarshal(text, &item.broadcast) != nil || item.broadcast == "" {
			return errors.New("has a broadcast_event that is empty, or not a string")
		}
		if item.event != eventBroadcast {
			return fmt.Errorf("has a broadcast_event, and its event is not %s", eventBroadcast)
		}
	}
	payload, isJSON := data["payload"]
	encoded, isBinary := data["payload_base64"]
	switch {
	case isJSON == isBinary:
		return errors.New("has not one of payload and payload_base64")
	case isJSON:
		item.payload = phoenix.Payload{Data: payload}
	default:
		item.payload.Binary = true
		if json.Unmarshal(encoded, &item.payload.Data) != nil || item.payload.Data == nil {
			return errors.New("has a payload_base64 that is no string of base64")
		}
	}
	return nil
}
