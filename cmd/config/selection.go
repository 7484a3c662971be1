package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A Selection is which connection of which config file to use.
type Selection struct {
	path string
	// pathFrom is the option that named the file; empty: it is the default one.
	pathFrom string
	name     string
	// named says that the name was given with -n. One from the environment chooses, but ranks with it.
	named bool
	file  *File
}

// Options declares the options that select. They are to be resolved before those of the connection.
func (s *Selection) Options() []Option {
	return []Option{
		{Flag: "config", Shorthand: "f", Env: "PHX_CONFIG", Value: s.pathValue(),
			Usage: "config `FILE` with named connections; - for stdin (default $XDG_CONFIG_HOME/phx/phx.yaml, if there is one)", Example: "phx.yaml"},
		{Flag: "connection", Shorthand: "n", Env: "PHX_CONNECTION", Value: s.nameValue(),
			Usage: "`NAME` of the connection in the config file (default the one called default, or the only one)", Example: "backend"},
	}
}

func (s *Selection) pathValue() Value {
	set := func(from string) func(text string) error {
		return func(text string) error {
			if text == "" {
				return errors.New("is not the name of a file")
			}
			s.path, s.pathFrom = text, from
			return nil
		}
	}
	return Value{parse: set("--config"), parseEnv: set("PHX_CONFIG")}
}

func (s *Selection) nameValue() Value {
	set := func(named bool) func(text string) error {
		return func(text string) error {
			if text == "" {
				return errors.New("is not the name of a connection")
			}
			s.name, s.named = text, named
			return nil
		}
	}
	return Value{parse: set(true), parseEnv: set(false)}
}

// Choose reads the config file and returns the connection to use, nil if there is none. An error is a [*UsageError], a
// [*ReadError], or a positioned one of the file.
func (s *Selection) Choose(lookupEnv func(string) (string, bool), stdin *Stdin) (*Entry, error) {
	data, err := s.read(lookupEnv, stdin)
	if err != nil {
		return nil, err
	}
	if s.path == "" {
		if s.name == "" {
			return nil, nil
		}
		return nil, &UsageError{
			Message: "there is no config file with the connection \"" + s.name + "\"",
			Advice:  "give one with --config or in PHX_CONFIG; the default is $XDG_CONFIG_HOME/phx/phx.yaml",
		}
	}
	if s.file, err = ParseFile(pathName(s.path), data, lookupEnv); err != nil {
		return nil, err
	}
	if s.name == "" {
		return s.file.Default(), nil
	}
	entry, err := s.file.Entry(s.name)
	if err != nil {
		return nil, err
	}
	entry.named = s.named
	return entry, nil
}

// read returns what is in the file. Without a path there is none.
func (s *Selection) read(lookupEnv func(string) (string, bool), stdin *Stdin) ([]byte, error) {
	if s.path == stdinPath {
		r, err := stdin.Claim(s.pathFrom)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, &ReadError{Option: s.pathFrom, Path: s.path, Err: err}
		}
		return data, nil
	}
	from := s.pathFrom
	if s.path == "" {
		s.path, from = defaultPath(lookupEnv), "the default of --config"
	}
	if s.path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(s.path)
	switch {
	case err == nil:
		return data, nil
	case s.pathFrom == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)):
		s.path = ""
		return nil, nil
	}
	return nil, &ReadError{Option: from, Path: s.path, Err: err}
}

// defaultPath is where the config file of a user is. A relative XDG_CONFIG_HOME counts as none, as its specification has it.
func defaultPath(lookupEnv func(string) (string, bool)) string {
	if dir, _ := lookupEnv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "phx", "phx.yaml")
	}
	if home, _ := lookupEnv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "phx", "phx.yaml")
	}
	return ""
}

// Undecided explains why no connection was chosen of the several that there are; nil if there are none.
func (s *Selection) Undecided() error {
	if s.file == nil || len(s.file.Entries) == 0 {
		return nil
	}
	return &UsageError{Message: "there are several connections in " + s.file.Name + ", and none is called default", Advice: s.file.advice()}
}
