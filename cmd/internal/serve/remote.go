package serve

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/natslink"
)

// Some calls of the control API also go over NATS, by requests that the same handlers answer. With the subject phx.push:
//
//	phx.push.NAME  is POST /v1/connections/NAME/push: the body is the request, the answer the reply. One of the serve processes that run
//	               the connection answers; with leases, the one that has its lease.
//	phx.push       is GET /v1/connections, or what the header Phx-Call says: /v1/signals with its query. Every serve process answers.
//
// A reply has the headers Phx-Status, the HTTP status, and Phx-Error, as over HTTP. With the header Phx-Signs a call that takes long has
// replies of the status 102 before that of its end. The signals of a stream come in requests, which the subscriber answers when it has read
// them: so none are sent to one that is gone or too slow. They have the header Phx-Stream, which tells several serve processes apart, and
// the last one Phx-End.
const (
	callHeader   = "Phx-Call"
	statusHeader = "Phx-Status"
	signsHeader  = "Phx-Signs"
	streamHeader = "Phx-Stream"
	endHeader    = "Phx-End"
)

// DefaultSubject is the subject of calls over NATS unless the configuration has another one.
const DefaultSubject = "phx.push"

const (
	// mostRemote is how many calls over NATS are answered at a time.
	mostRemote = 256
	// streamPiece is how many bytes of a stream go in one message: less than any server's max_payload.
	streamPiece = 256 << 10
	// streamPatience is how long one side of a stream waits for the other.
	streamPatience = 15 * time.Second
)

// A remote answers calls that come over NATS.
type remote struct {
	bridge  *Bridge
	handler http.Handler
	log     *slog.Logger
	changed chan struct{} // holds a token when there may be other subjects
	room    chan struct{}
}

// remoteBy has calls over NATS answered as a plan says. The goroutine for that is there from the first plan with a source on, to the end of
// the bridge.
func (b *Bridge) remoteBy(p *plan) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subjects = p.serve.Sources
	started := b.remote != nil
	if !started && len(b.subjects) > 0 && b.handler != nil {
		b.remote = &remote{bridge: b, handler: b.handler, log: b.log, changed: make(chan struct{}, 1), room: make(chan struct{}, mostRemote)}
		go b.remote.run(b.closing)
	}
	if started {
		b.remote.note()
	}
}

// noteRemote is [remote.note] for who does not hold mu.
func (b *Bridge) noteRemote() {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.remote.note()
}

// note lets the remote know that there may be other connections or subjects. The nil remote ignores it.
func (r *remote) note() {
	if r == nil {
		return
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// remoteSubjects returns the subjects that are answered, with the queue group; none: every process answers.
func (b *Bridge) remoteSubjects() map[string]string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	subjects := map[string]string{}
	for _, source := range b.subjects {
		subjects[source] = ""
		for name, c := range b.connections {
			if !b.leased(c) || c.tenure.current() != nil { // else the instance that runs it answers
				subjects[source+"."+name] = "phx"
			}
		}
	}
	return subjects
}

// run keeps the subscriptions right until ctx ends.
func (r *remote) run(ctx context.Context) {
	subscribed := map[string]*nats.Subscription{}
	var on *nats.Conn
	for {
		conn, ended, err := r.bridge.link.Open(ctx)
		var again <-chan time.Time
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			r.log.Warn("calls over NATS are not answered: "+err.Error(), "hint", exit.HintOf(err))
			again = time.After(streamPatience)
		} else {
			if conn != on {
				subscribed, on = map[string]*nats.Subscription{}, conn
			}
			r.subscribe(ctx, conn, subscribed)
		}
		select {
		case <-r.changed:
		case <-ended:
		case <-again:
		case <-ctx.Done():
			for _, s := range subscribed {
				_ = s.Unsubscribe() // else the connection is gone
			}
			return
		}
	}
}

// subscribe makes the subscriptions those that are wanted.
func (r *remote) subscribe(ctx context.Context, conn *nats.Conn, subscribed map[string]*nats.Subscription) {
	wanted := r.bridge.remoteSubjects()
	for subject, s := range subscribed {
		if _, ok := wanted[subject]; !ok {
			_ = s.Unsubscribe() // else the connection is gone
			delete(subscribed, subject)
		}
	}
	for subject, group := range wanted {
		if subscribed[subject] != nil {
			continue
		}
		answer := func(m *nats.Msg) { r.take(ctx, conn, m, group != "") }
		s, err := conn.QueueSubscribe(subject, group, answer)
		if err != nil {
			r.log.Warn("calls over NATS are not answered", "subject", subject, "error", err)
			continue
		}
		subscribed[subject] = s
	}
}

// take has a call answered, on a goroutine of its own. push says that it is one to a connection.
func (r *remote) take(ctx context.Context, conn *nats.Conn, m *nats.Msg, push bool) {
	method, target := http.MethodGet, cmp.Or(m.Header.Get(callHeader), connectionsPath)
	path, _, _ := strings.Cut(target, "?")
	if push {
		method, target = http.MethodPost, connectionPath(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])+"/push"
	} else if path != connectionsPath && path != signalsPath {
		method, target = http.MethodGet, "/not/over/nats"
	}
	select {
	case r.room <- struct{}{}:
	default:
		r.log.Warn("a call over NATS was not answered: there are too many at once", "subject", m.Subject)
		return
	}
	go func() {
		defer func() { <-r.room }()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, method, "http://phx"+target, bytes.NewReader(m.Data))
		if err != nil {
			return // a target that is no URL
		}
		request.RequestURI = target
		w := &remoteWriter{ctx: ctx, cancel: cancel, conn: conn, to: m.Reply, header: http.Header{}, signs: m.Header.Get(signsHeader) != ""}
		if !push && path == signalsPath {
			w.stream = nats.NewInbox()
		}
		defer w.end(r.log)
		r.handler.ServeHTTP(w, request)
	}()
}

// A remoteWriter is the [http.ResponseWriter] of a call over NATS.
type remoteWriter struct {
	ctx    context.Context
	cancel context.CancelFunc
	conn   *nats.Conn
	to     string
	signs  bool
	stream string // names the stream; empty: the answer is one message

	header http.Header
	status int
	body   bytes.Buffer
	mu     sync.Mutex // held while a message of the stream is sent
	alive  sync.WaitGroup
}

// Header implements [http.ResponseWriter], as WriteHeader and Write do.
func (w *remoteWriter) Header() http.Header { return w.header }

// WriteHeader sends a sign of life. The header of a stream goes out at once, in an empty message.
func (w *remoteWriter) WriteHeader(status int) {
	switch {
	case status == http.StatusProcessing && w.signs:
		_ = w.conn.PublishMsg(&nats.Msg{Subject: w.to, Header: nats.Header{statusHeader: {strconv.Itoa(status)}}}) // another follows
	case status < http.StatusOK || w.status != 0:
	case w.stream == "" || status != http.StatusOK:
		w.status, w.stream = status, ""
	default:
		w.status = status
		if w.send(nil) == nil {
			w.alive.Go(w.beat)
		}
	}
}

// beat sends an empty message from time to time, by which each side notices that the other one has gone.
func (w *remoteWriter) beat() {
	tick := time.NewTicker(signInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if w.send(nil) != nil {
				return
			}
		case <-w.ctx.Done():
			return
		}
	}
}

func (w *remoteWriter) Write(p []byte) (int, error) {
	if w.stream == "" {
		return w.body.Write(p)
	}
	for sent := 0; sent < len(p); sent += streamPiece {
		if err := w.send(p[sent:min(sent+streamPiece, len(p))]); err != nil {
			return sent, err
		}
	}
	return len(p), nil
}

// send sends a message of the stream, and waits until it has been read.
func (w *remoteWriter) send(data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithTimeout(w.ctx, streamPatience)
	defer cancel()
	m := &nats.Msg{Subject: w.to, Data: data, Header: nats.Header{streamHeader: {w.stream}, statusHeader: {strconv.Itoa(w.status)}}}
	_, err := w.conn.RequestMsgWithContext(ctx, m)
	if err != nil {
		w.cancel()
	}
	return err
}

// FlushError implements what [http.ResponseController] wants, as the deadlines do, which send has itself.
func (w *remoteWriter) FlushError() error                { return context.Cause(w.ctx) }
func (w *remoteWriter) SetReadDeadline(time.Time) error  { return nil }
func (w *remoteWriter) SetWriteDeadline(time.Time) error { return nil }

// end sends the answer, or the end of the stream.
func (w *remoteWriter) end(log *slog.Logger) {
	if value := recover(); value != nil && value != http.ErrAbortHandler {
		panic(value)
	}
	if w.stream != "" {
		w.cancel()
		w.alive.Wait()
		last := &nats.Msg{Subject: w.to, Header: nats.Header{streamHeader: {w.stream}, endHeader: {"true"}}}
		if text := w.header.Get(http.TrailerPrefix + errorHeader); text != "" {
			last.Header[errorHeader] = []string{text}
		}
		_ = w.conn.PublishMsg(last) // else the subscriber notices the silence
		return
	}
	m := &nats.Msg{Subject: w.to, Data: bytes.TrimSuffix(w.body.Bytes(), []byte("\n")), Header: nats.Header{statusHeader: {strconv.Itoa(w.status)}}}
	if text := w.header.Get(errorHeader); text != "" {
		m.Header[errorHeader] = []string{text}
	}
	err := w.conn.PublishMsg(m)
	if errors.Is(err, nats.ErrMaxPayload) {
		text, _ := marshal(errorBody{wireError{Message: fmt.Sprintf("the answer has %d bytes, and is too large for the NATS server", len(m.Data)), // strings and a number
			Hint: "what was asked for was done; raise max_payload there", ExitCode: exit.Failure}})
		err = w.conn.PublishMsg(&nats.Msg{Subject: w.to, Data: text, Header: nats.Header{statusHeader: {strconv.Itoa(http.StatusBadGateway)}}})
	}
	if err != nil && w.to != "" {
		log.Debug("a call over NATS could not be answered", "error", err)
	}
}

// NewRemoteClient returns a client for the servers that answer at a subject over NATS. They take [Client.Connections], [Client.Push] and
// [Client.Signals]: of several servers, the connections and the signals of all.
func NewRemoteClient(link *natslink.Link, subject, at string) *Client {
	c := &Client{Patience: Patience, path: at + ", " + subject}
	c.http = &http.Client{Transport: &remoteTransport{link: link, subject: subject, at: at}}
	return c
}

// A remoteTransport is the [http.RoundTripper] of calls over NATS.
type remoteTransport struct {
	link        *natslink.Link
	subject, at string
}

// othersWithin is how long a call that all servers answer waits for another one.
const othersWithin = 200 * time.Millisecond

// RoundTrip implements [http.RoundTripper].
func (t *remoteTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	conn, err := t.link.Conn(r.Context())
	if err != nil {
		return nil, err
	}
	m := &nats.Msg{Subject: t.subject, Data: body, Header: nats.Header{signsHeader: {"true"}}, Reply: conn.NewRespInbox()}
	name, push := strings.CutSuffix(r.URL.Path, "/push")
	name, known := strings.CutPrefix(name, connectionsPath+"/")
	switch {
	case push && known:
		if name, err = url.PathUnescape(name); err != nil {
			return nil, err
		}
		m.Subject += "." + name
	case r.Method == http.MethodGet && (r.URL.Path == connectionsPath || r.URL.Path == signalsPath):
		m.Header.Set(callHeader, r.URL.RequestURI())
	default:
		return nil, exit.Usagef("over NATS there are list, push and listen; log in to that machine for the others", "this does not go over NATS")
	}
	replies := make(chan *nats.Msg, 1024)
	subscription, err := conn.ChanSubscribe(m.Reply, replies)
	if err != nil {
		return nil, err
	}
	calls := &remoteReplies{transport: t, ctx: r.Context(), conn: conn, subscription: subscription, messages: replies}
	if err := conn.PublishMsg(m); err != nil {
		calls.Close()
		if errors.Is(err, nats.ErrMaxPayload) {
			err = exit.Usagef("send less, or raise max_payload there", "the push has %d bytes, and is too large for the NATS server", len(body))
		}
		return nil, err
	}
	response, err := calls.first(r, m.Subject, push)
	if err != nil {
		calls.Close()
		return nil, err
	}
	return response, nil
}

// remoteReplies are the answers to a call. For a stream, they are the body of its response.
type remoteReplies struct {
	transport    *remoteTransport
	ctx          context.Context
	conn         *nats.Conn
	subscription *nats.Subscription
	messages     chan *nats.Msg

	response *http.Response
	// seen is when each stream has last given a sign of life; partial are the beginnings of lines whose ends are still to come.
	seen    map[string]time.Time
	partial map[string][]byte
	whole   []byte // lines to hand out
	err     error
}

// first waits for the answers to a call, and returns the response.
func (c *remoteReplies) first(r *http.Request, subject string, one bool) (*http.Response, error) {
	var all []*nats.Msg
	var quiet <-chan time.Time
	for {
		select {
		case m := <-c.messages:
			status := m.Header.Get(statusHeader)
			switch {
			case m.Header.Get("Status") == "503" && len(m.Data) == 0:
				return nil, c.transport.nobody(subject)
			case status == strconv.Itoa(http.StatusProcessing):
				sign(r)
				continue
			}
			all = append(all, m)
			if one {
				defer c.Close()
				return c.responseOf(all), nil
			}
			quiet = time.After(othersWithin)
		case <-quiet:
			if all[0].Header.Get(streamHeader) != "" {
				return c.begin(all), nil
			}
			defer c.Close()
			return c.responseOf(all), nil
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		}
	}
}

// sign tells the client that a server gives a sign of life.
func sign(r *http.Request) {
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
		_ = trace.Got1xxResponse(http.StatusProcessing, nil) // ours returns nil
	}
}

// nobody is the error of a call that nobody answers.
func (t *remoteTransport) nobody(subject string) error {
	e := &exit.Error{Code: exit.Connect, Message: fmt.Sprintf("no phx serve answers at %s, subject %s", t.at, subject),
		Hint: "is it running, with `sources: {control: {nats: {subject: " + t.subject + "}}}`, and may it subscribe there?"}
	if name, ok := strings.CutPrefix(subject, t.subject+"."); ok {
		e.Hint = fmt.Sprintf("does one run that has the connection %q? `phx ctl list` over NATS shows all", name)
	}
	return e
}

// responseOf makes one response of answers that are one message each: connections of several servers are one list.
func (c *remoteReplies) responseOf(all []*nats.Msg) *http.Response {
	status, _ := strconv.Atoi(all[0].Header.Get(statusHeader))
	body := all[0].Data
	if len(all) > 1 {
		body = mergeConnections(all)
	}
	response := &http.Response{StatusCode: cmp.Or(status, http.StatusBadGateway), Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}
	if text := all[0].Header.Get(errorHeader); text != "" {
		response.Header.Set(errorHeader, text)
	}
	return response
}

// mergeConnections makes one list of connections of several. Instances that share connections by leases list all of them each; of these it
// has each once, as the instance that runs it says.
func mergeConnections(all []*nats.Msg) []byte {
	var merged connectionTexts
	shared := map[string]int{} // where a connection is in merged
	for _, m := range all {
		var one connectionTexts
		if json.Unmarshal(m.Data, &one) != nil {
			continue
		}
		self := slices.IndexFunc(one.Instances, func(i Instance) bool { return i.Self })
		for _, text := range one.Connections {
			var c struct{ Name, Instance string }
			if len(one.Instances) == 0 || json.Unmarshal(text, &c) != nil {
				merged.Connections = append(merged.Connections, text)
				continue
			}
			at, listed := shared[c.Name]
			switch {
			case !listed:
				shared[c.Name] = len(merged.Connections)
				merged.Connections = append(merged.Connections, text)
			case self >= 0 && c.Instance == one.Instances[self].Instance:
				merged.Connections[at] = text
			}
		}
	}
	body, _ := marshal(merged) // texts of JSON that was parsed
	return body
}

// connectionTexts is the answer to GET /v1/connections, the connections as they came.
type connectionTexts struct {
	Connections []json.RawMessage `json:"connections"`
	Instances   []Instance        `json:"instances,omitempty"`
}

// begin returns the response of a stream whose first messages have come.
func (c *remoteReplies) begin(all []*nats.Msg) *http.Response {
	c.seen, c.partial = map[string]time.Time{}, map[string][]byte{}
	c.response = &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Trailer: http.Header{}, Body: c}
	for _, m := range all {
		c.take(m)
	}
	return c.response
}

// Read implements [io.Reader]: whole lines, of all servers.
func (c *remoteReplies) Read(p []byte) (int, error) {
	for len(c.whole) == 0 && c.err == nil {
		select {
		case m := <-c.messages:
			c.take(m)
		case <-time.After(streamPatience):
			c.lookForSilence()
		case <-c.ctx.Done():
			c.err = context.Cause(c.ctx)
		}
	}
	if len(c.whole) == 0 {
		return 0, c.err
	}
	n := copy(p, c.whole)
	c.whole = c.whole[n:]
	return n, nil
}

// take takes one message of a stream. The stream of all ends with the first one of a server, or when one is silent.
func (c *remoteReplies) take(m *nats.Msg) {
	stream := m.Header.Get(streamHeader)
	if stream == "" {
		return
	}
	if m.Reply != "" {
		_ = m.Respond(nil) // else the server ends the stream
	}
	c.seen[stream] = time.Now()
	text := append(c.partial[stream], m.Data...)
	end := bytes.LastIndexByte(text, '\n') + 1
	c.whole = append(c.whole, text[:end]...)
	c.partial[stream] = slices.Clone(text[end:])
	if m.Header.Get(endHeader) != "" {
		c.err = io.EOF
		if text := m.Header.Get(errorHeader); text != "" {
			c.response.Trailer.Set(errorHeader, text)
		}
	}
	c.lookForSilence()
}

func (c *remoteReplies) lookForSilence() {
	for _, at := range c.seen {
		if time.Since(at) > streamPatience && c.err == nil {
			c.err = io.ErrUnexpectedEOF
		}
	}
}

// Close implements [io.Closer].
func (c *remoteReplies) Close() error {
	_ = c.subscription.Unsubscribe() // else the connection is gone
	return nil
}
