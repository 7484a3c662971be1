package main_test

import (
	"io"
	"net"

	"github.com/rogpeppe/go-internal/testscript"
)

// strangers are what may listen at an address instead of a Phoenix server. Each gets one connection.
var strangers = map[string]func(net.Conn){
	// silent takes what comes and never answers.
	"silent": func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) },
	// hangup closes at once.
	"hangup": func(net.Conn) {},
	// web is an HTTP server that has never heard of WebSocket.
	"web": answer("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<p>hi</p>"),
	// redirect is one that has moved.
	"redirect": answer("HTTP/1.1 301 Moved Permanently\r\nLocation: https://elsewhere.example/socket/websocket\r\nContent-Length: 0\r\n\r\n"),
	// mail does not speak HTTP.
	"mail": answer("220 mail.example ESMTP\r\n"),
}

// answer waits for a request and answers it.
func answer(text string) func(net.Conn) {
	return func(nc net.Conn) {
		var request [4096]byte
		if _, err := nc.Read(request[:]); err == nil {
			_, _ = io.WriteString(nc, text) // it fails when the client is gone already
		}
	}
}

// cmdStranger points PHX_URI at something else than a Phoenix server:
//
//	stranger silent|hangup|web|redirect|mail|nobody
//
// With nobody, nothing listens at the address.
func cmdStranger(ts *testscript.TestScript, args []string) {
	if len(args) != 1 || strangers[args[0]] == nil && args[0] != "nobody" {
		ts.Fatalf("usage: stranger silent|hangup|web|redirect|mail|nobody")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("PHX_URI", "ws://"+l.Addr().String()+"/socket")
	if args[0] == "nobody" {
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
				strangers[args[0]](nc)
			}()
		}
	}()
}
