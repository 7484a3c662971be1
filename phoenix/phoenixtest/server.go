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

	tls      *tls.Config
	flavor   Flavor
	tap      func(Frame)
	network  network
	base     string // ws://host
	mounts   map[string]*UserSocket
	mux      *http.ServeMux
	pubsub   pubSub
	presence presence
	state    serverState

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // of everything that Close waits for
}

// An Option is a wish about a server.
type Option func(*options)

type options struct {
	addr   string
	tls    *tls.Config
	flavor Flavor
	tap    func(Frame)
}

// WithAddr listens on this address instead of a free port of 127.0.0.1. A server that only
// has in-memory connections ignores it.
func WithAddr(addr string) Option { return func(o *options) { o.addr = addr } }

// WithTLS speaks TLS; the URL is then wss.
func WithTLS(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// WithFlavor chooses the web server that Phoenix runs on.
func WithFlavor(f Flavor) Option { return func(o *options) { o.flavor = f } }

// WithTap shows every message that is read and written to a function, which is called from
// the goroutines of the connections and must not keep the data.
func WithTap(tap func(Frame)) Option { return func(o *options) { o.tap = tap } }

// A Frame is what a tap sees.
type Frame struct {
	Conn       *Conn
	FromClient bool
	Opcode     int
	Data       []byte
}

// Listen starts a server that listens on TCP.
func Listen(app App, opts ...Option) (*Server, error) {
	o := options{addr: "127.0.0.1:0"}
	for _, opt := range opts {
		opt(&o)
	}
	return start(app, o, &tcpNetwork{addr: o.addr})
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
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	s, err := start(app, o, &pipeNetwork{})
	if err != nil { // unreachable: a pipe can always be listened on
		panic(fmt.Sprintf("phoenixtest: %v", err))
	}
	return s
}

func start(app App, o options, n network) (*Server, error) {
	s := &Server{
		tls:     o.tls,
		flavor:  o.flavor,
		tap:     o.tap,
		network: n,
		mounts:  map[string]*UserSocket{},
		mux:     http.NewServeMux(),
	}
	s.state.init()
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
	s.mounts[path] = sock.withDefaults()
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
	server := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	s.state.listening(server, l)
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		_ = server.Serve(l) // it ends with ErrServerClosed
	}()
	return nil
}

// StopListening refuses new TCP connections; those that are there live on.
func (s *Server) StopListening() { s.state.stopListening() }

// drainTimeout is how long Stop lets connections end in order.
const drainTimeout = 2 * time.Second

// Stop is what a deployment does: it refuses new connections and closes those that are
// there with 1012. It returns when they have ended. Start begins anew.
func (s *Server) Stop() {
	s.StopListening()
	s.each(func(c *Conn) {
		if c.hole.isSet() || c.stall.isSet() {
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
