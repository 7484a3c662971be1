// Package config is the model of everything that can be set. Each [Option] is declared once:
// flag, environment variable, key in a config file, kind of value, default and help. Flags,
// parser, `config show`, `config schema`, the help pages and the fingerprint loop over options
// and ask the kind.
//
// A [File] holds named connections. A [Selection] chooses one, an [Entry], and a [Set] resolves
// options with it. The options of a connection end in a [Connection], which builds the
// [phoenix.Options].
//
// A server uses [File.Serve] and, for each connection, [Entry.Resolve]. [Validate] does both;
// [File.Show] writes the result. These report every error at once, each with its place, and name
// keys instead of flags.
//
// Errors are [*exit.Error]s, or several joined. They never contain the text of an option marked
// Secret.
package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/strictyaml"
)

// An Option is one setting.
type Option struct {
	// Flag is the long name without dashes; empty: only a config file or the environment sets the
	// option. Shorthand is one letter or empty.
	Flag, Shorthand string
	// Env is the environment variable that counts where the flag is not given; empty: none. A
	// variable that is empty counts as unset.
	Env string
	// Key is the key in a config file; empty: none. A dot divides the keys of nested maps.
	Key string
	// Usage is the help of the flag. What stands in backquotes names the argument.
	Usage string
	// About is the help of the key.
	About string
	// Required says that the key must be in the map that it belongs to.
	Required bool
	// Example is a right value, for the error about a wrong one.
	Example string
	// Secret says that the text given may hold a secret and must not appear in an error.
	Secret bool
	// Value is the variable that the option sets, with the kind of its values and the default.
	Value Value

	// from, if set, is told where the value came from.
	from *origin
}

// An origin is where a value came from.
type origin int

const (
	fromDefault origin = iota
	fromKey
	fromEnv
	fromFlag
)

func (o *Option) note(from origin) {
	if o.from != nil {
		*o.from = from
	}
}

// A Set is the options of one command.
type Set struct {
	settings []*setting
	entry    *Entry
}

// NewSet returns the set of the given options.
func NewSet(groups ...[]Option) *Set {
	s := &Set{}
	for _, group := range groups {
		for _, o := range group {
			s.settings = append(s.settings, &setting{Option: o})
		}
	}
	return s
}

// Bind adds the flags of the options to fs. Parsing flags only collects their texts;
// [Set.Resolve] parses them, so that wrong flags and wrong variables are reported alike.
func (s *Set) Bind(fs *pflag.FlagSet) {
	for _, o := range s.settings {
		if o.Flag == "" {
			continue
		}
		usage := o.Usage
		if o.Env != "" {
			usage += " [$" + o.Env + "]"
		}
		f := fs.VarPF(o, o.Flag, o.Shorthand, usage)
		if o.Value.isSwitch {
			f.NoOptDefVal = "true"
		}
	}
}

// Use takes a connection of a config file into account; nil is none.
func (s *Set) Use(entry *Entry) { s.entry = entry }

// Resolve sets each option from the first of: its flags, the connection of [Set.Use] if it was
// named, the environment, the connection if it was not named, the defaults of its file. Params
// and headers of several places add up, by name.
func (s *Set) Resolve(lookupEnv func(string) (string, bool)) error {
	for _, o := range s.settings {
		if err := o.resolve(lookupEnv, s.entry); err != nil {
			return err
		}
	}
	return nil
}

// A setting is an option with the texts its flag was given. It is a [pflag.Value].
type setting struct {
	Option
	texts []string
}

func (o *setting) resolve(lookupEnv func(string) (string, bool), entry *Entry) error {
	switch text := ""; {
	case len(o.texts) > 0:
		if err := o.parseFlags(); err != nil || !o.Value.merges {
			return err
		}
	case entry.ranksBeforeEnv(o.Key):
	case o.Env != "":
		if text, _ = lookupEnv(o.Env); text != "" {
			o.note(fromEnv)
			return o.wrong(o.Env, text, o.Env+"="+o.Example, o.Value.parse(fromEnv, text))
		}
	}
	return o.readKey(entry.values(o.Key)...)
}

func (o *setting) parseFlags() error {
	texts := o.texts
	if !o.Value.repeats {
		texts = texts[len(texts)-1:]
	}
	for _, text := range texts {
		if err := o.Value.parse(fromFlag, text); err != nil {
			return o.wrong("--"+o.Flag, text, "--"+o.Flag+" "+o.Example, err)
		}
	}
	o.note(fromFlag)
	return nil
}

// wrong makes the error about a text that does not parse, nil of nil.
func (o *Option) wrong(from, text, example string, err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	if o.Example != "" {
		hint = "a right one: " + example
	}
	if o.Secret {
		return exit.Usagef(hint, "the value of %s %v", from, err)
	}
	return exit.Usagef(hint, "%s %q %v", from, text, err)
}

// readKey sets the option from the values of its key, the one that counts most first. Without any
// it does nothing.
func (o *Option) readKey(values ...strictyaml.Node) error {
	if len(values) == 0 {
		return nil
	}
	o.note(fromKey)
	return o.Value.read(o, values)
}

// wrongKey is the error about a key's text that does not parse. It repeats the text as written: a
// variable that was filled in may hold a secret.
func (o *Option) wrongKey(n strictyaml.Node, err error) error {
	hint := ""
	if o.Example != "" {
		hint = "a right one: " + o.Key[strings.LastIndexByte(o.Key, '.')+1:] + ": " + o.Example
	}
	if o.Secret {
		return n.Errorf(hint, "the value of %s %v", o.Key, err)
	}
	return n.Errorf(hint, "%s %q %v", o.Key, n.Raw(), err)
}

// String implements [pflag.Value]; pflag takes the default that help shows from it.
func (o *setting) String() string { return o.Value.def }

// Type implements [pflag.Value]; the argument's name stands in the usage text.
func (o *setting) Type() string {
	if o.Value.isSwitch {
		return "bool"
	}
	return "value"
}

// Set implements [pflag.Value].
func (o *setting) Set(text string) error {
	o.texts = append(o.texts, text)
	return nil
}

// OptionOf returns the option behind a flag that [Set.Bind] has added.
func OptionOf(f *pflag.Flag) (Option, bool) {
	o, ok := f.Value.(*setting)
	if !ok {
		return Option{}, false
	}
	return o.Option, true
}

// A branch is a key of a map, with those below it if it is the key of one.
type branch struct {
	Option
	below []Option
}

// branches returns the keys of the map that has the keys of the options.
func branches(options []Option) []branch {
	var list []branch
	for _, o := range options {
		group, rest, dotted := strings.Cut(o.Key, ".")
		if !dotted {
			list = append(list, branch{Option: o})
			continue
		}
		o.Key = rest
		i := slices.IndexFunc(list, func(b branch) bool { return b.Key == group })
		if i < 0 {
			i = len(list)
			list = append(list, branch{Option: Option{Key: group, About: aboutMaps[group], Value: described("map", nil)}})
		}
		list[i].below = append(list[i].below, o)
	}
	return list
}

// fields are values of a config file by key. Keys of nested maps have dots: tls.ca_file.
type fields map[string]strictyaml.Node

// values returns those of a key, of which there is one at most.
func (f fields) values(key string) []strictyaml.Node {
	if n, said := f[key]; said {
		return []strictyaml.Node{n}
	}
	return nil
}

// readOptions reads a map that has the keys of the options, and returns those that were found.
func readOptions(n strictyaml.Node, options []Option) (fields, error) {
	var wrong problems
	found, err := collect(n, options)
	wrong.add(err)
	for _, o := range options {
		wrong.add(o.readKey(found.values(o.Key)...))
	}
	return found, wrong.err()
}

// collect returns the fields of a map that may have the keys of the options. Any other key is an
// error.
func collect(n strictyaml.Node, options []Option) (fields, error) {
	found := fields{}
	list, err := n.Fields()
	if err != nil {
		return found, err
	}
	var wrong problems
	known := branches(options)
	for _, field := range list {
		i := slices.IndexFunc(known, func(b branch) bool { return b.Key == field.Name })
		switch {
		case i < 0:
			wrong.add(unknownKey(field, keysOf(known)...))
		case known[i].below == nil:
			found[field.Name] = field.Value
		default:
			below, err := collect(field.Value, known[i].below)
			wrong.add(err)
			for key, value := range below {
				found[field.Name+"."+key] = value
			}
		}
	}
	return found, wrong.err()
}

func keysOf(list []branch) []string {
	names := make([]string, len(list))
	for i, b := range list {
		names[i] = b.Key
	}
	return names
}

func unknownKey(field strictyaml.Field, known ...string) error {
	return field.Key.Errorf("known here: "+strings.Join(known, ", "), "the key %q is not known here", field.Name)
}
