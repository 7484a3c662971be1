package config

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"phx/cmd/internal/strictyaml"
)

const secretAdvice = "right ones: a text, {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"

// A secretReader reads values that may be elsewhere, for one owner.
type secretReader struct {
	// patience is how long a command may take, asked when it is run.
	patience func() time.Duration
	// note logs something about a secret, which is not part of it.
	note func(level slog.Level, message string, args ...any)
}

// secrets reads the connection's.
func (c *Connection) secrets() secretReader {
	return secretReader{patience: func() time.Duration { return c.ConnectTimeout }, note: c.note}
}

// read reads a text, {env: V}, {file: F} or {command: [...]}. key is its name in errors.
func (r secretReader) read(key string, n strictyaml.Node) (*Source, error) {
	name := sourceName(key, n)
	if !n.IsMap() {
		text, err := n.Text()
		return &Source{option: name, at: n, literal: text}, err
	}
	list, err := n.Fields()
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, n.Errorf(secretAdvice, "this has %d keys, and should have one of env, file and command", len(list))
	}
	field := list[0]
	switch field.Name {
	case "env":
		return readEnvSecret(name, field.Value)
	case "file":
		s := &Source{}
		err := fileOf(key+".file", &s, Value{}).read(field.Value)
		s.note = r.note
		return s, err
	case "command":
		return r.readCommand(name, field.Value)
	}
	return nil, field.Key.Errorf(secretAdvice, "the key %q is not known here", field.Name)
}

// readEnvSecret reads the variable at once: the environment of a process stays as it is.
func readEnvSecret(name string, n strictyaml.Node) (*Source, error) {
	variable, err := n.Text()
	if err != nil {
		return nil, err
	}
	value, ok := n.Lookup(variable)
	if !ok || value == "" {
		return nil, n.Errorf("set it", "the variable %s is not set, or empty", variable)
	}
	return &Source{option: name, at: n, literal: value}, nil
}

func (r secretReader) readCommand(name string, n strictyaml.Node) (*Source, error) {
	words, err := readCommand(n, secretAdvice)
	if err != nil {
		return nil, err
	}
	run := &secretCommand{name: name, words: words, note: r.note}
	return &Source{option: name, at: n, words: words, run: func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, r.patience())
		defer cancel()
		return run.output(ctx)
	}}, nil
}

// readCommand reads a list of a program and its arguments. A program with a slash in its name is beside the file; another is
// looked for in PATH.
func readCommand(n strictyaml.Node, advice string) ([]string, error) {
	items, err := n.Items()
	if err != nil {
		return nil, err
	}
	words := make([]string, len(items))
	for i, item := range items {
		if words[i], err = item.Text(); err != nil {
			return nil, err
		}
	}
	if len(words) == 0 || words[0] == "" {
		return nil, n.Errorf(advice, "there is no program in this list")
	}
	if strings.ContainsRune(words[0], os.PathSeparator) {
		words[0] = n.Beside(words[0])
	}
	return words, nil
}

// note logs to the connection's logger.
func (c *Connection) note(level slog.Level, message string, args ...any) {
	if c.Logger != nil {
		c.Logger.Log(context.Background(), level, message, args...)
	}
}

// warnOthers warns once of a file of secrets that everybody on the machine can read.
func (s *Source) warnOthers(info os.FileInfo) {
	if s.note == nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o004 == 0 {
		return
	}
	s.warned.Do(func() {
		s.note(slog.LevelWarn, "others can read the file of a secret: chmod o-r "+s.path, "for", s.option)
	})
}
