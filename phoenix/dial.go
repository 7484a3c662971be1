package phoenix

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
	"golang.org/x/net/idna"
)

// waitTurn waits until the connection may dial, and returns how long that took.
func (c *Conn) waitTurn(ctx context.Context) (time.Duration, *LinkError) {
	if c.hooks.turn == nil {
		return 0, nil
	}
	defer namePanic(inHooks)
	begun := time.Now()
	if err := c.hooks.turn(ctx); err != nil {
		return 0, classify(StageCredentials, err)
	}
	return time.Since(begun), nil
}

// writeBuffers are gorilla's, 4 KiB each. They are shared: a connection that has nothing to write needs none.
var writeBuffers = new(sync.Pool)

// dial opens a session's transport. It takes ConnectTimeout at most.
func (c *Conn) dial(ctx context.Context, onControl func(kind, data string)) (transport, Timings, *LinkError) {
	ctx, cancel := context.WithTimeout(ctx, c.current().ConnectTimeout)
	defer cancel()
	var stages stageClock
	stages.begin(StageCredentials)
	credentials, err := c.credentials(ctx)
	if err != nil {
		return nil, Timings{}, &LinkError{Stage: StageCredentials, Reason: reasonOf(StageCredentials, err), Err: err}
	}

	way := &route{conn: c, stages: &stages}
	t, failed := c.dialBy(ctx, way, credentials, onControl)
	timings, _ := stages.end()
	if failed == nil {
		return t, timings, nil
	}
	failed.Proxy = way.proxy
	failed.redact(c.secrets.all())
	c.opts.Logger.Debug("the dial failed", timings.attrs(failed.Stage)...)
	return nil, timings, failed
}

// dialBy opens a transport of the kind that is wanted.
func (c *Conn) dialBy(ctx context.Context, way *route, credentials Credentials, onControl func(kind, data string)) (transport, *LinkError) {
	switch c.endpoint.transport {
	case TransportLongPoll:
		return c.pollOrError(c.dialLongPoll(ctx, way, credentials))
	case TransportAuto:
		return c.dialAuto(ctx, way, credentials, onControl)
	}
	return c.dialWebSocket(ctx, way, credentials, onControl)
}

// pollOrError returns t as a transport, none with an error.
func (c *Conn) pollOrError(t *pollTransport, failed *LinkError) (transport, *LinkError) {
	if failed != nil {
		return nil, failed
	}
	return t, nil
}

// A fallback is what a connection with TransportAuto has found out. Its sockets share it.
type fallback struct {
	mu sync.Mutex
	// until is when a WebSocket is tried again; zero: it passes, as far as is known.
	until time.Time
}

// active reports whether long poll is the choice.
func (f *fallback) active() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.until)
}

// passed notes that a WebSocket passes, and failed that it does not but long poll does. They report whether that is new.
func (f *fallback) passed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	isNew := !f.until.IsZero()
	f.until = time.Time{}
	return isNew
}

func (f *fallback) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	isNew := f.until.IsZero()
	f.until = time.Now().Add(webSocketAgainAfter)
	return isNew
}

// webSocketAgainAfter is how long a connection with TransportAuto stays with long poll.
const webSocketAgainAfter = time.Hour

// dialAuto opens a WebSocket or, where that does not pass, a long poll session. The choice counts for the dials of an hour.
func (c *Conn) dialAuto(ctx context.Context, way *route, credentials Credentials, onControl func(kind, data string)) (transport, *LinkError) {
	if c.fallback.active() {
		return c.pollOrError(c.dialLongPoll(ctx, way, credentials))
	}
	t, failed := c.dialLiveWebSocket(ctx, way, credentials, onControl)
	if failed == nil {
		if c.fallback.passed() {
			c.opts.Logger.Info("a WebSocket passes again")
		}
		return t, nil
	}
	if ctx.Err() != nil || !failed.fallsBack() {
		return nil, failed
	}
	failed.redact(c.secrets.all())
	poll, pollFailed := c.dialLongPoll(ctx, way, credentials)
	if pollFailed != nil {
		return nil, pollFailed
	}
	if c.fallback.failed() {
		c.opts.Logger.Info("a WebSocket does not pass: going on by long poll", "reason", failed.Error(), "again_after", webSocketAgainAfter)
	}
	return poll, nil
}

// fallsBack reports whether a WebSocket has failed in a way in which long poll may not: what stands between does not pass it, or the
// server has none. A refusal is one by long poll, too, and "later" is not "never".
func (e *LinkError) fallsBack() bool {
	if e.Stage != StageUpgrade || e.Spoken != "" {
		return false
	}
	switch e.HTTPStatus {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return false
	}
	return true
}

// dialLiveWebSocket opens a WebSocket over which a heartbeat is answered.
func (c *Conn) dialLiveWebSocket(ctx context.Context, way *route, credentials Credentials, onControl func(kind, data string)) (transport, *LinkError) {
	patience := c.opts.FallbackAfter
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	way.stages.atUpgrade(func() { time.AfterFunc(patience, cancel) })
	t, failed := c.dialWebSocket(limited, way, credentials, onControl)
	way.stages.atUpgrade(nil)
	if failed == nil {
		failed = c.checkAlive(ctx, t, patience)
	} else if limited.Err() != nil && ctx.Err() == nil {
		failed = &LinkError{Stage: StageUpgrade, Reason: ReasonTimeout, Err: &dialTimeout{patience}}
	}
	if failed != nil {
		return nil, failed
	}
	return t, nil
}

// firstBeat is the ref of the heartbeat of checkAlive. Those of the machine begin with 1.
const firstBeat = "0"

// checkAlive closes a transport over which a heartbeat is not answered in time.
func (c *Conn) checkAlive(ctx context.Context, t transport, patience time.Duration) *LinkError {
	stop := context.AfterFunc(ctx, t.close)
	err := c.firstHeartbeat(t, patience)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	t.close()
	failed := classify(StageUpgrade, t.ended(err))
	if failed.Reason == ReasonTimeout && ctx.Err() == nil {
		failed.Reason, failed.Err = ReasonHeartbeatTimeout, &dialTimeout{patience}
	}
	return failed
}

// firstHeartbeat writes a heartbeat and reads its answer.
func (c *Conn) firstHeartbeat(t transport, patience time.Duration) error {
	data, binary, err := c.endpoint.codec.append(nil, &message{ref: firstBeat, topic: topicPhoenix, event: eventHeartbeat, payload: Payload{Data: []byte("{}")}})
	if err == nil {
		traceOut(c.tracer(), frameKind(binary), data)
		err = t.write(outFrame{data: data, binary: binary})
	}
	if err == nil {
		err = t.flush()
	}
	t.endReads(time.Now().Add(patience))
	for err == nil {
		var r io.Reader
		if r, binary, err = t.next(); err != nil {
			return err
		}
		if data, err = io.ReadAll(io.LimitReader(r, maxAnswer)); err != nil {
			return err
		}
		if trace := c.tracer(); trace != nil {
			trace(TraceFrame{Kind: frameKind(binary), Data: data})
		}
		var f frame
		if scanned := c.endpoint.codec.scan(data, binary, &f); scanned == nil && string(f.event) == eventReply && string(f.ref) == firstBeat {
			t.endReads(time.Time{})
			return nil
		}
		c.opts.Logger.Warn("a frame came before the answer to the first heartbeat, and was dropped", "bytes", len(data))
	}
	return err
}

// dialWebSocket opens a WebSocket.
func (c *Conn) dialWebSocket(ctx context.Context, way *route, credentials Credentials, onControl func(kind, data string)) (transport, *LinkError) {
	stages := way.stages
	var w *wire
	var upgrade *upgradeConn
	open := func(secure bool) func(ctx context.Context, network, addr string) (net.Conn, error) {
		return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			if conn, w, err = way.open(ctx, network, addr, secure, credentials.TLS); err != nil {
				return nil, err
			}
			upgrade = &upgradeConn{Conn: conn}
			return upgrade, nil
		}
	}
	dialer := websocket.Dialer{
		NetDialContext:    open(false),
		NetDialTLSContext: open(true),
		Subprotocols:      subprotocols(credentials),
		ReadBufferSize:    c.opts.ReadBuffer,
		// It writes the request, and nothing else.
		WriteBufferPool: writeBuffers,
		// A context that ends must end a dial that waits for the server's answer, too.
		HandshakeTimeout:  c.current().ConnectTimeout,
		EnableCompression: c.opts.Compress,
	}
	url, header := c.endpoint.request(credentials, TransportWebSocket)
	c.secrets.dialing(requestSecrets(url, header, credentials))
	stop := context.AfterFunc(ctx, func() {
		defer c.recoverPanic(inDial)
		if conn := stages.conn(); conn != nil {
			_ = conn.Close()
		}
	})
	ws, resp, err := dialer.DialContext(httptrace.WithClientTrace(ctx, stages.trace()), url, header)
	stage := stages.current()
	if !stop() && err == nil {
		_ = ws.Close()
		err = ctx.Err()
	}
	if err == nil {
		if err = checkSubprotocol(resp.Header, offeredSubprotocols(dialer.Subprotocols, header)); err == nil {
			_ = w.SetDeadline(time.Time{})
			return newWSTransport(ws, w, upgrade, resp.Header, onControl), nil
		}
		_ = ws.Close()
	}
	failed := c.dialError(ctx, stage, resp, err)
	if w != nil {
		failed.recognize(w.head, c.endpoint.secure(), c.secrets.all())
	}
	return nil, failed
}

// handshake makes TLS of the way to addr.
func handshake(ctx context.Context, w *wire, addr string, config *tls.Config) (*tls.Conn, error) {
	config = config.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	if config.NextProtos == nil { // else a server with HTTP/2 may take that
		config.NextProtos = []string{"http/1.1"}
	}
	trace := httptrace.ContextClientTrace(ctx)
	trace.TLSHandshakeStart()
	secure := tls.Client(w, config)
	err := secure.HandshakeContext(ctx)
	trace.TLSHandshakeDone(secure.ConnectionState(), err)
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	return secure, nil
}

// dialError makes a LinkError of what ended a dial at a stage; resp is the answer to the upgrade, if there was one. It may repeat
// the request, and the request's secrets.
func (c *Conn) dialError(ctx context.Context, stage Stage, resp *http.Response, err error) *LinkError {
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil:
		return refused(resp, time.Now())
	case ctx.Err() != nil:
		err = ctx.Err()
	case resp != nil && !errors.Is(err, ErrSubprotocol):
		// It is the only thing left that gorilla finds wrong with an answer.
		err = fmt.Errorf("%w: it compresses in a way that was not offered", ErrHandshake)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		err = &dialTimeout{c.current().ConnectTimeout}
	}
	return classify(stage, err)
}

// A dialTimeout says that a dial has had its time, whichever of the deadlines under it was noticed first.
type dialTimeout struct{ after time.Duration }

// Error says how long that was.
func (e *dialTimeout) Error() string { return fmt.Sprintf("not finished within %v", e.after) }

// Unwrap returns the error of a context that has had its time.
func (e *dialTimeout) Unwrap() error { return context.DeadlineExceeded }

// attrs is what a log says about a dial that failed at a stage: that, and how long each stage took up to then.
func (t Timings) attrs(failed Stage) []any {
	attrs := []any{"stage", string(failed)}
	for _, s := range []struct {
		stage Stage
		took  time.Duration
	}{{StageDNS, t.DNS}, {StageTCP, t.TCP}, {StageTLS, t.TLS}, {StageUpgrade, t.Upgrade}} {
		if s.took > 0 {
			attrs = append(attrs, string(s.stage), s.took)
		}
		if s.stage == failed { // what was booked on a later one is the moments before the name was looked up
			break
		}
	}
	return attrs
}

func (c *Conn) credentials(ctx context.Context) (Credentials, error) {
	if c.current().Credentials == nil {
		return Credentials{}, nil
	}
	defer namePanic(inCredentials)
	return c.current().Credentials(ctx)
}

// A stageClock follows a dial through its stages. The resolver and the dialer may call it from goroutines of their own.
type stageClock struct {
	mu      sync.Mutex
	stage   Stage
	since   time.Time
	timings Timings
	netConn net.Conn
	// upgrading is called when the upgrade begins, unless it is nil.
	upgrading func()
}

// atUpgrade sets what is called when the upgrade begins.
func (s *stageClock) atUpgrade(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upgrading = f
}

// begin ends the current stage and begins the next.
func (s *stageClock) begin(next Stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(time.Now())
	if s.stage = next; next == StageUpgrade && s.upgrading != nil {
		s.upgrading()
	}
}

func (s *stageClock) account(now time.Time) {
	if !s.since.IsZero() {
		took := now.Sub(s.since)
		switch s.stage {
		case StageDNS:
			s.timings.DNS += took
		case StageTCP, StageProxy:
			s.timings.TCP += took
		case StageTLS:
			s.timings.TLS += took
		case StageUpgrade:
			s.timings.Upgrade += took
		}
	}
	s.since = now
}

// end ends the last stage, which it returns, and what each took.
func (s *stageClock) end() (Timings, Stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(time.Now())
	return s.timings, s.stage
}

// current returns the stage under way.
func (s *stageClock) current() Stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stage
}

func (s *stageClock) conn() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.netConn
}

func (s *stageClock) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { s.begin(StageDNS) },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			if info.Err == nil {
				s.begin(StageTCP)
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.netConn = info.Conn
		},
		TLSHandshakeStart: func() { s.begin(StageTLS) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				s.begin(StageUpgrade)
			}
		},
	}
}

// dialTurns gives the dials to one server their turns, some time apart, in the order in which they came. Different servers
// have nothing to do with each other.
type dialTurns struct {
	mean time.Duration

	mu sync.Mutex
	// servers are those that are dialed just now: one that nobody waits for is forgotten when its last interval is over.
	servers map[string]*dialQueue
}

// A dialQueue holds the dials that wait while an interval runs; each is told by closing its channel.
type dialQueue struct{ waiting []chan struct{} }

func newDialTurns(mean time.Duration) *dialTurns {
	return &dialTurns{mean: mean, servers: map[string]*dialQueue{}}
}

// wait waits for a turn to dial the server, or for the end of ctx: then the turn goes to the next.
func (d *dialTurns) wait(ctx context.Context, server string) error {
	if d.mean < 0 {
		return nil
	}
	d.mu.Lock()
	q := d.servers[server]
	if q == nil {
		d.servers[server] = &dialQueue{}
		d.mu.Unlock()
		d.interval(server)
		return nil
	}
	turn := make(chan struct{})
	q.waiting = append(q.waiting, turn)
	d.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(other chan struct{}) bool { return other == turn })
	return ctx.Err()
}

// interval lets the next dial wait for a time that is drawn evenly: without the draw, those who lost a server together would
// come back in step.
func (d *dialTurns) interval(server string) {
	time.AfterFunc(rand.N(2*d.mean+1), func() { d.next(server) })
}

// next gives the next dial its turn.
func (d *dialTurns) next(server string) {
	d.mu.Lock()
	q := d.servers[server]
	if len(q.waiting) == 0 {
		delete(d.servers, server)
		d.mu.Unlock()
		return
	}
	close(q.waiting[0])
	q.waiting = slices.Delete(q.waiting, 0, 1)
	d.mu.Unlock()
	d.interval(server)
}

// secure reports whether the way to the server is TLS.
func (e *endpoint) secure() bool { return e.url.Scheme == "wss" }

// server is what dials are staggered by: host and port.
func (e *endpoint) server() string {
	port := "80"
	if e.secure() {
		port = "443"
	}
	return strings.ToLower(hostPort(&e.url, port))
}

// An endpoint is where to dial: Options.URL made complete.
type endpoint struct {
	// url is that of the WebSocket.
	url url.URL
	// transport is how messages travel.
	transport Transport
	// basicAuth is the Authorization header made of the URL's userinfo, empty without.
	basicAuth string
	codec     codec
}

// newEndpoint completes a URL. Its errors do not repeat the URL, which may hold secrets.
func newEndpoint(raw, vsn string, by Transport) (*endpoint, error) {
	if raw == "" {
		return nil, errors.New("the URI of the socket is missing")
	}
	u, err := url.Parse(raw)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("the URI cannot be parsed: %w", err)
	}
	switch u.Scheme = strings.ToLower(u.Scheme); u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return nil, fmt.Errorf("the URI's scheme is %q: it can be ws, wss, http or https", u.Scheme)
	}
	if u.Host == "" {
		return nil, errors.New("the URI has no host")
	}
	if err := checkHostPort(u); err != nil {
		return nil, err
	}
	if err := asciiHost(u); err != nil {
		return nil, err
	}
	e := &endpoint{url: *u, transport: by}
	if u.User != nil {
		password, _ := u.User.Password()
		e.basicAuth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
		e.url.User = nil
	}
	e.url.Fragment = ""
	if err := e.setTransport(); err != nil {
		return nil, err
	}
	query := u.Query()
	if !query.Has("vsn") {
		query.Set("vsn", vsn)
		e.url.RawQuery = appendQuery(u.RawQuery, "vsn="+url.QueryEscape(vsn))
	} else {
		// Given twice, the last one wins (PROTOCOL.md, section 1).
		vsn = query["vsn"][len(query["vsn"])-1]
	}
	if e.codec, err = codecFor(vsn); err != nil {
		// Its text is left out: it may come from the query.
		return nil, errors.New("the vsn is not one of 2.0.0 and 1.0.0")
	}
	return e, nil
}

// The last segments of the paths of Phoenix's transports.
const (
	segmentWebSocket = "/websocket"
	segmentLongPoll  = "/longpoll"
)

// setTransport settles the transport, and makes the path of the URL that of a WebSocket. The server takes a slash at its end for nothing.
func (e *endpoint) setTransport() error {
	path := strings.TrimSuffix(e.url.Path, "/")
	switch e.transport {
	case TransportWebSocket, TransportLongPoll, TransportAuto:
	case "":
		e.transport = TransportWebSocket
		if strings.HasSuffix(path, segmentLongPoll) {
			e.transport = TransportLongPoll
		}
	default:
		return fmt.Errorf("the transport is %q: it can be websocket, longpoll or auto", e.transport)
	}
	switch {
	case strings.HasSuffix(path, segmentWebSocket):
	case strings.HasSuffix(path, segmentLongPoll):
		e.url = otherSegment(e.url, segmentLongPoll, segmentWebSocket)
	default:
		e.url = *e.url.JoinPath(segmentWebSocket)
	}
	return nil
}

// otherSegment returns a URL with another last segment of its path.
func otherSegment(u url.URL, from, to string) url.URL {
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), from) + to
	if u.RawPath != "" {
		u.RawPath = strings.TrimSuffix(strings.TrimSuffix(u.RawPath, "/"), from) + to
	}
	return u
}

// at returns the URL of a transport, without what comes with a dial.
func (e *endpoint) at(t Transport) url.URL {
	if t != TransportLongPoll {
		return e.url
	}
	u := otherSegment(e.url, segmentWebSocket, segmentLongPoll)
	if u.Scheme = "http"; e.secure() {
		u.Scheme = "https"
	}
	return u
}

// checkHostPort refuses what url.Parse takes, and no dialer.
func checkHostPort(u *url.URL) error {
	if strings.Count(u.Host, ":") > 1 && !strings.HasPrefix(u.Host, "[") {
		return errors.New("the URI's host has several colons: an IPv6 address stands in brackets, as in ws://[::1]:4000/socket")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("the URI's port is not one of 1 to 65535")
		}
	}
	return nil
}

// asciiHost writes the host of a URL as names are looked up, and as they are in certificates and HTTP headers (RFC 5891).
func asciiHost(u *url.URL) error {
	name := u.Hostname()
	if !strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return nil
	}
	ascii, err := idna.Lookup.ToASCII(name)
	if err != nil {
		return fmt.Errorf("the host %q is no name of a host", name)
	}
	u.Host = ascii + strings.TrimPrefix(u.Host, name)
	return nil
}

func appendQuery(query, more string) string {
	if query == "" {
		return more
	}
	if more == "" {
		return query
	}
	return query + "&" + more
}

// public returns the URL without what may be a secret: its query.
func (e *endpoint) public() string {
	u := e.at(e.transport)
	u.RawQuery = ""
	return u.String()
}

// request returns the URL and the header to dial with, for a transport.
func (e *endpoint) request(c Credentials, t Transport) (string, http.Header) {
	u := e.at(t)
	// vsn stays last, as with the official client.
	u.RawQuery = appendQuery(c.Params.Encode(), u.RawQuery)
	header := c.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if e.basicAuth != "" && header.Get("Authorization") == "" {
		header.Set("Authorization", e.basicAuth)
	}
	if len(header.Values("User-Agent")) == 0 {
		header.Set("User-Agent", userAgent)
	}
	return u.String(), header
}

// userAgent is the User-Agent of a request for which the caller has none.
const userAgent = "phx"

// tokenSubprotocol begins the subprotocol that is an auth token.
const tokenSubprotocol = "base64url.bearer.phx."

// subprotocols carry the auth token (rule 24). The server decodes the standard alphabet, in spite of the name.
func subprotocols(c Credentials) []string {
	if !c.HasAuthToken {
		return nil
	}
	return []string{"phoenix", tokenSubprotocol + base64.RawStdEncoding.EncodeToString([]byte(c.AuthToken))}
}

// A route is the way of one dial to the server's host: straight, or through a proxy.
type route struct {
	conn   *Conn
	stages *stageClock
	// proxy is the proxy that a failure is about, without userinfo; empty once there is a tunnel through it.
	proxy string
}

// open makes the network connection and, if it is to be secure, TLS on it. config may be nil. There is a wire also when TLS has failed.
func (r *route) open(ctx context.Context, network, addr string, secure bool, config *tls.Config) (net.Conn, *wire, error) {
	conn, err := r.dial(ctx, network, addr)
	if err != nil {
		return nil, nil, err
	}
	w := &wire{Conn: conn}
	if !secure {
		r.stages.begin(StageUpgrade)
		return w, w, nil
	}
	encrypted, err := handshake(ctx, w, addr, cmp.Or(config, r.conn.opts.TLS))
	if err != nil {
		return nil, w, err
	}
	return encrypted, w, nil
}

// dial makes the network connection.
func (r *route) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	r.stages.begin(StageProxy)
	via, err := r.conn.proxy()
	if err != nil {
		return nil, err
	}
	if via == nil {
		return r.dialTCP(ctx, network, addr)
	}
	r.conn.secrets.through(via)
	r.proxy = publicProxy(via)
	conn, err := dialThrough(ctx, func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := r.dialTCP(ctx, network, addr)
		if err == nil {
			r.stages.begin(StageProxy)
		}
		return conn, err
	}, via, addr)
	if err == nil {
		r.proxy = ""
	}
	return conn, err
}

func (r *route) dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	r.stages.begin(StageTCP)
	if dial := r.conn.opts.NetDial; dial != nil {
		return dial(ctx, network, addr)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil && r.conn.current().HeartbeatInterval != NoHeartbeat {
		// While reads are paused, no answer to a heartbeat is missed; the kernel sees that it is not even acknowledged. The
		// option is set this late because it would bound the connect, too.
		if err := setUserTimeout(tcp, r.conn.current().HeartbeatInterval+r.conn.current().HeartbeatTimeout); err != nil {
			r.conn.opts.Logger.Debug("TCP_USER_TIMEOUT could not be set", "error", err)
		}
	}
	return conn, err
}
