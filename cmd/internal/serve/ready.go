package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
)

// Alive returns nil when the registries of connections answer, which everything else needs.
func (b *Bridge) Alive(context.Context) error {
	b.supervisor.Names()
	b.connection("")
	return nil
}

// Ready reports whether every required connection is connected, and each of its auto_join_channels is joined. missing has a line for
// each thing that is not.
func (b *Bridge) Ready(ctx context.Context) (ready bool, missing []string) {
	if !b.started.Load() {
		return false, []string{"serve is starting"}
	}
	names := slices.DeleteFunc(b.supervisor.Names(), func(name string) bool {
		c := b.connection(name)
		return c == nil || !c.settings.Load().connection.Required || b.leased(c) && c.tenure.current() == nil
	})
	missing = b.missingLeases()
	for _, l := range b.look(ctx, names) {
		c := b.connection(l.name)
		switch {
		case c == nil: // removed meanwhile
		case l.err != nil:
			missing = append(missing, fmt.Sprintf("%s: no status: %v", l.name, l.err))
		default:
			missing = append(missing, missingOf(&l.status, c.settings.Load().connection.AutoJoin())...)
		}
	}
	return len(missing) == 0, missing
}

// errStuck says that a connection does not answer: something that runs for it hangs.
var errStuck = errors.New("the connection does not answer")

// statusTime bounds the wait for the status of one connection. It is less than answerTime, so that who asks whether all are ready
// learns which is not.
const statusTime = answerTime - 100*time.Millisecond

// A look is the status of a connection as it was found, or why there is none.
type look struct {
	name   string
	status phoenix.ConnectionStatus
	err    error
}

// look looks at connections side by side: however many of them do not answer, it takes statusTime.
func (b *Bridge) look(ctx context.Context, names []string) []look {
	looks := make([]look, len(names))
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() {
			status, err := b.status(ctx, name)
			looks[i] = look{name, status, err}
		})
	}
	wait.Wait()
	return looks
}

// status returns the status of a connection. Of one that does not answer in statusTime, or before the deadline of ctx, it is what is known
// without asking it, with errStuck in it, so that one that hangs does not hide the others.
func (b *Bridge) status(ctx context.Context, name string) (phoenix.ConnectionStatus, error) {
	short, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	status, err := b.supervisor.Status(short, name)
	if err != nil && errors.Is(short.Err(), context.DeadlineExceeded) {
		status.Err, err = errStuck, nil
	}
	return status, err
}

// missingOf says what is missing for a connection to be up, with these of its channels joined.
func missingOf(s *phoenix.ConnectionStatus, topics []string) []string {
	switch {
	case errors.Is(s.Err, errStuck):
		return []string{s.Name + ": " + errStuck.Error()}
	case s.Link != phoenix.StatusConnected:
		return []string{s.Name + ": " + string(s.Link)}
	}
	var missing []string
	for _, topic := range topics {
		i := slices.IndexFunc(s.Channels, func(c phoenix.ChannelStatus) bool { return c.Topic == topic })
		switch {
		case i < 0:
			missing = append(missing, fmt.Sprintf("%s: %s: left", s.Name, topic))
		case s.Channels[i].State != "joined":
			missing = append(missing, fmt.Sprintf("%s: %s: %s", s.Name, topic, s.Channels[i].State))
		case s.Channels[i].Unanswered > 0:
			missing = append(missing, fmt.Sprintf("%s: %s: no answer yet to a push of on_join", s.Name, topic))
		case s.Channels[i].Held:
			missing = append(missing, fmt.Sprintf("%s: %s: joined, and not live yet", s.Name, topic))
		}
	}
	return missing
}

// wantedTopics are those of the config and those that somebody has joined besides.
func wantedTopics(s *phoenix.ConnectionStatus, of *settings) []string {
	topics := of.connection.AutoJoin()
	for _, c := range s.Channels {
		if !slices.Contains(topics, c.Topic) {
			topics = append(topics, c.Topic)
		}
	}
	return topics
}

// readyInterval is the least time between two checks of all connections: a server with a thousand that starts changes often.
const readyInterval = 50 * time.Millisecond

// WatchReady calls notify with what [Bridge.Ready] returns, now and soon after that changes, until ctx ends.
func (b *Bridge) WatchReady(ctx context.Context, notify func(ready bool, missing []string)) {
	var last []string
	var again <-chan time.Time // leases change without the supervisor
	if b.cluster != nil {
		ticks := time.NewTicker(time.Second)
		defer ticks.Stop()
		again = ticks.C
	}
	for first := true; ; first = false {
		changed := b.supervisor.Changed() // before the check, so that no change is missed
		ready, missing := b.Ready(ctx)
		if ctx.Err() != nil {
			return
		}
		if first || !slices.Equal(missing, last) {
			last = missing
			notify(ready, missing)
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(readyInterval):
		case <-ctx.Done():
			return
		}
	}
}

// errNoAnswer is the error of a health check that takes too long.
var errNoAnswer = errors.New("the supervisor of the connections does not answer")

// Health checks whether the supervisor of the connections answers. However many callers there are, and however stuck it is, one
// goroutine waits for it.
type Health struct {
	alive func(context.Context) error

	mu      sync.Mutex
	current *check // nil: none runs
}

// A check is one call of alive.
type check struct {
	done chan struct{}
	err  error // valid when done is closed
}

// NewHealth returns the health by a function that returns nil if all is well, such as [Bridge.Alive].
func NewHealth(alive func(context.Context) error) *Health { return &Health{alive: alive} }

// Check returns nil if alive does so within a second.
func (h *Health) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c := h.join()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return errNoAnswer
	}
}

// join returns the check that runs, or starts one.
func (h *Health) join() *check {
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
		c.err = h.alive(ctx)
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
	// endTime is how long requests have at the end. It leaves most of the 5 s of a stopping process to the connections.
	endTime = time.Second
)

// ListenHTTP listens for a [Web]. The address is that of the key http.listen; an error is an [*exit.Error].
func ListenHTTP(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	e := &exit.Error{
		Code: exit.Failure, Message: fmt.Sprintf("cannot listen on %s (http.listen): %s", addr, exit.SystemText(err)), Err: err,
		Hint: "check the address of http.listen: HOST:PORT, with a HOST of this machine",
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		e.Hint = "is there another phx serve? stop who uses the address, or give http.listen another one"
	}
	return nil, e
}

// Web serves /healthz, /readyz and /metrics.
type Web struct {
	http   *http.Server
	health *Health
	ready  func(context.Context) (ready bool, missing []string)
	whole  string
}

// NewWeb returns a server that does not listen yet. ready is [Bridge.Ready], or stands for it; whole is what /readyz says when all is
// ready.
func NewWeb(health *Health, ready func(context.Context) (ready bool, missing []string), whole string, metrics *Metrics, log *slog.Logger) *Web {
	s := &Web{health: health, ready: ready, whole: whole}
	mux := http.NewServeMux()
	// A pattern of GET matches HEAD, too; other methods get 405 with Allow.
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", metrics.Handler(log))
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTimeout,
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
	ready, missing := s.ready(ctx)
	if !ready {
		if len(missing) == 0 {
			missing = []string{"not ready"}
		}
		answerLines(w, http.StatusServiceUnavailable, missing...)
		return
	}
	answerLines(w, http.StatusOK, s.whole)
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
