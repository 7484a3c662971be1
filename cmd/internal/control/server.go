package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"
)

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
