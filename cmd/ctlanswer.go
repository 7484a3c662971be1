package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"phx/cmd/config"
	"phx/cmd/internal/control"
	"phx/phoenix"
	"phx/signal"
)

// An answeredSignal is what of the signal that answers a call decides about the exit code.
type answeredSignal struct {
	Type string
	Data struct {
		Topic, Event, Status, Reason, Delivered string
		TimeoutMS                               int64 `json:"timeout_ms"`
		Payload, Response                       json.RawMessage
	}
}

// answerFormat declares --output for calls that a signal answers, which phx serve writes in the default format.
func (c *ctl) answerFormat() config.Option {
	names := []string{signal.FormatSignal.String(), signal.FormatPayload.String()}
	return config.Option{
		Flag: "output", Shorthand: "o", Usage: "`FORMAT` of the answer: " + strings.Join(names, " or "), Example: names[1],
		Value: config.Checked(&c.payloadOnly, names[0], func(text string) (bool, error) {
			if !slices.Contains(names, text) {
				return false, errors.New("is neither " + strings.Join(names, " nor "))
			}
			return text == names[1], nil
		}),
	}
}

// printSignal prints the signal that answers a call, and returns what it says about the exit code.
func (c *ctl) printSignal(ctx context.Context, answer control.Answer, err error) error {
	text := answer.Line
	if err == nil && c.payloadOnly {
		text, err = newSignalView(signal.FormatPayload).shown(text)
	}
	if err := c.printAnswer(ctx, text, err); err != nil {
		return err
	}
	var s answeredSignal
	if err := json.Unmarshal(answer.Line, &s); err != nil {
		return err
	}
	return s.failure()
}

// failure returns why the call has failed, as the commands join and push say it; nil if it has not.
func (s *answeredSignal) failure() error {
	d := &s.Data
	switch s.Type {
	case "phoenix.channel.join_error":
		f := joinFailure(&phoenix.JoinError{Topic: d.Topic, Reason: phoenix.JoinReason(d.Reason), Response: phoenix.Payload{Data: d.Response}})
		if hint, ok := ctlJoinHints[phoenix.JoinReason(d.Reason)]; ok {
			f.hint = hint
		}
		return f
	case "phoenix.push.reply":
		if d.Status != "ok" {
			return statusFailure(d.Topic, d.Event, &phoenix.PushReply{Status: d.Status}, phoenix.Payload{Data: d.Payload})
		}
	case "phoenix.push.timeout":
		return pushTimeoutFailure(d.Topic, d.Event, &phoenix.PushTimeout{Timeout: time.Duration(d.TimeoutMS) * time.Millisecond})
	case "phoenix.push.error":
		return pushFailure(&phoenix.PushError{
			Topic: d.Topic, Name: d.Event, Reason: phoenix.PushReason(d.Reason), Delivered: phoenix.Delivered(d.Delivered),
		})
	}
	return nil
}

// ctlJoinHints are those of joinHints that are other ones for a join by phx serve.
var ctlJoinHints = map[phoenix.JoinReason]string{
	phoenix.JoinRefused: "the channel's join/3 refused: check the topic and its params",
	phoenix.JoinTimeout: "allow more with reply_timeout_msec in the config, or see what the server's join/3 is doing",
}
