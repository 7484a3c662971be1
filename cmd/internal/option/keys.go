package option

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/strictyaml"
)

// A Branch is a key of a map, with those below it if it is the key of one.
type Branch struct {
	Option
	Below []Option
}

// Branches returns the keys of the map that has the keys of the options. about says what the maps
// in it are about, by key.
func Branches(options []Option, about map[string]string) []Branch {
	var list []Branch
	for _, o := range options {
		group, rest, dotted := strings.Cut(o.Key, ".")
		if !dotted {
			list = append(list, Branch{Option: o})
			continue
		}
		o.Key = rest
		i := slices.IndexFunc(list, func(b Branch) bool { return b.Key == group })
		if i < 0 {
			i = len(list)
			list = append(list, Branch{Option: Option{Key: group, About: about[group], Value: Described("map", nil)}})
		}
		list[i].Below = append(list[i].Below, o)
	}
	return list
}

// Fields are values of a config file by key. Keys of nested maps have dots: tls.ca_file.
type Fields map[string]strictyaml.Node

// Values returns those of a key, of which there is one at most.
func (f Fields) Values(key string) []strictyaml.Node {
	if n, said := f[key]; said {
		return []strictyaml.Node{n}
	}
	return nil
}

// ReadMap reads a map that has the keys of the options, and returns those that were found.
func ReadMap(n strictyaml.Node, options []Option) (Fields, error) {
	var wrong Problems
	found, err := Collect(n, options)
	wrong.Add(err)
	for _, o := range options {
		wrong.Add(o.ReadKey(found.Values(o.Key)...))
	}
	return found, wrong.Err()
}

// Collect returns the fields of a map that may have the keys of the options. Any other key is an
// error.
func Collect(n strictyaml.Node, options []Option) (Fields, error) {
	found := Fields{}
	list, err := n.Fields()
	if err != nil {
		return found, err
	}
	var wrong Problems
	known := Branches(options, nil)
	for _, field := range list {
		i := slices.IndexFunc(known, func(b Branch) bool { return b.Key == field.Name })
		switch {
		case i < 0:
			wrong.Add(UnknownKey(field, keysOf(known)...))
		case known[i].Below == nil:
			found[field.Name] = field.Value
		default:
			below, err := Collect(field.Value, known[i].Below)
			wrong.Add(err)
			for key, value := range below {
				found[field.Name+"."+key] = value
			}
		}
	}
	return found, wrong.Err()
}

func keysOf(list []Branch) []string {
	names := make([]string, len(list))
	for i, b := range list {
		names[i] = b.Key
	}
	return names
}

// UnknownKey returns the error about a key that is none of those known.
func UnknownKey(field strictyaml.Field, known ...string) error {
	return field.Key.Errorf("known here: "+strings.Join(known, ", "), "the key %q is not known here", field.Name)
}

// A Key is what a config file can say, for people to read about.
type Key struct {
	// Path is the key; a dot divides those of nested maps.
	Path string
	// Type says in a few words what the value looks like.
	Type string
	// Default is what is built in, as JSON; nil: nothing.
	Default json.RawMessage
	// Required says that the key must be there, where the map is that it belongs to.
	Required bool
	// About says what the key does.
	About string
}

// Describe returns the keys of the options, those of nested maps after that of the map. about is as
// of [Branches].
func Describe(prefix string, options []Option, about map[string]string) []Key {
	var keys []Key
	for _, b := range Branches(options, about) {
		keys = append(keys, Key{Path: prefix + b.Key, Type: b.Value.Name, Default: b.Value.DefJSON, Required: b.Required, About: b.About})
		keys = append(keys, Describe(prefix+b.Key+".", b.Below, about)...)
	}
	return keys
}

// Problems collects all that is wrong with a file, so that it can be put right at once.
type Problems struct {
	// Found are the errors in the order in which they were added.
	Found []error
}

// Add adds errors, or those that were joined in them. Nil is none.
func (p *Problems) Add(errs ...error) {
	for _, err := range errs {
		p.Found = append(p.Found, exit.Flatten(err)...)
	}
}

// Ordered returns the errors in the order of the file, without duplicates: each connection finds
// the errors of the defaults.
func (p *Problems) Ordered() []error {
	slices.SortStableFunc(p.Found, comparePlaces)
	p.Found = slices.CompactFunc(p.Found, func(a, b error) bool { return a.Error() == b.Error() })
	return p.Found
}

// Err returns what was found as one error, nil if that is nothing.
func (p *Problems) Err() error {
	switch found := p.Ordered(); len(found) {
	case 0:
		return nil
	case 1:
		return found[0]
	default:
		return errors.Join(found...)
	}
}

// comparePlaces compares where in a file the errors are. One without a place comes last.
func comparePlaces(a, b error) int {
	at := func(err error) (line, column int) {
		if e := (*exit.Error)(nil); errors.As(err, &e) && e.Line > 0 {
			return e.Line, e.Column
		}
		return int(^uint(0) >> 1), 0
	}
	aLine, aColumn := at(a)
	bLine, bColumn := at(b)
	return cmp.Or(cmp.Compare(aLine, bLine), cmp.Compare(aColumn, bColumn))
}
