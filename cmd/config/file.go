package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
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

// FileOptions declares the options of commands that are about a config file as a whole: which one.
func (s *Selection) FileOptions() []Option {
	return []Option{
		{Flag: "config", Shorthand: "f", Env: "PHX_CONFIG", Value: s.pathValue(),
			Usage: "config `FILE`; - for stdin (default $XDG_CONFIG_HOME/phx/phx.yaml)", Example: "phx.yaml"},
	}
}

// Load reads the config file, which there must be. It reads it anew at each call; the standard input can be read once. An error
// is a [*UsageError], a [*ReadError], or a positioned one of the file.
func (s *Selection) Load(lookupEnv func(string) (string, bool), stdin *Stdin) (*File, error) {
	if s.path == stdinPath && s.file != nil {
		return nil, &UsageError{
			Message: "the configuration came from standard input, and cannot be read again",
			Advice:  "start with --config FILE to be able to reload",
		}
	}
	if info, err := os.Stat(s.path); s.file != nil && err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return nil, &UsageError{ // to open it could take for ever
			Message: "the configuration came from a pipe, " + s.path + ", and cannot be read again",
			Advice:  "start with a file as --config FILE to be able to reload",
		}
	}
	name, data, err := s.Read(lookupEnv, stdin)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &UsageError{ // which somebody is writing, perhaps
			Message: "the config file " + name + " is empty",
			Advice:  "write connections: {} into it if there are to be none",
		}
	}
	file, err := ParseFile(name, data, lookupEnv)
	if err != nil {
		return nil, err
	}
	s.file = file
	return file, nil
}

// Read returns what is in the config file, which there must be, and its name in messages. An error is a [*UsageError] or a
// [*ReadError].
func (s *Selection) Read(lookupEnv func(string) (string, bool), stdin *Stdin) (name string, data []byte, err error) {
	data, err = s.read(lookupEnv, stdin)
	if err != nil {
		return "", nil, err
	}
	if s.path == "" {
		return "", nil, &UsageError{
			Message: "there is no config file",
			Advice:  "give one with --config or in PHX_CONFIG; the default is $XDG_CONFIG_HOME/phx/phx.yaml",
		}
	}
	return pathName(s.path), data, nil
}

// Dir is where the relative paths of the file begin.
func (s *Selection) Dir() string {
	if s.path == stdinPath {
		return "."
	}
	return filepath.Dir(s.path)
}

// ServeRetries is how many retries in a row a connection of a server makes unless it is told otherwise.
const ServeRetries = 10

// ParseEntry parses one connection with its name, YAML or JSON, as the control API is sent it. Relative paths in it begin in the
// directory of file. An error is as that of [ParseFile].
func ParseEntry(file string, data []byte, lookupEnv func(string) (string, bool)) (*Entry, error) {
	root, err := strictyaml.Parse(file, data, lookupEnv)
	if err != nil {
		return nil, err
	}
	e := &Entry{own: fields{}, at: root}
	var wrong problems
	wrong.add(connectionKeys().collect(root, "", e.own))
	if _, named := e.own["name"]; named {
		_, err = e.findName(strictyaml.Field{})
		wrong.add(err)
	} else if root.IsMap() {
		wrong.add(root.Errorf(`a right one: {"name": "backend", "uri": "ws://localhost:4000/socket"}`, "the connection has no name"))
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return e, nil
}

// Under makes what a file says for all connections, and none can say for itself, hold for the entry: require_wss.
func (e *Entry) Under(f *File) {
	for _, key := range sharedKeys {
		if value, said := f.defaults[key]; said {
			e.own[key] = value
		}
	}
}

// Resolve makes the connection that the entry describes, as a server wants it: nothing but the file counts, no flag and no
// variable of the environment that it does not name. An error is as that of [ParseFile].
func (e *Entry) Resolve(log *slog.Logger) (*Connection, error) {
	c, err := e.read(log)
	if err != nil {
		return nil, err
	}
	if err := e.check(c); err != nil {
		return nil, err
	}
	return c, nil
}

// read reads the values, each by itself.
func (e *Entry) read(log *slog.Logger) (*Connection, error) {
	c := NewConnection(Retry{Max: ServeRetries})
	c.Logger = log
	var wrong problems
	for _, o := range NewSet(c.Options()).settings {
		wrong.add(o.resolveKeys(e.own, e.defaults))
	}
	return c, wrong.err()
}

// resolveKeys sets the option to the first that the maps say; of one that repeats, what later ones say is added.
func (o *setting) resolveKeys(maps ...fields) error {
	for _, from := range maps {
		if said, err := o.takeKey(from); err != nil || said && !o.Value.repeats {
			return err
		}
	}
	return nil
}

// check checks the values against each other, as [Connection.Build] does, but says where they are.
func (e *Entry) check(c *Connection) error {
	var wrong problems
	uri, given := e.field("uri")
	if !given {
		wrong.add(e.at.Errorf("a right one: uri: ws://localhost:4000/socket, here or in defaults:", "the connection %q has no uri", e.Name))
	}
	if c.network.requireWSS && c.cleartext() {
		wrong.add(uri.Errorf("use wss://, or take require_wss: true out", "the uri is one of ws, which is not encrypted, and require_wss is true"))
	}
	if timeout, given := e.field("heartbeat_timeout_msec"); given && c.heartbeatTimeout > c.heartbeatInterval {
		wrong.add(timeout.Errorf("make the timeout shorter, or the interval longer", "heartbeat_timeout_msec %d is longer than heartbeat_interval_msec %d",
			c.heartbeatTimeout.Milliseconds(), c.heartbeatInterval.Milliseconds()))
	}
	if key, given := e.field("tls.key_file"); given && c.tls.cert == nil {
		wrong.add(key.Errorf("give the certificate of the key: cert_file: client.pem", "tls has a key_file and no cert_file"))
	}
	if err := wrong.err(); err != nil {
		return err
	}
	return e.tryOut(c)
}

// tryOut finds what else keeps a connection from being made.
func (e *Entry) tryOut(c *Connection) error {
	options, err := c.Build(nil)
	if err == nil {
		options.Channels = c.UnreadChannels(c.AutoJoin()...)
		_, err = phoenix.New(options)
	}
	if err != nil {
		return e.at.Errorf("check its uri and its auto_join_channels", "the connection %q cannot be made: %v", e.Name, err)
	}
	return nil
}

// Warnings says what of a resolved entry is allowed, and hardly wanted, with the places.
func (e *Entry) Warnings(c *Connection) []string { return texts(e.warnings(c)) }

func (e *Entry) warnings(c *Connection) []error {
	if !c.cleartext() || !c.hasCredentials() {
		return nil
	}
	uri, _ := e.field("uri")
	return []error{uri.Errorf("", "credentials are sent unencrypted to %s: use wss:// (require_wss: true makes sure of it)", c.Address())}
}

func texts(errs []error) []string {
	list := make([]string, len(errs))
	for i, err := range errs {
		list[i] = err.Error()
	}
	return list
}

// Raw returns the entry as JSON, its name included and the defaults of the file filled in, as [ParseEntry] reads it. Variables
// are not filled in, and relative paths stay as they are.
func (e *Entry) Raw() (json.RawMessage, error) {
	return e.json(func(o Option) form {
		if o.Key == "auto_join_channels" {
			return func(n strictyaml.Node) (json.RawMessage, error) {
				return autoJoinJSON(n, strictyaml.Node.RawTexts, strictyaml.Node.RawJSON, strictyaml.Node.RawTexts)
			}
		}
		return strictyaml.Node.RawTexts
	}, strictyaml.Node.RawTexts, nil)
}

// json returns the entry with the defaults of its file. formOf says how the value of a key is written; pairs how one of params or
// headers is, which are merged; missing what stands for a key that nobody gives, nil for nothing.
func (e *Entry) json(formOf func(Option) form, pairs form, missing func(Option) json.RawMessage) (json.RawMessage, error) {
	var o object
	var wrong problems
	for _, option := range connectionOptions(NewConnection(Retry{Max: ServeRetries})) {
		n, said := e.field(option.Key)
		switch {
		case said && option.Key == "name":
			wrong.add(o.addFrom(option.Key, n, e.nameForm()))
		case said && option.Key == "params":
			wrong.add(e.addParams(&o, pairs))
		case said && option.Key == "headers":
			wrong.add(e.addHeaders(&o, pairs))
		case said:
			wrong.add(o.addFrom(option.Key, n, formOf(option)))
		case missing != nil:
			if value := missing(option); value != nil {
				o.add(option.Key, value)
			}
		}
	}
	return o.nested(), wrong.err()
}

// nameForm writes the name, wherever it comes from.
func (e *Entry) nameForm() form {
	return func(strictyaml.Node) (json.RawMessage, error) { return jsonText(e.Name), nil }
}

// addParams adds the entry's own params and those of the defaults that have other names.
func (e *Entry) addParams(o *object, as form) error {
	var merged object
	for _, from := range []fields{e.own, e.defaults} {
		n, said := from["params"]
		if !said {
			continue
		}
		list, err := n.Fields()
		if err != nil {
			return err
		}
		before := merged.members
		for _, field := range list {
			if slices.ContainsFunc(before, func(m member) bool { return m.name == field.Name }) {
				continue
			}
			if err := merged.addFrom(field.Name, field.Value, as); err != nil {
				return err
			}
		}
	}
	o.add("params", merged.json())
	return nil
}

// addHeaders does so with headers.
func (e *Entry) addHeaders(o *object, as form) error {
	var merged []headerField
	for _, from := range []fields{e.own, e.defaults} {
		n, said := from["headers"]
		if !said {
			continue
		}
		list, err := headerFields(n)
		if err != nil {
			return err
		}
		before := merged
		for _, header := range list {
			if !slices.ContainsFunc(before, header.sameName) {
				merged = append(merged, header)
			}
		}
	}
	value, err := headersJSON(merged, as)
	o.add("headers", value)
	return err
}

func (h headerField) sameName(other headerField) bool {
	return http.CanonicalHeaderKey(h.name) == http.CanonicalHeaderKey(other.name)
}

// headersJSON writes headers as a map, or as a list of pairs if one is there several times.
func headersJSON(headers []headerField, as form) (json.RawMessage, error) {
	var o object
	var pairs []json.RawMessage
	several := false
	for i, header := range headers {
		several = several || slices.ContainsFunc(headers[:i], header.sameName)
		if err := o.addFrom(header.name, header.value, as); err != nil {
			return nil, err
		}
		pairs = append(pairs, jsonList([]json.RawMessage{jsonText(header.name), o.members[i].value}))
	}
	if several {
		return jsonList(pairs), nil
	}
	return o.json(), nil
}
