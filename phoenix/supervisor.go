package phoenix

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Errors of a [Supervisor]'s methods.
var (
	// ErrUnknownConnection: no connection has this name, or it is being removed.
	ErrUnknownConnection = errors.New("there is no such connection")
	// ErrConnectionExists: the name is taken.
	ErrConnectionExists = errors.New("there is such a connection already")
	// ErrNotRunning: the connection is stopped, or waits to be started again after a panic.
	ErrNotRunning = errors.New("the connection is not running")
	// ErrShutdown: the supervisor starts nothing any more.
	ErrShutdown = errors.New("the supervisor has been shut down")
)

// A Supervisor runs many named connections, each on its own: one that hangs, panics or gives up harms no other. Its
// methods may be called from any goroutine, and wait for the one connection that they are about.
//
// What it promises:
//
//   - Of each name there is one run at a time. What is asked of a name is done in the order in which it was asked.
//   - A call that has a context returns at the latest when that ends; what it began goes on.
//   - A run begins with Start and ends with Stop, or by itself: retries exhausted, refused. One that panics is begun again, as
//     if it were a dial that failed: after Options.ReconnectAfter, at most Options.MaxRetries times in a row.
//   - Event.Seq and Event.Session go on from run to run.
//   - Dials to one server are made one after the other, so that its restart does not bring a herd.
//   - A connection that is stopped has no goroutine, and nothing else that takes memory but its Spec.
type Supervisor struct {
	opts  SupervisorOptions
	turns *dialTurns
	// life ends when connections have no time left to close well.
	life context.Context
	cut  context.CancelFunc

	// mu guards the registry: which names there are, what is asked of each, and what is reported of it. It is never held while
	// anything waits or a callback runs.
	mu      sync.Mutex
	managed map[string]*managedConn
	order   []*managedConn
	shut    bool
	changed broadcast
}

// SupervisorOptions describe a Supervisor. The zero value is sensible.
type SupervisorOptions struct {
	// Logger gets panics of connections. Nil: nothing.
	Logger *slog.Logger
	// DialInterval is the mean time between two dials to one server (host and port); each is drawn anew, from nothing to its
	// double. Default 5 ms; negative: none.
	DialInterval time.Duration
	// Ended is told when a connection has ended by itself and is not started again: retries exhausted, refused, panicked too
	// often. It is called on the connection's own goroutine, which may call any method but those that wait for this
	// connection: Stop, Restart, Replace and Remove of it, and Shutdown.
	Ended func(name string, err error)
}

// A Spec describes a connection of a Supervisor.
type Spec struct {
	// Name is not empty, and no other connection's.
	Name string
	// Required is told by ConnectionStatus, and means nothing to the Supervisor.
	Required bool
	Options  Options
	// Consume reads the events of a run to their end (io.EOF), on a goroutine of its own. When it returns early, the rest is
	// dropped; so is everything if it is nil. A panic in it is a panic of the connection.
	Consume func(events *Stream)
}

// NewSupervisor returns a supervisor without connections.
func NewSupervisor(o SupervisorOptions) *Supervisor {
	setDefault(&o.DialInterval, 5*time.Millisecond)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Supervisor{opts: o, turns: newDialTurns(o.DialInterval), managed: map[string]*managedConn{}}
	s.life, s.cut = context.WithCancel(context.Background())
	return s
}

// Add makes a connection known; Start starts it. It reports what is wrong with the spec, and ErrConnectionExists.
func (s *Supervisor) Add(spec Spec) error {
	spec, public, err := spec.checked()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m := s.managed[spec.Name]; {
	case s.shut:
		return ErrShutdown
	case m != nil && m.removing:
		return fmt.Errorf("%w: %q is still being removed", ErrConnectionExists, spec.Name)
	case m != nil:
		return fmt.Errorf("%w: %q", ErrConnectionExists, spec.Name)
	}
	m := newManagedConn(s, spec, public)
	s.managed[spec.Name] = m
	s.order = append(s.order, m)
	s.changed.notify()
	return nil
}

// checked returns the spec with the defaults of its options, and its URI without what may be a secret.
func (spec Spec) checked() (Spec, string, error) {
	if spec.Name == "" {
		return spec, "", errors.New("the connection has no name")
	}
	conn, err := New(spec.Options)
	if err != nil {
		return spec, "", fmt.Errorf("connection %q: %w", spec.Name, err)
	}
	spec.Options = conn.opts
	return spec, conn.endpoint.public(), nil
}

// Replace gives the connection of this name another spec. If it is running, it is stopped and started again.
func (s *Supervisor) Replace(ctx context.Context, spec Spec) error {
	spec, public, err := spec.checked()
	if err != nil {
		return err
	}
	return s.request(ctx, spec.Name, "replaced", mayStart, func(m *managedConn) error { return m.replace(spec, public) })
}

// Update gives the connection of this name another spec, and keeps its socket. Of Options.Channels, those that are new are joined, and
// those that are gone are left, which it does not wait for; rejoin names topics that are left and joined again, because their params
// have changed. Timeouts, retries, backoffs, Credentials and the Params of channels count from their next use on; all else of the
// Options, and Consume, from the next run on: whoever changes these calls Replace. It does not start a connection.
func (s *Supervisor) Update(ctx context.Context, spec Spec, rejoin ...string) error {
	spec, public, err := spec.checked()
	if err != nil {
		return err
	}
	return s.request(ctx, spec.Name, "changed", mayNotStart, func(m *managedConn) error { return m.update(spec, public, rejoin) })
}

// Start starts a connection, and does not wait until it is connected. It does nothing if the connection is running. While
// something else is asked of the connection that takes its time, it returns at once, and the start comes after that.
func (s *Supervisor) Start(name string) error {
	done, ahead, err := s.post(name, mayStart, (*managedConn).start)
	if err != nil || ahead {
		return err
	}
	return <-done
}

// Stop leaves the channels of a connection, closes it and waits for the end of its Consume. It does nothing if the
// connection is not running. Channels are left, and the link closed, within two seconds each; on a dead link without the
// server's answer.
func (s *Supervisor) Stop(ctx context.Context, name string) error {
	return s.request(ctx, name, "stopped", mayNotStart, (*managedConn).stop)
}

// Revoke ends the run of a connection at once, without a word to its server, for [ReasonLeaseLost], and waits for the end of its
// Consume. It does nothing if the connection is not running.
func (s *Supervisor) Revoke(ctx context.Context, name string) error {
	return s.request(ctx, name, "revoked", mayNotStart, (*managedConn).revoke)
}

// Restart stops a connection, if it is running, and starts it.
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	return s.request(ctx, name, "restarted", mayStart, (*managedConn).restart)
}

// Remove stops a connection, and forgets it. The name is free when Remove returns nil.
func (s *Supervisor) Remove(ctx context.Context, name string) error {
	return s.request(ctx, name, "removed", forGood, (*managedConn).remove)
}

// request posts a request and waits until it is done.
func (s *Supervisor) request(ctx context.Context, name, participle string, kind requestKind, do func(*managedConn) error) error {
	done, _, err := s.post(name, kind, do)
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the connection %q is still being %s: %w", name, participle, ctx.Err())
	}
}

// Names returns the names of the connections, in the order of their Add.
func (s *Supervisor) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, len(s.order))
	for i, m := range s.order {
		names[i] = m.name
	}
	return names
}

// Conn returns a connection's current run, to join, push and leave.
func (s *Supervisor) Conn(name string) (*Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.managed[name]
	switch {
	case m == nil:
		return nil, unknown(name)
	case m.current.conn == nil:
		return nil, fmt.Errorf("%w: %q", ErrNotRunning, name)
	}
	return m.current.conn, nil
}

func unknown(name string) error { return fmt.Errorf("%w: %q", ErrUnknownConnection, name) }

// Shutdown stops all connections at once, and waits for that. Nothing can be started any more. When ctx ends, links that
// are still open are cut, and Shutdown returns with ctx's error.
func (s *Supervisor) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.shut = true
	stops := map[string]<-chan error{}
	for _, m := range s.order {
		stops[m.name] = m.post((*managedConn).stop)
	}
	s.mu.Unlock()
	var late []string
	for name, done := range stops {
		select {
		case <-done:
			continue
		case <-ctx.Done():
		}
		select {
		case <-done: // in time, and only seen late
		default:
			late = append(late, name)
		}
	}
	s.cut()
	if late != nil {
		slices.Sort(late)
		return fmt.Errorf("%d connections were not stopped in time and have been cut, %q first: %w", len(late), late[0], ctx.Err())
	}
	return nil
}

// A ConnectionStatus is a snapshot of a connection of a Supervisor.
type ConnectionStatus struct {
	Name string
	// URI is where it connects to, without query and userinfo.
	URI      string
	Required bool
	// Status is that of the current run. Between runs, Link is StatusDisconnected; while it is stopped, StatusDisconnecting.
	Status
	// Since is since when Link is what it is.
	Since time.Time
	// Err is how the last run ended by itself; nil while it runs, and when it was stopped.
	Err error
}

// A broadcast wakes everyone who waits for the next change.
type broadcast struct{ next chan struct{} }

// wait returns a channel that is closed by the next notify.
func (b *broadcast) wait() <-chan struct{} {
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *broadcast) notify() {
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// Changed returns a channel that is closed at the next change of the state of any connection or channel, or of the names
// that there are. To miss none, ask for it before looking at the state, and again after it was closed.
func (s *Supervisor) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed.wait()
}

// A snapshot is what a Supervisor's methods report of a connection. The Supervisor's mu guards it.
type snapshot struct {
	uri      string
	required bool
	// conn is the current run's; nil between runs.
	conn     *Conn
	stopping bool
	link     LinkStatus
	since    time.Time
	session  int // that of the runs before
	err      error
}

// setLink notes the state of the link. It is called with mu held.
func (m *managedConn) setLink(link LinkStatus) {
	if link != m.current.link {
		m.current.link, m.current.since = link, time.Now()
	}
	m.notify()
}

// notify wakes those who wait for a change. It is called with mu held.
func (m *managedConn) notify() {
	m.changed.notify()
	m.sup.changed.notify()
}

// linkChanged is called by the loop of the current run.
func (m *managedConn) linkChanged(link LinkStatus) {
	m.sup.mu.Lock()
	defer m.sup.mu.Unlock()
	if m.current.stopping {
		link = StatusDisconnecting // until nothing is left of the run
	}
	m.setLink(link)
}

// setStopped notes that there is no run any more, and how the last one ended.
func (m *managedConn) setStopped(err error) {
	m.sup.mu.Lock()
	defer m.sup.mu.Unlock()
	m.current.conn, m.current.stopping, m.current.session, m.current.err = nil, false, m.session, err
	m.setLink(StatusDisconnected)
}

// Status returns a snapshot of a connection. With an error of ctx, of a connection that does not answer, it holds what is known
// without asking it.
func (s *Supervisor) Status(ctx context.Context, name string) (ConnectionStatus, error) {
	m, _, err := s.watch(name)
	if err != nil {
		return ConnectionStatus{}, err
	}
	return m.status(ctx)
}

// watch returns a managed connection, and a channel that is closed at its next change.
func (s *Supervisor) watch(name string) (*managedConn, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.managed[name]
	if m == nil {
		return nil, nil, unknown(name)
	}
	return m, m.changed.wait(), nil
}

func (m *managedConn) status(ctx context.Context) (ConnectionStatus, error) {
	for {
		before := m.snapshot()
		var live Status
		var err error
		if conn := before.conn; conn != nil {
			live, err = conn.status(ctx)
			live.Session = conn.sessions(live.Session)
		}
		now := m.snapshot()
		if now.conn != before.conn || err == nil && (now.link != before.link || !now.since.Equal(before.since)) {
			continue // something has changed while the loop was asked, so that its answer may be of before
		}
		// The link is that of the managed connection, which knows of a stop, so that it agrees with since.
		live.Link, live.Session = now.link, max(live.Session, now.session)
		return ConnectionStatus{
			Name: m.name, URI: now.uri, Required: now.required, Status: live, Since: now.since, Err: now.err,
		}, err
	}
}

func (m *managedConn) snapshot() snapshot {
	m.sup.mu.Lock()
	defer m.sup.mu.Unlock()
	return m.current
}

// Await waits until enough says that a connection's status is, and returns that. With an error, of ctx or because the
// connection has been removed, it returns the last one.
func (s *Supervisor) Await(ctx context.Context, name string, enough func(ConnectionStatus) bool) (ConnectionStatus, error) {
	var last ConnectionStatus
	for {
		m, changed, err := s.watch(name)
		if err != nil {
			return last, err
		}
		status, err := m.status(ctx)
		if err == nil || last.Name == "" {
			last = status
		}
		if err != nil {
			return last, err
		}
		if enough(status) {
			return status, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
}
