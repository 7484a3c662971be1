package main_test

import (
	"net"
	"net/http"

	"github.com/rogpeppe/go-internal/testscript"

	"phx/phoenix/phoenixtest"
)

// cmdServeUnix starts the demo's application at a Unix socket:
//
//	serve-unix PATH
func cmdServeUnix(ts *testscript.TestScript, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: serve-unix PATH")
	}
	l, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	application := phoenixtest.NewPipeServer(phoenixtest.Demo())
	front := &http.Server{Handler: application}
	go func() { _ = front.Serve(l) }() // it ends with Close
	s := &sceneOf(ts).servers
	s.closers = append(s.closers, application.Close, func() { front.Close() })
}
