package phoenixtest

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// Stats counts what a server has seen since it was made.
type Stats struct {
	Attempts   int // requests to connect a socket
	Refused    int // of these, answered with no
	Connects   int // of these, answered with 101
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
	changed    chan struct{} // closed and replaced at every change of stats
}

func (st *serverState) init() { st.changed = make(chan struct{}) }

func (st *serverState) listening(server *http.Server, l net.Listener) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.server, st.listener = server, l
}

func (st *serverState) stopListening() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.server == nil {
		return
	}
	// Both fail only for a listener that is closed already, perhaps by the other.
	_ = st.server.Close()
	_ = st.listener.Close()
	st.server = nil
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

func (s *Server) refusal() *Refusal {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return s.state.refusal
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

func (s *Server) tapIn(c *Conn, frames []wsFrame) {
	if s.tap == nil {
		return
	}
	for _, f := range frames {
		s.tap(Frame{Conn: c, FromClient: true, Opcode: int(f.op), Data: f.data})
	}
}

func (s *Server) tapOut(c *Conn, f wsFrame) {
	if s.tap != nil {
		s.tap(Frame{Conn: c, Opcode: int(f.op), Data: f.data})
	}
}
