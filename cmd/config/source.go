package config

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"phx/cmd/internal/strictyaml"
)

// A Source is a text that may change while the program runs: a literal, a file, the standard input or what a command prints.
// A command is run, and a regular file is read, anew each time, so that a secret in it can be rotated; everything else (a pipe, /dev/fd/3, the standard input) can be
// read only once, and is.
type Source struct {
	option  string
	literal string
	path    string
	run     func(context.Context) (string, error)
	// words are the command that run runs.
	words []string
	// at is where a config file says so; none for what comes from elsewhere.
	at strictyaml.Node

	// note is told, once, if others can read the file; nil: nobody is.
	note   func(level slog.Level, message string, args ...any)
	warned sync.Once

	stdin io.Reader
	once  sync.Once
	text  string
	err   error
}

// newSource parses text of an option: @FILE, @- for the standard input, or else a literal.
func newSource(option, text string) *Source {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		return newFileSource(option, path)
	}
	return &Source{option: option, literal: text}
}

// newFileSource is the source of a file's text; "-" is the standard input.
func newFileSource(option, path string) *Source { return &Source{option: option, path: path} }

// fileParser parses the argument of an option that names a file.
func fileParser(option string) func(path string) (*Source, error) {
	return func(path string) (*Source, error) {
		if path == "" {
			return nil, errors.New("is not the name of a file")
		}
		return newFileSource(option, path), nil
	}
}

// claim claims the standard input, if that is what s reads.
func (s *Source) claim(stdin *Stdin) error {
	if s == nil || s.path != stdinPath {
		return nil
	}
	r, err := stdin.Claim(s.option)
	s.stdin = r
	return err
}

// Text returns the text, of a file without the line break at its end. An error is a [*ReadError], or that of ctx.
func (s *Source) Text(ctx context.Context) (string, error) {
	switch {
	case s.run != nil:
		return s.run(ctx)
	case s.path == "":
		return s.literal, nil
	}
	if s.path != stdinPath {
		info, err := os.Stat(s.path)
		if err != nil {
			return "", s.readError(err)
		}
		s.warnOthers(info)
		if info.Mode().IsRegular() || info.IsDir() {
			return s.read(os.ReadFile(s.path))
		}
	}
	return s.textOnce(ctx)
}

// textOnce reads what may keep us waiting, and what is gone once it is read.
func (s *Source) textOnce(ctx context.Context) (string, error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.once.Do(func() {
			if s.stdin != nil {
				s.text, s.err = s.read(io.ReadAll(s.stdin))
				return
			}
			s.text, s.err = s.read(os.ReadFile(s.path))
		})
	}()
	select {
	case <-done:
		return s.text, s.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (s *Source) read(data []byte, err error) (string, error) {
	if err != nil {
		return "", s.readError(err)
	}
	return trimLineBreak(string(data)), nil
}

func trimLineBreak(text string) string {
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
}

// isLiteral reports whether the text is that of the option itself.
func (s *Source) isLiteral() bool { return s.run == nil && s.path == "" }

// name is how messages call what is read.
func (s *Source) name() string {
	if s.run != nil {
		return "the output of the command for " + s.option
	}
	return pathName(s.path)
}

func pathName(path string) string {
	if path == stdinPath {
		return "standard input"
	}
	return path
}

func (s *Source) readError(err error) error {
	return &ReadError{Option: s.option, Path: s.path, Err: err}
}
