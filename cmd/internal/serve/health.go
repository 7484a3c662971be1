package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errNoAnswer is what is wrong when nobody answers.
var errNoAnswer = errors.New("the supervisor of the connections does not answer")

// Health asks a source whether it is alive. However many ask, and however stuck the source is, it waits in one goroutine.
type Health struct {
	source Source

	mu      sync.Mutex
	current *check // nil: none runs
}

// A check is one question to the source.
type check struct {
	done chan struct{}
	err  error // valid when done is closed
}

// NewHealth returns the health of a source.
func NewHealth(source Source) *Health { return &Health{source: source} }

// Check returns nil if the source answers within a second that it is alive.
func (h *Health) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c := h.ask()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return errNoAnswer
	}
}

// ask joins the check that runs, or begins one.
func (h *Health) ask() *check {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil {
		return h.current
	}
	c := &check{done: make(chan struct{})}
	h.current = c
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		defer cancel()
		c.err = h.source.Alive(ctx)
		h.mu.Lock()
		h.current = nil
		h.mu.Unlock()
		close(c.done)
	}()
	return c
}

// answerTime is how long a health check may take until the process counts as stuck.
const answerTime = time.Second

// Times of the HTTP server. A scrape of many connections takes milliseconds; these only end what is stuck.
const (
	headerTime = 5 * time.Second
	readTime   = 10 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = 2 * time.Minute
	// endTime is how long requests have at the end. It leaves most of the 5 s of a stopping process to the connections.
	endTime = time.Second
)

// ListenHTTP listens for the HTTP server of ops. The address is that of the key http.listen; an error is a *ListenError.
func ListenHTTP(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &ListenError{Addr: addr, Err: err}
	}
	return l, nil
}

// A ListenError says why nobody can listen on an address.
type ListenError struct {
	Addr string
	Err  error
}

// Error implements error.
func (e *ListenError) Error() string {
	cause := e.Err
	if call := (*os.SyscallError)(nil); errors.As(cause, &call) {
		cause = call.Err // without the names of system calls
	}
	return fmt.Sprintf("cannot listen on %s (http.listen): %v", e.Addr, cause)
}

// Unwrap returns Err.
func (e *ListenError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *ListenError) Hint() string {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		return "is there another phx serve? stop who uses the address, or give http.listen another one"
	}
	return "check the address of http.listen: HOST:PORT, with a HOST of this machine"
}

// A Web serves /healthz, /readyz and /metrics.
type Web struct {
	http   *http.Server
	health *Health
	source Source
}

// NewWeb returns a server that does not listen yet.
func NewWeb(source Source, metrics *Metrics, log *slog.Logger) *Web {
	s := &Web{health: NewHealth(source), source: source}
	mux := http.NewServeMux()
	// A pattern of GET matches HEAD, too; other methods get 405 and are told so.
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", metrics.Handler(log))
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve answers requests until ctx ends, and lets those that are there then end in peace for a second. It closes l.
func (s *Web) Serve(ctx context.Context, l net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("http.listen: %w", err)
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if s.http.Shutdown(patience) != nil {
		s.http.Close() // cuts who would not end
	}
	<-ended
	return nil
}

func (s *Web) healthz(w http.ResponseWriter, r *http.Request) {
	if err := s.health.Check(r.Context()); err != nil {
		answerLines(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answerLines(w, http.StatusOK, "ok")
}

func (s *Web) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	ready, missing := s.source.Ready(ctx)
	if !ready {
		if len(missing) == 0 {
			missing = []string{"not ready"}
		}
		answerLines(w, http.StatusServiceUnavailable, missing...)
		return
	}
	answerLines(w, http.StatusOK, "ready")
}

// answerLines writes lines.
func answerLines(w http.ResponseWriter, status int, lines ...string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	for _, line := range lines {
		// An error to write is that of a client that went away.
		_, _ = fmt.Fprintln(w, strings.ReplaceAll(line, "\n", " "))
	}
}
