package cmd

import (
	"slices"
	"strings"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/jq"
	"phx/cmd/internal/option"
	"phx/signal"
)

// outputOptions are what the options say about printing records.
type outputOptions struct {
	// Output is how a record is written.
	Output recordFormat
	// NoTrim lets lines of text be wider than the terminal.
	NoTrim bool
	// Filter is the jq expression that each record goes through; empty: none.
	Filter string
	// Variables are those of every expression of the command.
	Variables []jq.Variable
	// Raw prints strings as they are, without quotes.
	Raw bool
	// ExitStatus makes the last value printed decide about the exit code.
	ExitStatus bool
	// Pretty indents JSON, Compact does not; neither: as it suits the output.
	Pretty, Compact bool
	// Color is when JSON is coloured.
	Color string
	// Slurp prints all records as one array, at the end.
	Slurp bool
}

// A recordFormat is a value of --output: a format for programs, or text.
type recordFormat struct {
	signal.Format
	text bool
	// given says that --output was given.
	given bool
}

// formatText is the value of --output for lines that people read.
const formatText = "text"

// recordFormats are the values of --output of the commands that print signals.
func recordFormats() []string { return append(signal.Formats(), formatText) }

// isText reports whether records are text: because it was asked for, or on a terminal if no other form was asked for.
func (o *outputOptions) isText(s *Streams) bool {
	if o.Output.given {
		return o.Output.text
	}
	return s.OutTerminal && o.Filter == "" && !o.Pretty && !o.Compact && !o.Slurp
}

// outputOption declares --output with formats of those names.
func (o *outputOptions) outputOption(names ...string) option.Option {
	return option.Option{
		Flag: "output", Shorthand: "o", Group: option.Printing, Common: true, Example: names[0],
		Usage: "`FORMAT` of a record: " + strings.Join(names, ", ") + " (default text on a terminal, else " + names[0] + ")",
		Value: option.ChoiceKind(func(text string) (recordFormat, error) {
			format, err := signal.ParseFormat(text)
			if err != nil { // text, or a word for the default
				format = signal.FormatSignal
			}
			return recordFormat{Format: format, text: text == formatText, given: true}, nil
		}, names...).To(&o.Output, ""),
	}
}

// The values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// Options declares the options of printing.
func (o *outputOptions) Options() []option.Option {
	return option.Printing.In([]option.Option{
		o.outputOption(recordFormats()...),
		{Flag: "jq", Common: true, Shorthand: "q", Value: option.Checked(&o.Filter, "", parseFilter),
			Usage: "print what the jq `EXPR` makes of each record, one result a line; it cannot read files or the environment", Example: ".data.payload"},
		{Flag: "arg", Value: option.Pairs(&o.Variables, jq.TextVariable), Secret: true, Example: `room "$ROOM"`,
			Usage: "a text that every expression of the command has as a variable: `NAME VALUE` (repeat)"},
		{Flag: "argjson", Value: option.Pairs(&o.Variables, jq.JSONVariable), Secret: true, Example: `most 3`,
			Usage: "a JSON value that every expression of the command has as a variable: `NAME JSON` (repeat)"},
		{Flag: "raw-output", Common: true, Shorthand: "r", Value: option.Switch(&o.Raw),
			Usage: "print strings without quotes"},
		{Flag: "exit-status", Shorthand: "e", Value: option.Switch(&o.ExitStatus),
			Usage: "exit 1 if the last value printed is false or null, 4 if there is none"},
		{Flag: "pretty", Value: option.Switch(&o.Pretty),
			Usage: "indent JSON (default on a terminal)"},
		{Flag: "compact", Value: option.Switch(&o.Compact),
			Usage: "print JSON on one line (default elsewhere)"},
		{Flag: "no-trim", Value: option.Switch(&o.NoTrim),
			Usage: "do not cut lines of text at the width of the terminal"},
		{Flag: "color", Value: option.Choice(&o.Color, colorAuto, colorAlways, colorNever),
			Usage: "colour text and JSON: `WHEN` is auto, always or never [$NO_COLOR, $CLICOLOR_FORCE]", Example: colorNever},
	}...)
}

// parseFilter takes an empty expression for the identity, as jq does.
func parseFilter(expr string) (string, error) {
	if strings.TrimSpace(expr) == "" {
		return ".", nil
	}
	return expr, nil
}

// slurpOption declares --slurp, for commands that can have an end.
func (o *outputOptions) slurpOption() option.Option {
	return option.Option{Flag: "slurp", Group: option.Printing, Value: option.Switch(&o.Slurp),
		Usage: "print all records at the end, as one JSON array, which --jq gets as a whole"}
}

// errEndlessSlurp refuses --slurp in a run to which no option sets an end.
var errEndlessSlurp = exit.Usagef("give --count, --until, --duration, --idle-timeout or --max-time", "--slurp prints at the end, and nothing ends this")

// Check refuses options that contradict each other.
func (o *outputOptions) Check() error {
	if o.Pretty && o.Compact {
		return exit.Usagef("leave one of them out", "--pretty contradicts --compact")
	}
	if o.Output.text && o.Slurp {
		return exit.Usagef("leave one of them out", "--slurp prints JSON, and -o text is none")
	}
	if o.Output.text && (o.Filter != "" || o.Raw || o.Pretty || o.Compact) {
		return exit.Usagef("leave -o text out", "--jq, --raw-output, --pretty and --compact are about JSON, and -o text is none")
	}
	for i, v := range o.Variables {
		if slices.ContainsFunc(o.Variables[:i], func(before jq.Variable) bool { return before.Name == v.Name }) {
			return exit.Usagef("give each its own name", "the variable $%s is given twice", v.Name)
		}
	}
	return nil
}

// loggingOptions are what the options say about stderr.
type loggingOptions struct {
	// Verbose logs more, Quiet nothing but errors.
	Verbose, Quiet bool
	// Format is text or json.
	Format string
	// Trace prints every frame.
	Trace bool

	style logStyle
}

// suit suits the log to stderr, and so what is reported at the end. color is the value of --color.
func (l *loggingOptions) suit(color string, f *factory) {
	l.style = newLogStyle(color, f.streams)
	f.stderr.ReportLost(reportLost(*l))
	f.logJSON, f.reportStyle = l.Format == logJSON, logStyle{coloured: l.style.coloured}
}

// The values of --log-format.
const (
	logText = "text"
	logJSON = "json"
)

// Options declares the options of logging.
func (l *loggingOptions) Options() []option.Option {
	return option.Logging.In([]option.Option{
		{Flag: "verbose", Common: true, Shorthand: "v", Value: option.Switch(&l.Verbose),
			Usage: "log more: each step on the way"},
		{Flag: "quiet", Value: option.Switch(&l.Quiet),
			Usage: "log nothing but errors"},
		{Flag: "log-format", Value: option.Choice(&l.Format, logText, logJSON),
			Usage: "`FORMAT` of the log: text or json", Example: logJSON},
		{Flag: "trace", Value: option.Switch(&l.Trace),
			Usage: "log every frame with its payload"},
	}...)
}

// Check refuses options that contradict each other.
func (l *loggingOptions) Check() error {
	if l.Verbose && l.Quiet {
		return exit.Usagef("leave one of them out", "--verbose contradicts --quiet")
	}
	return nil
}
