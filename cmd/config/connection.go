package config

import (
	"log/slog"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/endpoint"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/phoenix"
	"phx/phoenix/supabase"
)

// Connection is what the options say about one connection: the defaults until [option.Set.Resolve] has
// run.
type Connection struct {
	// Name is the connection's name in signals.
	Name string
	// Endpoint is the server.
	endpoint.Endpoint
	// ConnectTimeout and ReplyTimeout bound a dial, and the wait for one reply.
	ConnectTimeout, ReplyTimeout time.Duration
	// Required says whether others count on the connection; false comes from a config file only.
	Required bool
	// Profile is the kind of server; empty: Phoenix.
	Profile Profile
	// Presence says whether presence signals are wanted; only a config file sets it.
	Presence bool
	anyTopic bool
	// ResumeFile keeps the values of --resume over restarts; empty: nothing is kept.
	ResumeFile string
	// Logger gets how much commands of secrets write to stderr, and warnings about their files. Nil: no
	// logging.
	Logger *slog.Logger

	vsn                                 string
	transport                           phoenix.Transport
	fallbackAfter                       time.Duration
	joinParams                          *secret.Source
	onJoin                              []onJoin
	resume                              []Resume
	autoJoin                            []autoJoin
	heartbeatInterval, heartbeatTimeout time.Duration
	retry                               Retry
	maxRetries                          int
	reconnect, jitter                   bool
	maxOutage                           time.Duration
	maxRetriesFrom, reconnectFrom       option.Origin
	maxOutageFrom, transportFrom        option.Origin
	heartbeatFrom, vsnFrom              option.Origin
	reconnectAfter, rejoinAfter         []time.Duration
	maxMessage                          int64
	maxChannelsPerSocket                int
	compress, requireWSS                bool

	// options are the declarations; nil: nothing sets them any more, see settle.
	options                        []option.Option
	fingerprint, socketFingerprint string
}

// Retry is what a command does about failures unless it is told otherwise.
type Retry struct {
	// Max is how many retries there are in a row.
	Max int
	// MaxOutage bounds how long they go on; 0: no bound.
	MaxOutage time.Duration
	// FailFast makes no use of them before everything has worked once.
	FailFast bool
}

// NewConnection returns the defaults.
func NewConnection(retry Retry) *Connection {
	c := &Connection{retry: retry}
	c.options = slices.Concat(option.Connecting.In(c.identityOptions()...), option.Securing.In(tlsOptions(&c.TLS)...),
		option.Securing.In(c.networkOptions()...), option.Timing.In(c.timingOptions()...))
	return c
}

// KeepTrying has the connection be made again after it is lost, unless an option says otherwise, for as long as an outage may last.
func (c *Connection) KeepTrying(maxOutage time.Duration) {
	c.retry = Retry{Max: -1, MaxOutage: maxOutage, FailFast: true}
	if c.maxOutageFrom == option.FromDefault {
		c.maxOutage = maxOutage
	}
}

// Options declares the options of the connection.
func (c *Connection) Options() []option.Option { return slices.Clone(c.options) }

// keyed returns the options that a connection of a config file has a key for.
func (c *Connection) keyed() []option.Option {
	return slices.DeleteFunc(c.Options(), func(o option.Option) bool { return o.Key == "" || slices.Contains(sharedKeys, o.Key) })
}

// builtIn is what package phoenix does unless it is told otherwise.
var builtIn = func() phoenix.Options {
	o, err := phoenix.Options{URL: "ws://localhost"}.Effective()
	if err != nil {
		panic("config: " + err.Error())
	}
	return o
}()

// The delays between retries are those of package phoenix, written out.
const (
	defaultReconnectAfter = "100ms,200ms,400ms,800ms,1.6s,3.2s,6.4s,12.8s,25.6s,30s"
	defaultRejoinAfter    = "100ms,500ms,1s,2s,5s,10s"
)

func (c *Connection) identityOptions() []option.Option {
	return []option.Option{
		{Flag: "uri", Common: true, Shorthand: "u", Env: "PHX_URI", Key: "uri", Secret: true, Value: uriKind.To(&c.URI, ""),
			Usage:   "`URI` of the socket: ws, wss, http or https; /websocket is appended",
			About:   "URI of the socket: ws, wss, http or https; /websocket is appended.",
			Example: "ws://localhost:4000/socket"},
		{Flag: "profile", Env: "PHX_PROFILE", Key: "profile", Value: profileKind.To(&c.Profile, ""), Example: string(Supabase),
			Usage: "`PROFILE` of a server that is more than Phoenix: supabase, for Supabase Realtime",
			About: "Profile of a server that is more than Phoenix: supabase, for Supabase Realtime. The auth token is then that of the joins."},
		{Flag: "name", Key: "name", Value: nameKind.To(&c.Name, "default"), Example: "backend",
			Usage: "`NAME` of the connection in signals",
			About: "Name of the connection in signals: letters, digits, - and _. The default is the key that it stands under."},
		{Flag: "param", Common: true, Key: "params", Secret: true, Value: paramsKind.To(&c.Params, ""), Example: "user_id=123",
			Usage: "param of connect/3 as `NAME=VALUE`; NAME=@FILE is read at every dial (repeat)",
			About: "Params of connect/3. Secrets are read at every dial."},
		{Flag: "header", Shorthand: "H", Key: "headers", Secret: true, Value: upgradeHeadersKind.To(&c.Headers, ""),
			Usage:   "header of the upgrade request as `'NAME: VALUE'`; 'NAME: @FILE' is read at every dial (repeat)",
			About:   "Headers of the upgrade request: a map, or a list of pairs of name and value. Secrets are read at every dial.",
			Example: "'X-Api-Key: @key.txt'"},
		{Flag: "join-params", Secret: true, Value: joinParamsKind.To(&c.joinParams, ""),
			Usage: "params of the join: a `JSON` object, @FILE, or - for stdin", Example: `'{"user_id":123}'`},
		{Flag: "on-join", Secret: true, Value: onJoinFlag.To(&c.onJoin, ""), Example: "'subscribe {\"to\":\"all\"}'",
			Usage: "push `'EVENT JSON'` after each join and rejoin, before anything else; EVENT @FILE is read at each join (repeat)"},
		{Flag: "resume", Value: resumeFlag.To(&c.resume, ""), Example: "since=.data.payload.id",
			Usage: "join param as `NAME=EXPR`: the jq EXPR of the last message of the topic that was written, in each join (repeat)"},
		{Flag: "resume-file", Value: option.Text(&c.ResumeFile, ""), Example: "cursors.json",
			Usage: "`FILE` that keeps the values of --resume over restarts"},
		{Flag: "auth-token-file", Common: true, Env: "PHX_AUTH_TOKEN", Key: "auth_token", Value: tokenKind.To(&c.AuthToken, ""), Example: "token.txt",
			Usage: "`FILE` with the auth token, read at every dial; - for stdin; the variable holds the token itself",
			About: "The auth token, read at every dial. With profile: supabase it is the access token of the joins, and is read again before it expires."},
		{Key: "auto_join_channels", Value: autoJoinKind.To(&c.autoJoin, ""),
			About: "Channels to join and stay in: topics, or maps of a topic with params and secret_params, which are read at every join; on_join, what is pushed after each join; resume, from where a rejoin goes on."},
		// It is an option of listen, too; the other commands tell nothing of presence.
		{Key: "presence", Value: option.BoolKind.To(&c.Presence, "false"),
			About: "Emit the signals of who is there: phoenix.presence.join, leave and sync."},
		{Flag: "any-topic", Key: "any_topic", Value: option.BoolKind.To(&c.anyTopic, "false"),
			Usage: "take messages on topics that nobody joined, too",
			About: "Take messages on topics that nobody joined, too, as the data of GraphQL subscriptions by Absinthe comes."},
		{Key: "required", Value: option.BoolKind.To(&c.Required, "true"),
			About: "Whether others count on the connection: it gates readiness, and phx serve ends when its retries are exhausted."},
		{Flag: "transport", Env: "PHX_TRANSPORT", Key: "transport", Value: transportKind.To(&c.transport, string(phoenix.TransportWebSocket)), From: &c.transportFrom, Example: "auto",
			Usage: "how messages travel: `websocket`, longpoll, or auto: long poll where a WebSocket does not pass. A --uri that ends in /longpoll chooses that",
			About: "How messages travel: websocket, longpoll, or auto: long poll where a WebSocket does not pass. Without it, a uri that ends in /longpoll chooses that."},
		{Flag: "vsn", Key: "vsn", Value: option.Choice(&c.vsn, builtIn.VSN, vsn1), From: &c.vsnFrom, Example: "2.0.0",
			Usage: "`VERSION` of the wire format: 2.0.0 or 1.0.0",
			About: "Version of the wire format."},
	}
}

func (c *Connection) timingOptions() []option.Option {
	return []option.Option{
		{Flag: "connect-timeout", Key: "connect_timeout_msec", Value: option.MsecKind.To(&c.ConnectTimeout, builtIn.ConnectTimeout.String()), Example: "5s",
			Usage: "`TIME` for a dial, from DNS to upgrade",
			About: "Milliseconds for a dial, from DNS to upgrade."},
		{Flag: "fallback-after", Key: "fallback_after_msec", Value: option.MsecKind.To(&c.fallbackAfter, builtIn.FallbackAfter.String()), Example: "5s",
			Usage: "`TIME` for a WebSocket to open, and for the answer to a heartbeat on it, before long poll is tried (--transport auto)",
			About: "Milliseconds for a WebSocket to open, and for the answer to a heartbeat on it, before long poll is tried (transport: auto)."},
		{Flag: "timeout", Key: "reply_timeout_msec", Value: option.MsecKind.To(&c.ReplyTimeout, builtIn.ReplyTimeout.String()), Example: "5s",
			Usage: "`TIME` for the reply to one join or push",
			About: "Milliseconds for the reply to one join or push."},
		{Flag: "heartbeat-interval", Key: "heartbeat_interval_msec", Value: option.MsecKind.To(&c.heartbeatInterval, builtIn.HeartbeatInterval.String()), From: &c.heartbeatFrom, Example: "30s",
			Usage: "`TIME` between heartbeats",
			About: "Milliseconds between heartbeats."},
		{Flag: "heartbeat-timeout", Key: "heartbeat_timeout_msec", Value: option.MsecKind.To(&c.heartbeatTimeout, ""), Example: "10s",
			Usage: "`TIME` for the answer to a heartbeat (default 10s, or the interval if that is shorter)",
			About: "Milliseconds for the answer to a heartbeat, at most the interval. The default is 10000, or the interval if that is shorter."},
		{Flag: "max-retries", Key: "max_retries", Value: retriesKind.To(&c.maxRetries, strconv.Itoa(c.retry.Max)), From: &c.maxRetriesFrom,
			Usage: "`N` retries in a row, of dials and of joins; -1: no limit", Example: "5",
			About: "Retries in a row, of dials and of joins; -1: no limit. Without it, max_outage_msec alone is the limit if that is given."},
		{Flag: "max-outage", Key: "max_outage_msec", Value: option.MsecKind.To(&c.maxOutage, c.retry.maxOutage()), From: &c.maxOutageFrom,
			Usage: "longest `TIME` that the link, or a channel, may be away before it is given up", Example: "15m",
			About: "Milliseconds that the link, or a channel, may be away before it is given up."},
		{Flag: "reconnect-after", Key: "reconnect_after_msec", Value: option.MsecsKind.To(&c.reconnectAfter, defaultReconnectAfter),
			Usage: "delays before dials, as a `LIST`; the last repeats", Example: "100ms,1s,10s",
			About: "Milliseconds before each dial that is a retry; the last repeats."},
		{Flag: "rejoin-after", Key: "rejoin_after_msec", Value: option.MsecsKind.To(&c.rejoinAfter, defaultRejoinAfter),
			Usage: "delays before joins, as a `LIST`; the last repeats", Example: "100ms,1s,10s",
			About: "Milliseconds before each join that is a retry; the last repeats."},
		{Flag: "no-reconnect", Key: "reconnect", Value: option.OffKind.To(&c.reconnect, "false"), From: &c.reconnectFrom,
			Usage: "do not retry anything (--max-retries 0)",
			About: "Whether anything is retried."},
		{Flag: "no-jitter", Key: "jitter", Value: option.OffKind.To(&c.jitter, "false"),
			Usage: "wait exactly the given delays, not a random half to whole of them",
			About: "Wait a random half to whole of the delays."},
		{Flag: "max-channels-per-socket", Key: "max_channels_per_socket", Value: numberKind.To(&c.maxChannelsPerSocket, strconv.Itoa(builtIn.MaxChannelsPerSocket)), Example: "50",
			Usage: "`N` channels at most on one socket; further ones go to further sockets",
			About: "Channels at most on one socket; further ones go to further sockets. A server that takes fewer is learnt from."},
		{Flag: "max-message", Key: "max_message", Value: option.SizeKind.To(&c.maxMessage, option.SizeText(builtIn.MaxMessage)), Example: "64MiB",
			Usage: "`SIZE` of the largest message accepted",
			About: "Size of the largest message accepted: bytes, or a number with KiB, MiB or GiB."},
	}
}

// Build checks the options against each other and returns those of package phoenix.
func (c *Connection) Build(stdin *secret.Stdin) (phoenix.Options, error) {
	if err := c.check(); err != nil {
		return phoenix.Options{}, err
	}
	for _, s := range c.sources() {
		if err := s.Claim(stdin); err != nil {
			return phoenix.Options{}, err
		}
	}
	transport := c.transport
	if c.transportFrom == option.FromDefault {
		transport = "" // the URI decides
	}
	retries, failFast := c.retries()
	var maxOutage time.Duration
	if retries != 0 {
		maxOutage = c.outageLimit()
	}
	o := phoenix.Options{
		URL:                  c.URI,
		VSN:                  c.vsn,
		Transport:            transport,
		FallbackAfter:        c.fallbackAfter,
		Credentials:          c.credentials,
		ConnectTimeout:       c.ConnectTimeout,
		ReplyTimeout:         c.ReplyTimeout,
		HeartbeatInterval:    c.heartbeatInterval,
		HeartbeatTimeout:     c.heartbeatTimeout,
		MaxRetries:           retries,
		MaxOutage:            maxOutage,
		FailFast:             failFast,
		NoJitter:             !c.jitter,
		ReconnectAfter:       c.backoff(c.reconnectAfter),
		RejoinAfter:          c.backoff(c.rejoinAfter),
		MaxMessage:           c.maxMessage,
		MaxChannelsPerSocket: c.maxChannelsPerSocket,
		AnyTopic:             c.anyTopic,
		Compress:             c.compress,
		NetDial:              c.NetDial(),
		Proxy:                c.Proxy(),
	}
	if c.Profile == Supabase {
		o.Dialect, o.JoinInterval = supabase.New(supabase.Options{Presence: c.Presence}), supabase.JoinInterval
	}
	return o, nil
}

// complete fills in defaults that depend on other options. Its error is whatever else is wrong
// with them.
func (c *Connection) complete() error {
	options, err := c.Build(nil)
	if err != nil {
		return err
	}
	options.Channels = c.UnreadChannels(c.AutoJoin()...)
	if options, err = options.Effective(); err != nil {
		return err
	}
	c.heartbeatTimeout, c.transport = options.HeartbeatTimeout, options.Transport
	return nil
}

// check is for options of a command line: that of an [Entry] speaks of keys.
func (c *Connection) check() error {
	const leaveOut = "leave one of them out"
	isOrigin := func(h secret.Named) bool { return textproto.CanonicalMIMEHeaderKey(h.Name) == "Origin" }
	switch {
	case c.URI == "":
		return exit.Usagef("give one with --uri or in PHX_URI; `phx demo` starts a server to try", "there is no URI to connect to")
	case c.heartbeatTimeout > c.heartbeatInterval:
		return exit.Usagef("make the timeout shorter, or the interval longer",
			"--heartbeat-timeout %v is longer than --heartbeat-interval %v", c.heartbeatTimeout, c.heartbeatInterval)
	case !c.reconnect && c.reconnectFrom == option.FromFlag && c.maxRetriesFrom == option.FromFlag && c.maxRetries != 0:
		return exit.Usagef(leaveOut, "--no-reconnect contradicts --max-retries %d", c.maxRetries)
	case c.Origin != "" && slices.ContainsFunc(c.Headers, isOrigin):
		return exit.Usagef(leaveOut, "--origin contradicts --header Origin")
	case c.ProxyURL != "" && c.UnixSocket != "":
		return exit.Usagef(leaveOut, "--proxy contradicts --unix-socket")
	case c.requireWSS && c.Cleartext():
		return exit.Usagef("use wss://, or leave out --require-wss (require_wss in a config file)",
			"the URI is one of ws, which is not encrypted, and --require-wss is set")
	case c.TLS.Key != nil && c.TLS.Cert == nil:
		return exit.Usagef("give the certificate of the key with --cert FILE", "--key is given without --cert")
	}
	if err := c.checkProfile(); err != nil {
		return err
	}
	return c.checkResume()
}

// sources returns every source of the connection itself, for the claims on the standard input.
func (c *Connection) sources() []*secret.Source {
	all := append([]*secret.Source{c.TLS.CA, c.TLS.Cert, c.TLS.Key, c.joinParams, c.AuthToken}, valuesOf(slices.Concat(c.Params, c.Headers))...)
	for _, push := range c.onJoin {
		all = append(all, push.payload)
	}
	return all
}

// Descriptors returns how many file descriptors the connection may need at once beside its socket: for a dial, which takes the
// resolver or a second address, or for a secret, which is read before the dial and at a rejoin.
func (c *Connection) Descriptors() int {
	const dial = 2
	sources := c.sources()
	for _, channel := range c.autoJoin {
		sources = append(sources, valuesOf(channel.secrets)...)
	}
	return max(dial, secret.MostDescriptors(sources))
}

func valuesOf(pairs []secret.Named) []*secret.Source {
	values := make([]*secret.Source, len(pairs))
	for i, p := range pairs {
		values[i] = p.Value
	}
	return values
}

// retries returns the limit, and whether nothing is retried before everything has worked once. A
// given limit retries from the start. A flag counts before both keys.
func (c *Connection) retries() (limit int, failFast bool) {
	switch {
	case !c.reconnect && (c.reconnectFrom == option.FromFlag || c.maxRetriesFrom != option.FromFlag):
		return 0, false
	case c.maxRetriesFrom != option.FromDefault:
		return c.maxRetries, false
	case c.maxOutageFrom != option.FromDefault:
		return -1, c.retry.FailFast
	}
	return c.retry.Max, c.retry.FailFast
}

// maxOutage returns the default of that option.
func (r Retry) maxOutage() string {
	if r.MaxOutage == 0 {
		return ""
	}
	return strings.TrimSuffix(r.MaxOutage.String(), "0s")
}

// outageLimit returns the bound of an outage. Who says how often to try, and not for how long, gets that many tries.
func (c *Connection) outageLimit() time.Duration {
	if c.maxRetriesFrom != option.FromDefault && c.maxOutageFrom == option.FromDefault {
		return 0
	}
	return c.maxOutage
}

func (c *Connection) backoff(delays []time.Duration) phoenix.Backoff {
	b := phoenix.Steps(delays...)
	if !c.jitter {
		return b
	}
	return phoenix.Jittered(b)
}

// liveKeys are those whose change needs no new socket: what they say counts from the next time on that it is looked at.
var liveKeys = []string{
	"connect_timeout_msec", "reply_timeout_msec", "heartbeat_interval_msec", "heartbeat_timeout_msec", "max_retries", "reconnect",
	"reconnect_after_msec", "rejoin_after_msec", "jitter", "required", "auth_token", "auto_join_channels",
}

// settle ends the setting of options. The declarations take more memory than all else of a connection, and a server has many
// connections; what they are needed for after the setting, the fingerprints, is computed now.
func (c *Connection) settle() {
	c.fingerprint, c.socketFingerprint = c.newFingerprint(), c.newSocketFingerprint()
	c.options = nil
}

// SocketFingerprint is a hash that is equal for settings between which one can change without a new socket. Of params and headers,
// it has the names and the literal texts: where the others come from counts from the next dial on. It is that of a connection of
// [Entry.Resolve].
func (c *Connection) SocketFingerprint() string { return c.socketFingerprint }

func (c *Connection) newSocketFingerprint() string {
	// What is delivered is followed from the start of a run on, or not at all.
	settings := []any{"params", canonicalLiterals(c.Params), "headers", canonicalLiterals(c.Headers), "resumes", c.HasResume()}
	for _, o := range c.keyed() {
		if o.Key != "params" && o.Key != "headers" && !slices.Contains(liveKeys, o.Key) {
			settings = append(settings, o.Key, o.Value.Canonical())
		}
	}
	return option.Hash(settings)
}

// ChannelFingerprints returns for each topic of the connection's auto_join_channels a hash that is equal for params between which one
// can change without joining again.
func (c *Connection) ChannelFingerprints() map[string]string {
	prints := map[string]string{}
	for _, channel := range c.autoJoin {
		prints[channel.topic] = option.Hash([]any{canonicalJSON(channel.params), canonicalLiterals(channel.secrets), canonicalOnJoin(channel.onJoin)})
	}
	return prints
}

// canonicalLiterals is canonicalPairs without where the texts come from that are read each time.
func canonicalLiterals(pairs []secret.Named) any {
	literals := slices.Clone(pairs)
	for i, p := range literals {
		if !p.Value.IsLiteral() {
			literals[i].Value = nil
		}
	}
	return canonicalPairs(literals, strings.ToLower)
}

// Fingerprint is a hash that is equal for equal effective settings, however they are written. It is that of a connection of
// [Entry.Resolve].
func (c *Connection) Fingerprint() string { return c.fingerprint }

func (c *Connection) newFingerprint() string {
	retries, _ := c.retries()
	settings := []any{"retries", retries}
	for _, o := range c.keyed() {
		if o.Key != "reconnect" && o.Key != "max_retries" {
			settings = append(settings, o.Key, o.Value.Canonical())
		}
	}
	return option.Hash(settings)
}
