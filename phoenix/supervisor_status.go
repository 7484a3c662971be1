package phoenix

import (
	"context"
	"time"
)

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

// wait returns a channel that is closed by the next tell.
func (b *broadcast) wait() <-chan struct{} {
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *broadcast) tell() {
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

// shown is what a Supervisor's methods tell of a connection. Its mu guards it.
type shown struct {
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
func (k *keeper) setLink(link LinkStatus) {
	if link != k.shown.link {
		k.shown.link, k.shown.since = link, time.Now()
	}
	k.tell()
}

// tell wakes those who wait for a change. It is called with mu held.
func (k *keeper) tell() {
	k.changed.tell()
	k.sup.changed.tell()
}

// linkChanged is called by the loop of the current run.
func (k *keeper) linkChanged(link LinkStatus) {
	k.sup.mu.Lock()
	defer k.sup.mu.Unlock()
	if k.shown.stopping {
		link = StatusDisconnecting // until nothing is left of the run
	}
	k.setLink(link)
}

// show tells that there is no run any more, and how the last one ended.
func (k *keeper) show(err error) {
	k.sup.mu.Lock()
	defer k.sup.mu.Unlock()
	k.shown.conn, k.shown.stopping, k.shown.session, k.shown.err = nil, false, k.session, err
	k.setLink(StatusDisconnected)
}

// Status returns a snapshot of a connection. With an error of ctx, of a connection that does not answer, it holds what is known
// without asking it.
func (s *Supervisor) Status(ctx context.Context, name string) (ConnectionStatus, error) {
	k, _, err := s.watch(name)
	if err != nil {
		return ConnectionStatus{}, err
	}
	return k.status(ctx)
}

// watch returns the keeper of a connection, and a channel that is closed at its next change.
func (s *Supervisor) watch(name string) (*keeper, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keepers[name]
	if k == nil {
		return nil, nil, unknown(name)
	}
	return k, k.changed.wait(), nil
}

func (k *keeper) status(ctx context.Context) (ConnectionStatus, error) {
	for {
		conn := k.snapshot().conn
		var live Status
		var err error
		if conn != nil {
			live, err = conn.status(ctx)
			live.Session = conn.sessions(live.Session)
		}
		now := k.snapshot()
		if now.conn != conn {
			continue // another run has begun, or this one is over
		}
		// The link is the keeper's, which may know more by now, so that it agrees with since.
		live.Link, live.Session = now.link, max(live.Session, now.session)
		return ConnectionStatus{
			Name: k.name, URI: now.uri, Required: now.required, Status: live, Since: now.since, Err: now.err,
		}, err
	}
}

func (k *keeper) snapshot() shown {
	k.sup.mu.Lock()
	defer k.sup.mu.Unlock()
	return k.shown
}

// Await waits until enough says that a connection's status is, and returns that. With an error, of ctx or because the
// connection has been removed, it returns the last one.
func (s *Supervisor) Await(ctx context.Context, name string, enough func(ConnectionStatus) bool) (ConnectionStatus, error) {
	var last ConnectionStatus
	for {
		k, changed, err := s.watch(name)
		if err != nil {
			return last, err
		}
		status, err := k.status(ctx)
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
