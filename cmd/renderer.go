package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/itchyny/gojq"

	"phx/cmd/config"
	"phx/phoenix"
	"phx/signal"
)

// A renderer turns events into what is printed of them: the encoder's line, or what the jq filter makes of it, in the look
// of the output. It remembers what the exit code will be about.
type renderer struct {
	encoder *signal.Encoder
	filter  *filter // nil: none
	raw     bool
	look    look
	log     *slog.Logger

	exitStatus bool
	last       lastValue
	jqErrors   int

	line   []byte // scratch
	filled []byte // what the filter's results are appended to
}

// lastValue is what -e knows of the last value printed.
type lastValue int

const (
	lastNone lastValue = iota
	lastFalsy
	lastTruthy
)

// newRenderer returns the renderer for a connection of that name. An expression that does not compile is its error.
func newRenderer(o config.Output, name string, s *Streams, log *slog.Logger) (*renderer, error) {
	r := &renderer{
		encoder:    signal.NewEncoder(o.Format, name),
		raw:        o.Raw,
		look:       newLook(o, s),
		log:        log,
		exitStatus: o.ExitStatus,
	}
	if o.Filter == "" {
		return r, nil
	}
	var err error
	r.filter, err = compileFilter("--jq", o.Filter)
	return r, err
}

// append appends what is printed of ev: nothing, or one or more whole lines. A filter that fails on the record is logged, and
// remembered for [renderer.result]. ctx ends a filter that does not end by itself.
func (r *renderer) append(ctx context.Context, dst []byte, ev *phoenix.Event) []byte {
	if r.filter == nil && !r.raw && r.look == (look{}) {
		start := len(dst)
		dst = r.encoder.Append(dst, ev)
		r.note(dst[start:])
		return dst
	}
	r.line = r.encoder.Append(r.line[:0], ev)
	return r.appendLine(ctx, dst, r.line)
}

// appendLine is append for a line of the encoder.
func (r *renderer) appendLine(ctx context.Context, dst, line []byte) []byte {
	text := bytes.TrimSuffix(line, []byte("\n"))
	if len(text) == 0 {
		return dst
	}
	if r.filter == nil {
		return r.appendText(dst, text)
	}
	start := len(dst)
	dst, err := r.appendFiltered(ctx, dst, text)
	if err != nil && ctx.Err() != nil {
		// The command is ending. What it has received is still printed; only a filter that does not end is cut short.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateGrace)
		defer cancel()
		if dst, err = r.appendFiltered(grace, dst[:start], text); grace.Err() != nil {
			return dst // that is no fault of the record
		}
	}
	if err != nil {
		r.jqErrors++
		r.log.Error("--jq failed on a record: " + oneLine(err.Error()))
	}
	return dst
}

// appendFiltered appends what the filter makes of one JSON text.
func (r *renderer) appendFiltered(ctx context.Context, dst, text []byte) ([]byte, error) {
	r.filled = dst
	err := r.filter.run(ctx, text, func(value any) error {
		result, err := gojq.Marshal(value)
		if err == nil {
			r.filled = r.appendText(r.filled, result)
		}
		return err
	})
	dst, r.filled = r.filled, nil
	return dst, err
}

// appendText appends one JSON text as one line, or as many as its look has.
func (r *renderer) appendText(dst, text []byte) []byte {
	r.note(text)
	if r.raw && text[0] == '"' {
		var unquoted string
		if json.Unmarshal(text, &unquoted) == nil {
			return r.appendRaw(dst, unquoted)
		}
	}
	return r.look.append(dst, text)
}

// appendRaw appends a string without its quotes.
func (r *renderer) appendRaw(dst []byte, text string) []byte {
	if r.look.escape {
		dst = appendVisible(dst, text, '\n', '\t')
	} else {
		dst = append(dst, text...)
	}
	return append(dst, '\n')
}

// note remembers the last value for -e.
func (r *renderer) note(text []byte) {
	if !r.exitStatus || len(text) == 0 {
		return
	}
	switch string(bytes.TrimSpace(text[:min(len(text), len("false\n"))])) {
	case "null", "false":
		r.last = lastFalsy
	default:
		r.last = lastTruthy
	}
}

// result returns what the printing has to say about the exit code: a filter that failed, or what -e asks for.
func (r *renderer) result() error {
	switch {
	case r.jqErrors > 0:
		return &failure{
			code:    exitJQRun,
			message: fmt.Sprintf("--jq failed on %s; all others were printed", records(r.jqErrors)),
			hint:    `an expression may look before it leaps: .data.payload? // empty`,
		}
	case r.exitStatus && r.last == lastNone:
		return &failure{code: exitNoOutput}
	case r.exitStatus && r.last == lastFalsy:
		return &failure{code: exitFailure}
	}
	return nil
}

func records(n int) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}
