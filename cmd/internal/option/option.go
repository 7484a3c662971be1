// Package option is the mechanism of options: what an [Option] and the [Kind] of its values are, and
// how options are set from flags, variables and a config file, shown, described as a JSON Schema and
// compared. Package config and the commands declare which options there are; this package knows none
// of them.
//
// Errors are [*exit.Error]s, or several joined. They never contain the text of an option marked
// Secret.
package option

import (
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

	// Group is where the option stands in the help of a command. Common says that the short help has it, too, which has all of
	// [Own].
	Group  Group
	Common bool

	// From, if set, is told where the value came from.
	From *Origin
}

// A Group is the options that stand together in the help of a command.
type Group int

// The groups, in the order in which help shows them.
const (
	// Own is what only the command has, or few: all that has no other group.
	Own Group = iota
	Printing
	Ending
	Connecting
	Securing
	Timing
	Logging
)

var groupTitles = []string{"Options", "What to print", "When to end", "Where to connect", "TLS and proxy", "Time and retries", "Log"}

// Groups returns all groups in their order.
func Groups() []Group {
	groups := make([]Group, len(groupTitles))
	for i := range groups {
		groups[i] = Group(i)
	}
	return groups
}

// String returns the title of the group.
func (g Group) String() string { return groupTitles[g] }

// In returns the options with the group, unless they have another.
func (g Group) In(options ...Option) []Option {
	for i := range options {
		if options[i].Group == Own {
			options[i].Group = g
		}
	}
	return options
}

// An Origin is where a value came from.
type Origin int

// The places of a value, the one that counts least first. A connection that was named counts before
// the environment.
const (
	FromDefault Origin = iota
	FromKey
	FromEnv
	FromFlag
)

func (o *Option) note(from Origin) {
	if o.From != nil {
		*o.From = from
	}
}

// A Set is the options of one command.
type Set struct {
	settings []*setting
	source   Source
}

// A Source has values for keys: a connection of a config file. This package does not know what
// such a file is made of.
type Source interface {
	// Values returns those of a key, the one that counts most first; none if the key is empty.
	Values(key string) []strictyaml.Node
	// RanksBeforeEnv reports whether the value of a key counts before the environment.
	RanksBeforeEnv(key string) bool
}

// noSource has no values.
type noSource struct{}

func (noSource) Values(string) []strictyaml.Node { return nil }
func (noSource) RanksBeforeEnv(string) bool      { return false }

// NewSet returns the set of the given options.
func NewSet(groups ...[]Option) *Set {
	s := &Set{source: noSource{}}
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

// Use takes the values of source into account.
func (s *Set) Use(source Source) { s.source = source }

// Resolve sets each option from the first of: its flags, the connection of [Set.Use] if it was
// named, the environment, the connection if it was not named, the defaults of its file. Params
// and headers of several places add up, by name.
func (s *Set) Resolve(lookupEnv func(string) (string, bool)) error {
	for _, o := range s.settings {
		if err := o.resolve(lookupEnv, s.source); err != nil {
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

func (o *setting) resolve(lookupEnv func(string) (string, bool), source Source) error {
	switch text := ""; {
	case len(o.texts) > 0:
		if err := o.parseFlags(); err != nil || !o.Value.merges {
			return err
		}
	case source.RanksBeforeEnv(o.Key):
	case o.Env != "":
		if text, _ = lookupEnv(o.Env); text != "" {
			o.note(FromEnv)
			return o.wrong(o.Env, text, o.Env+"="+o.Example, o.Value.parse(FromEnv, text))
		}
	}
	return o.ReadKey(source.Values(o.Key)...)
}

func (o *setting) parseFlags() error {
	texts := o.texts
	if !o.Value.repeats {
		texts = texts[len(texts)-1:]
	}
	for _, text := range texts {
		if err := o.Value.parse(FromFlag, text); err != nil {
			return o.wrong("--"+o.Flag, text, "--"+o.Flag+" "+o.Example, err)
		}
	}
	o.note(FromFlag)
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

// ReadKey sets the option from the values of its key, the one that counts most first. Without any
// it does nothing.
func (o *Option) ReadKey(values ...strictyaml.Node) error {
	if len(values) == 0 {
		return nil
	}
	o.note(FromKey)
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
