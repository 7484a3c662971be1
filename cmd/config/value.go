package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/strictyaml"
)

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
