package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
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

// Elsewhere says, if that is so, that the credentials of a connection that nobody named go to another server than its own. The
// file counts for less than --uri and PHX_URI, and whoever gives one of them may not think of the file at all.
func (e *Entry) Elsewhere(c *Connection) string {
	if e == nil || e.named || !e.hasCredentials() {
		return ""
	}
	own, ok := e.field("uri")
	if !ok {
		return ""
	}
	// What the variables of a URI that is not used are is of no interest.
	text, err := own.Text()
	if err != nil || hostOf(text) == hostOf(c.URI) {
		return ""
	}
	return fmt.Sprintf("credentials of the connection %s in the config file are sent to %s, which is not its uri:"+
		" choose it with -n, or no file with --config /dev/null", e.Name, c.Address())
}

// hasCredentials reports whether the file has something for the connection that may be secret.
func (e *Entry) hasCredentials() bool {
	for _, key := range []string{"auth_token", "params", "headers"} {
		if _, ok := e.field(key); ok {
			return true
		}
	}
	return false
}

func hostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return u.Host
}
