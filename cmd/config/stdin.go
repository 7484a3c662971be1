package config

import (
	"fmt"
	"io"
)

// stdinPath is how an argument names the standard input.
const stdinPath = "-"

// A Stdin hands the standard input to whoever claims it first: two readers would each get some of it.
type Stdin struct {
	r     io.Reader
	owner string
}

// NewStdin returns the claim on r.
func NewStdin(r io.Reader) *Stdin { return &Stdin{r: r} }

// Claim gives the standard input to the option or argument of that name. It is a [*UsageError] if another one has it.
func (s *Stdin) Claim(name string) (io.Reader, error) {
	if s.owner != "" {
		return nil, &UsageError{
			Message: fmt.Sprintf("%s and %s both read standard input", s.owner, name),
			Advice:  "give one of them a file: @FILE",
		}
	}
	s.owner = name
	return s.r, nil
}
