package main_test

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

// demoJob is the name of the job that is the demo server.
const demoJob = "demo"

// cmdDemo starts the real `phx demo`, as a job called demo, and points PHX_URI at it:
//
//	demo [FLAG...]
//
// It takes a free port unless told otherwise. DEMO_ADDR is the address, for another one at the same place. With --tls,
// SSL_CERT_FILE is set, too.
func cmdDemo(ts *testscript.TestScript, args []string) {
	j := startJob(ts, demoJob, false, append([]string{"phx", "demo", "--listen", "127.0.0.1:0"}, args...)...)
	match := j.await(ts, "stderr", `export PHX_URI=(wss?://(\S+)/socket)(?: SSL_CERT_FILE=(\S+))?\n`)
	ts.Setenv("PHX_URI", match[1])
	ts.Setenv("DEMO_ADDR", match[2])
	ts.Setenv("SSL_CERT_FILE", match[3])
}

// servers are those of a script that live in the test's own process.
type servers struct {
	phoenix *phoenixtest.Server
	closers []func()
}

func (s *servers) close() {
	for _, f := range s.closers {
		f()
	}
}

// apps are the applications that serve knows.
var apps = map[string]phoenixtest.App{
	"demo": phoenixtest.Demo(),
	// The recorded application; its package says what it does.
	"peer": peer.App(),
	// The same, with permessage-deflate.
	"compressing": peer.Config{Compress: true}.App(),
	// The same, for pages of localhost and 127.0.0.1.
	"origins": peer.Config{CheckOrigin: true}.App(),
}

// cmdServe starts a server whose link can be played with, see server, and points PHX_URI at it:
//
//	serve demo|peer|compressing|origins
func cmdServe(ts *testscript.TestScript, args []string) {
	s := &sceneOf(ts).servers
	if len(args) != 1 || apps[args[0]] == nil || s.phoenix != nil {
		ts.Fatalf("usage, once a script: serve demo|peer|compressing|origins")
	}
	server, err := phoenixtest.Listen(apps[args[0]])
	ts.Check(err)
	s.phoenix = server
	s.closers = append(s.closers, server.Close)
	ts.Setenv("PHX_URI", server.URL)
}

// serverVerbs are what the command server can do.
var serverVerbs = map[string]struct {
	args int
	do   func(s *phoenixtest.Server, args []string) error
}{
	// stop is what a deployment begins with: it closes all connections, and takes no new ones.
	"stop": {0, func(s *phoenixtest.Server, _ []string) error { s.Stop(); return nil }},
	// drop and reset end the connections without a close frame; hole makes them half-open.
	"drop":  {0, func(s *phoenixtest.Server, _ []string) error { s.DropConns(); return nil }},
	"reset": {0, func(s *phoenixtest.Server, _ []string) error { s.ResetConns(); return nil }},
	"hole":  {0, func(s *phoenixtest.Server, _ []string) error { s.BlackHole(); return nil }},
	// close CODE closes the connections.
	"close": {1, func(s *phoenixtest.Server, args []string) error {
		code, err := strconv.Atoi(args[0])
		s.CloseConns(code)
		return err
	}},
	// refuse STATUS BODY refuses further connections.
	"refuse": {2, func(s *phoenixtest.Server, args []string) error {
		status, err := strconv.Atoi(args[0])
		s.Refuse(&phoenixtest.Refusal{Status: status, Body: args[1]})
		return err
	}},
	// text TEXT sends a frame to everyone, whether it is a message or not.
	"text": {1, func(s *phoenixtest.Server, args []string) error {
		for _, c := range s.Conns() {
			c.SendText(args[0])
		}
		return nil
	}},
	// binary HEX sends the bytes as a binary frame to everyone.
	"binary": {1, func(s *phoenixtest.Server, args []string) error {
		data, err := hex.DecodeString(args[0])
		for _, c := range s.Conns() {
			c.SendBinary(data)
		}
		return err
	}},
	// broadcast TOPIC EVENT PAYLOAD sends a message to everyone in the topic.
	"broadcast": {3, func(s *phoenixtest.Server, args []string) error {
		s.Broadcast(args[0], args[1], phoenixtest.RawJSON(args[2]))
		return nil
	}},
	// closed waits until no connection is open.
	"closed": {0, func(s *phoenixtest.Server, _ []string) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return s.Await(ctx, func(st phoenixtest.Stats) bool { return st.Open == 0 })
	}},
}

// cmdServer plays with the server that serve has started:
//
//	server VERB [ARG...]
func cmdServer(ts *testscript.TestScript, args []string) {
	server := sceneOf(ts).servers.phoenix
	if server == nil || len(args) == 0 {
		ts.Fatalf("usage, after serve: server VERB [ARG...]")
	}
	verb, ok := serverVerbs[args[0]]
	if !ok || len(args)-1 != verb.args {
		ts.Fatalf("server cannot do this: %s", strings.Join(args, " "))
	}
	ts.Check(verb.do(server, args[1:]))
}
