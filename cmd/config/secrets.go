package config

import (
	"encoding/base64"
	"os"
	"strconv"
	"strings"

	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/cmd/internal/strictyaml"
)

// canonicalSource says where the text comes from, and nothing about where that is said.
func canonicalSource(s *secret.Source) any {
	switch {
	case s == nil:
		return nil
	case s.Command != nil:
		return []any{"command", s.Command}
	case s.Path != "":
		return []any{"file", s.Path}
	}
	return []any{"text", strconv.QuoteToASCII(s.Literal)} // which tells texts apart that are no UTF-8
}

const secretHint = "right ones: a text, {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"

// secretKeys are those of a map that says where a secret is.
var secretKeys = []option.Option{
	{Key: "env", Value: option.Described("text", option.WordShape), About: "Name of an environment variable, which must be set."},
	{Key: "file", Value: option.Described("text", option.WordShape), About: "File with the secret, read again each time; a relative path begins beside the config file."},
	{Key: "command", Value: option.Described("list of texts", option.CommandShape), About: "Program with its arguments that prints the secret, run again each time, without a shell."},
}

// tokenKind is a file by its flag, the token itself by its variable, and any secret by its key.
var tokenKind = option.Kind[*secret.Source]{Name: "secret", Schema: option.RefTo("secret"), Show: maskedSecret, Canonical: canonicalSource,
	Parse: fileKind("--auth-token-file").Parse,
	Env:   func(text string) (*secret.Source, error) { return &secret.Source{Literal: text}, nil },
	Read: func(key string, n strictyaml.Node) (*secret.Source, error) {
		s, err := readSecret(key, n)
		if err == nil && s.IsLiteral() && s.Literal == "" { // ${TOKEN:-}: without TOKEN, none
			s = nil
		}
		return s, err
	}}

// signingKind is a key to sign with, a secret that is not empty.
var signingKind = option.Kind[*secret.Source]{Name: "secret", Schema: option.RefTo("key"), Show: maskedSecret, Canonical: canonicalSource,
	Read: func(key string, n strictyaml.Node) (*secret.Source, error) {
		s, err := readSecret(key, n)
		if err != nil || !s.IsLiteral() {
			return s, err
		}
		text := secret.Trim(s.Literal)
		if text == "" {
			return nil, n.Errorf(secretHint, "the secret is empty")
		}
		if err := secret.CheckVisible(text, false); err != nil {
			return nil, n.Errorf("write the secret again without it", "the secret %v, which is invisible", err)
		}
		encoded, isEncoded := strings.CutPrefix(text, "whsec_")
		if _, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "=")); isEncoded && err != nil {
			return nil, n.Errorf("copy all of it, or take another key, which does not begin with whsec_", "what follows whsec_ is not base64")
		}
		return s, nil
	}}

// readSecret reads a text, {env: V}, {file: F} or {command: [...]}.
func readSecret(key string, n strictyaml.Node) (*secret.Source, error) {
	s := &secret.Source{Option: sourceName(key, n), At: n, Secret: true}
	if !n.IsMap() {
		var err error
		s.Literal, err = n.Text()
		return s, err
	}
	list, err := n.Fields()
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, n.Errorf(secretHint, "this has %d keys, and should have one of env, file and command", len(list))
	}
	value := list[0].Value
	s.At = value
	switch list[0].Name {
	case "env":
		s.Literal, err = readVariable(value)
	case "file":
		if s, err = readFile(key+".file", value); err == nil {
			s.Secret = true
		}
	case "command":
		s.Command, err = readCommand(value, secretHint)
	default:
		err = list[0].Key.Errorf(secretHint, "the key %q is not known here", list[0].Name)
	}
	return s, err
}

// readVariable reads a variable at once: the environment of a process stays as it is.
func readVariable(n strictyaml.Node) (string, error) {
	name, err := n.Text()
	if err != nil {
		return "", err
	}
	value, _ := n.Lookup(name)
	if value == "" {
		return "", n.Errorf("set it", "the variable %s is not set, or empty", name)
	}
	return value, nil
}

// readFile reads the path of a file beside the config file.
func readFile(key string, n strictyaml.Node) (*secret.Source, error) {
	path, err := n.Text()
	if err == nil && path == "" {
		err = n.Errorf("give the name of a file", "%s is empty", key)
	}
	if err != nil {
		return nil, err
	}
	return &secret.Source{Option: sourceName(key, n), At: n, Path: n.Beside(path)}, nil
}

// sourceName is how errors call the value of a key.
func sourceName(key string, n strictyaml.Node) string { return key + " (" + n.Position() + ")" }

// readCommand reads a program and its arguments. A program with a slash is relative to the config
// file; any other is found by PATH.
func readCommand(n strictyaml.Node, hint string) ([]string, error) {
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
		return nil, n.Errorf(hint, "there is no program in this list")
	}
	if strings.ContainsRune(words[0], os.PathSeparator) {
		words[0] = n.Beside(words[0])
	}
	return words, nil
}
