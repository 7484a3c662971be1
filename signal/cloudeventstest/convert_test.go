package cloudeventstest

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// asSignal returns the line of the default format that a CloudEvent stands for. It is written from the documentation of the two
// formats, and shares nothing with package signal.
func asSignal(e event.Event) ([]byte, error) {
	context, err := contextOf(e)
	if err != nil {
		return nil, err
	}
	var line bytes.Buffer
	fmt.Fprintf(&line, `{"specversion":%s,"id":%s,"source":%s,"type":%s`,
		quote(e.SpecVersion()), quote(e.ID()), quote(e.Source()), quote(e.Type()))
	if topic := context["phxtopic"]; e.Subject() != "" {
		subject, err := decode(e, e.Subject())
		if err != nil {
			return nil, err
		}
		if subject != topic {
			return nil, fmt.Errorf("subject %q of topic %q", subject, topic)
		}
		line.WriteString(`,"subject":` + quote(subject))
	}
	fmt.Fprintf(&line, `,"time":%s,"datacontenttype":%s,"data":%s,"metadata":{"connection_name":%s`,
		quote(e.Time().UTC().Format("2006-01-02T15:04:05.000000Z")), quote(e.DataContentType()), e.Data(), quote(context["phxconnection"]))
	if epoch := context["phxepoch"]; epoch != "" {
		line.WriteString(`,"epoch":` + epoch)
	}
	writeContext(&line, e.Type(), context)
	if seq := context["sequence"]; seq != "" {
		n, err := strconv.ParseUint(seq, 10, 64)
		if err != nil || len(seq) < 10 {
			return nil, fmt.Errorf("sequence %q: %w", seq, err)
		}
		fmt.Fprintf(&line, `,"session":%s,"seq":%d`, context["phxsession"], n)
	}
	line.WriteString("}}\n")
	return line.Bytes(), nil
}

// writeContext writes the raw names and the refs. A name that the type of signal has, and that is empty, is no attribute.
func writeContext(line *bytes.Buffer, typ string, context map[string]string) {
	hasTopic := !strings.HasPrefix(typ, "phoenix.connection.") && typ != "phoenix.signal.dropped"
	hasEvent := strings.HasPrefix(typ, "phoenix."+connection+".") || strings.HasPrefix(typ, "phoenix.push.")
	for _, member := range []struct {
		name, attribute string
		always          bool
	}{
		{"phoenix_topic", "phxtopic", hasTopic},
		{"phoenix_event", "phxevent", hasEvent},
		{"phoenix_ref", "phxref", false},
		{"phoenix_join_ref", "phxjoinref", false},
	} {
		if value := context[member.attribute]; value != "" || member.always {
			fmt.Fprintf(line, `,"%s":%s`, member.name, quote(value))
		}
	}
}

// contextOf returns the extension attributes as strings, decoded.
func contextOf(e event.Event) (map[string]string, error) {
	context := map[string]string{}
	for name, value := range e.Extensions() {
		switch value := value.(type) {
		case int32:
			context[name] = strconv.Itoa(int(value))
		case string:
			text, err := decode(e, value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if value == "" {
				return nil, fmt.Errorf("%s is empty", name)
			}
			context[name] = text
		default:
			return nil, fmt.Errorf("%s is a %T", name, value)
		}
	}
	return context, nil
}

// decode undoes the percent-encoding of s, if the attributes of e are encoded.
func decode(e event.Event, s string) (string, error) {
	if e.Extensions()["phxenc"] != "pct" {
		return s, nil
	}
	return url.PathUnescape(s)
}

// quote returns s as a JSON string that escapes what it must.
func quote(s string) string {
	var quoted strings.Builder
	quoted.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"', r == '\\':
			quoted.WriteString(`\` + string(r))
		case r == '\n':
			quoted.WriteString(`\n`)
		case r == '\r':
			quoted.WriteString(`\r`)
		case r == '\t':
			quoted.WriteString(`\t`)
		case r < ' ':
			fmt.Fprintf(&quoted, `\u%04x`, r)
		default:
			quoted.WriteRune(r)
		}
	}
	return quoted.String() + `"`
}
