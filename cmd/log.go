package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"phx/phoenix"
)

// A logStyle is how lines for people look, as it suits stderr.
type logStyle struct {
	// stamped lines have a time: neither a terminal, where they are seen as they come, nor the journal, which keeps the time itself.
	stamped bool
	// coloured lines stand apart from the records that share the terminal: faint, and warnings and errors are marked.
	coloured bool
}

// newLogStyle returns the style for stderr. color is the value of --color, which cannot force colours on a log that goes to a file.
func newLogStyle(color string, s *Streams) logStyle {
	return logStyle{stamped: s.ErrStamped, coloured: s.ErrTerminal && s.coloured(color, true)}
}

// stampLayout is how the time of a log line is written: UTC, as the time of signals.
const stampLayout = "2006-01-02T15:04:05.000Z "

// start begins a line of that level.
func (s logStyle) start(level slog.Level, at time.Time) []byte {
	var line []byte
	switch {
	case !s.coloured:
		line = append(line, linePrefix...)
	case level >= slog.LevelError:
		line = append(line, colorError+"phx:"+colorReset+" "...)
	case level >= slog.LevelWarn:
		line = append(line, colorWarning+"phx:"+colorReset+" "...)
	default:
		line = append(line, colorFaint+linePrefix...)
	}
	if s.stamped {
		line = at.UTC().AppendFormat(line, stampLayout)
	}
	return line
}

// end ends a line of that level.
func (s logStyle) end(line []byte, level slog.Level) []byte {
	if s.coloured && level < slog.LevelWarn {
		line = append(line, colorReset...)
	}
	return append(line, '\n')
}

// newLogger returns the log on stderr. From normal on things are logged, unless the options say otherwise.
func newLogger(w io.Writer, o loggingOptions, normal slog.Level) *slog.Logger {
	level := normal
	switch {
	case o.Verbose:
		level = slog.LevelDebug
	case o.Quiet:
		level = slog.LevelError
	}
	if o.Format == logJSON {
		return slog.New(slog.NewJSONHandler(jsonEscaper{w}, &slog.HandlerOptions{
			Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return withUnit(a) },
		}))
	}
	return slog.New(&textHandler{w: w, mu: new(sync.Mutex), level: level, style: o.style})
}

// newLogger returns the log of a command on stderr, with the lines of a kind limited.
func (f *factory) newLogger(o loggingOptions, normal slog.Level) *slog.Logger {
	return slog.New(f.lines.handler(newLogger(f.streams.Err, o, normal).Handler()))
}

// takeStandardLog makes warnings in logger of what is written to the standard log: the package of the metrics says there what it
// cannot read of the process. restore undoes that.
func takeStandardLog(logger *slog.Logger) (restore func()) {
	w, flags := log.Writer(), log.Flags()
	log.SetOutput(slog.NewLogLogger(logger.Handler(), slog.LevelWarn).Writer())
	log.SetFlags(0)
	return func() {
		log.SetOutput(w)
		log.SetFlags(flags)
	}
}

// reportLost returns what writes to w, in the form of the log, that lines for stderr were lost.
func reportLost(o loggingOptions) func(w io.Writer, lost int) {
	return func(w io.Writer, lost int) {
		newLogger(w, o, slog.LevelInfo).Error("lines of this log were lost, because it was not read", "lines", lost)
	}
}

// A textHandler writes log records for people: "phx: message key=value".
type textHandler struct {
	w     io.Writer
	mu    *sync.Mutex // shared with the handlers derived from this one
	level slog.Level
	style logStyle
	// attrs is what WithAttrs added, ready to be written; group is what WithGroup puts before keys.
	attrs []byte
	group string
}

// Enabled implements [slog.Handler].
func (h *textHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle implements [slog.Handler]. A record is one write.
func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	line := appendVisible(h.style.start(r.Level, r.Time), r.Message)
	line = append(line, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		line = appendAttr(line, h.group, a)
		return true
	})
	line = h.style.end(line, r.Level)
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(line)
	return err
}

// WithAttrs implements [slog.Handler].
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *h
	derived.attrs = bytes.Clone(h.attrs)
	for _, a := range attrs {
		derived.attrs = appendAttr(derived.attrs, h.group, a)
	}
	return &derived
}

// WithGroup implements [slog.Handler].
func (h *textHandler) WithGroup(name string) slog.Handler {
	derived := *h
	if name != "" {
		derived.group += name + "."
	}
	return &derived
}

// appendAttr appends " key=value", and nothing for an empty attribute.
func appendAttr(dst []byte, group string, a slog.Attr) []byte {
	a.Value = a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return dst
	}
	if a.Value.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range a.Value.Group() {
			dst = appendAttr(dst, group, member)
		}
		return dst
	}
	a = withUnit(a)
	dst = append(dst, ' ')
	dst = appendVisible(dst, group+a.Key)
	dst = append(dst, '=')
	text := a.Value.String()
	if text == "" || strings.ContainsFunc(text, needsQuotes) {
		return strconv.AppendQuote(dst, text)
	}
	return append(dst, text...)
}

// withUnit returns an attribute that is a time with its unit in its name, as signals have it.
func withUnit(a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindDuration {
		return a
	}
	return slog.Int64(a.Key+"_ms", a.Value.Duration().Round(time.Millisecond).Milliseconds())
}

// micros returns an attribute that is a time too short for milliseconds, a round trip for example.
func micros(key string, d time.Duration) slog.Attr {
	return slog.Int64(key+"_us", d.Round(time.Microsecond).Microseconds())
}

func needsQuotes(r rune) bool {
	return r == ' ' || r == '"' || r == '=' || r == '\uFFFD' || !strconv.IsPrint(r)
}

// linePrefix begins every line for people.
const linePrefix = "phx: "

// A jsonEscaper writes JSON lines to w without the control characters that JSON allows in strings, but a terminal should
// not get.
type jsonEscaper struct{ w io.Writer }

// Write implements [io.Writer] for one whole line.
func (e jsonEscaper) Write(line []byte) (int, error) {
	text := bytes.TrimSuffix(line, []byte("\n"))
	if _, err := e.w.Write(append(appendEscapedJSON(nil, text), '\n')); err != nil {
		return 0, err
	}
	return len(line), nil
}

// newTracer returns what writes every frame to w as a line of the log, with the name of the connection if that is not empty.
// It is safe for concurrent use.
func newTracer(w io.Writer, o loggingOptions, connection string) func(phoenix.TraceFrame) {
	var mu sync.Mutex
	if o.Format == logJSON {
		log := slog.New(slog.NewJSONHandler(jsonEscaper{w}, nil))
		if connection != "" {
			log = log.With("connection", connection)
		}
		return func(f phoenix.TraceFrame) {
			log.Info("frame", "out", f.Out, "kind", f.Kind, "data", string(withoutSecrets(f)))
		}
	}
	return func(f phoenix.TraceFrame) {
		direction := "< "
		if f.Out {
			direction = "> "
		}
		line := append(o.style.start(slog.LevelDebug, time.Now()), direction...)
		if connection != "" {
			line = append(append(line, connection...), ' ')
		}
		line = append(line, f.Kind...)
		line = append(line, ' ')
		line = o.style.end(appendVisible(line, string(withoutSecrets(f))), slog.LevelDebug)
		mu.Lock()
		defer mu.Unlock()
		// A trace that cannot be written has nowhere to say so.
		_, _ = w.Write(line)
	}
}

// secretEvents are those whose payloads from us hold credentials: join params, and the token refresh of Supabase.
var secretEvents = []string{"phx_join", "access_token"}

// hidden stands in a trace for a payload with credentials.
var hidden = json.RawMessage(`"(not shown)"`)

// withoutSecrets returns the data of a frame with the payload hidden where it holds credentials of ours.
func withoutSecrets(f phoenix.TraceFrame) []byte {
	if !f.Out || f.Kind != "text" {
		return f.Data
	}
	if v2 := []json.RawMessage(nil); json.Unmarshal(f.Data, &v2) == nil && len(v2) == 5 {
		if !isSecretEvent(v2[3]) {
			return f.Data
		}
		v2[4] = hidden
		return marshal(v2)
	}
	v1 := map[string]json.RawMessage{}
	if json.Unmarshal(f.Data, &v1) == nil && v1["event"] != nil {
		if !isSecretEvent(v1["event"]) {
			return f.Data
		}
		v1["payload"] = hidden
		return marshal(v1)
	}
	return hidden
}

func isSecretEvent(name json.RawMessage) bool {
	var event string
	return json.Unmarshal(name, &event) != nil || slices.Contains(secretEvents, event)
}

// marshal encodes what was just decoded.
func marshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		return hidden
	}
	return data
}
