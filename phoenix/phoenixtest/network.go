package phoenixtest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// A network is where a server can be reached, also again after it was stopped.
type network interface {
	listen() (net.Listener, error)
	address() string
	dial(ctx context.Context) (net.Conn, error)
}

// tcpNetwork is one TCP address; a port 0 is settled by the first listen.
type tcpNetwork struct{ addr string }

func (n *tcpNetwork) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", n.addr)
	if err == nil {
		n.addr = l.Addr().String()
	}
	return l, err
}

func (n *tcpNetwork) address() string { return n.addr }

func (n *tcpNetwork) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", n.addr)
}

// pipeNetwork is in memory.
type pipeNetwork struct {
	mu       sync.Mutex
	listener *pipeListener
	lastPort int
}

func (n *pipeNetwork) listen() (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listener = newPipeListener()
	return n.listener, nil
}

// address is a name that is no address: a client that forgets to use DialContext shall not
// reach anything.
func (n *pipeNetwork) address() string { return "phoenix.test" }

func (n *pipeNetwork) dial(ctx context.Context) (net.Conn, error) {
	const firstClientPort = 40000
	n.mu.Lock()
	l, port := n.listener, firstClientPort+n.lastPort%20000
	n.lastPort++
	n.mu.Unlock()
	return l.dial(ctx, port)
}

// httpDate is the value of a Date header.
func httpDate() string { return time.Now().UTC().Format(http.TimeFormat) }
