package config

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"phx/cmd/internal/strictyaml"
)

const secretAdvice = "right ones: a text, {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"

// readSecret reads a value that may be elsewhere: a text, {env: V}, {file: F} or {command: [...]}. key is its name in
// errors.
func (c *Connection) readSecret(key string, n strictyaml.Node) (*Source, error) {
	name := sourceName(key, n)
	if !n.IsMap() {
		text, err := n.Text()
		return &Source{option: name, literal: text}, err
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
		s.note = c.note
		return s, err
	case "command":
		return c.readCommandSecret(name, field.Value)
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
	return &Source{option: name, literal: value}, nil
}

func (c *Connection) readCommandSecret(name string, n strictyaml.Node) (*Source, error) {
	items, err := n.Items()
	if err != nil {
		return nil, err
	}
	var words []string
	for _, item := range items {
		word, err := item.Text()
		if err != nil {
			return nil, err
		}
		words = append(words, word)
	}
	if len(words) == 0 || words[0] == "" {
		return nil, n.Errorf(secretAdvice, "there is no program in this list")
	}
	if strings.ContainsRune(words[0], os.PathSeparator) {
		words[0] = n.Beside(words[0]) // as with files; a bare name is looked for in PATH
	}
	run := &secretCommand{name: name, words: words, note: c.note}
	return &Source{option: name, run: func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
		defer cancel()
		return run.output(ctx)
	}}, nil
}

// note logs something about a secret, which is not part of it.
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
