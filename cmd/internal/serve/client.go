package serve

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"syscall"
	"time"

	"phx/cmd/internal/exit"
)

// A Client makes calls to the server behind a socket. Its methods return what the server answers: JSON without a line break. An error
// is an [*exit.Error], the server's or one that says that there is no server there, or is the cause of the end of ctx.
type Client struct {
	// Patience is how long a call waits for a sign of life of the server, which gives one every few seconds while it is at work; 0: for
	// ever. Of a wait for a state, and of a stream, it bounds the time until the first sign. It is set before the first call.
	Patience time.Duration
	// Log gets a line about each call, at the level of debugging, without what was sent. Nil: none. It is set before the first call.
	Log *slog.Logger

	path string
	http *http.Client
}

// Patience is the [Client.Patience] of a new client.
const Patience = 10 * time.Second

// NewClient returns a client for the server whose socket is at path. Nothing is opened before the first call.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		address, err := addressOf(path)
		if err != nil {
			return nil, err
		}
		if err := checkShared(path); err != nil {
			return nil, err
		}
		return dialUnix(ctx, address)
	}
	return &Client{Patience: Patience, path: path, http: &http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// backlogFull is how long a dial waits before it tries again at a server that accepts nobody, and whose queue is full.
const backlogFull = 50 * time.Millisecond

// dialUnix connects. The system does not wait for room in the queue of a server, as it does with TCP; we do.
func dialUnix(ctx context.Context, address string) (net.Conn, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", address)
		if !errors.Is(err, syscall.EAGAIN) {
			return conn, err
		}
		select {
		case <-time.After(backlogFull):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close closes what is kept open for further calls.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Connections returns each connection.
func (c *Client) Connections(ctx context.Context) ([]json.RawMessage, error) {
	text, err := c.text(ctx, http.MethodGet, connectionsPath, nil, nil)
	if err != nil {
		return nil, err
	}
	var list connectionTexts
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, c.strange(err)
	}
	return list.Connections, nil
}

// Sinks returns each sink.
func (c *Client) Sinks(ctx context.Context) ([]json.RawMessage, error) {
	text, err := c.text(ctx, http.MethodGet, sinksPath, nil, nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Sinks []json.RawMessage `json:"sinks"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, c.strange(err)
	}
	return list.Sinks, nil
}

// Sink returns a sink.
func (c *Client) Sink(ctx context.Context, name string) ([]byte, error) {
	return c.text(ctx, http.MethodGet, sinksPath+"/"+url.PathEscape(name), nil, nil)
}

// Connection returns a connection; with a state, StateConnected or StateJoined, once it is in that, and an error if that takes
// longer than timeout, unless it is zero.
func (c *Client) Connection(ctx context.Context, name, state string, timeout time.Duration) ([]byte, error) {
	query := url.Values{}
	if state != "" {
		query.Set("wait", state)
	}
	if timeout > 0 {
		query.Set("timeout", timeout.String())
	}
	ctx, cancel := c.patient(ctx, state, timeout)
	defer cancel()
	return c.text(ctx, http.MethodGet, connectionPath(name), query, nil)
}

// patient returns the context of a call that waits for a state. It lasts for as long as that may take, and for the answer.
func (c *Client) patient(ctx context.Context, state string, timeout time.Duration) (context.Context, context.CancelFunc) {
	if state == "" {
		return ctx, func() {}
	}
	ctx = context.WithValue(ctx, waitKey{}, true)
	if timeout <= 0 || c.Patience <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, timeout+c.Patience, c.errSilent(timeout+c.Patience))
}

// waitKey is the key of a context whose call is a wait.
type waitKey struct{}

// errSilent is the error of a call to a server that gives no sign of life.
func (c *Client) errSilent(after time.Duration) error {
	return &exit.Error{
		Code: exit.Timeout, Message: fmt.Sprintf("phx serve at %s does not answer: nothing came for %v", c.path, after),
		Hint: "is it stopped (kill -CONT continues it), or very busy? see its log; --max-time waits for longer",
	}
}

// Add starts a new connection from its entry of a config file. Relative paths in it start at dir.
func (c *Client) Add(ctx context.Context, entry []byte, dir string) ([]byte, error) {
	query := url.Values{}
	if dir != "" {
		query.Set("dir", dir)
	}
	return c.text(ctx, http.MethodPost, connectionsPath, query, entry)
}

// Remove stops a connection and makes the server forget it.
func (c *Client) Remove(ctx context.Context, name string) ([]byte, error) {
	return c.text(ctx, http.MethodDelete, connectionPath(name), nil, nil)
}

// Start starts a connection that the server knows.
func (c *Client) Start(ctx context.Context, name string) ([]byte, error) {
	return c.text(ctx, http.MethodPost, connectionPath(name)+"/start", nil, nil)
}

// Stop stops a connection.
func (c *Client) Stop(ctx context.Context, name string) ([]byte, error) {
	return c.text(ctx, http.MethodPost, connectionPath(name)+"/stop", nil, nil)
}

// Restart stops a connection and starts it.
func (c *Client) Restart(ctx context.Context, name string) ([]byte, error) {
	return c.text(ctx, http.MethodPost, connectionPath(name)+"/restart", nil, nil)
}

// Reload makes the server read its configuration again, and returns once it has taken effect.
func (c *Client) Reload(ctx context.Context) ([]byte, error) {
	return c.text(ctx, http.MethodPost, "/v1/reload", nil, nil)
}

// Join joins a topic. What could not be joined has an answer, too: then both results are there.
func (c *Client) Join(ctx context.Context, name string, j Join) ([]byte, error) {
	return c.signal(ctx, http.MethodPost, connectionPath(name)+"/channels", j)
}

// Leave leaves a topic.
func (c *Client) Leave(ctx context.Context, name, topic string) ([]byte, error) {
	return c.signal(ctx, http.MethodDelete, connectionPath(name)+"/channels/"+url.PathEscape(topic), nil)
}

// Push pushes. What failed on its way, or was answered with another status than ok, has an answer, too: then both results are there.
func (c *Client) Push(ctx context.Context, name string, p Push) ([]byte, error) {
	return c.signal(ctx, http.MethodPost, connectionPath(name)+"/push", p)
}

const (
	connectionsPath = "/v1/connections"
	sinksPath       = "/v1/sinks"
	signalsPath     = "/v1/signals"
)

func connectionPath(name string) string { return connectionsPath + "/" + url.PathEscape(name) }

// signal makes a call that a signal answers. With a signal that is a failure, it returns both.
func (c *Client) signal(ctx context.Context, method, path string, body any) ([]byte, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = marshal(body); err != nil {
			return nil, err
		}
	}
	response, answer, err := c.call(ctx, method, path, nil, text)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		if err := errorOf(answer); err != nil {
			return nil, err
		}
	}
	if len(answer) == 0 || answer[0] != '{' {
		return nil, c.strange(fmt.Errorf("HTTP status %d without a signal", response.StatusCode))
	}
	var failure wireError
	if header := response.Header.Get(errorHeader); header == "" {
		return answer, nil
	} else if err := json.Unmarshal([]byte(header), &failure); err != nil {
		return nil, c.strange(err)
	}
	return answer, failure.error()
}

// text makes a call that answers with anything else.
func (c *Client) text(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	response, answer, err := c.call(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode < http.StatusMultipleChoices {
		return answer, nil
	}
	if err := errorOf(answer); err != nil {
		return nil, err
	}
	return nil, c.strange(fmt.Errorf("HTTP status %d", response.StatusCode))
}

// call makes a call, and returns the whole answer.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body []byte) (response *http.Response, answer []byte, err error) {
	ctx, _, cancel := c.guard(ctx)
	defer cancel()
	response, err = c.do(ctx, method, path, query, body)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, c.explain(ctx, err)
	}
	return response, bytes.TrimSuffix(answer, []byte("\n")), nil
}

// guard returns a context that ends when the server gives no sign of life for as long as the client has patience. For a call that is a
// wait, and after answered has been called, one sign is enough: then the server was there. cancel ends the context.
func (c *Client) guard(parent context.Context) (ctx context.Context, answered, cancel func()) {
	ctx, end := context.WithCancelCause(parent)
	if c.Patience <= 0 {
		return ctx, func() {}, func() { end(nil) }
	}
	silent := time.AfterFunc(c.Patience, func() { end(c.errSilent(c.Patience)) })
	answered = func() { silent.Stop() }
	sign := func() { silent.Reset(c.Patience) }
	if ctx.Value(waitKey{}) != nil {
		sign = answered
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error { sign(); return nil },
	})
	return ctx, answered, func() {
		silent.Stop()
		end(nil)
	}
}

// do sends a request, and returns the response when its header is there.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Response, error) {
	if len(body) > MaxBody {
		return nil, exit.Usagef("send less", "that is too large for one call: %d bytes, and %d are allowed", len(body), MaxBody)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://phx"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.URL.RawQuery = query.Encode()
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	began := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if c.Log != nil {
		c.Log.Debug("asked phx serve", "method", method, "path", path, "status", response.StatusCode, "took", time.Since(began))
	}
	return response, nil
}

// errorOf returns the error in an answer; nil if it has none.
func errorOf(answer []byte) error {
	var body errorBody
	if json.Unmarshal(answer, &body) != nil || body.Error.Message == "" {
		return nil
	}
	return body.Error.error()
}

// error returns the error with the code that it has, or that of any failure.
func (e wireError) error() error {
	return &exit.Error{Code: cmp.Or(e.ExitCode, exit.Failure), Message: e.Message, Hint: e.Hint}
}

// strange is the error of an answer that no serve gives.
func (c *Client) strange(err error) error {
	return &exit.Error{
		Code: exit.Failure, Message: fmt.Sprintf("what answers at %s does not speak like phx serve: %v", c.path, err),
		Hint: "check --control and PHX_CONTROL, and that both are of one version: phx version",
	}
}

// explain makes an error of the transport one for people.
func (c *Client) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if known := (*exit.Error)(nil); errors.As(err, &known) {
		return known
	}
	e := &exit.Error{
		Code: exit.Connect, Message: fmt.Sprintf("cannot reach phx serve at %s: %s", c.path, exit.SystemText(err)),
		Hint: "check --control and PHX_CONTROL",
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		e.Message = "no phx serve is running: nobody listens on " + c.path
		e.Hint = "start one: phx serve -f FILE; if it has another socket, name that with --control or PHX_CONTROL"
		if pid, ok := lockedBy(lockPath(c.path)); ok {
			e.Message = fmt.Sprintf("phx serve is running (process %d), and its control socket is gone: %s", pid, c.path)
			e.Hint = fmt.Sprintf("kill -HUP %d makes it anew", pid)
		}
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "its socket is for the user alone who runs it"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Code, e.Message = exit.LinkLost, fmt.Sprintf("phx serve at %s has gone before it had answered", c.path)
		e.Hint = "see its log; what was asked for may have been done"
	}
	return e
}

// A Stream is the signals that a server sends to a subscriber. One goroutine reads it.
type Stream struct {
	client   *Client
	ctx      context.Context
	cancel   func() // ends ctx
	response *http.Response
	reader   *bufio.Reader
	// long is the beginning of a line that is longer than the reader's buffer.
	long []byte
}

// streamBuffer is how much is read from the socket at a time.
const streamBuffer = 64 << 10

// Signals subscribes. When it returns, no signal is missed any more. The stream ends with ctx.
func (c *Client) Signals(ctx context.Context, r SubscribeRequest) (*Stream, error) {
	query := url.Values{}
	for name, text := range map[string]string{
		queryMatch: r.Match, querySubscribe: r.Subscribe, queryWhere: r.Where, queryFormat: r.Format.String(),
	} {
		if text != "" {
			query.Set(name, text)
		}
	}
	query[queryTopic], query[queryEvent] = r.Topic, r.Event
	ctx, answered, cancel := c.guard(ctx)
	response, err := c.do(ctx, http.MethodGet, signalsPath, query, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	answered()
	if response.StatusCode != http.StatusOK {
		defer cancel()
		defer response.Body.Close()
		answer, _ := io.ReadAll(response.Body)
		if err := errorOf(answer); err != nil {
			return nil, err
		}
		return nil, c.strange(fmt.Errorf("HTTP status %d", response.StatusCode))
	}
	return &Stream{client: c, ctx: ctx, cancel: cancel, response: response, reader: bufio.NewReaderSize(response.Body, streamBuffer)}, nil
}

// Next waits for a line and returns it with its line break; it is valid until the next call. The error is the cause of the end of the context,
// or an [*exit.Error] that says that the server has gone.
func (s *Stream) Next() ([]byte, error) {
	s.long = s.long[:0]
	for {
		part, err := s.reader.ReadSlice('\n')
		switch {
		case err == nil && len(s.long) == 0:
			return part, nil
		case err == nil:
			s.long = append(s.long, part...)
			return s.long, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, s.ended(err)
		}
		s.long = append(s.long, part...)
	}
}

// Ready reports whether Next has a line without waiting.
func (s *Stream) Ready() bool {
	waiting, _ := s.reader.Peek(s.reader.Buffered())
	return bytes.IndexByte(waiting, '\n') >= 0
}

// Close ends the stream.
func (s *Stream) Close() {
	_ = s.response.Body.Close()
	s.cancel()
}

func (s *Stream) ended(err error) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	var failure wireError
	if text := s.response.Trailer.Get(errorHeader); text != "" && json.Unmarshal([]byte(text), &failure) == nil {
		return failure.error()
	}
	message := "phx serve has ended the stream of signals"
	if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		message = "lost the stream of signals from phx serve"
	}
	return &exit.Error{
		Code: exit.LinkLost, Message: fmt.Sprintf("%s at %s", message, s.client.path),
		Hint: "was it stopped? it also cuts off who reads too slowly: see its log",
	}
}
