package router

import (
	"context"
	"errors"
	"log/slog"
)

// A FileDrain is a [Drain] that appends records to a file.
type FileDrain struct{}

// NewFileDrain returns a drain that appends to the file at path. [FileDrain.Open] creates it. log may be nil.
func NewFileDrain(path string, log *slog.Logger) *FileDrain { return &FileDrain{} }

// Open implements [Opener].
func (d *FileDrain) Open() error { return nil }

// Reopen implements [Reopener].
func (d *FileDrain) Reopen() {}

// Run implements [Drain].
func (d *FileDrain) Run(ctx context.Context, q *Queue) error { return errors.ErrUnsupported }
