package proxytest

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strconv"
)

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
