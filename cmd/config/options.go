// Package config is the one model of what can be set: each [Option] is declared once, with its flag, its environment
// variable, its key in a config file, its default and its help, and resolved by one rule, that of [Set.Resolve].
//
// A config file is a [File] of named connections. A [Selection] chooses one of them, an [Entry], which a [Set] then uses. The keys
// that a connection can have are those that the options declare.
//
// The options of a connection end in [Connection], which makes the [phoenix.Options]; those of printing in [Output], those of
// logging in [Logging].
//
// What a server of connections needs is read by [File.Serve], and each connection by [Entry.Resolve]; [Validate] does both, and
// [File.Show] writes what they come to. [Schema] is made of the options that all of them read with. They report all that is wrong at
// once, each with its place, and speak of keys, not of flags.
//
// Texts of options marked Secret appear in no error: neither a wrong one nor one that could not be used.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"phx/cmd/internal/strictyaml"
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

// A Value parses the text of an [Option] into a variable. Errors of parsing are predicates, "is not a number", because
// the caller says of what.
type Value struct {
	parse func(text string) error
	// parseEnv parses the text of the environment variable, where that means something else.
	parseEnv func(text string) error
	// read reads the value of the key in a config file; nil: it is a text like the flag's.
	read func(n strictyaml.Node) error
	// shown is the default as help shows it, def that of the key, as JSON has it; nil: none.
	shown string
	def   any
	// shape is what the value of the key looks like.
	shape shape
	// masked returns the value of the key with nothing in it that may be secret; nil: there cannot be.
	masked func(n strictyaml.Node) (json.RawMessage, error)
	// isSwitch says that the flag works without an argument.
	isSwitch bool
	// repeats says that each occurrence counts, and not only the last.
	repeats bool
}

// Text is a value that is taken as it is.
func Text(v *string, def string) Value {
	*v = def
	return Value{shown: def, shape: textShape, parse: func(text string) error {
		*v = text
		return nil
	}}
}

// Checked is a value that a function parses, the default, if there is one, included.
func Checked[T any](v *T, def string, parse func(string) (T, error)) Value {
	set := func(text string) error {
		parsed, err := parse(text)
		if err == nil {
			*v = parsed
		}
		return err
	}
	if def != "" {
		if err := set(def); err != nil {
			panic("config: the default " + def + " " + err.Error())
		}
	}
	value := Value{shown: def, shape: textShape, parse: set}
	if def != "" {
		value.def = def
	}
	return value
}

// Repeated is a value of which each occurrence adds to v. Nothing is split.
func Repeated[T any](v *[]T, parse func(string) (T, error)) Value {
	return Value{repeats: true, parse: func(text string) error {
		parsed, err := parse(text)
		if err == nil {
			*v = append(*v, parsed)
		}
		return err
	}}
}

// Switch is a value that is on when its flag is given.
func Switch(v *bool) Value {
	return Value{isSwitch: true, read: keyOnly(v).read, shape: boolShape, def: false, parse: func(text string) error {
		parsed, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("is neither true nor false")
		}
		*v = parsed
		return nil
	}}
}

// Choice is a value that is one of the given texts, the first by default.
func Choice(v *string, choices ...string) Value {
	return Checked(v, choices[0], func(text string) (string, error) {
		if !slices.Contains(choices, text) {
			return "", fmt.Errorf("is none of %s", strings.Join(choices, ", "))
		}
		return text, nil
	}).shaped(choiceShape(choices...))
}

// shaped is the value with another shape of its key.
func (v Value) shaped(s shape) Value {
	v.shape = s
	return v
}

// Duration is a value of more than no time.
func Duration(v *time.Duration, def string) Value {
	return Checked(v, def, func(text string) (time.Duration, error) {
		d, err := ParseDuration(text)
		if err == nil && d == 0 {
			err = errors.New("is no time at all")
		}
		return d, err
	})
}

// Durations is a value of one or more durations with commas between them.
func Durations(v *[]time.Duration, def string) Value {
	return Checked(v, def, func(text string) ([]time.Duration, error) {
		var list []time.Duration
		for item := range strings.SplitSeq(text, ",") {
			d, err := ParseDuration(strings.TrimSpace(item))
			if err != nil {
				return nil, errors.New("is not a list of durations")
			}
			list = append(list, d)
		}
		return list, nil
	})
}

// Size is a value of one or more bytes.
func Size(v *int64, def string) Value { return Checked(v, def, ParseSize).shaped(sizeShape) }

// Count is a number of at least 1; without a default, 0 stands for none given.
func Count(v *int, def string) Value {
	return Checked(v, def, func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, errors.New("is not a number of at least 1")
		}
		return n, nil
	})
}

var errNotDuration = errors.New("is not a duration")

// ParseDuration parses a duration in Go's syntax (1m30s, 250ms) or a bare number of seconds (10, 0.5). It is never
// negative.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		seconds, numErr := strconv.ParseFloat(text, 64)
		// ParseFloat also takes hexadecimal numbers, underscores, infinities and words for them.
		if numErr != nil || strings.Trim(text, "0123456789.+-") != "" || math.Abs(seconds) >= math.MaxInt64/1e9 {
			return 0, errNotDuration
		}
		d = time.Duration(math.Round(seconds * float64(time.Second)))
	}
	if d < 0 {
		return 0, errors.New("is negative")
	}
	return d, nil
}

var errNotSize = errors.New("is not a size: bytes, or a number with KiB, MiB or GiB")

// ParseSize parses a number of bytes: 65536, 64KiB, 1MiB, 2GiB. It is at least 1.
func ParseSize(text string) (int64, error) {
	digits, factor := text, int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if before, ok := strings.CutSuffix(text, unit); ok {
			digits, factor = strings.TrimRight(before, " "), int64(1)<<(10*(i+1))
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n == 0 || n > uint64(math.MaxInt64/factor) {
		return 0, errNotSize
	}
	return int64(n) * factor, nil
}
