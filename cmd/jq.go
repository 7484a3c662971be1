package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/jq"
	"phx/cmd/internal/option"
	"phx/phoenix"
	"phx/signal"
)

// filterLimit is how long a filter may take for its next result, on a record of usual size.
const filterLimit = time.Second

// compileFilter compiles the expression given with option. Its variables are those of the command, whose values are in no error, and what
// it debugs is logged.
func (o *outputOptions) compileFilter(option, expr string, log *slog.Logger) (*jq.Filter, error) {
	return jq.Compile(expr, jq.Options{
		Source: option, Variables: o.Variables, Limit: filterLimit, Redact: redactValues(o.Variables),
		Debug: func(text []byte) { log.Warn("debug: " + string(text)) },
	})
}

// redactValues returns what takes the values of variables out of a text; nil if there is none.
func redactValues(variables []jq.Variable) func(text string) string {
	if len(variables) == 0 {
		return nil
	}
	var values phoenix.Redactor
	for _, v := range variables {
		if text, err := gojq.Marshal(v.Value); err == nil {
			values.AddJSON(text)
		}
	}
	return values.Redact
}

// halted returns how an expression that halts ends its command, nil if err is something else.
func halted(err error) error {
	if err == nil { // once a record: errors.As allocates
		return nil
	}
	halt := (*jq.Halt)(nil)
	switch {
	case !errors.As(err, &halt):
		return nil
	case *halt == jq.Halt{}:
		return errDone
	}
	return &exit.Error{Code: exit.Code(halt.Code), Message: strings.TrimSuffix(halt.Message, "\n")}
}

// recordErrors counts the records on which expressions failed. In every command such an error is logged, the stream goes on, and
// the exit code is about it in the end.
type recordErrors struct {
	log   *slog.Logger
	count int
}

// add takes the error of f on a record.
func (e *recordErrors) add(f *jq.Filter, err error) {
	e.count++
	e.log.Error(f.String() + " failed on a record: " + oneLine(err.Error()))
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

	until, failOn *jq.Filter // nil: none
	errors        recordErrors
	encoder       *signal.Encoder
	record        record
}

// flags declares both options.
func (s *stopConditions) flags() []option.Option {
	return []option.Option{
		{Flag: "until", Group: option.Ending, Common: true, Value: option.Text(&s.untilExpr, ""),
			Usage: "end when the jq `EXPR` is true of a signal that is printed", Example: "'.data.payload.n >= 3'"},
		{Flag: "fail-on", Group: option.Ending, Common: true, Value: option.Text(&s.failOnExpr, ""),
			Usage: "end with exit code 1 when the jq `EXPR` is true of a signal that is printed", Example: "'.data.payload.error'"},
	}
}

// compile compiles the expressions, for the signals of a connection of that name.
func (s *stopConditions) compile(connection string, o *outputOptions, log *slog.Logger) (err error) {
	s.errors.log = log
	s.encoder = signal.NewEncoder(signal.FormatSignal, connection)
	if s.untilExpr != "" {
		if s.until, err = o.compileFilter("--until", s.untilExpr, log); err != nil {
			return err
		}
	}
	if s.failOnExpr != "" {
		s.failOn, err = o.compileFilter("--fail-on", s.failOnExpr, log)
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
	return s.check(ctx, s.document(ev), ev.Seq)
}

// document returns the signal of an event, valid until the next call.
func (s *stopConditions) document(ev *phoenix.Event) jq.Document {
	s.record.set(s.encoder, ev)
	return jq.Document{Source: &s.record}
}

// check applies the conditions to a signal in the default format, the one with that seq. Its error ends the command: errDone as
// it should, another one as a failure.
func (s *stopConditions) check(ctx context.Context, document jq.Document, seq uint64) error {
	switch failed, err := s.matches(ctx, s.failOn, document); {
	case err != nil:
		return err
	case failed:
		return &exit.Error{Code: exit.Failure, Message: "--fail-on matched signal " + strconv.FormatUint(seq, 10), Hint: "it is the last one printed"}
	}
	done, err := s.matches(ctx, s.until, document)
	if done {
		err = errDone
	}
	return err
}

// matches reports whether f is true of a signal; nil is not. Its error is that of an expression that halts.
func (s *stopConditions) matches(ctx context.Context, f *jq.Filter, document jq.Document) (bool, error) {
	if f == nil {
		return false, nil
	}
	matched, err := f.Match(ctx, document)
	if halt := halted(err); halt != nil {
		return false, halt
	}
	if err != nil && ctx.Err() == nil {
		s.errors.add(f, err)
	}
	return matched, nil
}

// result returns the failure of conditions that failed on records, else nil.
func (s *stopConditions) result() error {
	var options []string
	for _, f := range []*jq.Filter{s.until, s.failOn} {
		if f != nil {
			options = append(options, f.String())
		}
	}
	return s.errors.failure(strings.Join(options, " or ") + " failed on %s")
}
