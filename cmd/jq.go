package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/phoenix"
	"phx/signal"
)

// A filter is a compiled jq expression. It cannot reach files, the network or the environment ($ENV is empty): signals and
// expressions come from different hands, and secrets are in the environment.
type filter struct {
	// option is the option that the expression was given with, for messages.
	option string
	code   *gojq.Code
}

// compileFilter compiles the expression given with option; the error shows where it is wrong.
func compileFilter(option, expr string) (*filter, error) {
	query, err := gojq.Parse(expr)
	if err == nil {
		var code *gojq.Code
		if code, err = gojq.Compile(query); err == nil {
			return &filter{option, code}, nil
		}
	}
	message := fmt.Sprintf("the expression of %s does not compile: %v", option, err)
	if parseErr := (*gojq.ParseError)(nil); errors.As(err, &parseErr) {
		message += pointAt(expr, parseErr.Offset-len(parseErr.Token))
	}
	return nil, &exit.Error{
		Code:    exit.JQCompile,
		Message: message,
		Hint:    "check the expression, and that the shell leaves it alone: put it in single quotes",
		Err:     err,
	}
}

// pointAt returns two lines: that of text in which the offset is, and a caret below the place.
func pointAt(text string, offset int) string {
	offset = min(max(offset, 0), len(text))
	start := strings.LastIndexByte(text[:offset], '\n') + 1
	line, _, _ := strings.Cut(text[start:], "\n")
	column := len([]rune(text[start:offset]))
	return fmt.Sprintf("\n    %s\n    %*s", line, column+1, "^")
}

// run gives each result of the filter on one JSON text to emit, whose error ends the run. Numbers keep the spelling of the
// text as long as the expression does not calculate with them.
func (f *filter) run(ctx context.Context, text []byte, emit func(value any) error) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var input any
	if err := decoder.Decode(&input); err != nil {
		return err
	}
	results := f.code.RunWithContext(ctx, input)
	for {
		value, ok := results.Next()
		if !ok {
			return nil
		}
		if err, isErr := value.(error); isErr {
			return runError(err)
		}
		if err := emit(value); err != nil {
			return err
		}
	}
}

// runError returns the error of a run; halt is none.
func runError(err error) error {
	if halt := (*gojq.HaltError)(nil); errors.As(err, &halt) && halt.Value() == nil {
		return nil
	}
	return err
}

// errFirst ends a run after its first result.
var errFirst = errors.New("the first result is enough")

// match reports whether the first result for a JSON text is neither false nor null. No result does not match.
func (f *filter) match(ctx context.Context, text []byte) (bool, error) {
	matched := false
	err := f.run(ctx, text, func(value any) error {
		matched = value != nil && value != false
		return errFirst
	})
	if errors.Is(err, errFirst) {
		err = nil
	}
	return matched, err
}

// recordErrors counts the records on which expressions failed. In every command such an error is logged, the stream goes on, and
// the exit code is about it in the end.
type recordErrors struct {
	log   *slog.Logger
	count int
}

// add takes the error of f on a record.
func (e *recordErrors) add(f *filter, err error) {
	e.count++
	e.log.Error(f.option + " failed on a record: " + oneLine(err.Error()))
}

// failure returns the failure of the command after all, nil if no expression failed. %s in format is how many records it was.
func (e *recordErrors) failure(format string) error {
	if e.count == 0 {
		return nil
	}
	records := fmt.Sprintf("%d records", e.count)
	if e.count == 1 {
		records = "1 record"
	}
	return &exit.Error{
		Code:    exit.JQRun,
		Message: fmt.Sprintf(format, records),
		Hint:    "make it tolerant, for example: .data.payload? // empty",
	}
}

// stopConditions are --until and --fail-on: expressions on signals in the default format that end a command.
type stopConditions struct {
	untilExpr, failOnExpr string

	until, failOn *filter // nil: none
	errors        recordErrors
	encoder       *signal.Encoder
	line          []byte
}

// flags declares both options.
func (s *stopConditions) flags() []option.Option {
	return []option.Option{
		{Flag: "until", Value: option.Text(&s.untilExpr, ""),
			Usage: "end when the jq `EXPR` is true of a signal that is printed", Example: "'.data.payload.n >= 3'"},
		{Flag: "fail-on", Value: option.Text(&s.failOnExpr, ""),
			Usage: "end with exit code 1 when the jq `EXPR` is true of a signal that is printed", Example: "'.data.payload.error'"},
	}
}

// compile compiles the expressions, for the signals of a connection of that name.
func (s *stopConditions) compile(connection string, log *slog.Logger) (err error) {
	s.errors.log = log
	s.encoder = signal.NewEncoder(signal.FormatSignal, connection)
	if s.untilExpr != "" {
		if s.until, err = compileFilter("--until", s.untilExpr); err != nil {
			return err
		}
	}
	if s.failOnExpr != "" {
		s.failOn, err = compileFilter("--fail-on", s.failOnExpr)
	}
	return err
}

// none reports that there is no condition.
func (s *stopConditions) none() bool { return s.until == nil && s.failOn == nil }

// checkEvent is check for the signal of an event.
func (s *stopConditions) checkEvent(ctx context.Context, ev *phoenix.Event) error {
	if s.none() {
		return nil
	}
	s.line = s.encoder.Append(s.line[:0], ev)
	return s.check(ctx, s.line, ev.Seq)
}

// check applies the conditions to a signal in the default format, the one with that seq. Its error ends the command: errDone as
// it should, another one as a failure.
func (s *stopConditions) check(ctx context.Context, line []byte, seq uint64) error {
	switch {
	case s.matches(ctx, s.failOn, line):
		return &exit.Error{Code: exit.Failure, Message: "--fail-on matched signal " + strconv.FormatUint(seq, 10), Hint: "it is the last one printed"}
	case s.matches(ctx, s.until, line):
		return errDone
	}
	return nil
}

func (s *stopConditions) matches(ctx context.Context, f *filter, line []byte) bool {
	if f == nil {
		return false
	}
	matched, err := f.match(ctx, line)
	if err != nil && ctx.Err() == nil {
		s.errors.add(f, err)
	}
	return matched
}

// result returns the failure of conditions that failed on records, else nil.
func (s *stopConditions) result() error {
	var options []string
	for _, f := range []*filter{s.until, s.failOn} {
		if f != nil {
			options = append(options, f.option)
		}
	}
	return s.errors.failure(strings.Join(options, " or ") + " failed on %s")
}
