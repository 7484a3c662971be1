// Package config is everything that can be set in a connection and in a config file. Each
// [option.Option] is declared once: flag, environment variable, key in a config file, kind of value,
// default and help. Flags, parser, `config show`, `config schema`, the help pages and the fingerprint
// loop over options and ask the kind.
//
// A [File] holds named connections. A [Selection] chooses one, an [Entry], and an [option.Set]
// resolves options with it. The options of a connection end in a [Connection], which builds the
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
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/strictyaml"
	"phx/signal"
)

// A File is a config file. Parsing checks all of its keys. The values of a connection are read
// when somebody resolves options with it, so that it does not need the variables of the others.
type File struct {
	// Name is what it is called in messages.
	Name string
	// Entries are its connections, in the order of the file.
	Entries []*Entry

	defaults option.Fields
	// serve holds the values of serveKeys that there are.
	serve option.Fields
	// variables are those that were looked up for the file; mu guards them.
	mu        sync.Mutex
	variables map[string]bool
}

// ordinary are variables that no secret comes from, and without which programs do not work well.
var ordinary = []string{
	"HOME", "HOSTNAME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "TMPDIR", "TZ", "USER", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
}

// Variables returns the names of the variables that the file refers to, as ${V} or as {env: V}, sorted: secrets come from these.
// It leaves out some that everybody has, such as HOME. What is not read yet of the file is not among them.
func (f *File) Variables() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.variables))
}

func (f *File) noteVariable(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.variables[name] = true
}

// Noting returns lookup, which then calls note with each name that it is asked for and that [File.Variables] would have.
func Noting(lookup func(string) (string, bool), note func(name string)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		if !slices.Contains(ordinary, name) {
			note(name)
		}
		return lookup(name)
	}
}

// An Entry is a connection of a config file.
type Entry struct {
	// Name is the connection's: the entry's key name, by default the key that it stands under.
	Name string
	// named says that it was asked for by its name, and not only found in the file.
	named         bool
	own, defaults option.Fields
	// key is what it stands under, and at is where that is.
	key string
	at  strictyaml.Node
}

// The keys at the top of a file, beside connections and defaults.
var (
	// sharedKeys hold for every connection, and cannot be set for one of them.
	sharedKeys = []string{"require_wss"}
	// serveKeys are read by [File.Serve] alone. Commands with one connection ignore them, so that
	// one file can be for both.
	serveKeys = []string{"sinks", "routes", "sources", "nats", "state_dir", "cluster", "control", "http"}
)

// ParseFile parses a config file; name stands for it in messages. The error joins all that is
// wrong, each an [*exit.Error] with its place.
func ParseFile(name string, data []byte, lookupEnv func(string) (string, bool)) (*File, error) {
	f, err := parseFile(name, data, lookupEnv)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// parseFile is ParseFile that returns what could be understood, too, nil if nothing.
func parseFile(name string, data []byte, lookupEnv func(string) (string, bool)) (*File, error) {
	f, keys := &File{Name: name, defaults: option.Fields{}, serve: option.Fields{}, variables: map[string]bool{}}, connectionKeys()
	root, err := strictyaml.Parse(name, data, Noting(lookupEnv, f.noteVariable))
	if err != nil {
		return nil, err
	}
	top, err := root.Fields()
	if err != nil {
		return nil, err
	}
	said := option.Fields{}
	var wrong option.Problems
	for _, field := range top {
		switch {
		case field.Name == "connections", field.Name == "defaults", slices.Contains(sharedKeys, field.Name):
			said[field.Name] = field.Value
		case slices.Contains(serveKeys, field.Name):
			f.serve[field.Name] = field.Value
		default:
			known := slices.Concat([]string{"connections", "defaults"}, sharedKeys, serveKeys)
			wrong.Add(option.UnknownKey(field, known...))
		}
	}
	if defaults, given := said["defaults"]; given {
		f.defaults, err = option.Collect(defaults, keys)
		wrong.Add(err)
	}
	for _, key := range sharedKeys {
		if value, given := said[key]; given {
			f.defaults[key] = value
		}
	}
	if connections, given := said["connections"]; given {
		wrong.Add(f.addEntries(connections, keys))
	}
	return f, wrong.Err()
}

func (f *File) addEntries(connections strictyaml.Node, keys []option.Option) error {
	list, err := connections.Fields()
	if err != nil {
		return err
	}
	var wrong option.Problems
	for _, field := range list {
		own, err := option.Collect(field.Value, keys)
		wrong.Add(err)
		e := &Entry{own: own, defaults: f.defaults, key: field.Name, at: field.Key}
		where, err := e.findName(field)
		if err == nil && f.entry(e.Name) != nil {
			err = where.Errorf("give each its own name", "a second connection is called %q", e.Name)
		}
		if err != nil {
			wrong.Add(err)
			continue
		}
		e.own["name"] = where
		f.Entries = append(f.Entries, e)
	}
	return wrong.Err()
}

// findName sets the name of the entry, which stands under the key of field, and returns where it
// is written.
func (e *Entry) findName(field strictyaml.Field) (strictyaml.Node, error) {
	where, ok := e.value("name")
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

// ParseEntry parses one connection with its name, YAML or JSON, as the control API receives it.
// Relative paths in it begin in the directory of file. Errors are as of [ParseFile].
func ParseEntry(file string, data []byte, lookupEnv func(string) (string, bool)) (*Entry, error) {
	root, err := strictyaml.Parse(file, data, lookupEnv)
	if err != nil {
		return nil, err
	}
	var wrong option.Problems
	own, err := option.Collect(root, connectionKeys())
	wrong.Add(err)
	e := &Entry{own: own, at: root}
	if _, named := e.own["name"]; named {
		_, err = e.findName(strictyaml.Field{})
		wrong.Add(err)
	} else if root.IsMap() {
		wrong.Add(root.Errorf(`a right one: {"name": "backend", "uri": "ws://localhost:4000/socket"}`, "the connection has no name"))
	}
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	return e, nil
}

// Under applies the keys of f that hold for every connection: require_wss.
func (e *Entry) Under(f *File) {
	for _, key := range sharedKeys {
		if value, said := f.defaults[key]; said {
			e.own[key] = value
		}
	}
}

// Values returns what the file says about a key: in the connection, then in the defaults. An entry
// that is nil has none.
func (e *Entry) Values(key string) []strictyaml.Node {
	if e == nil {
		return nil
	}
	return append(e.own.Values(key), e.defaults.Values(key)...)
}

// value returns the first of them.
func (e *Entry) value(key string) (n strictyaml.Node, said bool) {
	if values := e.Values(key); len(values) > 0 {
		return values[0], true
	}
	return n, false
}

// RanksBeforeEnv reports whether the entry's own value of a key counts before the environment.
// Whoever names a connection wants that one, whatever variables are set.
func (e *Entry) RanksBeforeEnv(key string) bool {
	return e != nil && e.named && len(e.own.Values(key)) > 0
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
		return nil, exit.Usagef(f.nameHint(), "there is no connection %q in %s", name, f.Name)
	}
	named := *e
	named.named = true
	return &named, nil
}

// Default returns the connection to use when none is named: the one called default, or the only
// one. Nil: there is neither.
func (f *File) Default() *Entry {
	if len(f.Entries) == 1 {
		return f.Entries[0]
	}
	return f.entry("default")
}

// nameHint says which connections there are.
func (f *File) nameHint() string {
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

// ServeRetries is the default of max_retries in a server.
const ServeRetries = 10

// Resolve returns the connection of the entry as a server runs it. Flags do not count, nor does a
// variable that the file does not name. Errors are as of [ParseFile].
func (e *Entry) Resolve(log *slog.Logger) (*Connection, error) {
	c, err := e.read(log)
	if err == nil {
		err = e.check(c)
	}
	if err != nil {
		return nil, err
	}
	c.settle()
	return c, nil
}

// read reads the values, each by itself.
func (e *Entry) read(log *slog.Logger) (*Connection, error) {
	c := NewConnection(Retry{Max: ServeRetries})
	c.Logger = log
	var wrong option.Problems
	for _, o := range c.options {
		wrong.Add(o.ReadKey(e.Values(o.Key)...))
	}
	c.ApplyProfile()
	return c, wrong.Err()
}

// check checks the values against each other, as [Connection.Build] does, but says where they are.
func (e *Entry) check(c *Connection) error {
	var wrong option.Problems
	uri, said := e.value("uri")
	if !said {
		wrong.Add(e.at.Errorf("a right one: uri: ws://localhost:4000/socket, here or in defaults:", "the connection %q has no uri", e.Name))
	}
	if c.requireWSS && c.Cleartext() {
		wrong.Add(uri.Errorf("use wss://, or take require_wss: true out", "the uri is one of ws, which is not encrypted, and require_wss is true"))
	}
	if timeout, said := e.value("heartbeat_timeout_msec"); said && c.heartbeatTimeout > c.heartbeatInterval {
		wrong.Add(timeout.Errorf("make the timeout shorter, or the interval longer", "heartbeat_timeout_msec %d is longer than heartbeat_interval_msec %d",
			c.heartbeatTimeout.Milliseconds(), c.heartbeatInterval.Milliseconds()))
	}
	if key, said := e.value("tls.key_file"); said && c.TLS.Cert == nil {
		wrong.Add(key.Errorf("give the certificate of the key: cert_file: client.pem", "tls has a key_file and no cert_file"))
	}
	wrong.Add(e.checkProfile(c))
	if err := wrong.Err(); err != nil {
		return err
	}
	if err := c.complete(); err != nil {
		return e.at.Errorf("check its uri and its auto_join_channels", "the connection %q cannot be made: %v", e.Name, err)
	}
	return nil
}

// ChannelsError returns err, which a user of the channel has found, with the place of the channels in the file.
func (e *Entry) ChannelsError(topic string, err error) error {
	return e.channelsError("a right one: resume: {since: .data.payload.id}", topic, err)
}

func (e *Entry) channelsError(hint, topic string, err error) error {
	n, said := e.value("auto_join_channels")
	if !said {
		return err
	}
	return n.Errorf(hint, "the channel %q: %v", topic, err)
}

// Warnings says what of a resolved entry is allowed, and hardly wanted, with the places.
func (e *Entry) Warnings(c *Connection) []string { return texts(e.warnings(c)) }

func (e *Entry) warnings(c *Connection) (list []error) {
	uri, _ := e.value("uri")
	if c.Cleartext() && c.HasCredentials() {
		list = append(list, uri.Errorf("", "credentials are sent unencrypted to %s: use wss:// (require_wss: true makes sure of it)", c.Address()))
	}
	if warning := c.MessageWarning(); warning != "" {
		list = append(list, uri.Errorf("", "%s", warning))
	}
	return list
}

// WarnOtherServer returns a warning, or nothing, if the credentials of a connection that nobody
// named go to another server than its own. --uri and PHX_URI count before the file, and whoever
// gives one may not think of the file.
func (e *Entry) WarnOtherServer(c *Connection) string {
	hasCredentials := func(key string) bool { return len(e.Values(key)) > 0 }
	if e == nil || e.named || !slices.ContainsFunc([]string{"auth_token", "params", "headers"}, hasCredentials) {
		return ""
	}
	own, said := e.value("uri")
	if !said {
		return ""
	}
	// What the variables of a URI that is not used are is of no interest.
	text, err := own.Text()
	if err != nil || hostOf(text) == hostOf(c.URI) {
		return ""
	}
	return "credentials of the connection " + e.Name + " in the config file are sent to " + c.Address() + ", which is not its uri:" +
		" choose it with -n, or no file with --config /dev/null"
}

func hostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return u.Host
}
