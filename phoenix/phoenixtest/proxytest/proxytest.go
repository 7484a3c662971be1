// Package proxytest has proxies for tests, HTTP CONNECT, SOCKS5 and a gateway that passes no WebSocket, that connect every client to one place, whatever address
// it asks for: so that names can be asked for that resolve nowhere.
package proxytest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
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
	// Refuse is the HTTP status, or the reply code of SOCKS, that everybody gets, or of a gateway who asks for a WebSocket; 0: none.
	Refuse int
	// Silent answers nothing at all.
	Silent bool
}

// Connect starts an HTTP proxy that makes tunnels.
func Connect(c Config) (*Proxy, error) { return start(c, (*Proxy).serveConnect) }

// SOCKS5 starts a SOCKS5 proxy.
func SOCKS5(c Config) (*Proxy, error) { return start(c, (*Proxy).serveSOCKS5) }

// Gateway starts a reverse proxy that passes HTTP requests on, and no WebSocket: it answers an upgrade with Refuse or, without that, lets it
// through and no frame after it.
func Gateway(c Config) (*Proxy, error) { return start(c, (*Proxy).serveGateway) }

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

// serveGateway serves a client of a gateway to its end.
func (p *Proxy) serveGateway(client net.Conn) (tunnel bool) {
	transport := &http.Transport{DisableCompression: true, DialContext: func(_ context.Context, network, _ string) (net.Conn, error) {
		server, err := net.Dial(network, p.config.Target)
		if err == nil {
			p.own(server)
		}
		return server, err
	}}
	defer transport.CloseIdleConnections()
	for r := bufio.NewReader(client); ; {
		req, err := http.ReadRequest(r)
		if err != nil {
			return false
		}
		p.note(req.Host)
		isUpgrade := req.Header.Get("Upgrade") != ""
		if isUpgrade && p.config.Refuse != 0 {
			head := http.Response{StatusCode: p.config.Refuse, ProtoMajor: 1, ProtoMinor: 1, Request: req}
			if head.Write(client) != nil {
				return false
			}
			continue
		}
		req.URL.Scheme, req.URL.Host, req.RequestURI = "http", p.config.Target, ""
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return false
		}
		if isUpgrade {
			resp.Body.Close()
			resp.Body = http.NoBody
		}
		if resp.Write(client) != nil {
			return false
		}
		if isUpgrade {
			_, _ = io.Copy(io.Discard, r) // until the client has enough
			return false
		}
	}
}

// The bytes of SOCKS5 (RFC 1928, RFC 1929) that are needed here.
const (
	socksVersion    = 5
	socksNoAuth     = 0
	socksPassword   = 2
	socksNoMethod   = 0xff
	socksIPv4       = 1
	socksDomain     = 3
	socksIPv6       = 4
	passwordVersion = 1
)

// serveSOCKS5 reports whether there is to be a tunnel.
func (p *Proxy) serveSOCKS5(client net.Conn) bool {
	head := make([]byte, 2)
	if _, err := io.ReadFull(client, head); err != nil || head[0] != socksVersion {
		return false
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(client, methods); err != nil || !p.authenticate(client, methods) {
		return false
	}
	addr, ok := readSOCKSRequest(client)
	if !ok {
		return false
	}
	p.note(addr)
	// The address that it is bound to is of no use to a client.
	_, err := client.Write([]byte{socksVersion, byte(p.config.Refuse), 0, socksIPv4, 0, 0, 0, 0, 0, 0})
	return err == nil && p.config.Refuse == 0
}

func (p *Proxy) authenticate(client net.Conn, methods []byte) bool {
	wanted := byte(socksNoAuth)
	if p.config.User != "" {
		wanted = socksPassword
	}
	if !slices.Contains(methods, wanted) {
		_, _ = client.Write([]byte{socksVersion, socksNoMethod}) // it is hung up on in any case
		return false
	}
	if _, err := client.Write([]byte{socksVersion, wanted}); err != nil || wanted == socksNoAuth {
		return err == nil
	}
	var version [1]byte
	if _, err := io.ReadFull(client, version[:]); err != nil {
		return false
	}
	user, ok := readSOCKSText(client)
	if !ok {
		return false
	}
	password, ok := readSOCKSText(client)
	granted := ok && user == p.config.User && password == p.config.Password
	status := byte(0)
	if !granted {
		status = 1
	}
	_, err := client.Write([]byte{passwordVersion, status})
	return err == nil && granted
}

// readSOCKSRequest returns the address that a client wants to be connected to.
func readSOCKSRequest(client net.Conn) (addr string, ok bool) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(client, head); err != nil {
		return "", false
	}
	var host string
	switch head[3] {
	case socksDomain:
		if host, ok = readSOCKSText(client); !ok {
			return "", false
		}
	case socksIPv4, socksIPv6:
		ip := make(net.IP, net.IPv4len)
		if head[3] == socksIPv6 {
			ip = make(net.IP, net.IPv6len)
		}
		if _, err := io.ReadFull(client, ip); err != nil {
			return "", false
		}
		host = ip.String()
	default:
		return "", false
	}
	port := make([]byte, 2)
	if _, err := io.ReadFull(client, port); err != nil {
		return "", false
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port)))), true
}

// readSOCKSText reads a text behind its length.
func readSOCKSText(client net.Conn) (string, bool) {
	var n [1]byte
	if _, err := io.ReadFull(client, n[:]); err != nil {
		return "", false
	}
	text := make([]byte, n[0])
	_, err := io.ReadFull(client, text)
	return string(text), err == nil
}
