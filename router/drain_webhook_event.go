package router

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An eventRequest is a CloudEvent as an HTTP request.
type eventRequest struct {
	id     string
	header http.Header
	body   []byte

	// authorized says that header has what only the drain knows, and that what follows is set.
	authorized bool
	key        []byte   // nil: not signed
	secrets    []string // what must not be shown
}

// newEventRequest makes a request of the line of a CloudEvent in JSON. It keeps nothing of the line: a request may still be sent
// when its failure has long been reported.
func newEventRequest(line []byte, binary bool) (*eventRequest, error) {
	e := &eventRequest{header: http.Header{}}
	members, err := readMembers(line)
	if err != nil {
		return nil, err
	}
	e.id = members["id"].text
	if !binary {
		e.body = bytes.Clone(bytes.TrimSuffix(line, []byte{'\n'}))
		e.header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
		return e, nil
	}
	for name, value := range members {
		switch {
		case name == "data":
			e.body = value.json
		case name == "datacontenttype":
			e.header.Set("Content-Type", value.text)
		case value.text == "":
			return nil, fmt.Errorf("%q is no attribute of a CloudEvent: %s", name, formatAdvice)
		default:
			e.header.Set("ce-"+name, escapeHeader(value.text))
		}
	}
	return e, nil
}

const formatAdvice = "the sink of a webhook needs the format cloudevents"

// A member is one of a JSON object: as it is written, and as a text if it is a string, a number or a boolean.
type member struct {
	json []byte
	text string
}

// readMembers takes a JSON object apart.
func readMembers(line []byte) (map[string]member, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(line, &all); err != nil {
		return nil, fmt.Errorf("a record is not a JSON object: %s", formatAdvice)
	}
	members := make(map[string]member, len(all))
	for name, value := range all {
		m := member{json: value}
		switch value[0] {
		case '"':
			if err := json.Unmarshal(value, &m.text); err != nil {
				return nil, err
			}
		case '{', '[':
		default:
			m.text = string(value)
		}
		members[name] = m
	}
	return members, nil
}

// escapeHeader returns an attribute as the value of a header: printable ASCII but for the space, '"' and '%' is as it is, all
// else is percent-encoded (HTTP Protocol Binding for CloudEvents 1.0.2, section 3.1.3.2).
func escapeHeader(value string) string {
	plain := func(c byte) bool { return '!' <= c && c <= '~' && c != '"' && c != '%' }
	var escaped strings.Builder
	for _, c := range []byte(value) {
		if plain(c) {
			escaped.WriteByte(c)
		} else {
			fmt.Fprintf(&escaped, "%%%02X", c)
		}
	}
	return escaped.String()
}

// secretPrefix begins a key that is written as Standard Webhooks says.
const secretPrefix = "whsec_"

// signingKey returns the key that a secret stands for.
func signingKey(secret []byte) ([]byte, error) {
	encoded, ok := bytes.CutPrefix(secret, []byte(secretPrefix))
	if !ok {
		return secret, nil
	}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(string(encoded), "="))
	if err != nil {
		return nil, errors.New("the secret of the webhook begins with " + secretPrefix + ", but what follows is not base64")
	}
	return key, nil
}

// sign signs a request as Standard Webhooks 1.0 says (https://www.standardwebhooks.com). The time is that of the attempt: receivers
// refuse what is old.
func sign(header http.Header, key []byte, id string, now time.Time, body []byte) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", timestamp)
	header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
