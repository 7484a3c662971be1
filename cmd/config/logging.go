package config

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
		return &UsageError{Message: "--verbose contradicts --quiet", Advice: "leave one of them out"}
	}
	return nil
}
