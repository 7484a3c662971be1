package cmd

import (
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"phx/cmd/internal/control"
	"phx/signal"
)

// A signalView is how the signals of a running phx serve are looked at: what goes over the socket, what is printed of it, and the signal in
// the default format, which is what conditions are about.
type signalView struct{ format signal.Format }

func newSignalView(format signal.Format) *signalView { return &signalView{format} }

// wire is the format that goes over the socket. A payload alone does not tell what it is the payload of.
func (v *signalView) wire() signal.Format {
	if v.format == signal.FormatPayload {
		return signal.FormatSignal
	}
	return v.format
}

// shown returns what is printed of a line, nothing if it has nothing that the format prints.
func (v *signalView) shown(line []byte) ([]byte, error) {
	if v.format != signal.FormatPayload {
		return line, nil
	}
	var s struct {
		Type string
		Data struct {
			Payload        json.RawMessage
			PayloadBase64  json.RawMessage `json:"payload_base64"`
			Response       json.RawMessage
			ResponseBase64 json.RawMessage `json:"response_base64"`
		}
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return nil, errStrangeSignal(err)
	}
	texts := []json.RawMessage{s.Data.Payload, s.Data.PayloadBase64}
	if s.Type == "phoenix.channel.joined" || s.Type == "phoenix.channel.join_error" {
		texts = []json.RawMessage{s.Data.Response, s.Data.ResponseBase64}
	}
	for _, text := range texts {
		if text != nil {
			return text, nil
		}
	}
	return nil, nil
}

// plain returns the signal of a line in the default format, and its seq. Its members are as there; their order need not be.
func (v *signalView) plain(line []byte) (text []byte, seq uint64, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		return nil, 0, errStrangeSignal(err)
	}
	text = line
	switch v.format {
	case signal.FormatJido:
		err = plainFromJido(members)
	case signal.FormatCloudEvents:
		err = plainFromCloudEvent(members)
	}
	if err == nil && v.wire() != signal.FormatSignal {
		text, err = json.Marshal(members)
	}
	var metadata struct{ Seq uint64 }
	if of := members["metadata"]; err == nil && of != nil {
		err = json.Unmarshal(of, &metadata)
	}
	if err != nil {
		return nil, 0, errStrangeSignal(err)
	}
	return text, metadata.Seq, nil
}

// errStrangeSignal says that a line is no signal.
func errStrangeSignal(err error) error {
	return &control.Error{
		Code: exitFailure, Message: "phx serve sent a line that is no signal: " + err.Error(),
		Advice: "check that phx serve and phx ctl are of one version: phx version",
	}
}

// plainFromJido undoes what FormatJido does.
func plainFromJido(members map[string]json.RawMessage) error {
	var extensions struct{ Metadata json.RawMessage }
	if err := json.Unmarshal(members["extensions"], &extensions); err != nil {
		return err
	}
	delete(members, "extensions")
	members["specversion"], members["metadata"] = json.RawMessage(`"1.0"`), extensions.Metadata
	return nil
}

// attributes are the members of metadata in the order in which they are looked for, with the extension attributes of FormatCloudEvents
// that they become.
var attributes = []struct {
	attribute, member string
	number            bool
}{
	{"phxconnection", "connection_name", false},
	{"phxtopic", "phoenix_topic", false},
	{"phxevent", "phoenix_event", false},
	{"phxref", "phoenix_ref", false},
	{"phxjoinref", "phoenix_join_ref", false},
	{"phxsession", "session", true},
	{"sequence", "seq", true},
}

// plainFromCloudEvent undoes what FormatCloudEvents does. What it leaves out, because it is empty, stays out.
func plainFromCloudEvent(members map[string]json.RawMessage) error {
	_, encoded := members["phxenc"]
	delete(members, "phxenc")
	metadata := map[string]any{}
	for _, a := range attributes {
		text, ok := members[a.attribute]
		if !ok {
			continue
		}
		delete(members, a.attribute)
		value, err := attributeValue(text, a.number, encoded)
		if err != nil {
			return err
		}
		metadata[a.member] = value
	}
	subject, ok := members["subject"]
	var err error
	if ok && encoded {
		var plain any
		if plain, err = attributeValue(subject, false, true); err == nil {
			members["subject"], err = json.Marshal(plain)
		}
	}
	if err == nil {
		members["metadata"], err = json.Marshal(metadata)
	}
	return err
}

// attributeValue returns the value of an attribute: a number, which may be written as a string, or a string, which may be percent-encoded.
func attributeValue(text json.RawMessage, number, encoded bool) (any, error) {
	plain := string(text)
	if strings.HasPrefix(plain, `"`) {
		if err := json.Unmarshal(text, &plain); err != nil {
			return nil, err
		}
	}
	switch {
	case number:
		n, err := strconv.ParseUint(plain, 10, 64)
		if err != nil {
			return nil, errors.New("an attribute is not a number")
		}
		return n, nil
	case encoded:
		return url.PathUnescape(plain)
	}
	return plain, nil
}
