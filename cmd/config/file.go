package config

import (
	"fmt"
	"slices"
	"strings"

	"phx/cmd/internal/strictyaml"
	"phx/signal"
)

// A File is a config file. Its keys are checked when it is read, all of them; the values of a connection when somebody
// resolves options for it, so that it need not have the variables of the others.
type File struct {
	// Name is what it is called in messages.
	Name string
	// Entries are its connections, in the order of the file.
	Entries []*Entry

	defaults fields
	// serve holds the values of serveKeys that there are.
	serve fields
}

// An Entry is a connection of a config file.
type Entry struct {
	// Name is the connection's: the entry's key name, by default the key that it stands under.
	Name string
	// named says that it was asked for by its name, and not only found in the file.
	named         bool
	own, defaults fields
	// key is what it stands under, and at is where that is.
	key string
	at  strictyaml.Node
}

// fields are the values by their keys; those of nested maps have names with dots, such as tls.ca_file.
type fields map[string]strictyaml.Node

// The keys at the top of a file, beside connections and defaults.
var (
	// sharedKeys hold for every connection, and cannot be set for one of them.
	sharedKeys = []string{"require_wss"}
	// serveKeys say what a server of connections does with signals. Commands with one connection have no use for them, and leave
	// it to a server to look into them: one file can be for both.
	serveKeys = []string{"sinks", "routes", "control", "http"}
)

// ParseFile parses a config file; name is its name in messages. An error is all that is wrong, joined, each a positioned
// [*strictyaml.Error].
func ParseFile(name string, data []byte, lookupEnv func(string) (string, bool)) (*File, error) {
	f, err := parseFile(name, data, lookupEnv)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// parseFile is ParseFile that returns what could be understood, too, nil if nothing.
func parseFile(name string, data []byte, lookupEnv func(string) (string, bool)) (*File, error) {
	root, err := strictyaml.Parse(name, data, lookupEnv)
	if err != nil {
		return nil, err
	}
	top, err := root.Fields()
	if err != nil {
		return nil, err
	}
	f, keys := &File{Name: name, defaults: fields{}, serve: fields{}}, connectionKeys()
	shared := fields{}
	var wrong problems
	var connections strictyaml.Node
	for _, field := range top {
		switch {
		case field.Name == "connections":
			connections = field.Value
		case field.Name == "defaults":
			wrong.add(keys.collect(field.Value, "", f.defaults))
		case slices.Contains(sharedKeys, field.Name):
			shared[field.Name] = field.Value
		case slices.Contains(serveKeys, field.Name):
			f.serve[field.Name] = field.Value
		default:
			known := append([]string{"connections", "defaults"}, append(slices.Clone(sharedKeys), serveKeys...)...)
			wrong.add(field.Key.Errorf("known here: "+strings.Join(known, ", "), "the key %q is not known here", field.Name))
		}
	}
	for key, value := range shared {
		f.defaults[key] = value
	}
	wrong.add(f.addEntries(connections, keys))
	return f, wrong.err()
}

func (f *File) addEntries(connections strictyaml.Node, keys keySet) error {
	if !connections.Exists() {
		return nil
	}
	list, err := connections.Fields()
	if err != nil {
		return err
	}
	var wrong problems
	for _, field := range list {
		e := &Entry{own: fields{}, defaults: f.defaults, key: field.Name, at: field.Key}
		wrong.add(keys.collect(field.Value, "", e.own))
		where, err := e.findName(field)
		if err == nil && f.entry(e.Name) != nil {
			err = where.Errorf("give each its own name", "a second connection is called %q", e.Name)
		}
		if err != nil {
			wrong.add(err)
			continue
		}
		e.own["name"] = where
		f.Entries = append(f.Entries, e)
	}
	return wrong.err()
}

// findName finds out what the entry that stands under a key is called, and returns where that is written.
func (e *Entry) findName(field strictyaml.Field) (strictyaml.Node, error) {
	where, ok := e.field("name")
	if !ok {
		e.Name = field.Name
		if err := signal.CheckName(e.Name); err != nil {
			return field.Key, field.Key.Errorf("give it another key, or a name: of its own", "%v", err)
		}
		return field.Key, nil
	}
	var err error
	if e.Name, err = where.Text(); err != nil {
		return where, err
	}
	if err := signal.CheckName(e.Name); err != nil {
		return where, where.Errorf("a right one: name: backend", "the name cannot be used: %v", err)
	}
	return where, nil
}

// field returns what the file says about a key of the connection.
func (e *Entry) field(key string) (strictyaml.Node, bool) {
	n, ok := e.own[key]
	if !ok {
		n, ok = e.defaults[key]
	}
	return n, ok
}

// entry returns the connection of a name, nil if there is none.
func (f *File) entry(name string) *Entry {
	for _, e := range f.Entries {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// Entry returns the connection of a name, to be used as one that was asked for by it.
func (f *File) Entry(name string) (*Entry, error) {
	e := f.entry(name)
	if e == nil {
		return nil, &UsageError{Message: fmt.Sprintf("there is no connection %q in %s", name, f.Name), Advice: f.advice()}
	}
	named := *e
	named.named = true
	return &named, nil
}

// Default returns the connection to use when none is named: the one called default, or the only one; nil if there is neither.
func (f *File) Default() *Entry {
	if len(f.Entries) == 1 {
		return f.Entries[0]
	}
	return f.entry("default")
}

// advice says which connections there are.
func (f *File) advice() string {
	if len(f.Entries) == 0 {
		return "it has no connections"
	}
	return "name one of its connections with -n: " + strings.Join(f.names(), ", ")
}

func (f *File) names() []string {
	names := make([]string, len(f.Entries))
	for i, e := range f.Entries {
		names[i] = e.Name
	}
	return names
}

// ranked returns the entry's own keys, before or behind the environment: whoever names a connection wants that one,
// whatever variables are set for others. The other one is nil.
func (e *Entry) ranked() (beforeEnv, behindEnv fields) {
	switch {
	case e == nil:
		return nil, nil
	case e.named:
		return e.own, nil
	}
	return nil, e.own
}

// fallback returns the defaults of the file.
func (e *Entry) fallback() fields {
	if e == nil {
		return nil
	}
	return e.defaults
}
