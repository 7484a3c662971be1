package main_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// strangers are what may listen at an address instead of a Phoenix server.
var strangers = map[string]func(net.Conn){
	// nobody is special: nothing listens at the address.
	"nobody": nil,
	// silent takes what comes and never answers.
	"silent": discard,
	// hangup closes at once.
	"hangup": func(net.Conn) {},

	// web is an HTTP server that has never heard of WebSocket.
	"web": answer("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<p>hi</p>"),
	// redirect is one that has moved.
	"redirect": answer("HTTP/1.1 301 Moved Permanently\r\nLocation: https://elsewhere.example/socket/websocket?token=SECRET\r\nContent-Length: 0\r\n\r\n"),
	// limited is one that has had enough.
	"limited": answer("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\nslow\r\n\x1b\x07d"),
	// https is one that wants TLS, and says so.
	"https": answer("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"),

	// Those that do not speak HTTP/1: mail, ssh, what wants TLS and answers by an alert, what wants HTTP/2, and what sends back
	// what it gets.
	"mail":  answer("220 mail.example ESMTP\r\n"),
	"ssh":   answer("SSH-2.0-OpenSSH_9.6\r\n"),
	"tls":   answer("\x15\x03\x01\x00\x02\x02\x46"),
	"http2": answer("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"),
	"echo":  func(nc net.Conn) { _, _ = io.Copy(nc, nc) },

	// cache answers 101, and with the key of somebody else.
	"cache": answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"),
	// graphql, mute, picky and odd are WebSocket servers: with a subprotocol of their own, without a word, with a close frame
	// (1003) for whatever comes, and with an error for a heartbeat.
	"graphql": upgrade("Sec-WebSocket-Protocol: graphql-ws\r\n", discard),
	"mute":    upgrade("", discard),
	"picky":   upgrade("", answer("\x88\x02\x03\xeb")),
	"odd":     upgrade("", answer(textFrame(`[null,"1","phoenix","phx_reply",{"status":"error","response":{"reason":"nobody"}}]`))),
}

func discard(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) }

// answer waits for something and answers it.
func answer(text string) func(net.Conn) {
	return func(nc net.Conn) {
		var request [4096]byte
		if _, err := nc.Read(request[:]); err == nil {
			_, _ = io.WriteString(nc, text) // it fails when the client is gone already
		}
	}
}

// upgrade opens a WebSocket with a further header line, and goes on.
func upgrade(header string, then func(net.Conn)) func(net.Conn) {
	return func(nc net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(nc))
		if err != nil {
			return
		}
		const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455, section 1.3
		sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + guid))
		fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\n%s\r\n", base64.StdEncoding.EncodeToString(sum[:]), header)
		then(nc)
	}
}

// textFrame is a short WebSocket frame of a server.
func textFrame(text string) string { return "\x81" + string([]byte{byte(len(text))}) + text }

// cmdStranger points PHX_URI at something else than a Phoenix server, one of strangers:
//
//	stranger NAME
//
// STRANGER_ADDR is its address.
func cmdStranger(ts *testscript.TestScript, args []string) {
	names := strings.Join(slices.Sorted(maps.Keys(strangers)), "|")
	if len(args) != 1 {
		ts.Fatalf("usage: stranger %s", names)
	}
	serve, known := strangers[args[0]]
	if !known {
		ts.Fatalf("usage: stranger %s", names)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("STRANGER_ADDR", l.Addr().String())
	ts.Setenv("PHX_URI", "ws://"+l.Addr().String()+"/socket")
	if serve == nil {
		ts.Check(l.Close())
		return
	}
	s := &sceneOf(ts).servers
	s.closers = append(s.closers, func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				serve(nc)
			}()
		}
	}()
}
