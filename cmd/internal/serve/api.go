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
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

// The states that [Bridge.Await] waits for.
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
	// Transport is websocket or longpoll, empty unless it is connected.
	Transport string `json:"transport,omitempty"`
	// Session counts successful connects; Attempt is the number of the current dial in a row of failures.
	Session int `json:"session"`
	Attempt int `json:"attempt"`
	// Since says since when Status is what it is; it is zero, and not in JSON, where that is not known.
	Since    time.Time `json:"since,omitzero"`
	Required bool      `json:"required"`
	// Channels is never null in JSON.
	Channels []Channel `json:"channels"`
	// Sockets are those of a connection that has several; else there is no such member. Status is that of the worst of them.
	Sockets []Socket `json:"sockets,omitempty"`
	// Counters is never null in JSON.
	Counters map[string]uint64 `json:"counters"`
	// Shard is the part of the connections, INDEX/OF, that this serve runs; empty: all.
	Shard string `json:"shard,omitempty"`
	// Instance runs the connection, with leases, and Epoch is that of its lease. Of a connection that another instance runs, Status is what
	// that has said of it last, and there are no channels, session and counters. OtherConfig: it has another configuration than this one.
	Instance    string `json:"instance,omitempty"`
	Epoch       uint64 `json:"epoch,omitempty"`
	OtherConfig bool   `json:"other_config,omitempty"`
	// Error says how the last run ended, if it ended by itself.
	Error string `json:"error,omitempty"`
}

// An Instance is one of several processes with one config, which share its connections by leases.
type Instance struct {
	Instance string `json:"instance"`
	// Self says that it is the one that was asked.
	Self bool `json:"self"`
	// Config is equal for equal configurations; SameConfig says that it is that of the one that was asked.
	Config     string `json:"config"`
	SameConfig bool   `json:"same_config"`
	// Connections is how many it runs.
	Connections int `json:"connections"`
}

// A Channel is one channel of a [Connection].
type Channel struct {
	Topic string `json:"topic"`
	State string `json:"state"`
	// JoinedAt is when it was joined last; zero, and not in JSON, if it is not joined.
	JoinedAt time.Time `json:"joined_at,omitzero"`
	// Live is false of a channel that is joined and waits for what its join asked for, such as a subscription to changes of a database; else
	// nil, and not in JSON.
	Live *bool `json:"live,omitempty"`
	// Socket is the number of the socket that it is on, if the connection has several.
	Socket int `json:"socket,omitempty"`
}

// A Socket is one of several sockets of a [Connection].
type Socket struct {
	// Socket is the number that lifecycle signals have as data.socket.
	Socket int    `json:"socket"`
	Status string `json:"status"`
	// Transport is websocket or longpoll, empty unless it is connected.
	Transport string `json:"transport,omitempty"`
	// Session is the number of its latest session.
	Session int `json:"session"`
	// Channels is how many of the connection's channels are on it.
	Channels int `json:"channels"`
}

// The states of a [Sink].
const (
	SinkUp      = "up"
	SinkFailing = "failing" // the last attempt failed, and the next one is to come
	SinkOver    = "over"    // there is no next one, until a reload
)

// A Sink is what there is to know about a sink. The counters began when serve was started; a sink that a reload replaces hands them on.
type Sink struct {
	Name string `json:"name"`
	// Kind is file, exec, webhook or stdout.
	Kind string `json:"kind"`
	// Status is SinkUp, SinkFailing or SinkOver.
	Status string `json:"status"`
	// Waiting is how many signals the sink has got, and neither delivered nor lost; WaitingBytes is their size, and OldestMS for how
	// many milliseconds the first of them has waited, 0 if there is none.
	Waiting      int   `json:"waiting"`
	WaitingBytes int64 `json:"waiting_bytes"`
	OldestMS     int64 `json:"oldest_ms"`
	// Spool is nil, and not in JSON, if the sink has none.
	Spool     *Spool `json:"spool,omitempty"`
	Delivered uint64 `json:"delivered"`
	Lost      uint64 `json:"lost"`
	// Attempts counts attempts by what came of them, as [router.Tried] has it. It is never null in JSON.
	Attempts map[string]uint64 `json:"attempts"`
	// LastError is what the last failed attempt said, also when later ones did not fail, and LastErrorAt when that was.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// A Spool is what the spool of a [Sink] holds.
type Spool struct {
	// Spooled is how many of the waiting signals are in the file, and SpooledBytes how much of it they take.
	Spooled      int   `json:"spooled"`
	SpooledBytes int64 `json:"spooled_bytes"`
	// Error is why the file cannot be written or read, so that signals wait in memory.
	Error string `json:"error,omitempty"`
}

// A Join is the body of POST /v1/connections/NAME/channels.
type Join struct {
	Topic string `json:"topic"`
	// Params is a JSON object, or nil for those that the configuration has for the topic, else none.
	Params json.RawMessage `json:"params,omitempty"`
}

// A Push is the body of POST /v1/connections/NAME/push.
type Push struct {
	Topic string `json:"topic"`
	Event string `json:"event"`
	// BroadcastEvent is the event within a push whose Event is broadcast, on a connection with the profile supabase: Payload, or Binary, is
	// that of the broadcast. Empty: it is as with any other push.
	BroadcastEvent string `json:"broadcast_event,omitempty"`
	// Payload is a JSON text. Either it or Binary is not nil.
	Payload json.RawMessage `json:"payload,omitempty"`
	Binary  []byte          `json:"payload_base64,omitzero"`
	// TimeoutMS bounds the wait for the reply in milliseconds; 0: as long as the configuration of the connection says.
	TimeoutMS int64 `json:"timeout_ms,omitempty"`
	// NoReply waits for no reply: the answer is {"ref":"..."}.
	NoReply bool `json:"no_reply,omitempty"`
}

// An Answer is the answer to a join, a leave or a push.
type Answer struct {
	// Status is the HTTP status: 200 for the signals joined, left and push.reply, whatever the status in the reply; 504 for
	// push.timeout and for a join_error by timeout; 502 for push.error and other join_errors; 202 for the ref of a push that
	// waits for no reply.
	Status int
	// Line is the signal in the default format, or the ref; a line break at its end is allowed.
	Line []byte
	// Err says why the call has failed, as the command of its name does; nil if it has not.
	Err *exit.Error
}

// A SubscribeRequest is the query of GET /v1/signals: which signals a subscriber wants, and how they are written. What is empty
// is not asked for.
type SubscribeRequest struct {
	// Match is a pattern for the type, Subscribe one for a bus topic.
	Match, Subscribe string
	// Topic and Event are globs for the raw names, any of which is enough.
	Topic, Event []string
	// Where is a jq expression on the signal in the default format.
	Where  string
	Format signal.Format
}

// An apiError is the error of a call with the HTTP status of its answer.
type apiError struct {
	status int
	err    *exit.Error
}

// Error returns the message.
func (e *apiError) Error() string { return e.err.Error() }

// Unwrap returns the error without the status.
func (e *apiError) Unwrap() error { return e.err }

func newAPIError(status int, code exit.Code, message, hint string) *apiError {
	return &apiError{status, &exit.Error{Code: code, Message: message, Hint: hint}}
}

// badRequest is the error of a call that is wrong in itself.
func badRequest(hint, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, exit.Usagef(hint, format, args...)}
}

// errClosing is the error of a call that comes too late, or would wait for what will not come any more.
var errClosing = newAPIError(http.StatusServiceUnavailable, exit.LinkLost, "serve is shutting down", "start it again: phx serve -f FILE")

// errStarting is the error of a change, or of a call about what is not known, before everything is started.
var errStarting = newAPIError(http.StatusServiceUnavailable, exit.Failure, "serve is still starting", "try again")

// asAPIError returns the error that a call is answered with. The text of an error that nobody gave a code is answered with status 500,
// so it must hold no secret.
func asAPIError(err error) *apiError {
	if known := (*apiError)(nil); errors.As(err, &known) {
		return known
	}
	if coded := (*exit.Error)(nil); errors.As(err, &coded) {
		// It is known what is wrong, and it is no mistake of ours: a config file, for example.
		return newAPIError(http.StatusUnprocessableEntity, coded.Code, err.Error(), coded.Hint)
	}
	return newAPIError(http.StatusInternalServerError, exit.Failure, err.Error(), "")
}

// A wireError is an [exit.Error] as JSON, in the body of an error and in the header of an answer.
type wireError struct {
	Message  string    `json:"message"`
	Hint     string    `json:"hint,omitempty"`
	ExitCode exit.Code `json:"exit_code"`
}

// errorBody is the body of an error.
type errorBody struct {
	Error wireError `json:"error"`
}

// errorHeader has the wireError of an answer whose body is the signal of a failure.
const errorHeader = "Phx-Error"

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
	bridge *Bridge
	log    *slog.Logger
	mux    *http.ServeMux
	// writeTimeout, signInterval and maxBody are the constants, but for tests.
	writeTimeout, signInterval time.Duration
	maxBody                    int64
	// closing is done when the server is to end: what would wait for long does so no longer.
	closing context.Context
	close   context.CancelFunc
}

// NewServer returns a server of b's control API, which also answers the calls that b gets over NATS. It is called before [Bridge.StartAll]. It logs what cannot be answered.
func NewServer(b *Bridge, log *slog.Logger) *Server {
	s := &Server{bridge: b, log: log, mux: http.NewServeMux(), writeTimeout: writeTimeout, signInterval: signInterval, maxBody: MaxBody}
	s.closing, s.close = context.WithCancel(context.Background())
	b.handler = s
	s.route("/v1/connections", methods{"GET": withoutQuery(listConnections), "POST": addConnection})
	s.route("/v1/connections/{name}", methods{"GET": getConnection, "DELETE": withoutQuery(removeConnection)})
	s.route("/v1/connections/{name}/start", methods{"POST": changeConnection((*Bridge).Start)})
	s.route("/v1/connections/{name}/stop", methods{"POST": changeConnection((*Bridge).Stop)})
	s.route("/v1/connections/{name}/restart", methods{"POST": changeConnection((*Bridge).Restart)})
	s.route("/v1/connections/{name}/channels", methods{"POST": withoutQuery(join)})
	s.route("/v1/connections/{name}/channels/{topic}", methods{"DELETE": withoutQuery(leave)})
	s.route("/v1/connections/{name}/push", methods{"POST": withoutQuery(push)})
	s.route("/v1/sinks", methods{"GET": withoutQuery(listSinks)})
	s.route("/v1/sinks/{name}", methods{"GET": withoutQuery(getSink)})
	s.route("/v1/signals", methods{"GET": streamSignals})
	s.route("/v1/reload", methods{"POST": withoutQuery(reload)})
	s.mux.HandleFunc("/", s.answerWith(noSuchCall))
	return s
}

// A handler does one call.
type handler func(c *call) error

// methods are the handlers of one path.
type methods map[string]handler

// route routes the calls of a path. A method that it does not have is answered with those that it has; the mux would take HEAD for GET.
func (s *Server) route(path string, m methods) {
	allowed := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
	notAllowed := s.answerWith(func(c *call) error {
		c.w.Header().Set("Allow", allowed)
		return newAPIError(http.StatusMethodNotAllowed, exit.Usage, fmt.Sprintf("%s does not go with %s", c.r.Method, c.path()), "it takes "+allowed)
	})
	for method, h := range m {
		s.mux.HandleFunc(method+" "+path, s.answerWith(h))
	}
	s.mux.HandleFunc("HEAD "+path, notAllowed)
	s.mux.HandleFunc(path, notAllowed)
}

// answerWith returns h as the mux takes it. A panic in h ends this call and nothing else.
func (s *Server) answerWith(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{server: s, w: w, r: r, control: http.NewResponseController(w)}
		defer c.settled()
		defer func() {
			if value := recover(); value != nil {
				if value == http.ErrAbortHandler {
					panic(value)
				}
				s.log.Error("a control call panicked", "method", r.Method, "path", r.URL.Path, "panic", value, "stack", string(debug.Stack()))
				c.fail(newAPIError(http.StatusInternalServerError, exit.Failure,
					"serve made a mistake in this call; nothing else is harmed", "its log on stderr has more"))
			}
		}()
		if err := h(c); err != nil {
			c.fail(err)
		}
	}
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	escaped := muxPath(r.URL.EscapedPath())
	if path.Clean("/"+escaped) != escaped { // which the mux would redirect
		s.answerWith(noSuchCall)(w, r)
		return
	}
	r.URL.RawPath = escaped
	s.mux.ServeHTTP(w, r)
}

// muxPath returns an escaped path in which a topic, which may hold slashes, is one segment, and no segment is a dot or two: the mux
// would redirect to a path without them.
func muxPath(escaped string) string {
	segments := strings.SplitN(escaped, "/", 6) // "", v1, connections, NAME, channels, TOPIC
	if len(segments) == 6 && segments[4] == "channels" {
		segments[5] = strings.ReplaceAll(segments[5], "/", "%2F")
	}
	for i, segment := range segments {
		if segment == "." || segment == ".." {
			segments[i] = strings.ReplaceAll(segment, ".", "%2E")
		}
	}
	return strings.Join(segments, "/")
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
	l = newReserve(l, s.log)
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

// A call is one request on its way through a handler.
type call struct {
	server  *Server
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	// begun says that the header of the answer is written.
	begun bool
	// settle ends the signs of life; nil without them.
	settle func()
}

// signInterval is the time between two signs of life of a call that takes long. A caller's patience is several of them.
const signInterval = 3 * time.Second

// working lets the caller know, until the answer begins, that the call is being worked on, by interim responses (102 Processing), so
// that it can tell a call that takes long from a server that is stopped. The header must not be touched meanwhile.
func (c *call) working() {
	if c.settle != nil || !c.r.ProtoAtLeast(1, 1) {
		return
	}
	enough, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(c.server.signInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.extend()
				c.w.WriteHeader(http.StatusProcessing)
			case <-enough:
				return
			}
		}
	}()
	c.settle = sync.OnceFunc(func() {
		close(enough)
		<-ended
	})
}

// settled ends the signs of life.
func (c *call) settled() {
	if c.settle != nil {
		c.settle()
	}
}

// name returns the connection, or the sink, that the path names.
func (c *call) name() string { return c.r.PathValue("name") }

// path returns the path as the caller wrote it.
func (c *call) path() string {
	path, _, _ := strings.Cut(c.r.RequestURI, "?")
	return path
}

// answer answers with a value as JSON, unless there is an error.
func (c *call) answer(status int, value any, err error) error {
	if err != nil {
		return err
	}
	text, err := marshal(value)
	if err != nil {
		return err
	}
	c.write(status, text)
	return nil
}

// marshal is json.Marshal that leaves what is special in HTML as it is: a topic is looked for as it is written.
func marshal(value any) ([]byte, error) {
	p, err := phoenix.Marshal(value)
	return p.Data, err
}

// answerSignal answers with a signal, unless there is an error.
func (c *call) answerSignal(a Answer, err error) error {
	if err != nil {
		return err
	}
	c.settled()
	if a.Err != nil {
		c.w.Header().Set(errorHeader, headerText(a.Err))
	}
	c.write(a.Status, bytes.TrimSuffix(a.Line, []byte("\n")))
	return nil
}

// headerText returns an error as the value of errorHeader.
func headerText(e *exit.Error) string {
	text, _ := json.Marshal(wireError{e.Message, e.Hint, e.Code})           // strings and a number
	return string(bytes.ReplaceAll(text, []byte("\x7f"), []byte(`\u007f`))) // the one control character that JSON allows
}

// write writes the answer: text in a line of its own. A caller that has gone, or does not read, misses it.
func (c *call) write(status int, text []byte) {
	c.begin(status, "application/json")
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // for a body that nobody wanted, which net/http reads now
	_, _ = c.w.Write(append(text[:len(text):len(text)], '\n'))
}

// begin writes the header.
func (c *call) begin(status int, contentType string) {
	c.settled()
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
	e := asAPIError(err)
	text, _ := marshal(errorBody{wireError{e.err.Message, e.err.Hint, e.err.Code}}) // strings and a number
	c.write(e.status, text)
}

// body reads the body, all of it.
func (c *call) body() ([]byte, error) {
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, c.server.maxBody))
	_ = c.control.SetReadDeadline(time.Time{})
	switch {
	case err == nil && !utf8.Valid(data):
		return nil, badRequest("JSON is UTF-8; bytes go as payload_base64", "the body is not valid UTF-8")
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, newAPIError(http.StatusRequestEntityTooLarge, exit.Usage, fmt.Sprintf("the body has more than %d bytes", c.server.maxBody), "send less")
	case err != nil:
		return nil, badRequest("send it again", "the body did not arrive: %v", err)
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
		return badRequest(hint, "the body is wrong: %s", explainJSON(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest(hint, "the body is wrong: something follows the object")
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
		return nil, badRequest("percent-encode what is not a letter or a digit", "the query is wrong: %v", err)
	}
	for name, texts := range values {
		switch {
		case slices.Contains(repeat, name):
		case !slices.Contains(known, name):
			hint := "this call takes no query"
			if names := slices.Concat(known, repeat); len(names) > 0 {
				hint = "there are: " + strings.Join(names, ", ")
			}
			return nil, badRequest(hint, "the query has an unknown name, %q", name)
		case len(texts) > 1:
			return nil, badRequest("give it once", "the query has more than one %q", name)
		}
	}
	return values, nil
}

// withoutQuery is a handler of calls that take no query.
func withoutQuery(h handler) handler {
	return func(c *call) error {
		if _, err := c.query(nil); err != nil {
			return err
		}
		return h(c)
	}
}

func noSuchCall(c *call) error {
	return newAPIError(http.StatusNotFound, exit.Usage, fmt.Sprintf("there is no call %s %s", c.r.Method, c.path()), "for example: GET /v1/connections")
}

// connectionList is what GET /v1/connections answers.
type connectionList struct {
	Connections []Connection `json:"connections"`
	Instances   []Instance   `json:"instances,omitempty"`
}

func listConnections(c *call) error {
	c.working()
	all, err := c.server.bridge.Connections(c.r.Context())
	return c.answer(http.StatusOK, connectionList{all, c.server.bridge.Instances()}, err)
}

// sinkList is what GET /v1/sinks answers.
type sinkList struct {
	Sinks []Sink `json:"sinks"`
}

func listSinks(c *call) error {
	return c.answer(http.StatusOK, sinkList{c.server.bridge.Sinks()}, nil)
}

func getSink(c *call) error {
	sink, err := c.server.bridge.Sink(c.name())
	return c.answer(http.StatusOK, sink, err)
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
			return badRequest("for example: ?wait=joined&timeout=30s", "the query has no state to wait for")
		}
		conn, err := c.server.bridge.Connection(c.r.Context(), c.name())
		return c.answer(http.StatusOK, conn, err)
	case StateConnected, StateJoined:
		return await(c, state, query.Get("timeout"))
	}
	return badRequest("it is connected or joined", "there is no state %q to wait for", state)
}

// await answers once the connection is in the state.
func await(c *call, state, timeout string) error {
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	defer context.AfterFunc(c.server.closing, cancel)()
	var limit time.Duration
	if timeout != "" {
		var err error
		if limit, err = option.ParseDuration(timeout); err != nil {
			return badRequest("for example: timeout=30s", "timeout %q %v", timeout, err)
		}
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	c.working()
	conn, err := c.server.bridge.Await(ctx, c.name(), state)
	switch {
	case err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()):
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return newAPIError(http.StatusGatewayTimeout, exit.Timeout,
			fmt.Sprintf("%s is not %s within %v: %s", conn.Name, state, limit.Round(time.Millisecond), conn.progress()), "allow more time, or see the log of serve")
	default:
		return errClosing
	}
	return c.answer(http.StatusOK, conn, err)
}

// progress says how far the connection is.
func (c Connection) progress() string {
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
	var named struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(entry, &named); err != nil {
		return badRequest(hint, "the body is wrong: %s", explainJSON(err))
	}
	if named.Name == "" {
		return badRequest(hint, "the connection has no name")
	}
	c.working()
	conn, err := c.server.bridge.Add(c.r.Context(), entry, query.Get("dir"))
	return c.answer(http.StatusCreated, conn, err)
}

// done is the answer of a call without a result.
type done struct {
	Name   string `json:"name,omitempty"`
	Status string `json:"status"`
}

func removeConnection(c *call) error {
	c.working()
	err := c.server.bridge.Remove(c.r.Context(), c.name())
	return c.answer(http.StatusOK, done{c.name(), "removed"}, err)
}

// changeConnection is a handler that answers with the connection as it is after a change.
func changeConnection(change func(*Bridge, context.Context, string) (Connection, error)) handler {
	return withoutQuery(func(c *call) error {
		c.working()
		conn, err := change(c.server.bridge, c.r.Context(), c.name())
		return c.answer(http.StatusOK, conn, err)
	})
}

func reload(c *call) error {
	c.working()
	return c.answer(http.StatusOK, done{Status: "reloaded"}, c.server.bridge.Reload(c.r.Context()))
}

func join(c *call) error {
	const example = `{"topic":"room:lobby","params":{}}`
	var j Join
	if err := c.decode(&j, example); err != nil {
		return err
	}
	if j.Topic == "" {
		return badRequest("for example: "+example, "the body has no topic")
	}
	if j.Params != nil && j.Params[0] != '{' {
		return badRequest("for example: "+example, "params is not an object, which is all that Phoenix takes")
	}
	c.working()
	return c.answerSignal(c.server.bridge.Join(c.r.Context(), c.name(), j))
}

func leave(c *call) error {
	c.working()
	return c.answerSignal(c.server.bridge.Leave(c.r.Context(), c.name(), c.r.PathValue("topic")))
}

// maxTimeoutMS is the longest timeout_ms that a time.Duration holds.
const maxTimeoutMS = math.MaxInt64 / int64(time.Millisecond)

func push(c *call) error {
	const example = `{"topic":"room:lobby","event":"new_msg","payload":{}}`
	var p Push
	if err := c.decode(&p, example); err != nil {
		return err
	}
	wrong := ""
	switch {
	case p.Topic == "":
		wrong = "the body has no topic"
	case p.Event == "":
		wrong = "the body has no event"
	case p.Payload == nil && p.Binary == nil:
		wrong = "the body has neither payload nor payload_base64"
	case p.Payload != nil && p.Binary != nil:
		wrong = "the body has both payload and payload_base64"
	case p.BroadcastEvent != "" && p.Event != "broadcast":
		wrong = "the body has a broadcast_event, and its event is not broadcast"
	case p.TimeoutMS < 0 || p.TimeoutMS > maxTimeoutMS:
		wrong = "timeout_ms is no time"
	}
	if wrong != "" {
		return badRequest("for example: "+example, "%s", wrong)
	}
	c.working()
	return c.answerSignal(c.server.bridge.Push(c.r.Context(), c.name(), p))
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
	empty := func(text string) bool { return text == "" } // "topic=" asks for nothing
	r := SubscribeRequest{
		Match: query.Get(queryMatch), Subscribe: query.Get(querySubscribe), Where: query.Get(queryWhere),
		Topic: slices.DeleteFunc(query[queryTopic], empty), Event: slices.DeleteFunc(query[queryEvent], empty),
	}
	if format := query.Get(queryFormat); format != "" {
		if r.Format, err = signal.ParseFormat(format); err != nil {
			return r, badRequest("leave it out for the default", "%v", err)
		}
	}
	return r, nil
}

// streamSignals writes signals as they come, until the caller has gone or stops reading, or the server is to end.
func streamSignals(c *call) error {
	request, err := c.subscribeRequest()
	if err != nil {
		return err
	}
	subscription, err := c.server.bridge.Subscribe(request)
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
		chunk, err := subscription.Take(ctx)
		c.extend() // also for the end of the body
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, io.EOF) && !errors.Is(err, router.ErrClosed) {
				// The header is gone; a trailer says why there is no more.
				c.w.Header().Set(http.TrailerPrefix+errorHeader, headerText(&exit.Error{
					Code: exit.JQRun, Message: err.Error(), Hint: "write a where that ends sooner, or filter with --jq",
				}))
				c.server.log.Warn("a subscriber of signals was cut off", "error", err)
			}
			return nil // the stream has ended, for everybody or for this one
		}
		_, err = c.w.Write(chunk.Bytes())
		subscription.Release(chunk)
		if err != nil {
			break
		}
	}
	c.server.log.Debug("a subscriber of signals has gone, or did not read for too long", "timeout", c.server.writeTimeout)
	return nil
}
