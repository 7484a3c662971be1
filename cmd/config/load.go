package config

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
)

// FileOptions declares the options of commands that are about a config file as a whole: which one.
func (s *Selection) FileOptions() []Option {
	return []Option{
		{Flag: "config", Shorthand: "f", Env: "PHX_CONFIG", Value: s.pathValue(),
			Usage: "config `FILE`; - for stdin (default $XDG_CONFIG_HOME/phx/phx.yaml)", Example: "phx.yaml"},
	}
}

// Load reads the config file, which there must be. It reads it anew at each call; the standard input can be read once. An error
// is a [*UsageError], a [*ReadError], or a positioned one of the file.
func (s *Selection) Load(lookupEnv func(string) (string, bool), stdin *Stdin) (*File, error) {
	if s.path == stdinPath && s.file != nil {
		return nil, &UsageError{
			Message: "the configuration came from standard input, and cannot be read again",
			Advice:  "start with --config FILE to be able to reload",
		}
	}
	if info, err := os.Stat(s.path); s.file != nil && err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return nil, &UsageError{ // to open it could take for ever
			Message: "the configuration came from a pipe, " + s.path + ", and cannot be read again",
			Advice:  "start with a file as --config FILE to be able to reload",
		}
	}
	name, data, err := s.Read(lookupEnv, stdin)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &UsageError{ // which somebody is writing, perhaps
			Message: "the config file " + name + " is empty",
			Advice:  "write connections: {} into it if there are to be none",
		}
	}
	file, err := ParseFile(name, data, lookupEnv)
	if err != nil {
		return nil, err
	}
	s.file = file
	return file, nil
}

// Read returns what is in the config file, which there must be, and its name in messages. An error is a [*UsageError] or a
// [*ReadError].
func (s *Selection) Read(lookupEnv func(string) (string, bool), stdin *Stdin) (name string, data []byte, err error) {
	data, err = s.read(lookupEnv, stdin)
	if err != nil {
		return "", nil, err
	}
	if s.path == "" {
		return "", nil, &UsageError{
			Message: "there is no config file",
			Advice:  "give one with --config or in PHX_CONFIG; the default is $XDG_CONFIG_HOME/phx/phx.yaml",
		}
	}
	return pathName(s.path), data, nil
}

// Dir is where the relative paths of the file begin.
func (s *Selection) Dir() string {
	if s.path == stdinPath {
		return "."
	}
	return filepath.Dir(s.path)
}
