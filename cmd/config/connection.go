package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
	"phx/signal"
)

// Connection is what the options say about one connection. Until [Set.Resolve] has run, it holds the defaults.
type Connection struct {
	// Name is the connection's name in signals.
	Name string
	// URI is the socket's address, which may hold secrets: show [Connection.Address].
	URI string
	// ConnectTimeout and ReplyTimeout bound a dial, and the wait for one reply.
	ConnectTimeout, ReplyTimeout time.Duration
	// Required says whether others count on the connection; false comes from a config file only.
	Required bool
	// Presence says whether the signals of who is there are wanted; it, too, comes from a config file only.
	Presence bool
	// Logger gets what the commands of secrets write to stderr, and warnings about files of secrets. Nil: nothing.
	Logger *slog.Logger

	vsn                                 string
	params, headers                     []pair
	joinParams                          *Source
	authToken                           *Source
	autoJoin                            []autoJoin
	heartbeatInterval, heartbeatTimeout time.Duration
	retry                               Retry
	maxRetries                          *int
	keys                                retryKeys
	reconnectAfter, rejoinAfter         []time.Duration
	noReconnect, noJitter               bool
	maxMessage                          int64
	tls                                 tlsOptions
	network                             networkOptions
}

// Retry is what a command does about failures unless it is told otherwise.
type Retry struct {
	// Max is how many retries there are in a row.
	Max int
	// FailFast makes no use of them before everything has worked once.
	FailFast bool
}

// retryKeys are what a config file says about retries. They contradict no flag: a flag counts before them.
type retryKeys struct {
	reconnect bool
	max       *int
}

// NewConnection returns the defaults.
func NewConnection(retry Retry) *Connection {
	return &Connection{retry: retry, keys: retryKeys{reconnect: true}, Required: true}
}

// The delays between retries: 100 ms doubling to 30 s, and those of the Elixir client between joins.
const (
	defaultReconnectAfter = "100ms,200ms,400ms,800ms,1.6s,3.2s,6.4s,12.8s,25.6s,30s"
	defaultRejoinAfter    = "100ms,500ms,1s,2s,5s,10s"
)

// Options declares the options of a connection.
func (c *Connection) Options() []Option {
	return slices.Concat(c.identityOptions(), c.tls.options(), c.network.options(), c.timingOptions())
}

func (c *Connection) identityOptions() []Option {
	return []Option{
		{Flag: "uri", Shorthand: "u", Env: "PHX_URI", Key: "uri", Secret: true, Value: c.uriValue(),
			Usage: "`URI` of the socket: ws, wss, http or https; /websocket is appended", Example: "ws://localhost:4000/socket"},
		{Flag: "name", Key: "name", Value: c.nameValue(),
			Usage: "`NAME` of the connection in signals", Example: "backend"},
		{Flag: "param", Key: "params", Secret: true, Value: c.paramsValue(),
			Usage: "param of connect/3 as `NAME=VALUE`; NAME=@FILE is read at every dial (repeat)", Example: "user_id=123"},
		{Flag: "header", Shorthand: "H", Key: "headers", Secret: true, Value: c.headersValue(),
			Usage: "header of the upgrade request as `'NAME: VALUE'`; 'NAME: @FILE' is read at every dial (repeat)", Example: "'X-Api-Key: @key.txt'"},
		{Flag: "join-params", Secret: true, Value: Checked(&c.joinParams, "", parseJoinParams),
			Usage: "params of the join: a `JSON` object, @FILE, or - for stdin", Example: `'{"user_id":123}'`},
		{Flag: "auth-token-file", Env: "PHX_AUTH_TOKEN", Key: "auth_token", Value: c.authTokenValue(),
			Usage: "`FILE` with the auth token, read at every dial; - for stdin; the variable holds the token itself", Example: "token.txt"},
		{Key: "auto_join_channels", Value: c.autoJoinValue()},
		// It is an option of listen, too; the other commands tell nothing of presence.
		{Key: "presence", Value: keyOnly(&c.Presence)},
		{Key: "required", Value: keyOnly(&c.Required)},
		{Key: "transport", Value: Value{parse: onlyWebSocket, shape: choiceShape("websocket"), def: "websocket"}, Example: "websocket"},
		{Flag: "vsn", Key: "vsn", Value: Choice(&c.vsn, "2.0.0", "1.0.0"),
			Usage: "`VERSION` of the wire format: 2.0.0 or 1.0.0", Example: "2.0.0"},
	}
}

func (c *Connection) timingOptions() []Option {
	return []Option{
		{Flag: "connect-timeout", Key: "connect_timeout_msec", Value: msec(Duration(&c.ConnectTimeout, "10s")),
			Usage: "`TIME` for a dial, from DNS to upgrade", Example: "5s"},
		{Flag: "timeout", Key: "reply_timeout_msec", Value: msec(Duration(&c.ReplyTimeout, "10s")),
			Usage: "`TIME` for the reply to one join or push", Example: "5s"},
		{Flag: "heartbeat-interval", Key: "heartbeat_interval_msec", Value: msec(Duration(&c.heartbeatInterval, "30s")),
			Usage: "`TIME` between heartbeats", Example: "30s"},
		{Flag: "heartbeat-timeout", Key: "heartbeat_timeout_msec", Value: msec(Duration(&c.heartbeatTimeout, "")),
			Usage: "`TIME` for the answer to a heartbeat (default 10s, or the interval if that is shorter)", Example: "10s"},
		{Flag: "max-retries", Key: "max_retries", Value: c.maxRetriesValue(),
			Usage: "`N` retries in a row, of dials and of joins; -1: no limit", Example: "5"},
		{Flag: "reconnect-after", Key: "reconnect_after_msec", Value: msecList(Durations(&c.reconnectAfter, defaultReconnectAfter)),
			Usage: "delays before dials, as a `LIST`; the last repeats", Example: "100ms,1s,10s"},
		{Flag: "rejoin-after", Key: "rejoin_after_msec", Value: msecList(Durations(&c.rejoinAfter, defaultRejoinAfter)),
			Usage: "delays before joins, as a `LIST`; the last repeats", Example: "100ms,1s,10s"},
		{Flag: "no-reconnect", Key: "reconnect", Value: c.noReconnectValue(),
			Usage: "do not retry anything (--max-retries 0)"},
		{Flag: "no-jitter", Key: "jitter", Value: negated(&c.noJitter),
			Usage: "wait exactly the given delays, not a random half to whole of them"},
		{Flag: "max-message", Key: "max_message", Value: Size(&c.maxMessage, "64MiB"),
			Usage: "`SIZE` of the largest message accepted", Example: "64MiB"},
	}
}

func (c *Connection) uriValue() Value {
	v := Checked(&c.URI, "", checkURI).shaped(uriShape)
	v.masked = maskedURL
	return v
}

func (c *Connection) nameValue() Value {
	v := Checked(&c.Name, "default", func(text string) (string, error) {
		if err := signal.CheckName(text); err != nil {
			return "", fmt.Errorf("cannot be used: %w", err)
		}
		return text, nil
	}).shaped(nameShape)
	v.def = nil // it is the entry's key
	return v
}

// maxRetriesValue leaves maxRetries nil unless somebody says how many: that counts for more than the command's default.
func (c *Connection) maxRetriesValue() Value {
	v := Checked(&c.maxRetries, "", parseRetries)
	v.shown, v.def = strconv.Itoa(c.retry.Max), c.retry.Max
	v.shape = retriesShape
	v.read = func(n strictyaml.Node) error {
		text, err := n.Text()
		if err != nil {
			return err
		}
		if c.keys.max, err = parseRetries(text); err != nil {
			return n.Errorf("a right one: max_retries: 5", "max_retries %q %v", n.Raw(), err)
		}
		return nil
	}
	return v
}

func parseRetries(text string) (*int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < -1 {
		return nil, errors.New("is not a number of retries: -1 or more")
	}
	return &n, nil
}

func (c *Connection) noReconnectValue() Value {
	v := Switch(&c.noReconnect)
	v.read, v.def = keyOnly(&c.keys.reconnect).read, true
	return v
}

// Build checks the options against each other and returns what package phoenix makes a connection of. Errors are
// [*UsageError]s.
func (c *Connection) Build(stdin *Stdin) (phoenix.Options, error) {
	if err := c.check(); err != nil {
		return phoenix.Options{}, err
	}
	for _, s := range c.sources() {
		if err := s.claim(stdin); err != nil {
			return phoenix.Options{}, err
		}
	}
	retries, failFast := c.retries()
	return phoenix.Options{
		URL:               c.URI,
		VSN:               c.vsn,
		Credentials:       c.credentials,
		ConnectTimeout:    c.ConnectTimeout,
		ReplyTimeout:      c.ReplyTimeout,
		HeartbeatInterval: c.heartbeatInterval,
		HeartbeatTimeout:  c.heartbeatTimeout,
		MaxRetries:        retries,
		FailFast:          failFast,
		ReconnectAfter:    c.backoff(c.reconnectAfter),
		RejoinAfter:       c.backoff(c.rejoinAfter),
		MaxMessage:        c.maxMessage,
		Compress:          c.network.compress,
		NetDial:           c.network.netDial(),
		Proxy:             c.network.proxy(),
	}, nil
}

func (c *Connection) check() error {
	switch {
	case c.URI == "":
		return &UsageError{
			Message: "there is no URI to connect to",
			Advice:  "give one with --uri or in PHX_URI; `phx demo` starts a server to try",
		}
	case c.heartbeatTimeout > c.heartbeatInterval:
		return &UsageError{
			Message: fmt.Sprintf("--heartbeat-timeout %v is longer than --heartbeat-interval %v", c.heartbeatTimeout, c.heartbeatInterval),
			Advice:  "make the timeout shorter, or the interval longer",
		}
	case c.noReconnect && c.maxRetries != nil && *c.maxRetries != 0:
		return &UsageError{
			Message: fmt.Sprintf("--no-reconnect contradicts --max-retries %d", *c.maxRetries),
			Advice:  "leave one of them out",
		}
	case c.network.origin != "" && slices.ContainsFunc(c.headers, pair.isOrigin):
		return &UsageError{Message: "--origin contradicts --header Origin", Advice: "leave one of them out"}
	case c.network.proxyURL != nil && c.network.unixSocket != "":
		return &UsageError{Message: "--proxy contradicts --unix-socket", Advice: "leave one of them out"}
	case c.network.requireWSS && c.cleartext():
		return &UsageError{
			Message: "the URI is one of ws, which is not encrypted, and --require-wss is set",
			Advice:  "use wss://, or leave out --require-wss (require_wss in a config file)",
		}
	}
	return c.tls.check()
}

// sources returns every source, for the claims on the standard input.
func (c *Connection) sources() []*Source {
	list := append(c.tls.sources(), c.joinParams, c.authToken)
	for _, p := range c.params {
		list = append(list, p.value)
	}
	for _, h := range c.headers {
		list = append(list, h.value)
	}
	return list
}

// retries returns how many there are, and whether none are made before everything has worked once. Who says how many wants
// them from the start.
func (c *Connection) retries() (limit int, failFast bool) {
	switch {
	case c.noReconnect:
		return 0, false
	case c.maxRetries != nil:
		return *c.maxRetries, false
	case !c.keys.reconnect:
		return 0, false
	case c.keys.max != nil:
		return *c.keys.max, false
	}
	return c.retry.Max, c.retry.FailFast
}

func (c *Connection) backoff(delays []time.Duration) phoenix.Backoff {
	b := phoenix.Steps(delays...)
	if c.noJitter {
		return b
	}
	return phoenix.Jittered(b)
}

// A keySet is the keys that a connection can have in a config file; those of nested maps with dots.
type keySet []string

// connectionKeys are those that the options of a connection declare.
func connectionKeys() keySet { return keysOf(connectionOptions(NewConnection(Retry{}))) }

// connectionOptions are the options of a connection that have a key there.
func connectionOptions(c *Connection) []Option {
	return slices.DeleteFunc(c.Options(), func(o Option) bool {
		return o.Key == "" || slices.Contains(sharedKeys, o.Key)
	})
}

func keysOf(options []Option) keySet {
	keys := make(keySet, len(options))
	for i, o := range options {
		keys[i] = o.Key
	}
	return keys
}

// collect adds the fields of a map to those found. prefix is the path to the map, with a dot at its end.
func (keys keySet) collect(n strictyaml.Node, prefix string, found fields) error {
	list, err := n.Fields()
	if err != nil {
		return err
	}
	var wrong problems
	for _, field := range list {
		key := prefix + field.Name
		switch {
		case slices.Contains(keys, key):
			found[key] = field.Value
		case len(keys.under(key+".")) > 0:
			wrong.add(keys.collect(field.Value, key+".", found))
		default:
			wrong.add(field.Key.Errorf("known here: "+strings.Join(keys.under(prefix), ", "), "the key %q is not known here", field.Name))
		}
	}
	return wrong.err()
}

// under returns the names of the keys right below a prefix.
func (keys keySet) under(prefix string) []string {
	var names []string
	for _, key := range keys {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// takeKey sets the option to what a config file says, and reports whether it says anything.
func (o *setting) takeKey(from fields) (said bool, err error) {
	n, ok := from[o.Key]
	if !ok {
		return false, nil
	}
	if o.Value.read != nil {
		return true, o.Value.read(n)
	}
	text, err := n.Text()
	if err != nil {
		return true, err
	}
	if err := o.Value.parse(text); err != nil {
		return true, o.wrongKey(n, err)
	}
	return true, nil
}

// wrongKey makes the error about a value that does not parse. It repeats the value as it is written, before variables are
// filled in: they may hold secrets.
func (o *setting) wrongKey(n strictyaml.Node, err error) error {
	advice := ""
	if o.Example != "" {
		advice = "a right one: " + o.Key[strings.LastIndexByte(o.Key, '.')+1:] + ": " + o.Example
	}
	if o.Secret {
		return n.Errorf(advice, "the value of %s %v", o.Key, err)
	}
	return n.Errorf(advice, "%s %q %v", o.Key, n.Raw(), err)
}

// msec makes the key of a duration a number of milliseconds.
func msec(v Value) Value {
	v.shape, v.def = msecShape(1), nil
	if d, err := ParseDuration(v.shown); err == nil {
		v.def = d.Milliseconds()
	}
	v.read = func(n strictyaml.Node) error {
		text, err := msecText(n)
		if err != nil {
			return err
		}
		if err := v.parse(text); err != nil {
			return n.Errorf("give a number of milliseconds, for example 1000", "%q %v", n.Raw(), err)
		}
		return nil
	}
	return v
}

// msecList makes the key of a list of durations a list of milliseconds.
func msecList(v Value) Value {
	var delays []int64
	for text := range strings.SplitSeq(v.shown, ",") {
		d, _ := ParseDuration(text) // it is a default
		delays = append(delays, d.Milliseconds())
	}
	v.shape, v.def = shape{"type": "array", "minItems": 1, "items": msecShape(0)}, delays
	v.read = func(n strictyaml.Node) error {
		items, err := n.Items()
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return n.Errorf("a right one: [100, 1000, 10000]", "there is no delay in this list")
		}
		texts := make([]string, len(items))
		for i, item := range items {
			if texts[i], err = msecText(item); err != nil {
				return err
			}
		}
		return v.parse(strings.Join(texts, ","))
	}
	return v
}

// msecText returns a number of milliseconds as the text of a duration.
func msecText(n strictyaml.Node) (string, error) {
	text, err := n.Text()
	if err != nil {
		return "", err
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 || ms > maxMsec {
		return "", n.Errorf("a right one: 1000", "%q is not a number of milliseconds", n.Raw())
	}
	return text + "ms", nil
}

// maxMsec is the longest duration that there is, in milliseconds.
const maxMsec = math.MaxInt64 / int64(time.Millisecond)

// readBool reads true or false.
func readBool(n strictyaml.Node) (bool, error) {
	text, err := n.Text()
	if err != nil {
		return false, err
	}
	if text != "true" && text != "false" {
		return false, n.Errorf("write true or false", "%q is neither true nor false", n.Raw())
	}
	return text == "true", nil
}

// keyOnly is a switch that there is only in config files.
func keyOnly(v *bool) Value {
	return Value{shape: boolShape, def: *v, read: func(n strictyaml.Node) (err error) {
		*v, err = readBool(n)
		return err
	}}
}

// negated makes a switch the opposite of its key: --no-jitter, jitter: false.
func negated(v *bool) Value {
	value := Switch(v)
	value.def = true
	value.read = func(n strictyaml.Node) error {
		on, err := readBool(n)
		*v = !on
		return err
	}
	return value
}

// fileOf makes the key of an option that names a file a path beside the config file.
func fileOf(key string, v **Source, value Value) Value {
	value.shape, value.masked = wordShape, strictyaml.Node.RawTexts
	value.read = func(n strictyaml.Node) error {
		path, err := n.Text()
		switch {
		case err != nil:
			return err
		case path == "":
			return n.Errorf("give the name of a file", "%s is empty", key)
		}
		*v = &Source{option: sourceName(key, n), at: n, path: n.Beside(path)}
		return nil
	}
	return value
}

// sourceName is how errors call the value of a key.
func sourceName(key string, n strictyaml.Node) string {
	return fmt.Sprintf("%s (%s)", key, n.Position())
}

// onlyWebSocket accepts the one transport that there is.
func onlyWebSocket(text string) error {
	if text != "websocket" {
		return errors.New("is not supported: phx speaks websocket only")
	}
	return nil
}
