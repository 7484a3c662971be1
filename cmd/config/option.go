package config

import (
	"fmt"

	"github.com/spf13/pflag"
)

// An Option is one setting.
type Option struct {
	// Flag is the long name, without dashes; empty for what only a config file can set, or the environment, because the
	// command line is no place for it. Shorthand is one letter or empty.
	Flag, Shorthand string
	// Env is the environment variable that sets the option where the flag does not; empty: none. An empty variable
	// counts as unset.
	Env string
	// Key is what sets the option in the connection of a config file; empty: nothing there does. A dot divides the keys of
	// nested maps.
	Key string
	// Usage is the help. What stands in backquotes names the argument.
	Usage string
	// Example is a right value, for the error about a wrong one.
	Example string
	// Secret says that the text given may hold a secret and must not appear in an error.
	Secret bool
	// Value parses the text.
	Value Value
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

// Bind adds the flags of the options to fs. Parsing flags only collects their texts: [Set.Resolve] parses them, so that
// wrong ones from the command line and from the environment are reported alike.
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

// Resolve parses what is said about each option, by the first of: its flags, the connection of [Set.Use] if it was named, the
// environment, the connection if it was not named, the defaults of its file. Of an option that repeats, what the later
// ones say is added if it has another name. The error is a [*UsageError], or a positioned one of the file.
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
	named, found := entry.ranked()
	takes := []func() (said bool, err error){
		o.takeFlags,
		func() (bool, error) { return o.takeKey(named) },
		func() (bool, error) { return o.takeEnv(lookupEnv) },
		func() (bool, error) { return o.takeKey(found) },
		func() (bool, error) { return o.takeKey(entry.fallback()) },
	}
	for _, take := range takes {
		if said, err := take(); err != nil || said && !o.Value.repeats {
			return err
		}
	}
	return nil
}

func (o *setting) takeFlags() (said bool, err error) {
	texts := o.texts
	if len(texts) > 1 && !o.Value.repeats {
		texts = texts[len(texts)-1:]
	}
	for _, text := range texts {
		if err := o.Value.parse(text); err != nil {
			return true, o.wrong("--"+o.Flag, text, "--"+o.Flag+" "+o.Example, err)
		}
	}
	return len(texts) > 0, nil
}

func (o *setting) takeEnv(lookupEnv func(string) (string, bool)) (said bool, err error) {
	if o.Env == "" {
		return false, nil
	}
	text, ok := lookupEnv(o.Env)
	if !ok || text == "" {
		return false, nil
	}
	parse := o.Value.parse
	if o.Value.parseEnv != nil {
		parse = o.Value.parseEnv
	}
	if err := parse(text); err != nil {
		return true, o.wrong(o.Env, text, o.Env+"="+o.Example, err)
	}
	return true, nil
}

// wrong makes the error about a text that does not parse.
func (o *setting) wrong(from, text, example string, err error) error {
	e := &UsageError{Message: fmt.Sprintf("%s %q %v", from, text, err)}
	if o.Secret {
		e.Message = fmt.Sprintf("the value of %s %v", from, err)
	}
	if o.Example != "" {
		e.Advice = "a right one: " + example
	}
	return e
}

// String implements [pflag.Value]; pflag takes the default that help shows from it.
func (o *setting) String() string { return o.Value.shown }

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
