package signal

import (
	"fmt"
	"slices"
	"strings"
)

// A Format is a way to write events as lines. The zero Format is FormatSignal.
type Format uint8

// The formats there are. Each has a file of its own, format_*.go.
const (
	// FormatSignal is the default: one JSON object with the whole of the event.
	FormatSignal Format = iota
	// FormatCloudEvents is a CloudEvent 1.0 in the JSON format, and strictly so. In place of metadata it has the extension
	// attributes phxconnection, phxtopic, phxevent, phxref, phxjoinref, phxsession (an Integer, or a String where it is more
	// than 2147483647) and sequence (a String of ten digits, or more where it needs them); the empty ones are left out.
	//
	// A CloudEvents String may not hold control characters and noncharacters. If subject, phxtopic, phxevent, phxref or
	// phxjoinref would, or would be nothing but white space, then phxenc is "pct", and in all five of them these characters and
	// '%' are percent-encoded. Without phxenc a '%' is a '%'.
	FormatCloudEvents
	// FormatJido is FormatSignal as the decoder of Jido.Signal 2.x wants it: specversion is "1.0.2", and metadata is a member of
	// extensions.
	FormatJido
	// FormatPayload is only the payload of messages, replies and answered joins, as it came.
	FormatPayload
)

var formatNames = [...]string{
	FormatSignal:      "signal",
	FormatCloudEvents: "cloudevents",
	FormatJido:        "jido",
	FormatPayload:     "payload",
}

// Formats returns the names that [ParseFormat] knows, the default first.
func Formats() []string { return slices.Clone(formatNames[:]) }

// ParseFormat returns the format called s. The error for any other s names the formats there are.
func ParseFormat(s string) (Format, error) {
	i := slices.Index(formatNames[:], s)
	if i < 0 {
		return 0, fmt.Errorf("unknown format %q; there are: %s", s, strings.Join(formatNames[:], ", "))
	}
	return Format(i), nil
}

// String returns the name of f.
func (f Format) String() string {
	if int(f) >= len(formatNames) {
		return fmt.Sprintf("Format(%d)", uint8(f))
	}
	return formatNames[f]
}
