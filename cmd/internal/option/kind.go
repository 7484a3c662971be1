package option

import (
	"encoding/json"

	"phx/cmd/internal/strictyaml"
)

// A Kind is what values of one sort have in common: how they are called, described, read and
// shown. An error of Parse is a predicate, "is not a number", because the caller says of what;
// one of Read has its place.
type Kind[T any] struct {
	// Name is what help calls a value of a key.
	Name string
	// Schema describes it for editors.
	Schema Shape
	// Parse parses the text of a flag, of a variable unless there is Env, and of a key unless
	// there is Read.
	Parse, Env func(text string) (T, error)
	// Read reads the value of a key. key is its name in errors.
	Read func(key string, n strictyaml.Node) (T, error)
	// Join adds what a flag says that is given again; nil: the last one counts.
	Join func(list, more T) T
	// Merge adds what a place says that counts less; nil: the first place counts.
	Merge func(list, less T) T
	// Switch says that the flag works without an argument.
	Switch bool
	// Choices are all texts that there are, for completion; nil: they cannot be listed.
	Choices []string

	// JSON is how a default is written; nil: as its text.
	JSON func(T) any
	// Literal says that the key of a number or a boolean is shown as one, and not as text.
	Literal bool
	// Show writes the value of a key without secrets; nil: as it is, with variables filled in.
	Show Form
	// Parts writes a value of several parts in a style; values are those that are merged.
	Parts func(as Style, values []strictyaml.Node) (json.RawMessage, error)
	// Canonical is equal for values that mean the same; nil: the value itself.
	Canonical func(T) any
}

// To returns the variable v with values of the kind. It is set to def, unless that is empty:
// there is no default then.
func (k Kind[T]) To(v *T, def string) Value {
	value := Value{
		Name: k.Name, Schema: k.Schema, def: def, isSwitch: k.Switch, repeats: k.Join != nil, merges: k.Merge != nil,
		Choices: k.Choices, literal: k.Literal, show: k.Show, parts: k.Parts, variable: &binding[T]{k, v},
	}
	if def == "" {
		return value
	}
	var err error
	if *v, err = k.Parse(def); err != nil {
		panic("option: the default " + def + " " + err.Error())
	}
	value.DefJSON = JSONOf(def)
	if k.JSON != nil {
		value.DefJSON = JSONOf(k.JSON(*v))
	}
	return value
}

// A Value is a variable with the kind of its values.
type Value struct {
	variable
	Name   string
	Schema Shape
	// Choices are all texts that there are; nil: they cannot be listed.
	Choices []string
	// def is the default as flags show it, defJSON that of the key; empty: none.
	def                       string
	DefJSON                   json.RawMessage
	isSwitch, repeats, merges bool
	isPair                    bool // see Pairs
	literal                   bool
	show                      Form
	parts                     func(as Style, values []strictyaml.Node) (json.RawMessage, error)
}

// A variable is what an option sets.
type variable interface {
	parse(from Origin, text string) error
	read(o *Option, values []strictyaml.Node) error
	Canonical() any
}

// A binding is a variable of a type.
type binding[T any] struct {
	kind Kind[T]
	v    *T
}

func (b *binding[T]) parse(from Origin, text string) error {
	parse := b.kind.Parse
	if from == FromEnv && b.kind.Env != nil {
		parse = b.kind.Env
	}
	value, err := parse(text)
	if err != nil {
		return err
	}
	if b.kind.Join != nil {
		value = b.kind.Join(*b.v, value)
	}
	*b.v = value
	return nil
}

func (b *binding[T]) read(o *Option, values []strictyaml.Node) error {
	for _, n := range values {
		value, err := b.readOne(o, n)
		if err != nil {
			return err
		}
		if b.kind.Merge == nil {
			*b.v = value
			return nil
		}
		*b.v = b.kind.Merge(*b.v, value)
	}
	return nil
}

func (b *binding[T]) readOne(o *Option, n strictyaml.Node) (T, error) {
	if b.kind.Read != nil {
		return b.kind.Read(o.Key, n)
	}
	text, err := n.Text()
	if err != nil {
		return *b.v, err
	}
	value, err := b.kind.Parse(text)
	if err != nil {
		err = o.wrongKey(n, err)
	}
	return value, err
}

func (b *binding[T]) Canonical() any {
	if b.kind.Canonical != nil {
		return b.kind.Canonical(*b.v)
	}
	return *b.v
}

// Checked is a value that a function parses, the default, if there is one, included.
func Checked[T any](v *T, def string, parse func(string) (T, error)) Value {
	return Kind[T]{Parse: parse}.To(v, def)
}

// Repeated is a value of which each occurrence adds to v. Nothing is split.
func Repeated[T any](v *[]T, parse func(string) (T, error)) Value {
	return Kind[[]T]{Parse: OneOf(parse), Join: Joined[T]}.To(v, "")
}

// OneOf parses a list of one.
func OneOf[T any](parse func(string) (T, error)) func(string) ([]T, error) {
	return func(text string) ([]T, error) {
		value, err := parse(text)
		return []T{value}, err
	}
}

func Joined[T any](list, more []T) []T { return append(list, more...) }

// With returns the kind with another schema.
func (k Kind[T]) With(s Shape) Kind[T] {
	k.Schema = s
	return k
}

// Described is a key that only describes: what is below it is read by somebody else.
func Described(name string, s Shape) Value {
	return Value{Name: name, Schema: s}
}

// Among returns the value, one of those choices, which completion offers.
func (v Value) Among(choices ...string) Value {
	v.Choices = choices
	return v
}
