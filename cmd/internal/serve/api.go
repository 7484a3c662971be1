package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/signal"
)

// A Backend does what the calls ask for. Its methods are called by many goroutines at once. ctx is that of the call: it ends when
// the caller has gone, when the time that the caller gave is up, and when the server shuts down.
//
// An error that is, or wraps, an [*Error] is answered as it is. Of any other the text is answered, with HTTP status 500, so it must hold
// no secret.
type Backend interface {
	// Connections returns every connection, in the order in which it was configured or added.
	Connections(ctx context.Context) ([]Connection, error)
	// Connection returns one; [UnknownConnection] if there is none of that name. So do all methods that take a name.
	Connection(ctx context.Context, name string) (Connection, error)
	// Await waits until the connection is in the state: [StateConnected], or [StateJoined]: connected and each of its wanted channels
	// joined. When ctx ends first, it returns ctx's error and the connection as it was last.
	Await(ctx context.Context, name, state string) (Connection, error)
	// Add takes one more connection and starts it: entry is its entry of a config file, as JSON, with its name. Paths in it that are
	// relative start at dir; empty: where serve was started.
	Add(ctx context.Context, entry []byte, dir string) (Connection, error)
	// Remove stops a connection and forgets it.
	Remove(ctx context.Context, name string) error
	// Start, Stop and Restart return the connection as it is afterwards. To start what runs, or to stop what does not, is no error.
	Start(ctx context.Context, name string) (Connection, error)
	Stop(ctx context.Context, name string) (Connection, error)
	Restart(ctx context.Context, name string) (Connection, error)
	// Join joins a topic and answers with the signal of its first answer, joined or join_error. params is a JSON object, or nil for those
	// that the configuration has for the topic, else none.
	Join(ctx context.Context, name, topic string, params json.RawMessage) (Answer, error)
	// Leave leaves a topic and answers with the signal left.
	Leave(ctx context.Context, name, topic string) (Answer, error)
	// Push pushes and answers with the signal that ended it: push.reply, push.timeout or push.error.
	Push(ctx context.Context, name string, p Push) (Answer, error)
	// Subscribe begins a stream of signals. A filter that does not compile is an [*Error].
	Subscribe(r SubscribeRequest) (Subscription, error)
	// Reload reads the configuration again, and returns when it has taken effect, or why it did not.
	Reload(ctx context.Context) error
}

// The states that [Backend.Await] waits for.
const (
	StateConnected = "connected"
	StateJoined    = "joined"
)

// A Connection is what there is to know about a connection.
type Connection struct {
	Name string `json:"name"`
	// Status is disconnected, connecting, connected or disconnecting.
	Status string `json:"status"`
	// URI has no query and no userinfo.
	URI string `json:"uri"`
	// Session counts successful connects; Attempt is the number of the current dial in a row of failures.
	Session int `json:"session"`
	Attempt int `json:"attempt"`
	// Since says since when Status is what it is.
	Since    time.Time `json:"since"`
	Required bool      `json:"required"`
	// Channels is never null in JSON.
	Channels []Channel `json:"channels"`
	// Counters is never null in JSON.
	Counters map[string]uint64 `json:"counters"`
	// Error says how the last run ended, if it ended by itself.
	Error string `json:"error,omitempty"`
}

// A Channel is one channel of a [Connection].
type Channel struct {
	Topic string `json:"topic"`
	State string `json:"state"`
	// JoinedAt is when it was joined last; zero, and not in JSON, if it is not joined.
	JoinedAt time.Time `json:"joined_at,omitzero"`
}

// A Push is one message to push.
type Push struct {
	Topic, Event string
	// Payload is a JSON text, unless Binary is not nil: then that is the payload.
	Payload json.RawMessage
	Binary  []byte
	// Timeout bounds the wait for the reply; zero: as long as the configuration of the connection says.
	Timeout time.Duration
	// NoReply waits for no reply. The answer is made by [NewRefAnswer].
	NoReply bool
}

// An Answer is a signal that answers a call.
type Answer struct {
	// HTTPStatus is 200 for the signals joined, left and push.reply, whatever the status in the reply; 504 for push.timeout and for a
	// join_error by timeout; 502 for push.error and other join_errors; 202 for the ref of a push that waits for no reply.
	HTTPStatus int
	// Line is the signal in the default format; a line break at its end is allowed.
	Line []byte
}

// NewRefAnswer returns the answer to a push that waits for no reply.
func NewRefAnswer(ref string) Answer {
	line, _ := json.Marshal(struct { // strings always marshal
		Ref string `json:"ref"`
	}{ref})
	return Answer{HTTPStatus: 202, Line: line}
}

// A SubscribeRequest says which signals somebody wants, and how they are written. What is empty is not asked for.
type SubscribeRequest struct {
	// Match is a pattern for the type, Subscribe one for a bus topic.
	Match, Subscribe string
	// Topic and Event are globs for the raw names, any of which is enough.
	Topic, Event []string
	// Where is a jq expression on the signal in the default format.
	Where  string
	Format signal.Format
}

// A Subscription is a stream of signals. One goroutine takes from it.
type Subscription interface {
	// Next waits for at least one signal, and returns as many as there are, within reason: whole lines, valid until the next call of Next or
	// Close. What the subscriber was too slow for is lost, and announced in the stream. The error is that of ctx, or says that the stream has ended.
	Next(ctx context.Context) ([]byte, error)
	// Close ends the subscription. It is called once, after the last Next has returned.
	Close()
}

// An Error is a call that failed, on either side of the socket. As JSON it is {"error":{"message","hint","exit_code"}}.
type Error struct {
	// Status is the HTTP status; 0 when nobody answered.
	Status int
	// Code is the exit code of `phx ctl`.
	Code int
	// Message says what happened, and Advice what to do about it.
	Message, Advice string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// ExitCode returns the exit code for it.
func (e *Error) ExitCode() int { return e.Code }

// Hint returns what to do about it.
func (e *Error) Hint() string { return e.Advice }

// The exit codes that this package gives by itself.
const (
	exitFailure   = 1
	exitUsage     = 2
	exitJQCompile = 3
	exitConnect   = 7
	exitWrite     = 23
	exitTimeout   = 28
	exitLinkLost  = 56
	exitChannel   = 66
)

// UnknownConnection is the error of a call that names a connection that serve does not have.
func UnknownConnection(name string) *Error {
	return &Error{
		Status: http.StatusNotFound, Code: exitFailure,
		Message: fmt.Sprintf("serve has no connection %q", name),
		Advice:  "`phx ctl list` shows those it has",
	}
}

// ErrClosing is the error of a call that comes too late, or would wait for what will not come any more.
var ErrClosing = &Error{
	Status: http.StatusServiceUnavailable, Code: exitLinkLost, Message: "serve is shutting down", Advice: "start it again: phx serve -f FILE",
}

// BadRequest is the error of a call that is wrong in itself.
func BadRequest(hint, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: exitUsage, Message: fmt.Sprintf(format, args...), Advice: hint}
}

// errorBody is an Error as JSON.
type errorBody struct {
	Error struct {
		Message  string `json:"message"`
		Hint     string `json:"hint,omitempty"`
		ExitCode int    `json:"exit_code"`
	} `json:"error"`
}

func (e *Error) body() errorBody {
	var b errorBody
	b.Error.Message, b.Error.Hint, b.Error.ExitCode = e.Message, e.Advice, e.Code
	return b
}

// asError makes an Error of what a Backend returned.
func asError(err error) *Error {
	if known := (*Error)(nil); errors.As(err, &known) {
		return known
	}
	e := &Error{Status: http.StatusInternalServerError, Code: exitFailure, Message: err.Error()}
	if coded := (*exit.Error)(nil); errors.As(err, &coded) {
		e.Status, e.Code, e.Advice = http.StatusUnprocessableEntity, int(coded.Code), coded.Hint
		return e
	}
	if coded := (interface{ ExitCode() int })(nil); errors.As(err, &coded) {
		// It is known what is wrong, and it is no mistake of ours: a config file, for example.
		e.Status, e.Code = http.StatusUnprocessableEntity, coded.ExitCode()
	}
	if hinted := (interface{ Hint() string })(nil); errors.As(err, &hinted) {
		e.Advice = hinted.Hint()
	}
	return e
}

const (
	// MaxBody is how large the body of a call may be: more than the largest message that Phoenix takes by default, as base64.
	MaxBody = 128 << 20
	// headerTimeout bounds the time in which a caller sends its header, bodyTimeout that for the body, and writeTimeout that in which it
	// takes what is written to it at a time.
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	// idleTimeout is how long a connection of a caller stays open between two calls.
	idleTimeout = 2 * time.Minute
	// shutdownGrace is how long calls that are being answered may take once the server is to end.
	shutdownGrace = 2 * time.Second
)

// A Server answers the calls of the control API.
type Server struct {
	backend Backend
	log     *slog.Logger
	// writeTimeout and maxBody are the constants, but for tests.
	writeTimeout time.Duration
	maxBody      int64
	// closing is done when the server is to end: what would wait for long does so no longer.
	closing context.Context
	close   context.CancelFunc
}

// NewServer returns a server of what b does, which logs what a caller cannot be told.
func NewServer(b Backend, log *slog.Logger) *Server {
	s := &Server{backend: b, log: log, writeTimeout: writeTimeout, maxBody: MaxBody}
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// Serve answers calls on l, which it closes, until ctx ends, and then returns nil: streams and waits end at once, other calls have a
// little time. A Server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	calls, cancelCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelCalls()
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return calls },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		s.close()
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	s.close()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		// They have had their time. Ending their contexts lets them go before their connections are cut.
		cancelCalls()
		err = server.Close()
	}
	<-ended
	return err
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{server: s, w: w, r: r, control: http.NewResponseController(w)}
	defer func() {
		if value := recover(); value != nil {
			if value == http.ErrAbortHandler {
				panic(value)
			}
			s.log.Error("a control call panicked", "method", r.Method, "path", r.URL.Path, "panic", value, "stack", string(debug.Stack()))
			c.panicked()
		}
	}()
	if err := c.handle(); err != nil {
		c.fail(err)
	}
}

// A handler does one call.
type handler func(c *call) error

// bare is a handler of calls without a query.
func bare(h handler) handler {
	return func(c *call) error {
		if _, err := c.query(nil); err != nil {
			return err
		}
		return h(c)
	}
}

// methods are the handlers of one path.
type methods map[string]handler

// route returns the handlers of a path, and what the path names in c; nil if there is no such path. The path is looked at as it was
// escaped: what is a slash in a topic divides nothing.
func route(c *call, escaped string) methods {
	rest, ok := strings.CutPrefix(escaped, "/v1/")
	if !ok {
		return nil
	}
	switch rest {
	case "connections":
		return methods{http.MethodGet: bare(listConnections), http.MethodPost: addConnection}
	case "signals":
		return methods{http.MethodGet: streamSignals}
	case "reload":
		return methods{http.MethodPost: bare(reload)}
	}
	rest, ok = strings.CutPrefix(rest, "connections/")
	if !ok {
		return nil
	}
	name, rest, deeper := strings.Cut(rest, "/")
	if c.name, ok = unescape(name); !ok {
		return nil
	}
	if !deeper {
		return methods{http.MethodGet: getConnection, http.MethodDelete: bare(removeConnection)}
	}
	return routeBelow(c, rest)
}

// routeBelow is route for what comes below a connection.
func routeBelow(c *call, rest string) methods {
	switch rest {
	case "start":
		return methods{http.MethodPost: bare(startConnection)}
	case "stop":
		return methods{http.MethodPost: bare(stopConnection)}
	case "restart":
		return methods{http.MethodPost: bare(restartConnection)}
	case "push":
		return methods{http.MethodPost: bare(push)}
	case "channels":
		return methods{http.MethodPost: bare(join)}
	}
	topic, ok := strings.CutPrefix(rest, "channels/")
	if !ok {
		return nil
	}
	// A topic may hold slashes, escaped or not.
	if c.topic, ok = unescape(topic); !ok {
		return nil
	}
	return methods{http.MethodDelete: bare(leave)}
}

// unescape returns the text of a part of a path, which must not be empty.
func unescape(part string) (text string, ok bool) {
	text, err := url.PathUnescape(part)
	return text, err == nil && text != ""
}

// handle finds out what the call is, and does it.
func (c *call) handle() error {
	path := c.r.URL.EscapedPath()
	found := route(c, path)
	if found == nil {
		return &Error{
			Status: http.StatusNotFound, Code: exitUsage, Message: fmt.Sprintf("there is no call %s %s", c.r.Method, path),
			Advice: "for example: GET /v1/connections",
		}
	}
	h, ok := found[c.r.Method]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(found)), ", ")
		c.w.Header().Set("Allow", allowed)
		return &Error{
			Status: http.StatusMethodNotAllowed, Code: exitUsage, Message: fmt.Sprintf("%s does not go with %s", c.r.Method, path),
			Advice: "it takes " + allowed,
		}
	}
	return h(c)
}

// A call is one request on its way through a handler.
type call struct {
	server  *Server
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	// name is the connection in the path, topic the topic in it.
	name, topic string
	// begun says that the header of the answer is written.
	begun bool
}

// answer answers with a value as JSON.
func (c *call) answer(status int, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	c.write(status, text)
	return nil
}

// answerWith is answer for what a method of the backend returned.
func answerWith[T any](c *call, status int, value T, err error) error {
	if err != nil {
		return err
	}
	return c.answer(status, value)
}

// answerSignal answers with a signal.
func (c *call) answerSignal(a Answer, err error) error {
	if err != nil {
		return err
	}
	c.write(a.HTTPStatus, bytes.TrimSuffix(a.Line, []byte("\n")))
	return nil
}

// write writes the answer: text in a line of its own. A caller that has gone, or does not read, misses it.
func (c *call) write(status int, text []byte) {
	c.begin(status, "application/json")
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // for a body that nobody wanted, which net/http reads now
	_, _ = c.w.Write(append(text[:len(text):len(text)], '\n'))
}

// begin writes the header.
func (c *call) begin(status int, contentType string) {
	c.begun = true
	c.extend()
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
}

// extend gives the caller some more time to take what is written next.
func (c *call) extend() {
	_ = c.control.SetWriteDeadline(time.Now().Add(c.server.writeTimeout)) // a connection that is gone fails at the write
}

// fail answers with an error.
func (c *call) fail(err error) {
	if c.begun {
		panic(http.ErrAbortHandler) // the stream must not look complete
	}
	e := asError(err)
	text, _ := json.Marshal(e.body()) // strings and a number
	c.write(e.Status, text)
}

// panicked answers a call whose handler panicked, if that can still be done.
func (c *call) panicked() {
	if c.begun {
		panic(http.ErrAbortHandler)
	}
	c.fail(&Error{
		Status: http.StatusInternalServerError, Code: exitFailure, Message: "serve made a mistake in this call; nothing else is harmed",
		Advice: "its log on stderr has more",
	})
}

// body reads the body, all of it.
func (c *call) body() ([]byte, error) {
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, c.server.maxBody))
	_ = c.control.SetReadDeadline(time.Time{})
	switch {
	case err == nil && !utf8.Valid(data):
		return nil, BadRequest("JSON is UTF-8; bytes go as payload_base64", "the body is not valid UTF-8")
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, &Error{
			Status: http.StatusRequestEntityTooLarge, Code: exitUsage, Message: fmt.Sprintf("the body has more than %d bytes", c.server.maxBody), Advice: "send less",
		}
	case err != nil:
		return nil, BadRequest("send it again", "the body did not arrive: %v", err)
	}
	return data, nil
}

// decode reads the body into v: one JSON object, with no members but v's.
func (c *call) decode(v any, example string) error {
	data, err := c.body()
	if err != nil {
		return err
	}
	hint := "for example: " + example
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return BadRequest(hint, "the body is wrong: %s", explainJSON(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return BadRequest(hint, "the body is wrong: something follows the object")
	}
	return nil
}

// explainJSON says what is wrong with a body, without the names of Go's types.
func explainJSON(err error) string {
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		if kind.Field == "" {
			return "it is no object: " + kind.Value
		}
		return fmt.Sprintf("%s is of the wrong kind: %s", kind.Field, kind.Value)
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.HasPrefix(text, "unexpected end") {
		return "it ends too early"
	}
	return text
}

// query returns the query, in which nothing but the known names may be given, and only those that repeat more than once.
func (c *call) query(known []string, repeat ...string) (url.Values, error) {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, BadRequest("percent-encode what is not a letter or a digit", "the query is wrong: %v", err)
	}
	for name, texts := range values {
		switch {
		case slices.Contains(repeat, name):
		case !slices.Contains(known, name):
			hint := "this call takes no query"
			if names := slices.Concat(known, repeat); len(names) > 0 {
				hint = "there are: " + strings.Join(names, ", ")
			}
			return nil, BadRequest(hint, "the query has an unknown name, %q", name)
		case len(texts) > 1:
			return nil, BadRequest("give it once", "the query has more than one %q", name)
		}
	}
	return values, nil
}

func listConnections(c *call) error {
	all, err := c.server.backend.Connections(c.r.Context())
	for i := range all {
		all[i] = all[i].complete()
	}
	if all == nil {
		all = []Connection{}
	}
	return answerWith(c, http.StatusOK, connectionList{all}, err)
}

// connectionList is what GET /v1/connections answers.
type connectionList struct {
	Connections []Connection `json:"connections"`
}

// complete returns the connection as it is to be in JSON. Times are as exact as those of signals.
func (c Connection) complete() Connection {
	c.Since = c.Since.UTC().Truncate(time.Microsecond)
	c.Channels = append([]Channel{}, c.Channels...)
	for i := range c.Channels {
		c.Channels[i].JoinedAt = c.Channels[i].JoinedAt.UTC().Truncate(time.Microsecond)
	}
	if c.Counters == nil {
		c.Counters = map[string]uint64{}
	}
	return c
}

func getConnection(c *call) error {
	query, err := c.query([]string{"wait", "timeout"})
	if err != nil {
		return err
	}
	state := query.Get("wait")
	switch state {
	case "":
		if query.Has("timeout") || query.Has("wait") {
			return BadRequest("for example: ?wait=joined&timeout=30s", "the query has no state to wait for")
		}
		return answerConnection(c, http.StatusOK)(c.server.backend.Connection(c.r.Context(), c.name))
	case StateConnected, StateJoined:
		return await(c, state, query.Get("timeout"))
	}
	return BadRequest("it is connected or joined", "there is no state %q to wait for", state)
}

// await answers once the connection is in the state.
func await(c *call, state, timeout string) error {
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	defer context.AfterFunc(c.server.closing, cancel)()
	var limit time.Duration
	if timeout != "" {
		var err error
		if limit, err = parseTimeout(timeout); err != nil {
			return err
		}
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	conn, err := c.server.backend.Await(ctx, c.name, state)
	switch {
	case err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()):
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Error{
			Status: http.StatusGatewayTimeout, Code: exitTimeout,
			Message: fmt.Sprintf("%s is not %s within %v: %s", conn.Name, state, limit, conn.standing()),
			Advice:  "allow more time, or see the log of serve",
		}
	default:
		return ErrClosing
	}
	return answerConnection(c, http.StatusOK)(conn, err)
}

// standing says how far the connection is.
func (c Connection) standing() string {
	text := "it is " + c.Status
	if c.Status != StateConnected {
		return text
	}
	for _, channel := range c.Channels {
		if channel.State != StateJoined {
			text += fmt.Sprintf(", %s is %s", channel.Topic, channel.State)
		}
	}
	return text
}

// answerConnection answers with what a method of the backend returns.
func answerConnection(c *call, status int) func(Connection, error) error {
	return func(conn Connection, err error) error { return answerWith(c, status, conn.complete(), err) }
}

// An entryName is what has to be known of an entry before the backend gets it.
type entryName struct {
	Name *string `json:"name"`
}

func addConnection(c *call) error {
	query, err := c.query([]string{"dir"})
	if err != nil {
		return err
	}
	entry, err := c.body()
	if err != nil {
		return err
	}
	const hint = `for example: {"name":"backend","uri":"ws://localhost:4000/socket"}`
	var named entryName
	if err := json.Unmarshal(entry, &named); err != nil {
		return BadRequest(hint, "the body is wrong: %s", explainJSON(err))
	}
	if named.Name == nil || *named.Name == "" {
		return BadRequest(hint, "the connection has no name")
	}
	return answerConnection(c, http.StatusCreated)(c.server.backend.Add(c.r.Context(), entry, query.Get("dir")))
}

// done is what calls answer that have nothing else to tell.
type done struct {
	Name   string `json:"name,omitempty"`
	Status string `json:"status"`
}

func removeConnection(c *call) error {
	err := c.server.backend.Remove(c.r.Context(), c.name)
	return answerWith(c, http.StatusOK, done{c.name, "removed"}, err)
}

func startConnection(c *call) error {
	return answerConnection(c, http.StatusOK)(c.server.backend.Start(c.r.Context(), c.name))
}

func stopConnection(c *call) error {
	return answerConnection(c, http.StatusOK)(c.server.backend.Stop(c.r.Context(), c.name))
}

func restartConnection(c *call) error {
	return answerConnection(c, http.StatusOK)(c.server.backend.Restart(c.r.Context(), c.name))
}

func reload(c *call) error {
	return answerWith(c, http.StatusOK, done{Status: "reloaded"}, c.server.backend.Reload(c.r.Context()))
}

// parseTimeout parses the time that a call may take.
func parseTimeout(text string) (time.Duration, error) {
	d, err := config.ParseDuration(text)
	if err != nil {
		return 0, BadRequest("for example: timeout=30s", "timeout %q %v", text, err)
	}
	return d, nil
}

// joinBody is the body of POST .../channels.
type joinBody struct {
	Topic  string          `json:"topic"`
	Params json.RawMessage `json:"params,omitempty"`
}

func join(c *call) error {
	const example = `{"topic":"room:lobby","params":{}}`
	var b joinBody
	if err := c.decode(&b, example); err != nil {
		return err
	}
	if b.Topic == "" {
		return BadRequest("for example: "+example, "the body has no topic")
	}
	if b.Params != nil && b.Params[0] != '{' {
		return BadRequest("for example: "+example, "params is not an object, which is all that Phoenix takes")
	}
	return c.answerSignal(c.server.backend.Join(c.r.Context(), c.name, b.Topic, b.Params))
}

func leave(c *call) error {
	return c.answerSignal(c.server.backend.Leave(c.r.Context(), c.name, c.topic))
}

// pushBody is the body of POST .../push.
type pushBody struct {
	Topic     string          `json:"topic"`
	Event     string          `json:"event"`
	Payload   json.RawMessage `json:"payload,omitempty"`
	Base64    []byte          `json:"payload_base64,omitzero"`
	TimeoutMS int64           `json:"timeout_ms,omitempty"`
	NoReply   bool            `json:"no_reply,omitempty"`
}

// maxTimeoutMS is the longest timeout_ms that a time.Duration holds.
const maxTimeoutMS = math.MaxInt64 / int64(time.Millisecond)

func push(c *call) error {
	const example = `{"topic":"room:lobby","event":"new_msg","payload":{}}`
	var b pushBody
	if err := c.decode(&b, example); err != nil {
		return err
	}
	wrong := ""
	switch {
	case b.Topic == "":
		wrong = "the body has no topic"
	case b.Event == "":
		wrong = "the body has no event"
	case b.Payload == nil && b.Base64 == nil:
		wrong = "the body has neither payload nor payload_base64"
	case b.Payload != nil && b.Base64 != nil:
		wrong = "the body has both payload and payload_base64"
	case b.TimeoutMS < 0 || b.TimeoutMS > maxTimeoutMS:
		wrong = "timeout_ms is no time"
	}
	if wrong != "" {
		return BadRequest("for example: "+example, "%s", wrong)
	}
	return c.answerSignal(c.server.backend.Push(c.r.Context(), c.name, Push{
		Topic: b.Topic, Event: b.Event, Payload: bytes.TrimSpace(b.Payload), Binary: b.Base64,
		Timeout: time.Duration(b.TimeoutMS) * time.Millisecond, NoReply: b.NoReply,
	}))
}

// The names in the query of GET /v1/signals.
const (
	queryMatch     = "match"
	querySubscribe = "subscribe"
	queryTopic     = "topic"
	queryEvent     = "event"
	queryWhere     = "where"
	queryFormat    = "format"
)

// subscribeRequest reads the query.
func (c *call) subscribeRequest() (SubscribeRequest, error) {
	query, err := c.query([]string{queryMatch, querySubscribe, queryWhere, queryFormat}, queryTopic, queryEvent)
	if err != nil {
		return SubscribeRequest{}, err
	}
	r := SubscribeRequest{
		Match: query.Get(queryMatch), Subscribe: query.Get(querySubscribe),
		Topic: nonEmpty(query[queryTopic]), Event: nonEmpty(query[queryEvent]), Where: query.Get(queryWhere),
	}
	if format := query.Get(queryFormat); format != "" {
		if r.Format, err = signal.ParseFormat(format); err != nil {
			return r, BadRequest("leave it out for the default", "%v", err)
		}
	}
	return r, nil
}

// nonEmpty leaves out what is empty: "topic=" asks for nothing.
func nonEmpty(texts []string) []string {
	var kept []string
	for _, text := range texts {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return kept
}

// streamSignals writes signals as they come, until the caller has gone or stops reading, or the server is to end.
func streamSignals(c *call) error {
	request, err := c.subscribeRequest()
	if err != nil {
		return err
	}
	subscription, err := c.server.backend.Subscribe(request)
	if err != nil {
		return err
	}
	defer subscription.Close()
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	defer context.AfterFunc(c.server.closing, cancel)()
	// The header goes out at once: who has it knows that no signal from now on is missed.
	c.begin(http.StatusOK, "application/x-ndjson")
	for err = c.control.Flush(); err == nil; err = c.control.Flush() {
		lines, err := subscription.Next(ctx)
		c.extend() // also for the end of the body
		if err != nil {
			return nil // the stream has ended, for everybody or for this one
		}
		if _, err := c.w.Write(lines); err != nil {
			break
		}
	}
	c.server.log.Debug("a subscriber of signals has gone, or did not read for too long", "timeout", c.server.writeTimeout)
	return nil
}
