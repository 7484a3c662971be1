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
	// FormatPayload is only the payload of messages, replies and answered joins, as it came.
	FormatPayload
)

var formatNames = [...]string{
	FormatSignal:  "signal",
	FormatPayload: "payload",
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
