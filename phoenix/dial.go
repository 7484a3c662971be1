package phoenix

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
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

	var w *wire
	var upgrade *upgradeConn
	way := route{conn: c, stages: &stages}
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := way.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			stages.begin(StageUpgrade)
			w = &wire{Conn: conn}
			upgrade = &upgradeConn{Conn: w}
			return upgrade, nil
		},
		NetDialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := way.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			w = &wire{Conn: conn}
			secure, err := handshake(ctx, w, addr, cmp.Or(credentials.TLS, c.opts.TLS))
			if err != nil {
				return nil, err
			}
			upgrade = &upgradeConn{Conn: secure}
			return upgrade, nil
		},
		Subprotocols:   subprotocols(credentials),
		ReadBufferSize: c.opts.ReadBuffer,
		// It writes the request, and nothing else.
		WriteBufferPool: writeBuffers,
		// A context that ends must end a dial that waits for the server's answer, too.
		HandshakeTimeout:  c.current().ConnectTimeout,
		EnableCompression: c.opts.Compress,
	}
	url, header := c.endpoint.request(credentials)
	c.secrets.dialing(requestSecrets(url, header, credentials))
	stop := context.AfterFunc(ctx, func() {
		defer c.recoverPanic(inDial)
		if conn := stages.conn(); conn != nil {
			_ = conn.Close()
		}
	})
	ws, resp, err := dialer.DialContext(httptrace.WithClientTrace(ctx, stages.trace()), url, header)
	timings, stage := stages.end()
	if !stop() && err == nil {
		_ = ws.Close()
		err = ctx.Err()
	}
	if err == nil {
		if err = checkSubprotocol(resp.Header, offeredSubprotocols(dialer.Subprotocols, header)); err == nil {
			_ = w.SetDeadline(time.Time{})
			return newWSTransport(ws, w, upgrade, resp.Header, onControl), timings, nil
		}
		_ = ws.Close()
	}
	secrets := c.secrets.all()
	if way.via != nil {
		secrets.AddURL(way.via.String())
	}
	failed := c.dialError(ctx, stage, resp, err)
	failed.Proxy = way.proxy
	if w != nil {
		failed.recognize(w.head, c.endpoint.url.Scheme == "wss", secrets)
	}
	failed.redact(secrets)
	c.opts.Logger.Debug("the dial failed", timings.attrs(failed.Stage)...)
	return nil, timings, failed
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
}

// begin ends the current stage and begins the next.
func (s *stageClock) begin(next Stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(time.Now())
	s.stage = next
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

// server is what dials are staggered by: host and port.
func (e *endpoint) server() string {
	port := "80"
	if e.url.Scheme == "wss" {
		port = "443"
	}
	return strings.ToLower(hostPort(&e.url, port))
}

// An endpoint is where to dial: Options.URL made complete.
type endpoint struct {
	url url.URL
	// basicAuth is the Authorization header made of the URL's userinfo, empty without.
	basicAuth string
	codec     codec
}

// newEndpoint completes a URL. Its errors do not repeat the URL, which may hold secrets.
func newEndpoint(raw, vsn string) (*endpoint, error) {
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
	e := &endpoint{url: *u}
	if u.User != nil {
		password, _ := u.User.Password()
		e.basicAuth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
		e.url.User = nil
	}
	e.url.Fragment = ""
	if !namesTransport(u.Path) {
		e.url = *e.url.JoinPath("websocket")
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

// namesTransport reports whether a path ends in the name of one of Phoenix's transports. The server takes a slash at the end for
// nothing.
func namesTransport(path string) bool {
	path = strings.TrimSuffix(path, "/")
	return strings.HasSuffix(path, "/websocket") || strings.HasSuffix(path, "/longpoll")
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
	u := e.url
	u.RawQuery = ""
	return u.String()
}

// request returns the URL and the header to dial with.
func (e *endpoint) request(c Credentials) (string, http.Header) {
	u := e.url
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
	// via is the proxy with its userinfo; nil: none.
	via *url.URL
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
	r.proxy, r.via = publicProxy(via), via
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
