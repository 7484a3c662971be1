package cmd

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are what a command sees of its process. Tests have their own.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// InTerminal, OutTerminal and ErrTerminal say that a person is at the other end.
	InTerminal, OutTerminal, ErrTerminal bool
	// LookupEnv returns an environment variable.
	LookupEnv func(name string) (value string, ok bool)
}

// SystemStreams returns those of this process.
func SystemStreams() *Streams {
	isTerminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	return &Streams{
		In:          os.Stdin,
		Out:         os.Stdout,
		Err:         os.Stderr,
		InTerminal:  isTerminal(os.Stdin),
		OutTerminal: isTerminal(os.Stdout),
		ErrTerminal: isTerminal(os.Stderr),
		LookupEnv:   os.LookupEnv,
	}
}

// env returns an environment variable; one that is empty counts as unset.
func (s *Streams) env(name string) string {
	value, _ := s.LookupEnv(name)
	return value
}
