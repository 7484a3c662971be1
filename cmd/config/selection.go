package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
)

// A Selection is which connection of which config file to use.
type Selection struct {
	// path is the file's; without pathFrom it is the default one.
	path     string
	pathFrom option.Origin
	// name is the connection's. One from the environment chooses, but ranks with it.
	name     string
	nameFrom option.Origin
	file     *File
	// unreadable is why the default file could not be read, if nobody has asked for it.
	unreadable error
}

// Options declares the options that select. They are to be resolved before those of the connection.
func (s *Selection) Options() []option.Option {
	return option.Connecting.In(
		s.fileOption("config `FILE` with named connections; - for stdin (default $XDG_CONFIG_HOME/phx/phx.yaml, if there is one)"),
		option.Option{Flag: "connection", Common: true, Shorthand: "n", Env: "PHX_CONNECTION", Value: option.Checked(&s.name, "", notEmpty("is not the name of a connection")), From: &s.nameFrom,
			Usage: "`NAME` of the connection in the config file (default the one called default, or the only one)", Example: "backend"},
	)
}

// FileOptions declares the options of commands that are about a config file as a whole: which one.
func (s *Selection) FileOptions() []option.Option {
	return []option.Option{s.fileOption("config `FILE`; - for stdin (default $XDG_CONFIG_HOME/phx/phx.yaml)")}
}

func (s *Selection) fileOption(usage string) option.Option {
	return option.Option{Flag: "config", Shorthand: "f", Env: "PHX_CONFIG", Value: option.Checked(&s.path, "", parsePath), From: &s.pathFrom,
		Usage: usage, Example: "phx.yaml"}
}

func parsePath(text string) (string, error) { return notEmpty("is not the name of a file")(text) }

func notEmpty(problem string) func(text string) (string, error) {
	return func(text string) (string, error) {
		if text == "" {
			return "", errors.New(problem)
		}
		return text, nil
	}
}

const noFileHint = "give one with --config or in PHX_CONFIG; the default is $XDG_CONFIG_HOME/phx/phx.yaml"

// Choose reads the config file and returns the connection to use, nil if there is none.
func (s *Selection) Choose(lookupEnv func(string) (string, bool), stdin *secret.Stdin) (*Entry, error) {
	data, err := s.read(lookupEnv, stdin)
	if err != nil && s.pathFrom == option.FromDefault && s.name == "" {
		s.unreadable = err // HOME may be somebody else's, and nobody has asked for the file
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if s.path == "" {
		if s.name == "" {
			return nil, nil
		}
		return nil, exit.Usagef(noFileHint, "there is no config file with the connection \"%s\"", s.name)
	}
	if s.file, err = ParseFile(secret.PathName(s.path), data, lookupEnv); err != nil {
		return nil, err
	}
	if s.name == "" {
		return s.file.Default(), nil
	}
	entry, err := s.file.Entry(s.name)
	if err != nil {
		return nil, err
	}
	entry.named = s.nameFrom == option.FromFlag
	return entry, nil
}

// NoChoice is the error that says why none of several connections was chosen, or why the default
// config file could not be read. Nil: there are none.
func (s *Selection) NoChoice() error {
	if s.unreadable != nil {
		return s.unreadable
	}
	if s.file == nil || len(s.file.Entries) == 0 {
		return nil
	}
	return exit.Usagef(s.file.nameHint(), "there are several connections in %s, and none is called default", s.file.Name)
}

// Load reads the config file, which must exist, anew at each call. Standard input can be read
// once.
func (s *Selection) Load(lookupEnv func(string) (string, bool), stdin *secret.Stdin) (*File, error) {
	if s.path == secret.StdinPath && s.file != nil {
		return nil, exit.Usagef("start with --config FILE to be able to reload", "the configuration came from standard input, and cannot be read again")
	}
	if info, err := os.Stat(s.path); s.file != nil && err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		// To open it could take for ever.
		return nil, exit.Usagef("start with a file as --config FILE to be able to reload", "the configuration came from a pipe, %s, and cannot be read again", s.path)
	}
	name, data, err := s.Read(lookupEnv, stdin)
	if err != nil {
		return nil, err
	}
	file, err := ParseFile(name, data, lookupEnv)
	if err != nil {
		return nil, err
	}
	s.file = file
	return file, nil
}

// Read returns what is in the config file, which there must be, and its name in messages. An empty file is an error: somebody is
// writing it, perhaps.
func (s *Selection) Read(lookupEnv func(string) (string, bool), stdin *secret.Stdin) (name string, data []byte, err error) {
	data, err = s.read(lookupEnv, stdin)
	name = secret.PathName(s.path)
	switch {
	case err != nil:
	case s.path == "":
		err = exit.Usagef(noFileHint, "there is no config file")
	case len(bytes.TrimSpace(data)) == 0:
		err = exit.Usagef("write connections: {} into it if there are to be none", "the config file %s is empty", name)
	}
	return name, data, err
}

// Dir is where the relative paths of the file begin.
func (s *Selection) Dir() string {
	if s.path == secret.StdinPath {
		return "."
	}
	return filepath.Dir(s.path)
}

// read returns what is in the file. Without a path there is none.
func (s *Selection) read(lookupEnv func(string) (string, bool), stdin *secret.Stdin) ([]byte, error) {
	from := map[option.Origin]string{option.FromFlag: "--config", option.FromEnv: "PHX_CONFIG", option.FromDefault: "the default of --config"}[s.pathFrom]
	if s.path == secret.StdinPath {
		r, err := stdin.Claim(from)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, secret.ReadError(from, s.path, err)
		}
		return data, nil
	}
	if s.path == "" {
		s.path = defaultPath(lookupEnv)
	}
	if s.path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(s.path)
	switch {
	case err == nil:
		return data, nil
	case s.pathFrom == option.FromDefault && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)):
		s.path = ""
		return nil, nil
	}
	return nil, secret.ReadError(from, s.path, err)
}

// defaultPath is the config file of the user. The XDG specification ignores a relative
// XDG_CONFIG_HOME.
func defaultPath(lookupEnv func(string) (string, bool)) string {
	if dir, _ := lookupEnv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "phx", "phx.yaml")
	}
	if home, _ := lookupEnv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "phx", "phx.yaml")
	}
	return ""
}
