package config

import (
	"log/slog"

	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
)

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
