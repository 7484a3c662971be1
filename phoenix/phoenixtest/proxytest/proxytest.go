// Package proxytest has proxies for tests, HTTP CONNECT and SOCKS5, that connect every client to one place, whatever address
// it asks for: so that names can be asked for that resolve nowhere.
package proxytest

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"sync"
)

// A Proxy is a running proxy.
type Proxy struct {
	// Addr is where it listens.
	Addr string

	config   Config
	listener net.Listener
	mu       sync.Mutex
	asked    []string
	conns    []net.Conn
	closed   bool
	work     sync.WaitGroup
}

// Config says what a proxy does.
type Config struct {
	// Target is the address that everybody is connected to.
	Target string
	// User and Password, if set, are asked for.
	User, Password string
	// Refuse is the HTTP status, or the reply code of SOCKS, that everybody gets; 0: none.
	Refuse int
	// Silent answers nothing at all.
	Silent bool
}

// Connect starts an HTTP proxy that makes tunnels.
func Connect(c Config) (*Proxy, error) { return start(c, (*Proxy).serveConnect) }

// SOCKS5 starts a SOCKS5 proxy.
func SOCKS5(c Config) (*Proxy, error) { return start(c, (*Proxy).serveSOCKS5) }

func start(c Config, serve func(p *Proxy, client net.Conn) bool) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: l.Addr().String(), config: c, listener: l}
	p.work.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.own(client)
			p.work.Go(func() {
				defer client.Close()
				if c.Silent {
					_, _ = io.Copy(io.Discard, client) // until the client has enough
					return
				}
				if serve(p, client) {
					p.tunnel(client)
				}
			})
		}
	})
	return p, nil
}

// Asked returns the addresses that were asked for.
func (p *Proxy) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// Close ends the proxy and its tunnels.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.work.Wait()
}

// own closes the connection with the proxy.
func (p *Proxy) own(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
	if p.closed {
		_ = c.Close()
	}
}

func (p *Proxy) note(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, addr)
}

func (p *Proxy) tunnel(client net.Conn) {
	server, err := net.Dial("tcp", p.config.Target)
	if err != nil {
		return
	}
	p.own(server)
	p.work.Go(func() {
		_, _ = io.Copy(server, client) // an end is an end, whatever its error
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
}

// serveConnect reports whether there is to be a tunnel.
func (p *Proxy) serveConnect(client net.Conn) bool {
	req, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil {
		return false
	}
	p.note(req.Host)
	status := http.StatusOK
	wanted := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.config.User+":"+p.config.Password))
	switch {
	case req.Method != http.MethodConnect:
		status = http.StatusMethodNotAllowed
	case p.config.User != "" && req.Header.Get("Proxy-Authorization") != wanted:
		status = http.StatusProxyAuthRequired
	case p.config.Refuse != 0:
		status = p.config.Refuse
	}
	head := http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Request: req}
	return head.Write(client) == nil && status == http.StatusOK
}
