package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"phx/cmd/config"
)

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
		return &failure{code: exitFailure, message: "--fail-on matched signal " + strconv.FormatUint(seq, 10), hint: "it is the last one printed"}
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
	return &failure{
		code:    exitJQRun,
		message: fmt.Sprintf("--until or --fail-on failed on %s", records(j.errors)),
		hint:    `an expression may look before it leaps: .data.payload? // empty`,
	}
}
