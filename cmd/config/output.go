package config

import (
	"strings"

	"phx/cmd/internal/exit"
	"phx/signal"
)

// Output is what the options say about printing records.
type Output struct {
	// Format is how a record is written.
	Format signal.Format
	// Filter is the jq expression that each record goes through; empty: none.
	Filter string
	// Raw prints strings as they are, without quotes.
	Raw bool
	// ExitStatus makes the last value printed decide about the exit code.
	ExitStatus bool
	// Pretty indents JSON, Compact does not; neither: as it suits the output.
	Pretty, Compact bool
	// Color is when JSON is coloured.
	Color string
}

// The values of --color.
const (
	ColorAuto   = "auto"
	ColorAlways = "always"
	ColorNever  = "never"
)

// Options declares the options of printing.
func (o *Output) Options() []Option {
	return []Option{
		{Flag: "output", Shorthand: "o", Value: Checked(&o.Format, signal.FormatSignal.String(), signal.ParseFormat),
			Usage: "`FORMAT` of a record: " + strings.Join(signal.Formats(), ", "), Example: "payload"},
		{Flag: "jq", Shorthand: "q", Value: Text(&o.Filter, ""),
			Usage: "print what the jq `EXPR` makes of each record, one result a line; files and environment are out of its reach", Example: ".data.payload"},
		{Flag: "raw-output", Shorthand: "r", Value: Switch(&o.Raw),
			Usage: "print strings without quotes"},
		{Flag: "exit-status", Shorthand: "e", Value: Switch(&o.ExitStatus),
			Usage: "exit 1 if the last value printed is false or null, 4 if there is none"},
		{Flag: "pretty", Value: Switch(&o.Pretty),
			Usage: "indent JSON (default on a terminal)"},
		{Flag: "compact", Value: Switch(&o.Compact),
			Usage: "print JSON on one line (default elsewhere)"},
		{Flag: "color", Value: Choice(&o.Color, ColorAuto, ColorAlways, ColorNever),
			Usage: "colour JSON: `WHEN` is auto, always or never [$NO_COLOR, $CLICOLOR_FORCE]", Example: ColorNever},
	}
}

// Check refuses options that contradict each other.
func (o *Output) Check() error {
	if o.Pretty && o.Compact {
		return exit.Usagef("leave one of them out", "--pretty contradicts --compact")
	}
	return nil
}

// Logging is what the options say about stderr.
type Logging struct {
	// Verbose logs more, Quiet nothing but errors.
	Verbose, Quiet bool
	// Format is text or json.
	Format string
	// Trace prints every frame.
	Trace bool
}

// The values of --log-format.
const (
	LogText = "text"
	LogJSON = "json"
)

// Options declares the options of logging.
func (l *Logging) Options() []Option {
	return []Option{
		{Flag: "verbose", Shorthand: "v", Value: Switch(&l.Verbose),
			Usage: "log what happens on the connection"},
		{Flag: "quiet", Value: Switch(&l.Quiet),
			Usage: "log nothing but errors"},
		{Flag: "log-format", Value: Choice(&l.Format, LogText, LogJSON),
			Usage: "`FORMAT` of the log: text or json", Example: LogJSON},
		{Flag: "trace", Value: Switch(&l.Trace),
			Usage: "log every frame with its payload"},
	}
}

// Check refuses options that contradict each other.
func (l *Logging) Check() error {
	if l.Verbose && l.Quiet {
		return exit.Usagef("leave one of them out", "--verbose contradicts --quiet")
	}
	return nil
}
