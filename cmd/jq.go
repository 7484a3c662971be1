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

	"phx/cmd/config"
	"phx/cmd/internal/exit"
)

// A filter is a compiled jq expression. It cannot reach files, the network or the environment ($ENV is empty): signals and
// expressions come from different hands, and secrets are in the environment.
type filter struct{ code *gojq.Code }

// compileFilter compiles the expression given with option; the error shows where it is wrong.
func compileFilter(option, expr string) (*filter, error) {
	query, err := gojq.Parse(expr)
	if err == nil {
		var code *gojq.Code
		if code, err = gojq.Compile(query); err == nil {
			return &filter{code}, nil
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

// A predicate is a jq expression that a signal satisfies or not.
type predicate struct{ filter *filter }

// compilePredicate compiles the expression given with option.
func compilePredicate(option, expr string) (*predicate, error) {
	f, err := compileFilter(option, expr)
	if err != nil {
		return nil, err
	}
	return &predicate{f}, nil
}

// errFirst ends a run after its first result.
var errFirst = errors.New("the first result is enough")

// match reports whether the first result for a JSON text is neither false nor null. No result does not match.
func (p *predicate) match(ctx context.Context, text []byte) (bool, error) {
	matched := false
	err := p.filter.run(ctx, text, func(value any) error {
		matched = value != nil && value != false
		return errFirst
	})
	if errors.Is(err, errFirst) {
		err = nil
	}
	return matched, err
}

// conditions are --until and --fail-on: what ends a command that prints signals.
type conditions struct{ until, failOn string }

// flags declares their options.
func (c *conditions) flags() []config.Option {
	return []config.Option{
		{Flag: "until", Value: config.Text(&c.until, ""),
			Usage: "end when the jq `EXPR` is true of a signal that is printed", Example: "'.data.payload.n >= 3'"},
		{Flag: "fail-on", Value: config.Text(&c.failOn, ""),
			Usage: "end with exit code 1 when the jq `EXPR` is true of a signal that is printed", Example: "'.data.payload.error'"},
	}
}

// A judge applies conditions to signals. A condition that fails on a record is logged, and remembered for the exit code.
type judge struct {
	until, failOn *predicate // nil: none
	log           *slog.Logger
	errors        int
}

// compile returns the judge by the conditions.
func (c *conditions) compile(log *slog.Logger) (j *judge, err error) {
	j = &judge{log: log}
	if c.until != "" {
		if j.until, err = compilePredicate("--until", c.until); err != nil {
			return nil, err
		}
	}
	if c.failOn != "" {
		j.failOn, err = compilePredicate("--fail-on", c.failOn)
	}
	return j, err
}

// idle reports that there are no conditions.
func (j *judge) idle() bool { return j.until == nil && j.failOn == nil }

// see applies the conditions to a signal in the default format, of that seq. The error ends the command; errDone ends it as it
// should.
func (j *judge) see(ctx context.Context, line []byte, seq uint64) error {
	switch {
	case j.matches(ctx, "--fail-on", j.failOn, line):
		return &exit.Error{Code: exit.Failure, Message: "--fail-on matched signal " + strconv.FormatUint(seq, 10), Hint: "it is the last one printed"}
	case j.matches(ctx, "--until", j.until, line):
		return errDone
	}
	return nil
}

func (j *judge) matches(ctx context.Context, option string, p *predicate, line []byte) bool {
	if p == nil {
		return false
	}
	matched, err := p.match(ctx, line)
	if err != nil && ctx.Err() == nil {
		j.errors++
		j.log.Error(option + " failed on a record: " + oneLine(err.Error()))
	}
	return matched
}

// result is what the conditions have to say about the exit code.
func (j *judge) result() error {
	if j.errors == 0 {
		return nil
	}
	return &exit.Error{
		Code:    exit.JQRun,
		Message: fmt.Sprintf("--until or --fail-on failed on %s", records(j.errors)),
		Hint:    `an expression may look before it leaps: .data.payload? // empty`,
	}
}
