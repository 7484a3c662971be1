package phoenixtest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// An App sets up a server: it mounts sockets and handles plain HTTP. It runs once for each
// server, so that its state is that server's.
type App func(s *Server)

// A Server is a running Phoenix server. It is an [http.Handler], too, and as such can be
// part of another server.
type Server struct {
	// URL is that of the socket mounted first, without the transport: ws://host/socket.
	URL string

	tls     *tls.Config
	flavor  Flavor
	tap     func(Frame)
	network network
	// pollWindow is that of sockets that set none.
	pollWindow time.Duration
	base       string // ws://host
	mounts     map[string]*UserSocket
	mux        *http.ServeMux
	pubsub     pubSub
	presence   presence
	state      serverState

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // of everything that Close waits for
}

// An Option configures a server.
type Option func(*Server)

// WithAddr listens on this address instead of a free port of 127.0.0.1. A server that only
// has in-memory connections ignores it.
func WithAddr(addr string) Option {
	return func(s *Server) {
		if tcp, ok := s.network.(*tcpNetwork); ok {
			tcp.addr = addr
		}
	}
}

// WithTLS speaks TLS; the URL is then wss.
func WithTLS(config *tls.Config) Option { return func(s *Server) { s.tls = config } }

// WithFlavor chooses the web server that Phoenix runs on.
func WithFlavor(f Flavor) Option { return func(s *Server) { s.flavor = f } }

// WithTap shows every message that is read and written to a function, which is called from
// the goroutines of the connections and must not keep the data.
func WithTap(tap func(Frame)) Option { return func(s *Server) { s.tap = tap } }

// WithPollWindow sets how long a poll waits for messages, for sockets that do not set it themselves.
func WithPollWindow(d time.Duration) Option { return func(s *Server) { s.pollWindow = d } }

// A Frame is what a tap sees.
type Frame struct {
	Conn       *Conn
	FromClient bool
	Opcode     int
	Data       []byte
}

// Listen starts a server that listens on TCP.
func Listen(app App, opts ...Option) (*Server, error) {
	return start(app, opts, &tcpNetwork{addr: "127.0.0.1:0"})
}

// NewServer is Listen for tests: it panics if it cannot listen.
func NewServer(app App, opts ...Option) *Server {
	s, err := Listen(app, opts...)
	if err != nil {
		panic(fmt.Sprintf("phoenixtest: %v", err))
	}
	return s
}

// NewPipeServer starts a server without a network: only [Server.DialContext] reaches it.
func NewPipeServer(app App, opts ...Option) *Server {
	s, err := start(app, opts, &pipeNetwork{})
	if err != nil { // unreachable: a pipe can always be listened on
		panic(fmt.Sprintf("phoenixtest: %v", err))
	}
	return s
}

func start(app App, opts []Option, n network) (*Server, error) {
	s := &Server{network: n, pollWindow: DefaultPollWindow, mounts: map[string]*UserSocket{}, mux: http.NewServeMux()}
	for _, opt := range opts {
		opt(s)
	}
	s.state.changed = make(chan struct{})
	s.state.sessions = map[string]*Conn{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusNotFound, "", "not found")
	})
	app(s)
	if err := s.Start(); err != nil {
		s.cancel()
		return nil, err
	}
	scheme := "ws"
	if s.tls != nil {
		scheme = "wss"
	}
	s.base = scheme + "://" + s.Addr()
	s.URL = s.base + s.state.firstMount
	return s, nil
}

// Mount serves a socket at a path such as /socket; clients connect to /socket/websocket.
func (s *Server) Mount(path string, sock UserSocket) {
	if s.state.firstMount == "" {
		s.state.firstMount = path
	}
	s.mounts[path] = sock.withDefaults(s.pollWindow)
}

// Handle serves plain HTTP, with a pattern as in [http.ServeMux].
func (s *Server) Handle(pattern string, h http.HandlerFunc) { s.mux.HandleFunc(pattern, h) }

// Go runs a process of the application. It must return when its context ends; Close waits.
func (s *Server) Go(f func(ctx context.Context)) {
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		f(s.ctx)
	}()
}

// Addr is the host and port that clients dial.
func (s *Server) Addr() string { return s.network.address() }

// SocketURL is the URL of the socket mounted at path, without the transport.
func (s *Server) SocketURL(path string) string { return s.base + path }

// DialContext connects to the server, whatever address is asked for. It fits
// net/http's and gorilla/websocket's dialers.
func (s *Server) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.network.dial(ctx)
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		respond(w, http.StatusServiceUnavailable, "", "")
		return
	}
	defer s.work.Done()
	s.flavor.stamp(w.Header(), false)
	path, isWebSocket := strings.CutSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/websocket")
	if sock, ok := s.mounts[path]; ok && isWebSocket {
		s.upgrade(w, r, sock)
		return
	}
	path, isLongPoll := strings.CutSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/longpoll")
	if sock, ok := s.mounts[path]; ok && isLongPoll {
		s.longPoll(w, r, sock)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Start listens again, on the same address, after Stop or StopListening.
func (s *Server) Start() error {
	l, err := s.network.listen()
	if err != nil {
		return err
	}
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	server := &http.Server{
		Handler: s, ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context { return context.WithValue(ctx, connKey{}, nc) },
	}
	s.state.mu.Lock()
	s.state.server, s.state.listener = server, l
	s.state.mu.Unlock()
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		_ = server.Serve(l) // it ends with ErrServerClosed
	}()
	return nil
}

// StopListening refuses new TCP connections; those that are there live on.
func (s *Server) StopListening() {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if s.state.server == nil {
		return
	}
	// Both fail only for a listener that is closed already, perhaps by the other.
	_ = s.state.server.Close()
	_ = s.state.listener.Close()
	s.state.server = nil
}

// drainTimeout is how long Stop lets connections end in order.
const drainTimeout = 2 * time.Second

// Stop is what a deployment does: it refuses new connections and closes those that are
// there with 1012. It returns when they have ended. Start begins anew.
func (s *Server) Stop() {
	s.StopListening()
	s.each(func(c *Conn) {
		if c.hole.Load() || c.stall.Load() {
			c.Drop() // it would not hear us
		} else {
			c.Close(closeRestart)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := s.Await(ctx, func(st Stats) bool { return st.Open == 0 }); errors.Is(err, context.DeadlineExceeded) {
		s.DropConns()
	}
	_ = s.Await(context.Background(), func(st Stats) bool { return st.Open == 0 })
}

// Close stops the server for good and waits until nothing of it runs any more.
func (s *Server) Close() {
	s.Stop()
	s.cancel()
	s.work.Wait()
}

// Stats counts what a server has seen since it was made.
type Stats struct {
	Attempts   int // requests to connect a socket
	Refused    int // of these, answered with no
	Connects   int // of these, answered with 101, or with a long poll session
	Open       int // sockets that are connected now
	Joins      int // phx_join messages
	Joined     int // of these, answered with ok
	Heartbeats int
}

// serverState is what the goroutines of a server share.
type serverState struct {
	mu         sync.Mutex
	firstMount string
	server     *http.Server // nil: not listening
	listener   net.Listener // the server's; it may not have been told yet
	refusal    *Refusal
	conns      []*Conn
	stats      Stats
	changed    chan struct{}    // closed and replaced at every change of stats
	sessions   map[string]*Conn // long poll sessions by token, also those that have ended
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return s.state.stats
}

// Await returns when the counts satisfy ok, or with the context's error.
func (s *Server) Await(ctx context.Context, ok func(Stats) bool) error {
	for {
		s.state.mu.Lock()
		stats, changed := s.state.stats, s.state.changed
		s.state.mu.Unlock()
		if ok(stats) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) count(change func(*Stats)) {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	s.changeLocked(change)
}

func (s *Server) changeLocked(change func(*Stats)) {
	change(&s.state.stats)
	close(s.state.changed)
	s.state.changed = make(chan struct{})
}

// enter counts a request among what Close waits for, unless the server is stopped.
func (s *Server) enter() bool {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if s.state.server == nil {
		return false
	}
	s.work.Add(1)
	return true
}

// register adds a connection, unless the server was stopped while it was being made.
func (s *Server) register(c *Conn) bool {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if s.state.server == nil {
		return false
	}
	s.state.conns = append(s.state.conns, c)
	if c.poll != nil {
		s.state.sessions[c.poll.token] = c
	}
	s.changeLocked(func(st *Stats) { st.Connects++; st.Open++ })
	return true
}

func (s *Server) unregister(c *Conn) {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	s.state.conns = slices.DeleteFunc(s.state.conns, func(o *Conn) bool { return o == c })
	s.changeLocked(func(st *Stats) { st.Open-- })
}

// Refuse answers every further request to connect with this refusal; nil accepts again.
func (s *Server) Refuse(r *Refusal) {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	s.state.refusal = r
}

// Conns are the connected sockets, the oldest first.
func (s *Server) Conns() []*Conn {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return slices.Clone(s.state.conns)
}

// CloseConns closes all sockets with a close code.
func (s *Server) CloseConns(code int) { s.each(func(c *Conn) { c.Close(code) }) }

// DropConns ends all TCP connections without a close frame.
func (s *Server) DropConns() { s.each((*Conn).Drop) }

// ResetConns ends all TCP connections with a reset.
func (s *Server) ResetConns() { s.each((*Conn).Reset) }

// BlackHole makes the links of all sockets half-open.
func (s *Server) BlackHole() { s.each((*Conn).BlackHole) }

// Disconnect closes the sockets with this id, as the broadcast of "disconnect" to it does.
func (s *Server) Disconnect(id string) {
	s.each(func(c *Conn) {
		if id != "" && c.id == id {
			c.Close(closeGoingAway)
		}
	})
}

// Broadcast sends an event to everyone who joined the topic, as Endpoint.broadcast! does.
func (s *Server) Broadcast(topic, event string, payload any) {
	s.pubsub.broadcast(topic, event, payloadOf(payload), nil)
}

// Subscribers is the number of channels joined to a topic.
func (s *Server) Subscribers(topic string) int { return s.pubsub.subscribers(topic) }

func (s *Server) each(f func(*Conn)) {
	for _, c := range s.Conns() {
		f(c)
	}
}
